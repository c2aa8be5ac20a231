//! What may be chosen of a connection.

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
    /// Whether to tell the server the library's name and version (`CLIENT SETINFO`), behind the
    /// first command. Its failure is harmless.
    pub set_info: bool,
    /// What a login may take.
    pub login_timeout: Duration,
    /// What a command may take, from being submitted to its reply.
    pub command_timeout: Duration,
    /// After so much silence a `PING` is sent. Azure Managed Redis closes connections that are
    /// idle for ten minutes.
    pub ping_after: Duration,
    /// A server that hasn't sent a byte for so long, although it owes a reply, is given up.
    pub unresponsive_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            protocol: Protocol::Resp3,
            id: 0,
            name: None,
            set_info: true,
            login_timeout: Duration::from_secs(5),
            command_timeout: Duration::from_secs(5),
            ping_after: Duration::from_secs(240),
            unresponsive_after: Duration::from_secs(15),
        }
    }
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
