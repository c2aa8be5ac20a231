//! Slots on their way from one primary to another, by the commands that `redis-cli --cluster reshard`
//! sends.

use std::io::Result;
use std::ops::RangeInclusive;
use std::sync::Arc;

use redis_entraid_core::resp::Value;

use super::Cluster;
use super::node::Node;

/// So many keys of a slot are moved at once.
const KEYS: &[u8] = b"100";

/// How long a server may take to move them, in milliseconds.
const PATIENCE: &[u8] = b"10000";

/// Slots that are being moved. Until they are [finished](Self::finish), they stay so.
#[must_use = "slots are moved when it is finished"]
pub struct Migration<'e> {
    cluster: Cluster<'e>,
    slots: RangeInclusive<u16>,
    from: Arc<Node>,
    to: Arc<Node>,
}

impl<'e> Migration<'e> {
    pub(super) fn begin(
        cluster: Cluster<'e>,
        slots: RangeInclusive<u16>,
        from: Arc<Node>,
        to: Arc<Node>,
    ) -> Result<Self> {
        let this = Self { cluster, slots, from, to };
        // In this order: a command that is sent on with `ASKING` is served there.
        cluster.run(async || {
            this.set(&this.to, b"IMPORTING", &this.from).await?;
            this.set(&this.from, b"MIGRATING", &this.to).await
        })?;
        Ok(this)
    }

    /// Moves these keys, of whichever slot that is being moved.
    ///
    /// # Errors
    /// A server refuses.
    pub fn move_keys(&self, keys: &[&[u8]]) -> Result<()> {
        self.cluster.run(async || self.migrate(keys).await)
    }

    /// Moves all keys that are left, and tells all primaries who has the slots now.
    ///
    /// # Errors
    /// A server refuses, or ends.
    pub fn finish(self) -> Result<()> {
        self.cluster.run(async || {
            self.migrate_all().await?;
            self.set(&self.to, b"NODE", &self.to).await?;
            self.set(&self.from, b"NODE", &self.to).await?;
            for (node, _) in self.cluster.servers.primaries().await {
                if node.id != self.to.id && node.id != self.from.id {
                    self.set(&node, b"NODE", &self.to).await?;
                }
            }
            Ok(())
        })
    }

    /// Says `CLUSTER SETSLOT` of each slot to `node`.
    async fn set(&self, node: &Node, state: &[u8], other: &Node) -> Result<()> {
        let numbers: Vec<String> = self.slots.clone().map(|slot| slot.to_string()).collect();
        let command = |slot| vec![&b"CLUSTER"[..], b"SETSLOT", slot, state, other.id.as_bytes()];
        let commands: Vec<_> = numbers.iter().map(|slot| command(slot.as_bytes())).collect();
        node.redis.ask_all(&commands).await?;
        Ok(())
    }

    async fn migrate_all(&self) -> Result<()> {
        let mut left: Vec<String> = self.slots.clone().map(|slot| slot.to_string()).collect();
        while !left.is_empty() {
            let command = |slot| vec![&b"CLUSTER"[..], b"GETKEYSINSLOT", slot, KEYS];
            let commands: Vec<_> =
                left.iter().map(|slot: &String| command(slot.as_bytes())).collect();
            let replies = self.from.redis.ask_all(&commands).await?;
            for reply in &replies {
                let keys: Vec<&[u8]> =
                    Value::framed(reply).items().filter_map(|key| key.bytes().ok()).collect();
                self.migrate(&keys).await?;
            }
            let mut replies = replies.iter();
            left.retain(|_| {
                replies.next().is_some_and(|it| Value::framed(it).items().next().is_some())
            });
        }
        Ok(())
    }

    async fn migrate(&self, keys: &[&[u8]]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let (port, password) = (self.to.port.to_string(), self.cluster.servers.password());
        let mut words = vec![
            &b"MIGRATE"[..],
            b"127.0.0.1",
            port.as_bytes(),
            b"",
            b"0",
            PATIENCE,
            b"AUTH",
            password.as_bytes(),
            b"KEYS",
        ];
        words.extend(keys);
        self.from.redis.ask_all(&[words]).await?;
        Ok(())
    }
}

impl std::fmt::Debug for Migration<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Migration({:?} from {} to {})", self.slots, self.from.front, self.to.front)
    }
}
