#![doc = include_str!("../README.md")]
#![no_std]
#![allow(async_fn_in_trait)]

extern crate alloc;

mod builder;
mod clock;
#[cfg(feature = "http")]
pub mod http;
#[cfg(all(feature = "no-libc", target_family = "wasm"))]
mod libc;
pub mod net;
mod reactor;
#[cfg(feature = "tls-p256")]
pub mod tls;

#[cfg(feature = "http")]
pub use builder::HttpSource;
pub use builder::{Builder, Client, DefaultConnector, Subscriber};
pub use clock::WasiClock;
pub use reactor::{Reactor, run};
pub use redis_entraid_client::{Delivery, Error, Health, Message};
/// The core that this host drives. It has a name of its own, so that a glob import
/// keeps the language's `core`:
///
/// ```no_run
/// use redis_entraid_wasi::*;
///
/// let mut attempts = 3;
/// assert_eq!(core::mem::take(&mut attempts), 3);
/// ```
pub use redis_entraid_core as entraid_core;
pub use redis_entraid_core::args;
#[cfg(feature = "tls-p256")]
pub use tls::Roots;
