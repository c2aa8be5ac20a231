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
/// Once the seed has replied, and its policy isn't [`Policy::Oss`], nothing is asked any more before a
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
    /// What a redirection said of the map of the one who answered last.
    news: Option<News>,
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
        /// The connection to the seed is newer than the request.
        seed_is_new: bool,
    },
}

/// It is wrong.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
struct News {
    /// The primary that the redirection named, which knows it.
    by: Option<PrimaryId>,
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
            news: None,
        }
    }

    /// The policy that was found.
    pub const fn found(&self) -> Policy {
        self.found
    }

    /// Returns what to do. `in_use` says whether a command came since the map was asked for, or one waits
    /// for the map; when that changes, so may the answer. `primaries` are those of the map.
    ///
    /// Who is asked:
    /// - after a `MOVED` that was news, the primary that it names: the one who answered last may be the
    ///   one who doesn't know;
    /// - else the one who answered last;
    /// - after a failure another primary, then the seed, and so on in turn: a node that was replaced is gone
    ///   for good, and then all may be.
    ///
    /// A client that isn't used asks at its start, and when the connection to its seed is new; it doesn't ask
    /// again after a failure.
    pub fn poll(
        &mut self,
        now: Instant,
        in_use: bool,
        primaries: impl Iterator<Item = PrimaryId> + Clone,
    ) -> AskMap {
        if let State::Asking { since, .. } = self.state {
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
        let named = self.news.and_then(|news| news.by);
        let named = named.filter(|id| Whom::Primary(*id) != self.last);
        if let Some(id) = named.and_then(|named| primaries.clone().find(|id| *id == named)) {
            return Whom::Primary(id);
        }
        let is_wrong = self.failures == 0 && self.news.is_some();
        let found = match (self.failures, self.last) {
            (0, Whom::Primary(last)) if !is_wrong => primaries.find(|id| *id == last),
            (failures, last) if failures % 2 == 1 || is_wrong => {
                let behind = primaries.clone().filter(|id| Some(*id) > self.primary).min();
                behind.or_else(|| primaries.min()).filter(|id| Whom::Primary(*id) != last)
            }
            _ => None,
        };
        found.map_or(Whom::Seed, Whom::Primary)
    }

    /// Notes that `CLUSTER SLOTS` was sent.
    pub fn asked(&mut self, now: Instant, whom: Whom) {
        self.state = State::Asking { since: now, seed_is_new: false };
        (self.last, self.news) = (whom, None);
        if let Whom::Primary(id) = whom {
            self.primary = Some(id);
        }
    }

    /// Notes that there was a reply, and what [`Policy::of`] says of it. If it is a map that can't be taken,
    /// note a [failure](Self::failed) instead. Changes nothing unless the map was asked for.
    ///
    /// Only the seed says that there is no cluster. A node that says so has left it, which is a failure.
    pub fn answered(&mut self, now: Instant, policy: Policy) {
        let State::Asking { since, seed_is_new } = self.state else { return };
        match (policy, self.last) {
            (Policy::Oss, _) | (Policy::Single | Policy::Enterprise, Whom::Seed) => {}
            _ => return self.failed(now),
        }
        let earliest = since.plus(self.policy.floor);
        self.failures = 0;
        if seed_is_new {
            return self.ask_seed(earliest);
        }
        self.found = policy;
        let interval = self.jitter.earlier(millis(self.policy.interval), self.policy.jitter);
        let old = match policy {
            Policy::Oss => now.after(interval),
            _ => Instant::FAR_FUTURE,
        };
        self.state = State::Waiting { due: Instant::FAR_FUTURE, old, earliest };
    }

    /// Notes that there was no reply, or none that is of use. A request that takes too long fails by
    /// itself. Changes nothing unless the map was asked for.
    pub fn failed(&mut self, now: Instant) {
        let State::Asking { since, seed_is_new } = self.state else { return };
        let earliest = since.plus(self.policy.floor);
        if seed_is_new {
            return self.ask_seed(earliest);
        }
        self.failures = self.failures.saturating_add(1);
        let wait = self.policy.backoff.delay_millis(self.failures);
        let old = now.after(self.jitter.around_millis(wait, self.policy.jitter));
        self.state = State::Waiting { due: Instant::FAR_FUTURE, old, earliest: earliest.max(old) };
    }

    /// Notes a `MOVED` that was [news](super::Moved::is_news) to the map and the primary that it
    /// [names](super::Moved::primary), or another sign that the map is wrong, which names none. Any number of
    /// them make one request. One that comes while the map is asked for makes none: if the map is wrong
    /// still, there will be another one.
    pub fn moved(&mut self, now: Instant, to: Option<PrimaryId>) {
        let spread = millis(self.policy.spread);
        let wait = self.jitter.earlier(spread, Ratio::percent(100));
        if to.is_some() {
            self.found = Policy::Oss;
        }
        if let State::Waiting { due, .. } = &mut self.state {
            *due = (*due).min(now.after(wait));
            let by = to.or_else(|| self.news.and_then(|news| news.by));
            self.news = Some(News { by });
        }
    }

    /// Notes that the connection to the seed is new, which is asked next: after a failover, the map may
    /// be wrong, and the policy may be another one. If the map is being asked for, the seed is asked
    /// after that.
    pub fn seed_is_new(&mut self, now: Instant) {
        match &mut self.state {
            State::Asking { seed_is_new, .. } => *seed_is_new = true,
            State::Waiting { earliest, .. } => {
                let earliest = (*earliest).min(now.plus(self.policy.floor));
                self.ask_seed(earliest);
            }
        }
    }

    fn ask_seed(&mut self, earliest: Instant) {
        (self.found, self.failures, self.last) = (Policy::Unknown, 0, Whom::Seed);
        self.news = None;
        self.state = State::Waiting { due: earliest, old: earliest, earliest };
    }
}

#[cfg(test)]
mod tests;
