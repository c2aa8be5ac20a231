//! A token manager, shared.

use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use super::{LOOK_EVERY, either};
use crate::manager::TokenManager;
use crate::storage::Storage;
use crate::time::{Instant, Timer};

/// A token manager that the futures of one thread share.
#[derive(Debug)]
pub struct SharedTokenManager<M: Storage<u8>, const WAITERS: usize = 4> {
    pub(super) manager: RefCell<TokenManager<M>>,
    wakers: RefCell<[Option<Waker>; WAITERS]>,
    /// A caller wants a token that it doesn't need yet.
    asked: Cell<bool>,
    /// How many wait for a token.
    waiting: Cell<u32>,
}

impl<M: Storage<u8>, const WAITERS: usize> SharedTokenManager<M, WAITERS> {
    /// Shares `manager`. `WAITERS` should be one for each connection and one for
    /// [`refresh`](super::refresh); a task beyond them is woken up to a second late.
    pub const fn new(manager: TokenManager<M>) -> Self {
        let wakers = RefCell::new([const { None }; WAITERS]);
        let (asked, waiting) = (Cell::new(false), Cell::new(0));
        Self { manager: RefCell::new(manager), wakers, asked, waiting }
    }

    /// Calls `use_it` with the manager, and wakes all tasks that wait for it.
    pub fn with<T>(&self, use_it: impl FnOnce(&mut TokenManager<M>) -> T) -> T {
        let result = use_it(&mut self.manager.borrow_mut());
        self.wake();
        result
    }

    /// Reads the manager, and wakes no task.
    pub fn peek<T>(&self, look: impl FnOnce(&TokenManager<M>) -> T) -> T {
        look(&self.manager.borrow())
    }

    /// Has the next token fetched as soon as it is due: see [`Refresh::OnDemand`]. It is answered
    /// when [`is_asked`](Self::is_asked) returns `false` again.
    ///
    /// [`Refresh::OnDemand`]: super::Refresh::OnDemand
    pub fn ask(&self) {
        self.asked.set(true);
        self.wake();
    }

    /// Returns whether there was an [`ask`](Self::ask) without an answer so far.
    pub const fn is_asked(&self) -> bool {
        self.asked.get()
    }

    /// Notes that a caller waits for a token, until the returned guard is dropped: see
    /// [`TokenManager::set_demand`].
    pub fn waiting(&self) -> Waiting<'_, M, WAITERS> {
        let others = self.waiting.get();
        self.waiting.set(others.saturating_add(1));
        if others == 0 {
            self.with(|manager| manager.set_demand(true));
        }
        Waiting(self)
    }

    /// A request was answered.
    pub(super) fn answered(&self) {
        self.asked.set(false);
        self.wake();
    }

    /// Wakes the tasks that wait for a change.
    pub(super) fn wake(&self) {
        let wakers = self.wakers.replace([const { None }; WAITERS]);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Wakes `cx` at the next news, if there is room to remember it.
    pub(super) fn register(&self, cx: &Context<'_>) -> bool {
        let mut wakers = self.wakers.borrow_mut();
        if wakers.iter().flatten().any(|waker| waker.will_wake(cx.waker())) {
            return true;
        }
        let free = wakers.iter_mut().find(|slot| slot.is_none());
        free.map(|slot| *slot = Some(cx.waker().clone())).is_some()
    }

    /// Waits for `ready` to return `true`, at most until `until`. Returns whether it returned `true`.
    ///
    /// # Cancel safety
    /// May be dropped at any await.
    pub async fn wait<C: Timer>(
        &self,
        timer: &C,
        until: Instant,
        ready: impl Fn(&TokenManager<M>) -> bool,
    ) -> bool {
        loop {
            let crowded = Cell::new(false);
            let news = poll_fn(|cx| {
                if ready(&self.manager.borrow()) {
                    return Poll::Ready(());
                }
                crowded.set(!self.register(cx));
                Poll::Pending
            });
            let mut news = pin!(news);
            if poll_fn(|cx| Poll::Ready(news.as_mut().poll(cx).is_ready())).await {
                return true;
            }
            let now = timer.now();
            if now >= until {
                return false;
            }
            let most = if crowded.get() { LOOK_EVERY } else { Duration::MAX };
            either(news, timer.sleep_until(until.min(now.plus(most)))).await;
        }
    }
}

/// A caller waits for a token, until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Waiting<'t, M: Storage<u8>, const WAITERS: usize>(&'t SharedTokenManager<M, WAITERS>);

impl<M: Storage<u8>, const WAITERS: usize> Drop for Waiting<'_, M, WAITERS> {
    fn drop(&mut self) {
        let left = self.0.waiting.get().saturating_sub(1);
        self.0.waiting.set(left);
        if left == 0 {
            self.0.manager.borrow_mut().set_demand(false);
        }
    }
}
