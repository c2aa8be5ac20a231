//! Pipelines whose commands go to several nodes, side by side.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::future::poll_fn;
use core::ops::Range;
use core::task::Poll;
use core::time::Duration;

use super::goal::{Goal, Tries, Way, is_error, is_refusal, may_be_sent};
use super::{Last, PATIENCE, RoutingHandle, suspect};
use crate::command_queue::{Batch, Failure, MAX_BATCH, Open, QueueState, Replies, Sent};
use crate::error::Error;
use crate::lock::Lock;
use crate::recent::clear;
use crate::router::{Place, RouterHost, slot_of};
use redis_entraid_core::cluster::{Attempts, Route, Slot, route};
use redis_entraid_core::command::{CommandClass, EncodedCommand};
use redis_entraid_core::resp::{Arg, Redirect, Value};
use redis_entraid_core::storage::Recent;
use redis_entraid_core::time::{Instant, Timer};

/// A pipeline, and where its replies are.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    commands: Vec<Command>,
    /// What came, each time that something was sent to a place.
    replies: Vec<Replies>,
    /// Kept for their room.
    spare: Vec<Replies>,
    /// Those that are sent in this round, by their numbers.
    current: Vec<usize>,
    /// Where to.
    places: Vec<Place>,
    /// A transaction that isn't whole, and commands that are sent again.
    aside: Batch,
    recent: Recent,
    /// How many commands came since the last pipeline.
    idle: u8,
}

/// A command of a pipeline.
#[derive(Clone, Debug)]
struct Command {
    class: CommandClass,
    /// The number of the first command of its unit: what lies between `WATCH` or `MULTI` and the end of that, or it
    /// alone.
    unit: usize,
    /// That of its unit.
    route: Route,
    /// Where it was sent last.
    goal: Goal,
    /// Its number in what was sent there, and where its bytes begin.
    at: (usize, usize),
    /// Where its reply is.
    reply: (usize, usize),
    /// How often it was sent, of the first one of a unit, if that is more than once.
    attempts: Option<Attempts>,
}

impl Command {
    const fn new(class: CommandClass, unit: usize, goal: Goal) -> Self {
        let nowhere = (0, 0);
        Self {
            class,
            unit,
            route: Route::AnyPrimary,
            goal,
            at: nowhere,
            reply: nowhere,
            attempts: None,
        }
    }
}

/// After so many commands that are no pipeline, no memory is kept for one.
const IDLE: u8 = 16;

impl Rounds {
    pub(super) const fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn pick(&self, at: usize) -> Result<Value<'_>, Error> {
        let command = self.commands.get(at).ok_or(Error::Closed)?;
        let replies = self.replies.get(command.reply.0).ok_or(Error::Closed)?;
        replies.pick(command.reply.1)
    }

    pub(super) fn clear(&mut self) {
        let Self { commands, replies, spare, current, places, aside, recent, idle } = self;
        *idle = 0;
        recent.used(commands.len(), size_of_val(&**commands));
        clear(*recent, commands);
        clear(*recent, current);
        places.clear();
        aside.clear();
        for mut replies in replies.drain(..) {
            replies.clear();
            spare.push(replies);
        }
    }

    /// Another command came, which is no pipeline: after some, memory is given back.
    pub(super) fn rest(&mut self) {
        if self.idle == 0 {
            self.clear();
        }
        self.idle += 1;
        if self.idle == IDLE {
            *self = Self::default();
        }
    }

    /// For how many bytes there is memory.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        let all = self.replies.iter().chain(&self.spare);
        self.commands.capacity() * size_of::<Command>()
            + all.map(|replies| replies.bytes.capacity()).sum::<usize>()
    }

    fn raw(&self, at: usize) -> Result<&[u8], Option<&Failure>> {
        let (number, at) = self.commands.get(at).map(|command| command.reply).ok_or(None)?;
        self.replies.get(number).ok_or(None)?.get(at)
    }

    /// The commands of the unit that begins with the number `at`.
    fn unit(&self, at: usize) -> Range<usize> {
        let all = self.commands.get(at..).unwrap_or_default();
        at..at + all.iter().take_while(|command| command.unit == at).count()
    }

    /// Whether nothing that was open before, or stays open, belongs to a unit: it means the same on another connection.
    fn is_whole(&self, unit: &Range<usize>) -> bool {
        let [first, last] = [Some(unit.start), unit.end.checked_sub(1)]
            .map(|at| at.and_then(|at| self.commands.get(at)).map(|command| command.class));
        unit.len() == 1 || (first, last) == (Some(CommandClass::Multi), Some(CommandClass::Exec))
    }

    /// The slots whose commands have to be executed in order, by the route of a unit; none is that of what has no key.
    fn order(&self, unit: &Range<usize>) -> Option<Option<Slot>> {
        match self.commands.get(unit.start)?.route {
            Route::Unknown => None,
            route => slot_of(route).ok(),
        }
    }

    /// What a unit waits for that may be sent again. Nothing if it has its answer.
    fn unanswered(&self, unit: Range<usize>) -> Option<Unanswered> {
        let last = unit.end.checked_sub(1)?;
        // What waits at home has waited as long as it may.
        let is_home = self.commands.get(last)?.goal.place == Place::Home;
        // If it was never sent, nothing of its transaction was executed.
        match self.raw(last) {
            Err(failure) => {
                (!is_home && failure.is_some_and(may_be_sent)).then_some(Unanswered::Lost)
            }
            Ok(raw) if !is_error(raw) => None,
            Ok(_) => unit.into_iter().all(|at| self.raw(at).is_ok()).then_some(Unanswered::Refused),
        }
    }

    /// The replies to a unit.
    fn values(&self, unit: Range<usize>) -> impl Iterator<Item = Value<'_>> {
        unit.filter_map(|at| self.raw(at).ok().map(Value::framed))
    }
}

/// Why a command or a transaction may be sent again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unanswered {
    Refused,
    Lost,
}

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
            // Noted before it is sent: whoever drops the future has a session all the same.
            self.session = Some(place);
        }
        let sent = self.at_mut(place).send_batch(timer, by).await;
        let handle = self.at(place);
        let moved = |at| {
            let error =
                handle.raw(at).ok().filter(|raw| is_error(raw)).map(Value::framed)?.error()?;
            error.redirect().filter(|to| matches!(to, Redirect::Moved(_) | Redirect::Ask(_)))
        };
        if let (Ok(()), Some(host)) = (&sent, host)
            && (0..handle.replies()).any(|at| moved(at).is_some())
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
            let its = route(args);
            let (together, first) = match unit {
                Some((before, first)) => (Route::and(before, its), first),
                None => (its, number),
            };
            let start = self.rounds.aside.size();
            let class = self.rounds.aside.push(args)?;
            let at = (number - first, start);
            let its = Command { at, ..Command::new(class, first, Goal::at(Place::Home)) };
            self.rounds.commands.push(its);
            unit = Some((together, first));
            open = Open::after(open, 0, class);
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

    /// Has a command sent to a place, whatever keys it has.
    pub(super) fn plan_at(
        &mut self,
        host: &impl RouterHost<L>,
        goal: Goal,
        args: &[Arg<'_>],
    ) -> Result<(), Error> {
        self.rounds.aside.clear();
        let class = self.rounds.aside.push(args)?;
        let number = self.rounds.commands.len();
        self.rounds.commands.push(Command::new(class, number, goal));
        self.send_from_aside(host, number, (0, 0), goal);
        Ok(())
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
        let (place, todo) = host.router().lock().place(now, slot);
        todo.done(host);
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
    fn send_from_aside(
        &mut self,
        host: &impl RouterHost<L>,
        number: usize,
        (at, start): (usize, usize),
        mut goal: Goal,
    ) {
        // The map may have changed since the first command was placed: what goes to the wrong node is redirected.
        if let Some(place) = self.rounds.places.iter().find(|place| place.is_instead_of(goal.place))
        {
            goal.place = *place;
        }
        let aside = core::mem::take(&mut self.rounds.aside);
        let is_new = !self.rounds.places.contains(&goal.place);
        let is_first = self.rounds.commands.get(number).is_some_and(|it| it.unit == number);
        let batch = self.enter(goal.place, Some(host)).batch_mut();
        if is_new {
            batch.clear();
        }
        if goal.is_asking && is_first {
            // It has one word, and is none that is refused.
            let _ = batch.push(&[Arg::from("ASKING")]);
        }
        let its = (batch.len(), batch.size());
        batch.push_from(&aside, at, start);
        let rounds = &mut self.rounds;
        rounds.aside = aside;
        if is_new {
            rounds.places.push(goal.place);
        }
        rounds.current.push(number);
        if let Some(command) = rounds.commands.get_mut(number) {
            (command.goal, command.at) = (goal, its);
            if matches!(command.class, CommandClass::Multi | CommandClass::Watch) {
                self.session = Some(goal.place);
            }
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

    /// Sends what was divided, and waits for all replies.
    pub(super) async fn round(
        &mut self,
        timer: &impl Timer,
        (begun, by): (Instant, Option<Instant>),
        host: &impl RouterHost<L>,
    ) -> Result<(), Error> {
        let now = timer.now();
        let mut flight = Flight { handle: self, sent: Vec::new() };
        let mut failed = Vec::new();
        for at in 0..flight.handle.rounds.places.len() {
            let Some(place) = flight.handle.rounds.places.get(at).copied() else { continue };
            let handle = flight.handle.enter(place, Some(host));
            if place != Place::Home {
                handle.wait_until(by.unwrap_or_else(|| begun.plus(handle.queue().limits().queue)));
            }
            match handle.submit(now, by) {
                Ok(sent) => flight.sent.push((place, sent, false)),
                Err(error) => {
                    if matches!(error, Error::Closed) {
                        host.router().lock().forget(place);
                    }
                    failed.push((place, error));
                }
            }
        }
        flight.landed(timer, host).await;
        let landed = core::mem::take(&mut flight.sent);
        drop(flight);
        let before = self.rounds.replies.len();
        for (place, sent, _) in landed {
            let handle = self.enter(place, Some(host));
            handle.repeat(timer, by, sent).await;
            let spare = self.rounds.spare.pop().unwrap_or_default();
            let replies = core::mem::replace(self.enter(place, Some(host)).last_replies(), spare);
            self.replied(place, replies);
        }
        let is_sent = self.rounds.replies.len() > before;
        let mut result = Ok(());
        for (place, error) in failed {
            if place == Place::Home && !is_sent && self.rounds.places.len() == 1 {
                result = Err(error.clone());
            }
            let mut replies = self.rounds.spare.pop().unwrap_or_default();
            let failure = Failure::from(error);
            (0..self.at(place).batch().len()).for_each(|_| replies.fail(failure.clone()));
            self.replied(place, replies);
        }
        result
    }

    /// Notes where the replies are of what was sent to `place`.
    fn replied(&mut self, place: Place, replies: Replies) {
        let Rounds { commands, current, replies: all, .. } = &mut self.rounds;
        for number in current.iter() {
            if let Some(command) = commands.get_mut(*number).filter(|it| it.goal.place == place) {
                command.reply = (all.len(), command.at.0);
            }
        }
        all.push(replies);
    }

    /// Sends what was divided, and again what is to be sent again.
    async fn rounds(
        &mut self,
        timer: &impl Timer,
        times: (Instant, Option<Instant>),
        host: &impl RouterHost<L>,
    ) -> Result<(), Error> {
        if let Err(error) = self.round(timer, times, host).await {
            self.forget_batches();
            return Err(error);
        }
        self.go_on(timer, times, host).await
    }

    /// Sends again what is to be sent again, until there is nothing.
    async fn go_on(
        &mut self,
        timer: &impl Timer,
        times: (Instant, Option<Instant>),
        host: &impl RouterHost<L>,
    ) -> Result<(), Error> {
        let (begun, by) = times;
        let queue = self.home.queue();
        let limits = queue.limits();
        let by = by.unwrap_or_else(|| begun.plus(limits.queue));
        while let Some((again, not_before)) = self.again(timer.now(), host, by, limits.seed) {
            if timer.now() < not_before {
                timer.sleep_until(not_before).await;
            }
            self.divide(timer.now(), host, &again);
            // What fails to be sent has its reply.
            let _ = self.round(timer, times, host).await;
        }
        self.forget_batches();
        Ok(())
    }

    /// The commands that are to be sent again, which are aside then, and when.
    #[allow(clippy::type_complexity)]
    fn again(
        &mut self,
        now: Instant,
        host: &impl RouterHost<L>,
        by: Instant,
        seed: u64,
    ) -> Option<(Vec<(usize, Option<Goal>)>, Instant)> {
        let (mut again, mut not_before) = (Vec::new(), now);
        self.rounds.aside.clear();
        let mut goals = BTreeMap::new();
        for unit in self.unanswered(host, now) {
            let first = unit.start;
            let Some(command) = self.rounds.commands.get(first) else { continue };
            let goal = command.goal;
            let attempts = command.attempts.unwrap_or_else(|| self.attempts(&unit, by));
            let mut tries = Tries::new(attempts, by, seed);
            let next = match self.rounds.unanswered(unit.clone()) {
                Some(Unanswered::Lost) => tries.lost(now),
                Some(Unanswered::Refused) if unit.len() == 1 => {
                    let error = self.rounds.values(unit.clone()).next().and_then(|it| it.error());
                    match error {
                        Some(error) => tries.refused(now, &error),
                        None => continue,
                    }
                }
                _ => tries.aborted(now, self.rounds.values(unit.clone())),
            };
            let Some((at, way)) = self.way(now, host, goal, next, by) else { continue };
            if let Some(command) = self.rounds.commands.get_mut(first) {
                command.attempts = Some(tries.attempts);
            }
            not_before = not_before.max(at);
            let goal = match way {
                Way::To(goal) => Some(goal),
                Way::Map => None,
                Way::Renewed(early) => {
                    not_before = not_before.max(early);
                    Some(Goal { renews: true, ..Goal::at(goal.place) })
                }
            };
            // All of a slot go the way of the first one, so that they stay in order.
            let order = self.rounds.order(&unit);
            let goal = order.map_or(goal, |order| *goals.entry(order).or_insert(goal));
            again.extend(unit.map(|number| (number, goal)));
        }
        if again.is_empty() {
            return None;
        }
        let mut aside = core::mem::take(&mut self.rounds.aside);
        for (number, _) in &again {
            let Some(command) = self.rounds.commands.get_mut(*number) else { continue };
            let (place, (at, start)) = (command.goal.place, command.at);
            command.at = (aside.len(), aside.size());
            aside.push_from(self.at(place).batch(), at, start);
        }
        self.rounds.aside = aside;
        Some((again, not_before))
    }

    /// The units that may be sent again: no later command of the same slot has been executed, or may have been.
    fn unanswered(&self, host: &impl RouterHost<L>, now: Instant) -> Vec<Range<usize>> {
        let Rounds { commands, current, .. } = &self.rounds;
        let (mut units, mut executed, mut left) = (Vec::new(), BTreeSet::new(), current.len());
        if !current.iter().any(|at| self.rounds.unanswered(*at..at + 1).is_some()) {
            return units;
        }
        while let Some(last) = left.checked_sub(1).and_then(|at| current.get(at)) {
            let unit = self.rounds.unit(commands.get(*last).map_or(*last, |command| command.unit));
            left = left.saturating_sub(unit.len().max(1));
            let order = self.rounds.order(&unit);
            if !self.is_unexecuted(&unit) {
                executed.extend(order);
            } else if !self.rounds.is_whole(&unit) {
                self.learn(host, now, unit);
            } else if order.is_none_or(|order| !executed.contains(&order)) {
                units.push(unit);
            }
        }
        units.reverse();
        units
    }

    /// Whether nothing of a unit was executed for a reason that may pass.
    fn is_unexecuted(&self, unit: &Range<usize>) -> bool {
        match self.rounds.unanswered(unit.clone()) {
            None => false,
            Some(Unanswered::Refused) if unit.len() == 1 => {
                let error = self.rounds.values(unit.clone()).next().and_then(|it| it.error());
                error.is_some_and(|error| self.concerns(&error) && is_refusal(&error))
            }
            Some(_) => true,
        }
    }

    /// What can't be sent again says all the same where its slot is.
    fn learn(&self, host: &impl RouterHost<L>, now: Instant, unit: Range<usize>) {
        let place = self.rounds.commands.get(unit.start).map(|command| command.goal.place);
        let errors = self.rounds.values(unit).filter_map(|value| value.error()?.redirect());
        for redirect in errors {
            if let (Redirect::Moved(node), Some(place)) = (redirect, place) {
                let (_, todo) = host.router().lock().redirected(now, place, &node, true);
                todo.done(host);
            }
        }
    }

    /// Before the second attempt of a unit.
    fn attempts(&self, unit: &Range<usize>, by: Instant) -> Attempts {
        let Some(first) = self.rounds.commands.get(unit.start) else {
            return Attempts::transaction(Route::AnyPrimary, by);
        };
        if unit.len() > 1 {
            return Attempts::transaction(first.route, by);
        }
        let (number, start) = first.at;
        let bytes = self.at(first.goal.place).batch().command(number, start);
        let words = EncodedCommand::from_parts(first.class, bytes);
        Attempts::new(words, first.class, first.route, by)
    }

    /// Gives the commands that are aside to the places where they go now.
    fn divide(&mut self, now: Instant, host: &impl RouterHost<L>, again: &[(usize, Option<Goal>)]) {
        self.forget_batches();
        self.rounds.current.clear();
        for (number, goal) in again {
            let Some(command) = self.rounds.commands.get(*number) else { continue };
            let (from, route) = (command.at, command.route);
            let goal = goal.unwrap_or_else(|| {
                let slot = slot_of(route).ok().flatten();
                let (place, todo) = host.router().lock().place(now, slot);
                todo.done(host);
                Goal::at(place)
            });
            if goal.renews {
                // If it is too early, there was one lately.
                let _ = self.at(goal.place).renew(now);
            }
            self.send_from_aside(host, *number, from, Goal { renews: false, ..goal });
        }
    }

    /// Their memory may be freed while it is unused.
    pub(super) fn forget_batches(&mut self) {
        while let Some(place) = self.rounds.places.pop() {
            self.at_mut(place).batch_mut().clear();
        }
    }
}

/// Withdraws what no caller waits for any more.
struct Flight<'h, L: Lock<QueueState>> {
    handle: &'h mut RoutingHandle<L>,
    /// Where, and whether all replies are there.
    sent: Vec<(Place, Sent, bool)>,
}

impl<L: Lock<QueueState>> Flight<'_, L> {
    /// Waits for all replies.
    async fn landed(&mut self, timer: &impl Timer, host: &impl RouterHost<L>) {
        let (mut is_new, mut patience) = (true, None);
        let sleep = || Box::pin(timer.sleep_until(timer.now().plus(PATIENCE)));
        poll_fn(|cx| {
            let Self { handle, sent } = self;
            let mut is_missing = false;
            for (place, sent, is_there) in sent.iter_mut().filter(|(.., is_there)| !is_there) {
                let at = handle.enter(*place, Some(host));
                *is_there = at.poll_replies(cx, *sent).is_ready();
                is_missing |= !*is_there;
            }
            if !is_missing {
                return Poll::Ready(());
            }
            let waits = |handle: &RoutingHandle<L>| {
                let mut missing = sent.iter().filter(|(.., is_there)| !is_there);
                missing.any(|(place, ..)| {
                    *place != Place::Home && handle.at(*place).queue().is_untried()
                })
            };
            if core::mem::take(&mut is_new) && waits(handle) {
                // It is rare, and would make all other pipelines larger.
                patience = Some(sleep());
            }
            while let Some(slept) = &mut patience
                && slept.as_mut().poll(cx).is_ready()
            {
                patience = None;
                if waits(handle) {
                    suspect(host, timer.now());
                    patience = Some(sleep());
                }
            }
            Poll::Pending
        })
        .await;
    }
}

impl<L: Lock<QueueState>> Drop for Flight<'_, L> {
    fn drop(&mut self) {
        let mut is_withdrawn = false;
        for (place, sent, is_there) in &self.sent {
            if !is_there {
                self.handle.at(*place).withdraw(*sent);
                is_withdrawn = true;
            }
        }
        if is_withdrawn {
            // It may be long until the handle is used again.
            self.handle.forget_batches();
        }
    }
}
