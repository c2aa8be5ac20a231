//! A subscriber for hosts with one thread.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;
use core::time::Duration;

use super::identity::Identity;
use super::settings::Settings;
use super::shared::Shared;
use crate::error::Error;
use crate::{
    ConnectionStatus, Delivery, Health, Reader, Reporter, SubscriberNode, SubscriberWorkload,
    SubscriptionHub, SubscriptionState,
};
use redis_entraid_core::command::Topic;
use redis_entraid_core::connection::Config;
use redis_entraid_core::drive::{Supervised, Workload, either, timeout_at};
use redis_entraid_core::source::TokenSource;
use redis_entraid_core::supervisor::Supervisor;
use redis_entraid_core::time::Timer;
use redis_entraid_core::transport::Connector;

/// Is told what is published, and stays subscribed through all that happens to its connection, which
/// its driver keeps. In a cluster, each shard channel comes by a connection to the node that has its slot, and
/// follows it when it moves.
///
/// With RESP3 it logs in again in place. With RESP2 no subscriber may, so its connection is
/// replaced before its token ends, as [`Replacement`](redis_entraid_core::connection::Replacement) says. All
/// its methods may be called while others wait.
pub struct Subscriber<T> {
    reader: Reader<RefCell<SubscriptionState>>,
    shared: Rc<Shared<T>>,
    patience: Duration,
}

impl<T: Timer + 'static> Subscriber<T> {
    /// Makes a subscriber with an identity of its own, and the future that drives it, which ends
    /// with the subscriber. With a `snapshot` of an earlier token, that serves as long as it lives.
    ///
    /// One that shares the identity of a client is [`LocalClient::subscriber`](super::LocalClient::subscriber).
    pub fn new<K, S>(
        settings: Settings,
        timer: T,
        connector: K,
        mut source: S,
        snapshot: Option<&[u8]>,
    ) -> (Self, impl Future<Output = ()> + use<T, K, S>)
    where
        K: Connector + Clone,
        S: TokenSource,
    {
        let identity = Identity::new(settings, timer, &source, snapshot);
        let (subscriber, connections) = Self::made(&identity);
        let driver = async move {
            let fetching = identity.fetch(&mut source);
            let driving = pin!(either(fetching, connections.keep(connector)));
            if identity.in_time(driving).await {
                connections.too_late();
            }
        };
        (subscriber, driver)
    }

    /// One more with the same identity.
    pub(super) fn of<K>(
        identity: &Rc<Identity<T>>,
        connector: K,
    ) -> (Self, impl Future<Output = ()> + use<T, K>)
    where
        K: Connector + Clone,
    {
        let (subscriber, connections) = Self::made(identity);
        let identity = identity.clone();
        let driver = async move {
            let driving = pin!(connections.keep(connector));
            if identity.in_time(driving).await {
                connections.too_late();
            }
        };
        (subscriber, driver)
    }

    fn made(identity: &Rc<Identity<T>>) -> (Self, Connections<T>) {
        let (shared, config) = identity.share(None);
        let config = config.for_subscriptions();
        let hub = SubscriptionHub::new(identity.place.backlog);
        // It is the same type where there are threads.
        #[allow(clippy::arc_with_non_send_sync)]
        let hub = Arc::new(match identity.place.follow_moved {
            true => hub.following(shared.seed()),
            false => hub,
        });
        let reader = Reader::new(hub.clone());
        let patience = config.command_timeout;
        (Self { reader, shared: shared.clone(), patience }, Connections { shared, hub, config })
    }

    /// Waits until the server has accepted the login.
    ///
    /// # Errors
    /// [`Error`] if there is none: at once if trying again can't help, and at the start timeout
    /// else. A subscriber that is kept may then still receive something.
    pub async fn logged_in(&self) -> Result<(), Error> {
        self.shared.logged_in().await
    }

    /// Subscribes to `names`, and waits until the server has confirmed it.
    ///
    /// # Errors
    /// [`Error::Server`] if it is refused. [`Error::Unavailable`] if there is no connection for
    /// as long as a command may take, [`Error::Unconfirmed`] if there is one and the server doesn't
    /// answer: then the request stands, and is repeated until it works.
    ///
    /// # Cancel safety
    /// If the future is dropped, `names` are still wanted. What the server then says of them, if
    /// it refuses, is a [`Delivery::Refused`].
    pub async fn subscribe<N: AsRef<[u8]>>(
        &self,
        topic: Topic,
        names: impl IntoIterator<Item = N>,
    ) -> Result<(), Error> {
        let timer = &self.shared.identity.timer;
        let by = timer.now().plus(self.patience);
        let known = timeout_at(timer, by, self.reader.subscribe(topic, names)).await;
        known.unwrap_or_else(|| Err(self.shared.status.borrow().unconfirmed()))
    }

    /// Ends the subscription to `names`. What was published before may still come.
    pub fn unsubscribe<N: AsRef<[u8]>>(&self, topic: Topic, names: impl IntoIterator<Item = N>) {
        self.reader.unsubscribe(topic, names);
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// [`Error::Closed`] if its driver has ended, or its client's, and another one at the deadline,
    /// if there is one. Faults of network, server and tokens are no errors: it comes back by
    /// itself.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&self) -> Result<Delivery, Error> {
        self.reader.next().await
    }

    /// How token and connection stand. Never shows the token.
    pub fn health(&self) -> Health {
        let now = self.shared.now();
        let token = self.shared.identity.tokens.peek(|manager| manager.health(now));
        Health::new(self.shared.now(), token, &self.shared.status.borrow())
    }

    /// How the connection stands, and has stood.
    pub fn status(&self) -> ConnectionStatus {
        self.shared.status.borrow().clone()
    }

    /// Why there is no connection at the moment, as far as that is known.
    pub fn problem(&self) -> Option<Error> {
        self.shared.problem()
    }
}

/// The connections of a subscriber: one, one for each node of a cluster that has shard channels, and another one while
/// that takes the place of one of them.
struct Connections<T: Timer> {
    shared: Rc<Shared<T>>,
    hub: Arc<SubscriptionHub<RefCell<SubscriptionState>>>,
    config: Config,
}

impl<T: Timer> Connections<T> {
    /// Everything is over.
    fn too_late(&self) {
        self.hub.end(&self.shared.too_late());
    }

    /// Keeps them for as long as the reader exists, and tokens are fetched.
    async fn keep<K: Connector + Clone>(&self, connector: K) {
        let Self { shared, hub, config } = self;
        let workload = SubscriberWorkload::new(hub.clone(), shared.clone());
        let own = listen(shared, config, shared.supervisor(), workload, connector.clone());
        let keeping = pin!(either(own, self.keep_nodes(&connector)));
        either(shared.ended(), keeping).await;
    }

    /// Keeps those to nodes.
    async fn keep_nodes<K: Connector + Clone>(&self, connector: &K) {
        let mut next = pin!(self.hub.next_node());
        let mut open: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
        poll_fn(|cx| {
            while let Poll::Ready(node) = next.as_mut().poll(cx) {
                let Some(node) = node else { return Poll::Ready(()) };
                open.push(Box::pin(self.keep_node(node, connector.clone())));
                next.set(self.hub.next_node());
            }
            open.retain_mut(|node| node.as_mut().poll(cx).is_pending());
            Poll::Pending
        })
        .await
    }

    async fn keep_node<K: Connector + Clone>(&self, node: SubscriberNode, connector: K) {
        let (shared, config) = self.shared.identity.share(Some(node.address.clone()));
        let config = config.for_subscriptions();
        let workload = SubscriberWorkload::at(self.hub.clone(), node, shared.clone());
        let supervisor = shared.supervisor().on_demand();
        listen(&shared, &config, supervisor, workload, connector).await;
    }
}

/// Keeps a connection for as long as `workload` needs one.
async fn listen<T: Timer, K: Connector + Clone>(
    shared: &Shared<T>,
    config: &Config,
    supervisor: Supervisor<2>,
    workload: impl Workload,
    connector: K,
) {
    let mut supervised = Supervised::new(supervisor, workload);
    shared.keep([connector.clone(), connector], config, &mut supervised).await;
}

impl<T: Timer> Drop for Connections<T> {
    fn drop(&mut self) {
        self.shared.end();
        self.hub.end(&Error::Closed);
    }
}

impl<T> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscriber").field(&self.shared.status.borrow()).finish()
    }
}
