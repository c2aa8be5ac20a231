//! Pipelines whose commands go to several nodes, side by side.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::ops::Range;
use core::task::Poll;
use core::time::Duration;

use super::goal::{Goal, Tries, Way, is_error, may_be_sent};
use super::{Last, PATIENCE, RoutingHandle, suspect};
use crate::command_queue::{Batch, Failure, QueueState, Replies, Sent};
use crate::error::Error;
use crate::lock::Lock;
use crate::router::{Place, RouterHost, slot_of};
use redis_entraid_core::cluster::{Attempts, Route, route};
use redis_entraid_core::command::{CommandClass, EncodedCommand};
use redis_entraid_core::resp::{Arg, Redirect, Value};
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
}

/// A command of a pipeline.
#[derive(Clone, Debug)]
struct Command {
    class: CommandClass,
    /// The number of the first command of its transaction, or its own.
    unit: usize,
    /// That of its transaction, or its own. Not known if there was no cluster when it was sent.
    route: Option<Route>,
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
        Self { class, unit, route: None, goal, at: nowhere, reply: nowhere, attempts: None }
    }
}

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
        self.commands.clear();
        self.current.clear();
        self.places.clear();
        self.aside.clear();
        for mut replies in self.replies.drain(..) {
            replies.clear();
            self.spare.push(replies);
        }
    }

    fn raw(&self, at: usize) -> Result<&[u8], Option<&Failure>> {
        let (number, at) = self.commands.get(at).map(|command| command.reply).ok_or(None)?;
        self.replies.get(number).ok_or(None)?.get(at)
    }

    /// The commands of the transaction that begins with the number `at`, or that one alone.
    fn unit(&self, at: usize) -> Range<usize> {
        let all = self.commands.get(at..).unwrap_or_default();
        at..at + all.iter().take_while(|command| command.unit == at).count()
    }

    /// What a unit waits for that may be sent again. Nothing if it has its answer.
    fn unanswered(&self, unit: Range<usize>) -> Option<Unanswered> {
        let last = unit.end.checked_sub(1)?;
        // If it was never sent, nothing of its transaction was executed.
        match self.raw(last) {
            Err(failure) => failure.is_some_and(may_be_sent).then_some(Unanswered::Lost),
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
        let handle = self.enter(place, host);
        let batch = handle.batch_mut();
        batch.clear();
        let mut opens = false;
        for args in commands {
            let class = batch.push(args.as_ref())?;
            opens |= matches!(class, CommandClass::Multi | CommandClass::Watch);
        }
        let sent = handle.send_batch(timer, by).await;
        if opens {
            self.session = Some(place);
        }
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
        self.enter(place, host).batch_mut().clear();
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
        // The route of the transaction that was begun, and its first command.
        let mut open: Option<(Route, usize)> = None;
        for args in commands {
            let args = args.as_ref();
            let number = self.rounds.commands.len();
            let its = route(args);
            let (together, first) = match open {
                Some((before, first)) => (before.and(its), first),
                None => (its, number),
            };
            let start = self.rounds.aside.size();
            let class = self.rounds.aside.push(args)?;
            let at = (number - first, start);
            let its = Command { at, ..Command::new(class, first, Goal::at(Place::Home)) };
            self.rounds.commands.push(its);
            open = Some((together, first));
            let is_open = match class {
                CommandClass::Multi => true,
                CommandClass::Exec | CommandClass::Discard => false,
                _ => first < number,
            };
            if !is_open {
                self.settle(now, host, together, first);
                open = None;
            }
        }
        if let Some((together, first)) = open {
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
                command.route = Some(route);
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
        goal: Goal,
    ) {
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
        let (mut start, mut open) = (0, None);
        for (number, (class, len)) in home.batch().all().iter().copied().enumerate() {
            let unit = *open.get_or_insert(number);
            if class != CommandClass::Multi && unit == number
                || matches!(class, CommandClass::Exec | CommandClass::Discard)
            {
                open = None;
            }
            let (at, reply) = ((number, start), (0, number));
            let its = Command { at, reply, ..Command::new(class, unit, Goal::at(Place::Home)) };
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
        if flight.sent.is_empty()
            && let [(Place::Home, error)] = &*failed
        {
            let error = error.clone();
            drop(flight);
            self.forget_batches();
            return Err(error);
        }
        flight.landed(timer, host).await;
        let landed = core::mem::take(&mut flight.sent);
        drop(flight);
        for (place, sent, _) in landed {
            let handle = self.enter(place, Some(host));
            handle.repeat(timer, by, sent).await;
            let spare = self.rounds.spare.pop().unwrap_or_default();
            let replies = core::mem::replace(self.enter(place, Some(host)).last_replies(), spare);
            self.replied(place, replies);
        }
        for (place, error) in failed {
            let mut replies = self.rounds.spare.pop().unwrap_or_default();
            let failure = Failure::from(error);
            (0..self.at(place).batch().len()).for_each(|_| replies.fail(failure.clone()));
            self.replied(place, replies);
        }
        Ok(())
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
        self.round(timer, times, host).await?;
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
        let mut number = 0;
        self.rounds.aside.clear();
        while let Some(first) = self.rounds.current.get(number).copied() {
            let unit = self.rounds.unit(first);
            number += unit.len().max(1);
            let Some(unanswered) = self.rounds.unanswered(unit.clone()) else { continue };
            let Some(command) = self.rounds.commands.get(first) else { continue };
            let goal = command.goal;
            let attempts = command.attempts.unwrap_or_else(|| self.attempts(unit.clone(), by));
            let mut tries = Tries::new(attempts, by, seed);
            let next = match unanswered {
                Unanswered::Lost => tries.lost(now),
                Unanswered::Refused if unit.len() == 1 => {
                    let error = self.rounds.values(unit.clone()).next().and_then(|it| it.error());
                    match error.filter(|error| self.concerns(error)) {
                        Some(error) => tries.refused(now, &error),
                        None => continue,
                    }
                }
                Unanswered::Refused => tries.aborted(now, self.rounds.values(unit.clone())),
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

    /// Before the second attempt of a unit.
    fn attempts(&self, mut unit: Range<usize>, by: Instant) -> Attempts {
        let words = |command: &Command| {
            let (number, start) = command.at;
            let bytes = self.at(command.goal.place).batch().command(number, start);
            EncodedCommand::from_parts(command.class, bytes)
        };
        let all = self.rounds.commands.get(unit.clone()).unwrap_or_default();
        let mut routes = all.iter().map(|command| route(words(command)));
        let known = all.first().and_then(|command| command.route);
        let route = known
            .or_else(|| routes.next().map(|first| routes.fold(first, Route::and)))
            .unwrap_or(Route::AnyPrimary);
        match (all.first(), unit.nth(1)) {
            (Some(command), None) => Attempts::new(words(command), command.class, route, by),
            _ => Attempts::transaction(route, by),
        }
    }

    /// Gives the commands that are aside to the places where they go now.
    fn divide(&mut self, now: Instant, host: &impl RouterHost<L>, again: &[(usize, Option<Goal>)]) {
        self.forget_batches();
        self.rounds.current.clear();
        for (number, goal) in again {
            let Some(command) = self.rounds.commands.get(*number) else { continue };
            let (from, route) = (command.at, command.route);
            let goal = goal.unwrap_or_else(|| {
                let slot = route.and_then(|route| slot_of(route).ok()).flatten();
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
            self.batch_at(place).clear();
        }
    }

    fn batch_at(&mut self, place: Place) -> &mut Batch {
        let visit = match place {
            Place::Home => None,
            Place::Node { index, .. } => self.visits.get_mut(usize::from(index)),
        };
        let handle = visit.and_then(Option::as_mut).map_or(&mut self.home, |it| &mut it.handle);
        handle.batch_mut()
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
