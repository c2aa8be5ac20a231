//! How a client or a subscriber stands, for all who have to do with it.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::task::Poll;

use super::identity::Identity;
use crate::error::{Cause, ConnectError, Error};
use crate::{ConnectionStatus, NodeAddress};
use redis_entraid_core::connection::{Config, Lost, Outcome};
use redis_entraid_core::drive::{Owner, keep, timeout_at};
use redis_entraid_core::event::Event;
use redis_entraid_core::manager::Pull;
use redis_entraid_core::reconnect::{Dial, Reconnect};
use redis_entraid_core::source::SourceError;
use redis_entraid_core::time::{Instant, Timer};
use redis_entraid_core::transport::{self, Connector, Endpoint, Progress};

/// See the [module](self).
pub(super) struct Shared<T> {
    pub(super) identity: Rc<Identity<T>>,
    /// Where its connections go, if a redirection has led there.
    node: Option<NodeAddress>,
    pub(super) status: RefCell<ConnectionStatus>,
    /// How far the dial has come that began then.
    pub(super) progress: Progress,
    dialing: Cell<Option<Instant>>,
    /// There is a transport.
    pub(super) connected: Cell<bool>,
    /// Until when the first one is waited for.
    start_until: Instant,
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        self.identity.wake();
    }
}

impl<T: Timer> Shared<T> {
    pub(super) const fn new(
        identity: Rc<Identity<T>>,
        node: Option<NodeAddress>,
        reconnect: Reconnect,
        start_until: Instant,
    ) -> Self {
        let status = RefCell::new(ConnectionStatus::new(reconnect));
        let (progress, dialing) = (Progress::new(), Cell::new(None));
        let connected = Cell::new(false);
        Self { identity, node, status, progress, dialing, connected, start_until }
    }

    pub(super) fn now(&self) -> Instant {
        self.identity.timer.now()
    }

    pub(super) fn problem(&self) -> Option<Error> {
        self.status.borrow().problem().cloned()
    }

    /// Waits for the first connection, or login.
    pub(super) async fn started(&self, is_there: impl Fn(&Self) -> bool) -> Result<(), Error> {
        let _waiting = self.identity.tokens.waiting();
        let started = poll_fn(|cx| {
            if is_there(self) {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = self.problem()
                && self.is_hopeless()
            {
                return Poll::Ready(Err(error));
            }
            if self.identity.is_over() {
                return Poll::Ready(Err(self.over()));
            }
            self.identity.wait(cx);
            Poll::Pending
        });
        match timeout_at(&self.identity.timer, self.start_until, started).await {
            Some(started) => started,
            None => Err(self.too_late()),
        }
    }

    pub(super) async fn logged_in(&self) -> Result<(), Error> {
        self.started(|shared| shared.status.borrow().connects() > 0).await
    }

    /// Whether trying again soon can't help.
    pub(super) fn is_hopeless(&self) -> bool {
        let status = self.status.borrow();
        let now = self.now();
        status.is_hopeless()
            && match status.problem() {
                // A token that nobody has refused yet may be better than the one that was, or than
                // the one that there isn't; and so may one that is on its way.
                Some(Error::Login(_) | Error::Token(_)) => self.identity.tokens.peek(|manager| {
                    let known = manager.pull(now) != Pull::FetchFirst;
                    let coming = manager.login(now).is_some() && !manager.is_worth_a_login(now);
                    !known && !coming
                }),
                _ => true,
            }
    }

    /// Why it has ended.
    pub(super) fn over(&self) -> Error {
        // What ends at the deadline ends for a reason.
        if self.now() >= self.identity.until { self.too_late() } else { Error::Closed }
    }

    pub(super) fn too_late(&self) -> Error {
        self.problem().unwrap_or_else(|| {
            if self.identity.tokens.peek(|manager| manager.login(self.now()).is_none()) {
                // The source has been silent all the time.
                return Error::Token(Arc::new(SourceError::TimedOut.into()));
            }
            match self.dialing.get() {
                Some(since) => {
                    let unanswered = self.endpoint().unanswered(self.now().since(since));
                    Error::Connect(Arc::new(self.undialed(&unanswered)))
                }
                None => Error::Unavailable { cause: None },
            }
        })
    }

    /// Waits for `executed` as long as there is time.
    pub(super) async fn in_time(
        &self,
        executed: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        match timeout_at(&self.identity.timer, self.identity.until, executed).await {
            Some(executed) => executed,
            // Nobody knows how far it has come.
            None if self.connected.get() => Err(Lost::new(Outcome::Unknown, None).into()),
            None => Err(Error::Unavailable { cause: Some(Box::new(self.too_late())) }),
        }
    }

    pub(super) fn endpoint(&self) -> Endpoint<'_> {
        let endpoint = self.identity.place.endpoint().with_progress(&self.progress);
        self.node.as_ref().map_or(endpoint, |node| node.endpoint(endpoint))
    }

    /// Keeps a connection that behaves by `config` for as long as `owner` wants one. Whoever that is:
    /// it is the same code for all of them.
    pub(super) async fn keep<K: Connector>(
        &self,
        connector: &mut K,
        config: &Config,
        owner: &mut dyn Owner<K::Error>,
    ) {
        let Identity { place, timer, tokens, .. } = &*self.identity;
        let connections = place.connections(config);
        keep(connector, &self.endpoint(), connections, timer, tokens, owner).await;
    }

    /// Notes why the connection breaks, of which only the words outlive it.
    pub(super) fn broke(&self, error: &dyn core::error::Error) -> Cause {
        let words: Box<dyn core::error::Error + Send + Sync> = error.to_string().into();
        let cause = Cause::from(words);
        self.status.borrow_mut().broke(cause.clone());
        cause
    }

    /// Takes in what happened to the connection, and tells who wants to hear.
    pub(super) fn observe(&self, event: &Event) {
        self.progress.observe(event);
        self.status.borrow_mut().observe(self.now(), event);
        if let Event::Disconnected { .. } = event
            && let Some((error, retryable)) = self.identity.no_token()
        {
            // It ended for want of a token: the reason is why there is none.
            self.status.borrow_mut().no_token(error, retryable);
        }
        self.identity.report(event);
    }

    /// When to dial.
    pub(super) fn dial(&self, now: Instant, wanted: bool) -> Dial {
        let dial = self.status.borrow().dial(now, wanted);
        if dial == Dial::Now {
            self.dialing.set(Some(now));
        }
        dial
    }

    /// Notes that there is a transport.
    pub(super) fn dialed(&self) {
        self.dialing.set(None);
    }

    /// Notes that no connection could be made.
    pub(super) fn dial_failed(&self, now: Instant, error: impl transport::ConnectError) {
        self.dialing.set(None);
        let event = self.status.borrow_mut().dial_failed(now, self.undialed(&error));
        self.identity.report(&event);
    }

    fn undialed(&self, error: &impl transport::ConnectError) -> ConnectError {
        let Endpoint { address, port, .. } = self.endpoint();
        ConnectError::new(error.kind(), alloc::format!("{address}:{port}"), error.to_string())
    }
}
