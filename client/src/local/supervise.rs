//! What drives the connections of a client: its own, and those to nodes.

use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::RefCell;
use core::pin::pin;

use super::nodes::Nodes;
use super::shared::Shared;
use crate::{CommandQueue, CommandWorkload, QueueState};
use redis_entraid_core::connection::Config;
use redis_entraid_core::drive::{Supervised, either};
use redis_entraid_core::source::TokenSource;
use redis_entraid_core::supervisor::Supervisor;
use redis_entraid_core::time::Timer;
use redis_entraid_core::transport::Connector;

/// Drives a client for as long as it has handles, and its identity for as long as it has
/// subscribers.
pub(super) async fn run<T: Timer, K: Connector + Clone, S: TokenSource>(
    config: Config,
    ends: Ends<T>,
    nodes: Rc<Nodes>,
    connector: K,
    mut source: S,
) {
    let Ends { queue, shared, .. } = &ends;
    let identity = &shared.identity;
    let keeping = async {
        let supervisor = shared.supervisor();
        let own = pin!(commands(shared, &config, queue, supervisor, connector.clone()));
        nodes.keep(own, identity, &connector).await;
        shared.end();
        identity.alone().await;
    };
    // Pinned here: a future that is handed over has its room twice.
    let driving = pin!(either(identity.fetch(&mut source), keeping));
    identity.in_time(driving).await;
}

/// Keeps a connection for the commands of `queue`.
pub(super) async fn commands<T: Timer, K: Connector + Clone>(
    shared: &Rc<Shared<T>>,
    config: &Config,
    queue: &Arc<CommandQueue<RefCell<QueueState>>>,
    supervisor: Supervisor<2>,
    connector: K,
) {
    let workload = CommandWorkload::new(queue.clone(), shared.clone());
    let mut supervised = Supervised::new(supervisor, workload);
    shared.keep([connector.clone(), connector], config, &mut supervised).await;
}

/// Tells all who wait when the future that drives connections ends, in whatever way.
pub(super) struct Ends<T: Timer> {
    pub(super) queue: Arc<CommandQueue<RefCell<QueueState>>>,
    pub(super) shared: Rc<Shared<T>>,
    /// Those of the client itself.
    pub(super) nodes: Option<Rc<Nodes>>,
}

impl<T: Timer> Drop for Ends<T> {
    fn drop(&mut self) {
        let error = self.shared.over();
        self.queue.end(&error);
        if let Some(nodes) = &self.nodes {
            nodes.end(&error);
            self.shared.identity.end();
        }
    }
}
