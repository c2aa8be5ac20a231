//! What a subscriber receives, and how it stays subscribed: the rules, for hosts with threads and
//! without.
//!
//! A [`SubscriptionHub`] connects a [`Reader`], which the user has, with a [`SubscriberConnection`] for
//! each connection.

mod reader;
mod shard_router;
mod shards;
mod subscriber_connection;
mod subscription_hub;
mod subscription_state;
mod tasks;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use reader::Reader;
pub use shards::SubscriberNode;
pub use subscriber_connection::SubscriberConnection;
pub use subscription_hub::SubscriptionHub;
pub use subscription_state::SubscriptionState;

use super::error::{Error, ServerError};
use redis_entraid_core::command::Topic;
use redis_entraid_core::pubsub::{self, Notice};
use redis_entraid_core::resp::Value;

/// What a subscriber receives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Delivery {
    /// A message.
    Message(Message),
    /// The connection was lost and made again, or shard channels have moved to another node: messages in between are
    /// missing. From here on none is: read now what was missed, and nothing is lost. Shard channels of several nodes
    /// have a gap for each.
    Gap,
    /// Another connection takes the place of this one: from here to
    /// [`Settled`](Self::Settled), messages may come twice.
    Overlap,
    /// One of the two connections has ended, and all that both were sent has come.
    Settled,
    /// This many messages were dropped here: too many wait to be read, or one was too large.
    Missed(u64),
    /// The server refuses a subscription that it granted before, or that no caller waits for any more.
    /// It has ended.
    Refused {
        /// Of which kind it was.
        topic: Topic,
        /// To what.
        name: Vec<u8>,
        /// What the server says.
        error: ServerError,
    },
}

/// A published message.
#[derive(Clone)]
pub struct Message {
    raw: Box<[u8]>,
}

impl Message {
    fn new(value: Value<'_>) -> Self {
        Self { raw: value.raw().into() }
    }

    const fn size(&self) -> usize {
        // With what the queue itself takes for it.
        self.raw.len() + 64
    }

    fn value(&self) -> Value<'_> {
        Value::framed(&self.raw)
    }

    fn notice(&self) -> Option<pubsub::Message<'_>> {
        match Notice::of(self.value()) {
            Some(Notice::Message(message)) => Some(message),
            _ => None,
        }
    }

    /// The channel that it was published on.
    pub fn channel(&self) -> &[u8] {
        self.notice().map_or(b"", |message| message.channel)
    }

    /// The pattern by which it came, if it came by one.
    pub fn pattern(&self) -> Option<&[u8]> {
        self.notice()?.pattern
    }

    /// What was published.
    pub fn payload(&self) -> &[u8] {
        self.notice().and_then(|message| message.payload.bytes().ok()).unwrap_or_default()
    }

    /// What was published, if it is UTF-8.
    ///
    /// # Errors
    /// [`Error::Type`] if it is not.
    pub fn text(&self) -> Result<&str, Error> {
        Ok(self.notice().map_or(self.value(), |message| message.payload).str()?)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("channel", &String::from_utf8_lossy(self.channel()))
            .field("bytes", &self.payload().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
