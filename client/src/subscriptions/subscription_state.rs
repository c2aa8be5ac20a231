//! What is wanted of a subscriber, and what has come.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll, Waker};

use super::Delivery;
use super::shard_router::{HOME, NodeNumber, ShardRouter};
use super::shards::Retry;
use crate::error::{Error, ServerError};
use redis_entraid_core::cluster::Attempts;
use redis_entraid_core::command::Topic;
use redis_entraid_core::time::Instant;

/// What is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) topic: Topic,
    pub(super) name: Arc<[u8]>,
}

impl Name {
    pub(super) fn new(topic: Topic, name: &[u8]) -> Self {
        Self { topic, name: name.into() }
    }
}

/// Something that is wanted.
#[derive(Clone, Debug)]
pub(super) struct DesiredSubscription {
    pub(super) name: Name,
    /// Its number. Later wishes have higher ones, of the same thing too.
    pub(super) id: u64,
    /// The node that is to have it, and the number under which it has it: each time it is given to one, it gets
    /// another one.
    pub(super) node: NodeNumber,
    pub(super) placed: u64,
    /// Up to which change its node is to be asked for it again.
    pub(super) checked: u64,
    /// A connection has confirmed it.
    pub(super) known: bool,
    /// It has ended since then, and wasn't confirmed again.
    pub(super) lost: bool,
    /// Until when its node is believed that it has it, if the map says that it is elsewhere; and how often the map was
    /// believed instead, since it was right.
    pub(super) believed: Option<Instant>,
    pub(super) mistakes: u8,
    /// How often nodes have refused it, since it was confirmed.
    pub(super) attempts: Option<Box<Attempts>>,
    /// How many wait for it to be confirmed.
    pub(super) waiting: u32,
}

impl DesiredSubscription {
    pub(super) const fn new(name: Name, id: u64, node: NodeNumber) -> Self {
        Self {
            name,
            id,
            node,
            placed: id,
            checked: 0,
            known: false,
            lost: false,
            believed: None,
            mistakes: 0,
            attempts: None,
            waiting: 0,
        }
    }
}

/// A wish that the server refused, until all who wait for it have gone.
pub(super) struct Refusal {
    pub(super) wish: DesiredSubscription,
    pub(super) error: ServerError,
    /// One of them has heard it.
    pub(super) heard: bool,
}

/// What a [`SubscriptionHub`](super::SubscriptionHub) shares.
#[derive(Default)]
pub struct SubscriptionState {
    /// By name.
    pub(super) wishes: Vec<DesiredSubscription>,
    pub(super) refusals: Vec<Refusal>,
    /// Counts the changes of what is wanted, and which one took something away last.
    pub(super) changes: u64,
    pub(super) removed: u64,
    /// At home, a connection that takes the place of another has logged in.
    pub(super) heir: bool,
    /// Whether there is a connection at home.
    pub(super) home_is_there: bool,
    /// Nothing until a node has refused a shard channel since it is elsewhere.
    pub(super) router: Option<Box<ShardRouter>>,
    pub(super) retries: Vec<Retry>,
    pub(super) deliveries: VecDeque<Delivery>,
    pub(super) size: usize,
    /// How often something may come twice.
    pub(super) overlaps: u32,
    pub(super) readers: Vec<Waker>,
    /// Drives the connections at home.
    pub(super) driver: Option<Waker>,
    /// Has new nodes driven.
    pub(super) host: Option<Waker>,
    pub(super) over: Option<Error>,
    pub(super) left: bool,
}

/// So many entries are no burden.
pub(super) const FEW: usize = 64;

/// Gives memory back that is not needed any more.
pub(super) fn give_back<T>(list: &mut Vec<T>) {
    if list.capacity() > FEW && list.capacity() / 4 > list.len() {
        list.shrink_to(list.len() * 2);
    }
}

impl SubscriptionState {
    pub(super) fn find(&self, name: &Name) -> Result<usize, usize> {
        self.wishes.binary_search_by(|wish| wish.name.cmp(name))
    }

    /// The wish for `name`, if it has this number.
    pub(super) fn wish(&mut self, id: u64, name: &Name) -> Option<&mut DesiredSubscription> {
        let at = self.find(name).ok()?;
        self.wishes.get_mut(at).filter(|wish| wish.id == id)
    }

    /// The wish for `name`, if a node has it under this number.
    pub(super) fn placed(&self, placed: u64, name: &Name) -> Option<usize> {
        let at = self.find(name).ok()?;
        self.wishes.get(at).filter(|wish| wish.placed == placed).map(|_| at)
    }

    pub(super) fn placed_mut(
        &mut self,
        placed: u64,
        name: &Name,
    ) -> Option<&mut DesiredSubscription> {
        let at = self.placed(placed, name)?;
        self.wishes.get_mut(at)
    }

    /// A name goes from one node to another.
    pub(super) fn moves(&mut self, from: Option<NodeNumber>, to: Option<NodeNumber>) {
        if let Some(router) = &mut self.router {
            router.moves(from, to);
        }
    }

    /// Whether a connection to this node takes the place of another.
    pub(super) fn heir(&mut self, node: NodeNumber) -> Option<&mut bool> {
        match &mut self.router {
            _ if node == HOME => Some(&mut self.heir),
            Some(router) => router.node(node).map(|node| &mut node.heir),
            None => None,
        }
    }

    /// What has to be woken: who drives connections, and who has new ones driven.
    pub(super) fn take_drivers(&mut self) -> (Option<Waker>, Option<Waker>, Vec<Waker>) {
        let Some(router) = &mut self.router else { return (self.driver.take(), None, Vec::new()) };
        let host = if router.has_new() { self.host.take() } else { None };
        (self.driver.take(), host, router.drivers().collect())
    }

    pub(super) fn refusal(&mut self, id: u64) -> Option<(usize, &mut Refusal)> {
        let at = self.refusals.iter().position(|refusal| refusal.wish.id == id)?;
        self.refusals.get_mut(at).map(|refusal| (at, refusal))
    }

    /// Takes in what isn't a message. Of what lies behind the last message, the newest is enough:
    /// the reader may be slow.
    pub(super) fn note(&mut self, delivery: Delivery) {
        let is_note = |delivery: &&Delivery| !matches!(delivery, Delivery::Message(_));
        let notes = self.deliveries.iter().rev().take_while(is_note).count();
        let mut at = self.deliveries.len() - notes;
        let mut missed = 0;
        while let Some(earlier) = self.deliveries.get(at) {
            match (&delivery, earlier) {
                (Delivery::Missed(_), Delivery::Missed(count)) => missed += count,
                (Delivery::Gap, Delivery::Gap)
                | (Delivery::Overlap, Delivery::Overlap | Delivery::Settled) => {}
                _ => {
                    at += 1;
                    continue;
                }
            }
            self.deliveries.remove(at);
        }
        self.deliveries.push_back(match delivery {
            Delivery::Missed(count) => Delivery::Missed(count + missed),
            other => other,
        });
    }

    /// A subscription was refused, and no caller waits for it.
    pub(super) fn tell_refused(&mut self, wish: DesiredSubscription, error: ServerError) {
        let Name { topic, name } = wish.name;
        self.deliveries.push_back(Delivery::Refused { topic, name: name.to_vec(), error });
    }

    pub(super) fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if !self.readers.iter().any(|reader| reader.will_wake(cx.waker())) {
            self.readers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl fmt::Debug for SubscriptionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubscriptionState")
    }
}
