//! What must hold whatever comes from outside: bytes, and the order in which things happen.
//!
//! Each target takes any bytes and panics if a promise is broken. `cargo xtask fuzz` lets
//! libFuzzer look for such bytes; those that it found worth keeping lie in `corpus` and are
//! replayed by `tests/corpus.rs`. `tests/properties.rs` tells the manager's stories at random.

pub mod command_queue;
pub mod connection;
pub mod http;
pub mod json;
pub mod jwt;
pub mod manager;
pub mod resp;
pub mod route;
pub mod slots;
pub mod snapshot;

/// A target: any bytes will do.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("command_queue", command_queue::check),
    ("connection", connection::check),
    ("http", http::check),
    ("json", json::check),
    ("jwt", jwt::check),
    ("manager", manager::check),
    ("resp", resp::check),
    ("route", route::check),
    ("slots", slots::check),
    ("snapshot", snapshot::check),
];
