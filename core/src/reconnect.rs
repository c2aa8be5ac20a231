//! When to dial, and when to dial again.
//!
//! ```
//! use redis_entraid_core::reconnect::{Dial, Reconnect, ReconnectPolicy};
//! use redis_entraid_core::time::Instant;
//!
//! let now = Instant::from_millis(0);
//! let mut reconnect = Reconnect::new(ReconnectPolicy::default());
//! assert_eq!(reconnect.poll(now), Dial::Now);
//! reconnect.failed(now);
//! assert!(matches!(reconnect.poll(now), Dial::Wait { .. }));
//! ```

use core::time::Duration;

use crate::event::Event;
use crate::policy::{Backoff, Jitter, Ratio};
use crate::time::Instant;

/// How often a server is dialed that can't be reached or won't have us.
///
/// There is no last attempt. Azure limits the rate of new connections, so all waits are jittered.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ReconnectPolicy {
    /// The waits between attempts.
    pub backoff: Backoff,
    /// The largest share of a wait that is added to or taken from it at random.
    pub jitter: Ratio,
    /// What dialing and TLS may take together.
    pub connect_timeout: Duration,
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        Self {
            backoff: Backoff {
                initial: Duration::from_millis(200),
                max: Duration::from_secs(30),
                multiplier: 2,
            },
            jitter: Ratio::percent(30),
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// What to do about a connection that isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub enum Dial {
    /// Dial.
    Now,
    /// Not before then.
    Wait {
        /// When.
        until: Instant,
    },
}

/// Milliseconds: no policy makes a hot loop.
const MIN_WAIT: u64 = 50;

/// Schedules the attempts to get a connection.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Reconnect {
    policy: ReconnectPolicy,
    jitter: Jitter,
    failures: u32,
    not_before: Instant,
    logged_in_at: Option<Instant>,
}

impl Reconnect {
    /// Before the first attempt.
    pub const fn new(policy: ReconnectPolicy) -> Self {
        Self {
            policy,
            jitter: Jitter::new(),
            failures: 0,
            not_before: Instant::from_millis(0),
            logged_in_at: None,
        }
    }

    /// Gives it chance, for jitter: any number that differs from process to process.
    pub const fn seed(&mut self, seed: u64) {
        self.jitter.seed(seed);
    }

    /// Says whether to dial now.
    pub fn poll(&self, now: Instant) -> Dial {
        if now >= self.not_before { Dial::Now } else { Dial::Wait { until: self.not_before } }
    }

    /// Learns that dialing failed. Says how long to wait for the next attempt.
    pub fn failed(&mut self, now: Instant) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = self.policy.backoff.delay_millis(self.failures).max(MIN_WAIT);
        self.not_before = now.after(self.jitter.around(wait, self.policy.jitter));
        self.not_before.since(now)
    }

    /// Learns what happened to a connection: a login that worked, or its end. Only a login that
    /// stood for a while makes the waits short again: a server that lets one in and closes the
    /// door at once is dialed no more often for it. An end on purpose is no failure, but an end: the
    /// login that it ended says nothing about the next one.
    pub fn observe(&mut self, now: Instant, event: &Event) {
        match event {
            Event::LoggedIn { .. } => {
                // The one before may still be there, for this one to take its place.
                self.forgive(now);
                self.logged_in_at = Some(now);
            }
            Event::Disconnected { reason } => {
                self.forgive(now);
                if !reason.is_planned() {
                    self.failed(now);
                }
            }
            _ => {}
        }
    }

    /// A login is over. If it stood for a while, what failed before it is forgotten.
    fn forgive(&mut self, now: Instant) {
        let stood = self.logged_in_at.take().map(|since| now.since(since));
        if stood.is_some_and(|stood| stood >= self.policy.backoff.max) {
            self.failures = 0;
        }
    }

    /// What dialing and TLS may take together.
    pub const fn connect_timeout(&self) -> Duration {
        self.policy.connect_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Protocol;
    use crate::connection::CloseReason;
    use crate::manager::Generation;

    #[test]
    fn waits_grow_to_their_limit_and_shrink_after_a_login() {
        let mut reconnect = Reconnect::new(ReconnectPolicy::default());
        let mut now = Instant::from_millis(0);
        let mut waits = std::vec::Vec::new();
        for _ in 0..10 {
            assert_eq!(reconnect.poll(now), Dial::Now);
            reconnect.failed(now);
            let Dial::Wait { until } = reconnect.poll(now) else { panic!("a hot loop") };
            assert_eq!(reconnect.poll(until.minus(Duration::from_millis(1))), Dial::Wait { until });
            waits.push(until.since(now).as_millis());
            now = until;
        }
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        let (generation, protocol) = (Generation(1), Protocol::Resp3);
        let (login, end) = (
            Event::LoggedIn { generation, protocol },
            Event::Disconnected { reason: CloseReason::ByServer },
        );
        // A login that doesn't stand changes nothing.
        reconnect.observe(now, &login);
        reconnect.observe(now, &end);
        assert_eq!(reconnect.poll(now), Dial::Wait { until: now.plus(Duration::from_secs(30)) });
        reconnect.observe(now, &login);
        now = now.plus(Duration::from_secs(30));
        reconnect.observe(now, &end);
        assert_eq!(reconnect.poll(now), Dial::Wait { until: now.plus(Duration::from_millis(200)) });
        // One that ended on purpose neither.
        let planned = Event::Disconnected { reason: CloseReason::Replaced };
        let before = reconnect.poll(now);
        reconnect.observe(now, &login);
        reconnect.observe(now, &planned);
        assert_eq!(reconnect.poll(now), before);
    }

    #[test]
    fn a_login_that_was_ended_on_purpose_says_nothing_about_the_next_one() {
        let mut reconnect = Reconnect::new(ReconnectPolicy::default());
        let at = |secs: u64| Instant::from_millis(secs * 1000);
        let (generation, protocol) = (Generation(1), Protocol::Resp3);
        let login = Event::LoggedIn { generation, protocol };
        let end = |reason| Event::Disconnected { reason };
        reconnect.observe(at(0), &login);
        reconnect.observe(at(10), &end(CloseReason::Idle));
        // An hour later it isn't to be reached, and then it won't have us.
        for _ in 0..3 {
            reconnect.failed(at(3600));
        }
        for wait in [1600, 3200] {
            let refused = CloseReason::Refused(crate::auth::LoginError::WrongPass);
            reconnect.observe(at(3610), &end(refused));
            let until = at(3610).plus(Duration::from_millis(wait));
            assert_eq!(reconnect.poll(at(3610)), Dial::Wait { until });
        }
    }

    #[test]
    fn a_login_that_stood_is_good_for_what_failed_before_however_it_ended() {
        let at = |secs: u64| Instant::from_millis(secs * 1000);
        let (generation, protocol) = (Generation(1), Protocol::Resp3);
        let login = Event::LoggedIn { generation, protocol };
        let end = |reason| Event::Disconnected { reason };
        // Once with the next connection there before the end, once without.
        for overlap in [false, true] {
            let mut reconnect = Reconnect::new(ReconnectPolicy::default());
            for _ in 0..5 {
                reconnect.failed(at(0));
            }
            reconnect.observe(at(10), &login);
            if overlap {
                reconnect.observe(at(3600), &login);
            }
            reconnect.observe(at(3601), &end(CloseReason::Replaced));
            reconnect.observe(at(3602), &end(CloseReason::ByServer));
            let until = at(3602).plus(Duration::from_millis(200));
            assert_eq!(reconnect.poll(at(3602)), Dial::Wait { until });
        }
    }
}
