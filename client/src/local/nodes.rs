//! The nodes that redirections have led to, and what drives their connections.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Poll, Waker};

use super::identity::Identity;
use super::supervise::{Ends, commands};
use crate::command_queue::set_waker;
use crate::error::Error;
use crate::{CommandQueue, Handle, NodeAddress, QueueState, nodes, wake};
use redis_entraid_core::time::Timer;
use redis_entraid_core::transport::Connector;

/// A node, and where its handles meet what drives its connection.
type New = (NodeAddress, Arc<CommandQueue<RefCell<QueueState>>>);

/// See the [module](self).
pub(super) struct Nodes {
    known: RefCell<nodes::Nodes<RefCell<QueueState>>>,
    /// Those whose connections are not driven yet.
    new: RefCell<Vec<New>>,
    driver: RefCell<Option<Waker>>,
}

impl Nodes {
    pub(super) fn new(home: Arc<CommandQueue<RefCell<QueueState>>>) -> Self {
        let (new, driver) = Default::default();
        Self { known: RefCell::new(nodes::Nodes::new(home)), new, driver }
    }

    /// A handle on the connection to `node`.
    pub(super) fn handle(&self, node: &NodeAddress) -> Handle<RefCell<QueueState>> {
        nodes::Nodes::handle(&self.known, node, |queue| {
            self.new.borrow_mut().push((node.clone(), queue));
            wake(self.driver.take());
        })
    }

    /// Drives the connections to them beside the client's `own`, until that ends and they have answered
    /// the numbers that they got: a handle of the client has the same number at each node.
    pub(super) async fn keep<T: Timer, K: Connector + Clone>(
        &self,
        mut own: Pin<&mut dyn Future<Output = ()>>,
        identity: &Rc<Identity<T>>,
        connector: &K,
    ) {
        let mut open: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
        let mut is_closing = false;
        poll_fn(|cx| {
            if !is_closing && own.as_mut().poll(cx).is_ready() {
                is_closing = true;
                nodes::Nodes::close(&self.known);
            }
            set_waker(&mut self.driver.borrow_mut(), cx);
            for new in self.new.take() {
                open.push(Box::pin(keep(identity, connector.clone(), new)));
            }
            open.retain_mut(|node| node.as_mut().poll(cx).is_pending());
            if is_closing && open.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await
    }

    /// Records why nothing will drive them any more.
    pub(super) fn end(&self, error: &Error) {
        nodes::Nodes::close(&self.known);
        for (_, queue) in self.new.take() {
            queue.end(error);
        }
    }
}

/// Drives the connection to a node for as long as it has handles.
async fn keep<T: Timer, K: Connector + Clone>(
    identity: &Rc<Identity<T>>,
    connector: K,
    (node, queue): New,
) {
    let (shared, config) = identity.share(Some(node));
    let config = config.for_commands();
    let _ends = Ends { queue: queue.clone(), shared: shared.clone(), nodes: None };
    let supervisor = shared.supervisor().on_demand();
    commands(&shared, &config, &queue, supervisor, connector).await;
}
