//! How long round trips took.

use std::collections::VecDeque;
use std::time::Duration;

/// So many of the last round trips are looked at.
const KEPT: usize = 1000;

/// The last round trips, and how many there were.
#[derive(Debug, Default)]
pub(crate) struct RoundTrips {
    last: VecDeque<Duration>,
    count: u64,
    failed: u64,
}

/// Of the last round trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    /// The newest.
    pub(crate) newest: Duration,
    /// The shortest.
    pub(crate) least: Duration,
    /// Half of them are shorter.
    pub(crate) median: Duration,
    /// The longest.
    pub(crate) most: Duration,
}

impl RoundTrips {
    /// Takes one in; `None` if there was no reply.
    pub(crate) fn push(&mut self, time: Option<Duration>) {
        self.count += 1;
        let Some(time) = time else {
            self.failed += 1;
            return;
        };
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(time);
    }

    /// How many there were, and how many without a reply.
    pub(crate) const fn counts(&self) -> (u64, u64) {
        (self.count, self.failed)
    }

    /// How they are spread, if there is one.
    pub(crate) fn spread(&self) -> Option<Spread> {
        let newest = *self.last.back()?;
        let mut sorted: Vec<Duration> = self.last.iter().copied().collect();
        sorted.sort_unstable();
        Some(Spread {
            newest,
            least: *sorted.first()?,
            median: *sorted.get(sorted.len() / 2)?,
            most: *sorted.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_the_last_round_trips() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.spread(), None);
        let ms = Duration::from_millis;
        for time in [Some(ms(9_000)), Some(ms(5)), None, Some(ms(1)), Some(ms(3))] {
            trips.push(time);
        }
        let (newest, least, median, most) = (ms(3), ms(1), ms(5), ms(9_000));
        assert_eq!(trips.spread(), Some(Spread { newest, least, median, most }));
        assert_eq!(trips.counts(), (5, 1));
        for _ in 0..KEPT {
            trips.push(Some(ms(2)));
        }
        assert_eq!(trips.spread().unwrap().most, ms(2));
    }
}
