//! Setting a client up.

use core::fmt;
use core::future::poll_fn;
use core::time::Duration;
use std::sync::Arc;

use redis_entraid_core::auth::Protocol;
use redis_entraid_core::connection::{ClientName, Config};
use redis_entraid_core::event::Event;
use redis_entraid_core::policy::RefreshPolicy;
use redis_entraid_core::reconnect::{Reconnect, ReconnectPolicy};
use redis_entraid_core::time::Clock;
use redis_entraid_core::transport::PORT;

use crate::client::Client;
use crate::clock::TokioClock;
use crate::connect::Connect;
use crate::driver::{Driver, Outbox};
use crate::error::{ConfigError, Error};
use crate::exchange::Exchange;
use crate::identity::{Hook, Identity};
use crate::source::TokenSource;
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
    identity: Option<Start>,
    shared: Shared,
}

/// What doesn't depend on how it connects.
struct Shared {
    host: String,
    address: Option<String>,
    port: u16,
    config: Config,
    reconnect: ReconnectPolicy,
    max_reply: usize,
    start_timeout: Duration,
    settings: Settings,
    #[cfg(all(feature = "http", feature = "tls"))]
    chosen: Option<crate::env::Chosen>,
}

/// What an identity of the client's own is started with.
#[derive(Default)]
struct Settings {
    policy: RefreshPolicy,
    hook: Option<Hook>,
    #[cfg(all(feature = "http", feature = "tls"))]
    roots: Roots,
}

type Start = Box<dyn FnOnce(Settings) -> Identity + Send>;

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
                reconnect: ReconnectPolicy::default(),
                max_reply: 512 << 20,
                start_timeout: Duration::from_secs(30),
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

    /// What a command may take. The default is five seconds.
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

    /// Hears what happens, for logs and metrics.
    #[must_use]
    pub fn on_event(mut self, hook: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.shared.settings.hook = Some(Arc::new(hook));
        self
    }
}

#[cfg(all(feature = "http", feature = "tls"))]
impl<C> Builder<C> {
    /// Which identity the environment chose, if it was asked.
    pub const fn chosen(&self) -> Option<&crate::env::Chosen> {
        self.shared.chosen.as_ref()
    }

    pub(crate) fn with_chosen(mut self, chosen: crate::env::Chosen) -> Self {
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
        let Self { connector, identity, shared } = self;
        let start = identity.ok_or(ConfigError::NoSource)?;
        let hook = shared.settings.hook.clone();
        let identity = start(shared.settings);
        let exchange = Arc::new(Exchange::default());
        let client = Client::new(exchange.clone(), identity.clone());
        let mut reconnect = Reconnect::new(shared.reconnect);
        reconnect.seed(crate::random());
        let driver = Driver {
            exchange: exchange.clone(),
            identity,
            connector,
            host: shared.host,
            address: shared.address,
            port: shared.port,
            config: shared.config,
            reconnect,
            max_reply: shared.max_reply,
            hook,
            start_until: TokioClock.now() + shared.start_timeout,
            outbox: Outbox::default(),
        };
        tokio::spawn(driver.run());
        poll_fn(|cx| exchange.poll_started(cx)).await?;
        Ok(client)
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
