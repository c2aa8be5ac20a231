//! A cluster of real servers behind the front, as Azure Managed Redis with the OSS cluster policy
//! looks to a client.
//!
//! Each server has a port of the front, and one more port, the endpoint, leads to any primary. Replies
//! that name servers name their ports of the front instead, and no replica: clients must not read from
//! them. Certificates have the name of the endpoint alone, so that a client dials the address that it
//! was told and verifies the name that it was configured with.

pub(crate) mod node;
mod resharding;
pub(crate) mod rewrite;
pub(crate) mod rules;
pub(crate) mod servers;
pub(crate) mod slots;

use std::io::{Error, ErrorKind, Result};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{Emulator, NodeCounts, amr, apart};
use node::Node;
pub use resharding::Migration;
use servers::Servers;

/// The longest that servers take to replace a primary by its replica.
const FAILOVER: Duration = Duration::from_secs(30);

/// The size of a cluster, and its ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// Servers with slots. Of fewer than three none is replaced by its replica: a majority of them
    /// has to agree.
    pub primaries: usize,
    /// Replicas of each.
    pub replicas: u8,
    /// How long a server is silent until the others take it for dead. A replica takes over about a
    /// second later.
    pub node_timeout: Duration,
    /// Whether `ASKING` is known. To Azure Managed Redis it isn't, and there are no reports of an `ASK`
    /// from there; to the servers behind this front, whose slots move by `ASK`, it is.
    pub asking: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { primaries: 3, replicas: 0, node_timeout: Duration::from_secs(1), asking: true }
    }
}

/// A primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    /// Its port of the front, at `127.0.0.1`.
    pub port: u16,
    /// The slots that it serves, in order.
    pub slots: Vec<RangeInclusive<u16>>,
}

/// What can be done to the cluster of an [`Emulator`]. Nodes are named by their ports of the front.
#[derive(Clone, Copy)]
pub struct Cluster<'e> {
    emulator: &'e Emulator,
    servers: &'e Servers,
}

impl Emulator {
    /// The cluster of real servers, if there is one.
    pub fn cluster(&self) -> Option<Cluster<'_>> {
        self.shared.stores.cluster().map(|servers| Cluster { emulator: self, servers })
    }
}

impl<'e> Cluster<'e> {
    /// The primaries that run, in the order in which their servers were started. One that was killed is
    /// none, and its slots are nobody's until a replica has taken over.
    pub fn primaries(&self) -> Vec<Primary> {
        let primaries = self.run(async || Ok(self.servers.primaries().await)).unwrap_or_default();
        let primary = |(node, slots): (Arc<Node>, _)| Primary { port: node.front, slots };
        primaries.into_iter().map(primary).collect()
    }

    /// The port of the primary that serves `slot`, if one does.
    pub fn primary_of(&self, slot: u16) -> Option<u16> {
        let serves = |primary: &Primary| primary.slots.iter().any(|slots| slots.contains(&slot));
        self.primaries().into_iter().find(serves).map(|primary| primary.port)
    }

    /// The ports of all nodes that run, replicas too.
    pub fn nodes(&self) -> Vec<u16> {
        self.servers.living().iter().map(|node| node.front).collect()
    }

    /// What was served at the port of a node.
    pub fn counts(&self, port: u16) -> NodeCounts {
        self.emulator.counts_at(port)
    }

    /// Moves slots with their keys from one primary to another, key by key, and tells all primaries.
    ///
    /// # Errors
    /// A node doesn't run, or a server refuses.
    pub fn move_slots(&self, slots: RangeInclusive<u16>, from: u16, to: u16) -> Result<()> {
        self.begin_move(slots, from, to)?.finish()
    }

    /// Begins to move slots: from here on, `from` answers `ASK` for keys that it doesn't have, and
    /// `TRYAGAIN` for commands of which it has some keys only.
    ///
    /// # Errors
    /// A node doesn't run, or a server refuses.
    pub fn begin_move(
        &self,
        slots: RangeInclusive<u16>,
        from: u16,
        to: u16,
    ) -> Result<Migration<'e>> {
        Migration::begin(*self, slots, self.node(from)?, self.node(to)?)
    }

    /// Kills a node as `kill -9` does. Its port refuses connections from here on, and of three primaries
    /// or more, one that has a replica is replaced by it.
    ///
    /// # Errors
    /// It doesn't run.
    pub fn kill(&self, port: u16) -> Result<()> {
        let node = self.node(port)?;
        self.run(async || {
            node.kill().await;
            Ok(())
        })
    }

    /// Kills a primary, and waits until its replica has taken over.
    ///
    /// # Errors
    /// It doesn't run, or no replica takes over within half a minute.
    pub fn fail_over(&self, port: u16) -> Result<()> {
        let (count, begun) = (self.primaries().len(), Instant::now());
        self.kill(port)?;
        while self.primaries().len() < count {
            if begun.elapsed() > FAILOVER {
                return Err(Error::new(ErrorKind::TimedOut, "no replica takes over"));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Cuts the connections of a node.
    ///
    /// # Errors
    /// It doesn't run.
    pub fn cut(&self, port: u16) -> Result<()> {
        self.node(port)?.cut();
        Ok(())
    }

    /// Starts another primary, which has no slots yet, and returns its port.
    ///
    /// # Errors
    /// It doesn't start, or the others don't take it in.
    pub fn join(&self) -> Result<u16> {
        let node = self.run(async || self.servers.join().await)?;
        if let (Some(listener), Some(runtime)) = (node.listener(), &self.emulator.runtime) {
            let port = amr::Port { listener, tls: true, node: Some(node.clone()) };
            runtime.spawn(amr::serve(self.emulator.shared.clone(), port));
        }
        Ok(node.front)
    }

    /// Puts a new node in the place of a primary, as the service does with a new machine: it joins, takes
    /// over all slots and replicas, and the old one is ended and forgotten. Returns the port of the new
    /// one; the old one's refuses connections from here on.
    ///
    /// # Errors
    /// The node doesn't run, or a server refuses.
    pub fn replace(&self, port: u16) -> Result<u16> {
        let old = self.node(port)?;
        let new = self.join()?;
        let slots = self.run(async || Ok(old.myself().await?.slots))?;
        for slots in slots {
            self.move_slots(slots, port, new)?;
        }
        let heir = self.node(new)?;
        self.run(async || self.servers.leave(&old, &heir).await)?;
        Ok(new)
    }

    fn node(&self, port: u16) -> Result<Arc<Node>> {
        let node = self.servers.living().into_iter().find(|node| node.front == port);
        node.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no node runs at port {port}")))
    }

    /// Does asynchronous work, whatever the caller's thread may do.
    fn run<T: Send>(&self, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.emulator.runtime {
            Some(runtime) => apart(|| runtime.block_on(work())),
            None => Err(Error::other("the emulator has ended")),
        }
    }
}

impl std::fmt::Debug for Cluster<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({:?})", self.nodes())
    }
}
