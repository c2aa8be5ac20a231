//! What can go wrong, and what to do about it.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::error::Error as StdError;
use core::fmt;

use redis_entraid_core::auth::LoginError;
use redis_entraid_core::cluster::Route;
use redis_entraid_core::command::CommandRefused;
use redis_entraid_core::connection::{CloseReason, Lost, Outcome, ReplyTooLarge};
use redis_entraid_core::resp::{ErrorReply, Redirect, TypeError};
use redis_entraid_core::source::{self, SourceError};
use redis_entraid_core::storage::CapacityError;
use redis_entraid_core::transport::ConnectErrorKind;

/// Why there is no connection, or no reply.
///
/// Its text says all that is known, in one line. [`source`](StdError::source) is the error of the
/// network, of TLS or of the token source behind it.
#[derive(Clone)]
#[non_exhaustive]
pub enum Error {
    /// The configuration can't work: change it.
    Config(ConfigError),
    /// There is no token.
    Token(Arc<FetchError>),
    /// There is no connection.
    Connect(Arc<ConnectError>),
    /// The server refused the login.
    Login(LoginError),
    /// The server reported an error.
    Server(ServerError),
    /// The command got no reply.
    Lost {
        /// Whether it may have been executed.
        outcome: Outcome,
        /// What happened to the connection; `None` if the command just took too long.
        reason: Option<CloseReason>,
        /// What the network said, if the connection [broke](CloseReason::Broken).
        cause: Option<Cause>,
    },
    /// The connection has ended, or is about to.
    Ended {
        /// Why.
        reason: CloseReason,
        /// What the network said, if the connection [broke](CloseReason::Broken).
        cause: Option<Cause>,
    },
    /// The command was not sent: there was no connection for as long as a command may wait.
    Unavailable {
        /// Why there is none, as far as that is known.
        cause: Option<Box<Self>>,
    },
    /// There is a connection, but the server did not confirm a subscription for as long as a command
    /// may take. The request stands, and takes effect when it is confirmed.
    Unconfirmed,
    /// The keys of a command or of a transaction are in several slots of a cluster. Nothing was sent.
    CrossSlot,
    /// The transaction that was open, or the `WATCH`, is gone: with its connection, with its login,
    /// or with a command of it that was withdrawn. This command was not executed; begin again.
    StateLost,
    /// The client doesn't allow this command, or not at this point.
    Refused(CommandRefused),
    /// The command is larger than may be sent.
    TooLarge(CapacityError),
    /// The reply was larger than may be received.
    ReplyTooLarge(ReplyTooLarge),
    /// The reply is of another type than was asked for.
    Type(TypeError),
    /// The task behind it has ended, with its runtime.
    Closed,
}

/// The kind of an [`Error`]: what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration, or the use, is wrong.
    Usage,
    /// The token source.
    Token,
    /// The network.
    Connect,
    /// TLS: the server's certificate is not trusted, or not for this name.
    Tls,
    /// The server didn't accept the login.
    Rejected,
    /// The server answered the command with an error.
    Server,
    /// The connection was lost, or the reply took too long.
    Lost,
}

impl Error {
    /// Returns the kind of error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_)
            | Self::CrossSlot
            | Self::Refused(_)
            | Self::TooLarge(_)
            | Self::Type(_) => ErrorKind::Usage,
            Self::Token(_) => ErrorKind::Token,
            Self::Connect(error) if error.kind() == ConnectErrorKind::Tls => ErrorKind::Tls,
            Self::Connect(_) => ErrorKind::Connect,
            Self::Login(_) => ErrorKind::Rejected,
            Self::Server(error) if error.code == "NOAUTH" => ErrorKind::Rejected,
            Self::Server(_) | Self::ReplyTooLarge(_) => ErrorKind::Server,
            Self::Unavailable { cause: Some(cause) } => cause.kind(),
            Self::Lost { .. }
            | Self::Ended { .. }
            | Self::Unconfirmed
            | Self::Unavailable { cause: None }
            | Self::StateLost
            | Self::Closed => ErrorKind::Lost,
        }
    }

    /// Returns whether the command may have been executed. [`Outcome::NotSent`] may safely be repeated.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Lost { outcome, .. } => *outcome,
            Self::Server(error) if error.code == "NOAUTH" || error.redirect().is_some() => {
                Outcome::NotSent
            }
            Self::Server(_) | Self::ReplyTooLarge(_) | Self::Type(_) | Self::Unconfirmed => {
                Outcome::Unknown
            }
            _ => Outcome::NotSent,
        }
    }

    /// Returns the first word of the server's error, if it is one: `WRONGTYPE`, say.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server(error) => Some(&error.code),
            Self::CrossSlot => Some("CROSSSLOT"),
            Self::Login(LoginError::WrongPass) => Some("WRONGPASS"),
            Self::Login(LoginError::NoPerm) => Some("NOPERM"),
            Self::Login(LoginError::Denied) => Some("DENIED"),
            Self::Unavailable { cause: Some(cause) } => cause.code(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Token(error) => write!(f, "no token: {error}"),
            Self::Connect(error) => error.fmt(f),
            Self::Login(error) => error.fmt(f),
            Self::Server(error) => error.fmt(f),
            Self::Lost { outcome, reason, cause } => {
                match (reason, cause) {
                    (Some(reason), Some(cause)) => write!(f, "{reason} ({cause})")?,
                    (Some(reason), None) => reason.fmt(f)?,
                    (None, _) => f.write_str("the command timed out")?,
                }
                f.write_str(match outcome {
                    Outcome::NotSent => "; the command was not sent",
                    _ => "; the command may have been executed",
                })
            }
            Self::Ended { reason, cause: Some(cause) } => write!(f, "{reason} ({cause})"),
            Self::Ended { reason, cause: None } => reason.fmt(f),
            Self::Unavailable { cause: None } => f.write_str("there is no connection"),
            Self::Unavailable { cause: Some(cause) } => {
                write!(f, "there is no connection: {cause}")
            }
            Self::Unconfirmed => f.write_str(
                "the server did not confirm the subscription in time; it is still wanted",
            ),
            Self::CrossSlot => Route::CROSS_SLOT.fmt(f),
            Self::StateLost => f.write_str(
                "the transaction or the WATCH is gone; the command was not executed, begin again",
            ),
            Self::Closed => f.write_str("the client's background task has ended"),
            Self::Refused(error) => error.fmt(f),
            Self::TooLarge(error) => error.fmt(f),
            Self::ReplyTooLarge(error) => error.fmt(f),
            Self::Type(error) => error.fmt(f),
        }
    }
}

// `fn main() -> Result<(), Error>` shows this to a person.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Token(error) => error.source(),
            Self::Connect(error) => error.source(),
            Self::Unavailable { cause: Some(cause) } => cause.source(),
            Self::Lost { cause: Some(cause), .. } | Self::Ended { cause: Some(cause), .. } => {
                Some(&**cause)
            }
            _ => None,
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<TypeError> for Error {
    fn from(error: TypeError) -> Self {
        // What the server reported to a command inside a transaction is an error like another.
        error.error().map_or(Self::Type(error), |said| Self::Server(said.into()))
    }
}

impl From<CommandRefused> for Error {
    fn from(error: CommandRefused) -> Self {
        Self::Refused(error)
    }
}

impl From<Lost> for Error {
    fn from(lost: Lost) -> Self {
        Self::Lost { outcome: lost.outcome, reason: lost.reason, cause: None }
    }
}

/// An error that the server reported to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// Its first word, as `WRONGTYPE` or `MOVED`.
    pub code: String,
    /// The rest.
    pub message: String,
}

impl ServerError {
    /// Parses it if it is a cluster's error: `MOVED`, `ASK`, `TRYAGAIN` or `CLUSTERDOWN`.
    pub fn redirect(&self) -> Option<Redirect<'_>> {
        Redirect::of(&self.code, &self.message)
    }
}

impl From<ErrorReply<'_>> for ServerError {
    fn from(error: ErrorReply<'_>) -> Self {
        Self { code: error.code().to_owned(), message: error.message().to_owned() }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

/// What an error keeps for a person.
pub type Details = Box<dyn StdError + Send + Sync>;

/// The same for an error that several callers get.
pub type Cause = Arc<dyn StdError + Send + Sync>;

/// There is no connection to a server.
#[derive(Debug, thiserror::Error)]
#[error("can't connect to {to}: {details}; {}", kind.advice())]
pub struct ConnectError {
    kind: ConnectErrorKind,
    to: String,
    #[source]
    details: Details,
}

impl ConnectError {
    /// The connection `to` a server failed with `details`.
    pub fn new(kind: ConnectErrorKind, to: impl Into<String>, details: impl Into<Details>) -> Self {
        Self { kind, to: to.into(), details: details.into() }
    }

    /// Returns the kind of error.
    pub const fn kind(&self) -> ConnectErrorKind {
        self.kind
    }
}

/// A configuration that can't work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// An environment variable that the chosen identity needs is missing.
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
    /// The value of an environment variable, or of a setting, can't be parsed.
    #[error("{0} is invalid")]
    Invalid(&'static str),
    /// An environment variable asks for something that isn't supported.
    #[error(
        "{0} asks for something that is not supported: unset it, or set a token source in code"
    )]
    Unsupported(&'static str),
    /// No variable asks for an identity, and that of Azure Arc, whose agent is installed here, isn't supported.
    #[error(
        "no variable of an identity is set, and this machine has the agent of Azure Arc, whose identity is not \
        supported here: set the variables of another identity, or set a token source in code"
    )]
    ArcAgent,
    /// Only one of these two may be set.
    #[error("{0} and {1} are both set: unset one of them")]
    Both(&'static str, &'static str),
    /// The identity can't work as it is configured.
    #[error(transparent)]
    Source(#[from] source::ConfigError),
    /// No token source is configured.
    #[error("no token source is configured")]
    NoSource,
    /// The root certificates can't be used. Contains the reason.
    #[error("no root certificates to trust: {0}")]
    Roots(String),
}

/// Why a source gave no token: its kind, and the details for a person.
#[derive(Debug)]
pub struct FetchError {
    reason: SourceError,
    details: Option<Details>,
}

impl FetchError {
    /// Something that may work in a moment.
    pub fn transient(error: impl Into<Details>) -> Self {
        Self::of_kind(source::ErrorKind::Transient, error)
    }

    /// Something that a person has to put right. It is tried again, slowly.
    pub fn configuration(error: impl Into<Details>) -> Self {
        Self::of_kind(source::ErrorKind::Configuration, error)
    }

    /// An error whose kind decides when to ask again.
    pub fn of_kind(kind: source::ErrorKind, error: impl Into<Details>) -> Self {
        let reason = SourceError::Other { kind, what: "the token source failed" };
        Self { reason, details: Some(error.into()) }
    }

    /// Returns the kind of error.
    pub const fn reason(&self) -> SourceError {
        self.reason
    }

    /// The kind of error, and the details.
    pub fn new(reason: SourceError, details: impl Into<Details>) -> Self {
        Self { reason, details: Some(details.into()) }
    }
}

impl From<SourceError> for FetchError {
    fn from(reason: SourceError) -> Self {
        Self { reason, details: None }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.reason.to_string();
        f.write_str(&said)?;
        let mut details = self.details.as_deref().map(|error| error as &dyn StdError);
        while let Some(error) = details {
            let text = error.to_string();
            // Some say what is behind them, and keep it.
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said.push_str(&text);
            }
            details = error.source();
        }
        Ok(())
    }
}

impl StdError for FetchError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.details.as_deref().map(|details| details as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis_entraid_core::transport::TransportFailure;
    use std::io;
    use std::string::ToString;

    #[test]
    fn an_error_keeps_its_cause_and_shows_a_person_what_it_says() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let connect = ConnectError::new(ConnectErrorKind::Unreachable, "here:1", refused());
        let token = FetchError::transient(refused());
        let lost = Error::Lost {
            outcome: Outcome::Unknown,
            reason: Some(CloseReason::Broken(TransportFailure::Reset)),
            cause: Some(Arc::new(refused())),
        };
        for error in [Error::Connect(Arc::new(connect)), Error::Token(Arc::new(token)), lost] {
            for error in [error.clone(), Error::Unavailable { cause: Some(Box::new(error)) }] {
                let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
                assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::ConnectionRefused));
                assert_eq!(std::format!("{error:?}"), error.to_string());
            }
        }
    }
}
