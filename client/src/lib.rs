#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
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

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod addresses;
mod desk;
mod dialed;
mod environment;
mod error;
mod exchange;
mod growable;
mod handle;
mod local;
mod mail;
mod nodes;
mod recent;
mod share;
mod standing;

pub use addresses::{ATTEMPT_DELAY, Missed, Unreached, reach};
pub use desk::{Deliveries, Demand, Desk, Ended, Submit};
pub use environment::{Chosen, EnvSource, Environment, Text};
pub use error::{Cause, ConfigError, ConnectError, Details, Error, FetchError, Kind, ServerError};
pub use exchange::{Exchange, MAX_COMMAND, State, wake};
pub use growable::Growable;
pub use handle::Handle;
pub use local::{Door, Hook, Local, PushHook, Settings, Subscriber};
pub use mail::{Delivery, Line, Mail, Mailbox, Message, Reader};
pub use nodes::{Follower, NodeAddress, Nodes};
pub use share::Share;
pub use standing::{Health, Standing};

#[cfg(test)]
#[path = "../../core/tests/drive/world.rs"]
#[allow(dead_code)] // It has more than these tests need.
mod world;
