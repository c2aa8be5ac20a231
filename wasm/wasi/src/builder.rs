//! Setting a client up.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use redis_entraid_client::{Chosen, Error, LocalClient, Settings};
use redis_entraid_core::auth::Protocol;
use redis_entraid_core::connection::{Idle, Replacement};
use redis_entraid_core::drive::Refresh;
use redis_entraid_core::event::Event;
use redis_entraid_core::policy::RefreshPolicy;
use redis_entraid_core::resp::Value;
use redis_entraid_core::source::TokenSource;
use redis_entraid_core::transport::Connector;
use wasip2::random::random::get_random_u64;
use zeroize::Zeroizing;

use crate::clock::WasiClock;
use crate::net::Tcp;
use crate::reactor::Reactor;

/// A client that a reactor drives. See [`LocalClient`] for what it can do.
pub type Client = LocalClient<WasiClock>;

/// A subscriber that a reactor drives. See [`redis_entraid_client::Subscriber`] for what it can do.
pub type Subscriber = redis_entraid_client::Subscriber<WasiClock>;

/// How a client connects unless something else is chosen: by TCP and TLS.
#[cfg(feature = "tls-p256")]
pub type DefaultConnector = crate::tls::TlsTcp;

/// Without TLS there is no way to connect but one of your own.
#[cfg(not(feature = "tls-p256"))]
pub type DefaultConnector = ();

/// Sets a [`Client`] up: `S` is where its tokens come from, `C` how it connects.
pub struct Builder<S = (), C = DefaultConnector> {
    reactor: Reactor,
    settings: Settings,
    source: S,
    connector: C,
    snapshot: Option<Zeroizing<Vec<u8>>>,
    chosen: Option<Chosen>,
}

impl Builder {
    /// Begins with the name of the server, `<name>.<region>.redis.azure.net`.
    pub fn new(reactor: &Reactor, host: impl Into<String>) -> Self {
        let settings = Settings::new(host, get_random_u64());
        Self {
            reactor: reactor.clone(),
            settings,
            source: (),
            #[cfg(feature = "tls-p256")]
            connector: DefaultConnector::new(reactor.clone(), crate::tls::Roots::default()),
            #[cfg(not(feature = "tls-p256"))]
            connector: (),
            snapshot: None,
            chosen: None,
        }
    }
}

impl<S, C> Builder<S, C> {
    /// Another port than 10000.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.settings.port = port;
        self
    }

    /// Dials another address than the server's name resolves to. The name is verified as ever.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.settings.address = Some(address.into());
        self
    }

    /// Takes the tokens from `source`.
    pub fn source<T: TokenSource>(self, source: T) -> Builder<T, C> {
        let Self { reactor, settings, connector, snapshot, chosen, .. } = self;
        Builder { reactor, settings, source, connector, snapshot, chosen }
    }

    /// Connects through `connector`, of which there is a clone for each connection that there is at a
    /// time.
    pub fn connector<D: Connector + Clone>(self, connector: D) -> Builder<S, D> {
        let Self { reactor, settings, source, snapshot, chosen, .. } = self;
        Builder { reactor, settings, source, connector, snapshot, chosen }
    }

    /// Connects without TLS: for tests, and for a proxy beside the component that does TLS. Tokens go out in
    /// clear.
    pub fn plain(self) -> Builder<S, Tcp> {
        let connector = Tcp::new(self.reactor.clone());
        self.connector(connector)
    }

    /// Begins with the token of a [snapshot](LocalClient::changed_snapshot). An unusable one is as
    /// good as none.
    #[must_use]
    pub fn restore(mut self, snapshot: &[u8]) -> Self {
        self.snapshot = Some(Zeroizing::new(snapshot.into()));
        self
    }

    /// For an instance that lives for one request: tokens are only fetched when there is none, and
    /// by [`refresh_if_due`](LocalClient::refresh_if_due); the connection is used for what it takes
    /// and not a byte more.
    #[must_use]
    pub fn one_request(mut self) -> Self {
        self.settings.refresh = Refresh::OnDemand;
        self.settings.config.set_info = false;
        self
    }

    /// When everything is over, tokens, connections and commands together, from
    /// [`connect`](Self::connect) on.
    #[must_use]
    pub fn deadline(mut self, after: Duration) -> Self {
        self.settings.deadline = Some(after);
        self
    }

    /// How long a command may wait to be sent, for a connection or behind others. Then it fails, and its
    /// [`outcome`](Error::outcome) is `NotSent`. The default is that of
    /// [`command_timeout`](Self::command_timeout).
    #[must_use]
    pub fn queue_timeout(mut self, timeout: Duration) -> Self {
        self.settings.queue_timeout = Some(timeout);
        self
    }

    /// How long a command may wait for its reply, from when it was sent. The default is five seconds.
    #[must_use]
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.settings.config.command_timeout = timeout;
        self
    }

    /// Speaks RESP2 or RESP3. The default is RESP3, as Microsoft recommends with Entra ID.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.settings.config.protocol = protocol;
        self
    }

    /// What to do with the connection when it is idle. By default it is kept.
    #[must_use]
    pub fn idle(mut self, idle: Idle) -> Self {
        self.settings.config.idle = idle;
        self
    }

    /// How to replace a subscriber's connection that can't log in again, as with RESP2. By default
    /// it ends first, with a [`Gap`](redis_entraid_client::Delivery::Gap).
    #[must_use]
    pub fn replacement(mut self, replacement: Replacement) -> Self {
        self.settings.config.replacement = replacement;
        self
    }

    /// How many bytes of messages a subscriber keeps that were not read yet. What doesn't fit is
    /// dropped and [counted](redis_entraid_client::Delivery::Missed). The default is 1 MiB.
    #[must_use]
    pub fn backlog(mut self, bytes: usize) -> Self {
        self.settings.backlog = bytes;
        self
    }

    /// Calls `hook` with each push of a server, such as the keys that `CLIENT TRACKING` reports.
    #[must_use]
    pub fn on_push(mut self, hook: impl Fn(Value<'_>) + 'static) -> Self {
        self.settings.on_push = Some(Box::new(hook));
        self
    }

    /// How tokens are renewed.
    #[must_use]
    pub fn policy(mut self, policy: RefreshPolicy) -> Self {
        self.settings.policy = policy;
        self
    }

    /// Is told what happens, for logs and metrics.
    #[must_use]
    pub fn on_event(mut self, hook: impl Fn(&Event) + 'static) -> Self {
        self.settings.on_event = Some(Box::new(hook));
        self
    }

    /// Which identity the environment chose, if it was asked.
    pub const fn chosen(&self) -> Option<&Chosen> {
        self.chosen.as_ref()
    }
}

#[cfg(feature = "tls-p256")]
impl<S> Builder<S> {
    /// Whom to trust at the server. Token endpoints are the host's business.
    #[must_use]
    pub fn roots(mut self, roots: crate::tls::Roots) -> Self {
        self.connector = DefaultConnector::new(self.reactor.clone(), roots);
        self
    }
}

impl<S: TokenSource + 'static, C: Connector + Clone + 'static> Builder<S, C> {
    /// Gets a token if there is none that serves, and connects. The first command goes out in the
    /// flight of the login, whose answer this doesn't wait for: see [`LocalClient::logged_in`].
    ///
    /// # Errors
    /// [`Error`] if there is no connection: at once if trying again can't help.
    pub async fn connect(self) -> Result<Client, Error> {
        let client = self.start();
        client.connected().await?;
        Ok(client)
    }

    /// The same without waiting: what is asked of the client waits for the connection.
    pub fn start(self) -> Client {
        let Self { reactor, settings, source, connector, snapshot, .. } = self;
        let snapshot = snapshot.as_ref().map(|bytes| &bytes[..]);
        let timer = WasiClock::new(reactor.clone());
        let (client, driver) = LocalClient::new(settings, timer, connector, source, snapshot);
        reactor.spawn(driver);
        client
    }

    /// Gets a token if there is none that serves, connects and logs in, to hear what is published.
    /// The connection and its subscriptions are kept until the subscriber is dropped.
    ///
    /// One with the tokens of a client is [`LocalClient::subscriber`], whose driver the reactor has to
    /// [run](Reactor::spawn).
    ///
    /// # Errors
    /// [`Error`] if there is no login: at once if trying again can't help.
    pub async fn subscriber(self) -> Result<Subscriber, Error> {
        let Self { reactor, settings, source, connector, snapshot, .. } = self;
        let snapshot = snapshot.as_ref().map(|bytes| &bytes[..]);
        let timer = WasiClock::new(reactor.clone());
        let (subscriber, driver) = Subscriber::new(settings, timer, connector, source, snapshot);
        reactor.spawn(driver);
        subscriber.logged_in().await?;
        Ok(subscriber)
    }
}

impl<S, C> fmt::Debug for Builder<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Builder").field(&self.settings).finish()
    }
}

#[cfg(feature = "http")]
mod env {
    use redis_entraid_client::Growable;
    use redis_entraid_client::{ConfigError, EnvSource, Environment, REQUEST_MEMORY};
    use redis_entraid_core::source;
    use wasip2::cli::environment::get_environment;
    use zeroize::Zeroize;

    use super::*;
    use crate::http::Http;

    /// Variables, among which may be secrets.
    struct Wiped<'v>(&'v mut [(String, String)]);

    impl Drop for Wiped<'_> {
        fn drop(&mut self) {
            self.0.iter_mut().for_each(|(_, value)| value.zeroize());
        }
    }

    /// A source of the core's, driven over `wasi:http`.
    pub type HttpSource<S> = source::HttpSource<S, Http, Growable<u8>>;

    impl Builder {
        /// Takes server and identity from the component's environment: from the variables of
        /// [`Environment`]. `REDIS_CA_PEM`, if it is set, is trusted at the server instead of
        /// Azure's roots: certificates in PEM.
        ///
        /// # Errors
        /// [`ConfigError`] if something is missing or invalid.
        pub fn from_env(reactor: &Reactor) -> Result<Builder<HttpSource<EnvSource>>, ConfigError> {
            let mut variables = get_environment();
            let variables = Wiped(&mut variables);
            let get = |name: &str| {
                let found = variables.0.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| value.clone())
            };
            let Environment { host, port, source, chosen, .. } = Environment::read(get)?;
            let mut builder = Self::new(reactor, host).port(port).http_source(source);
            builder.chosen = Some(chosen);
            #[cfg(feature = "tls-p256")]
            if let Some(pem) = get("REDIS_CA_PEM") {
                builder = builder.roots(crate::tls::Roots::pem(pem.as_bytes())?);
            }
            Ok(builder)
        }
    }

    impl<S, C> Builder<S, C> {
        /// Takes the tokens from a source of the core's, over `wasi:http`.
        pub fn http_source<T>(self, source: T) -> Builder<HttpSource<T>, C>
        where
            T: source::Source,
        {
            let request = Growable::new(REQUEST_MEMORY, REQUEST_MEMORY);
            let http = Http::new(self.reactor.clone());
            self.source(source::HttpSource::new(source, http, request))
        }
    }
}

#[cfg(feature = "http")]
pub use env::HttpSource;
