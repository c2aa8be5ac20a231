//! What a connection outputs.

use core::fmt;

use super::ring::Tag;
use crate::close::CloseReason;
use crate::command::{CommandRefused, EncodeError};
use crate::event::Event;
use crate::resp::Value;
use crate::storage::CapacityError;

/// An output of [`Connection::next`](super::Connection::next).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Output<'a> {
    /// The reply to a command. An error of the server is a reply too.
    Reply {
        /// The command's tag.
        tag: Tag,
        /// The reply, unless it was larger than the receive buffer.
        reply: Result<Value<'a>, ReplyTooLarge>,
    },
    /// There will be no reply to a command.
    Lost {
        /// The command's tag.
        tag: Tag,
        /// Why, and whether it may have been executed.
        lost: Lost,
    },
    /// A push, a message to a subscriber for example; unless it was larger than the receive buffer.
    Push(Result<Value<'a>, ReplyTooLarge>),
    /// Something that happened to the connection itself.
    Event(Event),
}

/// A reply was larger than the receive buffer. It was read to its end and dropped; the
/// connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ReplyTooLarge {
    /// Its size in bytes.
    pub size: u64,
    /// The size of the buffer.
    pub capacity: usize,
}

impl fmt::Display for ReplyTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, capacity } = self;
        write!(f, "the reply of {size} bytes exceeds the receive buffer of {capacity}")
    }
}

impl core::error::Error for ReplyTooLarge {}

/// Whether a command may have been executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Outcome {
    /// It was not executed: not sent, or refused before that. Repeating it is safe.
    NotSent,
    /// It may have been executed, or not.
    Unknown,
}

/// Why there is no reply to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Lost {
    /// Whether it may have been executed.
    pub outcome: Outcome,
    /// What happened to the connection; `None` if only the command took too long.
    pub reason: Option<CloseReason>,
}

impl Lost {
    /// A command that was lost when its connection ended, or just took too long.
    pub const fn new(outcome: Outcome, reason: Option<CloseReason>) -> Self {
        Self { outcome, reason }
    }
}

/// Why a command was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SubmitError {
    /// Not now: the ring or the transmit buffer is full, or a login is in flight. Try again when
    /// bytes were sent or received.
    Full,
    /// Never: the connection doesn't send this command for a user.
    Refused(CommandRefused),
    /// Never: it doesn't fit into the transmit buffer.
    TooLarge(CapacityError),
    /// Never: the connection has ended.
    Ended,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the connection can't take a command now"),
            Self::Refused(refused) => refused.fmt(f),
            Self::TooLarge(error) => error.fmt(f),
            Self::Ended => f.write_str("the connection has ended"),
        }
    }
}

impl core::error::Error for SubmitError {}

impl From<EncodeError> for SubmitError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Refused(refused) => Self::Refused(refused),
            EncodeError::TooLarge(error) => Self::TooLarge(error),
        }
    }
}
