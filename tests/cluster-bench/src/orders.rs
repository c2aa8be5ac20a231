//! What is said to a program under test, and what it answers: lines of JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a client waits for a reply: ours, unless it is told otherwise.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// What a program under test is to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Does this for so many seconds: [`Measured`].
    Measure { load: Load, keys: Keys, seconds: f64 },
    /// Begins to work with so many tasks, for ever: null.
    Work { tasks: usize },
    /// Forgets what was seen up to now: null.
    Begin,
    /// Tells what was seen since then: [`Seen`].
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Load {
    /// `GET` and `INCR` of random keys, by so many tasks.
    Tasks(usize),
    /// Pipelines of so many `INCR`.
    Pipelines(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Keys {
    /// In all slots.
    AllSlots,
    /// In one slot, and so on one node.
    OneSlot,
}

/// What a load has cost.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Commands, also those in pipelines.
    pub(crate) commands: u64,
    pub(crate) failed: u64,
    pub(crate) seconds: f64,
    /// Seconds, in user mode and in the kernel.
    pub(crate) cpu: f64,
    pub(crate) allocations: u64,
}

/// What became of commands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) executed: u64,
    /// Failed, and by the error not executed.
    pub(crate) not_executed: u64,
    /// Failed, and perhaps executed.
    pub(crate) unknown: u64,
    /// Increments that were executed more often than they were asked for.
    pub(crate) doubled: u64,
    /// Increments that a server has acknowledged and lost.
    pub(crate) lost_by_servers: u64,
    /// Seconds from the beginning to the last failure, or the end of the last slow command.
    pub(crate) disturbed: f64,
    /// Seconds that the slowest command has taken.
    pub(crate) slowest: f64,
    /// The texts of failures, and how many there were of each.
    pub(crate) failures: Vec<(String, u64)>,
}
