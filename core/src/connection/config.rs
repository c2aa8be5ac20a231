//! How a connection is configured.

use core::fmt;
use core::time::Duration;

use crate::auth::Protocol;

/// How a connection behaves.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Config {
    /// The protocol to ask for. RESP3 falls back to RESP2 where the server has no `HELLO`.
    pub protocol: Protocol,
    /// A number that differs from connection to connection: it decides when, within the spread
    /// of the policy, this one logs in again.
    pub id: u64,
    /// The name that the server lists the connection under (`CLIENT SETNAME`).
    pub name: Option<ClientName>,
    /// Whether to tell the server the library's name and version (`CLIENT SETINFO`), in the
    /// same flight as the first login. Its failure is harmless.
    pub set_info: bool,
    /// Whether plain commands are accepted before the first `HELLO` is answered: this saves a round
    /// trip. If the login is refused, the server answers them with `NOAUTH`: they
    /// were not executed and may be repeated; but a server whose default user has no password
    /// executes them.
    pub eager: bool,
    /// What a login may take.
    pub login_timeout: Duration,
    /// How long a command may wait for its reply, from being submitted.
    pub command_timeout: Duration,
    /// What to do with the connection when it is idle.
    pub idle: Idle,
    /// The longest that a single command may block at the server. Longer ones are sent in
    /// [slices](crate::command::Slices), so that a login gets its turn.
    pub max_block: Duration,
    /// How to replace the connection when it can't log in again.
    pub replacement: Replacement,
    /// A server that owes a reply, or doesn't accept what is sent, is given up after this long without a
    /// byte, counted from the deadline of the oldest command.
    pub unresponsive_after: Duration,
}

impl Config {
    /// The defaults, for the connection `id`: a number that differs from connection to connection, also
    /// to those of other processes.
    pub fn new(id: u64) -> Self {
        Self {
            protocol: Protocol::Resp3,
            id,
            name: None,
            set_info: true,
            eager: false,
            login_timeout: Duration::from_secs(5),
            command_timeout: Duration::from_secs(5),
            idle: Idle::default(),
            max_block: Duration::from_secs(10),
            replacement: Replacement::default(),
            unresponsive_after: Duration::from_secs(10),
        }
    }

    /// For a client's commands, where there is memory for a second connection: the next command goes to
    /// the new one when the old one has answered all that it has.
    #[must_use]
    pub fn for_commands(self) -> Self {
        Self { replacement: Replacement::Overlap, ..self }
    }

    /// For a client's commands, where there is memory for one connection.
    #[must_use]
    pub fn for_commands_on_one(self) -> Self {
        Self { replacement: Replacement::BreakThenMake, ..self }
    }

    /// For a subscriber, which is never idle: it listens.
    #[must_use]
    pub fn for_subscriptions(self) -> Self {
        let idle = match self.idle {
            Idle::Close(_) => Idle::default(),
            kept @ Idle::Keep(_) => kept,
        };
        Self { idle, ..self }
    }
}

/// A connection is not idle before so much time has passed.
const LEAST_IDLE: Duration = Duration::from_secs(1);

/// What becomes of a connection when there is nothing to do. Azure Managed Redis closes one that
/// is idle for ten minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Idle {
    /// Keep it: send a `PING` after this much silence. The default, with four minutes.
    Keep(Duration),
    /// Close it after this long without a command, and dial again for the next one.
    Close(Duration),
}

impl Idle {
    /// After how long something is done about it. No choice makes a hot loop.
    pub(super) fn after(self) -> Duration {
        let (Self::Keep(after) | Self::Close(after)) = self;
        after.max(LEAST_IDLE)
    }
}

impl Default for Idle {
    fn default() -> Self {
        Self::Keep(Duration::from_secs(240))
    }
}

/// How to replace a connection that can't log in again: a RESP2 subscriber, which may not send
/// `AUTH`, or one whose logins are refused while others' are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Replacement {
    /// It ends, when all replies are in, and then another one is made. A subscriber misses what
    /// is published in between; commands only have to wait.
    #[default]
    BreakThenMake,
    /// The host is told, opens another one, and then [retires](super::Connection::retire) this one.
    /// A subscriber receives messages published in between twice.
    Overlap,
}

/// A connection's name at the server: up to 32 visible ASCII characters without spaces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientName {
    text: [u8; 32],
    len: u8,
}

impl ClientName {
    /// Takes `name`; `None` if a server would refuse it or it is longer than 32 bytes.
    pub fn new(name: &str) -> Option<Self> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut text = [0; 32];
        text.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self { text, len: u8::try_from(name.len()).ok()? })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let text = self.text.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Debug for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for ClientName {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.as_str());
    }
}
