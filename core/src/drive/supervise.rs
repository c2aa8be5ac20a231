//! The connections of a supervisor, dialed and driven.

use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;

use embedded_io_async::{Read, Write};

use super::supervised::{NotNeeded, Supervised, Workload};
use super::{DialError, Handler, LOOK_EVERY, Outputs, SharedTokenManager, Submit, serve};
use crate::connection::{CloseReason, Connection, ConnectionHealth, Output, Pending};
use crate::storage::Storage;
use crate::supervisor::{Demand, DialAttempt, Role};
use crate::time::{Clock, Instant, Timer};
use crate::transport::{ConnectError, Connector, Endpoint, Stage, TransportUser};

/// Drives connections to `endpoint` until no caller needs one: one at a time, or one with each of both
/// connectors while one takes the place of the other. `connection` makes them. With a
/// [`Progress`](crate::transport::Progress) in `endpoint`, the error of a dial that takes too long says
/// what it waited for.
///
/// # Cancel safety
/// Dropping the future ends the connections: what was under way is lost.
pub async fn supervise<K, C, B, R, M, W, const WAITERS: usize>(
    [first, second]: &mut [K; 2],
    endpoint: &Endpoint<'_>,
    connection: impl Fn() -> Connection<B, R>,
    timer: &C,
    tokens: &SharedTokenManager<M, WAITERS>,
    supervised: &mut Supervised<W, 2>,
) where
    K: Connector,
    C: Timer,
    B: Storage<u8>,
    R: Storage<Pending>,
    M: Storage<u8>,
    W: Workload + ?Sized,
{
    let all = Places::new(endpoint, connection, timer, tokens, supervised);
    let (first, second) = (pin!(all.keep(0, first)), pin!(all.keep(1, second)));
    all.drive(&mut [first, second]).await;
}

/// Drives one connection to `endpoint` after the other, where there is memory for one: see
/// [`supervise`].
///
/// # Cancel safety
/// Dropping the future ends the connection: what was under way is lost.
pub async fn supervise_one<K, C, B, R, M, W, const WAITERS: usize>(
    connector: &mut K,
    endpoint: &Endpoint<'_>,
    connection: impl Fn() -> Connection<B, R>,
    timer: &C,
    tokens: &SharedTokenManager<M, WAITERS>,
    supervised: &mut Supervised<W, 1>,
) where
    K: Connector,
    C: Timer,
    B: Storage<u8>,
    R: Storage<Pending>,
    M: Storage<u8>,
    W: Workload + ?Sized,
{
    let all = Places::new(endpoint, connection, timer, tokens, supervised);
    let only = pin!(all.keep(0, connector));
    all.drive(&mut [only]).await;
}

/// The places of a supervisor.
struct Places<'s, F, C, M: Storage<u8>, W: ?Sized, const N: usize, const WAITERS: usize> {
    endpoint: &'s Endpoint<'s>,
    connection: F,
    timer: &'s C,
    tokens: &'s SharedTokenManager<M, WAITERS>,
    supervised: RefCell<&'s mut Supervised<W, N>>,
    /// A connection lets other tasks have a turn.
    yields: Cell<bool>,
    /// There is no room to be woken when a token comes.
    is_crowded: Cell<bool>,
}

impl<'s, F, C, M, W, const N: usize, const WAITERS: usize> Places<'s, F, C, M, W, N, WAITERS>
where
    C: Timer,
    M: Storage<u8>,
    W: Workload + ?Sized,
{
    const fn new(
        endpoint: &'s Endpoint<'s>,
        connection: F,
        timer: &'s C,
        tokens: &'s SharedTokenManager<M, WAITERS>,
        supervised: &'s mut Supervised<W, N>,
    ) -> Self {
        let supervised = RefCell::new(supervised);
        let (yields, is_crowded) = (Cell::new(false), Cell::new(false));
        Self { endpoint, connection, timer, tokens, supervised, yields, is_crowded }
    }

    /// Polls the places until no connection is needed.
    async fn drive(&self, places: &mut [Pin<&mut dyn Future<Output = ()>>]) {
        // What was done at a workload's deadline isn't due a second time, even if it is still there.
        let mut done = None;
        let mut waiting = None;
        loop {
            let deadline = self.deadline(done);
            // Without a place among the waiters, it looks for news from time to time.
            let most = if self.is_crowded.get() { LOOK_EVERY } else { Duration::MAX };
            let wake = deadline.min(self.timer.now().plus(most));
            let mut sleep = pin!(self.timer.sleep_until(wake));
            let ended = poll_fn(|cx| {
                loop {
                    let Ok(demand) = self.update(cx) else { return Poll::Ready(true) };
                    let waits = demand == Demand::Waiting;
                    if waits != waiting.is_some() {
                        waiting = waits.then(|| self.tokens.waiting());
                    }
                    for place in &mut *places {
                        // They never end: a connection that has ended makes way for the next one.
                        if place.as_mut().poll(cx).is_ready() {
                            return Poll::Ready(true);
                        }
                    }
                    if self.yields.take() {
                        return Poll::Pending;
                    }
                    if !self.supervised.borrow_mut().take_changed() {
                        break;
                    }
                }
                if self.deadline(done) != deadline {
                    return Poll::Ready(false);
                }
                sleep.as_mut().poll(cx).map(|()| false)
            })
            .await;
            if ended {
                return;
            }
            let now = self.timer.now();
            let supervised = &mut **self.supervised.borrow_mut();
            let due = supervised.workload.deadline();
            if now >= due && done != Some(due) {
                let serves = supervised.supervisor.serving().is_some();
                supervised.workload.expire(now, serves);
                done = Some(due).filter(|due| supervised.workload.deadline() == *due);
            }
        }
    }

    #[inline(never)]
    fn deadline(&self, done: Option<Instant>) -> Instant {
        let supervised = self.supervised.borrow();
        let due = supervised.workload.deadline();
        let due = if done == Some(due) { Instant::FAR_FUTURE } else { due };
        supervised.next_deadline().min(due)
    }

    #[inline(never)]
    fn update(&self, cx: &mut Context<'_>) -> Result<Demand, NotNeeded> {
        self.is_crowded.set(!self.tokens.register(cx));
        let manager = self.tokens.manager.borrow();
        self.supervised.borrow_mut().update(cx, self.timer.now(), &manager)
    }

    #[inline(never)]
    fn role(&self, place: usize) -> Role {
        self.supervised.borrow().supervisor.role(place, self.timer.now())
    }

    /// Does what the supervisor says about one place: polled whenever that may have changed.
    async fn keep<K, B, R>(&self, place: usize, connector: &mut K)
    where
        K: Connector,
        B: Storage<u8>,
        R: Storage<Pending>,
        F: Fn() -> Connection<B, R>,
    {
        loop {
            let attempt = poll_fn(|_| match self.role(place) {
                Role::Dial(attempt) => Poll::Ready(attempt),
                _ => Poll::Pending,
            })
            .await;
            self.dial(place, attempt, connector).await;
        }
    }

    /// Dials, and serves what is dialed to its end.
    async fn dial<K, B, R>(&self, place: usize, attempt: DialAttempt, connector: &mut K)
    where
        K: Connector,
        B: Storage<u8>,
        R: Storage<Pending>,
        F: Fn() -> Connection<B, R>,
    {
        let connection = &mut (self.connection)();
        let (start, is_connected) = (self.timer.now(), Cell::new(false));
        self.supervised.borrow_mut().workload.dials(start);
        self.endpoint.begins(Stage::Dial);
        let endpoint = &self.endpoint.with_deadline(attempt.until);
        let serving = Serving { place, all: self, connection, is_connected: &is_connected };
        // Pinned here: a future that is handed over has its room twice.
        let mut dialing = pin!(connector.connect(endpoint, serving));
        let dialed = poll_fn(|cx| {
            if let Poll::Ready(dialed) = dialing.as_mut().poll(cx) {
                return Poll::Ready(Some(dialed));
            }
            // From then on it ends by itself.
            let goes_on = is_connected.get() || self.role(place) == Role::Dial(attempt);
            let is_late = !is_connected.get() && self.timer.now() >= attempt.until;
            if goes_on && !is_late { Poll::Pending } else { Poll::Ready(None) }
        })
        .await;
        let now = self.timer.now();
        match dialed {
            Some(Ok(reason)) => self.supervised.borrow_mut().ended(place, now, reason),
            Some(Err(error)) => self.dial_failed(place, now, &DialError::Failed(error)),
            // Does nothing if it is not wanted any more.
            None => {
                let unanswered = endpoint.unanswered(now.since(start));
                self.dial_failed(place, now, &DialError::<K::Error>::Unanswered(unanswered));
            }
        }
    }

    #[inline(never)]
    fn dial_failed(&self, place: usize, now: Instant, error: &dyn ConnectError) {
        let mut supervised = self.supervised.borrow_mut();
        if let Some(event) = supervised.dial_failed(place, now, error.kind()) {
            supervised.workload.dial_failed(now, error, &event);
        }
    }
}

/// Serves a connection over the transport that was opened for it.
struct Serving<'s, P, B: Storage<u8>, R> {
    place: usize,
    all: &'s P,
    connection: &'s mut Connection<B, R>,
    is_connected: &'s Cell<bool>,
}

impl<F, C, M, W, B, R, const N: usize, const WAITERS: usize> TransportUser
    for Serving<'_, Places<'_, F, C, M, W, N, WAITERS>, B, R>
where
    C: Timer,
    B: Storage<u8>,
    R: Storage<Pending>,
    M: Storage<u8>,
    W: Workload + ?Sized,
{
    type Output = CloseReason;

    async fn run<I: Read, O: Write>(self, reader: I, writer: O) -> CloseReason {
        let Self { place, all, connection, is_connected } = self;
        is_connected.set(true);
        all.supervised.borrow_mut().dialed(place);
        all.yields.set(true);
        // Tasks that wait for a connection run before the login is written, so that their commands may
        // go out together with it.
        all.timer.yield_now().await;
        let mut handler =
            Place { place, endpoint: all.endpoint, clock: all.timer, supervised: &all.supervised };
        serve(connection, (reader, writer), all.timer, all.tokens, &mut handler).await
    }
}

/// The handler of the connection at a place.
struct Place<'s, 'w, C, W: ?Sized, const N: usize> {
    place: usize,
    endpoint: &'s Endpoint<'s>,
    clock: &'s C,
    supervised: &'s RefCell<&'w mut Supervised<W, N>>,
}

impl<C: Clock, W: Workload + ?Sized, const N: usize> Handler for Place<'_, '_, C, W, N> {
    fn poll_commands(&mut self, cx: &mut Context<'_>, connection: &mut dyn Submit) {
        let mut supervised = self.supervised.borrow_mut();
        if self.endpoint.is_worn() {
            supervised.wears_out();
        }
        let now = self.clock.now();
        if supervised.submit(self.place, cx, now, connection).is_err() {
            connection.close(CloseReason::Closed);
        }
    }

    fn outputs(&mut self, now: Instant, outputs: &mut dyn Outputs) {
        let seen = &mut Seen { endpoint: self.endpoint, outputs };
        self.supervised.borrow_mut().outputs(self.place, now, seen);
    }

    fn has_limits(&self) -> bool {
        self.supervised.borrow().workload.has_limits()
    }

    fn poll_room(&mut self, cx: &mut Context<'_>, output: &Output<'_>) -> Poll<()> {
        self.supervised.borrow_mut().workload.poll_room(cx, output)
    }

    fn output(&mut self, output: Output<'_>) {
        self.outputs(self.clock.now(), &mut Single(Some(output)));
    }

    fn broke(&mut self, error: &dyn core::error::Error) {
        self.supervised.borrow_mut().workload.broke(self.place, error);
    }

    fn speaking(&mut self, health: &ConnectionHealth) {
        self.supervised.borrow_mut().workload.speaking(self.place, health);
    }

    fn settle(&mut self, health: &ConnectionHealth) {
        let now = self.clock.now();
        self.supervised.borrow_mut().workload.settle(self.place, now, health);
    }

    fn give_back(&mut self) {
        self.supervised.borrow_mut().workload.give_back();
    }
}

/// The one output that there is room for.
struct Single<'s>(Option<Output<'s>>);

impl Outputs for Single<'_> {
    fn next_output(&mut self, _: Instant) -> Option<Output<'_>> {
        self.0.take()
    }
}

/// Outputs, of which the endpoint sees the events.
struct Seen<'s> {
    endpoint: &'s Endpoint<'s>,
    outputs: &'s mut dyn Outputs,
}

impl Outputs for Seen<'_> {
    fn next_output(&mut self, now: Instant) -> Option<Output<'_>> {
        let output = self.outputs.next_output(now)?;
        if let Output::Event(event) = &output {
            self.endpoint.observe(event);
        }
        Some(output)
    }
}
