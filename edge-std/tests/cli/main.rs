//! The program `redis-entraid`, run as people run it, against the emulator.

mod broken;
mod doctor;
mod generated;
mod ping;
mod program;

mod run;
mod servers;
mod terminal;
mod token;
mod watch;
