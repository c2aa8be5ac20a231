//! Where the handles of a client and what drives its connection meet.
//!
//! A handle encodes its commands into memory of its own, appends them to a common outbox and waits
//! at a slot; the driver takes the outbox as a whole, and puts replies into the slots. All memory
//! is used again, so that a command costs no allocation once its handle has warmed up.

mod batch;
mod outbox;
mod session;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll, Waker};

use super::error::Error;
use super::share::Share;
use crate::command::Refused;
use crate::connection::{CloseReason, Lost, Outcome};
use crate::recent::Recent;
use crate::storage::{Buffer, CapacityError};
use crate::time::Instant;

pub use batch::MAX_COMMAND;
pub(super) use batch::{Batch, Failure, Queued, Replies, Ticket};
use batch::{MAX_BATCHES, MAX_SLOTS};
pub(super) use outbox::Outbox;
use session::Session;

#[derive(Debug, Default)]
struct Slot {
    batch: u32,
    /// How many replies it waits for.
    expected: usize,
    replies: Replies,
    /// What failed before its turn, in order: replies come in the order of the commands.
    early: Vec<(u32, Failure)>,
    waker: Option<Waker>,
}

impl Slot {
    /// Takes in what became of command number `index`. Says whether that was the last one.
    fn put(&mut self, index: u32, entry: Result<&[u8], Failure>) -> bool {
        match entry {
            Ok(raw) => self.replies.reply(raw),
            Err(failure) => {
                let place = self.early.partition_point(|(early, _)| *early < index);
                self.early.insert(place, (index, failure));
            }
        }
        while let Some((early, _)) = self.early.first()
            && *early as usize <= self.replies.len()
        {
            self.replies.fail(self.early.remove(0).1);
        }
        self.replies.len() >= self.expected
    }
}

/// What an [`Exchange`] shares.
#[derive(Default)]
pub struct State {
    outbox: Vec<u8>,
    queue: VecDeque<Queued>,
    recent: Recent,
    slots: Vec<Slot>,
    free: Vec<u32>,
    handles: usize,
    session: Session,
    /// Sessions below this number came to nothing: what is still to be sent of them isn't.
    dead: u32,
    /// Handles that have left since the driver last looked.
    left: Vec<u32>,
    /// There may be commands that are not to be sent any more.
    purge: bool,
    /// Something is open on the connection that is nobody's: it must not serve others.
    abandoned: bool,
    driver: Option<Waker>,
    /// The driver has ended and will not come back.
    over: Option<Error>,
}

impl State {
    /// The session comes to nothing. `begun` says that the server knows of it.
    fn lose_session(&mut self, begun: bool) {
        self.session.lost = true;
        self.dead = self.session.id + 1;
        self.purge = true;
        self.abandoned |= begun;
    }

    /// Notes that `queued` will not be executed. Answers with who is to be woken.
    fn fail(&mut self, queued: &Queued, failure: Failure) -> Option<Waker> {
        let Ticket { slot, batch, index } = queued.ticket;
        let place = self.slots.get_mut(slot as usize).filter(|place| place.batch == batch)?;
        if matches!(failure, Failure::StateLost) && self.session.owner == Some(slot) {
            // Now it was told.
            self.session = self.session.over();
        }
        if place.put(index, Err(failure)) { place.waker.take() } else { None }
    }

    /// Takes out of `queue` what is not to be sent any more, but for what is begun.
    fn purge(&mut self, queue: &mut VecDeque<Queued>, begun: Option<(u32, u32)>) -> Vec<Waker> {
        let mut wakers = Vec::new();
        queue.retain(|queued| {
            let ticket = queued.ticket;
            let dead = queued.session.is_some_and(|session| session < self.dead);
            if ticket.is_of(begun) {
                return true;
            }
            if dead {
                wakers.extend(self.fail(queued, Failure::StateLost));
            }
            !dead && !self.left.contains(&ticket.slot)
        });
        wakers
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}

/// Where the handles of a client and what drives its connection meet.
pub struct Exchange<L>(L);

impl<L: Share<State>> Default for Exchange<L> {
    fn default() -> Self {
        Self(L::new(State::default()))
    }
}

impl<L> fmt::Debug for Exchange<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}

/// What the driver finds when it asks for commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// There are handles.
    Wanted,
    /// There are, but the connection must be given up: a transaction was left open on it.
    Abandoned,
    /// There are none left, and there will be none.
    Unneeded,
}

impl<L: Share<State>> Exchange<L> {
    fn lock(&self) -> L::Guard<'_> {
        self.0.lock()
    }

    // The side of the handles.

    /// Takes a slot for a new handle. More handles than a connection can have get [`NOWHERE`].
    pub(super) fn enter(&self) -> u32 {
        let mut state = self.lock();
        state.handles += 1;
        state.free.pop().unwrap_or_else(|| match u32::try_from(state.slots.len()) {
            Ok(slot) if slot < MAX_SLOTS => {
                if slot == 0 {
                    // There is often no other one.
                    state.slots.reserve_exact(1);
                }
                state.slots.push(Slot::default());
                slot
            }
            _ => NOWHERE,
        })
    }

    /// Whether there is still a driver.
    pub(super) fn is_alive(&self) -> bool {
        self.lock().over.is_none()
    }

    /// Gives the slot of a handle back.
    pub(super) fn leave(&self, slot: u32) {
        let mut state = self.lock();
        state.handles -= 1;
        if let Some(place) = state.slots.get_mut(slot as usize) {
            *place = Slot { batch: place.batch, ..Slot::default() };
            state.free.push(slot);
        }
        // What it has queued is not sent; the driver sees to what it has taken already.
        state.queue.retain(|queued| queued.ticket.slot != slot);
        state.left.push(slot);
        state.purge = true;
        if state.session.owner == Some(slot) {
            state.abandoned |= !state.session.lost;
            state.session = state.session.over();
        }
        let waker = state.driver.take();
        drop(state);
        wake(waker);
    }

    /// Queues the commands of `batch`. What waited at the slot before is given up.
    pub(super) fn send(&self, slot: u32, now: Instant, batch: &Batch) -> Result<Ticket, Error> {
        let mut state = self.lock();
        if let Some(error) = &state.over {
            return Err(error.clone());
        }
        let before = state.session;
        let after = before.after(slot, &batch.commands);
        if before.owner.is_some_and(|owner| owner != slot)
            || (before.owner.is_none() && after.owner.is_some() && state.handles > 1)
        {
            return Err(Refused::Shared.into());
        }
        if before.lost {
            // What was to be executed together, or on a condition, isn't any more.
            state.session = before.over();
            return Err(Error::StateLost);
        }
        let State { outbox, queue, slots, session: current, .. } = &mut *state;
        let Some(place) = slots.get_mut(slot as usize) else {
            let all = MAX_SLOTS as usize;
            return Err(Error::TooLarge(CapacityError::new(Buffer::Ring, all + 1, all)));
        };
        place.batch = (place.batch + 1) % MAX_BATCHES;
        place.replies.clear();
        place.early.clear();
        place.expected = batch.commands.len();
        *current = after;
        let session = before.owner.or(after.owner).map(|_| before.id);
        let ticket = Ticket { slot, batch: place.batch, index: 0 };
        let mut start = outbox.len();
        outbox.extend_from_slice(&batch.bytes);
        queue.extend((0..).zip(&batch.commands).map(|(index, &(class, len))| {
            start += len;
            let ticket = Ticket { index, ..ticket };
            Queued { ticket, class, start: start - len, len, since: now, session }
        }));
        let waker = state.driver.take();
        drop(state);
        wake(waker);
        Ok(ticket)
    }

    /// Whether `slot` is in the middle of a transaction or of a `WATCH`.
    pub(super) fn has_session(&self, slot: u32) -> bool {
        self.lock().session.owner == Some(slot)
    }

    /// Whether any is.
    pub(super) fn is_in_session(&self) -> bool {
        self.lock().session.owner.is_some()
    }

    /// Waits until all replies are there, and exchanges them for `replies`.
    pub(super) fn poll_replies(
        &self,
        cx: &Context<'_>,
        ticket: Ticket,
        replies: &mut Replies,
    ) -> Poll<()> {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(ticket.slot as usize) else { return Poll::Pending };
        if slot.replies.len() >= slot.expected {
            core::mem::swap(&mut slot.replies, replies);
            slot.replies.clear();
            slot.expected = 0;
            return Poll::Ready(());
        }
        set_waker(&mut slot.waker, cx);
        Poll::Pending
    }

    // The side of the driver.

    /// Takes the commands that were queued since the last time, if all earlier ones are gone, and
    /// registers for more. Says since when the oldest waits that was not taken.
    fn poll_outbox(
        &self,
        cx: &Context<'_>,
        bytes: &mut Vec<u8>,
        queue: &mut VecDeque<Queued>,
        begun: Option<(u32, u32)>,
    ) -> (Demand, Option<Instant>) {
        let mut state = self.lock();
        set_waker(&mut state.driver, cx);
        let wakers = if core::mem::take(&mut state.purge) {
            let mut wakers = state.purge(queue, begun);
            // What is queued here since is of those who have their slots now.
            state.left.clear();
            let mut waiting = core::mem::take(&mut state.queue);
            wakers.append(&mut state.purge(&mut waiting, begun));
            state.queue = waiting;
            wakers
        } else {
            Vec::new()
        };
        if queue.is_empty() {
            let State { outbox, queue: waiting, recent, .. } = &mut *state;
            recent.used(waiting.len(), outbox.len().max(waiting.len() * size_of::<Queued>()));
            recent.clear(bytes);
            recent.clear_queue(queue);
            core::mem::swap(bytes, outbox);
            core::mem::swap(queue, waiting);
        }
        let demand = if state.handles == 0 {
            state.over = Some(Error::Closed);
            Demand::Unneeded
        } else if core::mem::take(&mut state.abandoned) {
            Demand::Abandoned
        } else {
            Demand::Wanted
        };
        let oldest = state.queue.front().map(|queued| queued.since);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        (demand, oldest)
    }

    /// Opens the slots for a series of replies. Who waits for one is woken when that is over.
    fn deliver<'e>(&'e self, wakers: &'e mut Vec<Waker>) -> Delivery<'e, L> {
        Delivery { state: Some(self.lock()), wakers }
    }

    /// Learns that there is no connection any more, and of which session it knew last.
    fn disconnected(&self, session: Option<u32>) {
        let mut state = self.lock();
        if let Some(session) = session {
            if state.session.owner.is_some() && state.session.id == session {
                state.lose_session(false);
            }
            // What is still to be sent of one that was about to end doesn't go to another one.
            state.dead = state.dead.max(session + 1);
            state.purge = true;
        }
        state.abandoned = false;
    }

    /// Ends for ever: who waits, and who comes, hears `error`.
    pub fn end(&self, error: &Error) {
        let mut state = self.lock();
        if state.over.is_some() {
            return;
        }
        state.over = Some(error.clone());
        let mut wakers = Vec::new();
        for queued in core::mem::take(&mut state.queue) {
            wakers.extend(state.fail(&queued, Failure::Unavailable(Some(error.clone()))));
        }
        // Of the others nobody knows any more how far they came.
        let unknown = Lost::new(Outcome::Unknown, Some(CloseReason::Closed));
        for slot in &mut state.slots {
            while slot.replies.len() < slot.expected {
                slot.put(slot.replies.len() as u32, Err(Failure::Lost(unknown)));
            }
            wakers.extend(slot.waker.take());
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Nobody's slot.
const NOWHERE: u32 = u32::MAX;

/// The slots, open for replies.
pub(super) struct Delivery<'e, L: Share<State> + 'e> {
    state: Option<L::Guard<'e>>,
    /// Who is to be woken when the lock is free again.
    wakers: &'e mut Vec<Waker>,
}

impl<L: Share<State>> Delivery<'_, L> {
    pub(super) fn reply(&mut self, tag: u64, raw: &[u8]) {
        self.put(tag, Ok(raw));
    }

    pub(super) fn fail(&mut self, tag: u64, failure: Failure) {
        self.put(tag, Err(failure));
    }

    fn put(&mut self, tag: u64, entry: Result<&[u8], Failure>) {
        let ticket = Ticket::from_tag(tag);
        let Some(state) = &mut self.state else { return };
        let Some(slot) = state.slots.get_mut(ticket.slot as usize) else { return };
        // A reply to a command that was given up has no place.
        if slot.batch == ticket.batch && slot.put(ticket.index, entry) {
            self.wakers.extend(slot.waker.take());
        }
    }

    /// `queued` was not sent. If the connection knows of its session, `begun`, it must come to
    /// nothing there.
    fn unsent(&mut self, queued: &Queued, failure: Failure, begun: bool) {
        let Some(state) = &mut self.state else { return };
        self.wakers.extend(state.fail(queued, failure));
        let Session { id, owner, lost, .. } = state.session;
        if queued.session == Some(id) && owner.is_some() && !lost {
            state.lose_session(begun);
        }
    }

    /// Fails what was queued no later than `until`. The connection knows of the session `begun`.
    fn expire(&mut self, until: Instant, begun: Option<u32>, failure: impl Fn() -> Failure) {
        while let Some(queued) = self.state.as_mut().and_then(|state| {
            let late = state.queue.front().is_some_and(|queued| queued.since <= until);
            if late { state.queue.pop_front() } else { None }
        }) {
            self.unsent(&queued, failure(), begun.is_some() && queued.session == begun);
        }
    }

    /// All replies are in. The connection knows best whether there is a session: `MULTI` or
    /// `WATCH` may have been refused, or `DISCARD`.
    pub(super) fn settle(&mut self, is_open: bool) {
        let Some(state) = &mut self.state else { return };
        let Session { owner, lost, .. } = state.session;
        if state.queue.is_empty() {
            state.abandoned |= is_open && (lost || owner.is_none());
            if !lost && owner.is_some() != is_open {
                state.session = state.session.over();
            }
        }
    }
}

impl<L: Share<State>> Drop for Delivery<'_, L> {
    fn drop(&mut self) {
        self.state = None;
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// Wakes who waits, if somebody does. Not to be called with a lock held.
pub fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

pub(super) fn set_waker(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}
