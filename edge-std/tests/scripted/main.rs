//! The tokio host with a server in this process that does what a test says, on a clock that moves
//! only while all wait: a time of nothing means that nothing waited.

#![allow(clippy::unwrap_used)]

mod faults;
mod flood;
mod lifetime;
mod seams;
mod server;
mod sessions;
mod subscriber;
