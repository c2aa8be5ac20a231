//! What each counter must be, by what the server has said and what it may have done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis_entraid::entraid_core::connection::Outcome;
use redis_entraid::error::Error;

use crate::counter::Counter;

/// What was seen of all commands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) executed: u64,
    /// Failed, and surely not executed.
    pub(crate) not_sent: u64,
    /// Failed, and perhaps executed.
    pub(crate) unknown: u64,
    /// Executed more often than they were sent.
    pub(crate) doubled: u64,
    /// Increments that a server has acknowledged and lost: its replica hadn't got them.
    pub(crate) lost_by_servers: u64,
    /// Failures, with when they were.
    pub(crate) failures: Vec<(Instant, String)>,
    /// When a command ended that took longer than [`SLOW`].
    pub(crate) slow: Vec<Instant>,
}

/// What is no longer undisturbed.
pub(crate) const SLOW: Duration = Duration::from_millis(250);

/// The books of all tasks.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Seen>>);

impl Ledger {
    pub(crate) fn seen(&self) -> Seen {
        self.0.lock().unwrap().clone()
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.0.lock().unwrap());
    }
}

/// The counters of one task, which nobody else writes to.
pub(crate) struct Counters {
    ledger: Ledger,
    counters: BTreeMap<String, Counter>,
}

impl Counters {
    pub(crate) fn new(ledger: &Ledger) -> Self {
        Self { ledger: ledger.clone(), counters: BTreeMap::new() }
    }

    /// An increment of `key` was answered.
    pub(crate) fn answered(&mut self, key: &str, since: Instant, answer: Result<i64, Error>) {
        let counter = self.counters.entry(key.to_owned()).or_default();
        match answer {
            Ok(value) => {
                let took = since.elapsed();
                let (doubled, lost) = counter.answered(value);
                self.ledger.note(|seen| {
                    seen.executed += 1;
                    seen.doubled += doubled;
                    seen.lost_by_servers += lost;
                    if took > SLOW {
                        seen.slow.push(Instant::now());
                    }
                });
            }
            Err(error) => {
                let is_unknown = error.outcome() == Outcome::Unknown;
                if is_unknown {
                    counter.perhaps_executed();
                }
                self.ledger.note(|seen| {
                    *if is_unknown { &mut seen.unknown } else { &mut seen.not_sent } += 1;
                    seen.failures.push((Instant::now(), error.to_string()));
                });
            }
        }
    }
}
