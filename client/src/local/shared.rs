//! How a client or a subscriber stands, for all who have to do with it.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::ToString;
use core::cell::{Cell, RefCell};
use core::error::Error as StdError;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;

use super::boxed::Boxed;
use super::identity::Identity;
use crate::error::{Cause, ConnectError, Error};
use crate::{ConnectionStatus, NodeAddress, Reporter};
use redis_entraid_core::connection::{Config, Lost, Outcome};
use redis_entraid_core::drive::{Supervised, Workload, supervise, timeout_at};
use redis_entraid_core::event::Event;
use redis_entraid_core::policy::Jitter;
use redis_entraid_core::resp::Value;
use redis_entraid_core::supervisor::Supervisor;
use redis_entraid_core::time::{Instant, Timer};
use redis_entraid_core::transport::{self, Connector, Endpoint, Progress};

/// See the [module](self).
pub(super) struct Shared<T> {
    pub(super) identity: Rc<Identity<T>>,
    /// Where its connections go, if a redirection has led there.
    node: Option<NodeAddress>,
    pub(super) status: RefCell<ConnectionStatus>,
    /// The seed of its supervisor.
    seed: u64,
    /// How far the last dial has come.
    pub(super) progress: Progress,
    /// There is a transport.
    pub(super) connected: Cell<bool>,
    /// Waiting for one can't help.
    is_hopeless: Cell<bool>,
    /// No connection is made any more.
    is_over: Cell<bool>,
    /// How many wait for the first one.
    starting: Cell<u32>,
    /// Until when the first one is waited for.
    start_until: Instant,
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        self.identity.wake();
    }
}

impl<T: Timer> Shared<T> {
    pub(super) fn new(
        identity: Rc<Identity<T>>,
        node: Option<NodeAddress>,
        seed: u64,
        start_until: Instant,
    ) -> Self {
        let (status, progress) = (RefCell::new(ConnectionStatus::new()), Progress::new());
        let [connected, is_hopeless, is_over] = [const { Cell::new(false) }; 3];
        let starting = Cell::new(0);
        Self {
            identity,
            node,
            status,
            seed,
            progress,
            connected,
            is_hopeless,
            is_over,
            starting,
            start_until,
        }
    }

    /// What supervises its connections.
    pub(super) fn supervisor(&self) -> Supervisor<2> {
        Supervisor::new(self.identity.place.reconnect.clone(), Jitter::new(self.seed))
    }

    /// Another one for each client and subscriber.
    pub(super) const fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn now(&self) -> Instant {
        self.identity.timer.now()
    }

    /// Waits for the first connection, or login.
    pub(super) async fn started(&self, is_there: fn(&Self) -> bool) -> Result<(), Error> {
        let _waiting = self.identity.tokens.waiting();
        let _starting = Starting::new(&self.starting);
        self.identity.wake();
        let started = poll_fn(|cx| {
            if is_there(self) {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = self.status.borrow().problem()
                && self.is_hopeless.get()
            {
                return Poll::Ready(Err(error.clone()));
            }
            if self.is_over() {
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

    /// No connection is made any more: tells the callers that wait for the first one, or for the end.
    pub(super) fn end(&self) {
        self.is_over.set(true);
        self.identity.wake();
    }

    fn is_over(&self) -> bool {
        self.is_over.get() || self.identity.is_over()
    }

    /// Waits until no connection is made any more.
    pub(super) async fn ended(&self) {
        poll_fn(|cx| {
            if self.is_over() {
                return Poll::Ready(());
            }
            self.identity.wait(cx);
            Poll::Pending
        })
        .await;
    }

    /// Why it has ended.
    pub(super) fn over(&self) -> Error {
        // What ends at the deadline ends for a reason.
        if self.now() >= self.identity.until { self.too_late() } else { Error::Closed }
    }

    pub(super) fn too_late(&self) -> Error {
        let now = self.now();
        let has_token = self.identity.tokens.peek(|manager| manager.login(now).is_some());
        self.status.borrow().too_late(now, has_token, &self.endpoint())
    }

    /// Waits for `executed` as long as there is time. `dyn`: there is one copy of the code.
    pub(super) async fn in_time(
        &self,
        executed: Pin<&mut (dyn Future<Output = Result<(), Error>> + '_)>,
    ) -> Result<(), Error> {
        match timeout_at(&self.identity.timer, self.identity.until, executed).await {
            Some(executed) => executed,
            // How far it came is unknown.
            None if self.connected.get() => Err(Lost::new(Outcome::Unknown, None).into()),
            None => Err(Error::Unavailable { cause: Some(Box::new(self.too_late())) }),
        }
    }

    pub(super) fn endpoint(&self) -> Endpoint<'_> {
        let endpoint = self.identity.place.endpoint().with_progress(&self.progress);
        self.node.as_ref().map_or(endpoint, |node| node.endpoint(endpoint))
    }

    /// Keeps connections that behave by `config`. Whatever they are for: it is the same code.
    pub(super) async fn keep<K: Connector>(
        &self,
        connectors: [K; 2],
        config: &Config,
        supervised: &mut Supervised<dyn Workload + '_, 2>,
    ) {
        let Identity { place, timer, tokens, .. } = &*self.identity;
        let connections = place.connections(config);
        let connectors = &mut connectors.map(Boxed);
        supervise(connectors, &self.endpoint(), connections, timer, tokens, supervised).await;
    }
}

impl<T: Timer> Reporter for Shared<T> {
    fn status<S>(&self, change: impl FnOnce(&mut ConnectionStatus) -> S) -> S {
        change(&mut self.status.borrow_mut())
    }

    fn endpoint<S>(&self, use_it: impl FnOnce(&Endpoint<'_>) -> S) -> S {
        use_it(&Self::endpoint(self))
    }

    fn observe(&self, _: Instant, event: &Event) {
        self.status.borrow_mut().observe(event);
        if let Event::Disconnected { .. } = event
            && let Some(error) = self.identity.no_token()
        {
            // It ended for want of a token: the reason is why there is none.
            self.status.borrow_mut().no_token(error);
        }
        self.identity.report(event);
    }

    fn push(&self, push: Value<'_>) {
        if let Some(hook) = &self.identity.on_push {
            hook(push);
        }
    }

    fn dial_failed(&self, _: Instant, error: &dyn transport::ConnectError, event: &Event) {
        let Endpoint { address, port, .. } = Self::endpoint(self);
        let to = alloc::format!("{address}:{port}");
        let error = ConnectError::new(error.kind(), to, error.to_string());
        self.status.borrow_mut().dial_failed(error);
        self.identity.report(event);
    }

    /// Only the words outlive it.
    fn cause(&self, error: &dyn StdError) -> Cause {
        let words: Box<dyn StdError + Send + Sync> = error.to_string().into();
        Cause::from(words)
    }

    fn is_waited_for(&self) -> bool {
        self.starting.get() > 0
    }

    fn set_connected(&self, is_connected: bool) {
        self.connected.set(is_connected);
        self.identity.wake();
    }

    fn set_hopeless(&self, is_hopeless: bool) {
        self.is_hopeless.set(is_hopeless);
        self.identity.wake();
    }
}

/// A caller waits for the first connection, until this is dropped.
struct Starting<'s>(&'s Cell<u32>);

impl<'s> Starting<'s> {
    fn new(count: &'s Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
