//! The client, as tasks have it.

use core::fmt;
use core::time::Duration;

use redis_entraid_core::command_queue::{CommandSlot, Limits};
use redis_entraid_core::connection::Pending;
use redis_entraid_core::drive::SharedTokenManager;
use redis_entraid_core::manager::TokenManager;
use redis_entraid_core::policy::Jitter;
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::source::TokenSource;
use redis_entraid_core::transport::Connector;

use crate::clock::EmbassyClock;
use crate::config::Config;
use crate::error::Error;
use crate::runner::Runner;
use crate::state::ClientState;
use crate::storage::{Shared, Storage};
use crate::watch::Health;

/// Makes a client, and the runner that drives it, which is to be spawned.
///
/// `connector` opens connections: [`Tls`](crate::Tls) over [`Tcp`](crate::Tcp), or one of your own,
/// over a modem for example. `source` yields tokens.
pub fn new<
    K: Connector,
    S: TokenSource,
    const TOKEN: usize,
    const RESPONSE: usize,
    const COMMAND: usize,
    const REPLY: usize,
    const FLIGHT: usize,
>(
    storage: &'static mut Storage<TOKEN, RESPONSE, COMMAND, REPLY, FLIGHT>,
    clock: &'static EmbassyClock,
    mut config: Config,
    connector: K,
    source: S,
) -> (Client, Runner<K, S>) {
    let Storage { tokens, response, commands, replies, shared, ring, slots } = storage;
    let [first, second] = tokens;
    let manager: TokenManager<&'static mut [u8]> =
        TokenManager::new(config.policy.clone(), Jitter::new(config.seed), [first, second]);
    let ([command, transmit], [answer, receive]) = (commands, replies);
    config.connection = config.connection.for_commands_on_one();
    let reply = config.connection.command_timeout;
    let queue = config.queue_timeout.unwrap_or(reply);
    let ring: &'static mut [Pending] = ring.init_with(|| [Pending::default(); _]);
    let slots =
        slots.init_with(|| [const { [const { CommandSlot::new() }; _] }; 2]).as_flattened_mut();
    let shared = &*shared.init(Shared {
        state: ClientState::new(slots, command, answer, clock, Limits { queue, reply }),
        tokens: SharedTokenManager::new(manager),
        receive: core::cell::Cell::new(receive),
        transmit: core::cell::Cell::new(transmit),
        ring: core::cell::Cell::new(ring),
    });
    let client = Client { state: &shared.state };
    (client, Runner::new(shared, clock, config, connector, source, response))
}

/// A client: a handle on the connection that its [`Runner`] keeps open and logged in. Copies, in any
/// tasks, share it.
#[derive(Clone, Copy)]
pub struct Client {
    state: &'static ClientState,
}

impl Client {
    /// Sends a command and waits for its reply, which is put into `room`. As many commands are under way
    /// at once as `FLIGHT` of [`Storage`] says, in the order in which they were first polled; as many
    /// again wait for their turn. A command waits for its turn and a connection as long as [`Config::queue_timeout`] says, and for its reply then as
    /// long as [`Config::connection`] does (`command_timeout`).
    ///
    /// # Errors
    /// [`Error`], also if the server reports one. [`Error::outcome`] says whether the command may
    /// have been executed.
    ///
    /// # Cancel safety
    /// If the future is dropped, a command that still waits for its turn is never sent. One that was
    /// sent may be executed. Its reply is dropped.
    pub async fn command<'r>(
        &self,
        args: &[Arg<'_>],
        room: &'r mut [u8],
    ) -> Result<Value<'r>, Error> {
        self.state.command(args, None, room).await
    }

    /// The same with a time limit of its own, for its turn, a connection and its reply together. The
    /// time that a command blocks by itself, as `BLPOP`, comes on top.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    ///
    /// # Cancel safety
    /// As that of [`command`](Self::command).
    pub async fn command_within<'r>(
        &self,
        limit: Duration,
        args: &[Arg<'_>],
        room: &'r mut [u8],
    ) -> Result<Value<'r>, Error> {
        self.state.command(args, Some(limit), room).await
    }

    /// How it stood when something last happened. Never shows a token.
    pub fn health(&self) -> Health {
        self.state.health()
    }

    /// Returns how long the radio, or the whole device, may sleep: nothing is under way, and the next
    /// thing to do by itself - to fetch a token, to log in with it, to see whether the server is
    /// still there - is only due then. Zero if something is under way.
    pub fn may_sleep(&self) -> Duration {
        self.state.rest()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.health()).finish()
    }
}
