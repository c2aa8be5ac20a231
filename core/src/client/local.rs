//! A client for hosts with one thread.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::{Future, poll_fn};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use zeroize::Zeroizing;

use super::error::{ConnectError, Error, FetchError};
use super::{Desk, Exchange, Handle, MAX_COMMAND, Standing, State};
use crate::connection::{CloseReason, Config, Connection, ConnectionHealth, Outcome, Output};
use crate::drive::{Handler, Owner, Refresh, Submit, Tokens, Wanted, keep, refresh, within};
use crate::event::Event;
use crate::manager::{Pull, TokenHealth, TokenManager};
use crate::policy::RefreshPolicy;
use crate::reconnect::{Dial, Reconnect, ReconnectPolicy};
use crate::resp::{Arg, Value};
use crate::source::{SourceError, SourceFailure, TokenSource};
use crate::storage::Growable;
use crate::time::{Instant, Timer};
use crate::transport::{self, ConnectErrorKind, Connector, Endpoint, PORT};

/// What may be chosen of a [`Local`] client.
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
    /// How tokens are renewed.
    pub policy: RefreshPolicy,
    /// When.
    pub refresh: Refresh,
    /// How a server is dialed again.
    pub reconnect: ReconnectPolicy,
    /// The largest reply that is taken, in bytes.
    pub max_reply: usize,
    /// What the first connection may take, with its token.
    pub start_timeout: Duration,
    /// From when the client is made, everything is over after this long: tokens, connections and
    /// commands together.
    pub deadline: Option<Duration>,
    /// Any number that differs from process to process.
    pub seed: u64,
    /// Hears what happens.
    pub on_event: Option<Box<dyn Fn(&Event)>>,
}

impl Settings {
    /// For the server `host`: commands in the flight of the first login, all else as usual.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            address: None,
            port: PORT,
            config: Config { eager: true, ..Config::default() },
            policy: RefreshPolicy::default(),
            refresh: Refresh::default(),
            reconnect: ReconnectPolicy::default(),
            max_reply: 64 << 20,
            start_timeout: Duration::from_secs(30),
            deadline: None,
            seed: 0,
            on_event: None,
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

/// How many connections and others may wait for news of a token.
const WAITERS: usize = 8;

/// What the first room of the buffers is: most commands and replies fit into it.
const BUFFER: usize = 4 << 10;

/// The largest token, with the envelope that it comes in.
const RESPONSE: usize = 32 << 10;

struct Shared<T> {
    tokens: Tokens<Growable<u8>, WAITERS>,
    standing: RefCell<Standing>,
    timer: T,
    /// When everything is over.
    until: Instant,
    start_until: Instant,
    /// There is a transport.
    connected: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
    on_event: Option<Box<dyn Fn(&Event)>>,
    /// The token that the caller has.
    #[cfg(feature = "postcard")]
    kept: Cell<crate::manager::Generation>,
}

/// A client on one thread: a handle on a connection that its driver keeps open and logged in.
/// Clones share the connection.
pub struct Local<T> {
    handle: Handle<RefCell<State>>,
    shared: Rc<Shared<T>>,
}

impl<T: Timer + 'static> Local<T> {
    /// Makes a client, and the future that drives it, which ends with the client's last clone.
    /// With a `snapshot` of an earlier one's token, its token serves as long as it lives.
    pub fn new<K, S>(
        settings: Settings,
        timer: T,
        connector: K,
        source: S,
        snapshot: Option<&[u8]>,
    ) -> (Self, impl Future<Output = ()> + use<T, K, S>)
    where
        K: Connector,
        S: TokenSource,
    {
        let now = timer.now();
        let slot = || Growable::new(BUFFER, 16 << 10);
        let mut manager = TokenManager::new(settings.policy, [slot(), slot()]);
        manager.seed(settings.seed);
        #[cfg(feature = "postcard")]
        let kept = {
            let unix_time = timer.unix_time();
            // One that is of no use is as good as none.
            let restored = snapshot.and_then(|bytes| manager.restore(bytes, now, unix_time).ok());
            Cell::new(restored.unwrap_or_default())
        };
        #[cfg(not(feature = "postcard"))]
        let _ = snapshot;
        let mut reconnect = Reconnect::new(settings.reconnect);
        reconnect.seed(settings.seed);
        let until = settings.deadline.map_or(Instant::FAR_FUTURE, |after| now.plus(after));
        let mut config = settings.config;
        // A command that may take long doesn't make a server unresponsive.
        let patience = config.command_timeout.saturating_add(Duration::from_secs(5));
        config.unresponsive_after = config.unresponsive_after.max(patience);
        let shared = Rc::new(Shared {
            tokens: Tokens::new(manager),
            standing: RefCell::new(Standing::new(reconnect)),
            timer,
            until,
            start_until: until.min(now.plus(settings.start_timeout)),
            connected: Cell::new(false),
            waiting: RefCell::default(),
            on_event: settings.on_event,
            #[cfg(feature = "postcard")]
            kept,
        });
        let exchange = Arc::new(Exchange::default());
        let handle = Handle::new(exchange.clone());
        let place = Place {
            host: settings.host,
            address: settings.address,
            port: settings.port,
            max_reply: settings.max_reply,
            refresh: settings.refresh,
        };
        let keeper = Keeper {
            desk: Desk::new(exchange, config.command_timeout),
            shared: shared.clone(),
            on_demand: false,
            to: place.to(),
        };
        (Self { handle, shared }, run(place, config, keeper, connector, source))
    }

    /// Waits until there is a connection. Nothing was heard on it yet: commands go out in the flight
    /// of the login.
    ///
    /// # Errors
    /// [`Error`] if there is none: at once if trying again can't help, and at the start timeout
    /// else.
    pub async fn connected(&self) -> Result<(), Error> {
        self.started(|shared| shared.connected.get()).await
    }

    /// Waits until the server has accepted the login.
    ///
    /// # Errors
    /// As [`connected`](Self::connected).
    pub async fn logged_in(&self) -> Result<(), Error> {
        self.started(|shared| shared.standing.borrow().connects() > 0).await
    }

    async fn started(&self, is_there: impl Fn(&Shared<T>) -> bool) -> Result<(), Error> {
        let shared = &*self.shared;
        let started = poll_fn(|cx| {
            if is_there(shared) {
                return Poll::Ready(Ok(()));
            }
            let problem = shared.standing.borrow().problem().cloned();
            if let Some(error) = problem
                && shared.is_hopeless()
            {
                return Poll::Ready(Err(error));
            }
            shared.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        });
        match within(&shared.timer, shared.start_until, started).await {
            Some(started) => started,
            None => Err(shared.too_late()),
        }
    }

    /// Sends a command and waits for its reply, which is kept until the next one.
    ///
    /// # Errors
    /// [`Error`], also if the server reports one. [`Error::outcome`] says whether the command may
    /// have been executed. One that was refused together with its login is repeated once with
    /// a fresh token; nothing that may have been executed is.
    ///
    /// # Cancel safety
    /// If the future is dropped, the command may still be executed.
    pub async fn command(&mut self, args: &[Arg<'_>]) -> Result<Value<'_>, Error> {
        let shared = &*self.shared;
        let slice = || shared.tokens.with(|manager| manager.slice());
        let executed = self.handle.execute(&shared.timer, slice, args);
        shared.in_time(executed).await?;
        self.pick(0)
    }

    /// Sends commands one behind the other and waits for all replies, which
    /// [`reply`](Self::reply) has then. Says how many there are.
    ///
    /// # Errors
    /// [`Error`] if nothing could be sent.
    pub async fn pipeline<'c, I>(&mut self, commands: I) -> Result<usize, Error>
    where
        I: IntoIterator<Item = &'c [Arg<'c>]>,
    {
        let shared = &*self.shared;
        let executed = self.handle.execute_all(&shared.timer, commands.into_iter());
        shared.in_time(executed).await?;
        Ok(self.handle.replies())
    }

    /// The reply number `at` of those that came last.
    ///
    /// # Errors
    /// [`Error`] if there is none, or if the server reported one.
    pub fn reply(&self, at: usize) -> Result<Value<'_>, Error> {
        self.pick(at)
    }

    fn pick(&self, at: usize) -> Result<Value<'_>, Error> {
        self.handle.pick(at).map_err(|error| {
            // Why there is no login is a better answer than that there is none.
            match self.shared.standing.borrow().problem() {
                Some(login @ Error::Login(_)) if error.code() == Some("NOAUTH") => login.clone(),
                _ => error,
            }
        })
    }

    /// What a host without a background task should do about its token.
    pub fn pull(&self) -> Pull {
        self.shared.tokens.with(|manager| manager.pull(self.shared.timer.now()))
    }

    /// Fetches the next token if it is due: to be called when nobody waits for an answer any more,
    /// where tokens are only fetched [on demand](Refresh::OnDemand).
    ///
    /// # Errors
    /// [`Error`] if there was no token. The old one serves on.
    pub async fn refresh_if_due(&self) -> Result<(), Error> {
        if self.pull() == Pull::Use {
            return Ok(());
        }
        let shared = &*self.shared;
        let failures = || self.token_health().failures;
        let before = failures();
        shared.tokens.ask();
        let answered =
            shared.tokens.wait(&shared.timer, shared.until, |_| !shared.tokens.is_asked());
        if !answered.await {
            return Err(shared.too_late());
        }
        match shared.standing.borrow().problem() {
            Some(error @ Error::Token(_)) if failures() > before => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// The token as bytes, if it isn't the one that the caller has: the one that was restored,
    /// or that this gave before. It is a secret: see [`TokenManager::snapshot`].
    #[cfg(feature = "postcard")]
    pub fn changed_snapshot(&self) -> Option<Zeroizing<Vec<u8>>> {
        let shared = &*self.shared;
        let now = shared.timer.now();
        shared.tokens.with(|manager| {
            let generation = manager.login(now)?.generation();
            if generation == shared.kept.get() {
                return None;
            }
            let mut bytes = Zeroizing::new(vec![0; RESPONSE]);
            let len = manager.snapshot(now, &mut bytes).ok()??.len();
            bytes.truncate(len);
            shared.kept.set(generation);
            Some(bytes)
        })
    }

    /// How the token stands. Never shows it.
    pub fn token_health(&self) -> TokenHealth {
        let now = self.shared.timer.now();
        self.shared.tokens.with(|manager| manager.health(now))
    }

    /// How the connection stands, and has stood.
    pub fn standing(&self) -> Standing {
        self.shared.standing.borrow().clone()
    }
}

impl<T> Clone for Local<T> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.another(), shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for Local<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Local").field(&self.shared.standing.borrow()).finish()
    }
}

impl<T: Timer> Shared<T> {
    /// Whether trying again soon can't help.
    fn is_hopeless(&self) -> bool {
        let now = self.timer.now();
        // Against a refused token, another one may.
        let coming = || {
            let manager = |manager: &mut TokenManager<_>| {
                manager.login(now).is_some() && !manager.is_worth_a_login(now)
            };
            self.tokens.with(manager)
        };
        self.standing.borrow().is_hopeless() && !coming()
    }

    fn too_late(&self) -> Error {
        let problem = self.standing.borrow().problem().cloned();
        problem.unwrap_or_else(|| {
            if self.tokens.with(|manager| manager.login(self.timer.now()).is_none()) {
                // The source has been silent all the time.
                return Error::Token(Arc::new(SourceError::TimedOut.into()));
            }
            Error::Unavailable { cause: None }
        })
    }

    /// Waits for `executed` as long as there is time.
    async fn in_time(
        &self,
        executed: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        match within(&self.timer, self.until, executed).await {
            Some(executed) => executed,
            // Nobody knows how far it has come.
            None if self.connected.get() => {
                Err(Error::Lost { outcome: Outcome::Unknown, reason: None })
            }
            None => Err(Error::Unavailable { cause: Some(Box::new(self.too_late())) }),
        }
    }

    fn report(&self, event: &Event) {
        if let Some(hook) = &self.on_event {
            hook(event);
        }
        let waiting = core::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    fn fetched<E: SourceFailure>(&self, event: Event, error: Option<E>) {
        if let Event::FetchFailed { error: reason, .. } = event {
            let retryable = self.tokens.with(|manager| manager.is_retryable(&reason));
            let error = match error.map(|error| error.to_string()) {
                Some(details) if details != reason.to_string() => FetchError::new(reason, details),
                _ => reason.into(),
            };
            self.standing.borrow_mut().no_token(Arc::new(error), retryable);
        }
        self.report(&event);
    }
}

/// Where to connect.
struct Place {
    host: String,
    address: Option<String>,
    port: u16,
    max_reply: usize,
    refresh: Refresh,
}

impl Place {
    fn endpoint(&self) -> Endpoint<'_> {
        let endpoint = Endpoint::new(&self.host, self.port);
        match &self.address {
            Some(address) => endpoint.redirected(address, self.port),
            None => endpoint,
        }
    }

    fn to(&self) -> String {
        let Endpoint { address, port, .. } = self.endpoint();
        alloc::format!("{address}:{port}")
    }
}

/// Drives a client for as long as it has handles.
async fn run<T: Timer, K: Connector, S: TokenSource>(
    place: Place,
    config: Config,
    mut keeper: Keeper<T>,
    mut connector: K,
    mut source: S,
) {
    let shared = keeper.shared.clone();
    let (tokens, timer) = (&shared.tokens, &shared.timer);
    let mut memory = Zeroizing::new(vec![0; RESPONSE]);
    let connection = || {
        let receive = Growable::new(BUFFER, place.max_reply);
        let transmit = Growable::new(BUFFER, MAX_COMMAND);
        Connection::new(config.clone(), receive, transmit, Growable::new(16, 1 << 20))
    };
    let report = |event, error| shared.fetched::<S::Error>(event, error);
    let fetching = refresh(tokens, &mut source, timer, &mut memory, place.refresh, report);
    let endpoint = place.endpoint();
    let keeping = keep(&mut connector, &endpoint, connection, timer, tokens, &mut keeper);
    crate::drive::either(async { _ = fetching.await }, keeping).await;
    keeper.desk.end(&Error::Closed);
}

/// Whose connection it is.
struct Keeper<T> {
    desk: Desk<RefCell<State>>,
    shared: Rc<Shared<T>>,
    /// There need only be a connection when there is something to send.
    on_demand: bool,
    to: String,
}

impl<T> Drop for Keeper<T> {
    fn drop(&mut self) {
        self.desk.end(&Error::Closed);
    }
}

impl<T: Timer> Handler for Keeper<T> {
    fn poll_commands(&mut self, cx: &mut Context<'_>, connection: &mut dyn Submit) {
        if !self.shared.connected.replace(true) {
            let waiting = core::mem::take(&mut *self.shared.waiting.borrow_mut());
            waiting.into_iter().for_each(Waker::wake);
        }
        let now = self.shared.timer.now();
        let submitted = self.desk.submit(cx, now, &mut |by, tag, class, command| {
            connection.submit_encoded(by, tag, class, command)
        });
        if submitted.is_err() {
            connection.close();
        }
    }

    fn output(&mut self, output: Output<'_>) {
        let more = self.desk.deliver().output(output);
        if let Some(Output::Event(event)) = more {
            self.shared.standing.borrow_mut().observe(self.shared.timer.now(), &event);
            self.shared.report(&event);
        }
    }

    fn deadline(&self) -> Instant {
        self.desk.deadline()
    }

    fn settle(&mut self, health: &ConnectionHealth) {
        self.desk.deliver().settle(health);
        self.shared.standing.borrow_mut().set_health(*health);
    }
}

impl<T: Timer, E: transport::ConnectError> Owner<E> for Keeper<T> {
    fn poll_wanted(&mut self, cx: &mut Context<'_>, now: Instant) -> Wanted {
        if let Poll::Ready(Err(_)) = self.desk.poll_more(cx) {
            return Wanted::NeverAgain;
        }
        let Self { desk, shared, .. } = self;
        desk.expire(now, || shared.standing.borrow().problem().cloned());
        if self.on_demand && self.desk.is_empty() { Wanted::Later } else { Wanted::Now }
    }

    fn dial(&self, now: Instant) -> Dial {
        self.shared.standing.borrow().dial(now)
    }

    fn connect_timeout(&self) -> Duration {
        self.shared.standing.borrow().connect_timeout()
    }

    fn dial_failed(&mut self, now: Instant, error: Option<E>) {
        let error = match error {
            Some(error) => ConnectError::new(error.kind(), self.to.as_str(), error.to_string()),
            None => ConnectError::new(
                ConnectErrorKind::Unreachable,
                self.to.as_str(),
                "nobody answers in time",
            ),
        };
        let event = self.shared.standing.borrow_mut().dial_failed(now, error);
        self.shared.report(&event);
    }

    fn disconnected(&mut self, _: Instant, reason: CloseReason) {
        self.desk.disconnected(reason);
        self.shared.connected.set(false);
        self.on_demand = reason == CloseReason::Idle;
        if matches!(reason, CloseReason::Refused(_)) && self.shared.is_hopeless() {
            // Waiting won't help those who wait.
            let standing = &self.shared.standing;
            self.desk.refuse(|| standing.borrow().problem().cloned());
        }
    }
}

#[cfg(test)]
mod tests;
