//! Setting a client up.

use core::fmt;
use core::future::Future;
use core::time::Duration;
use std::sync::Arc;

use redis_entraid_client::{CommandWorkload, NodeAddress};
use redis_entraid_core::auth::Protocol;
use redis_entraid_core::connection::{ClientName, Config, Idle, Replacement};
use redis_entraid_core::event::Event;
use redis_entraid_core::policy::RefreshPolicy;
use redis_entraid_core::reconnect::ReconnectPolicy;
use redis_entraid_core::resp::Value;
use redis_entraid_core::supervisor::Supervisor;
use redis_entraid_core::time::Clock;
use redis_entraid_core::transport::PORT;

use crate::client::{Client, CommandQueue, Handle, PushHook, RoutingHandle};
use crate::clock::TokioClock;
use crate::connect::Connect;
use crate::engine::{Dialer, Engine};
use crate::error::{ConfigError, Error};
use crate::identity::{EventHook, Identity};
use crate::nodes::Nodes;
use crate::source::TokenSource;
use crate::status::{Address, Status};
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
    identity: Option<IdentityOf>,
    shared: Shared,
}

/// What doesn't depend on how it connects.
struct Shared {
    host: Arc<str>,
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
    hook: Option<EventHook>,
    #[cfg(all(feature = "http", feature = "tls"))]
    roots: Roots,
    #[cfg(feature = "http")]
    http: Option<crate::http::Http>,
}

/// The identity of a client: one that is shared, or how its own is started.
enum IdentityOf {
    Shared(Identity),
    Own(Box<dyn FnOnce(Settings) -> Identity + Send>),
}

impl Client {
    /// Begins with the name of the server, `<name>.<region>.redis.azure.net`.
    pub fn builder(host: impl AsRef<str>) -> Builder {
        Builder {
            connector: DefaultConnector::default(),
            identity: None,
            shared: Shared {
                host: host.as_ref().into(),
                address: None,
                port: PORT,
                config: Config::new(crate::random()),
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
        self.identity = Some(IdentityOf::Own(Box::new(move |settings: Settings| {
            let identity = Identity::new(source).policy(settings.policy).hook(settings.hook);
            #[cfg(all(feature = "http", feature = "tls"))]
            let identity = identity.roots(settings.roots);
            #[cfg(feature = "http")]
            let identity = match settings.http {
                Some(http) => identity.http(http),
                None => identity,
            };
            identity.start()
        })));
        self
    }

    /// Shares an identity with others. It has a policy and trusted roots of its own.
    #[must_use]
    pub fn identity(mut self, identity: &Identity) -> Self {
        self.identity = Some(IdentityOf::Shared(identity.clone()));
        self
    }

    /// How tokens are requested, if not by a client that trusts the [roots](Builder::roots).
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http(mut self, http: crate::http::Http) -> Self {
        self.shared.settings.http = Some(http);
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

    /// How long a command may wait to be sent, for a connection or behind others. Then it fails, and its
    /// [`outcome`](crate::Error::outcome) is `NotSent`. The default is that of
    /// [`command_timeout`](Self::command_timeout).
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

    /// What to do with the connection when it is idle. By default it is kept.
    #[must_use]
    pub fn idle(mut self, idle: Idle) -> Self {
        self.shared.config.idle = idle;
        self
    }

    /// How to replace a subscriber's connection that can't log in again, as with RESP2. By default
    /// it ends first, with a [`Gap`](crate::Delivery::Gap). A client's commands are always handed over.
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

    /// Calls `hook` with each push of a server, such as the keys that `CLIENT TRACKING` reports.
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
    pub async fn connect(self) -> Result<Client, Error> {
        let until = TokioClock.now() + self.shared.start_timeout;
        let client = self.start()?;
        client.started(until).await?;
        Ok(client)
    }

    /// Returns a client at once, while a task gets a token, connects and logs in. Commands wait for
    /// that as long as [`queue_timeout`](Self::queue_timeout) says; [`Client::problem`] says why there
    /// is no connection. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`ConfigError::NoSource`] if there is nowhere to get tokens from.
    pub fn start(mut self) -> Result<Client, Error> {
        self.shared.config = self.shared.config.for_commands();
        let queue_timeout = self.shared.queue_timeout;
        let (dialer, status) = self.prepare()?;
        let queue = Arc::new(CommandQueue::new(&dialer.config, queue_timeout));
        let handle = Handle::new(queue.clone());
        let nodes = {
            let (dialer, status) = (dialer.clone(), status.clone());
            let runtime = tokio::runtime::Handle::current();
            let own = status.clone();
            let start = Box::new(move |node: &NodeAddress, queue| {
                let status = own.at(node.address.clone(), node.port);
                // Nodes come and go: one is only dialed for a command.
                let supervisor = dialer.supervisor().on_demand();
                Box::pin(commands(dialer.clone(), status, supervisor, queue)) as _
            });
            Nodes::new(queue.clone(), status.clone(), runtime, start)
        };
        let client = Client::new(RoutingHandle::new(handle), status.clone(), nodes);
        let supervisor = dialer.supervisor();
        tokio::spawn(commands(dialer, status, supervisor, queue));
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
        let until = TokioClock.now() + self.shared.start_timeout;
        let backlog = self.shared.backlog;
        let (dialer, status) = self.prepare()?;
        let (subscriber, driver) = subscriber(dialer, status, backlog);
        tokio::spawn(driver);
        subscriber.started(until).await?;
        Ok(subscriber)
    }

    fn prepare(self) -> Result<(Arc<Dialer<C>>, Arc<Status>), Error> {
        let Self { connector, identity, shared } = self;
        let identity = identity.ok_or(ConfigError::NoSource)?;
        let hook = shared.settings.hook.clone();
        let address = Address {
            host: shared.host,
            address: shared.address.map(Into::into),
            port: shared.port,
        };
        let identity = match identity {
            IdentityOf::Shared(identity) => identity,
            IdentityOf::Own(start) => start(shared.settings),
        };
        let status = Status::new(identity, address, hook, shared.on_push);
        let Shared { config, max_reply, reconnect, .. } = shared;
        Ok((Arc::new(Dialer { connector, config, max_reply, reconnect }), status))
    }
}

/// Keeps a connection for the handles of `queue`.
fn commands<C: Connect>(
    dialer: Arc<Dialer<C>>,
    status: Arc<Status>,
    supervisor: Supervisor<2>,
    queue: Arc<CommandQueue>,
) -> impl Future<Output = ()> + Send {
    let workload = CommandWorkload::new(queue.clone(), status.clone());
    let mut engine = Engine::new(dialer, status, supervisor, workload);
    let end = End(queue);
    // In this order, also if the future is dropped.
    async move {
        engine.run().await;
        drop(engine);
        drop(end);
    }
}

/// Tells waiting callers when the task ends in any way, as when its runtime is shut down before it
/// has begun.
struct End(Arc<CommandQueue>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end(&Error::Closed);
    }
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
