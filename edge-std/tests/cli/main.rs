//! The program `redis-entraid`, run as people run it, against the emulator.

mod generated;
mod ping;
mod program;
mod run;
mod token;
