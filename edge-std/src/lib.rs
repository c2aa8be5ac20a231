#![doc = include_str!("../README.md")]

#[cfg(all(doc, feature = "http", feature = "tls"))]
#[path = "guide.rs"]
pub mod _guide;
mod builder;
mod client;
mod clock;
mod connect;
mod engine;
#[cfg(all(feature = "http", feature = "tls"))]
pub mod env;
pub mod error;
#[cfg(feature = "http")]
pub mod http;
mod identity;
#[cfg(feature = "net")]
pub mod net;
mod nodes;
mod pump;
pub mod source;
mod status;
mod subscriber;
#[cfg(feature = "tls")]
pub mod tls;

pub use builder::{Builder, DefaultConnector};
pub use client::{Client, Pipeline};
pub use clock::TokioClock;
pub use connect::Connect;
pub use error::Error;
pub use identity::{Identity, IdentityBuilder};
#[cfg(all(feature = "http", feature = "tls"))]
pub use redis_entraid_client::{Chosen, DeveloperTool};
pub use redis_entraid_client::{Delivery, Health, Message, NodeAddress};
/// The core that this host drives. It has a name of its own, so that a glob import
/// keeps the language's `core`:
///
/// ```
/// use redis_entraid::*;
///
/// let mut attempts = 3;
/// assert_eq!(core::mem::take(&mut attempts), 3);
/// ```
pub use redis_entraid_core as entraid_core;
pub use redis_entraid_core::args;
pub use redis_entraid_core::auth::Protocol;
pub use redis_entraid_core::command::Topic;
pub use redis_entraid_core::connection::{Idle, Replacement};
pub use redis_entraid_core::event::Event;
pub use redis_entraid_core::policy::{Ratio, RefreshPolicy, RetryPolicy};
pub use redis_entraid_core::reconnect::ReconnectPolicy;
pub use redis_entraid_core::resp::{Arg, Value, ValueKind};
pub use subscriber::Subscriber;
#[cfg(feature = "tls")]
pub use tls::Roots;

/// Returns a number that differs from process to process and from call to call, for jitter.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
