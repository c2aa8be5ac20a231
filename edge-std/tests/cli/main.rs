//! The program `redis-entraid`, run as people run it, against the emulator.

mod broken;
mod doctor;
mod generated;
mod ping;
mod program;
mod prompt;
mod run;
mod servers;
mod token;
mod watch;
