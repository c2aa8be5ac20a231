//! The ring of commands that wait for their replies, in the order in which they were sent.

use core::fmt;
use core::marker::PhantomData;

use crate::command::Topic;
use crate::recent::Recent;
use crate::storage::Storage;
use crate::time::Instant;

/// A host's own name for a command that it submitted.
pub type Tag = u64;

/// A command that waits for its reply. What is in it is the connection's business; a caller only
/// lends room for some.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Pending {
    pub(super) tag: Tag,
    /// Where in the stream of sent bytes it begins.
    pub(super) start: u64,
    pub(super) deadline: Instant,
    pub(super) owner: ReplyTo,
    pub(super) role: Role,
}

/// What is expected of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    #[default]
    Plain,
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    Tracking(bool),
    Blocking,
    /// Not a reply, but so many confirmations; 0 is as many as there are subscriptions.
    Subscription {
        topic: Topic,
        began: bool,
        left: u32,
    },
}

impl Role {
    pub(super) const fn is_about_transactions(self) -> bool {
        matches!(self, Self::Multi | Self::Exec | Self::Discard)
    }

    pub(super) const fn is_subscription(self) -> bool {
        matches!(self, Self::Subscription { .. })
    }
}

impl zeroize::DefaultIsZeroes for Pending {}

/// Whom a reply goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ReplyTo {
    /// The host.
    #[default]
    Host,
    /// The host, which is not yet told that the command timed out.
    Late,
    /// No one: the reply is dropped.
    Nobody,
    /// The connection itself.
    Connection,
}

/// How many entries a ring that grows keeps room for between commands; while it is quiet, none.
const LEAST: usize = 8;

/// A queue in lent memory.
pub(super) struct Ring<R> {
    room: R,
    recent: Recent,
    head: usize,
    len: usize,
    /// Of the oldest entries, so many are not [`ReplyTo::Late`]: there may be many others.
    not_late: usize,
    entries: PhantomData<Pending>,
}

impl<R: Storage<Pending>> Ring<R> {
    pub(super) fn new(room: R) -> Self {
        let (recent, entries) = (Recent::default(), PhantomData);
        Self { room, recent, head: 0, len: 0, not_late: 0, entries }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes sure that `more` entries can be pushed.
    pub(super) fn reserve(&mut self, more: usize) -> bool {
        let before = self.room.room().len();
        if self.len + more <= before {
            return true;
        }
        if !self.room.reserve(self.len + more) {
            return false;
        }
        // What went around the end of the old room has to go on behind it.
        if let Some(old) = self.room.room_mut().get_mut(..before) {
            old.rotate_left(self.head);
        }
        self.head = 0;
        true
    }

    /// Where the entry number `at` lies, 0 being the oldest.
    fn index(&self, at: usize) -> usize {
        let capacity = self.room.room().len();
        let index = self.head + at;
        if index < capacity { index } else { index - capacity }
    }

    pub(super) fn push(&mut self, entry: Pending) {
        let at = self.index(self.len);
        debug_assert!(self.len < self.room.room().len());
        if let Some(slot) = self.room.room_mut().get_mut(at) {
            *slot = entry;
            self.len += 1;
        }
        if R::GROWS {
            self.recent.used(1, self.len);
        }
    }

    /// Whether the host waits for a reply.
    pub(super) fn has_commands_of_host(&self) -> bool {
        let entry = |at| self.room.room().get(self.index(at));
        (0..self.len).filter_map(entry).any(|entry| entry.owner == ReplyTo::Host)
    }

    pub(super) fn front(&self) -> Option<&Pending> {
        if self.len == 0 { None } else { self.room.room().get(self.head) }
    }

    /// The newest entry.
    pub(super) fn back(&self) -> Option<&Pending> {
        let last = self.len.checked_sub(1)?;
        self.room.room().get(self.index(last))
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Pending> {
        let at = if self.len == 0 { return None } else { self.head };
        self.room.room_mut().get_mut(at)
    }

    pub(super) fn pop(&mut self) -> Option<Pending> {
        if self.len == 0 {
            return None;
        }
        let entry = self.room.room().get(self.head).copied()?;
        self.head = self.index(1);
        self.len -= 1;
        self.not_late = self.not_late.saturating_sub(1);
        if R::GROWS
            && let Some(keep) = self.recent.keep(self.room.room().len(), LEAST)
        {
            self.shrink(keep);
        }
        Some(entry)
    }

    /// Gives back what room there is for more than `keep` entries, as far as it is free.
    fn shrink(&mut self, keep: usize) {
        self.room.room_mut().rotate_left(self.head);
        self.head = 0;
        self.room.shrink(keep.max(self.len));
    }

    /// Whether it has grown: it may not need that for long.
    pub(super) fn has_grown(&self) -> bool {
        R::GROWS && self.room.room().len() > LEAST
    }

    /// Whether it has memory to give back.
    pub(super) fn has_memory(&self) -> bool {
        R::GROWS && !self.room.room().is_empty()
    }

    /// Gives back what isn't needed when nothing is sent.
    pub(super) fn give_back(&mut self) {
        if R::GROWS {
            self.recent = Recent::default();
            self.shrink(0);
        }
    }

    /// Entries have become [`ReplyTo::Late`].
    pub(super) const fn some_are_late(&mut self) {
        self.not_late = 0;
    }

    /// Takes the oldest one that is [`ReplyTo::Late`] from its owner.
    pub(super) fn next_late(&mut self) -> Option<Pending> {
        let mut found = None;
        while self.not_late < self.len && found.is_none() {
            let index = self.index(self.not_late);
            self.not_late += 1;
            let entry = self.room.room_mut().get_mut(index);
            found = entry.filter(|entry| entry.owner == ReplyTo::Late).map(|entry| {
                entry.owner = ReplyTo::Nobody;
                *entry
            });
        }
        found
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        let (head, len) = (self.head, self.len);
        // The oldest lie from `head` to the end of the room, the others in front of it.
        let (low, high) = self.room.room_mut().split_at_mut_checked(head).unwrap_or_default();
        let around = len.saturating_sub(high.len());
        let high = high.get_mut(..len - around).unwrap_or_default();
        let low = low.get_mut(..around).unwrap_or_default();
        high.iter_mut().chain(low)
    }
}

impl<R: Storage<Pending>> fmt::Debug for Ring<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} of {})", self.len, self.room.room().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tests::Grows;
    use std::vec::Vec;

    fn entry(tag: Tag) -> Pending {
        Pending { tag, ..Pending::default() }
    }

    #[test]
    fn an_entry_takes_as_many_bytes_as_the_documentation_says() {
        assert_eq!(size_of::<Pending>(), 40);
    }

    #[test]
    fn entries_come_out_in_order_however_often_it_goes_around() {
        let mut ring = Ring::new([Pending::default(); 3]);
        let (mut pushed, mut popped) = (0, 0);
        for round in 0..20 {
            while ring.reserve(1) {
                ring.push(entry(pushed));
                pushed += 1;
            }
            let seen: Vec<_> = ring.iter_mut().map(|entry| entry.tag).collect();
            assert_eq!(seen, (popped..pushed).collect::<Vec<_>>());
            for _ in 0..=round % 3 {
                assert_eq!(ring.pop().unwrap().tag, popped);
                popped += 1;
            }
        }
        while ring.pop().is_some() {
            popped += 1;
        }
        assert_eq!((pushed, ring.iter_mut().count()), (popped, 0));
    }

    #[test]
    fn growing_keeps_the_order() {
        for turn in 0..4 {
            for limit in [5, 6, 64] {
                let mut ring = Ring::new(Grows::new(4, limit));
                for tag in 0..turn {
                    ring.push(entry(tag));
                    ring.pop();
                }
                let mut pushed = 0;
                while pushed < 40 && ring.reserve(1) {
                    ring.push(entry(pushed));
                    pushed += 1;
                }
                assert_eq!(pushed, 40.min(limit as u64));
                for tag in 0..pushed {
                    assert_eq!(ring.pop().unwrap().tag, tag);
                }
            }
        }
    }

    #[test]
    fn shrinking_keeps_the_order() {
        let mut ring = Ring::new(Grows::new(4, 1 << 20));
        let (mut pushed, mut popped) = (0, 0);
        while pushed < 10_000 {
            assert!(ring.reserve(1));
            ring.push(entry(pushed));
            pushed += 1;
        }
        // There are always some: it shrinks all the same.
        while popped < 20_000 {
            assert_eq!(ring.pop().unwrap().tag, popped);
            popped += 1;
            if ring.len() < 5 {
                assert!(ring.reserve(1));
                ring.push(entry(pushed));
                pushed += 1;
            }
        }
        assert_eq!(ring.room.room().len(), 8);
        let seen: Vec<_> = ring.iter_mut().map(|entry| entry.tag).collect();
        assert_eq!(seen, (popped..pushed).collect::<Vec<_>>());
    }
}
