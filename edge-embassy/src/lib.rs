#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
// Tasks of one executor need no `Send` futures.
#![allow(async_fn_in_trait)]
#![deny(
    clippy::expect_used,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]
#![cfg_attr(
    test,
    allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)
)]

#[cfg(test)]
extern crate std;

mod client;
mod clock;
mod config;
mod error;
pub mod http;
mod lent;
mod listening;
mod runner;
mod state;
mod storage;
pub mod tcp;
#[cfg(feature = "tls-p256")]
pub mod tls;
mod watch;

pub use client::{Client, new};
pub use clock::{EmbassyClock, TooEarly};
pub use config::{Config, EventHook};
pub use error::{Error, Problem, ServerError};
pub use http::Http;
pub use listening::{Listen, ListenerHook, Listening};
/// The core that this host drives. It has a name of its own, so that a glob import
/// keeps the language's `core`:
///
/// ```no_run
/// use redis_entraid_embassy::*;
///
/// let mut attempts = 3;
/// assert_eq!(core::mem::take(&mut attempts), 3);
/// ```
pub use redis_entraid_core as entraid_core;
pub use redis_entraid_core::args;
#[cfg(feature = "tls-p256")]
pub use redis_entraid_tls as edge_tls;
pub use runner::Runner;
pub use storage::Storage;
pub use tcp::Tcp;
#[cfg(feature = "tls-p256")]
pub use tls::{Roots, Tls};
pub use watch::Health;
