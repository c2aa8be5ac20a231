//! A handle whose commands go to the nodes that have their keys.

mod divide;
mod flight;
mod goal;
mod patience;
mod pipeline;
mod primaries;
mod repeat;
mod rounds;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use super::command_queue::QueueState;
use super::error::Error;
use super::handle::Handle;
use super::lock::Lock;
use super::router::{PATIENCE, Place, RouterHost, slot_of};
use goal::{Goal, Tries};
use patience::Patience;
use redis_entraid_core::args;
use redis_entraid_core::cluster::{Attempts, Slot, route};
use redis_entraid_core::command::{CommandClass, classify};
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::time::{Instant, Timer};
use rounds::Rounds;

/// A handle whose commands go to the nodes that have their keys: home, which is the client's own connection, until a
/// `MOVED` says that there are others.
pub struct RoutingHandle<L: Lock<QueueState>> {
    home: Handle<L>,
    /// Handles at nodes, by the nodes' places in the map.
    visits: Vec<Option<Visit<L>>>,
    last: Last,
    /// Where a transaction or a `WATCH` was begun, which may be over.
    session: Option<Place>,
    rounds: Rounds,
}

struct Visit<L: Lock<QueueState>> {
    number: u32,
    handle: Handle<L>,
}

/// Where the last replies are.
#[derive(Clone, Copy, Debug)]
enum Last {
    /// At this handle, from this number on.
    Handle(Place, usize),
    /// In several places, by a pipeline.
    Rounds,
    /// Nowhere: the command was for several slots.
    CrossSlot,
}

impl<L: Lock<QueueState>> RoutingHandle<L> {
    /// Creates one whose home is the client's own connection.
    pub fn new(home: Handle<L>) -> Self {
        let (visits, rounds) = Default::default();
        Self { home, visits, last: Last::Handle(Place::Home, 0), session: None, rounds }
    }

    /// Creates another one with the same home.
    pub fn another(&self) -> Self {
        Self::new(self.home.another())
    }

    /// The handle on the client's own connection.
    pub const fn home(&self) -> &Handle<L> {
        &self.home
    }

    /// Executes a command as [`Handle::execute`] does, at the node that has its key. What a node refuses since it
    /// hasn't, or hasn't yet, is sent again where it says, or where the map says, as long as there is time. Without a
    /// `host`, what a server says is the reply.
    ///
    /// A `MOVED` to the connection's own address means that another server is there by now: it is dialed again for
    /// the command, and again if that doesn't help, each time later.
    ///
    /// # Errors
    /// [`Error`] if nothing was sent, or not to the node that it had to go to.
    pub async fn execute(
        &mut self,
        timer: &impl Timer,
        slice: impl Fn() -> Duration,
        limit: Option<Duration>,
        args: &[Arg<'_>],
        host: Option<&impl RouterHost<L>>,
    ) -> Result<(), Error> {
        let class = classify(args)?;
        self.rounds.rest();
        let begun = timer.now();
        let by = limit.map(|limit| begun.plus(limit));
        // The time that it blocks comes on top, anew at each node.
        let blocks = match class {
            CommandClass::Blocking(time) => Some(time.unwrap_or(Duration::MAX)),
            _ => None,
        };
        let session = self.session();
        let mut goal = match (host, session) {
            (_, Some(place)) => Goal::at(place),
            (Some(host), None) if self.home.queue().is_cluster() => {
                match self.place(begun, host, args) {
                    Some(place) => Goal::at(place),
                    None => {
                        self.last = Last::CrossSlot;
                        return Ok(());
                    }
                }
            }
            _ => Goal::at(Place::Home),
        };
        let mut kept = None;
        loop {
            let now = timer.now();
            let times = match blocks {
                Some(_) => (now, limit.map(|limit| now.plus(limit))),
                None => (begun, by),
            };
            let left = times.1.map(|by| by.since(now));
            self.note_session(class, goal.place);
            let executed =
                self.execute_at(goal, class, times, timer, &slice, left, args, host).await;
            self.last = Last::Handle(goal.place, usize::from(goal.is_asking));
            let is_answer = match &executed {
                Ok(true) => !self.is_refused(),
                Ok(false) => false,
                Err(_) => goal.place == Place::Home,
            };
            let Some(host) = host.filter(|_| !is_answer && session.is_none()) else {
                if !is_answer && session.is_none() && executed.is_ok() {
                    self.renew_home(timer.now());
                }
                return executed.map(drop);
            };
            let now = timer.now();
            let tries = kept.get_or_insert_with(|| {
                let limits = self.home.queue().limits();
                let by = by.unwrap_or_else(|| begun.plus(limits.queue));
                let by = blocks.map_or(by, |time| by.plus(time));
                // A `WATCH` that is refused has watched nothing.
                let class = if class == CommandClass::Watch { CommandClass::Plain } else { class };
                // It is rare, and would make all other commands larger.
                Box::new(Tries::new(Attempts::new(args, class, route(args), by), by, limits.seed))
            });
            let next = match executed {
                // There is no map: who redirected there is asked again.
                Ok(false) => {
                    kept = None;
                    Some((now, Goal::at(Place::Home)))
                }
                Ok(true) => self.next(now, host, goal, args, tries),
                Err(ref error) => self.next_after(now, host, goal, args, error, tries),
            };
            let Some((at, next)) = next else { return executed.map(drop) };
            goal = next;
            if now < at {
                // It is rare, and would make all other commands larger.
                Box::pin(timer.sleep_until(at)).await;
            }
            if core::mem::take(&mut goal.renews) {
                // Another call may have asked meanwhile.
                let _ = self.at(goal.place).renew(timer.now());
            }
        }
    }

    /// Executes a command at one place. False if there is no way there, and nobody knows another one.
    #[allow(clippy::too_many_arguments)] // All of them are its caller's.
    async fn execute_at(
        &mut self,
        goal: Goal,
        class: CommandClass,
        (begun, by): (Instant, Option<Instant>),
        timer: &impl Timer,
        slice: impl Fn() -> Duration,
        left: Option<Duration>,
        args: &[Arg<'_>],
        host: Option<&impl RouterHost<L>>,
    ) -> Result<bool, Error> {
        let handle = self.enter(goal.place, host);
        if goal.is_asking {
            // One that blocks is not sliced there. It is rare, and would make all other commands larger.
            let asking: &[Arg<'_>] = args!["ASKING"];
            let both = [asking, args].into_iter();
            return Box::pin(handle.execute_all(timer, left, both)).await.map(|()| true);
        }
        let node = host.filter(|_| goal.place != Place::Home).map(|host| {
            let queue = handle.queue().clone();
            let wait = by.unwrap_or_else(|| begun.plus(queue.limits().queue));
            handle.wait_until(wait);
            (host, queue, wait)
        });
        let mut patience = Patience::new();
        let mut executing = pin!(handle.execute_as(class, timer, slice, left, args));
        poll_fn(|cx| {
            if let Poll::Ready(executed) = executing.as_mut().poll(cx) {
                return Poll::Ready(executed.map(|()| true));
            }
            let Some((host, queue, wait)) = &node else { return Poll::Pending };
            let sleep = || {
                let until = Some(timer.now().plus(PATIENCE)).filter(|until| until < wait)?;
                Some(timer.sleep_until(until))
            };
            while patience.poll_over(cx, || queue.is_untried(), sleep).is_ready() {
                if !suspect(*host, timer.now()) {
                    // Who goes has withdrawn.
                    return Poll::Ready(Ok(false));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Where a command goes by its keys. Nowhere if they are in several slots.
    fn place(&self, now: Instant, host: &impl RouterHost<L>, args: &[Arg<'_>]) -> Option<Place> {
        Some(place_of(host, now, slot_of(route(args)).ok()?))
    }

    /// The number of the visit to a place where it has been, which isn't home.
    fn visited(&self, place: Place) -> Option<usize> {
        let Place::Node { index, number } = place else { return None };
        let at = usize::from(index);
        let visit = self.visits.get(at)?.as_ref()?;
        (visit.number == number).then_some(at)
    }

    /// The handle at a place. It takes no commands if there is no such connection any more.
    fn enter(&mut self, place: Place, host: Option<&impl RouterHost<L>>) -> &mut Handle<L> {
        let (Place::Node { index, number }, Some(host)) = (place, host) else {
            return &mut self.home;
        };
        let at = usize::from(index);
        if self.visited(place).is_none() {
            let queue = host.router().lock().queue(index, number);
            if self.visits.len() <= at {
                self.visits.resize_with(at + 1, || None);
            }
            if let Some(visit) = self.visits.get_mut(at) {
                *visit = Some(Visit { number, handle: Handle::new(queue) });
            }
        }
        self.at_mut(place)
    }

    /// The handle at a place where it has been.
    fn at(&self, place: Place) -> &Handle<L> {
        let visit = self.visited(place).and_then(|at| self.visits.get(at)?.as_ref());
        visit.map_or(&self.home, |visit| &visit.handle)
    }

    /// The same, to send something.
    fn at_mut(&mut self, place: Place) -> &mut Handle<L> {
        let at = self.visited(place);
        let Self { home, visits, .. } = self;
        let visit = at.and_then(|at| visits.get_mut(at)?.as_mut());
        visit.map_or(home, |visit| &mut visit.handle)
    }

    /// Where a transaction is open, or a `WATCH`.
    fn session(&mut self) -> Option<Place> {
        let place = self.session?;
        self.session = Some(place).filter(|place| self.at(*place).has_session());
        self.session
    }

    /// Notes where a transaction or a `WATCH` begins, before that is sent: if the future is dropped, the session is open all
    /// the same.
    const fn note_session(&mut self, class: CommandClass, place: Place) {
        if let CommandClass::Multi | CommandClass::Watch = class {
            self.session = Some(place);
        }
    }

    /// For how many bytes there is memory for pipelines.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.rounds.room()
    }

    /// How many replies came to the last commands.
    pub fn replies(&self) -> usize {
        match self.last {
            Last::Handle(place, first) => self.at(place).replies().saturating_sub(first),
            Last::Rounds => self.rounds.len(),
            Last::CrossSlot => 1,
        }
    }

    /// The reply number `at` of those that came last.
    ///
    /// # Errors
    /// [`Error`] if there is none, or if it is one of the server's.
    pub fn pick(&self, at: usize) -> Result<Value<'_>, Error> {
        match self.last {
            Last::Handle(place, first) => self.at(place).pick(at + first),
            Last::Rounds => self.rounds.pick(at),
            Last::CrossSlot => Err(Error::CrossSlot),
        }
    }
}

/// Where a command goes whose keys are in `slot`.
fn place_of<L: Lock<QueueState>>(
    host: &impl RouterHost<L>,
    now: Instant,
    slot: Option<Slot>,
) -> Place {
    let (place, todo) = host.router().lock().place(now, slot);
    todo.done(host);
    place
}

/// The map may be wrong. Says whether there is one.
fn suspect<L: Lock<QueueState>>(host: &impl RouterHost<L>, now: Instant) -> bool {
    let (todo, has_map) = {
        let mut router = host.router().lock();
        (router.suspect(now), router.has_map())
    };
    todo.done(host);
    has_map
}

impl<L: Lock<QueueState>> fmt::Debug for RoutingHandle<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutingHandle").field("home", &self.home).finish_non_exhaustive()
    }
}
