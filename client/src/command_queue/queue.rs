//! Commands that wait to be given to a connection.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::recent::{clear, clear_queue};
use redis_entraid_core::command::CommandClass;
use redis_entraid_core::connection::Config;
use redis_entraid_core::storage::Recent;
use redis_entraid_core::time::Instant;

use super::super::command_dispatcher::QueueDemand;
use super::batch::{Batch, Ticket};
use super::session::Open;

/// The default time limits of commands.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Limits {
    /// From being queued to being given to a connection.
    pub(in super::super) queue: Duration,
    /// From then to the reply.
    pub(super) reply: Duration,
    /// The longest that one may block at the server.
    pub(super) max_block: Duration,
    /// The seed for jitter.
    pub(in super::super) seed: u64,
}

impl Limits {
    /// By the `config` of the connection; `queue` is as long as for the reply, if nothing is said.
    pub(in super::super) fn new(config: &Config, queue: Option<Duration>) -> Self {
        Self {
            queue: queue.unwrap_or(config.command_timeout),
            reply: config.command_timeout,
            max_block: config.max_block,
            seed: config.id,
        }
    }
}

/// A command that waits to be given to the connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    pub(super) ticket: Ticket,
    pub(super) class: CommandClass,
    /// Until when it waits: for a connection, and also for its reply if the caller said so.
    pub(super) by: Instant,
    /// Whether the caller said so. Else the reply has a time of its own, and each of a batch has its
    /// time from when its turn comes.
    pub(super) is_limited: bool,
    /// Where its bytes begin, counted from the first that were ever queued.
    start: u64,
    len: usize,
}

/// They are in order, and those of a batch are next to each other.
#[derive(Debug)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    /// How many bytes have gone before these.
    gone: u64,
    entries: VecDeque<Queued>,
    /// The batch, by slot and number, of which the connection was last given a command.
    begun: Option<(u32, u32)>,
    /// The earliest deadline, or earlier.
    due: Instant,
    /// Until when a connection is wanted for who came last, even if he has gone: of those who come
    /// again and again with little time none would ever find one, if it were dialed again for each.
    wanted: Instant,
    recent: Recent,
}

impl Default for Queue {
    fn default() -> Self {
        let (bytes, entries, recent) = Default::default();
        let (due, wanted) = (Instant::FAR_FUTURE, Instant::default());
        Self { bytes, gone: 0, entries, begun: None, due, wanted, recent }
    }
}

/// So many bytes that have gone are no reason to move the others.
const MANY: usize = 4 << 10;

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.entries.iter()
    }

    /// Puts the commands of `batch` in, which have until `by` if that is said, and else wait for a
    /// connection until `wait` if that is.
    pub(super) fn push(
        &mut self,
        now: Instant,
        limits: Limits,
        first: Ticket,
        batch: &Batch,
        (by, wait): (Option<Instant>, Option<Instant>),
    ) {
        self.wanted = now.plus(limits.queue);
        let (by, is_limited) = (by.or(wait).unwrap_or(self.wanted), by.is_some());
        let mut start = self.gone + self.bytes.len() as u64;
        self.bytes.extend_from_slice(batch.bytes());
        self.entries.extend((0..).zip(batch.commands()).map(|(index, &(class, len))| {
            let ticket = Ticket { index, ..first };
            let queued = Queued { ticket, class, by, is_limited, start, len };
            start += len as u64;
            queued
        }));
        self.due = self.due.min(by);
        let room = self.bytes.len().max(self.entries.len() * size_of::<Queued>());
        self.recent.used(batch.commands().len(), room);
    }

    /// The next command, its bytes, and until when its reply is waited for.
    pub(super) fn front(&self, now: Instant, limits: Limits) -> Option<(Queued, &[u8], Instant)> {
        let queued = *self.entries.front()?;
        let start = self.place(&queued);
        let bytes = self.bytes.get(start..start + queued.len)?;
        let by = if queued.is_limited { queued.by } else { now.plus(limits.reply) };
        Some((queued, bytes, by))
    }

    const fn place(&self, queued: &Queued) -> usize {
        (queued.start - self.gone) as usize
    }

    /// Forgets what was needed lately, so that little memory is kept.
    pub(super) fn forget(&mut self) {
        self.recent = Recent::default();
        self.tidy();
        if self.is_empty() {
            (self.bytes, self.entries) = Default::default();
        }
    }

    /// For how many bytes it has memory.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.bytes.capacity()
    }

    /// The command in front was given to the connection.
    pub(super) fn pop(&mut self) {
        self.begun = self.entries.front().map(|queued| queued.ticket.batch());
        self.drop_front();
    }

    /// The command in front is not sent.
    pub(super) fn drop_front(&mut self) {
        self.entries.pop_front();
        self.tidy();
    }

    /// Drops the bytes of commands that have left the queue.
    fn tidy(&mut self) {
        let Some(front) = self.entries.front() else {
            self.gone += self.bytes.len() as u64;
            clear(self.recent, &mut self.bytes);
            clear_queue(self.recent, &mut self.entries);
            self.due = Instant::FAR_FUTURE;
            return;
        };
        let before = self.place(front);
        // Half of it is gone: moving the rest costs no more than has been sent.
        if before > MANY && before > self.bytes.len() / 2 {
            self.bytes.drain(..before);
            self.gone += before as u64;
        }
    }

    /// Takes those out that `is_out` says so of, by how many are before them.
    pub(super) fn take(
        &mut self,
        mut is_out: impl FnMut(usize, &mut Queued) -> bool,
    ) -> Vec<Queued> {
        let Self { bytes, gone, entries, .. } = self;
        let (mut out, mut at) = (Vec::new(), 0);
        // Where the bytes of the next one go.
        let mut end = None;
        entries.retain_mut(|queued| {
            let start = (queued.start - *gone) as usize;
            at += 1;
            if is_out(at - 1, queued) {
                out.push(*queued);
                end.get_or_insert(start);
                return false;
            }
            if let Some(end) = &mut end {
                bytes.copy_within(start..start + queued.len, *end);
                queued.start = *gone + *end as u64;
                *end += queued.len;
            }
            true
        });
        if let Some(end) = end {
            bytes.truncate(end);
            self.tidy();
        }
        out
    }

    /// The same for those who have gone.
    pub(super) fn withdraw(
        &mut self,
        is_out: impl FnMut(usize, &mut Queued) -> bool,
    ) -> Vec<Queued> {
        let due = self.due;
        let out = self.take(is_out);
        self.due = if self.is_empty() && due < Instant::FAR_FUTURE { self.wanted } else { due };
        out
    }

    /// What the commands want that wait, or did lately.
    pub(super) fn demand(&self) -> QueueDemand {
        let waits = !self.is_empty();
        let is_wanted = waits || self.due < Instant::FAR_FUTURE;
        QueueDemand { waits, until: is_wanted.then_some(self.due) }
    }

    /// Whether it belongs to the batch that the connection was last given a command of.
    pub(super) fn is_begun(&self, queued: &Queued) -> bool {
        self.begun == Some(queued.ticket.batch())
    }

    /// How many commands at the front have to follow the `MULTI` that the connection was given:
    /// up to the `EXEC`, if that came with it.
    pub(super) fn rest_of_transaction(&self) -> usize {
        let mut rest = self.entries.iter().take_while(|queued| self.is_begun(queued));
        rest.position(|queued| Open::is_closed_by(queued.class)).map_or(0, |at| at + 1)
    }

    /// The batch, by slot and number, of which the connection was last given a command.
    pub(super) const fn begun(&self) -> Option<(u32, u32)> {
        self.begun
    }

    /// The connection has ended.
    pub(super) const fn disconnected(&mut self) {
        self.begun = None;
    }

    /// When [`expired`](Self::expired) has something to do, or earlier.
    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// Removes those whose time is over, but for the first `rest`. Their callers are told, and all go
    /// the same.
    pub(super) fn expired(
        &mut self,
        now: Instant,
        limits: Limits,
        rest: usize,
    ) -> (Vec<Queued>, Vec<Queued>) {
        let (mut due, mut told) = (Instant::FAR_FUTURE, Vec::new());
        let begun = self.begun;
        let out = self.take(|at, queued| {
            if !queued.is_limited && begun == Some(queued.ticket.batch()) {
                return false;
            }
            if now >= queued.by {
                if at >= rest {
                    return true;
                }
                told.push(*queued);
                queued.by = now.plus(limits.queue);
            }
            due = due.min(queued.by);
            false
        });
        self.due = if self.is_empty() && now < self.wanted { self.wanted } else { due };
        (out, told)
    }
}
