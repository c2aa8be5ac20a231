//! When the map of a cluster is asked for, and whom.
//!
//! ```
//! use redis_entraid_core::cluster::{AskMap, MapPolicy, MapSchedule, Policy, Whom};
//! use redis_entraid_core::policy::Jitter;
//! use redis_entraid_core::time::Instant;
//!
//! let now = Instant::from_millis(0);
//! let mut schedule = MapSchedule::new(MapPolicy::default(), Jitter::new(7));
//! assert_eq!(schedule.poll(now, true, [].into_iter()), AskMap::Now { whom: Whom::Seed });
//! schedule.asked(now, Whom::Seed);
//! schedule.answered(now, Policy::Oss);
//! assert!(matches!(schedule.poll(now, true, [].into_iter()), AskMap::Wait { .. }));
//! ```

use core::time::Duration;

use super::map::PrimaryId;
use super::policy::Policy;
use crate::policy::{Backoff, Jitter, Ratio};
use crate::time::{Instant, millis};

/// How often the map of a cluster is asked for.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MapPolicy {
    /// The age at which the map is asked for again while it is in use. By default 60 s, as in Redis's own
    /// clients (go-redis#3918).
    pub interval: Duration,
    /// The longest wait after a `MOVED`; the wait is random, so that the processes of a fleet don't all
    /// ask at once. By default 100 ms.
    pub spread: Duration,
    /// The least time from one request to the next, however many `MOVED` come. By default 1 s.
    pub floor: Duration,
    /// What one request may take. By default 5 s.
    pub timeout: Duration,
    /// The waits after failures. By default from 1 s to 30 s.
    pub backoff: Backoff,
    /// The largest share of a wait after a failure that is added to or taken from it at random; and of the
    /// interval, that is taken from it.
    pub jitter: Ratio,
}

impl Default for MapPolicy {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            interval: Duration::from_secs(60),
            spread: Duration::from_millis(100),
            floor: second,
            timeout: Duration::from_secs(5),
            backoff: Backoff { initial: second, max: Duration::from_secs(30), multiplier: 2 },
            jitter: Ratio::percent(20),
        }
    }
}

/// The node to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Whom {
    /// What the client itself dials.
    Seed,
    /// A primary of the map.
    Primary(PrimaryId),
}

/// What to do about the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub enum AskMap {
    /// Send `CLUSTER SLOTS`, and say so by [`MapSchedule::asked`].
    Now {
        /// To whom.
        whom: Whom,
    },
    /// Nothing before then.
    Wait {
        /// When.
        until: Instant,
    },
}

/// Schedules the requests for the map of a cluster.
///
/// Once there was a reply, whose policy isn't [`Policy::Oss`], nothing is asked any more before a
/// `MOVED` comes or the connection to the seed is [new](Self::seed_is_new).
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MapSchedule {
    policy: MapPolicy,
    jitter: Jitter,
    state: State,
    found: Policy,
    failures: u32,
    /// Whom the last request went to.
    last: Whom,
    /// The primary that was asked last.
    primary: Option<PrimaryId>,
}

#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum State {
    /// Waits until `due` in any case, and until `old` while the map is in use.
    Waiting {
        due: Instant,
        old: Instant,
        /// Not before then.
        earliest: Instant,
    },
    Asking {
        since: Instant,
    },
}

impl MapSchedule {
    /// Before the first request, which goes to the seed.
    pub const fn new(policy: MapPolicy, jitter: Jitter) -> Self {
        let start = Instant::from_millis(0);
        let state = State::Waiting { due: start, old: start, earliest: start };
        Self {
            policy,
            jitter,
            state,
            found: Policy::Unknown,
            failures: 0,
            last: Whom::Seed,
            primary: None,
        }
    }

    /// The policy that was found.
    pub const fn found(&self) -> Policy {
        self.found
    }

    /// Returns what to do. `in_use` says whether commands were routed by the map since it was asked for;
    /// when that changes, so may the answer. `primaries` are those of the map.
    ///
    /// The one who answered last is asked, after a failure another one, then the seed, and so on in turn: a
    /// node that was replaced is gone for good, and then all may be.
    pub fn poll(
        &mut self,
        now: Instant,
        in_use: bool,
        primaries: impl Iterator<Item = PrimaryId> + Clone,
    ) -> AskMap {
        if let State::Asking { since } = self.state {
            let until = since.plus(self.policy.timeout);
            if now < until {
                return AskMap::Wait { until };
            }
            self.failed(now);
        }
        let until = match self.state {
            State::Waiting { due, old, earliest } => {
                let old = if in_use { old } else { Instant::FAR_FUTURE };
                due.min(old).max(earliest)
            }
            State::Asking { .. } => Instant::FAR_FUTURE,
        };
        match now >= until {
            true => AskMap::Now { whom: self.whom(primaries) },
            false => AskMap::Wait { until },
        }
    }

    fn whom(&self, mut primaries: impl Iterator<Item = PrimaryId> + Clone) -> Whom {
        let found = match (self.failures, self.last) {
            (0, Whom::Primary(last)) => primaries.find(|id| *id == last),
            (failures, last) if failures % 2 == 1 => {
                let behind = primaries.clone().filter(|id| Some(*id) > self.primary).min();
                behind.or_else(|| primaries.min()).filter(|id| Whom::Primary(*id) != last)
            }
            _ => None,
        };
        found.map_or(Whom::Seed, Whom::Primary)
    }

    /// Notes that `CLUSTER SLOTS` was sent.
    pub fn asked(&mut self, now: Instant, whom: Whom) {
        (self.state, self.last) = (State::Asking { since: now }, whom);
        if let Whom::Primary(id) = whom {
            self.primary = Some(id);
        }
    }

    /// Notes that there was a reply, and what [`Policy::of`] says of it. If it is a map that can't be taken,
    /// note a [failure](Self::failed) instead.
    pub fn answered(&mut self, now: Instant, policy: Policy) {
        if policy == Policy::Unknown {
            return self.failed(now);
        }
        (self.found, self.failures) = (policy, 0);
        let interval = self.jitter.earlier(millis(self.policy.interval), self.policy.jitter);
        let old = match policy {
            Policy::Oss => now.after(interval),
            _ => Instant::FAR_FUTURE,
        };
        let earliest = self.earliest(now);
        self.state = State::Waiting { due: Instant::FAR_FUTURE, old, earliest };
    }

    /// Notes that there was no reply, or none that is of use. A request that takes too long fails by
    /// itself.
    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let wait = self.policy.backoff.delay_millis(self.failures);
        let due = now.after(self.jitter.around_millis(wait, self.policy.jitter));
        let earliest = self.earliest(now).max(due);
        self.state = State::Waiting { due, old: Instant::FAR_FUTURE, earliest };
    }

    /// When the next request may be sent, by the floor.
    fn earliest(&self, now: Instant) -> Instant {
        match self.state {
            State::Asking { since } => since.plus(self.policy.floor),
            State::Waiting { earliest, .. } => earliest.max(now),
        }
    }

    /// Notes a `MOVED` that was news to the map, or another sign that it is wrong. Any number of them make one
    /// request. One that comes while the map is asked for makes none: if the map is wrong still, there
    /// will be another one.
    pub fn moved(&mut self, now: Instant) {
        self.found = Policy::Oss;
        let spread = millis(self.policy.spread);
        let wait = self.jitter.earlier(spread, Ratio::percent(100));
        if let State::Waiting { due, .. } = &mut self.state {
            *due = (*due).min(now.after(wait));
        }
    }

    /// Notes that the connection to the seed is new, which is asked next: after a failover, the map may
    /// be wrong, and the policy may be another one.
    pub fn seed_is_new(&mut self, now: Instant) {
        (self.found, self.failures, self.last) = (Policy::Unknown, 0, Whom::Seed);
        if let State::Waiting { due, earliest, .. } = &mut self.state {
            *due = now;
            *earliest = (*earliest).min(now.plus(self.policy.floor));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const IDS: [PrimaryId; 3] = [PrimaryId(0), PrimaryId(4), PrimaryId(5)];

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn schedule() -> MapSchedule {
        MapSchedule::new(MapPolicy::default(), Jitter::none())
    }

    fn poll(schedule: &mut MapSchedule, millis: u64, in_use: bool) -> AskMap {
        schedule.poll(at(millis), in_use, IDS.into_iter())
    }

    /// Asks, and gets a map.
    fn ask(schedule: &mut MapSchedule, millis: u64) -> Whom {
        let AskMap::Now { whom } = poll(schedule, millis, true) else { panic!("it waits") };
        schedule.asked(at(millis), whom);
        schedule.answered(at(millis), Policy::Oss);
        whom
    }

    const fn wait(millis: u64) -> AskMap {
        AskMap::Wait { until: Instant::from_millis(millis) }
    }

    #[test]
    fn a_map_in_use_is_asked_for_every_interval_and_one_not_in_use_never() {
        let mut schedule = schedule();
        assert_eq!(ask(&mut schedule, 5), Whom::Seed);
        assert_eq!(poll(&mut schedule, 60_004, true), wait(60_005));
        assert_eq!(
            poll(&mut schedule, 1 << 40, false),
            AskMap::Wait { until: Instant::FAR_FUTURE }
        );
        assert_eq!(ask(&mut schedule, 60_005), Whom::Seed);
    }

    #[test]
    fn a_storm_of_redirections_makes_one_request() {
        let mut schedule = MapSchedule::new(MapPolicy::default(), Jitter::new(3));
        ask(&mut schedule, 0);
        let mut asked = Vec::new();
        for millis in 0..10_000 {
            if (2_000..2_500).contains(&millis) {
                schedule.moved(at(millis));
            }
            if let AskMap::Now { whom } = poll(&mut schedule, millis, true) {
                asked.push(millis);
                schedule.asked(at(millis), whom);
            }
            if asked.last().is_some_and(|asked| asked + 600 == millis) {
                schedule.answered(at(millis), Policy::Oss);
            }
        }
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!((2_000..2_100).contains(&asked[0]), "{asked:?}");
    }

    #[test]
    fn redirections_that_go_on_make_a_request_each_floor() {
        let mut schedule = schedule();
        ask(&mut schedule, 0);
        let mut asked = 0;
        for millis in 0..10_000 {
            schedule.moved(at(millis));
            if let AskMap::Now { whom } = poll(&mut schedule, millis, true) {
                asked += 1;
                schedule.asked(at(millis), whom);
                schedule.answered(at(millis), Policy::Oss);
            }
        }
        assert_eq!(asked, 9);
    }

    #[test]
    fn who_answered_last_is_asked_then_another_one_then_the_seed() {
        let mut schedule = schedule();
        let (mut now, mut whom) = (0, Vec::new());
        for _ in 0..8 {
            let AskMap::Now { whom: asked } = poll(&mut schedule, now, true) else {
                panic!("it waits at {now}")
            };
            whom.push(asked);
            schedule.asked(at(now), asked);
            schedule.failed(at(now));
            let AskMap::Wait { until } = poll(&mut schedule, now, true) else { panic!("at once") };
            now = until.as_millis();
        }
        let [a, b, c] = IDS.map(Whom::Primary);
        let seed = Whom::Seed;
        assert_eq!(whom, [seed, a, seed, b, seed, c, seed, a]);
        assert_eq!(now, 1_000 + 2_000 + 4_000 + 8_000 + 16_000 + 3 * 30_000);
        schedule.asked(at(now), b);
        schedule.answered(at(now), Policy::Oss);
        assert_eq!(ask(&mut schedule, now + 60_000), b, "it has answered");
        assert_eq!(schedule.whom([IDS[0]].into_iter()), seed, "it is gone");
        schedule.failed(at(now + 60_000));
        assert_eq!(schedule.whom(IDS.into_iter()), c);
        assert_eq!(schedule.whom([IDS[1]].into_iter()), seed, "there is no other one");
    }

    #[test]
    fn a_request_that_takes_too_long_has_failed() {
        let mut schedule = schedule();
        schedule.asked(at(0), Whom::Seed);
        assert_eq!(poll(&mut schedule, 4_999, true), wait(5_000));
        assert_eq!(poll(&mut schedule, 5_000, true), wait(6_000));
        assert_eq!(poll(&mut schedule, 6_000, true), AskMap::Now { whom: Whom::Primary(IDS[0]) });
        // A redirection doesn't shorten the wait.
        schedule.asked(at(6_000), Whom::Seed);
        schedule.failed(at(6_000));
        schedule.moved(at(6_000));
        assert_eq!(poll(&mut schedule, 6_000, true), wait(8_000));
    }

    #[test]
    fn without_a_cluster_nothing_is_asked_before_a_redirection_or_another_seed() {
        for policy in [Policy::Single, Policy::Enterprise] {
            let mut schedule = schedule();
            schedule.asked(at(0), Whom::Seed);
            schedule.answered(at(10), policy);
            assert_eq!(
                (schedule.found(), poll(&mut schedule, 1 << 40, true)),
                (policy, AskMap::Wait { until: Instant::FAR_FUTURE })
            );
            schedule.moved(at(5_000));
            assert_eq!(schedule.found(), Policy::Oss);
            assert_eq!(poll(&mut schedule, 5_000, true), wait(5_100));
            schedule.asked(at(5_100), Whom::Primary(IDS[1]));
            schedule.answered(at(5_100), policy);
            schedule.seed_is_new(at(5_200));
            assert_eq!(schedule.found(), Policy::Unknown);
            assert_eq!(poll(&mut schedule, 5_200, false), wait(6_100));
            assert_eq!(poll(&mut schedule, 6_100, false), AskMap::Now { whom: Whom::Seed });
        }
    }

    #[test]
    fn an_error_that_passes_is_a_failure() {
        let mut schedule = schedule();
        schedule.asked(at(0), Whom::Seed);
        schedule.answered(at(0), Policy::Unknown);
        assert_eq!(poll(&mut schedule, 0, true), wait(1_000));
    }
}
