//! Setting a client up.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use redis_entraid_client::NodeAddress;
use redis_entraid_core::auth::Protocol;
use redis_entraid_core::connection::{ClientName, Config, Idle, Replacement};
use redis_entraid_core::event::Event;
use redis_entraid_core::policy::RefreshPolicy;
use redis_entraid_core::reconnect::ReconnectPolicy;
use redis_entraid_core::resp::Value;
use redis_entraid_core::time::Clock;
use redis_entraid_core::transport::PORT;
use tokio::sync::oneshot;

use crate::client::{Client, CommandQueue, Follower, Handle, PushHook};
use crate::clock::TokioClock;
use crate::connect::Connect;
use crate::dial::Dialer;
use crate::driver::{Driver, Start};
use crate::error::{ConfigError, Error};
use crate::identity::{Hook, Identity};
use crate::nodes::Nodes;
use crate::source::TokenSource;
use crate::standing::Standing;
use crate::subscriber::{Subscriber, subscriber};
#[cfg(feature = "tls")]
use crate::tls::Roots;

/// How a client connects unless something else is chosen: by TCP and TLS.
#[cfg(feature = "tls")]
pub type DefaultConnector = crate::net::TlsTcp;

/// Without the feature `tls` there is no way to connect but one of your own.
#[cfg(not(feature = "tls"))]
pub type DefaultConnector = ();

/// Sets a [`Client`] up. `C` is how it connects.
pub struct Builder<C = DefaultConnector> {
    connector: C,
    identity: Option<StartIdentity>,
    shared: Shared,
}

/// What doesn't depend on how it connects.
struct Shared {
    host: String,
    address: Option<String>,
    port: u16,
    config: Config,
    queue_timeout: Option<Duration>,
    reconnect: ReconnectPolicy,
    max_reply: usize,
    backlog: usize,
    start_timeout: Duration,
    on_push: Option<PushHook>,
    settings: Settings,
    #[cfg(all(feature = "http", feature = "tls"))]
    chosen: Option<redis_entraid_client::Chosen>,
}

/// What an identity of the client's own is started with.
#[derive(Default)]
struct Settings {
    policy: RefreshPolicy,
    hook: Option<Hook>,
    #[cfg(all(feature = "http", feature = "tls"))]
    roots: Roots,
}

type StartIdentity = Box<dyn FnOnce(Settings) -> Identity + Send>;

impl Client {
    /// Begins with the name of the server, `<name>.<region>.redis.azure.net`.
    pub fn builder(host: impl Into<String>) -> Builder {
        Builder {
            connector: DefaultConnector::default(),
            identity: None,
            shared: Shared {
                host: host.into(),
                address: None,
                port: PORT,
                config: Config { id: crate::random(), ..Config::default() },
                queue_timeout: None,
                reconnect: ReconnectPolicy::default(),
                max_reply: 512 << 20,
                backlog: 16 << 20,
                start_timeout: Duration::from_secs(30),
                on_push: None,
                settings: Settings::default(),
                #[cfg(all(feature = "http", feature = "tls"))]
                chosen: None,
            },
        }
    }
}

impl<C> Builder<C> {
    /// Another port than 10000.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.shared.port = port;
        self
    }

    /// Dials another address than the server's name resolves to. The name is verified as ever.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.shared.address = Some(address.into());
        self
    }

    /// Takes the tokens from `source`.
    #[must_use]
    pub fn source(mut self, source: impl TokenSource) -> Self {
        self.identity = Some(Box::new(move |settings: Settings| {
            let identity = Identity::new(source).policy(settings.policy).hook(settings.hook);
            #[cfg(all(feature = "http", feature = "tls"))]
            let identity = identity.roots(settings.roots);
            identity.start()
        }));
        self
    }

    /// Shares an identity with others. It has a policy and trusted roots of its own.
    #[must_use]
    pub fn identity(mut self, identity: &Identity) -> Self {
        let identity = identity.clone();
        self.identity = Some(Box::new(move |_| identity));
        self
    }

    /// Connects in another way than by TCP and TLS.
    #[must_use]
    pub fn connector<D: Connect>(self, connector: D) -> Builder<D> {
        Builder { connector, identity: self.identity, shared: self.shared }
    }

    /// Speaks RESP2 or RESP3. The default is RESP3, as Microsoft recommends with Entra ID.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.shared.config.protocol = protocol;
        self
    }

    /// Names the connection at the server.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] if a server would refuse the name.
    pub fn name(mut self, name: &str) -> Result<Self, ConfigError> {
        let name = ClientName::new(name).ok_or(ConfigError::Invalid("the client's name"))?;
        self.shared.config.name = Some(name);
        Ok(self)
    }

    /// How long a command may wait to be sent, while there is no connection or others are in front of it:
    /// then it fails with [`Error::Unavailable`](crate::Error::Unavailable), and was not executed. The
    /// default is that of [`command_timeout`](Self::command_timeout).
    #[must_use]
    pub fn queue_timeout(mut self, timeout: Duration) -> Self {
        self.shared.queue_timeout = Some(timeout);
        self
    }

    /// How long a command may wait for its reply, from when it was sent. The default is five seconds.
    #[must_use]
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.shared.config.command_timeout = timeout;
        self
    }

    /// What the first connection may take, with its token. The default is thirty seconds.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.shared.start_timeout = timeout;
        self
    }

    /// The largest reply that is taken, in bytes. A larger one is an error; the connection lives.
    #[must_use]
    pub fn max_reply(mut self, bytes: usize) -> Self {
        self.shared.max_reply = bytes.max(1 << 10);
        self
    }

    /// What becomes of the connection when there is nothing to do. By default it is kept.
    #[must_use]
    pub fn idle(mut self, idle: Idle) -> Self {
        self.shared.config.idle = idle;
        self
    }

    /// How a subscriber's connection is replaced that can't log in again, as with RESP2. By default
    /// it ends first, with a [`Gap`](crate::Delivery::Gap). A client's always ends first.
    #[must_use]
    pub fn replacement(mut self, replacement: Replacement) -> Self {
        self.shared.config.replacement = replacement;
        self
    }

    /// How many bytes of messages a subscriber keeps that were not read yet. What doesn't fit is
    /// dropped and [counted](crate::Delivery::Missed). The default is 16 MiB.
    #[must_use]
    pub fn backlog(mut self, bytes: usize) -> Self {
        self.shared.backlog = bytes;
        self
    }

    /// Is told what a server sends a client unasked, as the keys that `CLIENT TRACKING` reports.
    #[must_use]
    pub fn on_push(mut self, hook: impl Fn(Value<'_>) + Send + Sync + 'static) -> Self {
        self.shared.on_push = Some(Arc::new(hook));
        self
    }

    /// How tokens are renewed.
    #[must_use]
    pub fn policy(mut self, policy: RefreshPolicy) -> Self {
        self.shared.settings.policy = policy;
        self
    }

    /// How a server is dialed again.
    #[must_use]
    pub fn reconnect_policy(mut self, policy: ReconnectPolicy) -> Self {
        self.shared.reconnect = policy;
        self
    }

    /// Is told what happens, for logs and metrics.
    #[must_use]
    pub fn on_event(mut self, hook: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.shared.settings.hook = Some(Arc::new(hook));
        self
    }
}

#[cfg(all(feature = "http", feature = "tls"))]
impl<C> Builder<C> {
    /// Which identity the environment chose, if it was asked.
    pub const fn chosen(&self) -> Option<&redis_entraid_client::Chosen> {
        self.shared.chosen.as_ref()
    }

    pub(crate) fn with_chosen(mut self, chosen: redis_entraid_client::Chosen) -> Self {
        self.shared.chosen = Some(chosen);
        self
    }
}

#[cfg(feature = "tls")]
impl Builder {
    /// Whom to trust, at the server and at the token endpoint.
    #[must_use]
    pub fn roots(mut self, roots: Roots) -> Self {
        self.connector = DefaultConnector::new(roots.clone());
        #[cfg(feature = "http")]
        {
            self.shared.settings.roots = roots;
        }
        self
    }
}

impl<C: Connect> Builder<C> {
    /// Gets a token, connects and logs in. From then on a task keeps the connection open and
    /// logged in, until the last clone of the client is dropped. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error`] if the first login doesn't work: at once if trying again can't help, and at
    /// the start timeout else.
    pub async fn connect(mut self) -> Result<Client, Error> {
        self.shared.config = self.shared.config.for_commands();
        let queue_timeout = self.shared.queue_timeout;
        let Parts { dialer, start, on_push, started } = self.prepare()?;
        let dialer = Arc::new(dialer);
        let exchange = Arc::new(CommandQueue::new(&dialer.config, queue_timeout));
        let handle = Handle::new(exchange.clone());
        let (identity, standing) = (dialer.identity.clone(), dialer.standing.clone());
        let (template, node_push) = (dialer.clone(), on_push.clone());
        let runtime = tokio::runtime::Handle::current();
        let start_node = Box::new(move |address: &NodeAddress, exchange| {
            let dialer = Arc::new(template.redirected(address));
            // Nodes come and go: one is only dialed for a command.
            runtime.spawn(Driver::new(dialer, exchange, node_push.clone(), None).run());
        });
        let nodes = Nodes::new(exchange.clone(), start_node);
        let client = Client::new(Follower::new(handle), identity, standing, nodes);
        tokio::spawn(Driver::new(dialer, exchange, on_push, Some(start)).run());
        started.await.unwrap_or(Err(Error::Closed))?;
        Ok(client)
    }

    /// Gets a token, connects and logs in, to hear what is published. From then on a task keeps
    /// the connection and its subscriptions, until the subscriber is dropped. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn subscriber(mut self) -> Result<Subscriber, Error> {
        self.shared.config = self.shared.config.for_subscriptions();
        let backlog = self.shared.backlog;
        let Parts { dialer, start, started, .. } = self.prepare()?;
        let (subscriber, driver) = subscriber(dialer, start, backlog);
        tokio::spawn(driver.run());
        started.await.unwrap_or(Err(Error::Closed))?;
        Ok(subscriber)
    }

    fn prepare(self) -> Result<Parts<C>, Error> {
        let Self { connector, identity, shared } = self;
        let start_identity = identity.ok_or(ConfigError::NoSource)?;
        let standing = Standing::new(shared.reconnect, shared.settings.hook.clone());
        let (waiter, started) = oneshot::channel();
        let start = Start { until: TokioClock.now() + shared.start_timeout, waiter };
        let dialer = Dialer {
            connector: Arc::new(connector),
            identity: start_identity(shared.settings),
            standing,
            host: shared.host.into(),
            address: shared.address.map(Into::into),
            port: shared.port,
            config: shared.config,
            max_reply: shared.max_reply,
        };
        Ok(Parts { dialer, start, on_push: shared.on_push, started })
    }
}

/// What a client or a subscriber is made of.
struct Parts<C> {
    dialer: Dialer<C>,
    start: Start,
    on_push: Option<PushHook>,
    started: oneshot::Receiver<Result<(), Error>>,
}

impl<C> fmt::Debug for Builder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("host", &self.shared.host)
            .field("port", &self.shared.port)
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}
