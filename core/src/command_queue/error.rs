//! Why a command has no reply.

use core::fmt;

use crate::command::CommandRefused;
use crate::connection::{Lost, Outcome, ReplyTooLarge};
use crate::storage::{Buffer, CapacityError};

/// Why a command has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CommandError {
    /// The command isn't for users of a connection, or not of one that is shared.
    Refused(CommandRefused),
    /// The command, or its reply, doesn't fit into a buffer.
    TooLarge(CapacityError),
    /// The reply was larger than what holds replies. It was read to its end and dropped.
    ReplyTooLarge(ReplyTooLarge),
    /// A connection took it, and there will be no reply.
    Lost(Lost),
    /// There was no connection in time. It was not sent.
    Unavailable,
    /// All slots are taken, or its turn did not come in time. It was not sent.
    Busy,
    /// The queue is closed. It was not sent.
    Closed,
}

impl CommandError {
    /// Returns whether the command may have been executed. [`Outcome::NotSent`] may safely be repeated.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Lost(lost) => lost.outcome,
            Self::ReplyTooLarge(_) => Outcome::Unknown,
            // The reply was there.
            Self::TooLarge(CapacityError { buffer: Buffer::Receive, .. }) => Outcome::Unknown,
            _ => Outcome::NotSent,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::TooLarge(error) => error.fmt(f),
            Self::ReplyTooLarge(error) => error.fmt(f),
            Self::Lost(lost) => {
                match lost.reason {
                    Some(reason) => reason.fmt(f)?,
                    None => f.write_str("the command timed out")?,
                }
                f.write_str(match lost.outcome {
                    Outcome::NotSent => "; the command was not sent",
                    Outcome::Unknown => "; the command may have been executed",
                })
            }
            Self::Unavailable => f.write_str("there is no connection"),
            Self::Busy => f.write_str("too many commands are waiting"),
            Self::Closed => f.write_str("the command queue is closed"),
        }
    }
}

impl core::error::Error for CommandError {}
