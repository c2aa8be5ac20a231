//! The asynchronous shell: small loops that join the state machines to IO, for hosts with one
//! thread. They hold no rule.
//!
//! A host spawns [`refresh`] once for each identity and [`keep`] for each connection; they meet
//! at the [`Tokens`] that they share. [`serve`] is one connection, from its beginning to its end,
//! for hosts that dial themselves. Hosts with threads, or with a poll loop of their own, drive
//! the machines themselves.
//!
//! ```
//! use core::time::Duration;
//! use redis_entraid_core::drive::Tokens;
//! use redis_entraid_core::manager::TokenManager;
//! use redis_entraid_core::policy::RefreshPolicy;
//!
//! let tokens: Tokens<_> = Tokens::new(TokenManager::new(RefreshPolicy::default(), [[0; 4096]; 2]));
//! tokens.with(|manager| manager.seed(7));
//! ```

use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use embedded_io_async::{Read, Write};

use crate::connection::{
    CloseReason, Connection, Machine, Output, Pending, SubmitError, Tag, Transmitter,
};
use crate::event::Event;
use crate::manager::{Action, TokenManager};
use crate::reconnect::{Dial, Reconnect};
use crate::resp::Arg;
use crate::secret::Wiped;
use crate::source::{SourceError, SourceFailure, TokenSource};
use crate::storage::Storage;
use crate::time::{Instant, Timer};
use crate::transport::{Connector, Endpoint, Transport};

/// A token manager that the futures of one thread share.
#[derive(Debug)]
pub struct Tokens<M: Storage<u8>, const WAITERS: usize = 4> {
    manager: RefCell<TokenManager<M>>,
    wakers: RefCell<[Option<Waker>; WAITERS]>,
}

impl<M: Storage<u8>, const WAITERS: usize> Tokens<M, WAITERS> {
    /// Shares `manager`. There should be a waiter for each connection, and one for [`refresh`]; what
    /// finds no place among them hears news up to a second late.
    pub const fn new(manager: TokenManager<M>) -> Self {
        Self { manager: RefCell::new(manager), wakers: RefCell::new([const { None }; WAITERS]) }
    }

    /// Uses the manager, and wakes who waits for news of it.
    pub fn with<T>(&self, use_it: impl FnOnce(&mut TokenManager<M>) -> T) -> T {
        let result = use_it(&mut self.manager.borrow_mut());
        self.wake();
        result
    }

    fn wake(&self) {
        let wakers = self.wakers.replace([const { None }; WAITERS]);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Wakes `cx` at the next news, if there is room to remember it.
    fn register(&self, cx: &Context<'_>) -> bool {
        let mut wakers = self.wakers.borrow_mut();
        if wakers.iter().flatten().any(|waker| waker.will_wake(cx.waker())) {
            return true;
        }
        let free = wakers.iter_mut().find(|slot| slot.is_none());
        free.map(|slot| *slot = Some(cx.waker().clone())).is_some()
    }
}

impl<M: Storage<u8>, const WAITERS: usize> Tokens<M, WAITERS> {
    /// Waits until there is a token to log in with.
    ///
    /// # Cancel safety
    /// May be dropped at any await.
    pub async fn token<C: Timer>(&self, timer: &C) {
        loop {
            let crowded = Cell::new(false);
            let news = poll_fn(|cx| {
                if self.manager.borrow().login(timer.now()).is_some() {
                    return Poll::Ready(());
                }
                crowded.set(!self.register(cx));
                Poll::Pending
            });
            let mut news = pin!(news);
            if poll_fn(|cx| Poll::Ready(news.as_mut().poll(cx).is_ready())).await {
                return;
            }
            let most = if crowded.get() { LOOK_EVERY } else { Duration::MAX };
            either(news, timer.sleep_until(timer.now().plus(most))).await;
        }
    }
}

/// How often who found no room looks for news.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often the wall clock is looked at, so that a sleep of the machine is noticed.
const CLOCK_EVERY: Duration = Duration::from_secs(60);

/// Keeps an identity's token fresh, for ever.
///
/// `memory` must hold a response of the source; it is wiped after each. `report` hears what came
/// of each request.
///
/// # Cancel safety
/// May be dropped at any await, and called again.
pub async fn refresh<M: Storage<u8>, S: TokenSource, C: Timer, const WAITERS: usize>(
    tokens: &Tokens<M, WAITERS>,
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
                let crowded = Cell::new(false);
                let news = poll_fn(|cx| {
                    if tokens.manager.borrow().next_deadline() < until {
                        return Poll::Ready(());
                    }
                    crowded.set(!tokens.register(cx));
                    Poll::Pending
                });
                let clock = timer.unix_time().is_some();
                let most = if clock { CLOCK_EVERY } else { Duration::MAX };
                let mut news = pin!(news);
                let first = poll_fn(|cx| Poll::Ready(news.as_mut().poll(cx).is_ready())).await;
                let most = if crowded.get() { LOOK_EVERY } else { most };
                if !first {
                    either(timer.sleep_until(until.min(now.plus(most))), news).await;
                }
            }
            Action::Fetch { deadline } => {
                let memory = Wiped(&mut *memory);
                let abandoned = Abandoned { tokens, timer };
                let fetch = source.fetch(deadline, memory.0);
                let answer = match within(timer, deadline, fetch).await {
                    Some(Ok(token)) => Ok(token),
                    Some(Err(error)) => Err(error.reason()),
                    None => Err(SourceError::TimedOut),
                };
                core::mem::forget(abandoned);
                let done = timer.now();
                report(tokens.with(|manager| manager.answered(now, done, answer)));
            }
        }
    }
}

/// Tells the manager if a request is dropped before its answer.
struct Abandoned<'t, M: Storage<u8>, C: Timer, const WAITERS: usize> {
    tokens: &'t Tokens<M, WAITERS>,
    timer: &'t C,
}

impl<M: Storage<u8>, C: Timer, const WAITERS: usize> Drop for Abandoned<'_, M, C, WAITERS> {
    fn drop(&mut self) {
        self.tokens.with(|manager| manager.abandoned(self.timer.now()));
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
pub async fn serve<T, C, B, R, M, H, const WAITERS: usize>(
    connection: &mut Connection<B, R>,
    transport: &mut T,
    timer: &C,
    tokens: &Tokens<M, WAITERS>,
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
    let crowded = Cell::new(false);

    let reading = async {
        while !shared.borrow().machine.has_ended() {
            let read = reader.read(receiver.space()).await;
            {
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
            }
            progress.set(true);
            // A server that never stops talking must not keep the others from their turn.
            yield_once().await;
        }
    };
    let writing = async {
        while !shared.borrow().machine.has_ended() {
            poll_fn(|cx| {
                crowded.set(!tokens.register(cx));
                let mut shared = shared.borrow_mut();
                let Shared { machine, handler } = &mut *shared;
                look(machine, timer, transmitter, tokens);
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
                    shared.borrow_mut().machine.offered();
                    let len =
                        writer.write(transmitter.bytes()).await.ok().filter(|len| *len > 0)?;
                    let len = transmitter.sent(len);
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
            // Without a place among the waiters, it looks for news from time to time.
            let most = if crowded.get() { LOOK_EVERY } else { Duration::MAX };
            let wake = deadline.min(timer.now().plus(most));
            let changed = poll_fn(|_| {
                let same = shared.borrow().machine.next_deadline() == deadline;
                if same { Poll::Pending } else { Poll::Ready(()) }
            });
            either(timer.sleep_until(wake), changed).await;
            if timer.now() >= wake {
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
    // A last look: a login that was refused is to be known before the next one.
    let mut shared = shared.into_inner();
    shared.report_losses();
    look(shared.machine, timer, transmitter, tokens);
    shared.report_losses();
    shared.machine.close_reason().unwrap_or(CloseReason::Closed)
}

/// What a [`Handler`] hears of dialing.
pub trait DialHandler<E>: Handler {
    /// There is no connection yet: `error` says why, or it took too long. The next attempt is made
    /// in `next_in`.
    fn dial_failed(&mut self, error: Option<E>, next_in: Duration);
}

/// Keeps a connection, for ever: waits for a token, dials when it is time to, and serves.
///
/// # Cancel safety
/// Dropping the future gives the connection up; it may be called again.
pub async fn keep<K, C, B, R, M, H, const WAITERS: usize>(
    connector: &mut K,
    endpoint: &Endpoint<'_>,
    mut connection: impl FnMut() -> Connection<B, R>,
    reconnect: &mut Reconnect,
    timer: &C,
    tokens: &Tokens<M, WAITERS>,
    handler: &mut H,
) -> Infallible
where
    K: Connector,
    C: Timer,
    B: Storage<u8>,
    R: Storage<Pending>,
    M: Storage<u8>,
    H: DialHandler<K::Error>,
{
    loop {
        tokens.token(timer).await;
        if let Dial::Wait { until } = reconnect.poll(timer.now()) {
            timer.sleep_until(until).await;
            continue;
        }
        let deadline = timer.now().plus(reconnect.connect_timeout());
        match within(timer, deadline, connector.connect(endpoint)).await {
            Some(Ok(mut transport)) => {
                let mut handler = Observed { handler: &mut *handler, reconnect, timer };
                serve(&mut connection(), &mut transport, timer, tokens, &mut handler).await;
            }
            failed => {
                let now = timer.now();
                reconnect.failed(now);
                let next_in = match reconnect.poll(now) {
                    Dial::Wait { until } => until.since(now),
                    Dial::Now => Duration::ZERO,
                };
                handler.dial_failed(failed.and_then(Result::err), next_in);
            }
        }
    }
}

/// Tells what happens to a connection to what schedules the next one, too.
struct Observed<'o, H, C> {
    handler: &'o mut H,
    reconnect: &'o mut Reconnect,
    timer: &'o C,
}

impl<H: Handler, C: Timer> Handler for Observed<'_, H, C> {
    fn poll_commands(&mut self, cx: &mut Context<'_>, submit: &mut Submit<'_>) {
        self.handler.poll_commands(cx, submit);
    }

    fn output(&mut self, output: Output<'_>) {
        if let Output::Event(event) = &output {
            self.reconnect.observe(self.timer.now(), event);
        }
        self.handler.output(output);
    }
}

/// Looks, and wakes who fetches tokens if that became due earlier.
fn look<M: Storage<u8>, B: Storage<u8>, R: Storage<Pending>, C: Timer, const WAITERS: usize>(
    machine: &mut Machine<R>,
    timer: &C,
    transmitter: &mut Transmitter<B>,
    tokens: &Tokens<M, WAITERS>,
) {
    let earlier = {
        let mut manager = tokens.manager.borrow_mut();
        let before = manager.next_deadline();
        machine.look(timer.now(), transmitter, &mut manager);
        manager.next_deadline() < before
    };
    if earlier {
        tokens.wake();
    }
}

/// Lets others have a turn. Who polls comes back by itself.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(
        |_| {
            if core::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
        },
    )
    .await;
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
