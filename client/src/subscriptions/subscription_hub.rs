//! What the reader and the driver of the connections share: desired subscriptions, and messages.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll, Waker};

use super::shard_router::{HOME, NodeNumber};
use super::shards::SubscriberNode;
use super::subscription_state::{
    DesiredSubscription, FEW, Name, Refusal, SubscriptionState, give_back,
};
use super::{Delivery, Message};
use crate::command_queue::{set_waker, wake};
use crate::error::{Error, ServerError};
use crate::lock::Lock;
use redis_entraid_core::cluster::Slot;
use redis_entraid_core::command::Topic;
use redis_entraid_core::time::Instant;

/// Shared by the reader and the driver of the connections.
pub struct SubscriptionHub<L> {
    pub(super) state: L,
    /// That of the spread of times, if shard channels go to the nodes that have them.
    pub(super) seed: Option<u64>,
    /// How many bytes of messages it keeps.
    limit: usize,
}

impl<L> fmt::Debug for SubscriptionHub<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubscriptionHub({} bytes)", self.limit)
    }
}

impl<L: Lock<SubscriptionState>> SubscriptionHub<L> {
    /// One that keeps up to `limit` bytes of messages.
    pub fn new(limit: usize) -> Self {
        Self { state: L::new(SubscriptionState::default()), seed: None, limit }
    }

    /// Has shard channels go to the nodes of a cluster that have them, wherever their slots move: a host keeps
    /// connections to [those](Self::next_node). `seed` spreads what many processes do.
    #[must_use]
    pub fn following(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    // The reader's side of a subscriber.

    /// Wants `names`, and waits for them until [`stop_waiting`](Self::stop_waiting). Answers with
    /// the numbers of the wishes.
    pub(super) fn want(&self, names: &[Name]) -> Vec<u64> {
        self.change(|mail| {
            // Few are put in their places; many come behind all, and are sorted at once.
            let (known, many) = (mail.wishes.len(), names.len() > FEW);
            for name in names {
                let sorted = if many { known } else { mail.wishes.len() };
                let before = mail.wishes.get(..sorted).unwrap_or_default();
                let place = before.binary_search_by(|wish| wish.name.cmp(name));
                if let Err(at) = place {
                    mail.changes += 1;
                    let (name, id) = (name.clone(), mail.changes);
                    let node = mail.place(&name);
                    mail.moves(None, Some(node));
                    let at = if many { mail.wishes.len() } else { at };
                    mail.wishes.insert(at, DesiredSubscription::new(name, id, node));
                }
            }
            if many {
                mail.wishes.sort_unstable_by(|one, other| one.name.cmp(&other.name));
                let SubscriptionState { wishes, router, .. } = mail;
                wishes.dedup_by(|one, other| {
                    let is_double = one.name == other.name;
                    if is_double && let Some(router) = router {
                        router.moves(Some(one.node), None);
                    }
                    is_double
                });
            }
            let wished = |name| {
                let wish = mail.find(name).ok().and_then(|at| mail.wishes.get_mut(at));
                wish.map_or(0, |wish| {
                    wish.waiting += 1;
                    wish.id
                })
            };
            names.iter().map(wished).collect()
        })
    }

    /// One who waited for these does no more. What was refused and not heard becomes news.
    pub(super) fn stop_waiting<'n>(&self, names: impl Iterator<Item = (u64, &'n Name)>) {
        self.put(|mail| {
            for (id, name) in names {
                if let Some(wish) = mail.wish(id, name) {
                    wish.waiting = wish.waiting.saturating_sub(1);
                } else if let Some((at, refusal)) = mail.refusal(id) {
                    refusal.wish.waiting = refusal.wish.waiting.saturating_sub(1);
                    if refusal.wish.waiting == 0 {
                        let Refusal { wish, error, heard } = mail.refusals.swap_remove(at);
                        if !heard {
                            mail.tell_refused(wish, error);
                        }
                    }
                }
            }
        });
    }

    /// Ends the wait of the callers of these.
    pub(super) fn unwant(&self, names: &mut [Name]) {
        names.sort_unstable();
        self.change(|mail| {
            let SubscriptionState { wishes, router, .. } = mail;
            wishes.retain(|wish| {
                let is_kept = names.binary_search(&wish.name).is_err();
                if !is_kept && let Some(router) = router {
                    router.moves(Some(wish.node), None);
                }
                is_kept
            });
            give_back(&mut mail.wishes);
            mail.changes += 1;
            mail.removed = mail.changes;
        });
    }

    /// The reader has gone.
    pub(super) fn leave(&self) {
        self.change(|mail| mail.left = true);
    }

    /// Changes what is wanted, which concerns both sides.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut SubscriptionState) -> T) -> T {
        let (changed, (home, host, nodes)) = self.put(|mail| (change(mail), mail.take_drivers()));
        wake(home);
        wake(host);
        nodes.into_iter().for_each(Waker::wake);
        changed
    }

    /// Waits until each of these was confirmed, or one refused.
    pub(super) fn poll_known<'n>(
        &self,
        cx: &Context<'_>,
        names: impl Iterator<Item = (u64, &'n Name)>,
    ) -> Poll<Result<(), Error>> {
        let mut mail = self.state.lock();
        if let Some(error) = &mail.over {
            return Poll::Ready(Err(error.clone()));
        }
        let mut waiting = false;
        for (id, name) in names {
            match mail.wish(id, name) {
                Some(wish) => waiting |= !wish.known,
                None => {
                    if let Some((_, refusal)) = mail.refusal(id) {
                        refusal.heard = true;
                        return Poll::Ready(Err(Error::Server(refusal.error.clone())));
                    }
                }
            }
        }
        if waiting { mail.wait(cx) } else { Poll::Ready(Ok(())) }
    }

    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Result<Delivery, Error>> {
        let mut mail = self.state.lock();
        if let Some(delivery) = mail.deliveries.pop_front() {
            if let Delivery::Message(message) = &delivery {
                mail.size -= message.size();
            }
            if mail.deliveries.is_empty() && mail.deliveries.capacity() > FEW {
                mail.deliveries = VecDeque::new();
            }
            return Poll::Ready(Ok(delivery));
        }
        if let Some(error) = &mail.over {
            return Poll::Ready(Err(error.clone()));
        }
        mail.wait(cx)
    }

    // The side of what drives the connections.

    /// Says how often changed what is wanted, and when there is something to do for [all nodes](Self::tick), and has
    /// `cx` woken when that changes; `None` if the reader has gone, or `node` isn't needed any more.
    pub(crate) fn poll_changes(
        &self,
        node: &SubscriberNode,
        cx: &Context<'_>,
    ) -> Option<(u64, Instant)> {
        let mut mail = self.state.lock();
        let SubscriptionState { driver, router, .. } = &mut *mail;
        let driver = match router {
            _ if node.is_home() => driver,
            Some(router) => &mut router.node(node.number)?.driver,
            None => return None,
        };
        set_waker(driver, cx);
        // It is done where the subscriber itself connects.
        let router = router.as_ref().filter(|_| node.is_home());
        let deadline = router.map_or(Instant::FAR_FUTURE, |router| router.deadline);
        (!mail.left).then_some((mail.changes, deadline))
    }

    pub(super) fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    /// Whether something isn't wanted any more since that change.
    pub(super) fn has_removed(&self, since: u64) -> bool {
        self.state.lock().removed > since
    }

    /// Shows all that is wanted.
    pub(super) fn wanted(&self, show: impl FnMut(&DesiredSubscription)) {
        self.state.lock().wishes.iter().for_each(show);
    }

    /// Whether `name` is still wanted as it was under this number.
    pub(super) fn wants(&self, placed: u64, name: &Name) -> bool {
        self.state.lock().placed(placed, name).is_some()
    }

    /// Whether a connection to a node has logged in that takes the place of another: what is wanted from then
    /// on is its business alone, or it might never have all that the other one has.
    pub(super) fn has_heir(&self, node: NodeNumber) -> bool {
        self.state.lock().heir(node).is_some_and(|heir| *heir)
    }

    /// See [`has_heir`](Self::has_heir).
    pub(super) fn set_heir(&self, node: NodeNumber, has_heir: bool) {
        self.change(|mail| {
            if let Some(heir) = mail.heir(node) {
                *heir = has_heir;
            }
            mail.changes += 1;
        });
    }

    /// A node has granted `name`. Says whether it had ended before.
    pub(super) fn confirmed(&self, placed: u64, name: &Name) -> bool {
        self.put(|mail| {
            let Some(wish) = mail.placed_mut(placed, name) else { return false };
            (wish.known, wish.attempts) = (true, None);
            let was_lost = core::mem::take(&mut wish.lost);
            if wish.node == HOME
                && name.topic == Topic::Shard
                && let Some(router) = &mut mail.router
            {
                router.home_has(Slot::of(&name.name));
            }
            was_lost
        })
    }

    /// These have ended, which is to be told when they are granted again.
    pub(super) fn lost<'n>(&self, names: impl Iterator<Item = (u64, &'n Name)>) {
        let mut mail = self.state.lock();
        for (placed, name) in names {
            if let Some(wish) = mail.placed_mut(placed, name) {
                wish.lost = wish.known;
            }
        }
    }

    /// The server refused `name`. If no caller waits for it, it is news. Says whether it had ended before.
    pub(super) fn refused(&self, placed: u64, name: &Name, error: ServerError) -> bool {
        // Another connection may have been granted it.
        self.change(|mail| {
            let Some(at) = mail.placed(placed, name) else { return false };
            let wish = mail.wishes.remove(at);
            mail.moves(Some(wish.node), None);
            mail.changes += 1;
            mail.removed = mail.changes;
            let was_lost = wish.lost;
            if wish.known || wish.waiting == 0 {
                mail.tell_refused(wish, error);
            } else {
                mail.refusals.push(Refusal { wish, error, heard: false });
            }
            was_lost
        })
    }

    /// Takes a message in, if there is room.
    pub(super) fn message(&self, message: Option<Message>) {
        self.put(|mail| match message {
            Some(message) if mail.size + message.size() <= self.limit => {
                mail.size += message.size();
                mail.deliveries.push_back(Delivery::Message(message));
            }
            _ => mail.note(Delivery::Missed(1)),
        });
    }

    /// Two connections have the same subscriptions.
    pub(super) fn overlap_begins(&self) {
        self.put(|mail| {
            mail.overlaps += 1;
            if mail.overlaps == 1 {
                mail.note(Delivery::Overlap);
            }
        });
    }

    /// One has ended, and what both were sent has come.
    pub(super) fn overlap_ends(&self) {
        self.put(|mail| {
            mail.overlaps = mail.overlaps.saturating_sub(1);
            if mail.overlaps == 0 {
                mail.note(Delivery::Settled);
            }
        });
    }

    /// What had ended is granted again.
    pub(super) fn gap_ends(&self) {
        self.put(|mail| mail.note(Delivery::Gap));
    }

    /// For how many deliveries it has memory.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.state.lock().deliveries.capacity()
    }

    /// Ends for ever: the reader gets `error` behind all messages received so far.
    pub fn end(&self, error: &Error) {
        self.put(|mail| {
            mail.over.get_or_insert_with(|| error.clone());
        });
    }

    fn put<T>(&self, put: impl FnOnce(&mut SubscriptionState) -> T) -> T {
        let mut mail = self.state.lock();
        let done = put(&mut mail);
        let readers = core::mem::take(&mut mail.readers);
        drop(mail);
        readers.into_iter().for_each(Waker::wake);
        done
    }
}
