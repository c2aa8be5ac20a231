//! The nodes of a cluster that redirections have led to.

use core::fmt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::client::{Exchange, Handle};

/// Where a node is: its address - none is the one that was connected to - and its port.
pub(crate) type Address = (Option<Arc<str>>, u16);

/// Starts the task that keeps a connection to a node, for the handles of an exchange.
type Start = Box<dyn Fn(Address, Arc<Exchange>) + Send + Sync>;

/// Connections to nodes, shared by the handles of a client. One ends with its last handle.
pub(crate) struct Nodes {
    start: Start,
    known: Mutex<HashMap<Address, Weak<Exchange>>>,
}

impl Nodes {
    pub(crate) fn new(start: Start) -> Arc<Self> {
        Arc::new(Self { start, known: Mutex::default() })
    }

    /// A handle on the connection to the node at `address`, which may have to be made.
    pub(crate) fn handle(&self, address: &Address) -> Handle {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let running = known.get(address).and_then(Weak::upgrade).map(Handle::new);
        running.filter(Handle::is_alive).unwrap_or_else(|| {
            known.retain(|_, exchange| exchange.strong_count() > 0);
            let exchange = Arc::new(Exchange::default());
            known.insert(address.clone(), Arc::downgrade(&exchange));
            // The task ends without a handle: there is one before it begins.
            let handle = Handle::new(exchange.clone());
            (self.start)(address.clone(), exchange);
            handle
        })
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").finish_non_exhaustive()
    }
}
