//! The queue between the handles of a client and the driver of its connection.
//!
//! A handle encodes its commands into memory of its own, appends them to a common outbox and waits
//! at a slot; the driver takes the outbox as a whole, and puts replies into the slots. All memory
//! is used again, so that a command costs no allocation once its handle has warmed up.

mod batch;
mod queue;
mod renewal;
mod repeat;
mod session;
mod slot;
mod state;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use super::command_dispatcher::{Ended, QueueDemand, SubmitFn};
use super::dialed::Dialed;
use super::error::{Cause, Error};
use super::lock::Lock;
use redis_entraid_core::command::CommandRefused;
use redis_entraid_core::connection::{CloseReason, Config, Lost, Outcome};
use redis_entraid_core::storage::{Buffer, CapacityError};
use redis_entraid_core::time::Instant;
use redis_entraid_core::transport::Endpoint;

pub use batch::MAX_COMMAND;
use batch::MAX_SLOTS;
pub(super) use batch::{Batch, Failure, MAX_BATCH, Replies, Ticket};
pub(super) use queue::Limits;
pub(super) use repeat::Repeat;
pub(super) use session::Open;
use slot::Slot;
pub use state::QueueState;

/// The queue between the handles of a client and the driver of its connection.
pub struct CommandQueue<L> {
    state: L,
    /// Another connection is asked for.
    handover: AtomicBool,
    /// Its client has found that there is a cluster.
    is_cluster: AtomicBool,
    /// A connection has ended.
    has_ended: AtomicBool,
}

impl<L> fmt::Debug for CommandQueue<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommandQueue")
    }
}

/// A batch that was queued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) ticket: Ticket,
    /// The transaction or the `WATCH` of an earlier one that it came within.
    pub(super) session: Option<Open>,
}

impl<L: Lock<QueueState>> CommandQueue<L> {
    /// For connections that behave by `config`. While there is none, and behind others, a command
    /// waits as long as `queue_timeout` says, or else as for its reply.
    pub fn new(config: &Config, queue_timeout: Option<Duration>) -> Self {
        Self::with(Limits::new(config, queue_timeout))
    }

    pub(super) fn with(limits: Limits) -> Self {
        let [handover, is_cluster, has_ended] = [false; 3].map(AtomicBool::new);
        Self { state: L::new(QueueState::new(limits)), handover, is_cluster, has_ended }
    }

    fn lock(&self) -> L::Guard<'_> {
        self.state.lock()
    }

    // The side of the handles.

    /// Takes a slot for a new handle. More handles than a connection can have get [`NOWHERE`].
    /// The driver goes on for it if it `counts`.
    pub(super) fn enter(&self, counts: bool) -> u32 {
        let mut state = self.lock();
        state.handles += usize::from(counts);
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

    /// Whether commands have other places to go.
    pub(super) fn is_cluster(&self) -> bool {
        self.is_cluster.load(Ordering::Relaxed)
    }

    /// There is a cluster, or none.
    pub(super) fn set_cluster(&self, is_cluster: bool) {
        self.is_cluster.store(is_cluster, Ordering::Relaxed);
    }

    /// The longest that a command may block at the server.
    pub(super) fn max_block(&self) -> Duration {
        self.lock().limits.max_block
    }

    /// What commands may take, unless something else is said.
    pub(super) fn limits(&self) -> Limits {
        self.lock().limits
    }

    /// Whether the connection has taken no command yet, if there is one.
    pub(super) fn is_untried(&self) -> bool {
        self.lock().queue.begun().is_none()
    }

    /// Whether its connection leads to `address` and `port`; `own` is that of the client itself.
    pub(super) fn is_at(&self, address: Option<&str>, port: u16, own: bool) -> bool {
        let state = self.lock();
        let dialed = state.dialed.as_ref();
        dialed.is_some_and(|dialed| dialed.is(address, port, own))
    }

    /// The connection that the last reply of `slot` came from leads to the wrong server: another one
    /// is to be made.
    ///
    /// # Errors
    /// When to ask again, if it is too early.
    pub(super) fn renew(&self, slot: u32, now: Instant) -> Result<(), Instant> {
        let mut state = self.lock();
        let connection = state.slots.get(slot as usize).map_or(0, |slot| slot.connection);
        state.renew(now, connection)?;
        let waker = state.driver.take();
        drop(state);
        wake(waker);
        Ok(())
    }

    /// Gives the slot of a handle back.
    pub(super) fn leave(&self, slot: u32, counts: bool) {
        self.change(|state| state.leave(slot, counts));
    }

    /// The caller of the batch has gone.
    pub(super) fn withdraw(&self, ticket: Ticket) {
        self.change(|state| state.withdraw(ticket));
    }

    /// The session of `slot` is lost. Its next command gets that error, unless it was `told`.
    pub(super) fn lose_session(&self, slot: u32, told: bool) {
        self.change(|state| state.lose_session(slot, told));
    }

    /// Changes something that the driver has to see to.
    fn change(&self, change: impl FnOnce(&mut QueueState)) {
        let mut state = self.lock();
        change(&mut state);
        let waker = state.driver.take();
        drop(state);
        wake(waker);
    }

    /// Queues the commands of `batch`, until `by` if that is said, or else to wait for a connection
    /// until `wait` if that is. What waited at the slot before is given up.
    pub(super) fn send(
        &self,
        slot: u32,
        now: Instant,
        (by, wait): (Option<Instant>, Option<Instant>),
        batch: &Batch,
    ) -> Result<Sent, Error> {
        let mut state = self.lock();
        if let Some(error) = &state.over {
            return Err((**error).clone());
        }
        if state.closing {
            return Err(Error::Closed);
        }
        let before = state.session;
        let commands = batch.commands().iter();
        let after = commands.fold(before, |open, (class, _)| Open::after(open, slot, *class));
        if before.is_some_and(|open| open.slot != slot)
            || (before.is_none() && after.is_some() && state.handles > 1)
        {
            return Err(CommandRefused::Shared.into());
        }
        let QueueState { queue, slots, session, limits, .. } = &mut *state;
        let Some(place) = slots.get_mut(slot as usize) else {
            let all = MAX_SLOTS as usize;
            return Err(Error::TooLarge(CapacityError::new(Buffer::Ring, all + 1, all)));
        };
        if core::mem::take(&mut place.state_lost) {
            // What was to be executed together, or on a condition, isn't any more.
            return Err(Error::StateLost);
        }
        place.begin(batch.commands().len(), before.is_some());
        *session = after;
        let ticket = Ticket { slot, batch: place.batch, index: 0 };
        queue.push(now, *limits, ticket, batch, (by, wait));
        let waker = state.driver.take();
        drop(state);
        wake(waker);
        Ok(Sent { ticket, session: before })
    }

    /// Whether `slot` is in the middle of a transaction or of a `WATCH`.
    pub(super) fn has_session(&self, slot: u32) -> bool {
        self.lock().session.is_some_and(|open| open.slot == slot)
    }

    /// For how many bytes there is memory.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.lock().room()
    }

    /// Whether any is.
    pub(super) fn is_in_session(&self) -> bool {
        self.lock().session.is_some()
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

    /// Has `cx` woken when there are more commands. Says what they want; or that there are no handles
    /// left, and will be none.
    pub(super) fn update(&self, cx: &Context<'_>) -> Result<QueueDemand, Ended> {
        let mut state = self.lock();
        Self::attend(&mut state, cx)?;
        Ok(state.queue.demand())
    }

    fn attend(state: &mut QueueState, cx: &Context<'_>) -> Result<(), Ended> {
        set_waker(&mut state.driver, cx);
        state.tidy();
        if state.handles == 0 && !state.is_kept || state.is_closed() {
            state.over = Some(Box::new(Error::Closed));
            return Err(Ended::NotNeeded);
        }
        Ok(())
    }

    /// Gives commands to the connection, as many as it takes, and has `cx` woken for more. Says
    /// whether it took any.
    pub(super) fn submit(
        &self,
        cx: &Context<'_>,
        now: Instant,
        wakers: &mut Vec<Waker>,
        submit: &mut SubmitFn<'_>,
    ) -> Result<bool, Ended> {
        self.woken(wakers, |state, wakers| {
            Self::attend(state, cx)?;
            state.submit(now, wakers, submit)
        })
    }

    /// What the commands want that wait, or did lately.
    pub(super) fn demand(&self) -> QueueDemand {
        self.lock().queue.demand()
    }

    /// Fails what has waited for too long.
    pub(super) fn expire(
        &self,
        now: Instant,
        wakers: &mut Vec<Waker>,
        failure: impl Fn() -> Failure,
    ) {
        self.woken(wakers, |state, wakers| state.expire(now, wakers, failure));
    }

    /// Fails all that wait.
    pub(super) fn refuse(&self, wakers: &mut Vec<Waker>, failure: impl Fn() -> Failure) {
        self.woken(wakers, |state, wakers| state.refuse(wakers, failure));
    }

    /// Learns where the connection leads that there is now.
    pub(super) fn connected(&self, endpoint: &Endpoint<'_>) {
        let mut state = self.lock();
        (state.dialed, state.cause) = (Some(Dialed::new(endpoint)), None);
    }

    /// Notes why the connection breaks.
    pub(super) fn broke(&self, cause: Cause) {
        self.lock().cause = Some(cause);
    }

    /// Takes no more commands, and ends when those that were taken are answered.
    pub(super) fn close(&self) {
        self.change(|state| state.closing = true);
    }

    /// Whether its driver goes on also while there are no handles.
    pub(super) fn keep(&self, is_kept: bool) {
        self.change(|state| state.is_kept = is_kept);
    }

    /// The node is gone: what was not sent is to go elsewhere, and what was is waited for.
    pub(super) fn retire(&self) {
        let mut wakers = Vec::new();
        self.change(|state| {
            state.closing = true;
            state.refuse(&mut wakers, || Failure::Lost(Lost::new(Outcome::NotSent, None)));
        });
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Asks for another connection in the place of the one that there is.
    pub(super) fn hand_over(&self) {
        self.handover.store(true, Ordering::Relaxed);
        self.change(|_| {});
    }

    /// Whether that was asked for since the last call.
    pub(super) fn take_handover(&self) -> bool {
        let asked = self.handover.load(Ordering::Relaxed);
        if asked {
            self.handover.store(false, Ordering::Relaxed);
        }
        asked
    }

    /// Whether nothing is open on the connection that there is.
    pub(super) fn can_pause(&self) -> bool {
        self.lock().can_pause()
    }

    /// Notes that there is no connection any more.
    pub(super) fn disconnected(&self, reason: CloseReason, wakers: &mut Vec<Waker>) {
        self.has_ended.store(true, Ordering::Relaxed);
        self.woken(wakers, |state, wakers| state.disconnected(reason, wakers));
    }

    /// Whether a connection has ended since the last call.
    pub(super) fn take_ended(&self) -> bool {
        let has_ended = self.has_ended.load(Ordering::Relaxed);
        if has_ended {
            self.has_ended.store(false, Ordering::Relaxed);
        }
        has_ended
    }

    /// Changes what handles may wait for, and then wakes those.
    fn woken<R>(
        &self,
        wakers: &mut Vec<Waker>,
        change: impl FnOnce(&mut QueueState, &mut Vec<Waker>) -> R,
    ) -> R {
        let result = change(&mut self.lock(), wakers);
        wakers.drain(..).for_each(Waker::wake);
        result
    }

    /// Opens the slots for a series of replies. Their callers are woken at the end of it.
    pub(super) fn deliver<'e>(&'e self, wakers: &'e mut Vec<Waker>) -> Delivery<'e, L> {
        Delivery { state: Some(self.lock()), wakers }
    }

    /// Ends for ever: waiting and later callers get `error`.
    pub fn end(&self, error: &Error) {
        let wakers = self.lock().end(error);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// No slot.
const NOWHERE: u32 = u32::MAX;

/// The slots, open for replies.
pub(super) struct Delivery<'e, L: Lock<QueueState> + 'e> {
    state: Option<L::Guard<'e>>,
    /// The tasks to wake when the lock is free again.
    wakers: &'e mut Vec<Waker>,
}

impl<L: Lock<QueueState>> Delivery<'_, L> {
    pub(super) fn reply(&mut self, tag: u64, raw: &[u8]) {
        self.put(tag, Ok(raw));
    }

    /// A reply says that the command was not executed for want of a login.
    pub(super) fn no_login(&mut self, tag: u64, raw: &[u8]) {
        self.put(tag, Ok(raw));
        if let Some(state) = &mut self.state {
            state.hold_back(Ticket::from_tag(tag), self.wakers);
        }
    }

    pub(super) fn lost(&mut self, tag: u64, lost: Lost) {
        if let Some(state) = &self.state {
            let failure = state.lost(lost);
            self.fail(tag, failure);
        }
    }

    pub(super) fn fail(&mut self, tag: u64, failure: Failure) {
        self.put(tag, Err(failure));
    }

    fn put(&mut self, tag: u64, entry: Result<&[u8], Failure>) {
        if let Some(state) = &mut self.state {
            self.wakers.extend(state.put(Ticket::from_tag(tag), entry));
        }
    }

    /// Nothing was sent or received for a while.
    pub(super) fn give_back(&mut self) {
        if let Some(state) = &mut self.state {
            state.give_back();
        }
    }

    /// All replies are in: whether the connection has a session open.
    pub(super) fn settle(&mut self, is_open: bool) {
        if let Some(state) = &mut self.state {
            state.settle(is_open);
        }
    }
}

impl<L: Lock<QueueState>> Drop for Delivery<'_, L> {
    fn drop(&mut self) {
        self.state = None;
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// Wakes the waiting task, if there is one. Don't call it with a lock held.
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

#[cfg(test)]
mod tests;
