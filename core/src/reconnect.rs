//! When to dial, and when to dial again.
//!
//! ```
//! use redis_entraid_core::policy::Jitter;
//! use redis_entraid_core::reconnect::{Dial, Reconnect, ReconnectPolicy};
//! use redis_entraid_core::time::Instant;
//!
//! let now = Instant::from_millis(0);
//! let mut reconnect = Reconnect::new(ReconnectPolicy::default(), Jitter::new(7));
//! assert_eq!(reconnect.poll(now, false), Dial::Now);
//! reconnect.failed(now);
//! assert!(matches!(reconnect.poll(now, false), Dial::Wait { .. }));
//! ```

use core::time::Duration;

use crate::close::CloseReason;
use crate::event::Event;
use crate::policy::{Backoff, Jitter, Ratio};
use crate::time::{Instant, millis};

/// How often a server is dialed that can't be reached or closes the connection.
///
/// There is no last attempt. An outage begins with quick attempts, since most are short, and goes on
/// with slow ones, which are less slow while a command waits for the connection. Azure limits the rate of
/// new connections, so all waits are jittered.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ReconnectPolicy {
    /// The waits between attempts at the beginning of an outage. By default from 10 ms to 1 s, as in
    /// Redis's own clients (go-redis#3918).
    pub quick: Backoff,
    /// How long the quick attempts last, from the beginning of an outage.
    pub quick_for: Duration,
    /// The waits between later attempts. By default from 2 s to 30 s.
    pub slow: Backoff,
    /// The longest wait while a command waits for the connection, by default 5 s: no longer than a
    /// command waits, so that there is an attempt for each.
    pub max_while_wanted: Duration,
    /// The largest share of a wait that is added to or taken from it at random.
    pub jitter: Ratio,
    /// A connection that stayed logged in this long ends the outage: the next outage starts with
    /// quick attempts.
    pub stable_after: Duration,
    /// What dialing and TLS may take together.
    pub connect_timeout: Duration,
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        let (second, half_minute) = (Duration::from_secs(1), Duration::from_secs(30));
        Self {
            quick: Backoff { initial: Duration::from_millis(10), max: second, multiplier: 2 },
            quick_for: half_minute,
            slow: Backoff { initial: Duration::from_secs(2), max: half_minute, multiplier: 2 },
            max_while_wanted: Duration::from_secs(5),
            jitter: Ratio::percent(30),
            stable_after: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// What to do while there is no connection.
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
const MIN_WAIT: u64 = 10;

/// Milliseconds after a token was refused: the server is there, and needs another token.
const REFUSED_WAIT: u64 = 500;

/// Schedules the attempts to get a connection.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Reconnect {
    policy: ReconnectPolicy,
    jitter: Jitter,
    outage: Option<Outage>,
    logged_in_at: Option<Instant>,
}

/// Attempts that failed one after the other.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
struct Outage {
    since: Instant,
    /// Quick attempts that failed, or slow ones when there are such.
    failures: u32,
    is_slow: bool,
    /// When the next one is due.
    next: Instant,
    /// When it is due if a command waits for it.
    next_wanted: Instant,
}

impl Reconnect {
    /// Before the first attempt. `jitter` spreads the attempts of many processes.
    pub const fn new(policy: ReconnectPolicy, jitter: Jitter) -> Self {
        Self { policy, jitter, outage: None, logged_in_at: None }
    }

    /// Returns whether to dial now. `wanted` is whether a command waits for the connection: when
    /// that changes, so may the answer.
    pub fn poll(&self, now: Instant, wanted: bool) -> Dial {
        let Some(outage) = &self.outage else { return Dial::Now };
        let until = if wanted { outage.next_wanted } else { outage.next };
        if now >= until { Dial::Now } else { Dial::Wait { until } }
    }

    /// Notes that an attempt failed. Returns how long the next one has to wait, unless a command waits
    /// for it.
    pub fn failed(&mut self, now: Instant) -> Duration {
        self.wait(now, MIN_WAIT)
    }

    /// Waits for the next attempt, at least for so many milliseconds.
    fn wait(&mut self, now: Instant, least: u64) -> Duration {
        let ReconnectPolicy { quick, quick_for, slow, max_while_wanted, jitter, .. } = &self.policy;
        let quick_for = millis(*quick_for);
        // What failed long ago says nothing about this one: nothing was dialed since.
        let long_ago = quick_for.max(millis(slow.max));
        let mut outage =
            self.outage.filter(|outage| now.millis_since(outage.next) < long_ago).unwrap_or(
                Outage { since: now, failures: 0, is_slow: false, next: now, next_wanted: now },
            );
        if !outage.is_slow && now.millis_since(outage.since) >= quick_for {
            (outage.is_slow, outage.failures) = (true, 0);
        }
        outage.failures = outage.failures.saturating_add(1);
        let backoff = if outage.is_slow { slow } else { quick };
        let wait = backoff.delay_millis(outage.failures).max(least);
        let wanted = wait.min(millis(*max_while_wanted).max(MIN_WAIT));
        outage.next = now.after(self.jitter.around_millis(wait, *jitter));
        outage.next_wanted = now.after(self.jitter.around_millis(wanted, *jitter)).min(outage.next);
        self.outage = Some(outage);
        outage.next.since(now)
    }

    /// Takes in what happened to a connection: a login that worked, or its end. Only a login that
    /// stood for a while ends the outage: a server that accepts logins and closes the connection at
    /// once is dialed no more often for it. An end on purpose is no failure, but an end: the login that
    /// it ended says nothing about the next one.
    pub fn observe(&mut self, now: Instant, event: &Event) {
        match event {
            Event::LoggedIn { .. } => {
                // The one before may still be there, for this one to take its place.
                self.forgive(now);
                self.logged_in_at = Some(now);
            }
            Event::Disconnected { reason } => {
                self.forgive(now);
                let refused = matches!(reason, CloseReason::Refused(error) if error.is_rejection());
                if !reason.is_planned() {
                    self.wait(now, if refused { REFUSED_WAIT } else { MIN_WAIT });
                }
            }
            _ => {}
        }
    }

    /// A login is over. If it stood for a while, what failed before it is forgotten.
    fn forgive(&mut self, now: Instant) {
        let stood = self.logged_in_at.take().map(|since| now.since(since));
        if stood.is_some_and(|stood| stood >= self.policy.stable_after) {
            self.outage = None;
        }
    }

    /// What dialing and TLS may take together.
    pub const fn connect_timeout(&self) -> Duration {
        self.policy.connect_timeout
    }
}

#[cfg(test)]
mod tests;
