//! The clients that are compared.

mod ours;
mod redis_rs;

pub(crate) use ours::Ours;
pub(crate) use redis_rs::{CONCESSIONS, RedisRs};

/// What a program does with a client. A clone is for another task.
pub(crate) trait Subject: Clone + Send + 'static {
    /// Reads a counter.
    fn get(&mut self, key: &str) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Increments a counter, and returns its value.
    fn incr(&mut self, key: &str) -> impl Future<Output = Result<i64, Failure>> + Send;

    /// Increments counters in all slots, without waiting in between. Returns how many were.
    fn incr_all(&mut self, keys: &[&str]) -> impl Future<Output = Result<usize, Failure>> + Send;
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Whether the error says that the command was not executed.
    pub(crate) is_known: bool,
    pub(crate) text: String,
}
