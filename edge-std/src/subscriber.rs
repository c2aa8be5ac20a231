//! A subscriber: a connection of its own, on which messages come.

use core::fmt;
use core::future::{Future, pending};
use core::time::Duration;
use std::sync::{Arc, Mutex};

use redis_entraid_client::{Delivery, Health, Reader, SubscriberWorkload, SubscriptionState};
use redis_entraid_core::command::Topic;
use redis_entraid_core::time::{Clock, Instant};

use crate::clock::TokioClock;
use crate::connect::Connect;
use crate::engine::{Dialer, Engine};
use crate::error::Error;
use crate::status::Status;

/// Shared by the reader and the task.
type SubscriptionHub = redis_entraid_client::SubscriptionHub<Mutex<SubscriptionState>>;

/// Receives what is published, and stays subscribed whatever happens to its connection.
///
/// In a cluster, each shard channel comes by a connection to the node that has its slot, and follows it when it moves.
///
/// With RESP3 it logs in again in place. With RESP2 no subscriber may, so its connection is
/// replaced before its token ends: see
/// [`Builder::replacement`](crate::Builder::replacement).
///
/// ```no_run
/// # async fn example() -> Result<(), redis_entraid::Error> {
/// use redis_entraid::{Client, Delivery, Topic};
///
/// let mut news = Client::from_env()?.subscriber().await?;
/// news.subscribe(Topic::Channel, ["news"]).await?;
/// loop {
///     match news.next().await? {
///         Delivery::Message(message) => println!("{}", message.text()?),
///         Delivery::Gap | Delivery::Missed(_) => println!("something may be missing here"),
///         _ => {}
///     }
/// }
/// # }
/// ```
pub struct Subscriber {
    reader: Reader<Mutex<SubscriptionState>>,
    status: Arc<Status>,
    patience: Duration,
}

impl Subscriber {
    /// Waits for the first login.
    pub(crate) async fn started(&self, until: Instant) -> Result<(), Error> {
        self.status.started(until).await
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
        &mut self,
        topic: Topic,
        names: impl IntoIterator<Item = N>,
    ) -> Result<(), Error> {
        let known = self.reader.subscribe(topic, names);
        let known = tokio::time::timeout(self.patience, known).await;
        known.unwrap_or_else(|_| Err(self.status.lock().unconfirmed()))
    }

    /// Ends the subscription to `names`. What was published before may still come.
    pub fn unsubscribe<N: AsRef<[u8]>>(
        &mut self,
        topic: Topic,
        names: impl IntoIterator<Item = N>,
    ) {
        self.reader.unsubscribe(topic, names);
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// [`Error::Closed`] if its task has ended. Faults of network, server and tokens are no
    /// errors: it comes back by itself.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Delivery, Error> {
        self.reader.next().await
    }

    /// How token and connection stand. Never shows the token.
    pub fn health(&self) -> Health {
        Health::new(TokioClock.now(), self.status.identity.health(), &self.status.lock())
    }

    /// Why there is no connection at the moment, as far as that is known.
    pub fn problem(&self) -> Option<Error> {
        self.status.problem()
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscriber").field(&self.health()).finish()
    }
}

/// Tells the reader when the task ends in any way.
struct End(Arc<SubscriptionHub>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end(&Error::Closed);
    }
}

/// A subscriber that keeps up to `backlog` bytes of messages, and the task behind it.
pub(crate) fn subscriber<C: Connect>(
    dialer: Arc<Dialer<C>>,
    status: Arc<Status>,
    backlog: usize,
) -> (Subscriber, impl Future<Output = ()> + Send) {
    let hub = Arc::new(SubscriptionHub::new(backlog).following(crate::random()));
    let patience = dialer.config.command_timeout;
    let reader = Reader::new(hub.clone());
    let subscriber = Subscriber { reader, status: status.clone(), patience };
    let workload = SubscriberWorkload::new(hub.clone(), status.clone());
    let nodes = nodes(dialer.clone(), status.clone(), hub.clone());
    let supervisor = dialer.supervisor();
    let mut engine = Engine::new(dialer, status, supervisor, workload);
    let end = End(hub);
    // In this order, also if the future is dropped.
    let driver = async move {
        tokio::select! {
            () = engine.run() => {}
            // It ends with the reader, as the engine does.
            () = async { nodes.await; pending().await } => {}
        }
        drop(engine);
        drop(end);
    };
    (subscriber, driver)
}

/// Keeps connections to the nodes of a cluster, each in a task of its own: it ends when no shard channel is there any
/// more.
async fn nodes<C: Connect>(dialer: Arc<Dialer<C>>, status: Arc<Status>, hub: Arc<SubscriptionHub>) {
    while let Some(node) = hub.next_node().await {
        let status = status.at(node.address.address.clone(), node.address.port);
        let workload = SubscriberWorkload::at(hub.clone(), node, status.clone());
        let supervisor = dialer.supervisor().on_demand();
        let mut engine = Engine::new(dialer.clone(), status, supervisor, workload);
        tokio::spawn(async move { engine.run().await });
    }
}
