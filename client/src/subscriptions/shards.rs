//! Shard channels, which go from node to node.

use alloc::boxed::Box;
use core::fmt;
use core::future::poll_fn;
use core::task::Poll;

use super::shard_router::{HOME, NOWHERE, NodeNumber, Placed, ShardRouter};
use super::subscription_hub::SubscriptionHub;
use super::subscription_state::{Name, SubscriptionState};
use crate::NodeAddress;
use crate::command_queue::set_waker;
use crate::lock::Lock;
use redis_entraid_core::args;
use redis_entraid_core::cluster::{Attempts, Next, Route, Slot, To};
use redis_entraid_core::command::{CommandClass, Topic};
use redis_entraid_core::resp::{ErrorReply, Value};
use redis_entraid_core::time::Instant;

/// A node of a cluster that a subscriber is to be connected to: see [`SubscriptionHub::next_node`].
#[derive(Clone, PartialEq, Eq)]
pub struct SubscriberNode {
    pub(super) number: NodeNumber,
    /// Where it is.
    pub address: NodeAddress,
}

impl SubscriberNode {
    /// What the subscriber itself dials.
    pub(crate) const HOME: Self =
        Self { number: HOME, address: NodeAddress { address: None, port: 0 } };

    /// Whether it is what the subscriber itself dials.
    pub(crate) const fn is_home(&self) -> bool {
        self.number == HOME
    }
}

impl fmt::Debug for SubscriberNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// A channel that waits for its next attempt.
pub(super) struct Retry {
    due: Instant,
    placed: u64,
    name: Name,
}

/// What becomes of a channel that a node has refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It has ended.
    Ends,
    /// It goes to another node, or is tried again.
    GoesOn,
    /// As before; and the connection leads to another server than it should.
    Stale,
}

fn slot(name: &Name) -> Slot {
    Slot::of(&name.name)
}

impl SubscriptionState {
    /// The node for a name.
    pub(super) fn place(&mut self, name: &Name) -> NodeNumber {
        match &mut self.router {
            Some(router) if name.topic == Topic::Shard => router.node_of(slot(name)),
            _ => HOME,
        }
    }

    /// Gives a channel to a node.
    fn give(&mut self, at: usize, node: NodeNumber) -> u64 {
        self.changes += 1;
        self.removed = self.changes;
        if let Some(wish) = self.wishes.get_mut(at) {
            if let Some(router) = &mut self.router {
                router.moves(Some(wish.node), Some(node));
            }
            (wish.node, wish.placed, wish.believed) = (node, self.changes, None);
            wish.lost |= wish.known;
        }
        self.changes
    }

    /// Gives a channel to a node, later.
    fn give_later(&mut self, at: usize, due: Instant) {
        let placed = self.give(at, NOWHERE);
        if let Some(name) = self.wishes.get(at).map(|wish| wish.name.clone()) {
            self.retries.push(Retry { due, placed, name });
        }
    }

    /// Has a channel asked for again at its node.
    fn check(&mut self, at: usize) {
        self.changes += 1;
        if let Some(wish) = self.wishes.get_mut(at) {
            wish.checked = self.changes;
        }
    }

    /// A node has refused a channel.
    fn refused_by(
        &mut self,
        (now, seed): (Instant, u64),
        placed: u64,
        name: &Name,
        error: &ErrorReply<'_>,
    ) -> Refused {
        if self.router.is_none() && error.redirect().is_none() {
            return Refused::Ends;
        }
        let Some(at) = self.placed(placed, name) else { return Refused::GoesOn };
        let Some(wish) = self.wishes.get_mut(at) else { return Refused::GoesOn };
        let home_is_there = self.home_is_there;
        let router = || Box::new(ShardRouter::new(seed, now, home_is_there));
        let router = self.router.get_or_insert_with(router);
        router.is_at(now);
        let attempts = wish.attempts.get_or_insert_with(|| {
            let route = Route::Slot(slot(name));
            let command = args!["SSUBSCRIBE", &*name.name];
            Box::new(Attempts::new(command, CommandClass::Plain, route, Instant::FAR_FUTURE))
        });
        let next = attempts.refused(now, &router.policy, &mut router.jitter, error);
        let Next::Send { at: due, to } = next else { return Refused::Ends };
        let from = wish.node;
        let to = match to {
            To::Moved(node) => Some(router.moved(from, &node)),
            _ => None,
        };
        let is_stale = to == Some(from) && router.is_stale(from);
        match to {
            Some(to) if due <= now => drop(self.give(at, to)),
            _ => self.give_later(at, due),
        }
        self.tick(now);
        if is_stale { Refused::Stale } else { Refused::GoesOn }
    }

    /// Does what is due.
    fn tick(&mut self, now: Instant) {
        let Some(router) = &mut self.router else { return };
        router.is_at(now);
        let mut retries = core::mem::take(&mut self.retries);
        retries.retain(|Retry { due, placed, name }| {
            if now < *due {
                return true;
            }
            if let Some(at) = self.placed(*placed, name) {
                let node = self.place(name);
                self.give(at, node);
            }
            false
        });
        self.retries = retries;
        // They are the last ones.
        let in_use = self.wishes.last().is_some_and(|wish| wish.name.topic == Topic::Shard);
        let Some(router) = &mut self.router else { return };
        if router.poll(in_use) {
            self.changes += 1;
        }
        let due = self.retries.iter().map(|retry| retry.due).min();
        router.deadline = due.map_or(router.deadline, |due| router.deadline.min(due));
    }

    /// Has channels follow the map.
    fn follow_map(&mut self) {
        for at in 0..self.wishes.len() {
            let (Some(wish), Some(router)) = (self.wishes.get_mut(at), &mut self.router) else {
                return;
            };
            if wish.name.topic != Topic::Shard || wish.node == NOWHERE {
                continue;
            }
            let (slot, is_granted) = (slot(&wish.name), wish.known && !wish.lost);
            match router.placed(slot, wish.node, !is_granted, wish.believed) {
                Placed::Well => (wish.believed, wish.mistakes) = (None, 0),
                // Which primary that is, only its answer says.
                Placed::Doubtful if wish.node == HOME => self.check(at),
                Placed::Doubtful => {
                    let is_new = wish.believed.is_none();
                    let until = router.believes(wish.mistakes);
                    router.asks_at(*wish.believed.get_or_insert(until));
                    if is_new {
                        self.check(at);
                    }
                }
                Placed::Elsewhere if is_granted => {
                    wish.mistakes = wish.mistakes.saturating_add(1);
                    let due = router.lets_go();
                    self.give_later(at, due);
                }
                Placed::Elsewhere => {
                    let node = router.node_of(slot);
                    self.give(at, node);
                }
            }
        }
    }

    /// Nobody can be asked for the map: asks for the channels, those at nodes that are there too if `all`.
    fn ask_for_all(&mut self, all: bool) {
        for at in 0..self.wishes.len() {
            let (Some(wish), Some(router)) = (self.wishes.get(at), &self.router) else { return };
            if wish.name.topic != Topic::Shard || wish.node == NOWHERE {
                continue;
            }
            match router.is_there(wish.node) {
                true if all && wish.known && !wish.lost => self.check(at),
                false if router.is_missed(wish.node) => drop(self.give(at, HOME)),
                _ => {}
            }
        }
    }
}

impl<L: Lock<SubscriptionState>> SubscriptionHub<L> {
    /// Waits for the next node of a cluster that shard channels are at. A host then keeps a
    /// [`SubscriberWorkload`](crate::SubscriberWorkload) for it, on [demand](redis_entraid_core::supervisor::Supervisor::on_demand),
    /// to its end. Nothing if the reader has gone.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next_node(&self) -> Option<SubscriberNode> {
        poll_fn(|cx| {
            let mut mail = self.state.lock();
            if mail.left {
                return Poll::Ready(None);
            }
            set_waker(&mut mail.host, cx);
            let new = mail.router.as_mut().and_then(|router| router.next_new());
            new.map_or(Poll::Pending, |(number, address)| {
                Poll::Ready(Some(SubscriberNode { number, address }))
            })
        })
        .await
    }

    /// Whether shard channels are to be at a node.
    pub(crate) fn is_needed(&self, node: &SubscriberNode) -> bool {
        let mail = self.state.lock();
        node.is_home() || mail.router.as_ref().is_some_and(|router| router.is_needed(node.number))
    }

    /// Does what is due. Returns when something is next.
    pub(crate) fn tick(&self, now: Instant) -> Instant {
        self.change(|mail| {
            mail.tick(now);
            mail.router.as_ref().map_or(Instant::FAR_FUTURE, |router| router.deadline)
        })
    }

    /// A new connection to a node has logged in.
    pub(super) fn comes(&self, now: Instant, node: NodeNumber) {
        self.change(|mail| {
            mail.home_is_there |= node == HOME;
            if let Some(router) = &mut mail.router {
                router.is_at(now);
                router.comes(node);
                mail.tick(now);
            }
        });
    }

    /// There is no connection to a node any more.
    pub(crate) fn goes(&self, now: Instant, node: &SubscriberNode) {
        self.change(|mail| {
            mail.home_is_there &= !node.is_home();
            if let Some(router) = &mut mail.router {
                router.is_at(now);
                router.goes(node.number);
                mail.tick(now);
            }
        });
    }

    /// Takes in that a node has refused a channel.
    pub(super) fn refused_by(
        &self,
        now: Instant,
        placed: u64,
        name: &Name,
        error: &ErrorReply<'_>,
    ) -> Refused {
        match self.seed {
            Some(seed) if name.topic == Topic::Shard => {
                self.change(|mail| mail.refused_by((now, seed), placed, name, error))
            }
            _ => Refused::Ends,
        }
    }

    /// Whether this node is to be asked for the map now.
    pub(super) fn take_question(&self, node: NodeNumber) -> bool {
        let mut mail = self.state.lock();
        mail.router.as_mut().is_some_and(|router| router.take_question(node))
    }

    /// Takes in the reply to that.
    pub(super) fn answered(&self, now: Instant, node: NodeNumber, reply: Option<Value<'_>>) {
        self.change(|mail| {
            let Some(router) = &mut mail.router else { return };
            router.is_at(now);
            if router.answered(node, reply) {
                mail.follow_map();
            }
            mail.tick(now);
        });
    }

    /// Takes in that this node can't be asked.
    pub(super) fn cannot_ask(&self, now: Instant, node: NodeNumber) {
        self.change(|mail| {
            let Some(router) = &mut mail.router else { return };
            router.is_at(now);
            let asks = router.cannot_ask(node);
            mail.changes += 1;
            if let Some(all) = asks {
                mail.ask_for_all(all);
            }
            mail.tick(now);
        });
    }
}
