//! A way in for more clones of a client.

use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::RefCell;
use core::fmt;

use super::LocalClient;
use super::nodes::Nodes;

use super::shared::Shared;
use crate::{CommandQueue, Handle, QueueState, RouterHost, RoutingHandle};

/// Makes [`LocalClient`]s of one connection: see [`LocalClient::downgrade`].
pub struct WeakClient<T> {
    pub(super) queue: Arc<CommandQueue<RefCell<QueueState>>>,
    pub(super) shared: Rc<Shared<T>>,
    pub(super) nodes: Rc<Nodes>,
}

impl<T> WeakClient<T> {
    /// A client like the others. When the driver has ended, all that it does fails.
    pub fn enter(&self) -> LocalClient<T> {
        let handle = RoutingHandle::new(Handle::new(self.queue.clone()));
        LocalClient { handle, shared: self.shared.clone(), nodes: self.nodes.clone() }
    }

    /// Whether one of them is in the middle of a transaction, or of a `WATCH`.
    pub fn has_session(&self) -> bool {
        self.nodes.router().borrow().is_in_session()
    }
}

impl<T> fmt::Debug for WeakClient<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WeakClient").field(&self.shared.status.borrow()).finish()
    }
}
