//! What clients have in common where there is an allocator: handles that queue commands for one
//! connection, errors for people, and how the environment chooses an identity.
//!
//! A host makes a [`Desk`] for each connection and a [`Handle`] for each user of it, and gives the
//! desk to whatever drives the connection. A [`Follower`] has a handle and goes where a cluster sends
//! its commands; [`Nodes`] has the connections there. For a subscriber it makes a [`Mailbox`], a
//! [`Reader`], and a [`Line`] for each of its connections.
//!
//! ```
//! use core::cell::RefCell;
//! use std::sync::Arc;
//! use redis_entraid_core::client::{Exchange, Handle};
//! use redis_entraid_core::connection::Config;
//!
//! let exchange = Arc::new(Exchange::<RefCell<_>>::new(&Config::default(), None));
//! let one = Handle::new(exchange);
//! let other = one.another();
//! # drop(other);
//! ```

mod addresses;
mod desk;
mod dialed;
mod environment;
mod error;
mod exchange;
mod handle;
mod local;
mod mail;
mod nodes;
mod share;
mod standing;

pub use addresses::{ATTEMPT_DELAY, Missed, Unreached, reach};
pub use desk::{Deliveries, Demand, Desk, Ended, Submit};
pub use environment::{Chosen, EnvSource, Environment, Text};
pub use error::{Cause, ConfigError, ConnectError, Details, Error, FetchError, Kind, ServerError};
pub use exchange::{Exchange, MAX_COMMAND, State, wake};
pub use handle::Handle;
pub use local::{Door, Hook, Local, PushHook, Settings, Subscriber};
pub use mail::{Delivery, Line, Mail, Mailbox, Message, Reader};
pub use nodes::{Follower, NodeAddress, Nodes};
pub use share::Share;
pub use standing::{Health, Standing};
