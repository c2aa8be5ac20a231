//! Which node of a cluster has which shard channels of a subscriber, and when the cluster is asked.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::Waker;
use core::time::Duration;

use crate::NodeAddress;
use crate::router::PATIENCE;
use crate::router::cluster::{Map, REQUEST, address, empty_map, map_schedule, take_map};
use redis_entraid_core::cluster::{
    AskMap, MapSchedule, Policy, Primary, RedirectPolicy, Slot, Whom,
};
use redis_entraid_core::policy::{Backoff, Jitter};
use redis_entraid_core::resp::{Node, Value};
use redis_entraid_core::time::Instant;

/// The number of a node: another one has another number.
pub(super) type NodeNumber = u32;

/// What the subscriber itself dials: it has all that no other node has.
pub(super) const HOME: NodeNumber = 0;

/// What waits for its next attempt is at no node.
pub(super) const NOWHERE: NodeNumber = NodeNumber::MAX;

/// While a node has no connection, the cluster is asked again and again, less often with time, up to that.
const MAX_PATIENCE: Duration = Duration::from_secs(15);

/// So long a connection is kept for which there is no shard channel any more.
const LINGER: Duration = Duration::from_secs(10);

/// A connection that is younger leads where it should: dialing the same address again wouldn't help.
const FRESH: Duration = Duration::from_secs(10);

/// How long a node is believed that grants a channel, and shouldn't by the map. If that was wrong, twice as long the
/// next time.
const DOUBT: Duration = Duration::from_secs(5);

/// How often channels are asked for again at their nodes, where nobody can be asked for the map.
const INTERVAL: Duration = Duration::from_secs(40);

/// A node that has had shard channels of the subscriber.
pub(super) struct ShardNode {
    pub(super) number: NodeNumber,
    pub(super) address: NodeAddress,
    /// Drives its connection.
    pub(super) driver: Option<Waker>,
    /// A connection that takes the place of another has logged in.
    pub(super) heir: bool,
    /// Since when it has no connection, if it has none.
    away: Option<Instant>,
    /// Since when it has the connection that came last.
    since: Instant,
    channels: usize,
    /// Since when it has no channels.
    idle: Instant,
}

/// The request for the map.
struct Question {
    whom: Whom,
    /// What the map calls the node that is asked.
    here: Option<Arc<str>>,
    node: NodeNumber,
    since: Instant,
    is_sent: bool,
}

/// See the [module](self).
pub(super) struct ShardRouter {
    map: Map,
    schedule: MapSchedule,
    has_map: bool,
    pub(super) nodes: Vec<ShardNode>,
    made: NodeNumber,
    /// Nodes whose connections are not driven yet.
    new: Vec<NodeNumber>,
    /// Drivers of nodes that are not needed any more.
    gone: Vec<Waker>,
    question: Option<Question>,
    /// Nodes can't be asked for the map: with RESP2, one that has subscriptions takes no other command.
    is_mute: bool,
    /// The primary that home leads to, if that is known, and whether there is a connection.
    home: Option<Primary>,
    home_is_there: bool,
    pub(super) policy: RedirectPolicy,
    pub(super) jitter: Jitter,
    /// When the cluster was asked last for a node that is away, and when to ask for a node that is in doubt.
    asked_for_away: Instant,
    doubts_until: Instant,
    /// When all channels were asked for again at their nodes.
    checked: Instant,
    /// When it was told last what time it is, and when it is to be told again.
    now: Instant,
    pub(super) deadline: Instant,
}

/// How it stands with a channel, by the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// It is where it should be, as far as anybody knows.
    Well,
    /// It may be at another node.
    Doubtful,
    /// It is at another node.
    Elsewhere,
}

impl ShardRouter {
    pub(super) fn new(seed: u64, now: Instant, home_is_there: bool) -> Self {
        let max = Duration::from_millis(500);
        let backoff = Backoff { max, ..RedirectPolicy::default().backoff };
        Self {
            map: empty_map(),
            schedule: map_schedule(Jitter::new(seed)),
            has_map: false,
            nodes: Vec::new(),
            made: HOME,
            new: Vec::new(),
            gone: Vec::new(),
            question: None,
            is_mute: false,
            home: None,
            home_is_there,
            // As long as a channel is wanted, it is tried.
            policy: RedirectPolicy {
                max_attempts: u32::MAX,
                asking: false,
                backoff,
                ..RedirectPolicy::default()
            },
            jitter: Jitter::new(Jitter::mix(seed)),
            asked_for_away: now,
            doubts_until: Instant::FAR_FUTURE,
            checked: now,
            now,
            deadline: Instant::FAR_FUTURE,
        }
    }

    pub(super) fn node(&mut self, number: NodeNumber) -> Option<&mut ShardNode> {
        self.nodes.iter_mut().find(|node| node.number == number)
    }

    fn known(&self, number: NodeNumber) -> Option<&ShardNode> {
        self.nodes.iter().find(|node| node.number == number)
    }

    /// The next node whose connection is to be driven.
    pub(super) fn next_new(&mut self) -> Option<(NodeNumber, NodeAddress)> {
        loop {
            let number = self.new.pop()?;
            if let Some(node) = self.node(number) {
                return Some((number, node.address.clone()));
            }
        }
    }

    pub(super) const fn has_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// Those who drive connections and are to be woken.
    pub(super) fn drivers(&mut self) -> impl Iterator<Item = Waker> + '_ {
        let Self { gone, nodes, .. } = self;
        gone.drain(..).chain(nodes.iter_mut().filter_map(|node| node.driver.take()))
    }

    /// The node at an address, which may be new.
    fn at(&mut self, wanted: NodeAddress) -> NodeNumber {
        if let Some(node) = self.nodes.iter().find(|node| node.address == wanted) {
            return node.number;
        }
        self.made += 1;
        let (number, now) = (self.made, self.now);
        self.nodes.push(ShardNode {
            number,
            address: wanted,
            driver: None,
            heir: false,
            away: Some(now),
            since: now,
            channels: 0,
            idle: now,
        });
        self.new.push(number);
        number
    }

    /// The primary that has a slot.
    fn primary_of(&self, slot: Slot) -> Option<Primary> {
        self.map.primary(self.map.primary_of(slot)?).copied()
    }

    /// The node that has a slot, home if that isn't known.
    pub(super) fn node_of(&mut self, slot: Slot) -> NodeNumber {
        match self.primary_of(slot) {
            None => HOME,
            Some(primary) if self.home_is_there && self.home == Some(primary) => HOME,
            Some(primary) => self.at(address(&primary)),
        }
    }

    /// Whether there is a connection to a node.
    pub(super) fn is_there(&self, number: NodeNumber) -> bool {
        match number {
            HOME => self.home_is_there,
            _ => self.known(number).is_some_and(|node| node.away.is_none()),
        }
    }

    /// Whether a node has had no connection for a while.
    pub(super) fn is_missed(&self, number: NodeNumber) -> bool {
        let away = self.known(number).and_then(|node| node.away);
        away.is_some_and(|since| self.now >= since.plus(PATIENCE))
    }

    /// How it stands with a channel of this slot at this node by the newest map; it was granted there, or `has_ended`.
    pub(super) fn placed(
        &self,
        slot: Slot,
        number: NodeNumber,
        has_ended: bool,
        believed: Option<Instant>,
    ) -> Placed {
        let Some(primary) = self.primary_of(slot) else { return Placed::Well };
        let is_right = match number {
            HOME => self.home == Some(primary),
            _ => self.known(number).is_some_and(|node| node.address == address(&primary)),
        };
        match (is_right, believed) {
            (true, _) => Placed::Well,
            // What it is told, it will say itself.
            _ if has_ended && self.is_there(number) => Placed::Well,
            _ if has_ended => Placed::Elsewhere,
            // Which primary home leads to, only its answers say.
            (_, Some(until)) if number != HOME && self.now >= until => Placed::Elsewhere,
            _ => Placed::Doubtful,
        }
    }

    /// Until when a node is believed that grants a channel, which was wrong so many times.
    pub(super) fn believes(&self, mistakes: u8) -> Instant {
        self.now.plus(DOUBT * (1 << mistakes.min(10)))
    }

    /// When the cluster is to be asked again.
    pub(super) fn asks_at(&mut self, at: Instant) {
        self.doubts_until = self.doubts_until.min(at);
    }

    /// When a channel goes on that is let go by a node: what that one has sent comes first.
    pub(super) fn lets_go(&self) -> Instant {
        self.now.plus(self.policy.backoff.max)
    }

    /// Home has granted a channel of this slot.
    pub(super) fn home_has(&mut self, slot: Slot) {
        // A single `MOVED` may be older than that.
        if self.has_map {
            self.home = self.primary_of(slot);
        }
    }

    /// A channel goes from one node to another.
    pub(super) fn moves(&mut self, from: Option<NodeNumber>, to: Option<NodeNumber>) {
        let now = self.now;
        if let Some(node) = from.and_then(|number| self.node(number)) {
            node.channels = node.channels.saturating_sub(1);
            node.idle = now;
            if node.channels == 0 {
                self.deadline = self.deadline.min(now.plus(LINGER));
            }
        }
        if let Some(node) = to.and_then(|number| self.node(number)) {
            node.channels += 1;
        }
    }

    /// Whether channels are to be at this node.
    pub(super) fn is_needed(&self, number: NodeNumber) -> bool {
        self.known(number).is_some_and(|node| node.channels > 0)
    }

    /// Learns by a `MOVED` from this node which node has a slot.
    pub(super) fn moved(&mut self, from: NodeNumber, node: &Node<'_>) -> NodeNumber {
        let here = self.node(from).and_then(|node| node.address.address.clone());
        let here = here.as_deref().unwrap_or_default();
        let moved = self.map.moved(node, here, |_| {});
        if moved.is_news() {
            self.schedule.moved(self.now, moved.primary());
        }
        let host = if node.address.is_empty() { here } else { node.address };
        let address = NodeAddress::new(host, node.port);
        self.at(address)
    }

    /// A new connection to a node has logged in.
    pub(super) fn comes(&mut self, number: NodeNumber) {
        let now = self.now;
        if number == HOME {
            (self.home, self.home_is_there) = (None, true);
            self.schedule.seed_is_new(self.now);
        } else if let Some(node) = self.node(number) {
            (node.away, node.since) = (None, now);
        }
    }

    /// Whether the connection to a node is to be made anew, which says that its own address has a slot.
    pub(super) fn is_stale(&mut self, number: NodeNumber) -> bool {
        let now = self.now;
        self.node(number).is_some_and(|node| now >= node.since.plus(FRESH))
    }

    /// There is no connection to a node any more.
    pub(super) fn goes(&mut self, number: NodeNumber) {
        let now = self.now;
        if number == HOME {
            (self.home, self.home_is_there) = (None, false);
        } else if let Some(node) = self.node(number) {
            node.away.get_or_insert(now);
        }
        if self.question.take_if(|question| question.node == number).is_some() {
            self.schedule.failed(now);
        }
    }

    /// Whether this node is to be asked for the map now.
    pub(super) fn take_question(&mut self, number: NodeNumber) -> bool {
        match &mut self.question {
            Some(question) if question.node == number && !question.is_sent => {
                question.is_sent = true;
                true
            }
            _ => false,
        }
    }

    /// Takes in what this node says to the question. Says whether there is a new map.
    pub(super) fn answered(&mut self, number: NodeNumber, reply: Option<Value<'_>>) -> bool {
        let Some(question) = self.question.take_if(|question| question.node == number) else {
            return false;
        };
        let here = question.here.as_deref().unwrap_or_default();
        let Self { map, schedule, now, .. } = self;
        let said = take_map((map, schedule), *now, (question.whom, here), reply, |_| {});
        let is_new = said == Policy::Oss;
        self.has_map |= is_new;
        is_new
    }

    /// This node can't be asked. Says whether none can: then channels are asked for again, those at nodes that are there
    /// too if it is time for that.
    pub(super) fn cannot_ask(&mut self, number: NodeNumber) -> Option<bool> {
        let question = self.question.as_mut().filter(|question| question.node == number)?;
        self.is_mute = true;
        if number != HOME && self.home_is_there {
            (question.whom, question.node, question.here) = (Whom::Seed, HOME, None);
            question.is_sent = false;
            return None;
        }
        self.question = None;
        // The channels' own answers take the place of the map.
        self.schedule.answered(self.now, Policy::Oss);
        let is_due = self.now >= self.checked.plus(INTERVAL);
        if is_due {
            self.checked = self.now;
        }
        Some(is_due)
    }

    /// It is that late.
    pub(super) fn is_at(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Does what is due. `in_use` says whether there are shard channels. Says whether drivers are to look.
    pub(super) fn poll(&mut self, in_use: bool) -> bool {
        let now = self.now;
        let Self { nodes, gone, .. } = self;
        let before = nodes.len();
        nodes.retain_mut(|node| {
            let is_kept = node.channels > 0 || now < node.idle.plus(LINGER);
            if !is_kept {
                gone.extend(node.driver.take());
            }
            is_kept
        });
        let mut has_changed = nodes.len() < before;
        let idle = nodes.iter().filter(|node| node.channels == 0);
        let mut deadline = idle.map(|node| node.idle.plus(LINGER)).min();
        let mut by = |at: Instant| deadline = Some(deadline.map_or(at, |known| known.min(at)));

        let away = self.nodes.iter().filter(|node| node.channels > 0);
        if let Some(since) = away.filter_map(|node| node.away).min() {
            let wait = (now.since(since) / 4).clamp(PATIENCE, MAX_PATIENCE);
            let mut due = since.plus(PATIENCE).max(self.asked_for_away.plus(wait));
            if now >= due {
                self.schedule.moved(now, None);
                (self.asked_for_away, due) = (now, now.plus(wait));
            }
            by(due);
        }
        if now >= self.doubts_until {
            self.doubts_until = Instant::FAR_FUTURE;
            self.schedule.moved(now, None);
        }
        by(self.doubts_until);
        if self.question.as_ref().is_some_and(|question| now >= question.since.plus(REQUEST)) {
            self.question = None;
        }
        let is_there = |primary: &Primary| {
            let address = address(primary);
            self.nodes.iter().find(|node| node.address == address && node.away.is_none())
        };
        let there = self.map.primaries().filter(|_| !self.is_mute);
        let there = there.filter(|(_, primary)| is_there(primary).is_some()).map(|(id, _)| id);
        let map = match self.schedule.poll(now, true, there) {
            AskMap::Wait { until } => until,
            AskMap::Now { .. } if !in_use => now.plus(INTERVAL),
            AskMap::Now { whom } => {
                let primary = match whom {
                    Whom::Seed => None,
                    Whom::Primary(id) => self.map.primary(id),
                };
                let node = primary.and_then(is_there);
                let (node, here) =
                    node.map_or((HOME, None), |node| (node.number, node.address.address.clone()));
                self.question = Some(Question { whom, here, node, since: now, is_sent: false });
                self.schedule.asked(now, whom);
                has_changed = true;
                now.plus(REQUEST)
            }
        };
        by(map);
        self.deadline = deadline.unwrap_or(Instant::FAR_FUTURE);
        has_changed
    }
}
