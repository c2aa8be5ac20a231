//! Where a handle waits for its replies.

use alloc::collections::VecDeque;
use core::task::Waker;

use super::batch::{Failure, MAX_BATCHES, Replies};
use super::queue::Queued;

/// Where a handle waits.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) batch: u32,
    /// How many replies it waits for.
    pub(super) expected: usize,
    pub(super) replies: Replies,
    /// What failed before its turn, in order: replies come in the order of the commands.
    early: VecDeque<(u32, Failure)>,
    pub(super) waker: Option<Waker>,
    /// Its session came to nothing, and it wasn't told yet.
    pub(super) state_lost: bool,
    /// Its batch came within a session of an earlier one.
    pub(super) in_session: bool,
    /// The number of the connection that its last reply came from.
    pub(super) connection: u32,
}

impl Slot {
    /// Begins a batch of so many commands.
    pub(super) fn begin(&mut self, expected: usize, in_session: bool) {
        self.batch = (self.batch + 1) % MAX_BATCHES;
        self.expected = expected;
        self.in_session = in_session;
        self.clear();
    }

    /// The caller has gone.
    pub(super) fn give_up(&mut self) {
        self.expected = 0;
        self.waker = None;
        self.clear();
    }

    fn clear(&mut self) {
        self.replies.clear();
        // There are few, but for what is lost: no memory is kept for that.
        self.early = VecDeque::new();
    }

    /// The next handle counts its batches on from here.
    pub(super) fn vacate(&mut self) {
        *self = Self { batch: self.batch, ..Self::default() };
    }

    /// How many replies it still waits for.
    pub(super) fn missing(&self) -> usize {
        self.expected.saturating_sub(self.replies.len())
    }

    /// Takes in what became of command number `index`. Says whether that was the last one.
    pub(super) fn put(&mut self, index: u32, entry: Result<&[u8], Failure>) -> bool {
        let place = self.early.partition_point(|(early, _)| *early < index);
        let known = self.early.get(place).is_some_and(|(early, _)| *early == index);
        if known || (index as usize) < self.replies.len() {
            // It was told already.
            return false;
        }
        match entry {
            Ok(raw) => self.replies.reply(raw),
            Err(failure) => self.early.insert(place, (index, failure)),
        }
        let replies = &mut self.replies;
        while let Some((early, _)) = self.early.front()
            && *early as usize <= replies.len()
            && let Some((_, failure)) = self.early.pop_front()
        {
            replies.fail(failure);
        }
        self.replies.len() >= self.expected
    }

    /// Fails what has no reply yet.
    pub(super) fn fail_rest(&mut self, failure: &Failure) -> Option<Waker> {
        while self.replies.len() < self.expected {
            self.put(self.replies.len() as u32, Err(failure.clone()));
        }
        self.waker.take()
    }
}

/// Whether a caller waits for the reply.
pub(super) fn waits(slots: &[Slot], queued: &Queued) -> bool {
    let Queued { ticket, .. } = queued;
    let slot = slots.get(ticket.slot as usize);
    slot.is_some_and(|slot| slot.batch == ticket.batch && slot.expected > 0)
}
