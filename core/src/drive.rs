//! The asynchronous shell: small loops that join the state machines to IO, for hosts with one
//! thread. They hold no rule.
//!
//! A host spawns [`refresh`] once for each identity and [`serve`] for each connection; they meet
//! at the [`Tokens`] that they share. Hosts with threads, or with a poll loop of their own, drive
//! the machines themselves.
//!
//! ```
//! use core::time::Duration;
//! use redis_entraid_core::drive::Tokens;
//! use redis_entraid_core::manager::TokenManager;
//! use redis_entraid_core::policy::RefreshPolicy;
//!
//! let tokens = Tokens::new(TokenManager::new(RefreshPolicy::default(), [[0; 4096]; 2]));
//! tokens.with(|manager| manager.seed(7));
//! ```

use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embedded_io_async::{Read, Write};

use crate::connection::{CloseReason, Connection, Machine, Output, Pending, SubmitError, Tag};
use crate::event::Event;
use crate::manager::{Action, TokenManager};
use crate::resp::Arg;
use crate::secret::Wiped;
use crate::source::{SourceError, SourceFailure, TokenSource};
use crate::storage::Storage;
use crate::time::{Instant, Timer};
use crate::transport::Transport;

/// A token manager that the futures of one thread share.
#[derive(Debug)]
pub struct Tokens<M: Storage<u8>> {
    manager: RefCell<TokenManager<M>>,
    wakers: RefCell<[Option<Waker>; WAKERS]>,
}

/// How many futures may wait at once without being woken in vain.
const WAKERS: usize = 4;

impl<M: Storage<u8>> Tokens<M> {
    /// Shares `manager`.
    pub const fn new(manager: TokenManager<M>) -> Self {
        Self { manager: RefCell::new(manager), wakers: RefCell::new([const { None }; WAKERS]) }
    }

    /// Uses the manager, and wakes who waits for news of it.
    pub fn with<T>(&self, use_it: impl FnOnce(&mut TokenManager<M>) -> T) -> T {
        let result = use_it(&mut self.manager.borrow_mut());
        self.wake();
        result
    }

    fn wake(&self) {
        let wakers = core::mem::take(&mut *self.wakers.borrow_mut());
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Wakes `cx` at the next news.
    fn register(&self, cx: &Context<'_>) {
        let mut wakers = self.wakers.borrow_mut();
        if wakers.iter().flatten().any(|waker| waker.will_wake(cx.waker())) {
            return;
        }
        match wakers.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(cx.waker().clone()),
            None => {
                // More than there is room for: all look again.
                drop(wakers);
                self.wake();
                cx.waker().wake_by_ref();
            }
        }
    }
}

/// Keeps an identity's token fresh, for ever.
///
/// `memory` must hold a response of the source; it is wiped after each. `report` hears what came
/// of each request.
///
/// # Cancel safety
/// May be dropped at any await, and called again.
pub async fn refresh<M: Storage<u8>, S: TokenSource, C: Timer>(
    tokens: &Tokens<M>,
    source: &mut S,
    timer: &C,
    memory: &mut [u8],
    mut report: impl FnMut(Event),
) -> Infallible {
    loop {
        let now = timer.now();
        let action = {
            let mut manager = tokens.manager.borrow_mut();
            if let Some(unix_time) = timer.unix_time() {
                manager.unix_time(now, unix_time);
            }
            manager.poll(now)
        };
        match action {
            Action::Wait { until, .. } => {
                // A refused token makes the next fetch due at once.
                let news = poll_fn(|cx| {
                    if tokens.manager.borrow().next_deadline() < until {
                        return Poll::Ready(());
                    }
                    tokens.register(cx);
                    Poll::Pending
                });
                either(timer.sleep_until(until), news).await;
            }
            Action::Fetch { deadline } => {
                let memory = Wiped(&mut *memory);
                let fetch = source.fetch(deadline, memory.0);
                let answer = match within(timer, deadline, fetch).await {
                    Some(Ok(token)) => Ok(token),
                    Some(Err(error)) => Err(error.reason()),
                    None => Err(SourceError::TimedOut),
                };
                let done = timer.now();
                report(tokens.with(|manager| manager.answered(now, done, answer)));
            }
        }
    }
}

/// Takes a command for a connection, as [`Connection::submit`] does.
pub type Submit<'s> = dyn FnMut(Tag, &[Arg<'_>]) -> Result<(), SubmitError> + 's;

/// What a connection's owner does for [`serve`].
pub trait Handler {
    /// Submits what commands there are, as long as `submit` takes them, and has `cx` woken when
    /// there are more. Called whenever something may have changed.
    fn poll_commands(&mut self, cx: &mut Context<'_>, submit: &mut Submit<'_>);

    /// Hears what came of them, and all else that happens.
    fn output(&mut self, output: Output<'_>);
}

/// Drives a connection over a transport until it ends.
///
/// It reads while it writes, so that a server that stops reading until its replies are taken
/// can't hold it up.
///
/// # Cancel safety
/// Dropping the future gives the connection up: `connection` and `transport` are of no use then.
pub async fn serve<T, C, B, R, M, H>(
    connection: &mut Connection<B, R>,
    transport: &mut T,
    timer: &C,
    tokens: &Tokens<M>,
    handler: &mut H,
) -> CloseReason
where
    T: Transport,
    C: Timer,
    B: Storage<u8>,
    R: Storage<Pending>,
    M: Storage<u8>,
    H: Handler,
{
    let (machine, receiver, transmitter) = connection.parts();
    let (mut reader, mut writer) = transport.split();
    let shared = RefCell::new(Shared { machine, handler });
    // Whether one of the three below did something that the others may wait for.
    let progress = Cell::new(false);

    let reading = async {
        while !shared.borrow().machine.has_ended() {
            let read = reader.read(receiver.space()).await;
            let mut shared = shared.borrow_mut();
            let Shared { machine, handler } = &mut *shared;
            match read {
                Ok(0) => machine.close(CloseReason::ByServer),
                Ok(len) => {
                    receiver.received(len);
                    machine.heard(timer.now());
                }
                Err(_) => machine.close(CloseReason::Broken),
            }
            while let Some(output) = machine.next(timer.now(), receiver) {
                handler.output(output);
            }
            progress.set(true);
        }
    };
    let writing = async {
        while !shared.borrow().machine.has_ended() {
            poll_fn(|cx| {
                tokens.register(cx);
                let mut shared = shared.borrow_mut();
                let Shared { machine, handler } = &mut *shared;
                machine.look(timer.now(), transmitter, &mut tokens.manager.borrow_mut());
                if !machine.has_ended() {
                    handler.poll_commands(cx, &mut |tag, args| {
                        machine.submit(timer.now(), transmitter, tag, args)
                    });
                }
                shared.report_losses();
                if transmitter.is_empty() { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            let result = async {
                while !transmitter.is_empty() {
                    let len =
                        writer.write(transmitter.bytes()).await.ok().filter(|len| *len > 0)?;
                    transmitter.sent(len);
                    shared.borrow_mut().machine.sent(len);
                }
                writer.flush().await.ok()
            };
            if result.await.is_none() {
                shared.borrow_mut().machine.close(CloseReason::Broken);
            }
            progress.set(true);
        }
    };
    let timing = async {
        while !shared.borrow().machine.has_ended() {
            let deadline = shared.borrow().machine.next_deadline();
            let changed = poll_fn(|_| {
                let same = shared.borrow().machine.next_deadline() == deadline;
                if same { Poll::Pending } else { Poll::Ready(()) }
            });
            either(timer.sleep_until(deadline), changed).await;
            if timer.now() >= deadline {
                let mut shared = shared.borrow_mut();
                shared.machine.tick(timer.now());
                shared.report_losses();
                progress.set(true);
            }
        }
    };

    {
        let (mut reading, mut writing, mut timing) = (pin!(reading), pin!(writing), pin!(timing));
        poll_fn(|cx| {
            loop {
                progress.set(false);
                // Each of them ends when the connection does, and is then not polled again.
                let ended = reading.as_mut().poll(cx).is_ready()
                    || writing.as_mut().poll(cx).is_ready()
                    || timing.as_mut().poll(cx).is_ready();
                if ended || shared.borrow().machine.has_ended() {
                    return Poll::Ready(());
                }
                if !progress.get() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }
    let mut shared = shared.into_inner();
    shared.report_losses();
    shared.machine.close_reason().unwrap_or(CloseReason::Closed)
}

struct Shared<'s, R, H> {
    machine: &'s mut Machine<R>,
    handler: &'s mut H,
}

impl<R: Storage<Pending>, H: Handler> Shared<'_, R, H> {
    fn report_losses(&mut self) {
        while let Some(output) = self.machine.next_loss() {
            self.handler.output(output);
        }
    }
}

/// Waits for `future` until `deadline`.
async fn within<C: Timer, F: Future>(timer: &C, deadline: Instant, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut sleep = pin!(timer.sleep_until(deadline));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Waits for the first of the two.
async fn either(first: impl Future<Output = ()>, second: impl Future<Output = ()>) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|cx| match first.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => second.as_mut().poll(cx),
    })
    .await;
}

#[cfg(test)]
mod tests;
