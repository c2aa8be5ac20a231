//! The settings of a client.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

use redis_entraid_core::connection::Config;
use redis_entraid_core::drive::Refresh;
use redis_entraid_core::event::Event;
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::reconnect::ReconnectPolicy;
use redis_entraid_core::resp::Value;
use redis_entraid_core::transport::PORT;

/// Called with each event.
pub type EventHook = Box<dyn Fn(&Event)>;

/// Called with each push of a server.
pub type PushHook = Box<dyn Fn(Value<'_>)>;

/// The settings of a [`LocalClient`](super::LocalClient).
#[non_exhaustive]
pub struct Settings {
    /// The server's name.
    pub host: String,
    /// What is dialed, unless it is the host.
    pub address: Option<String>,
    /// The port.
    pub port: u16,
    /// How a connection behaves.
    pub config: Config,
    /// How tokens are refreshed.
    pub policy: RefreshPolicy,
    /// When tokens are refreshed.
    pub refresh: Refresh,
    /// How a server is dialed again.
    pub reconnect: ReconnectPolicy,
    /// How long a command may wait while there is no connection, and behind others: as long as for
    /// its reply, if nothing else is said.
    pub queue_timeout: Option<Duration>,
    /// The largest reply that is taken, in bytes.
    pub max_reply: usize,
    /// What the first connection may take, with its token.
    pub start_timeout: Duration,
    /// Ends everything after this long: tokens, connections and commands together.
    pub deadline: Option<Duration>,
    /// Spreads what many processes do.
    pub(super) seed: u64,
    /// How many bytes of messages a subscriber keeps that were not read yet.
    pub backlog: usize,
    /// Whether commands go where a cluster's `MOVED` sends them. It takes a connector that can dial
    /// more than once.
    pub follow_moved: bool,
    /// Called with each event.
    pub on_event: Option<EventHook>,
    /// Called with each push of the server: the keys that `CLIENT TRACKING` reports, say.
    pub on_push: Option<PushHook>,
}

impl Settings {
    /// The defaults for the server `host`, with commands in the flight of the first login. `seed` is any
    /// number that differs from process to process: it spreads what many processes do.
    pub fn new(host: impl Into<String>, seed: u64) -> Self {
        Self {
            host: host.into(),
            address: None,
            port: PORT,
            config: Config { eager: true, ..Config::new(Jitter::mix(seed)) },
            policy: RefreshPolicy::default(),
            refresh: Refresh::default(),
            reconnect: ReconnectPolicy::default(),
            queue_timeout: None,
            max_reply: 64 << 20,
            start_timeout: Duration::from_secs(30),
            deadline: None,
            seed,
            backlog: 1 << 20,
            follow_moved: true,
            on_event: None,
            on_push: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
