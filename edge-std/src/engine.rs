//! The task behind a client or a subscriber: it dials and moves bytes. All rules are the core's.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use redis_entraid_core::connection::{CloseReason, Config};
use redis_entraid_core::drive::{NotNeeded, Supervised, Workload};
use redis_entraid_core::policy::Jitter;
use redis_entraid_core::reconnect::ReconnectPolicy;
use redis_entraid_core::supervisor::{Demand, DialAttempt, Role, Supervisor};
use redis_entraid_core::time::{Clock, Instant};
use redis_entraid_core::transport::Stage;

use crate::clock::{TokioClock, tokio_instant};
use crate::connect::Connect;
use crate::error::ConnectError;
use crate::identity::Waiting;
use crate::pump::{Pump, how};
use crate::status::Status;

/// How connections are made.
pub(crate) struct Dialer<C> {
    pub(crate) connector: C,
    pub(crate) config: Config,
    pub(crate) max_reply: usize,
    pub(crate) reconnect: ReconnectPolicy,
}

impl<C> Dialer<C> {
    pub(crate) fn supervisor(&self) -> Supervisor<2> {
        Supervisor::new(self.reconnect.clone(), Jitter::new(crate::random()))
    }
}

/// Drives the connections of a supervisor.
pub(crate) struct Engine<C: Connect, W> {
    dialer: Arc<Dialer<C>>,
    status: Arc<Status>,
    /// The number of the connections' logins, in the spread of the policy.
    id: u64,
    supervised: Supervised<W, 2>,
    places: [Place<C::Stream>; 2],
    /// A caller waits for a connection.
    waiting: Option<Waiting>,
    /// Tokens or the time have changed, or a connection has something to do.
    changed: bool,
    /// What was done at this deadline of the workload's isn't due a second time.
    done: Option<Instant>,
}

/// A place for a connection.
enum Place<S> {
    Empty,
    /// In a place of its own, which is given back: a task is as large as all that it ever waits for.
    Dialing(DialAttempt, Instant, Dialing<S>),
    Open(Box<Pump<S>>),
}

type Dialing<S> = Pin<Box<dyn Future<Output = Result<S, ConnectError>> + Send>>;

/// How often it is read and written before other tasks have a turn: a flood must hold neither a login
/// up nor the task that waits for what came. Not every stream takes part in the runtime's budget.
const ROUNDS: u32 = 64;

/// However the task ends.
impl<C: Connect, W> Drop for Engine<C, W> {
    fn drop(&mut self) {
        self.status.end();
    }
}

impl<C: Connect, W: Workload> Engine<C, W> {
    pub(crate) fn new(
        dialer: Arc<Dialer<C>>,
        status: Arc<Status>,
        supervisor: Supervisor<2>,
        workload: W,
    ) -> Self {
        let supervised = Supervised::new(supervisor, workload);
        let places = [Place::Empty, Place::Empty];
        let (id, waiting, done) = (crate::random(), None, None);
        Self { dialer, status, id, supervised, places, waiting, changed: true, done }
    }

    /// Keeps a connection until none is needed.
    pub(crate) async fn run(&mut self) {
        let mut news = self.status.identity.news();
        loop {
            let deadline = self.deadline();
            tokio::select! {
                // What was received is processed before time limits are checked.
                biased;
                polled = poll_fn(|cx| self.poll(cx, deadline)) => if polled.is_err() { break },
                _ = news.changed() => {}
                () = tokio::time::sleep_until(tokio_instant(deadline)) => self.expire(),
            }
            self.changed = true;
        }
    }

    fn deadline(&self) -> Instant {
        let due = self.supervised.workload.deadline();
        let due = if self.done == Some(due) { Instant::FAR_FUTURE } else { due };
        self.places.iter().fold(self.supervised.next_deadline().min(due), |least, place| {
            let Place::Open(pump) = place else { return least };
            least.min(pump.connection.next_deadline())
        })
    }

    /// Fails the commands whose time is over.
    fn expire(&mut self) {
        let (now, due) = (TokioClock.now(), self.supervised.workload.deadline());
        if now >= due && self.done != Some(due) {
            let serves = self.supervised.supervisor.serving().is_some();
            self.supervised.workload.expire(now, serves);
            self.done = Some(due);
        }
    }

    /// Moves what can be moved. Ready when something is due before `deadline`.
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<Result<(), NotNeeded>> {
        for _ in 0..ROUNDS {
            let has_changed = core::mem::take(&mut self.changed);
            if has_changed || self.supervised.supervisor.serving().is_none() {
                self.update(cx)?;
            }
            let mut progress = false;
            for place in 0..self.places.len() {
                progress |= self.poll_place(place, cx)?;
            }
            self.changed |= self.supervised.take_changed();
            if self.deadline() < deadline {
                return Poll::Ready(Ok(()));
            }
            if !progress && !self.changed {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Has the supervisor and the connections see the time and the tokens.
    fn update(&mut self, cx: &mut Context<'_>) -> Result<(), NotNeeded> {
        let now = TokioClock.now();
        let Self { status, supervised, places, .. } = self;
        let mut manager = status.identity.manager();
        let before = manager.next_deadline();
        for place in places.iter_mut() {
            if let Place::Open(pump) = place {
                pump.connection.update(now, &mut manager);
            }
        }
        let is_due_earlier = manager.next_deadline() < before;
        let demand = supervised.update(cx, now, &manager)?;
        let has_token = manager.login(now).is_some();
        drop(manager);
        if is_due_earlier {
            // A token was refused: the source should be asked before its time.
            status.identity.nudge();
        }
        if !has_token && supervised.supervisor.serving().is_none() {
            status.note_missing_token();
        }
        let waits = demand == Demand::Waiting;
        if waits != self.waiting.is_some() {
            self.waiting = waits.then(|| status.identity.waiting());
        }
        for place in 0..self.places.len() {
            self.outputs(place);
        }
        Ok(())
    }

    /// Does what the supervisor says about one place. Says whether there was something.
    fn poll_place(&mut self, place: usize, cx: &mut Context<'_>) -> Result<bool, NotNeeded> {
        let now = TokioClock.now();
        let role = self.supervised.supervisor.role(place, now);
        let Some(here) = self.places.get_mut(place) else { return Ok(false) };
        match (role, &mut *here) {
            (Role::Dial(attempt), Place::Dialing(under_way, since, dialing))
                if attempt == *under_way =>
            {
                let dialed = match dialing.as_mut().poll(cx) {
                    Poll::Ready(dialed) => dialed,
                    Poll::Pending if now >= attempt.until => Err(self.status.unanswered(*since)),
                    Poll::Pending => return Ok(false),
                };
                *here = Place::Empty;
                self.dialed(place, dialed);
                Ok(true)
            }
            (Role::Dial(attempt), _) => {
                let dialing = self.dial(attempt, now);
                if let Some(here) = self.places.get_mut(place) {
                    *here = Place::Dialing(attempt, now, dialing);
                }
                Ok(true)
            }
            (_, Place::Dialing(..)) => {
                // It is not needed any more.
                *here = Place::Empty;
                Ok(true)
            }
            (_, Place::Empty) => Ok(false),
            (_, Place::Open(_)) => self.pump(place, cx, now),
        }
    }

    fn dial(&mut self, attempt: DialAttempt, now: Instant) -> Dialing<C::Stream> {
        self.supervised.workload.dials(now);
        let (dialer, status) = (self.dialer.clone(), self.status.clone());
        Box::pin(async move {
            let endpoint = status.endpoint().with_deadline(attempt.until);
            endpoint.begins(Stage::Dial);
            dialer.connector.connect(endpoint).await
        })
    }

    fn dialed(&mut self, place: usize, dialed: Result<C::Stream, ConnectError>) {
        let Self { dialer, status, supervised, places, .. } = self;
        match (dialed, places.get_mut(place)) {
            (Ok(stream), Some(here)) => {
                let config = Config { id: self.id, ..dialer.config.clone() };
                *here = Place::Open(Box::new(Pump::new(stream, config, dialer.max_reply)));
                supervised.dialed(place);
            }
            (Err(error), _) => {
                if let Some(event) = supervised.dial_failed(place, TokioClock.now(), error.kind()) {
                    status.failed(error, &event);
                }
            }
            (Ok(_), None) => {}
        }
    }

    /// Reads and writes. Says whether there was something.
    fn pump(
        &mut self,
        place: usize,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Result<bool, NotNeeded> {
        let Self { status, supervised, places, .. } = self;
        let Some(Place::Open(pump)) = places.get_mut(place) else { return Ok(false) };
        if status.endpoint().is_worn() {
            supervised.wears_out();
        }
        let mut progress = supervised.submit(place, cx, now, &mut pump.connection.taking(now))?;
        let mut broke = |pump: &mut Pump<C::Stream>, error| {
            let how = how(&error);
            let error = Arc::new(error);
            status.keep_cause(error.clone());
            supervised.workload.broke(place, &error);
            pump.connection.closed(CloseReason::Broken(how));
            true
        };
        progress |= pump.write(cx).unwrap_or_else(|error| broke(pump, error));
        // What a server said before it has closed the connection is heard, even if a write fails.
        let has_read = pump.read(cx).unwrap_or_else(|error| broke(pump, error));
        if has_read || pump.connection.has_ended() {
            progress = true;
            self.outputs(place);
        }
        if let Some(Place::Open(pump)) = self.places.get(place)
            && pump.connection.needs_update()
        {
            self.changed = true;
        }
        Ok(progress)
    }

    /// Hands out what the connection has to say, and sees whether it has ended.
    fn outputs(&mut self, place: usize) {
        let now = TokioClock.now();
        let Self { supervised, places, .. } = self;
        let Some(here @ Place::Open(_)) = places.get_mut(place) else { return };
        let Place::Open(pump) = here else { return };
        let connection = &mut pump.connection;
        supervised.outputs(place, now, connection);
        match connection.close_reason() {
            None => {
                supervised.workload.settle(place, now, &connection.health(now));
                if connection.is_quiet(now) {
                    supervised.workload.give_back();
                }
            }
            // A refused token is to be known to the manager before the next login.
            Some(_) if connection.needs_update() => self.changed = true,
            Some(reason) => {
                *here = Place::Empty;
                supervised.ended(place, now, reason);
            }
        }
    }
}
