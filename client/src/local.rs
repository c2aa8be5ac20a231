//! A client for hosts with one thread.

mod boxed;
mod identity;
mod nodes;
mod settings;
mod shared;
mod subscriber;
mod supervise;
mod weak_client;

use alloc::rc::Rc;
use alloc::sync::Arc;
#[cfg(feature = "postcard")]
use alloc::vec;
#[cfg(feature = "postcard")]
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::Future;
use core::pin::pin;
use core::time::Duration;

use identity::Identity;
#[cfg(feature = "postcard")]
use identity::RESPONSE;
use nodes::Nodes;
pub use settings::{EventHook, PushHook, Settings};
use shared::Shared;
pub use subscriber::Subscriber;
use supervise::Ends;
pub use weak_client::WeakClient;
#[cfg(feature = "postcard")]
use zeroize::Zeroizing;

use super::error::Error;
use super::{CommandQueue, ConnectionStatus, Handle, Health, QueueState, RoutingHandle};
use redis_entraid_core::manager::{Pull, TokenHealth, TokenManager};
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::source::TokenSource;
use redis_entraid_core::time::Timer;
use redis_entraid_core::transport::Connector;

/// A client on one thread: a handle on a connection that its driver keeps open and logged in.
/// Clones share the connection, and those to other nodes of a cluster.
pub struct LocalClient<T> {
    handle: RoutingHandle<RefCell<QueueState>>,
    shared: Rc<Shared<T>>,
    nodes: Rc<Nodes>,
}

impl<T: Timer + 'static> LocalClient<T> {
    /// Returns a client and the future that drives it. The future ends with the client's last clone and
    /// its last [subscriber](Self::subscriber). With a `snapshot` of an earlier client's token, that
    /// token serves as long as it lives.
    pub fn new<K, S>(
        settings: Settings,
        timer: T,
        connector: K,
        source: S,
        snapshot: Option<&[u8]>,
    ) -> (Self, impl Future<Output = ()> + use<T, K, S>)
    where
        K: Connector + Clone,
        S: TokenSource,
    {
        let queue_timeout = settings.queue_timeout;
        let (shared, config) = Identity::new(settings, timer, &source, snapshot).share(None);
        let config = config.for_commands();
        // Handles are the same type where there are threads.
        #[allow(clippy::arc_with_non_send_sync)]
        let queue = Arc::new(CommandQueue::new(&config, queue_timeout));
        let handle = RoutingHandle::new(Handle::new(queue.clone()));
        let nodes = Rc::new(Nodes::new(queue.clone()));
        // Made here: the driver may be dropped before it is polled.
        let ends = Ends { queue, shared: shared.clone(), nodes: Some(nodes.clone()) };
        let driver = supervise::run(config, ends, nodes.clone(), connector, source);
        (Self { handle, shared, nodes }, driver)
    }

    /// Returns a subscriber with the same identity and the future that drives it, which ends with
    /// the subscriber. Tokens are fetched by the client's driver, which has to run as well; but the
    /// client itself may be dropped.
    pub fn subscriber<K>(
        &self,
        connector: K,
    ) -> (Subscriber<T>, impl Future<Output = ()> + use<T, K>)
    where
        K: Connector + Clone,
    {
        Subscriber::of(&self.shared.identity, connector)
    }

    /// Waits until there is a connection. The server has not answered yet: commands go out in the flight
    /// of the login.
    ///
    /// # Errors
    /// [`Error`] if there is no connection: at once if trying again can't help, else at the start
    /// timeout.
    pub async fn connected(&self) -> Result<(), Error> {
        self.shared.started(|shared| shared.connected.get()).await
    }

    /// Waits until the server has accepted the login.
    ///
    /// # Errors
    /// As [`connected`](Self::connected).
    pub async fn logged_in(&self) -> Result<(), Error> {
        self.shared.logged_in().await
    }

    /// Sends a command and waits for its reply, which is kept until the next one. Where a cluster
    /// answers `MOVED`, it is sent to the node that is named, whose connection is kept as long as
    /// the client. In a transaction, which stays on one connection, `MOVED` is an error.
    ///
    /// # Errors
    /// [`Error`], also if the server reports one. [`Error::outcome`] says whether the command may
    /// have been executed. A command refused for want of a login (`NOAUTH`) is repeated once,
    /// after the next login; one that may have been executed is never repeated.
    ///
    /// # Cancel safety
    /// If the future is dropped, a command that still waits for its turn is withdrawn: it is never
    /// sent. One that was sent may be executed.
    pub async fn command(&mut self, args: &[Arg<'_>]) -> Result<Value<'_>, Error> {
        self.run(None, args).await
    }

    /// Sends a command with a time limit of its own. A command that was not sent by then is withdrawn.
    /// The time that a command like `BLPOP` blocks comes on top. `None` is the usual limit.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn command_within(
        &mut self,
        limit: impl Into<Option<Duration>>,
        args: &[Arg<'_>],
    ) -> Result<Value<'_>, Error> {
        self.run(limit.into(), args).await
    }

    async fn run(&mut self, limit: Option<Duration>, args: &[Arg<'_>]) -> Result<Value<'_>, Error> {
        let shared = &*self.shared;
        let slice = || shared.identity.tokens.peek(TokenManager::slice);
        let nodes = Some(&*self.nodes).filter(|_| shared.identity.place.follow_moved);
        let executed = self.handle.execute(&shared.identity.timer, slice, limit, args, nodes);
        {
            // Pinned here: a future that is handed over has its room twice.
            let executed = pin!(executed);
            shared.in_time(executed).await?;
        }
        self.pick(0)
    }

    /// Sends commands one behind the other and waits for all replies, for [`reply`](Self::reply) to
    /// return. Returns how many there are. A `MOVED` among them is an error.
    ///
    /// # Errors
    /// [`Error`] if nothing could be sent.
    pub async fn pipeline<'c, I>(&mut self, commands: I) -> Result<usize, Error>
    where
        I: IntoIterator<Item: AsRef<[Arg<'c>]>>,
    {
        self.run_all(None, commands.into_iter()).await
    }

    /// Sends commands with a time limit for all of them together.
    ///
    /// # Errors
    /// As [`pipeline`](Self::pipeline).
    pub async fn pipeline_within<'c, I>(
        &mut self,
        limit: impl Into<Option<Duration>>,
        commands: I,
    ) -> Result<usize, Error>
    where
        I: IntoIterator<Item: AsRef<[Arg<'c>]>>,
    {
        self.run_all(limit.into(), commands.into_iter()).await
    }

    async fn run_all<'c, I>(&mut self, limit: Option<Duration>, commands: I) -> Result<usize, Error>
    where
        I: Iterator<Item: AsRef<[Arg<'c>]>>,
    {
        let shared = &*self.shared;
        {
            let timer = &shared.identity.timer;
            let nodes = Some(&*self.nodes).filter(|_| shared.identity.place.follow_moved);
            let executed = pin!(self.handle.execute_all(timer, limit, commands, nodes));
            shared.in_time(executed).await?;
        }
        Ok(self.handle.replies())
    }

    /// Returns the reply number `at` to the last commands.
    ///
    /// # Errors
    /// [`Error`] if there is none, or if the server reported one.
    pub fn reply(&self, at: usize) -> Result<Value<'_>, Error> {
        self.pick(at)
    }

    fn pick(&self, at: usize) -> Result<Value<'_>, Error> {
        self.handle.pick(at).map_err(|error| {
            // Why there is no login is a better answer than that there is none.
            match self.shared.status.borrow().problem() {
                Some(login @ Error::Login(_)) if error.code() == Some("NOAUTH") => login.clone(),
                _ => error,
            }
        })
    }

    /// Stops taking commands, also from clones. The driver closes the connections and ends when those that
    /// were taken are answered or their time is over: [`closed`](Self::closed) waits for that.
    pub fn close(&self) {
        self.handle.home().close();
    }

    /// Waits until a client that [closes](Self::close) has no connection any more. Its driver may go on for
    /// a subscriber that uses its tokens.
    ///
    /// # Cancel safety
    /// If the future is dropped, the client closes all the same.
    pub async fn closed(&self) {
        self.shared.ended().await;
    }

    /// Replaces the connection with a new one, which logs in first and gets the next
    /// command when the old one has answered all that it has.
    pub fn hand_over(&self) {
        self.handle.home().hand_over();
    }

    /// Returns what a host without a background task should do about its token.
    pub fn pull(&self) -> Pull {
        self.shared.identity.tokens.peek(|manager| manager.pull(self.shared.now()))
    }

    /// Fetches the next token if it is due: to be called when no caller waits for an answer any more,
    /// where tokens are only fetched [on demand](redis_entraid_core::drive::Refresh::OnDemand).
    ///
    /// # Errors
    /// [`Error`] if there was no token. The old one serves on.
    pub async fn refresh_if_due(&self) -> Result<(), Error> {
        if self.pull() == Pull::Use {
            return Ok(());
        }
        let Identity { tokens, timer, until, failure, .. } = &*self.shared.identity;
        let _waiting = tokens.waiting();
        tokens.ask();
        if !tokens.wait(timer, *until, |_| !tokens.is_asked()).await {
            return Err(self.shared.too_late());
        }
        let failure = failure.borrow().clone();
        failure.map_or(Ok(()), |error| Err(Error::Token(error)))
    }

    /// Returns the token as bytes, unless it is the one that was restored or that this has returned
    /// before. It is a secret: see [`TokenManager::snapshot`].
    #[cfg(feature = "postcard")]
    pub fn changed_snapshot(&self) -> Option<Zeroizing<Vec<u8>>> {
        let (now, identity) = (self.shared.now(), &*self.shared.identity);
        identity.tokens.peek(|manager| {
            let generation = manager.login(now)?.generation();
            if generation == identity.kept.get() {
                return None;
            }
            let mut bytes = Zeroizing::new(vec![0; RESPONSE]);
            let len = manager.snapshot(now, identity.fingerprint, &mut bytes).ok()??.len();
            bytes.truncate(len);
            identity.kept.set(generation);
            Some(bytes)
        })
    }

    /// Returns the state of the token. Never shows it.
    pub fn token_health(&self) -> TokenHealth {
        let now = self.shared.now();
        self.shared.identity.tokens.peek(|manager| manager.health(now))
    }

    /// Returns the state of token and connection. Never shows the token.
    pub fn health(&self) -> Health {
        Health::new(self.shared.now(), self.token_health(), &self.shared.status.borrow())
    }

    /// Returns the state of the connection, and what has gone wrong last.
    pub fn status(&self) -> ConnectionStatus {
        self.shared.status.borrow().clone()
    }
}

impl<T> LocalClient<T> {
    /// Returns a weak client, which can make clones but doesn't count as one: beside it, a client that is
    /// alone can still have a transaction, and the driver ends with the last clone.
    pub fn downgrade(&self) -> WeakClient<T> {
        let queue = self.handle.home().queue().clone();
        WeakClient { queue, shared: self.shared.clone(), nodes: self.nodes.clone() }
    }
}

impl<T> Clone for LocalClient<T> {
    fn clone(&self) -> Self {
        let (shared, nodes) = (self.shared.clone(), self.nodes.clone());
        Self { handle: self.handle.another(), shared, nodes }
    }
}

impl<T> fmt::Debug for LocalClient<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalClient").field(&self.shared.status.borrow()).finish()
    }
}

#[cfg(test)]
mod tests;
