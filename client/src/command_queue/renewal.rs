//! When a connection is given up for another one to the same endpoint: its server says that what
//! it has is just there, so another server must be behind that address by now.

use core::time::Duration;

use redis_entraid_core::policy::{Backoff, Jitter, Ratio};
use redis_entraid_core::time::Instant;

/// How long a new connection that says the same is kept, since another one would say no better.
const BACKOFF: Backoff =
    Backoff { initial: Duration::from_millis(200), max: Duration::from_secs(30), multiplier: 2 };

/// How much longer or shorter, at random: all clients of a service find out at the same time.
const JITTER: Ratio = Ratio::percent(30);

/// After so long without one, the next one is the first of a series again.
const SERIES: Duration = Duration::from_secs(60);

/// Which connection there is, and whether it is to be another one.
#[derive(Debug)]
pub(super) struct Renewal {
    connection: u32,
    step: Step,
    jitter: Jitter,
    /// How many there were in a row.
    made: u32,
    not_before: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It serves.
    No,
    /// It is to be told.
    Due,
    /// It was told.
    Told,
}

impl Renewal {
    /// Before the first connection. `seed` is for jitter.
    pub(super) const fn new(seed: u64) -> Self {
        let (connection, step, made) = (0, Step::No, 0);
        let jitter = Jitter::new(seed);
        Self { connection, step, jitter, made, not_before: Instant::from_millis(0) }
    }

    /// The number of the connection that there is now, or will be next.
    pub(super) const fn connection(&self) -> u32 {
        self.connection
    }

    /// Asks for another one than that of the number `connection`.
    ///
    /// # Errors
    /// When to ask again: the last one has been asked for too lately.
    pub(super) fn ask(&mut self, now: Instant, connection: u32) -> Result<(), Instant> {
        if connection != self.connection || self.step != Step::No {
            return Ok(());
        }
        if now < self.not_before {
            return Err(self.not_before);
        }
        if now >= self.not_before.plus(SERIES) {
            self.made = 0;
        }
        self.made = self.made.saturating_add(1);
        let wait = self.jitter.around(BACKOFF.delay(self.made), JITTER);
        self.not_before = now.plus(wait);
        self.step = Step::Due;
        Ok(())
    }

    /// Whether it takes no more commands.
    pub(super) fn is_asked(&self) -> bool {
        self.step != Step::No
    }

    /// Whether to tell its driver. True once.
    pub(super) fn tell(&mut self) -> bool {
        let due = self.step == Step::Due;
        if due {
            self.step = Step::Told;
        }
        due
    }

    /// The connection has ended.
    pub(super) const fn disconnected(&mut self) {
        self.connection = self.connection.wrapping_add(1);
        self.step = Step::No;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_is_at_once_and_the_next_ones_ever_later() {
        let mut renewal = Renewal::new(7);
        let (mut now, mut waits) = (Instant::from_millis(5), std::vec::Vec::new());
        for connection in 0..12 {
            assert_eq!(renewal.ask(now, connection), Ok(()));
            // Once, however many ask.
            assert_eq!(renewal.ask(now, connection), Ok(()));
            assert!(renewal.tell() && !renewal.tell() && renewal.is_asked());
            renewal.disconnected();
            let until = renewal.ask(now, connection + 1).unwrap_err();
            assert_eq!(
                renewal.ask(until.minus(Duration::from_millis(1)), connection + 1),
                Err(until)
            );
            waits.push(until.since(now).as_millis() as u64);
            now = until;
        }
        let doubled = (0..12).map(|power| (200_u64 << power).min(30_000));
        for (wait, usual) in waits.iter().zip(doubled) {
            assert!((usual * 7 / 10..=usual * 13 / 10).contains(wait), "{wait} of {usual}");
        }
        // A later `MOVED` of a connection that has gone leads to the present one.
        assert_eq!(renewal.ask(now.minus(Duration::from_millis(1)), 11), Ok(()));
        assert!(!renewal.is_asked());
    }

    #[test]
    fn after_a_minute_of_quiet_a_series_begins_anew() {
        let mut renewal = Renewal::new(7);
        let mut now = Instant::from_millis(0);
        for connection in 0..8 {
            now = renewal.ask(now, connection).err().unwrap_or(now);
            assert_eq!(renewal.ask(now, connection), Ok(()));
            renewal.disconnected();
        }
        now = renewal.ask(now, 8).unwrap_err().plus(SERIES);
        assert_eq!(renewal.ask(now, 8), Ok(()));
        renewal.disconnected();
        assert!(renewal.ask(now, 9).unwrap_err() <= now.plus(Duration::from_millis(260)));
    }
}
