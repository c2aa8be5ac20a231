//! What is sent again of a pipeline, and where.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Range;

use super::goal::{Goal, Tries, is_refusal};
use super::rounds::{Rounds, Unanswered};
use super::{RoutingHandle, place_of};
use crate::command_queue::QueueState;
use crate::error::Error;
use crate::lock::Lock;
use crate::router::{RouterHost, slot_of};
use redis_entraid_core::cluster::{Attempts, Route};
use redis_entraid_core::command::EncodedCommand;
use redis_entraid_core::resp::Redirect;
use redis_entraid_core::time::{Instant, Timer};

impl<L: Lock<QueueState>> RoutingHandle<L> {
    /// Sends what was divided, and again what is to be sent again.
    pub(super) async fn rounds(
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
    pub(super) async fn go_on(
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
        for unit in self.units_again(host, now) {
            let first = unit.start;
            let Some(command) = self.rounds.commands.get(first) else { continue };
            let goal = command.goal;
            let attempts = command.attempts.unwrap_or_else(|| self.attempts(&unit, by));
            let mut tries = Tries::new(attempts, by, seed);
            let next = match self.rounds.unanswered(unit.clone()) {
                Some(Unanswered::Lost) => tries.lost(now),
                Some(Unanswered::Refused) if unit.len() == 1 => {
                    let Some(error) = self.rounds.error(first) else { continue };
                    tries.refused(now, &error)
                }
                _ => tries.aborted(now, self.rounds.values(unit.clone())),
            };
            let Some((at, goal)) = self.way(now, host, goal, next, by) else { continue };
            if let Some(command) = self.rounds.commands.get_mut(first) {
                command.attempts = Some(tries.attempts);
            }
            not_before = not_before.max(at);
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
    fn units_again(&self, host: &impl RouterHost<L>, now: Instant) -> Vec<Range<usize>> {
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
                let error = self.rounds.error(unit.start);
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
            let goal = goal
                .unwrap_or_else(|| Goal::at(place_of(host, now, slot_of(route).ok().flatten())));
            if goal.renews {
                // If it is too early, there was one lately.
                let _ = self.at(goal.place).renew(now);
            }
            self.send_from_aside(host, *number, from, Goal { renews: false, ..goal });
        }
    }
}
