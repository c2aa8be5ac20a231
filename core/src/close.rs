//! Why connections end.

use core::fmt;

use embedded_io_async::ErrorKind;

use crate::auth::LoginError;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CloseReason {
    /// The server closed it. Azure Managed Redis does so, without an error, when the token ends.
    ByServer,
    /// The transport broke.
    Broken(TransportFailure),
    /// It was closed from this side, on purpose.
    Closed,
    /// The server didn't answer a login in time.
    LoginTimeout,
    /// The server refused the login, and no earlier login is valid.
    Refused(LoginError),
    /// The token that it was logged in with has ended, and there was no newer one in time.
    LoginExpired,
    /// The token ended while a transaction was open: no login can be sent inside one.
    TransactionOpen,
    /// The server answered `NOAUTH` within a second of a login, or where no login can be sent.
    LoginLost,
    /// The server's answer to an `EXEC` or `DISCARD` doesn't say whether the transaction is over.
    SessionUnknown,
    /// The token was replaced in the manager while its login was being written.
    TokenReplaced,
    /// The server owed a reply and sent nothing for
    /// [`unresponsive_after`](crate::connection::Config::unresponsive_after).
    Unresponsive,
    /// The server sent something that is not RESP, or a reply to no command.
    Protocol,
    /// Another connection takes over: because this one can't log in again before its login ends, or
    /// because it is connected to the wrong server.
    Replaced,
    /// It was idle for as long as [`Idle::Close`](crate::connection::Idle::Close) allows.
    Idle,
}

impl CloseReason {
    /// Returns whether this side ended it on purpose.
    pub const fn is_planned(self) -> bool {
        matches!(self, Self::Closed | Self::Replaced | Self::Idle)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByServer => "the server closed the connection",
            Self::Broken(TransportFailure::Unknown) => "the connection broke",
            Self::Broken(how) => return write!(f, "the connection broke: {how}"),
            Self::Closed => "the connection was closed",
            Self::LoginTimeout => "the server didn't answer the login in time",
            Self::Refused(error) => return error.fmt(f),
            Self::LoginExpired => "the token expired before a newer one came",
            Self::TransactionOpen => {
                "the token expired while a transaction was open: send EXEC or DISCARD sooner"
            }
            Self::LoginLost => "the server lost the login (NOAUTH)",
            Self::SessionUnknown => {
                "the server's answer to EXEC or DISCARD doesn't say whether the transaction is over"
            }
            Self::TokenReplaced => "the token was replaced while it was being sent",
            Self::Unresponsive => "the server does not respond",
            Self::Protocol => "protocol error: invalid RESP, or a reply to no command",
            Self::Replaced => "replaced by another connection",
            Self::Idle => "the connection was idle",
        })
    }
}

impl core::error::Error for CloseReason {}

/// How a transport broke, as far as its host says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TransportFailure {
    /// The host doesn't say.
    Unknown,
    /// The server or a middlebox has reset it.
    Reset,
    /// It ended in the middle: of a reply, of a TLS record, or of TLS without a `close_notify`.
    Truncated,
    /// TCP got no acknowledgement for what was sent within the host's limit.
    TimedOut,
    /// The server ended TLS with an alert.
    Alert,
    /// A TLS record failed authentication: it was damaged or forged.
    BadRecord,
}

impl TransportFailure {
    /// Classifies the error of a read or a write.
    pub const fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::ConnectionAborted => Self::Truncated,
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::ConnectionRefused => Self::Alert,
            ErrorKind::InvalidData => Self::BadRecord,
            _ => Self::Unknown,
        }
    }
}

#[cfg(feature = "std")]
impl From<std::io::ErrorKind> for TransportFailure {
    /// Classifies an error of the system's sockets, or of TLS over them.
    fn from(kind: std::io::ErrorKind) -> Self {
        use std::io::ErrorKind as E;
        match kind {
            E::ConnectionReset | E::ConnectionAborted | E::BrokenPipe => Self::Reset,
            E::TimedOut => Self::TimedOut,
            E::UnexpectedEof => Self::Truncated,
            E::InvalidData => Self::BadRecord,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for TransportFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "for an unknown reason",
            Self::Reset => "connection reset",
            Self::Truncated => "unexpected end of stream",
            Self::TimedOut => "timed out, no acknowledgement",
            Self::Alert => "TLS alert",
            Self::BadRecord => "bad TLS record",
        })
    }
}
