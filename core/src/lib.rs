#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
// Single-threaded hosts have no `Send` futures; hosts with threads bring traits of their own.
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

#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod auth;
mod base64;
mod close;
pub mod cluster;
pub mod command;
pub mod command_queue;
pub mod connection;
pub mod date;
pub mod drive;
pub mod event;
pub mod http;
pub mod json;
pub mod jwt;
pub mod listener;
pub mod manager;
mod number;
pub mod policy;
pub mod pubsub;
mod recent;
pub mod reconnect;
pub mod resp;
pub mod schedule;
pub mod secret;
pub mod source;
mod span;
pub mod storage;
pub mod supervisor;
pub mod time;
pub mod token;
pub mod transport;

pub use zeroize;
