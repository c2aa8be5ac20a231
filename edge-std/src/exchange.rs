//! Where the handles of a client and the driver of its connection meet.
//!
//! A handle encodes its commands into memory of its own, appends them to a common outbox and waits
//! at a slot; the driver takes the outbox as a whole, and puts replies into the slots. All memory
//! is used again, so that a command costs no allocation once its handle has warmed up.

mod batch;
mod outbox;
mod session;

use core::fmt;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redis_entraid_core::command::Refused;
use redis_entraid_core::connection::Outcome;
use redis_entraid_core::time::Instant;

pub(crate) use batch::{Batch, Failure, Queued, Replies, Ticket};
pub(crate) use outbox::Outbox;
use session::Session;

use crate::error::Error;

#[derive(Debug, Default)]
struct Slot {
    batch: u32,
    /// How many replies it waits for.
    expected: usize,
    replies: Replies,
    waker: Option<Waker>,
}

#[derive(Default)]
struct State {
    outbox: Vec<u8>,
    queue: VecDeque<Queued>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    handles: usize,
    session: Session,
    /// The session came to nothing: the connection must not serve others with it.
    abandoned: bool,
    /// How many connections there were before this one.
    connection: u32,
    driver: Option<Waker>,
    /// The driver has ended and will not come back.
    over: Option<Error>,
}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Exchange(Mutex<State>);

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}

/// What the driver finds when it asks for commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// There are handles.
    Wanted,
    /// There are, but the connection must be given up: a transaction was left open on it.
    Abandoned,
    /// There are none left, and there will be none.
    Unneeded,
}

impl Exchange {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked did so in code that leaves the state whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Whether there is still a driver.
    pub(crate) fn is_alive(&self) -> bool {
        self.lock().over.is_none()
    }

    /// Gives the slot of a handle back.
    pub(crate) fn leave(&self, slot: u32) {
        let mut state = self.lock();
        let place = &mut state.slots[slot as usize];
        *place = Slot { batch: place.batch.wrapping_add(1), ..Slot::default() };
        state.free.push(slot);
        state.handles -= 1;
        if state.session.owner == Some(slot) {
            state.abandoned = !state.session.lost;
            state.session = Session::default();
        }
        let waker = state.driver.take();
        drop(state);
        wake(waker);
    }

    /// Queues the commands of `batch`. What waited at the slot before is given up.
    pub(crate) fn send(&self, slot: u32, now: Instant, batch: &Batch) -> Result<Ticket, Error> {
        let mut state = self.lock();
        if let Some(error) = &state.over {
            return Err(error.clone());
        }
        let owner = state.session.owner;
        let after = state.session.after(slot, &batch.commands);
        if owner.is_some_and(|owner| owner != slot)
            || (owner.is_none() && after.owner.is_some() && state.handles > 1)
        {
            return Err(Refused::Shared.into());
        }
        if state.session.lost {
            // What was to be executed together, or on a condition, isn't any more.
            state.session = Session::default();
            return Err(Error::StateLost);
        }
        state.session = after;
        let bound = owner.map(|_| state.connection);
        let State { outbox, queue, slots, .. } = &mut *state;
        let place = &mut slots[slot as usize];
        place.batch = place.batch.wrapping_add(1);
        place.replies.clear();
        place.expected = batch.commands.len();
        let ticket = Ticket { slot, batch: place.batch };
        outbox.extend_from_slice(&batch.bytes);
        let queued = |&(class, len): &_| Queued { ticket, class, len, since: now, bound };
        queue.extend(batch.commands.iter().map(queued));
        let waker = state.driver.take();
        drop(state);
        wake(waker);
        Ok(ticket)
    }

    /// Whether `slot` is in the middle of a transaction or of a `WATCH`.
    pub(crate) fn has_session(&self, slot: u32) -> bool {
        self.lock().session.owner == Some(slot)
    }

    /// Waits until all replies are there, and exchanges them for `replies`.
    pub(crate) fn poll_replies(
        &self,
        cx: &Context<'_>,
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

    // The side of the driver.

    /// Takes the commands that were queued since the last time, if all earlier ones are gone.
    /// Registers for more.
    fn poll_outbox(
        &self,
        cx: &Context<'_>,
        bytes: &mut Vec<u8>,
        queue: &mut VecDeque<Queued>,
    ) -> Demand {
        let mut state = self.lock();
        set_waker(&mut state.driver, cx);
        if queue.is_empty() {
            bytes.clear();
            core::mem::swap(bytes, &mut state.outbox);
            core::mem::swap(queue, &mut state.queue);
        }
        if state.handles == 0 {
            state.over = Some(Error::Closed);
            Demand::Unneeded
        } else if core::mem::take(&mut state.abandoned) {
            Demand::Abandoned
        } else {
            Demand::Wanted
        }
    }

    /// Opens the slots for a series of replies. Who waits for one is woken when that is over.
    fn deliver<'e>(&'e self, wakers: &'e mut Vec<Waker>) -> Delivery<'e> {
        Delivery { state: Some(self.lock()), wakers }
    }

    /// Learns that there is no connection any more, and with it no session. Answers with the
    /// number of the next one.
    fn disconnected(&self) -> u32 {
        let mut state = self.lock();
        state.connection = state.connection.wrapping_add(1);
        state.session.lost = state.session.owner.is_some();
        state.abandoned = false;
        state.connection
    }

    /// Ends for ever: who waits, and who comes, hears `error`.
    pub(crate) fn end(&self, error: &Error) {
        let mut state = self.lock();
        if state.over.is_some() {
            return;
        }
        state.over = Some(error.clone());
        state.queue.clear();
        let mut wakers = Vec::new();
        for slot in &mut state.slots {
            while slot.replies.len() < slot.expected {
                slot.replies.fail(Failure::Unavailable(Some(error.clone())));
            }
            wakers.extend(slot.waker.take());
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The slots, open for replies.
pub(crate) struct Delivery<'e> {
    state: Option<MutexGuard<'e, State>>,
    /// Who is to be woken when the lock is free again.
    wakers: &'e mut Vec<Waker>,
}

impl Delivery<'_> {
    pub(crate) fn reply(&mut self, tag: u64, raw: &[u8]) {
        self.put(tag, |replies| replies.reply(raw));
    }

    pub(crate) fn fail(&mut self, tag: u64, failure: Failure) {
        let slot = Ticket::from_tag(tag).slot;
        if let Some(state) = &mut self.state
            && state.session.owner == Some(slot)
        {
            match &failure {
                Failure::StateLost => state.session = Session::default(),
                // A part of it was not sent: what there is of it must come to nothing.
                Failure::Unavailable(_) | Failure::Refused(_) | Failure::TooLarge(_) => {
                    (state.session.lost, state.abandoned) = (true, true);
                }
                Failure::Lost(lost) if lost.outcome == Outcome::NotSent => {
                    (state.session.lost, state.abandoned) = (true, true);
                }
                Failure::Lost(_) | Failure::ReplyTooLarge(_) => {}
            }
        }
        self.put(tag, |replies| replies.fail(failure));
    }

    fn put(&mut self, tag: u64, put: impl FnOnce(&mut Replies)) {
        let ticket = Ticket::from_tag(tag);
        let Some(state) = &mut self.state else { return };
        let slot = &mut state.slots[ticket.slot as usize];
        // A reply to a command that was given up has no place.
        if slot.batch != ticket.batch {
            return;
        }
        put(&mut slot.replies);
        if slot.replies.len() >= slot.expected {
            self.wakers.extend(slot.waker.take());
        }
    }
}

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        self.state = None;
        self.wakers.drain(..).for_each(Waker::wake);
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
