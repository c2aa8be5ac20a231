//! A client for hosts with one thread.

mod keeper;
mod settings;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::sync::Arc;
#[cfg(feature = "postcard")]
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::{Future, poll_fn};
use core::task::{Poll, Waker};
use core::time::Duration;

use keeper::{Keeper, Place};
pub use settings::{Hook, Settings};
#[cfg(feature = "postcard")]
use zeroize::Zeroizing;

use super::error::{Error, FetchError};
use super::{Desk, Exchange, Handle, Standing, State};
use crate::connection::Outcome;
use crate::drive::{Tokens, within};
use crate::event::Event;
use crate::manager::{Pull, TokenHealth, TokenManager};
use crate::reconnect::Reconnect;
use crate::resp::{Arg, Value};
use crate::source::{SourceError, SourceFailure, TokenSource};
use crate::storage::Growable;
use crate::time::{Instant, Timer};
use crate::transport::Connector;

/// How many connections and others may wait for news of a token.
const WAITERS: usize = 8;

/// What the first room of the buffers is: most commands and replies fit into it.
const BUFFER: usize = 4 << 10;

/// The largest token, with the envelope that it comes in.
const RESPONSE: usize = 32 << 10;

struct Shared<T> {
    tokens: Tokens<Growable<u8>, WAITERS>,
    standing: RefCell<Standing>,
    /// Why the last request for a token failed, if it did.
    fetch_failure: RefCell<Option<Arc<FetchError>>>,
    timer: T,
    /// When everything is over.
    until: Instant,
    start_until: Instant,
    /// There is a transport.
    connected: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
    on_event: Option<Hook>,
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
            fetch_failure: RefCell::default(),
            timer,
            until,
            start_until: until.min(now.plus(settings.start_timeout)),
            connected: Cell::new(false),
            waiting: RefCell::default(),
            on_event: settings.on_event,
            #[cfg(feature = "postcard")]
            kept,
        });
        // Handles are the same type where there are threads.
        #[allow(clippy::arc_with_non_send_sync)]
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
        (Self { handle, shared }, keeper::run(place, config, keeper, connector, source))
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
        let slice = || shared.tokens.peek(TokenManager::slice);
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
        self.shared.tokens.peek(|manager| manager.pull(self.shared.timer.now()))
    }

    /// Fetches the next token if it is due: to be called when nobody waits for an answer any more,
    /// where tokens are only fetched [on demand](crate::drive::Refresh::OnDemand).
    ///
    /// # Errors
    /// [`Error`] if there was no token. The old one serves on.
    pub async fn refresh_if_due(&self) -> Result<(), Error> {
        if self.pull() == Pull::Use {
            return Ok(());
        }
        let shared = &*self.shared;
        shared.tokens.ask();
        let answered =
            shared.tokens.wait(&shared.timer, shared.until, |_| !shared.tokens.is_asked());
        if !answered.await {
            return Err(shared.too_late());
        }
        let failure = shared.fetch_failure.borrow().clone();
        failure.map_or(Ok(()), |error| Err(Error::Token(error)))
    }

    /// The token as bytes, if it isn't the one that the caller has: the one that was restored,
    /// or that this gave before. It is a secret: see [`TokenManager::snapshot`].
    #[cfg(feature = "postcard")]
    pub fn changed_snapshot(&self) -> Option<Zeroizing<Vec<u8>>> {
        let shared = &*self.shared;
        let now = shared.timer.now();
        shared.tokens.peek(|manager| {
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
        self.shared.tokens.peek(|manager| manager.health(now))
    }

    /// How the connection stands, and has stood.
    pub fn standing(&self) -> Standing {
        self.shared.standing.borrow().clone()
    }
}

impl<T> Local<T> {
    /// A way in for more clones, which is none itself: while it is kept, a handle that is alone can
    /// still have a transaction, and the driver ends with the last clone.
    pub fn door(&self) -> Door<T> {
        Door { exchange: self.handle.exchange().clone(), shared: self.shared.clone() }
    }
}

/// Makes [`Local`]s of one connection: see [`Local::door`].
pub struct Door<T> {
    exchange: Arc<Exchange<RefCell<State>>>,
    shared: Rc<Shared<T>>,
}

impl<T> Door<T> {
    /// A client like the others. When the driver has ended, all that it does fails.
    pub fn enter(&self) -> Local<T> {
        Local { handle: Handle::new(self.exchange.clone()), shared: self.shared.clone() }
    }

    /// Whether one of them is in the middle of a transaction, or of a `WATCH`.
    pub fn has_session(&self) -> bool {
        self.exchange.is_in_session()
    }
}

impl<T> fmt::Debug for Door<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Door").field(&self.shared.standing.borrow()).finish()
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
        let standing = self.standing.borrow();
        let now = self.timer.now();
        standing.is_hopeless()
            && match standing.problem() {
                // A token that nobody has refused yet may be better than the one that was, or than
                // the one that there isn't; and so may one that is on its way.
                Some(Error::Login(_) | Error::Token(_)) => self.tokens.peek(|manager| {
                    let known = manager.pull(now) != Pull::FetchFirst;
                    let coming = manager.login(now).is_some() && !manager.is_worth_a_login(now);
                    !known && !coming
                }),
                _ => true,
            }
    }

    fn too_late(&self) -> Error {
        let problem = self.standing.borrow().problem().cloned();
        problem.unwrap_or_else(|| {
            if self.tokens.peek(|manager| manager.login(self.timer.now()).is_none()) {
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
        self.wake();
    }

    /// Wakes who waits for the first connection.
    fn wake(&self) {
        let waiting = core::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    fn fetched<E: SourceFailure>(&self, event: Event, error: Option<E>) {
        if let Event::FetchFailed { error: reason, .. } = event {
            let retryable = self.tokens.peek(|manager| manager.is_retryable(&reason));
            let error = match error.map(|error| error.to_string()) {
                Some(details) if details != reason.to_string() => FetchError::new(reason, details),
                _ => reason.into(),
            };
            let error = Arc::new(error);
            self.standing.borrow_mut().no_token(error.clone(), retryable);
            *self.fetch_failure.borrow_mut() = Some(error);
        } else {
            *self.fetch_failure.borrow_mut() = None;
        }
        self.report(&event);
    }
}

#[cfg(test)]
mod tests;
