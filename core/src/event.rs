//! Events for logs and metrics. They never contain a token.
//!
//! A host hands each [`Event`] to the hook that its user gave it.
//!
//! ```
//! use core::time::Duration;
//! use redis_entraid_core::event::Event;
//! use redis_entraid_core::manager::Generation;
//!
//! let event = Event::Refreshed {
//!     generation: Generation(2),
//!     expires_in: Duration::from_secs(3599),
//!     next_in: Duration::from_secs(2519),
//! };
//! assert_eq!(event.to_string(), "token 2 fetched: lives for 3599 s, next in 2519 s");
//! ```

use core::fmt;
use core::time::Duration;

use crate::auth::{LoginError, Protocol};
use crate::close::CloseReason;
use crate::source::SourceError;
use crate::time::millis;
use crate::token::Generation;

/// Something that happened to an identity or to one of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// A new token came.
    Refreshed {
        /// Its number.
        generation: Generation,
        /// The time until it ends.
        expires_in: Duration,
        /// The time until the next request is due.
        next_in: Duration,
    },
    /// The source returned the present token again.
    SameToken {
        /// Its number.
        generation: Generation,
        /// The time until the next request is due.
        next_in: Duration,
    },
    /// The source returned no token.
    FetchFailed {
        /// Why.
        error: SourceError,
        /// The time until the next attempt.
        next_in: Duration,
    },
    /// A connection logged in for the first time.
    LoggedIn {
        /// With which token.
        generation: Generation,
        /// And which protocol it speaks.
        protocol: Protocol,
    },
    /// A connection logged in again, with a newer token.
    Reauthenticated {
        /// With which token.
        generation: Generation,
    },
    /// A server refused a login.
    Rejected {
        /// With which token.
        generation: Generation,
        /// Why.
        error: LoginError,
        /// Whether an earlier login keeps the connection.
        serving: bool,
    },
    /// A connection can't log in again and should be replaced by another one.
    ReplacementDue {
        /// The time until its login ends.
        ends_in: Duration,
    },
    /// The state that the server kept for a connection is lost with it.
    StateLost(LostState),
    /// A connection ended.
    Disconnected {
        /// Why.
        reason: CloseReason,
    },
    /// No connection could be made.
    DialFailed {
        /// The time until the next attempt.
        next_in: Duration,
    },
}

/// State that a server keeps for one connection, and that its replacement doesn't have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct LostState {
    /// A transaction was open: none of its commands is executed.
    pub transaction: bool,
    /// Keys were watched: a change in the meantime goes unnoticed.
    pub watch: bool,
    /// `CLIENT TRACKING` was on: what was cached may be stale.
    pub tracking: bool,
    /// The number of subscriptions.
    pub subscriptions: u32,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refreshed { generation, expires_in, next_in } => write!(
                f,
                "token {} fetched: lives for {} s, next in {} s",
                generation.0,
                expires_in.as_secs(),
                next_in.as_secs()
            ),
            Self::SameToken { generation, next_in } => {
                write!(
                    f,
                    "the source returned token {} again, next in {} s",
                    generation.0,
                    next_in.as_secs()
                )
            }
            Self::FetchFailed { error, next_in } => {
                write!(f, "no token: {error}; next attempt in {} ms", millis(*next_in))
            }
            Self::LoggedIn { generation, protocol } => {
                write!(f, "logged in with token {} ({protocol})", generation.0)
            }
            Self::Reauthenticated { generation } => {
                write!(f, "logged in again with token {}", generation.0)
            }
            Self::Rejected { generation, error, serving } => {
                let then = if *serving { ", still logged in with the earlier one" } else { "" };
                write!(f, "token {} refused: {error}{then}", generation.0)
            }
            Self::ReplacementDue { ends_in } => {
                write!(f, "the connection must be replaced within {} ms", millis(*ends_in))
            }
            Self::StateLost(lost) => {
                f.write_str("lost with the connection:")?;
                for (is, what) in [
                    (lost.transaction, " MULTI"),
                    (lost.watch, " WATCH"),
                    (lost.tracking, " CLIENT TRACKING"),
                ] {
                    f.write_str(if is { what } else { "" })?;
                }
                match lost.subscriptions {
                    0 => Ok(()),
                    count => write!(f, " {count} subscriptions"),
                }
            }
            Self::Disconnected { reason } => write!(f, "disconnected: {reason}"),
            Self::DialFailed { next_in } => {
                write!(f, "can't connect, next attempt in {} ms", millis(*next_in))
            }
        }
    }
}
