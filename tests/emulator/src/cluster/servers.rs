//! The real servers of a cluster: each has a port of the front before it.

use std::io::{Error, ErrorKind, Result};
use std::net::TcpListener as Probe;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::ClusterOptions;
use super::node::Node;
use crate::Store;
use crate::backend::redis::{Redis, Settings};
use crate::token::random_hex;

/// The time that servers get to agree, before we give up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The servers.
pub(crate) struct Servers {
    program: PathBuf,
    folder: PathBuf,
    password: String,
    options: ClusterOptions,
    /// All that there ever were.
    nodes: RwLock<Vec<Arc<Node>>>,
    /// Which one the next client of the endpoint lands on.
    next: AtomicUsize,
}

impl Servers {
    /// Starts servers and makes them a cluster.
    ///
    /// # Errors
    /// There is no `redis-server`, no primary is asked for, or the servers don't agree.
    pub(crate) async fn start(
        store: &Store,
        options: ClusterOptions,
        folder: &Path,
    ) -> Result<Self> {
        let program = store.program().ok_or_else(|| {
            let why =
                "a cluster needs a redis-server, which the built-in store is none: install one";
            Error::new(ErrorKind::NotFound, why)
        })?;
        let primaries = options.primaries;
        if primaries == 0 {
            let why = "a cluster has one primary or more: raise their number";
            return Err(Error::new(ErrorKind::InvalidInput, why));
        }
        let servers = Self {
            program,
            folder: folder.to_owned(),
            password: random_hex(),
            options,
            nodes: RwLock::default(),
            next: AtomicUsize::new(0),
        };
        let nodes = servers.launch(primaries * (1 + usize::from(options.replicas))).await?;
        *servers.nodes.write().expect("nobody panics with it") = nodes;
        servers.form(primaries).await?;
        Ok(servers)
    }

    /// Starts `count` servers that know nobody.
    async fn launch(&self, count: usize) -> Result<Vec<Arc<Node>>> {
        let mut tries = 0;
        let mut nodes = Vec::new();
        // They start side by side; one whose port was taken meanwhile is started anew.
        while nodes.len() < count {
            let launched =
                (nodes.len()..count).map(|_| self.spawn()).collect::<Result<Vec<_>>>()?;
            for (redis, port) in launched {
                match redis.wait().await {
                    Ok(()) => nodes.push(Arc::new(Node::new(redis, port).await?)),
                    Err(error) if tries == 5 => return Err(error),
                    Err(_) => tries += 1,
                }
            }
        }
        Ok(nodes)
    }

    fn spawn(&self) -> Result<(Redis, u16)> {
        let port = free_port()?;
        let folder = self.folder.join(format!("node-{port}"));
        std::fs::create_dir_all(&folder)?;
        let mut settings = Settings::new(self.program.clone(), &folder);
        settings.password.clone_from(&self.password);
        settings.more = vec![
            ("port", port.to_string()),
            ("bind", "127.0.0.1".to_owned()),
            ("masterauth", self.password.clone()),
            ("cluster-enabled", "yes".to_owned()),
            ("cluster-node-timeout", self.options.node_timeout.as_millis().to_string()),
            // A shard that is down takes no other one with it.
            ("cluster-require-full-coverage", "no".to_owned()),
            // Replicas stay where they are put, and take over however old their data is.
            ("cluster-allow-replica-migration", "no".to_owned()),
            ("cluster-replica-validity-factor", "0".to_owned()),
            ("repl-diskless-sync-delay", "0".to_owned()),
        ];
        Ok((Redis::launch(settings)?, port))
    }

    /// Makes the servers a cluster: so many primaries, and replicas.
    async fn form(&self, primaries: usize) -> Result<()> {
        let nodes = self.nodes();
        for (at, node) in nodes.iter().take(primaries).enumerate() {
            // `ADDSLOTSRANGE` is newer than some servers.
            let share = at * 16_384 / primaries..(at + 1) * 16_384 / primaries;
            let slots: Vec<String> = share.map(|slot| slot.to_string()).collect();
            let words = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str));
            node.redis.ask(&words.collect::<Vec<_>>()).await?;
            // So that they needn't find out who is right.
            let epoch = (at + 1).to_string();
            node.redis.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
        }
        for (at, node) in nodes.iter().enumerate() {
            for other in nodes.iter().skip(at + 1) {
                node.meet(other).await?;
            }
        }
        self.acquainted().await?;
        for (at, node) in nodes.iter().enumerate().skip(primaries) {
            let primary = &nodes[at % primaries];
            node.redis.ask(&["CLUSTER", "REPLICATE", &primary.id]).await?;
        }
        for (at, node) in nodes.iter().enumerate() {
            until("the cluster isn't formed", async || {
                Ok(node.is_ready().await? && (at < primaries || node.is_in_sync().await?))
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until each knows all others.
    async fn acquainted(&self) -> Result<()> {
        let living = self.living();
        let ids: Vec<&str> = living.iter().map(|node| node.id.as_str()).collect();
        for node in &living {
            until("the nodes don't meet", async || node.knows(&ids).await).await?;
        }
        Ok(())
    }

    /// Starts another server and makes it a node of the cluster, without a slot.
    pub(crate) async fn join(&self) -> Result<Arc<Node>> {
        let known = self.living();
        let node = self.launch(1).await?.remove(0);
        self.nodes.write().expect("nobody panics with it").push(node.clone());
        for other in &known {
            node.meet(other).await?;
        }
        self.acquainted().await?;
        until("the new node isn't ready", async || node.is_ready().await).await?;
        Ok(node)
    }

    /// Ends a node that has no slots, and makes the others forget it. Its replicas become replicas of
    /// `heir`.
    pub(crate) async fn leave(&self, node: &Node, heir: &Node) -> Result<()> {
        for other in self.living() {
            let myself = other.myself().await?;
            if !myself.is_primary && myself.primary == node.id {
                other.redis.ask(&["CLUSTER", "REPLICATE", &heir.id]).await?;
            }
        }
        node.kill().await;
        for other in self.living() {
            other.redis.ask(&["CLUSTER", "FORGET", &node.id]).await?;
        }
        Ok(())
    }

    /// All that there ever were.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.read().expect("nobody panics with it").clone()
    }

    /// Those that run.
    pub(crate) fn living(&self) -> Vec<Arc<Node>> {
        self.nodes().into_iter().filter(|node| !node.is_gone()).collect()
    }

    /// The primaries that run, with their slots.
    pub(crate) async fn primaries(&self) -> Vec<(Arc<Node>, Vec<RangeInclusive<u16>>)> {
        let mut primaries = Vec::new();
        for node in self.living() {
            // One that is being killed isn't one any more.
            if let Ok(myself) = node.myself().await
                && myself.is_primary
            {
                primaries.push((node, myself.slots));
            }
        }
        primaries
    }

    /// The one behind `port` of the front; if no node has it, it is an endpoint, which leads to any
    /// primary.
    pub(crate) async fn behind(&self, port: u16) -> Result<Arc<Redis>> {
        let nodes = self.nodes();
        if let Some(node) = nodes.iter().find(|node| node.front == port) {
            return Ok(node.redis.clone());
        }
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        for at in 0..nodes.len() {
            let node = &nodes[(start + at) % nodes.len()];
            if !node.is_gone()
                && let Ok(myself) = node.myself().await
                && myself.is_primary
                && !myself.slots.is_empty()
            {
                return Ok(node.redis.clone());
            }
        }
        Err(ErrorKind::ConnectionRefused.into())
    }

    /// The port of the front before the server at `port`.
    pub(crate) fn front(&self, port: u16) -> Option<u16> {
        let nodes = self.nodes.read().expect("nobody panics with it");
        nodes.iter().find(|node| node.port == port).map(|node| node.front)
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// Ends all processes.
    pub(crate) fn kill(&self) {
        self.nodes().iter().for_each(|node| node.redis.kill());
    }
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, is: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let patience = Instant::now() + PATIENCE;
    while !is().await? {
        if Instant::now() > patience {
            return Err(Error::new(ErrorKind::TimedOut, format!("{what} within {PATIENCE:?}")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A port that nobody uses, and whose cluster bus nobody uses: 10,000 above it, where servers of each
/// version have it. Below those that systems give out by themselves.
fn free_port() -> Result<u16> {
    /// From a port by chance on, so that processes side by side try others; and each once, since a
    /// server that was started a moment ago doesn't listen yet.
    static NEXT: LazyLock<AtomicUsize> = LazyLock::new(|| {
        AtomicUsize::new(usize::from_str_radix(&random_hex()[..4], 16).unwrap_or_default())
    });
    const PORTS: std::ops::Range<u16> = 11_000..22_700;
    for _ in 0..1000 {
        let port = PORTS.clone().nth(NEXT.fetch_add(1, Ordering::Relaxed) % PORTS.len());
        let port = port.unwrap_or(PORTS.start);
        let is_free = |port| Probe::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return Ok(port);
        }
    }
    Err(Error::new(ErrorKind::AddrInUse, "there is no free port for a redis-server"))
}
