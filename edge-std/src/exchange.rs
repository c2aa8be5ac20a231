//! Where the handles of a client and the driver of its connection meet.
//!
//! A handle encodes its commands into a common outbox and waits at a slot of its own; the driver
//! takes the outbox as a whole, and puts replies into the slots. All memory is used again, so
//! that a command costs no allocation once its handle has warmed up.

use core::fmt;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use redis_entraid_core::command::{Class, classify};
use redis_entraid_core::connection::{ConnectionHealth, Lost, Outcome, ReplyTooLarge};
use redis_entraid_core::resp::{Arg, encode};
use redis_entraid_core::storage::CapacityError;
use redis_entraid_core::time::Instant;

use crate::error::Error;

/// The number of a slot, and of the batch of commands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    slot: u32,
    batch: u32,
}

impl Ticket {
    /// As a tag of the core's.
    pub(crate) const fn tag(self) -> u64 {
        (self.slot as u64) << 32 | self.batch as u64
    }

    pub(crate) const fn from_tag(tag: u64) -> Self {
        Self { slot: (tag >> 32) as u32, batch: tag as u32 }
    }
}

/// A command that waits to be given to the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    pub(crate) ticket: Ticket,
    pub(crate) class: Class,
    pub(crate) len: usize,
    pub(crate) since: Instant,
}

/// What there is instead of a reply.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    Lost(Lost),
    Unavailable(Option<Error>),
    ReplyTooLarge(ReplyTooLarge),
    TooLarge(CapacityError),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(lost) => lost.into(),
            // The server has refused us: that is all there is to say.
            Failure::Unavailable(Some(error @ Self::Login(_))) => error,
            Failure::Unavailable(cause) => Self::Unavailable { cause: cause.map(Box::new) },
            Failure::ReplyTooLarge(error) => Self::ReplyTooLarge(error),
            Failure::TooLarge(error) => Self::TooLarge(error),
        }
    }
}

/// Replies as they came: one behind the other, and where each ends.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<usize>,
    /// By number, for the few that failed.
    pub(crate) failures: Vec<(usize, Failure)>,
}

impl Replies {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.failures.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn reply(&mut self, raw: &[u8]) {
        self.bytes.extend_from_slice(raw);
        self.ends.push(self.bytes.len());
    }

    fn fail(&mut self, failure: Failure) {
        self.failures.push((self.ends.len(), failure));
        self.ends.push(self.bytes.len());
    }
}

#[derive(Debug, Default)]
struct Slot {
    batch: u32,
    /// How many replies it waits for.
    expected: usize,
    replies: Replies,
    waker: Option<Waker>,
}

/// How the connection stands, for who asks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Status {
    pub(crate) connection: Option<(Instant, ConnectionHealth)>,
    pub(crate) connects: u32,
    pub(crate) reauths: u32,
}

#[derive(Default)]
struct State {
    outbox: Vec<u8>,
    queue: VecDeque<Queued>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    handles: usize,
    driver: Option<Waker>,
    /// The driver has ended and will not come back.
    over: Option<Error>,
    started: bool,
    starter: Option<Waker>,
    status: Status,
}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Exchange(Mutex<State>);

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}

impl Exchange {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }

    // The side of the handles.

    /// Takes a slot for a new handle.
    pub(crate) fn enter(&self) -> u32 {
        let mut state = self.lock();
        state.handles += 1;
        state.free.pop().unwrap_or_else(|| {
            state.slots.push(Slot::default());
            (state.slots.len() - 1) as u32
        })
    }

    /// Gives the slot of a handle back.
    pub(crate) fn leave(&self, slot: u32) {
        let mut state = self.lock();
        state.slots[slot as usize].batch += 1;
        state.free.push(slot);
        state.handles -= 1;
        if state.handles == 0 {
            wake(state.driver.take());
        }
    }

    /// Queues commands. What waited at the slot before is given up.
    pub(crate) fn send<'c>(
        &self,
        slot: u32,
        now: Instant,
        commands: impl Iterator<Item = &'c [Arg<'c>]>,
    ) -> Result<Ticket, Error> {
        let mut state = self.lock();
        if let Some(error) = &state.over {
            return Err(error.clone());
        }
        let State { outbox, queue, slots, .. } = &mut *state;
        let place = &mut slots[slot as usize];
        place.batch = place.batch.wrapping_add(1);
        place.replies.clear();
        place.expected = 0;
        let ticket = Ticket { slot, batch: place.batch };
        let (bytes_before, queued_before) = (outbox.len(), queue.len());
        for args in commands {
            let class = match classify(args) {
                Ok(class) => class,
                Err(refused) => {
                    // All or nothing.
                    outbox.truncate(bytes_before);
                    queue.truncate(queued_before);
                    return Err(refused.into());
                }
            };
            let start = outbox.len();
            encode(args, &mut |piece| outbox.extend_from_slice(piece));
            queue.push_back(Queued { ticket, class, len: outbox.len() - start, since: now });
            place.expected += 1;
        }
        wake(state.driver.take());
        Ok(ticket)
    }

    /// Waits until all replies are there, and exchanges them for `replies`.
    pub(crate) fn poll_replies(
        &self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        replies: &mut Replies,
    ) -> Poll<()> {
        let mut state = self.lock();
        let slot = &mut state.slots[ticket.slot as usize];
        if slot.replies.len() >= slot.expected {
            core::mem::swap(&mut slot.replies, replies);
            slot.replies.clear();
            return Poll::Ready(());
        }
        set_waker(&mut slot.waker, cx);
        Poll::Pending
    }

    /// Waits for the first connection, or the reason why there will be none.
    pub(crate) fn poll_started(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = self.lock();
        if let Some(error) = &state.over {
            return Poll::Ready(Err(error.clone()));
        }
        if state.started {
            return Poll::Ready(Ok(()));
        }
        set_waker(&mut state.starter, cx);
        Poll::Pending
    }

    pub(crate) fn status(&self) -> Status {
        self.lock().status
    }

    // The side of the driver.

    /// Takes the commands that were queued since the last time, if there are any. Registers for
    /// more. Says whether anybody is left who could send some.
    pub(crate) fn poll_outbox(
        &self,
        cx: &mut Context<'_>,
        bytes: &mut Vec<u8>,
        queue: &mut VecDeque<Queued>,
    ) -> bool {
        let mut state = self.lock();
        set_waker(&mut state.driver, cx);
        if queue.is_empty() {
            bytes.clear();
            core::mem::swap(bytes, &mut state.outbox);
            core::mem::swap(queue, &mut state.queue);
        }
        state.handles > 0
    }

    /// Opens the slots for a series of replies.
    pub(crate) fn deliver(&self) -> Delivery<'_> {
        Delivery { state: self.lock(), woken: false }
    }

    /// Learns that there is a connection.
    pub(crate) fn connected(&self) {
        let mut state = self.lock();
        state.status.connects += 1;
        state.started = true;
        wake(state.starter.take());
    }

    pub(crate) fn reauthenticated(&self) {
        self.lock().status.reauths += 1;
    }

    pub(crate) fn set_health(&self, now: Instant, health: Option<ConnectionHealth>) {
        self.lock().status.connection = health.map(|health| (now, health));
    }

    /// Ends for ever: who waits, and who comes, hears `error`.
    pub(crate) fn end(&self, error: &Error) {
        let mut state = self.lock();
        state.over = Some(error.clone());
        state.queue.clear();
        for slot in &mut state.slots {
            while slot.replies.len() < slot.expected {
                slot.replies.fail(Failure::Unavailable(Some(error.clone())));
            }
            wake(slot.waker.take());
        }
        wake(state.starter.take());
    }
}

/// The slots, open for replies. Who waits is woken at once: it finds the lock free, since the
/// driver's task and the waker's runtime don't run while this is held in a poll.
pub(crate) struct Delivery<'e> {
    state: MutexGuard<'e, State>,
    woken: bool,
}

impl Delivery<'_> {
    pub(crate) fn reply(&mut self, tag: u64, raw: &[u8]) {
        self.put(tag, |replies| replies.reply(raw));
    }

    pub(crate) fn fail(&mut self, tag: u64, failure: Failure) {
        self.put(tag, |replies| replies.fail(failure));
    }

    fn put(&mut self, tag: u64, put: impl FnOnce(&mut Replies)) {
        let ticket = Ticket::from_tag(tag);
        let slot = &mut self.state.slots[ticket.slot as usize];
        // A reply to a command that was given up has no place.
        if slot.batch != ticket.batch {
            return;
        }
        put(&mut slot.replies);
        if slot.replies.len() >= slot.expected {
            wake(slot.waker.take());
            self.woken = true;
        }
    }

    /// Fails what was queued and not taken for longer than a command may take, with `cause`.
    pub(crate) fn expire(
        &mut self,
        queue: &mut VecDeque<Queued>,
        expired: impl Fn(&Queued) -> bool,
        cause: Option<&Error>,
    ) -> usize {
        let mut bytes = 0;
        while queue.front().is_some_and(&expired) {
            if let Some(queued) = queue.pop_front() {
                bytes += queued.len;
                self.fail(queued.ticket.tag(), Failure::Unavailable(cause.cloned()));
            }
        }
        bytes
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn set_waker(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

/// That nothing of a command was sent.
pub(crate) const NOT_SENT: Outcome = Outcome::NotSent;
