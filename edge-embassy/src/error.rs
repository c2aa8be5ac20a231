//! What can go wrong, and what to do about it.

use core::fmt;

use redis_entraid_core::auth::LoginError;
use redis_entraid_core::command::CommandRefused;
use redis_entraid_core::connection::{CloseReason, Outcome};
use redis_entraid_core::resp::ErrorReply;
use redis_entraid_core::source::SourceError;
use redis_entraid_core::storage::CapacityError;
use redis_entraid_core::transport::ConnectErrorKind;

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The client doesn't allow this command, or not at this point.
    Refused(CommandRefused),
    /// The command, or the reply, doesn't fit into a buffer.
    TooLarge(CapacityError),
    /// The reply was larger than may be received. It was read to its end and dropped.
    ReplyTooLarge {
        /// Its size in bytes.
        size: u64,
        /// The size of the buffer.
        capacity: usize,
    },
    /// The server reported an error.
    Server(ServerError),
    /// The command got no reply.
    Lost {
        /// Whether it may have been executed.
        outcome: Outcome,
        /// What happened to the connection; `None` if the command just took too long.
        reason: Option<CloseReason>,
    },
    /// The command was not sent, since there was no connection for as long as a command may take.
    Unavailable {
        /// Why there is none, as far as that is known.
        cause: Option<Problem>,
    },
    /// Others' commands took all the time that this one had, or eight of them wait already. It was
    /// not sent.
    Busy,
    /// The runner has ended.
    Closed,
}

impl Error {
    /// Whether the command may have been executed. [`Outcome::NotSent`] may safely be repeated.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Lost { outcome, .. } => *outcome,
            Self::Server(error) => error.outcome,
            Self::ReplyTooLarge { .. } => Outcome::Unknown,
            // The reply was there.
            Self::TooLarge(error) => match error.buffer {
                redis_entraid_core::storage::Buffer::Receive => Outcome::Unknown,
                _ => Outcome::NotSent,
            },
            _ => Outcome::NotSent,
        }
    }

    /// What the person in charge should do.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Refused(_) => "send another command",
            Self::TooLarge(_) | Self::ReplyTooLarge { .. } => "make the buffer larger",
            Self::Server(_) => "see what the server says",
            Self::Lost { .. } => "repeat the command, if it does no harm twice",
            Self::Unavailable { cause: Some(problem) } => problem.advice(),
            Self::Unavailable { cause: None } => {
                "repeat the command; if it persists, see that the runner is spawned"
            }
            Self::Busy => "send fewer commands at once, or allow more time",
            Self::Closed => "keep the runner running",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::TooLarge(error) => error.fmt(f),
            Self::ReplyTooLarge { size, capacity } => {
                write!(f, "the reply of {size} bytes exceeds the buffer of {capacity}")
            }
            Self::Server(error) => error.fmt(f),
            Self::Lost { outcome, reason } => {
                match reason {
                    Some(reason) => reason.fmt(f)?,
                    None => f.write_str("the command timed out")?,
                }
                f.write_str(match outcome {
                    Outcome::NotSent => "; the command was not sent",
                    _ => "; the command may have been executed",
                })
            }
            Self::Unavailable { cause: None } => f.write_str("there is no connection"),
            Self::Unavailable { cause: Some(cause) } => {
                write!(f, "there is no connection: {cause}")
            }
            Self::Busy => f.write_str("too many commands are waiting"),
            Self::Closed => f.write_str("the runner has ended"),
        }
    }
}

impl core::error::Error for Error {}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Problem {
    /// There is no token.
    Token(SourceError),
    /// The wall clock is not set: without it no certificate can be verified.
    Clock,
    /// The server can't be reached, or not trusted. The event hook gets the details.
    Connect(ConnectErrorKind),
    /// The server refused the login.
    Login(LoginError),
    /// The last connection ended.
    Ended(CloseReason),
}

impl Problem {
    /// What the person in charge should do.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Token(_) => "see what the source of the tokens says",
            Self::Clock => "set the clock: from SNTP, or from the Date of a trusted token endpoint",
            Self::Connect(kind) => kind.advice(),
            Self::Login(_) => "see that the identity is a user of the cache, with an access policy",
            Self::Ended(_) => "wait: it is made again",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(error) => write!(f, "no token: {error}"),
            Self::Clock => write!(f, "the wall clock is not set: {}", self.advice()),
            Self::Connect(kind) => write!(f, "can't connect: {}", kind.advice()),
            Self::Login(error) => error.fmt(f),
            Self::Ended(reason) => reason.fmt(f),
        }
    }
}

impl core::error::Error for Problem {}

/// An error that the server reported to a command: as much of it as fits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ServerError {
    text: [u8; 64],
    len: u8,
    /// Whether the command may have been executed all the same.
    outcome: Outcome,
}

impl ServerError {
    pub(crate) fn new(error: ErrorReply<'_>) -> Self {
        let mut text = [0; 64];
        let mut len = 0;
        for (to, from) in text.iter_mut().zip(error.text()) {
            *to = *from;
            len += 1;
        }
        let outcome = match error.code() == "NOAUTH" || error.redirect().is_some() {
            true => Outcome::NotSent,
            false => Outcome::Unknown,
        };
        Self { text, len, outcome }
    }

    fn text(&self) -> &str {
        let text = self.text.get(..usize::from(self.len)).unwrap_or_default();
        match core::str::from_utf8(text) {
            Ok(text) => text,
            // It may have been cut within a character.
            Err(error) => {
                let valid = text.get(..error.valid_up_to()).unwrap_or_default();
                core::str::from_utf8(valid).unwrap_or_default()
            }
        }
    }

    /// Its first word, as `WRONGTYPE` or `MOVED`.
    pub fn code(&self) -> &str {
        self.text().split(' ').next().unwrap_or_default()
    }

    /// What is behind the code.
    pub fn message(&self) -> &str {
        self.text().get(self.code().len()..).unwrap_or_default().trim_start()
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

// A server may quote the command.
impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerError({})", self.code())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for ServerError {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "ServerError({=str})", self.code());
    }
}

#[cfg(test)]
mod tests {
    use redis_entraid_core::resp::Value;

    use super::*;

    #[test]
    fn what_the_server_has_not_executed_may_be_repeated() {
        for (reply, outcome) in [
            ("-NOAUTH Authentication required.\r\n", Outcome::NotSent),
            (
                "-MOVED 3999 a-name-that-is-longer-than-what-is-kept-of-it.example:8501\r\n",
                Outcome::NotSent,
            ),
            ("-ASK 3999 10.0.0.1:8501\r\n", Outcome::NotSent),
            ("-TRYAGAIN not now\r\n", Outcome::NotSent),
            ("-CLUSTERDOWN not today\r\n", Outcome::NotSent),
            ("-MOVEDNOT a word\r\n", Outcome::Unknown),
            ("-ERR no such command\r\n", Outcome::Unknown),
        ] {
            let value = Value::new(reply.as_bytes()).unwrap();
            let error = Error::Server(ServerError::new(value.error().unwrap()));
            assert_eq!(error.outcome(), outcome, "{reply}");
        }
    }
}
