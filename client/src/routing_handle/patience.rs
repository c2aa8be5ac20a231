//! How long commands wait for a node that can't be reached before the cluster is asked.

use alloc::boxed::Box;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// Runs out again and again while commands wait for a node that can't be reached.
pub(super) struct Patience<F> {
    // It is rare, and would make all other commands larger.
    sleeping: Option<Pin<Box<F>>>,
    /// It is to begin if they wait.
    begins: bool,
}

impl<F: Future<Output = ()>> Patience<F> {
    pub(super) const fn new() -> Self {
        Self { sleeping: None, begins: true }
    }

    /// Ready when it has run out and they still wait; then it begins anew, by `sleep`, if that gives something.
    pub(super) fn poll_over(
        &mut self,
        cx: &mut Context<'_>,
        waits: impl Fn() -> bool,
        sleep: impl Fn() -> Option<F>,
    ) -> Poll<()> {
        if core::mem::take(&mut self.begins) && waits() {
            self.sleeping = sleep().map(Box::pin);
        }
        if let Some(sleeping) = &mut self.sleeping
            && sleeping.as_mut().poll(cx).is_ready()
        {
            self.sleeping = None;
            if waits() {
                self.begins = true;
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}
