//! What each counter must be, by what the server has said and what it may have done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::counter::Counter;
use crate::orders::Seen;
use crate::subject::Failure;

/// What is no longer undisturbed.
const SLOW: Duration = Duration::from_millis(250);

/// The books of all tasks.
#[derive(Clone)]
pub(crate) struct Books(Arc<Mutex<(Instant, Seen)>>);

impl Books {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new((Instant::now(), Seen::default()))))
    }

    fn lock(&self) -> MutexGuard<'_, (Instant, Seen)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was seen up to now.
    pub(crate) fn begin(&self) {
        *self.lock() = (Instant::now(), Seen::default());
    }

    /// What was seen since then.
    pub(crate) fn seen(&self) -> Seen {
        self.lock().1.clone()
    }

    /// A command has ended. Calls with what to note.
    pub(crate) fn ended(
        &self,
        since: Instant,
        failure: Option<&Failure>,
        note: impl FnOnce(&mut Seen),
    ) {
        let (now, mut locked) = (Instant::now(), self.lock());
        let (begun, seen) = &mut *locked;
        let took = now.duration_since(since);
        seen.slowest = seen.slowest.max(took.as_secs_f64());
        if failure.is_some() || took > SLOW {
            seen.disturbed = now.duration_since(*begun).as_secs_f64();
        }
        match failure {
            None => seen.executed += 1,
            Some(failure) => {
                *if failure.is_known { &mut seen.not_executed } else { &mut seen.unknown } += 1;
                let known = seen.failures.iter_mut().find(|(text, _)| *text == failure.text);
                match known {
                    Some((_, count)) => *count += 1,
                    None => seen.failures.push((failure.text.clone(), 1)),
                }
            }
        }
        note(seen);
    }
}

/// The counters of one task, which nobody else writes to.
#[derive(Default)]
pub(crate) struct Counters(BTreeMap<usize, Counter>);

impl Counters {
    /// An increment of a counter was answered.
    pub(crate) fn answered(
        &mut self,
        books: &Books,
        number: usize,
        since: Instant,
        answer: Result<i64, Failure>,
    ) {
        let counter = self.0.entry(number).or_default();
        match answer {
            Ok(value) => {
                let (doubled, lost) = counter.answered(value);
                books.ended(since, None, |seen| {
                    seen.doubled += doubled;
                    seen.lost_by_servers += lost;
                });
            }
            Err(failure) => {
                if !failure.is_known {
                    counter.perhaps_executed();
                }
                books.ended(since, Some(&failure), |_| {});
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(answers: &[Result<i64, bool>]) -> Seen {
        let (books, mut counters) = (Books::new(), Counters::default());
        for answer in answers {
            let failure = |is_known: &bool| Failure { is_known: *is_known, text: String::new() };
            let answer = answer.as_ref().copied().map_err(failure);
            counters.answered(&books, 1, Instant::now(), answer);
        }
        books.seen()
    }

    #[test]
    fn an_increment_that_surely_failed_must_not_show() {
        assert_eq!(seen(&[Ok(1), Err(true), Ok(2)]).doubled, 0);
        assert_eq!(seen(&[Ok(1), Err(true), Ok(3)]).doubled, 1);
    }

    #[test]
    fn an_increment_that_perhaps_failed_may_show_once() {
        for (value, doubled) in [(2, 0), (3, 0), (4, 1)] {
            let seen = seen(&[Ok(1), Err(false), Ok(value)]);
            assert_eq!((seen.unknown, seen.doubled, seen.lost_by_servers), (1, doubled, 0));
        }
    }

    #[test]
    fn what_was_acknowledged_and_does_not_show_was_lost() {
        let seen = seen(&[Ok(1), Ok(2), Ok(2), Ok(3)]);
        assert_eq!((seen.executed, seen.lost_by_servers, seen.doubled), (4, 1, 0));
    }
}
