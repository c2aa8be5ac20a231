//! The core for JavaScript hosts. What people use is the npm package around it, in `npm/`: this adapts
//! a clock, timers, a pair of streams and `fetch`, all of which it is [given](host), and decides
//! nothing.
#![no_std]
#![allow(async_fn_in_trait)]
// What only the client needs of the host.
#![cfg_attr(not(feature = "client"), allow(dead_code))]

extern crate alloc;

#[cfg(feature = "client")]
mod client;
mod clock;
#[cfg(feature = "client")]
mod commands;
mod failure;
#[cfg(feature = "client")]
mod gate;
mod host;
mod http;
mod identity;
#[cfg(feature = "tokens")]
mod manager;
#[cfg(target_family = "wasm")]
mod memory;
#[cfg(feature = "client")]
mod net;
mod settings;
mod source;
#[cfg(feature = "client")]
mod subscriber;
mod task;
#[cfg(feature = "client")]
mod value;

#[cfg(target_family = "wasm")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    task::failed();
    core::arch::wasm32::unreachable()
}
