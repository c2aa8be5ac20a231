//! The core for JavaScript hosts. What people use is the npm package around it, in `npm/`: this adapts
//! a clock, timers, a pair of streams and `fetch`, all of which it is [given](host), and decides
//! nothing.
#![no_std]
#![allow(async_fn_in_trait)]

extern crate alloc;

mod client;
mod clock;
mod commands;
mod failure;
mod host;
mod http;
mod manager;
mod net;
mod settings;
mod source;
mod subscriber;
mod value;

#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[cfg(target_family = "wasm")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
