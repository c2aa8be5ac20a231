//! What can go wrong, and what to do about it.

use core::fmt;

use embedded_io_async::ErrorKind;

use crate::certificate::CertificateError;

/// Why there is no connection, or no longer one.
///
/// After any of them the connection is dead: both halves go on to say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The server's name is neither a host name nor an address.
    Name,
    /// There is no root certificate.
    NoRoots,
    /// The buffer for outgoing records is smaller than this many bytes.
    Buffer(usize),
    /// These halves have served a connection already.
    Used,
    /// The transport failed.
    Transport(ErrorKind),
    /// The transport ended without the server saying that it would.
    Truncated,
    /// The server has closed the connection, so that nothing can be sent any more.
    Closed,
    /// A write was given up halfway, so that the server waits for the rest of a record.
    Abandoned,
    /// The server refused to talk, with this alert (RFC 8446 section 6).
    Refused(u8),
    /// The server ended an established connection with an alert.
    Alert,
    /// Whom to trust has been decided: not this server.
    Certificate(CertificateError),
    /// The handshake ended, but the server has not shown who it is.
    Unverified,
    /// A record is longer than the buffer for incoming ones.
    TooLong {
        /// The bytes of the record, without its header.
        record: usize,
        /// The bytes of the buffer.
        buffer: usize,
    },
    /// A record is not from the server, or has been changed on the way.
    Forged,
    /// The server wants to go on with new keys.
    KeyUpdate,
    /// A handshake message is spread over several records.
    Fragmented,
    /// What came breaks the rules of TLS 1.3.
    Violation(Violation),
    /// As many records have been sent as one key is good for.
    WornOut,
}

/// Which rule has been broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A record in the clear after the server's hello.
    InTheClear,
    /// A record of a type, a version or a length that can't be at this point.
    Record,
    /// A message that can't be at this point, or not in this form.
    Message,
    /// The server's hello fits neither the offer nor the format.
    Hello,
}

impl Error {
    /// What the person in charge should do.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Name => "give the host name of the cache, without a port",
            Self::NoRoots => "give at least one root certificate",
            Self::Buffer(_) => "give a larger buffer",
            Self::Used => "make new halves for each connection",
            Self::Transport(_) | Self::Truncated | Self::Closed | Self::Alert => "connect again",
            Self::Abandoned => "connect again; let writes end, or put a limit on the whole",
            Self::Refused(_) => {
                "see that the port is one for TLS and that the server offers TLS 1.3 with \
                 AES-GCM and P-256"
            }
            Self::Certificate(error) => error.advice(),
            Self::TooLong { .. } | Self::Fragmented => {
                "give a buffer of 16,640 bytes for incoming records, and no maximum fragment length"
            }
            Self::KeyUpdate | Self::WornOut => "connect again, which makes new keys",
            Self::Unverified | Self::Forged | Self::Violation(_) => {
                "connect again; if it persists, see who is between you and the server"
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("the server name is neither a host name nor an IP address"),
            Self::NoRoots => f.write_str("there is no root certificate"),
            Self::Buffer(least) => {
                write!(f, "the buffer for outgoing records needs at least {least} bytes")
            }
            Self::Used => f.write_str("these halves were already used for a connection"),
            Self::Transport(kind) => write!(f, "the transport failed: {kind:?}"),
            Self::Truncated => f.write_str("unexpected end of the transport"),
            Self::Closed => f.write_str("the server has closed the connection"),
            Self::Abandoned => f.write_str("a write was cancelled halfway"),
            Self::Refused(alert) => write!(f, "the server refused with TLS alert {alert}"),
            Self::Alert => f.write_str("the server ended the connection with an alert"),
            Self::Certificate(error) => error.fmt(f),
            Self::Unverified => f.write_str("the server did not prove its identity"),
            Self::TooLong { record, buffer } => {
                write!(f, "a record of {record} bytes exceeds the buffer of {buffer}")
            }
            Self::Forged => f.write_str("bad record (bad_record_mac)"),
            Self::KeyUpdate => f.write_str("the server sent KeyUpdate, which is not supported"),
            Self::Fragmented => f.write_str("fragmented handshake messages are not supported"),
            Self::Violation(Violation::InTheClear) => f.write_str("unexpected unencrypted record"),
            Self::Violation(Violation::Record) => f.write_str("unexpected record"),
            Self::Violation(Violation::Message) => f.write_str("unexpected handshake message"),
            Self::Violation(Violation::Hello) => f.write_str("invalid ServerHello"),
            Self::WornOut => f.write_str("the keys have reached their record limit"),
        }
    }
}

impl core::error::Error for Error {}

impl From<CertificateError> for Error {
    fn from(error: CertificateError) -> Self {
        Self::Certificate(error)
    }
}

impl embedded_io_async::Error for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Transport(kind) => *kind,
            Self::Truncated => ErrorKind::ConnectionAborted,
            Self::Closed => ErrorKind::BrokenPipe,
            Self::Alert | Self::Refused(_) => ErrorKind::ConnectionRefused,
            Self::Name | Self::NoRoots | Self::Buffer(_) | Self::Used => ErrorKind::InvalidInput,
            Self::Abandoned => ErrorKind::Interrupted,
            Self::TooLong { .. } => ErrorKind::OutOfMemory,
            Self::KeyUpdate | Self::Fragmented => ErrorKind::Unsupported,
            Self::WornOut => ErrorKind::Other,
            Self::Certificate(_) | Self::Unverified => ErrorKind::PermissionDenied,
            Self::Forged | Self::Violation(_) => ErrorKind::InvalidData,
        }
    }
}
