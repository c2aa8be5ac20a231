#![doc = include_str!("../README.md")]
#![no_std]
#![allow(async_fn_in_trait)]

extern crate alloc;

mod clock;
#[cfg(feature = "http")]
pub mod http;
pub mod net;
mod reactor;

pub use clock::WasiClock;
pub use reactor::Reactor;
pub use redis_entraid_core as core;
