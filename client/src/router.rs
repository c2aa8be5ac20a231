//! The router of a client: which node of a cluster a command is for, and the connections to the nodes.
//!
//! A server without a cluster never says `MOVED`, and then all commands go where the client connects: nothing is
//! asked, and nothing is kept. The first `MOVED` says that there is a cluster. From then on the map of its slots
//! is known, and a command goes to the node that has its key.

pub(crate) mod cluster;
mod map_request;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::command_queue::{CommandQueue, QueueState};
use super::lock::Lock;
use cluster::Cluster;
pub(super) use cluster::PATIENCE;
pub use map_request::request_map;
use redis_entraid_core::cluster::{Policy, Route, Slot, Whom};
use redis_entraid_core::resp::{Node, Value};
use redis_entraid_core::time::Instant;
use redis_entraid_core::transport::Endpoint;

/// Where a node of a cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// What is dialed; nothing is what the client itself dials.
    pub address: Option<Arc<str>>,
    /// Its port.
    pub port: u16,
}

impl NodeAddress {
    /// As a cluster names a node.
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self { address: named(host).map(Arc::from), port }
    }

    /// Its endpoint, for a client of `endpoint`: the certificate is for the same name.
    pub fn endpoint<'e>(&'e self, endpoint: Endpoint<'e>) -> Endpoint<'e> {
        let address = self.address.as_deref().unwrap_or(endpoint.address);
        endpoint.redirected(address, self.port)
    }
}

/// The host by which a cluster names a node, unless that is what the client itself dials.
pub(super) fn named(host: &str) -> Option<&str> {
    Some(host).filter(|host| !host.is_empty())
}

/// What a host does for the router of a client.
pub trait RouterHost<L: Lock<QueueState>> {
    /// How the router is shared by the handles of a client.
    type Router: Lock<Router<L>>;

    /// The router.
    fn router(&self) -> &Self::Router;

    /// Keeps a connection to `node` for the commands of `queue`, which is dialed when there is one.
    fn start(&self, node: &NodeAddress, queue: Arc<CommandQueue<L>>);

    /// Runs [`request_map`] beside the caller, to its end.
    fn request_map(&self);
}

impl<L: Lock<QueueState>, H: RouterHost<L>> RouterHost<L> for &H {
    type Router = H::Router;

    fn router(&self) -> &H::Router {
        (**self).router()
    }

    fn start(&self, node: &NodeAddress, queue: Arc<CommandQueue<L>>) {
        (**self).start(node, queue);
    }

    fn request_map(&self) {
        (**self).request_map();
    }
}

/// Which node a command is for, for all handles of a client.
pub struct Router<L: Lock<QueueState>> {
    home: Arc<CommandQueue<L>>,
    /// Nothing until there was a `MOVED`.
    cluster: Option<Box<Cluster<L>>>,
    is_closed: bool,
    seed: u64,
}

/// One of the connections of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The client's own.
    Home,
    /// That to a node.
    Node {
        /// The place of the node in the map.
        index: u16,
        /// Another connection has another number.
        number: u32,
    },
}

impl Place {
    /// Whether it is another connection to what had or has the place of `other` in the map.
    pub(super) fn is_instead_of(self, other: Self) -> bool {
        match (self, other) {
            (Self::Node { index, number }, Self::Node { index: its, number: other }) => {
                index == its && number != other
            }
            _ => false,
        }
    }
}

/// A connection that is to be kept: see [`RouterHost::start`].
pub(super) type New<L> = (NodeAddress, Arc<CommandQueue<L>>);

/// What the caller does when the router is not borrowed any more.
pub(super) struct Todo<L: Lock<QueueState>> {
    start: Option<New<L>>,
    request: bool,
    gone: Vec<Arc<CommandQueue<L>>>,
}

impl<L: Lock<QueueState>> Todo<L> {
    const fn nothing() -> Self {
        Self { start: None, request: false, gone: Vec::new() }
    }

    pub(super) fn done(self, host: &impl RouterHost<L>) {
        if let Some((node, queue)) = self.start {
            host.start(&node, queue);
        }
        if self.request {
            host.request_map();
        }
        self.gone.iter().for_each(|queue| queue.retire());
    }
}

impl<L: Lock<QueueState>> Router<L> {
    /// Routes the commands of a client whose own connection is that of `home`: commands have the same limits at
    /// nodes.
    pub fn new(home: Arc<CommandQueue<L>>) -> Self {
        let seed = home.limits().seed;
        Self { home, cluster: None, is_closed: false, seed }
    }

    /// Takes no more commands for any node: as [`Handle::close`](super::Handle::close) for each of them.
    pub fn close(router: &impl Lock<Self>) {
        let mut locked = router.lock();
        locked.is_closed = true;
        let cluster = locked.cluster.take();
        drop(locked);
        // It may wake a task.
        cluster.iter().flat_map(|cluster| cluster.queues()).for_each(|queue| queue.close());
    }

    /// The addresses of the primaries that are known. None unless there is a cluster.
    pub(super) fn primaries(&self) -> impl Iterator<Item = NodeAddress> {
        self.cluster.iter().flat_map(|cluster| cluster.primaries())
    }

    /// Where a command goes. One without keys goes home: two of them that one caller sends, as messages to publish, stay
    /// in order.
    pub(super) fn place(&mut self, now: Instant, slot: Option<Slot>) -> (Place, Todo<L>) {
        match (&mut self.cluster, slot) {
            (Some(cluster), Some(slot)) => cluster.place(now, slot, &self.home),
            _ => (Place::Home, Todo::nothing()),
        }
    }

    /// Where commands for this primary go.
    pub(super) fn primary(&mut self, node: &NodeAddress) -> (Option<Place>, Todo<L>) {
        let Self { cluster, home, .. } = self;
        let none = || (None, Todo::nothing());
        cluster.as_mut().map_or_else(none, |cluster| cluster.primary(node, home))
    }

    /// Takes in the reply to `CLUSTER SLOTS` of a node, or that there is none. Returns the connections to nodes that are
    /// gone, and whether it was of use.
    pub(super) fn told(
        &mut self,
        now: Instant,
        whom: Whom,
        reply: Option<Value<'_>>,
    ) -> (Vec<Arc<CommandQueue<L>>>, bool) {
        let Some(cluster) = &mut self.cluster else { return (Vec::new(), false) };
        let had_map = cluster.has_map();
        let (gone, policy) = cluster.replied(now, whom, reply);
        let is_cluster = match policy {
            Policy::Unknown => return (gone, false),
            Policy::Oss => true,
            // What says `MOVED` all the same, and hides its map, is one.
            _ => !had_map && cluster.primaries().next().is_some(),
        };
        self.home.set_cluster(is_cluster);
        if is_cluster {
            return (gone, true);
        }
        let cluster = self.cluster.take();
        (cluster.iter().flat_map(|cluster| cluster.queues()).cloned().collect(), true)
    }

    /// The same for a reply that nobody was asked for by [`request_map`].
    pub(super) fn told_by_home(
        &mut self,
        now: Instant,
        reply: Value<'_>,
    ) -> (Vec<Arc<CommandQueue<L>>>, bool) {
        if self.is_closed {
            return (Vec::new(), false);
        }
        let seed = self.seed;
        self.cluster.get_or_insert_with(|| Box::new(Cluster::new(seed))).asked_home(now);
        self.told(now, Whom::Seed, Some(reply))
    }

    /// The queue of a connection. One that takes no commands if there is no such connection any more.
    pub(super) fn queue(&self, index: u16, number: u32) -> Arc<CommandQueue<L>> {
        let queue = self.cluster.as_ref().and_then(|cluster| cluster.queue(index, Some(number)));
        queue.unwrap_or_else(|| {
            let gone = CommandQueue::with(self.home.limits());
            gone.close();
            Arc::new(gone)
        })
    }

    /// Learns by a `MOVED` or an `ASK` that came from `place` where a node is. Nothing if that can't be kept.
    pub(super) fn redirected(
        &mut self,
        now: Instant,
        place: Place,
        node: &Node<'_>,
        is_moved: bool,
    ) -> (Option<Place>, Todo<L>) {
        if self.is_closed {
            return (None, Todo::nothing());
        }
        let Self { cluster, home, seed, .. } = self;
        home.set_cluster(true);
        let cluster = cluster.get_or_insert_with(|| Box::new(Cluster::new(*seed)));
        cluster.redirected(now, place, node, is_moved, home)
    }

    /// Whether a handle is in the middle of a transaction, or of a `WATCH`, on any connection.
    pub(super) fn is_in_session(&self) -> bool {
        let mut nodes = self.cluster.iter().flat_map(|cluster| cluster.queues());
        self.home.is_in_session() || nodes.any(|queue| queue.is_in_session())
    }

    /// Notes that the map may be wrong.
    pub(super) fn suspect(&mut self, now: Instant) -> Todo<L> {
        self.cluster.as_mut().map_or(Todo::nothing(), |cluster| cluster.suspect(now))
    }

    /// The connection to a node has come to its end.
    pub(super) fn forget(&mut self, place: Place) {
        if let (Some(cluster), Place::Node { index, number }) = (&mut self.cluster, place) {
            cluster.forget(index, number);
        }
    }

    /// Whether the cluster has told its map, not only single slots by `MOVED`.
    pub(super) fn has_map(&self) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.has_map())
    }
}

/// The slot that a command's keys have, or none; or that it can't be sent, since there are several.
pub(super) const fn slot_of(route: Route) -> Result<Option<Slot>, ()> {
    match route {
        Route::Slot(slot) => Ok(Some(slot)),
        Route::CrossSlot => Err(()),
        _ => Ok(None),
    }
}

impl<L: Lock<QueueState>> fmt::Debug for Router<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.primaries()).finish()
    }
}
