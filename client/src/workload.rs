//! What the connections of a client or a subscriber are for.

mod commands;
mod subscriptions;

use core::error::Error as StdError;

pub use commands::CommandWorkload;
pub use subscriptions::SubscriberWorkload;

use crate::ConnectionStatus;
use crate::error::{Cause, Error};
use redis_entraid_core::event::Event;
use redis_entraid_core::resp::Value;
use redis_entraid_core::time::Instant;
use redis_entraid_core::transport::{ConnectError, Endpoint};

/// Where a host keeps the status of connections, and tells what happens to them.
pub trait Reporter {
    /// Reads or changes the status.
    fn status<T>(&self, change: impl FnOnce(&mut ConnectionStatus) -> T) -> T;

    /// Calls `use_it` with what is dialed.
    fn endpoint<T>(&self, use_it: impl FnOnce(&Endpoint<'_>) -> T) -> T;

    /// Something happened to a connection: update the status, and tell users.
    fn observe(&self, now: Instant, event: &Event);

    /// The server sent something unasked. No lock is held.
    fn push(&self, push: Value<'_>);

    /// No connection could be made.
    fn dial_failed(&self, now: Instant, error: &dyn ConnectError, event: &Event);

    /// Keeps why a connection breaks.
    fn cause(&self, error: &dyn StdError) -> Cause;

    /// Returns whether a caller waits for the first connection.
    fn is_waited_for(&self) -> bool;

    /// A connection serves, or has logged in; or none serves.
    fn set_connected(&self, is_connected: bool);

    /// Waiting can't help those who wait for a connection, or it can again.
    fn set_hopeless(&self, is_hopeless: bool);

    /// Returns why there is no connection, as far as that is known.
    fn problem(&self) -> Option<Error> {
        self.status(|status| status.problem().cloned())
    }
}
