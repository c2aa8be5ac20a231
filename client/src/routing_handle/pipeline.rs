//! Pipelines: each command goes to the node that has its key.

use alloc::boxed::Box;
use core::time::Duration;

use super::goal::{Goal, is_elsewhere, is_error};
use super::rounds::Command;
use super::{Last, RoutingHandle, place_of};
use crate::command_queue::{Batch, Failure, MAX_BATCH, Open, QueueState};
use crate::error::Error;
use crate::lock::Lock;
use crate::router::{Place, RouterHost, slot_of};
use redis_entraid_core::cluster::{Route, route};
use redis_entraid_core::command::{CommandClass, EncodedCommand, classify};
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::time::{Instant, Timer};

impl<L: Lock<QueueState>> RoutingHandle<L> {
    /// Executes commands as [`Handle::execute_all`](crate::Handle::execute_all) does, each at the node that has its
    /// key, side by side; what lies between `MULTI` and `EXEC` is all at one node. What a node refuses since it
    /// hasn't the key, or not yet, is sent again where it says.
    ///
    /// # Errors
    /// [`Error`] if nothing was sent.
    pub async fn execute_all<'c, I>(
        &mut self,
        timer: &impl Timer,
        limit: Option<Duration>,
        commands: I,
        host: Option<&impl RouterHost<L>>,
    ) -> Result<(), Error>
    where
        I: Iterator<Item: AsRef<[Arg<'c>]>>,
    {
        let begun = timer.now();
        let by = limit.map(|limit| begun.plus(limit));
        let session = self.session();
        let host = host.filter(|_| session.is_none());
        if let Some(host) = host.filter(|_| self.home.queue().is_cluster()) {
            self.last = Last::Rounds;
            self.plan(begun, host, commands).inspect_err(|_| self.forget_batches())?;
            // It would make pipelines larger where there is no cluster.
            return Box::pin(self.rounds(timer, (begun, by), host)).await;
        }
        let place = session.unwrap_or(Place::Home);
        self.last = Last::Handle(place, 0);
        let batch = self.at_mut(place).batch_mut();
        batch.clear();
        let mut opens = false;
        for args in commands {
            let class = batch.push(args.as_ref())?;
            opens |= matches!(class, CommandClass::Multi | CommandClass::Watch);
        }
        if opens {
            // Noted before it is sent: if the future is dropped, the session is open all the same.
            self.session = Some(place);
        }
        let sent = self.at_mut(place).send_batch(timer, by).await;
        let handle = self.at(place);
        let is_redirected = |at| {
            let raw = handle.raw(at).ok().filter(|raw| is_error(raw));
            raw.and_then(|raw| Value::framed(raw).error()).is_some_and(|it| is_elsewhere(&it))
        };
        if let (Ok(()), Some(host)) = (&sent, host)
            && (0..handle.replies()).any(is_redirected)
        {
            // There is a cluster. It is rare, and would make all other pipelines larger.
            self.planned_at_home();
            return Box::pin(self.go_on(timer, (begun, by), host)).await;
        }
        self.at_mut(place).batch_mut().clear();
        if sent.is_ok() && host.is_none() && session.is_none() {
            self.renew_home(timer.now());
        }
        sent
    }

    /// Divides commands among the places that they go to.
    fn plan<'c>(
        &mut self,
        now: Instant,
        host: &impl RouterHost<L>,
        commands: impl Iterator<Item: AsRef<[Arg<'c>]>>,
    ) -> Result<(), Error> {
        self.rounds.clear();
        // The route of the unit that was begun, and its first command; and what is open in it.
        let (mut unit, mut open) = (None, None);
        for args in commands {
            let args = args.as_ref();
            let number = self.rounds.commands.len();
            if number == MAX_BATCH {
                return Err(Batch::too_many());
            }
            let (its, class) = (route(args), classify(args)?);
            open = Open::after(open, 0, class);
            if let (None, None, Ok(slot)) = (unit, open, slot_of(its)) {
                self.plan_at(host, place_of(host, now, slot), (class, its), args)?;
                continue;
            }
            let (together, first) = match unit {
                Some((before, first)) => (Route::and(before, its), first),
                None => (its, number),
            };
            let start = self.rounds.aside.size();
            self.rounds.aside.push_as(class, args)?;
            let at = (number - first, start);
            let its = Command { at, ..Command::new(class, first, Goal::at(Place::Home)) };
            self.rounds.commands.push(its);
            unit = Some((together, first));
            if open.is_none() {
                self.settle(now, host, together, first);
                unit = None;
            }
        }
        if let Some((together, first)) = unit {
            self.settle(now, host, together, first);
        }
        Ok(())
    }

    /// Has a command sent to a place that belongs to no other one.
    pub(super) fn plan_at(
        &mut self,
        host: &impl RouterHost<L>,
        place: Place,
        (class, route): (CommandClass, Route),
        args: &[Arg<'_>],
    ) -> Result<(), Error> {
        let place = self.begin_at(host, place);
        let batch = self.at_mut(place).batch_mut();
        let at = (batch.len(), batch.size());
        batch.push_as(class, args)?;
        self.note_session(class, place);
        let rounds = &mut self.rounds;
        let number = rounds.commands.len();
        rounds.current.push(number);
        let its = Command { route, at, ..Command::new(class, number, Goal::at(place)) };
        rounds.commands.push(its);
        Ok(())
    }

    /// Begins what is sent to a place, if it isn't begun. Returns the place.
    fn begin_at(&mut self, host: &impl RouterHost<L>, place: Place) -> Place {
        let places = &self.rounds.places;
        if places.last() == Some(&place) || places.contains(&place) {
            return place;
        }
        // The map may have changed since the first command was placed: what goes to the wrong node is redirected.
        if let Some(before) = places.iter().find(|before| before.is_instead_of(place)) {
            return *before;
        }
        self.rounds.places.push(place);
        self.enter(place, Some(host)).batch_mut().clear();
        place
    }

    /// Gives the commands from number `first` on, which are aside, to the place of their route.
    fn settle(&mut self, now: Instant, host: &impl RouterHost<L>, route: Route, first: usize) {
        let Ok(slot) = slot_of(route) else {
            let mut refused = self.rounds.spare.pop().unwrap_or_default();
            let number = self.rounds.replies.len();
            for (at, command) in self.rounds.commands.iter_mut().skip(first).enumerate() {
                refused.fail(Failure::CrossSlot);
                command.reply = (number, at);
            }
            self.rounds.replies.push(refused);
            self.rounds.aside.clear();
            return;
        };
        let place = place_of(host, now, slot);
        for at in first..self.rounds.commands.len() {
            if let Some(command) = self.rounds.commands.get_mut(at) {
                command.route = route;
                let from = command.at;
                self.send_from_aside(host, at, from, Goal::at(place));
            }
        }
        self.rounds.aside.clear();
    }

    /// Puts the command number `number`, which is aside, into what is sent to its goal.
    pub(super) fn send_from_aside(
        &mut self,
        host: &impl RouterHost<L>,
        number: usize,
        (at, start): (usize, usize),
        mut goal: Goal,
    ) {
        goal.place = self.begin_at(host, goal.place);
        let aside = core::mem::take(&mut self.rounds.aside);
        let is_first = self.rounds.commands.get(number).is_some_and(|it| it.unit == number);
        let batch = self.at_mut(goal.place).batch_mut();
        if goal.is_asking && is_first {
            // It has one word, and is none that is refused.
            let _ = batch.push(&[Arg::from("ASKING")]);
        }
        let its = (batch.len(), batch.size());
        batch.push_from(&aside, at, start);
        let rounds = &mut self.rounds;
        rounds.aside = aside;
        rounds.current.push(number);
        if let Some(command) = rounds.commands.get_mut(number) {
            (command.goal, command.at) = (goal, its);
            let class = command.class;
            self.note_session(class, goal.place);
        }
    }

    /// What was sent home was a pipeline of which a part belongs elsewhere.
    fn planned_at_home(&mut self) {
        self.rounds.clear();
        self.last = Last::Rounds;
        let Self { home, rounds, .. } = self;
        let (mut start, mut unit, mut open) = (0, 0, None);
        for (number, (class, len)) in home.batch().all().iter().copied().enumerate() {
            if open.is_none() {
                unit = number;
            }
            open = Open::after(open, 0, class);
            let its = route(EncodedCommand::from_parts(class, home.batch().command(number, start)));
            let (at, reply) = ((number, start), (0, number));
            let its = Command {
                at,
                reply,
                route: its,
                ..Command::new(class, unit, Goal::at(Place::Home))
            };
            if let Some(first) = rounds.commands.get_mut(unit) {
                first.route = first.route.and(its.route);
            }
            rounds.commands.push(its);
            rounds.current.push(number);
            start += len;
        }
        rounds.places.push(Place::Home);
        let spare = rounds.spare.pop().unwrap_or_default();
        rounds.replies.push(core::mem::replace(home.last_replies(), spare));
    }
}
