//! The nodes of a cluster, and what drives their connections.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Poll, Waker};

use super::identity::Identity;
use super::supervise::{Ends, commands};
use crate::command_queue::set_waker;
use crate::error::Error;
use crate::{CommandQueue, NodeAddress, QueueState, Router, RouterHost, request_map, wake};
use redis_entraid_core::time::Timer;
use redis_entraid_core::transport::Connector;

/// A node, and where its handles meet what drives its connection.
type New = (NodeAddress, Arc<CommandQueue<RefCell<QueueState>>>);

/// See the [module](self).
pub(super) struct Nodes {
    router: RefCell<Router<RefCell<QueueState>>>,
    /// Those whose connections are not driven yet.
    new: RefCell<Vec<New>>,
    /// The map is to be asked for.
    requested: Cell<bool>,
    driver: RefCell<Option<Waker>>,
}

impl Nodes {
    pub(super) fn new(home: Arc<CommandQueue<RefCell<QueueState>>>) -> Self {
        let (new, requested, driver) = Default::default();
        Self { router: RefCell::new(Router::new(home)), new, requested, driver }
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
        // It is rare, and would make all other drivers larger.
        let mut request: Option<Pin<Box<dyn Future<Output = ()> + '_>>> = None;
        let mut is_closing = false;
        poll_fn(|cx| {
            if !is_closing && own.as_mut().poll(cx).is_ready() {
                is_closing = true;
                Router::close(&self.router);
            }
            set_waker(&mut self.driver.borrow_mut(), cx);
            if self.requested.take() {
                request = Some(Box::pin(request_map(self, &identity.timer)));
            }
            if request.as_mut().is_some_and(|request| request.as_mut().poll(cx).is_ready()) {
                request = None;
            }
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
        Router::close(&self.router);
        for (_, queue) in self.new.take() {
            queue.end(error);
        }
    }
}

impl RouterHost<RefCell<QueueState>> for Nodes {
    type Router = RefCell<Router<RefCell<QueueState>>>;

    fn router(&self) -> &Self::Router {
        &self.router
    }

    fn start(&self, node: &NodeAddress, queue: Arc<CommandQueue<RefCell<QueueState>>>) {
        self.new.borrow_mut().push((node.clone(), queue));
        wake(self.driver.take());
    }

    fn request_map(&self) {
        self.requested.set(true);
        wake(self.driver.take());
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
