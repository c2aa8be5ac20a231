//! The connections to the nodes of a cluster.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis_entraid_client::{NodeAddress, QueueState, Router, RouterHost, request_map};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::client::CommandQueue;
use crate::clock::TokioClock;
use crate::status::Status;

/// Keeps a connection to a node, for the handles of a queue.
type Keep = dyn Fn(&NodeAddress, Arc<CommandQueue>) -> Task + Send + Sync;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Connections to nodes, shared by the handles of a client.
#[derive(Clone)]
pub(crate) struct Nodes(Arc<Shared>);

struct Shared {
    router: Mutex<Router<Mutex<QueueState>>>,
    status: Arc<Status>,
    runtime: Handle,
    keep: Box<Keep>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Nodes {
    /// Those of a client whose own connection is that of `home`, and stands as `status` says.
    pub(crate) fn new(
        home: Arc<CommandQueue>,
        status: Arc<Status>,
        runtime: Handle,
        keep: Box<Keep>,
    ) -> Self {
        let router = Mutex::new(Router::new(home));
        Self(Arc::new(Shared { router, status, runtime, keep, tasks: Mutex::default() }))
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more commands, and waits until those that were taken are answered.
    pub(crate) async fn close(&self) {
        Router::close(&self.0.router);
        let tasks = core::mem::take(&mut *self.tasks());
        for task in tasks {
            // One that was aborted has ended too.
            let _ = task.await;
        }
    }
}

impl RouterHost<Mutex<QueueState>> for Nodes {
    type Router = Mutex<Router<Mutex<QueueState>>>;

    fn router(&self) -> &Self::Router {
        &self.0.router
    }

    fn start(&self, node: &NodeAddress, queue: Arc<CommandQueue>) {
        let mut tasks = self.tasks();
        tasks.retain(|task| !task.is_finished());
        tasks.push(self.0.runtime.spawn((self.0.keep)(node, queue)));
    }

    fn request_map(&self) {
        let nodes = self.clone();
        self.0.runtime.spawn(async move {
            tokio::select! {
                () = request_map(&nodes, TokioClock) => {}
                // It keeps the connections to nodes.
                () = nodes.0.status.ended() => {}
            }
        });
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").finish_non_exhaustive()
    }
}
