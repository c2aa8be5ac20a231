//! The nodes of a cluster that redirections have led to.

use core::fmt;
use std::sync::{Arc, Mutex};

use redis_entraid_client::{NodeAddress, State};

use crate::client::{CommandQueue, Handle};

/// Starts the task that keeps a connection to a node, for the handles of an exchange.
type Start = Box<dyn Fn(&NodeAddress, Arc<CommandQueue>) + Send + Sync>;

/// Connections to nodes, shared by the handles of a client.
pub(crate) struct Nodes {
    start: Start,
    known: Mutex<redis_entraid_client::Nodes<Mutex<State>>>,
}

impl Nodes {
    pub(crate) fn new(home: Arc<CommandQueue>, start: Start) -> Arc<Self> {
        Arc::new(Self { start, known: Mutex::new(redis_entraid_client::Nodes::new(home)) })
    }

    /// A handle on the connection to the node at `address`, which may have to be made.
    pub(crate) fn handle(&self, address: &NodeAddress) -> Handle {
        let start = |exchange| (self.start)(address, exchange);
        redis_entraid_client::Nodes::handle(&self.known, address, start)
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").finish_non_exhaustive()
    }
}
