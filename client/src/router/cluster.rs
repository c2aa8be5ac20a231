//! The nodes of a cluster, and which has which slots.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::{New, NodeAddress, Place, Todo, named};
use crate::command_queue::{CommandQueue, QueueState};
use crate::growable::Growable;
use crate::lock::Lock;
use redis_entraid_core::cluster::{
    AskMap, Change, MapPolicy, MapSchedule, Policy, Primary, PrimaryId, Slot, SlotMap, SlotRange,
    Whom,
};
use redis_entraid_core::policy::Jitter;
use redis_entraid_core::resp::{Node, Value};
use redis_entraid_core::time::Instant;

/// So many primaries are kept that have no slots left: their connections serve again if slots come back.
const ROOM: usize = 16;

/// No cluster has more primaries: ten times what Azure Managed Redis has.
const MAX_PRIMARIES: usize = 2_000;

/// So long commands and shard channels wait for a node that can't be reached before the cluster is asked where its slots
/// are by now: a node that was replaced is gone for good.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);

/// How long one node may take to say where the slots are, before another one is asked.
pub(crate) const REQUEST: Duration = Duration::from_secs(1);

/// The least time from one request for the map to the next.
const FLOOR: Duration = Duration::from_millis(500);

/// So long a request for the map waits for its turn, longer than it takes after a `MOVED`, which doesn't wake one that
/// waits. Later than that, the next command makes another one: an idle client asks nobody.
const SOON: Duration = Duration::from_secs(1);

/// The slots of a cluster, on the heap.
pub(crate) type Map = SlotMap<Growable<SlotRange>, Growable<Primary>>;

/// A map of no slots.
pub(crate) fn empty_map() -> Map {
    SlotMap::new(Growable::new(0, Slot::COUNT.into()), Growable::new(ROOM, MAX_PRIMARIES))
}

/// When maps are asked for.
pub(crate) fn map_schedule(jitter: Jitter) -> MapSchedule {
    let policy = MapPolicy { timeout: REQUEST, floor: FLOOR, ..MapPolicy::default() };
    MapSchedule::new(policy, jitter)
}

/// See the [module](self).
pub(super) struct Cluster<L: Lock<QueueState>> {
    map: Map,
    schedule: MapSchedule,
    /// By their places in the map.
    nodes: Vec<Option<Connection<L>>>,
    /// How many connections there were.
    made: u32,
    has_map: bool,
    is_requested: bool,
    /// Commands have come since the map was asked for.
    in_use: bool,
}

/// A node that commands were sent to.
struct Connection<L: Lock<QueueState>> {
    queue: Arc<CommandQueue<L>>,
    number: u32,
    /// It is the client's own.
    is_home: bool,
}

/// What the request for the map does next.
pub(super) enum Request<L: Lock<QueueState>> {
    /// Waits.
    Wait(Instant),
    /// Asks this node.
    Ask(Whom, Arc<CommandQueue<L>>),
    /// Ends.
    Done,
}

impl<L: Lock<QueueState>> Cluster<L> {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            map: empty_map(),
            schedule: map_schedule(Jitter::new(seed)),
            nodes: Vec::new(),
            made: 0,
            has_map: false,
            is_requested: false,
            in_use: false,
        }
    }

    /// The client's own connection was asked for the map.
    pub(super) fn asked_home(&mut self, now: Instant) {
        self.schedule.asked(now, Whom::Seed);
    }

    pub(super) const fn has_map(&self) -> bool {
        self.has_map
    }

    pub(super) fn primaries(&self) -> impl Iterator<Item = NodeAddress> {
        self.map.primaries().map(|(_, primary)| address(primary))
    }

    /// The connections that are no other's.
    pub(super) fn queues(&self) -> impl Iterator<Item = &Arc<CommandQueue<L>>> {
        let own = self.nodes.iter().flatten().filter(|connection| !connection.is_home);
        own.map(|connection| &connection.queue)
    }

    /// The queue of a connection, of this number if that is said.
    pub(super) fn queue(&self, index: u16, number: Option<u32>) -> Option<Arc<CommandQueue<L>>> {
        let connection = self.nodes.get(usize::from(index))?.as_ref()?;
        let is_it = number.is_none_or(|number| number == connection.number);
        is_it.then(|| connection.queue.clone())
    }

    pub(super) fn place(
        &mut self,
        now: Instant,
        slot: Slot,
        home: &Arc<CommandQueue<L>>,
    ) -> (Place, Todo<L>) {
        self.in_use = true;
        if home.take_ended() {
            // There may have been a failover.
            self.schedule.seed_is_new(now);
        }
        let request = self.is_due(now);
        let Some(id) = self.map.primary_of(slot) else {
            return (Place::Home, Todo { request, ..Todo::nothing() });
        };
        let (place, start) = self.enter(id, home);
        (place, Todo { start, request, gone: Vec::new() })
    }

    pub(super) fn primary(
        &mut self,
        node: &NodeAddress,
        home: &Arc<CommandQueue<L>>,
    ) -> (Option<Place>, Todo<L>) {
        let id = self.map.find(node.address.as_deref().unwrap_or_default(), node.port);
        let Some(id) = id else { return (None, Todo::nothing()) };
        let (place, start) = self.enter(id, home);
        (Some(place), Todo { start, ..Todo::nothing() })
    }

    /// The connection to a primary of the map, which may have to be made.
    fn enter(&mut self, id: PrimaryId, home: &Arc<CommandQueue<L>>) -> (Place, Option<New<L>>) {
        let index = id.index();
        let place = |connection: &Connection<L>| match connection.is_home {
            true => Place::Home,
            false => Place::Node { index: index as u16, number: connection.number },
        };
        let Some(primary) = self.map.primary(id) else { return (Place::Home, None) };
        let known = self.nodes.get(index).and_then(Option::as_ref);
        let leads =
            |queue: &CommandQueue<L>, own| queue.is_at(named(primary.host()), primary.port(), own);
        if let Some(known) = known
            && (!known.is_home || leads(home, true))
        {
            return (place(known), None);
        }
        self.made = self.made.wrapping_add(1);
        let number = self.made;
        // One server may be known by its name, and be called by its address.
        let same = || {
            let others = self.nodes.iter().flatten().filter(|other| !other.is_home);
            others.map(|other| &other.queue).find(|queue| leads(queue, false))
        };
        let (connection, start) = if leads(home, true) {
            (Connection { queue: home.clone(), number, is_home: true }, None)
        } else if let Some(queue) = same() {
            (Connection { queue: queue.clone(), number, is_home: false }, None)
        } else {
            let queue = Arc::new(CommandQueue::with(home.limits()));
            queue.keep(true);
            let start = Some((address(primary), queue.clone()));
            (Connection { queue, number, is_home: false }, start)
        };
        let place = place(&connection);
        if self.nodes.len() <= index {
            self.nodes.resize_with(index + 1, || None);
        }
        if let Some(node) = self.nodes.get_mut(index) {
            *node = Some(connection);
        }
        (place, start)
    }

    pub(super) fn redirected(
        &mut self,
        now: Instant,
        from: Place,
        node: &Node<'_>,
        is_moved: bool,
        home: &Arc<CommandQueue<L>>,
    ) -> (Option<Place>, Todo<L>) {
        self.in_use = true;
        let said = match from {
            Place::Home => None,
            Place::Node { index, .. } => {
                let mut all = self.map.primaries();
                all.find(|(id, _)| id.index() == usize::from(index)).map(|(_, primary)| *primary)
            }
        };
        let here = said.as_ref().map_or("", Primary::host);
        let host = if node.address.is_empty() { here } else { node.address };
        let mut gone = Vec::new();
        let id = if is_moved {
            let Self { map, nodes, .. } = &mut *self;
            let moved = map.moved(node, here, |change| is_gone(nodes, change, &mut gone));
            if moved.is_news() {
                self.schedule.moved(now, moved.primary());
            }
            moved.primary()
        } else {
            self.map.learn(host, node.port).ok()
        };
        let request = self.is_due(now);
        let gone = self.unshared(gone);
        let Some(id) = id else { return (None, Todo { start: None, request, gone }) };
        let (place, start) = self.enter(id, home);
        (Some(place), Todo { start, request, gone })
    }

    pub(super) fn suspect(&mut self, now: Instant) -> Todo<L> {
        self.in_use = true;
        self.schedule.moved(now, None);
        Todo { request: self.is_due(now), ..Todo::nothing() }
    }

    pub(super) fn forget(&mut self, index: u16, number: u32) {
        if let Some(node) = self.nodes.get_mut(usize::from(index))
            && node.as_ref().is_some_and(|connection| connection.number == number)
        {
            *node = None;
        }
    }

    /// Whether the map is to be asked for, and nobody does so.
    fn is_due(&mut self, now: Instant) -> bool {
        if self.is_requested {
            return false;
        }
        let all = self.map.primaries().map(|(id, _)| id);
        // What a failure or a `MOVED` makes wait is waited for by who asks.
        self.is_requested = match self.schedule.poll(now, true, all) {
            AskMap::Now { .. } => true,
            AskMap::Wait { until } => until < now.plus(SOON),
        };
        self.is_requested
    }

    /// What the request for the map does next.
    pub(super) fn request(
        &mut self,
        now: Instant,
        home: &Arc<CommandQueue<L>>,
    ) -> (Request<L>, Option<New<L>>) {
        // One that can't be reached would hold the others up.
        let is_there = |id: &PrimaryId| {
            let node = self.nodes.get(id.index()).and_then(Option::as_ref);
            node.is_some_and(|connection| !connection.queue.is_untried())
        };
        let there = self.map.primaries().map(|(id, _)| id).filter(is_there);
        let whom = match self.schedule.poll(now, self.in_use, there) {
            AskMap::Now { whom } if self.in_use => whom,
            AskMap::Wait { until } if self.in_use && until < now.plus(SOON) => {
                return (Request::Wait(until), None);
            }
            _ => {
                self.is_requested = false;
                return (Request::Done, None);
            }
        };
        let (queue, start) = match whom {
            Whom::Seed => (home.clone(), None),
            Whom::Primary(id) => {
                let (_, start) = self.enter(id, home);
                (self.queue(id.index() as u16, None).unwrap_or_else(|| home.clone()), start)
            }
        };
        self.schedule.asked(now, whom);
        self.in_use = false;
        (Request::Ask(whom, queue), start)
    }

    /// Takes in the reply to the request, or that there is none. Returns the connections to nodes that are gone, and
    /// what it says of the cluster: nothing if it is of no use.
    pub(super) fn replied(
        &mut self,
        now: Instant,
        whom: Whom,
        reply: Option<Value<'_>>,
    ) -> (Vec<Arc<CommandQueue<L>>>, Policy) {
        let Self { map, schedule, nodes, .. } = self;
        let mut gone = Vec::new();
        let asked = match whom {
            Whom::Seed => None,
            Whom::Primary(id) => map.primary(id).copied(),
        };
        let here = asked.as_ref().map_or("", Primary::host);
        let told = |change: Change<'_>| is_gone(nodes, change, &mut gone);
        let said = take_map((map, schedule), now, (whom, here), reply, told);
        self.has_map |= said == Policy::Oss;
        (self.unshared(gone), said)
    }

    /// Those that are not kept for another node: one server may have had two names.
    fn unshared(&self, mut gone: Vec<Arc<CommandQueue<L>>>) -> Vec<Arc<CommandQueue<L>>> {
        gone.retain(|queue| !self.queues().any(|other| Arc::ptr_eq(other, queue)));
        gone
    }

    /// The request was given up.
    pub(super) const fn request_ended(&mut self) {
        self.is_requested = false;
    }
}

/// The connections end when no handle needs them.
impl<L: Lock<QueueState>> Drop for Cluster<L> {
    fn drop(&mut self) {
        self.queues().for_each(|queue| queue.keep(false));
    }
}

/// Takes out the connection to a node that is gone.
fn is_gone<L: Lock<QueueState>>(
    nodes: &mut [Option<Connection<L>>],
    change: Change<'_>,
    gone: &mut Vec<Arc<CommandQueue<L>>>,
) {
    if let Change::Gone(id, _) = change
        && let Some(node) = nodes.get_mut(id.index())
        && let Some(connection) = node.take()
        && !connection.is_home
    {
        gone.push(connection.queue);
    }
}

/// Takes in the reply to `CLUSTER SLOTS` of one that was asked, which is at `here`, or that there is none. Returns what it
/// says of the cluster: nothing if it is of no use.
pub(crate) fn take_map(
    (map, schedule): (&mut Map, &mut MapSchedule),
    now: Instant,
    (whom, here): (Whom, &str),
    reply: Option<Value<'_>>,
    told: impl FnMut(Change<'_>),
) -> Policy {
    let said = match reply.map(|reply| (Policy::of(reply), map.update(reply, here, told))) {
        Some((Policy::Oss, Ok(_))) => Policy::Oss,
        // A node that says so has left the cluster.
        Some((policy @ (Policy::Single | Policy::Enterprise), _)) if whom == Whom::Seed => policy,
        _ => Policy::Unknown,
    };
    match said {
        Policy::Unknown => schedule.failed(now),
        policy => schedule.answered(now, policy),
    }
    said
}

/// Where a primary is.
pub(crate) fn address(primary: &Primary) -> NodeAddress {
    NodeAddress::new(primary.host(), primary.port())
}
