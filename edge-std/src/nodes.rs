//! The nodes of a cluster that redirections have led to.

use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis_entraid_client::{NodeAddress, QueueState};
use tokio::task::JoinHandle;

use crate::client::{CommandQueue, Handle};

/// Starts the task that keeps a connection to a node, for the handles of a queue.
type Start = Box<dyn Fn(&NodeAddress, Arc<CommandQueue>) -> JoinHandle<()> + Send + Sync>;

/// Connections to nodes, shared by the handles of a client.
pub(crate) struct Nodes {
    start: Start,
    known: Mutex<redis_entraid_client::Nodes<Mutex<QueueState>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Nodes {
    pub(crate) fn new(home: Arc<CommandQueue>, start: Start) -> Arc<Self> {
        let known = Mutex::new(redis_entraid_client::Nodes::new(home));
        Arc::new(Self { start, known, tasks: Mutex::default() })
    }

    /// A handle on the connection to the node at `address`, which may have to be made.
    pub(crate) fn handle(&self, address: &NodeAddress) -> Handle {
        let start = |queue| {
            let mut tasks = self.tasks();
            tasks.retain(|task| !task.is_finished());
            tasks.push((self.start)(address, queue));
        };
        redis_entraid_client::Nodes::handle(&self.known, address, start)
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more commands, and waits until those that were taken are answered.
    pub(crate) async fn close(&self) {
        redis_entraid_client::Nodes::close(&self.known);
        let tasks = core::mem::take(&mut *self.tasks());
        for task in tasks {
            // One that was aborted has ended too.
            let _ = task.await;
        }
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").finish_non_exhaustive()
    }
}
