//! Other clients against the emulator, as they are.
//!
//! `tests/getting_started.rs` has redis-rs's first program, and runs redis-py's, on the emulator's own
//! store: what people try it with. node-redis's is among the tests of JavaScript.
//! `tests/microsoft` logs in with Microsoft's clients, by each identity that Azure has.
