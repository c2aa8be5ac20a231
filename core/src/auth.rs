//! The login: what is sent to a Redis server, and what its answers mean.
//!
//! ```text
//!            HELLO 3 AUTH oid token [SETNAME name]
//!   start ───────────────────────────────────────────▶ map ─▶ logged in, RESP3
//!     │                                        │
//!     │ RESP2 wanted        NOPROTO, or unknown command
//!     ▼                                        ▼
//!   AUTH oid token ◀───────────────────────────┘
//!     ├──▶ +OK     logged in, RESP2
//!     └──▶ -...    refused; an earlier login on the connection stays as it is
//! ```
//!
//! On a connection that is logged in already it is `AUTH` alone, whatever the protocol. Sources:
//! [`HELLO`](https://redis.io/docs/latest/commands/hello/),
//! [`AUTH`](https://redis.io/docs/latest/commands/auth/).
//!
//! ```
//! use redis_entraid_core::auth::{Handshake, Protocol, Verdict};
//! use redis_entraid_core::resp::Value;
//!
//! let mut handshake = Handshake::first(Protocol::Resp3);
//! let mut out = [0; 128];
//! let len = handshake.write("my-oid", "my-token", None, &mut out);
//! assert!(handshake.is_written());
//! assert!(out[..len].starts_with(b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n"));
//! // An old server knows no HELLO: the same login again, with AUTH alone.
//! let reply = Value::new(b"-ERR unknown command `HELLO`\r\n").unwrap();
//! assert_eq!(handshake.reply(reply), Verdict::Again);
//! let reply = Value::new(b"+OK\r\n").unwrap();
//! let verdict = handshake.reply(reply);
//! assert_eq!(verdict, Verdict::LoggedIn { protocol: Protocol::Resp2, client_id: None });
//! ```

use core::fmt;

use crate::args;
use crate::resp::{Value, ValueKind, encode};

/// A version of the serialization protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Protocol {
    /// RESP2: a subscriber can't log in again.
    Resp2,
    /// RESP3: what Microsoft and Redis recommend with Entra ID.
    #[default]
    Resp3,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resp2 => "RESP2",
            Self::Resp3 => "RESP3",
        })
    }
}

/// One login on one connection, as a state machine.
#[derive(Clone, Debug)]
pub struct Handshake {
    kind: Command,
    /// Bytes of the command that have been written so far.
    written: usize,
    len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Hello,
    /// `AUTH`, to a server that speaks this.
    Auth(Protocol),
}

/// What a server's answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub enum Verdict {
    /// Logged in.
    LoggedIn {
        /// What the server speaks from here on.
        protocol: Protocol,
        /// The server's id for the connection (`CLIENT ID`), if the reply has one.
        client_id: Option<i64>,
    },
    /// Write again: the server doesn't know `HELLO` or RESP3, so an `AUTH` follows.
    Again,
    /// Not logged in. An earlier login stays as it is.
    Refused(LoginError),
}

impl Handshake {
    /// Creates the first login of a connection: `HELLO 3 AUTH` for RESP3, `AUTH` for RESP2.
    pub const fn first(protocol: Protocol) -> Self {
        let kind = match protocol {
            Protocol::Resp2 => Command::Auth(Protocol::Resp2),
            Protocol::Resp3 => Command::Hello,
        };
        Self { kind, written: 0, len: usize::MAX }
    }

    /// Creates a later login (`AUTH`) on a connection that speaks `protocol`.
    pub const fn again(protocol: Protocol) -> Self {
        Self { kind: Command::Auth(protocol), written: 0, len: usize::MAX }
    }

    /// Writes the next piece of the command into `out`. Returns its length. The texts must be the
    /// same in each call.
    #[inline(never)]
    pub fn write(&mut self, user: &str, token: &str, name: Option<&str>, out: &mut [u8]) -> usize {
        let from = self.written;
        let (mut at, mut len) = (0, 0);
        let mut put = |piece: &[u8]| {
            // Of the whole command, the part behind `from` that has room in `out`.
            let skip = from.saturating_sub(at).min(piece.len());
            at += piece.len();
            let piece = piece.get(skip..).unwrap_or_default();
            let room = out.get_mut(len..).unwrap_or_default();
            for (to, from) in room.iter_mut().zip(piece) {
                *to = *from;
            }
            len += piece.len().min(room.len());
        };
        let all = args!["HELLO", 3, "AUTH", user, token, "SETNAME", name.unwrap_or_default()];
        let words = match (self.kind, name) {
            (Command::Hello, Some(_)) => 0..7,
            (Command::Hello, None) => 0..5,
            (Command::Auth(_), _) => 2..5,
        };
        encode(all.get(words).unwrap_or_default(), &mut put);
        self.len = at;
        self.written += len;
        len
    }

    /// Whether the command sets the connection's name, if it has one.
    pub(crate) fn sets_name(&self) -> bool {
        self.kind == Command::Hello
    }

    /// Returns whether all of the command has been written.
    pub const fn is_written(&self) -> bool {
        self.written >= self.len
    }

    /// Handles the server's reply to the command. Returns what it means.
    pub fn reply(&mut self, reply: Value<'_>) -> Verdict {
        if let Some(error) = reply.error() {
            let (code, message) = (error.code(), error.message());
            let unknown = code == "ERR" && message.starts_with("unknown command");
            if self.kind == Command::Hello && (unknown || code == "NOPROTO") {
                *self = Self::first(Protocol::Resp2);
                return Verdict::Again;
            }
            return Verdict::Refused(LoginError::of(code, message));
        }
        match (self.kind, reply.kind()) {
            (Command::Hello, kind @ (ValueKind::Map | ValueKind::Array)) => Verdict::LoggedIn {
                protocol: if kind == ValueKind::Map { Protocol::Resp3 } else { Protocol::Resp2 },
                client_id: reply.get("id").and_then(|id| id.int().ok()),
            },
            (Command::Auth(protocol), ValueKind::Simple) if reply.bytes() == Ok(b"OK") => {
                Verdict::LoggedIn { protocol, client_id: None }
            }
            _ => Verdict::Refused(LoginError::Unexpected),
        }
    }
}

/// Why a server refused a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LoginError {
    /// `WRONGPASS`: the token is not good for this user here.
    WrongPass,
    /// The same, and the token is for another service than Azure Managed Redis.
    WrongAudience,
    /// `NOPERM`: the user is known, but its ACL denies the login.
    NoPerm,
    /// `LOADING`, `BUSY`, `MASTERDOWN`, `TRYAGAIN` or `CLUSTERDOWN`: the server isn't ready.
    Unavailable,
    /// `ERR max number of clients reached`.
    MaxClients,
    /// `DENIED`: the server is in protected mode and accepts connections from its own machine only.
    Denied,
    /// Another error. Its first word; the rest might quote what was sent.
    Other(ErrorCode),
    /// The reply is not one to `HELLO` or `AUTH`.
    Unexpected,
}

impl LoginError {
    fn of(code: &str, message: &str) -> Self {
        match code {
            "WRONGPASS" | "NOAUTH" => Self::WrongPass,
            "NOPERM" => Self::NoPerm,
            "LOADING" | "BUSY" | "MASTERDOWN" | "TRYAGAIN" | "CLUSTERDOWN" => Self::Unavailable,
            "DENIED" => Self::Denied,
            "ERR" if message.starts_with("max number of clients") => Self::MaxClients,
            // Seen from a proxy: the code behind a generic one.
            "ERR" if message.starts_with("WRONGPASS") => Self::WrongPass,
            code => Self::Other(ErrorCode::new(code)),
        }
    }

    /// Returns whether the same token may be accepted in a moment.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::MaxClients)
    }

    /// Returns whether the server refused the token itself.
    pub const fn is_rejection(self) -> bool {
        matches!(self, Self::WrongPass | Self::WrongAudience | Self::NoPerm | Self::Other(_))
    }
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongPass => {
                "WRONGPASS: no access policy assignment for this object id, or the token is not for Azure Managed Redis or has expired; the user name is the object id of the \
                enterprise application or managed identity, not its client id; see \
                https://learn.microsoft.com/azure/redis/entra-for-authentication"
            }
            Self::WrongAudience => {
                "WRONGPASS: the token is for another service; the scope has to be \
                https://redis.azure.com/.default"
            }
            Self::NoPerm => "NOPERM: this identity is not allowed to log in",
            Self::Unavailable => "the server is not ready for a login",
            Self::MaxClients => "the server has too many clients (maxclients)",
            Self::Denied => "DENIED: the server accepts no connections from here",
            Self::Other(code) => return write!(f, "{}: the login was refused", code.as_str()),
            Self::Unexpected => "unexpected reply to the login",
        })
    }
}

impl core::error::Error for LoginError {}

/// The first word of a server's error: up to 16 capital letters, so that nothing of what was sent
/// can be in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode {
    text: [u8; 16],
    len: u8,
}

impl ErrorCode {
    /// Takes the capital letters that `word` begins with.
    pub fn new(word: &str) -> Self {
        let mut text = [0; 16];
        let mut len = 0;
        for (to, from) in text.iter_mut().zip(word.bytes().take_while(u8::is_ascii_uppercase)) {
            *to = from;
            len += 1;
        }
        Self { text, len }
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        let text = self.text.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for ErrorCode {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.as_str());
    }
}

#[cfg(test)]
mod tests;
