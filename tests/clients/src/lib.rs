//! Other clients' first programs against the emulator and its own store: what people try it with.
//! `tests/getting_started.rs` has redis-rs's, and runs redis-py's; node-redis's is among the tests of
//! JavaScript.
