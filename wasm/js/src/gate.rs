//! How many commands are under way at once. Of the others, as many as there may be, there is no more
//! than what they say.

use alloc::collections::VecDeque;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};

/// Enough to keep a connection busy.
const MOST: usize = 2_048;

/// Lets commands in, in order.
#[derive(Default)]
pub(crate) struct Gate {
    /// How many have come, and how many of them are gone.
    came: Cell<usize>,
    gone: Cell<usize>,
    /// Who can't be let in yet: with each that goes, it is the next one's turn.
    waiting: RefCell<VecDeque<Waker>>,
}

/// One that has come.
pub(crate) struct Visit<'g> {
    gate: &'g Gate,
    number: usize,
}

impl Gate {
    /// One more comes.
    pub(crate) fn come(&self) -> Visit<'_> {
        let number = self.came.get();
        self.came.set(number.wrapping_add(1));
        Visit { gate: self, number }
    }
}

impl Visit<'_> {
    /// Waits until it is let in.
    pub(crate) async fn entered(&self) {
        let mut is_in_line = false;
        poll_fn(|cx| {
            if self.number.wrapping_sub(self.gate.gone.get()).cast_signed() < MOST.cast_signed() {
                return Poll::Ready(());
            }
            if !is_in_line {
                self.gate.waiting.borrow_mut().push_back(cx.waker().clone());
            }
            is_in_line = true;
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.gate.gone.set(self.gate.gone.get().wrapping_add(1));
        let next = self.gate.waiting.borrow_mut().pop_front();
        if let Some(next) = next {
            next.wake();
        }
    }
}
