//! One connection after the other.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::{Future, poll_fn};
use core::marker::PhantomData;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;

use embedded_io_async::{Read, Write};

use super::{Handler, SharedTokenManager, serve};
use crate::connection::{CloseReason, Connection, Pending};
use crate::reconnect::Dial;
use crate::storage::Storage;
use crate::time::{Instant, Timer};
use crate::transport::{
    ConnectError, ConnectErrorKind, Connector, Endpoint, Session, Stage, Unanswered,
};

/// Whether there should be a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Wanted {
    /// Yes.
    Now,
    /// Not now; [`Owner::poll_wanted`] will say when.
    Later,
    /// Never again.
    NeverAgain,
}

/// Why no connection could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialError<E> {
    /// The connector says why.
    Failed(E),
    /// It took too long.
    Unanswered(Unanswered),
}

impl<E: fmt::Display> fmt::Display for DialError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Unanswered(unanswered) => unanswered.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for DialError<E> {}

impl<E: ConnectError> ConnectError for DialError<E> {
    fn kind(&self) -> ConnectErrorKind {
        match self {
            Self::Failed(error) => error.kind(),
            Self::Unanswered(unanswered) => unanswered.kind(),
        }
    }
}

/// Owns the connections that [`keep`] makes, one after the other. `E` is the connector's error.
pub trait Owner<E>: Handler {
    /// Returns whether there should be a connection, while there is none. Wakes `cx` when that changes,
    /// and does what is due at the [`deadline`](Handler::deadline).
    fn poll_wanted(&mut self, cx: &mut Context<'_>, now: Instant) -> Wanted;

    /// Whether a caller waits for a connection: failed requests for a token are repeated sooner then.
    fn is_waited_for(&self) -> bool;

    /// When to dial, as a [`Reconnect`](crate::reconnect::Reconnect) says: sooner if the connection
    /// [is waited for](Self::is_waited_for).
    fn dial(&self, now: Instant) -> Dial;

    /// What dialing and TLS may take together.
    fn connect_timeout(&self) -> Duration;

    /// There is a transport. Tasks that wait for it run before the login is written, so that their
    /// commands may go out together with it.
    fn connected(&mut self) {}

    /// No connection could be made.
    fn dial_failed(&mut self, now: Instant, error: DialError<E>);

    /// A connection has ended, after its last output.
    fn disconnected(&mut self, now: Instant, reason: CloseReason);
}

/// Keeps a connection for as long as its owner wants one: waits for a token, dials when it is time
/// to, and serves. With a [`Progress`](crate::transport::Progress), `endpoint` has the error of a
/// dial that takes too long say what it waited for.
///
/// # Cancel safety
/// Dropping the future ends the connection without a word to its owner: what was under way is lost.
pub async fn keep<K, C, B, R, M, O, const WAITERS: usize>(
    connector: &mut K,
    endpoint: &Endpoint<'_>,
    mut connection: impl FnMut() -> Connection<B, R>,
    timer: &C,
    tokens: &SharedTokenManager<M, WAITERS>,
    owner: &mut O,
) where
    K: Connector,
    C: Timer,
    B: Storage<u8>,
    R: Storage<Pending>,
    M: Storage<u8>,
    O: Owner<K::Error> + ?Sized,
{
    let owner = RefCell::new(owner);
    let connected = Cell::new(false);
    loop {
        let wanted = owner_wants(&owner, timer).await;
        if wanted == Wanted::NeverAgain {
            return;
        }
        let ready = async {
            tokens.token(timer).await;
            dial_time(timer, |now| owner.borrow().dial(now)).await;
        };
        let ready = pin!(ready);
        let for_ever = Instant::FAR_FUTURE;
        if attend(&owner, timer, tokens, for_ever, &connected, ready).await.is_err() {
            continue;
        }
        let connection = &mut connection();
        let (connected, owner) = (&connected, &owner);
        let errors = PhantomData::<K::Error>;
        let serving = Serving { connected, connection, timer, tokens, owner, errors };
        let start = timer.now();
        let until = start.plus(owner.borrow().connect_timeout());
        endpoint.begins(Stage::Dial);
        let endpoint = &endpoint.with_deadline(until);
        // Pinned here: a future that is handed over has its room twice.
        let dialing = pin!(connector.connect(endpoint, serving));
        let dialed = attend(owner, timer, tokens, until, connected, dialing).await;
        connected.set(false);
        let mut owner = owner.borrow_mut();
        match dialed {
            Ok(Ok(reason)) => owner.disconnected(timer.now(), reason),
            Ok(Err(error)) => owner.dial_failed(timer.now(), DialError::Failed(error)),
            Err(Unattended::Late) => {
                let now = timer.now();
                let unanswered = endpoint.unanswered(now.since(start));
                owner.dial_failed(now, DialError::Unanswered(unanswered));
            }
            Err(Unattended::Unwanted) => {}
        }
    }
}

/// Waits until `dial` says so: it is asked again each time that the task is woken, since a command may
/// have come for which it says it sooner.
pub async fn dial_time<C: Timer>(timer: &C, mut dial: impl FnMut(Instant) -> Dial) {
    let (mut sleep, mut sleeps_until) = (pin!(None), Instant::default());
    poll_fn(|cx| {
        loop {
            match dial(timer.now()) {
                Dial::Now => return Poll::Ready(()),
                Dial::Wait { until } if sleep.is_none() || until != sleeps_until => {
                    sleep.set(Some(timer.sleep_until(until)));
                    sleeps_until = until;
                }
                Dial::Wait { .. } => {}
            }
            if let Some(sleep) = sleep.as_mut().as_pin_mut() {
                core::task::ready!(sleep.poll(cx));
            }
            // A timer may be early.
            sleep.set(None);
        }
    })
    .await;
}

/// Waits until the owner wants a connection, or never will.
async fn owner_wants<E, C: Timer, O: Owner<E> + ?Sized>(
    owner: &RefCell<&mut O>,
    timer: &C,
) -> Wanted {
    loop {
        let deadline = owner.borrow().deadline();
        let mut sleep = pin!(timer.sleep_until(deadline));
        let wanted = poll_fn(|cx| {
            let wanted = owner.borrow_mut().poll_wanted(cx, timer.now());
            let changed = owner.borrow().deadline() != deadline;
            match wanted {
                Wanted::Later if !changed => sleep.as_mut().poll(cx).map(|()| Wanted::Later),
                wanted => Poll::Ready(wanted),
            }
        })
        .await;
        if wanted != Wanted::Later {
            return wanted;
        }
    }
}

/// Why something was not waited for.
enum Unattended {
    Unwanted,
    Late,
}

/// Waits for `future`, and sees to the owner until there is a connection: that must be there by
/// `until`.
async fn attend<E, C, M, O, F, const WAITERS: usize>(
    owner: &RefCell<&mut O>,
    timer: &C,
    tokens: &SharedTokenManager<M, WAITERS>,
    until: Instant,
    connected: &Cell<bool>,
    mut future: Pin<&mut F>,
) -> Result<F::Output, Unattended>
where
    C: Timer,
    M: Storage<u8>,
    O: Owner<E> + ?Sized,
    F: Future,
{
    let mut waiting = None;
    loop {
        let deadline = owner.borrow().deadline();
        let mut sleep = pin!(Some(timer.sleep_until(deadline.min(until))));
        let step = poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(Ok(output)));
            }
            // From then on the owner is the connection's.
            if connected.get() {
                sleep.set(None);
                waiting = None;
                return Poll::Pending;
            }
            let now = timer.now();
            if owner.borrow_mut().poll_wanted(cx, now) != Wanted::Now {
                return Poll::Ready(Some(Err(Unattended::Unwanted)));
            }
            if now >= until {
                return Poll::Ready(Some(Err(Unattended::Late)));
            }
            let waits = owner.borrow().is_waited_for();
            if waits != waiting.is_some() {
                waiting = waits.then(|| tokens.waiting());
            }
            let changed = owner.borrow().deadline() != deadline;
            match sleep.as_mut().as_pin_mut() {
                Some(sleep) if !changed => sleep.poll(cx).map(|()| None),
                _ => Poll::Ready(None),
            }
        })
        .await;
        if let Some(result) = step {
            return result;
        }
    }
}

/// Serves a connection over the transport that was opened for it.
struct Serving<'s, 'o, C, B, R, M, O, E, const WAITERS: usize>
where
    B: Storage<u8>,
    M: Storage<u8>,
    O: ?Sized,
{
    connected: &'s Cell<bool>,
    connection: &'s mut Connection<B, R>,
    timer: &'s C,
    tokens: &'s SharedTokenManager<M, WAITERS>,
    owner: &'s RefCell<&'o mut O>,
    errors: PhantomData<E>,
}

impl<C, B, R, M, O, E, const WAITERS: usize> Session for Serving<'_, '_, C, B, R, M, O, E, WAITERS>
where
    C: Timer,
    B: Storage<u8>,
    R: Storage<Pending>,
    M: Storage<u8>,
    O: Owner<E> + ?Sized,
{
    type Output = CloseReason;

    #[allow(clippy::await_holding_refcell_ref)]
    async fn run<I: Read, W: Write>(self, reader: I, writer: W) -> CloseReason {
        self.connected.set(true);
        // Nobody else looks at it from now on, until the transport is gone.
        let mut owner = self.owner.borrow_mut();
        owner.connected();
        self.timer.yield_now().await;
        let halves = (reader, writer);
        serve(self.connection, halves, self.timer, self.tokens, &mut **owner).await
    }
}
