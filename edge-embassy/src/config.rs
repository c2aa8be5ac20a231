//! What may be chosen.

use core::fmt;
use core::time::Duration;

use redis_entraid_core::connection;
use redis_entraid_core::drive::Refresh;
use redis_entraid_core::event::Event;
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::reconnect::ReconnectPolicy;
use redis_entraid_core::transport::{Endpoint, PORT};

/// Called with each event, for logs and watchdogs; also with the error itself, where that says
/// more than the event does. It must not wait for anything.
pub type EventHook = fn(&Event, Option<&dyn fmt::Display>);

/// How a client behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The server's name, `<name>.<region>.redis.azure.net`: its certificate has to be for it.
    pub host: &'static str,
    /// Where to dial, if that is not the name: an address, where there is no DNS.
    pub address: Option<&'static str>,
    /// The port. The default is that of Azure Managed Redis.
    pub port: u16,
    /// The seed for jitter: any number that differs from device to device and from boot to boot.
    pub seed: u64,
    /// How a connection behaves. By default it speaks RESP3 and is kept; with
    /// [`Idle::Close`](connection::Idle::Close) it is only there while there are commands.
    pub connection: connection::Config,
    /// How tokens are renewed.
    pub policy: RefreshPolicy,
    /// How the server is dialed again.
    pub reconnect: ReconnectPolicy,
    /// When tokens are fetched.
    pub refresh: Refresh,
    /// How long a command may wait for its turn and while there is no connection: as long as for its
    /// reply, if nothing else is said.
    pub queue_timeout: Option<Duration>,
    /// Is told what happens.
    pub on_event: Option<EventHook>,
}

impl Config {
    /// Connects to `host`. `seed` is for jitter, and for the id of the connection.
    pub fn new(host: &'static str, seed: u64) -> Self {
        Self {
            host,
            address: None,
            port: PORT,
            seed,
            connection: connection::Config::new(Jitter::mix(seed)),
            policy: RefreshPolicy::default(),
            reconnect: ReconnectPolicy::default(),
            refresh: Refresh::default(),
            queue_timeout: None,
            on_event: None,
        }
    }

    pub(crate) const fn endpoint(&self) -> Endpoint<'static> {
        let endpoint = Endpoint::new(self.host, self.port);
        match self.address {
            Some(address) => endpoint.redirected(address, self.port),
            None => endpoint,
        }
    }
}
