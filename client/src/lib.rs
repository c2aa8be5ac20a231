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
mod command_dispatcher;
mod command_queue;
mod connection_status;
mod dialed;
mod environment;
mod error;
mod growable;
mod handle;
mod local;
mod lock;
#[cfg(feature = "pem")]
mod pem;
mod recent;
mod router;
mod routing_handle;
mod subscriptions;
mod workload;

pub use addresses::{ATTEMPT_DELAY, Missed, Unreached, reach};
pub use command_dispatcher::{CommandDispatcher, Deliveries, Ended, QueueDemand, SubmitFn};
pub use command_queue::{CommandQueue, MAX_COMMAND, QueueState, wake};
pub use connection_status::{ConnectionStatus, Health};
#[cfg(feature = "native-sources")]
pub use environment::{
    CertificateFile, DeveloperTool, NativeEnvironment, NativeSource, ProxyRoots,
};
pub use environment::{Chosen, EnvSource, Environment, EnvironmentText};
#[cfg(feature = "file-sources")]
pub use environment::{FileEnvironment, FileSource, ProofFile};
pub use error::{
    Cause, ConfigError, ConnectError, Details, Error, ErrorKind, FetchError, ServerError,
};
pub use growable::Growable;
pub use handle::Handle;
pub use local::{EventHook, LocalClient, PushHook, Settings, Subscriber, WeakClient};
pub use lock::Lock;
#[cfg(feature = "pem")]
pub use pem::roots_from_pem;
pub use router::{NodeAddress, Router, RouterHost, request_map};
pub use routing_handle::RoutingHandle;
pub use subscriptions::{
    Delivery, Message, Reader, SubscriberConnection, SubscriberNode, SubscriptionHub,
    SubscriptionState,
};
pub use workload::{CommandWorkload, Reporter, SubscriberWorkload};

/// The request memory that hosts lend to sources, in bytes. There is room for a federated token or an assertion of
/// 16 KiB, and for a secret that its encoding makes as long; and for what else is in a request.
pub const REQUEST_MEMORY: usize = 17 << 10;

#[cfg(test)]
#[path = "../../core/tests/drive/world.rs"]
#[allow(dead_code)] // It has more than these tests need.
mod world;
