//! What the handles of a client share, and the rules for it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::task::Waker;

use redis_entraid_core::command::EncodedCommand;
use redis_entraid_core::connection::{CloseReason, Lost, Outcome, SubmitError};
use redis_entraid_core::time::Instant;

use super::super::command_dispatcher::{Ended, SubmitFn};
use super::super::dialed::Dialed;
use super::super::error::{Cause, Error};
use super::batch::{Failure, Ticket};
use super::queue::{Limits, Queue, Queued};
use super::renewal::Renewal;
use super::session::{Held, Open};
use super::slot::{Slot, waits};

/// What an [`CommandQueue`](super::CommandQueue) shares.
pub struct QueueState {
    pub(super) limits: Limits,
    pub(super) queue: Queue,
    pub(super) slots: Vec<Slot>,
    pub(super) free: Vec<u32>,
    pub(super) handles: usize,
    /// The driver goes on without handles.
    pub(super) is_kept: bool,
    /// What will be open when all that is queued has been executed.
    pub(super) session: Option<Open>,
    /// What is open on the connection, by what it was given.
    held: Held,
    /// So many commands in the queue, at most, are such that no caller waits for.
    withdrawn: usize,
    /// Where its connections lead, when there has been one.
    pub(super) dialed: Option<Dialed>,
    pub(super) renewal: Renewal,
    /// Why the last one broke, if it did.
    pub(super) cause: Option<Cause>,
    pub(super) driver: Option<Waker>,
    /// No more commands are taken.
    pub(super) closing: bool,
    /// The driver has ended and will not come back.
    pub(super) over: Option<Box<Error>>,
}

/// For a client that is configured as usual.
impl Default for QueueState {
    fn default() -> Self {
        Self::new(Limits::new(&redis_entraid_core::connection::Config::new(0), None))
    }
}

impl QueueState {
    pub(super) fn new(limits: Limits) -> Self {
        let (queue, slots, free, held) = Default::default();
        let (handles, session, withdrawn, driver, over) = (0, None, 0, None, None);
        let (dialed, renewal, cause) = (None, Renewal::new(limits.seed), None);
        Self {
            limits,
            queue,
            slots,
            free,
            handles,
            is_kept: false,
            session,
            held,
            withdrawn,
            dialed,
            renewal,
            cause,
            driver,
            closing: false,
            over,
        }
    }

    /// Records the outcome of a command. Returns the waker to wake.
    pub(super) fn put(&mut self, ticket: Ticket, entry: Result<&[u8], Failure>) -> Option<Waker> {
        // What becomes of a command that was given up has no place.
        let slot = self.slots.get_mut(ticket.slot as usize)?;
        let waits = slot.batch == ticket.batch && slot.expected > 0;
        slot.connection = self.renewal.connection();
        if waits && slot.put(ticket.index, entry) { slot.waker.take() } else { None }
    }

    fn fail(&mut self, queued: &[Queued], failure: &Failure, wakers: &mut Vec<Waker>) {
        for queued in queued {
            wakers.extend(self.put(queued.ticket, Err(failure.clone())));
        }
    }

    /// The caller of the batch of that number has gone. What of it was not given to the
    /// connection isn't any more, but for the end of a transaction that it has begun.
    pub(super) fn withdraw(&mut self, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(ticket.slot as usize) else { return };
        if slot.batch != ticket.batch || slot.expected == 0 {
            return;
        }
        self.withdrawn += slot.missing();
        slot.give_up();
        if self.concerns(ticket.slot) {
            let gone = self.purge();
            self.torn(ticket.slot, &gone, false);
        }
    }

    /// A handle has gone.
    pub(super) fn leave(&mut self, number: u32, counts: bool) {
        self.handles -= usize::from(counts);
        let Some(slot) = self.slots.get_mut(number as usize) else { return };
        self.withdrawn += slot.missing();
        slot.vacate();
        self.free.push(number);
        if self.concerns(number) {
            self.purge();
            self.session = self.session.filter(|open| open.slot != number);
            if self.held_in_the_end(number).is_some() {
                self.held = Held::Abandoned;
            }
        }
    }

    /// Whether `slot` has, or will have, something open.
    fn concerns(&self, slot: u32) -> bool {
        let is_its = |open: Option<Open>| open.is_some_and(|open| open.slot == slot);
        is_its(self.session) || is_its(self.held.open())
    }

    /// What `slot` will have open on the connection when all that is queued has been executed.
    fn held_in_the_end(&self, slot: u32) -> Option<Open> {
        let open = self.held.open().filter(|open| open.slot == slot);
        let its = self.queue.iter().filter(|queued| queued.ticket.slot == slot);
        its.fold(open, |open, queued| Open::after(open, slot, queued.class))
    }

    /// Takes those out of the queue that no caller waits for, if they are most of it: it takes as long
    /// as the queue is.
    pub(super) fn tidy(&mut self) {
        if self.withdrawn > self.queue.len() / 2 {
            self.purge();
        }
    }

    /// Takes those out of the queue that no caller waits for.
    fn purge(&mut self) -> Vec<Queued> {
        if core::mem::take(&mut self.withdrawn) == 0 {
            return Vec::new();
        }
        let (rest, slots) = (self.rest_of_transaction(), &self.slots);
        self.queue.withdraw(|at, queued| at >= rest && !waits(slots, queued))
    }

    /// Takes those out of the front of the queue that no caller waits for.
    fn purge_front(&mut self) {
        let in_transaction = self.held.open().is_some_and(|open| open.multi);
        let Self { slots, queue, .. } = self;
        // The rest of a transaction is sent even if no caller waits for it.
        let goes = |queue: &Queue, queued: &Queued| {
            waits(slots, queued) || in_transaction && queue.is_begun(queued)
        };
        while queue.iter().next().is_some_and(|queued| !goes(queue, queued)) {
            queue.drop_front();
            self.withdrawn = self.withdrawn.saturating_sub(1);
        }
    }

    /// How many commands at the front are sent even if their caller has gone: what lies between `MULTI` and `EXEC` is
    /// executed as a whole.
    fn rest_of_transaction(&self) -> usize {
        let in_transaction = self.held.open().is_some_and(|open| open.multi);
        if in_transaction { self.queue.rest_of_transaction() } else { 0 }
    }

    /// Sees to the session of `slot`, whose commands `gone` were taken out of the queue. Who was
    /// `told` what became of each, and has nothing open, knows.
    fn torn(&mut self, slot: u32, gone: &[Queued], told: bool) {
        let mut gone = gone.iter().filter(|queued| queued.ticket.slot == slot).peekable();
        if gone.peek().is_none() {
            return;
        }
        let open = self.held_in_the_end(slot);
        let in_session = self.slots.get(slot as usize).is_some_and(|slot| slot.in_session);
        let is_its = self.session.is_some_and(|session| session.slot == slot);
        let in_transaction = open.is_some_and(|open| open.multi);
        if in_transaction || is_its && gone.any(|queued| Open::is_changed_by(queued.class)) {
            self.lose_session(slot, told && open.is_none());
        } else if self.session.is_none() && in_session {
            // The transaction that would have ended it was withdrawn: keys are watched on.
            self.session = open;
        }
    }

    /// The transaction or `WATCH` of `slot` is lost. Its next command gets that error,
    /// unless it was `told`.
    pub(super) fn lose_session(&mut self, slot: u32, told: bool) {
        if self.held_in_the_end(slot).is_some() {
            self.held = Held::Abandoned;
        }
        self.session = self.session.filter(|session| session.slot != slot);
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.state_lost = !told;
        }
    }

    /// Sees to the sessions of those whose commands `gone` were taken out of the queue, and who were
    /// told.
    fn torn_all(&mut self, gone: &[Queued]) {
        let [session, held] = [self.session, self.held.open()].map(|open| open.map(|it| it.slot));
        for slot in session.into_iter().chain(held.filter(|_| held != session)) {
            self.torn(slot, gone, true);
        }
    }

    /// Asks for another connection than that of the number `connection`.
    ///
    /// # Errors
    /// When to ask again, if it is too early. A session is not torn for it: then there is nothing to
    /// wait for.
    pub(super) fn renew(&mut self, now: Instant, connection: u32) -> Result<(), Instant> {
        if self.session.is_some() || self.held != Held::Nothing {
            return Err(Instant::FAR_FUTURE);
        }
        self.renewal.ask(now, connection)
    }

    /// Gives commands to the connection, as many as it takes. Says whether it took any.
    pub(super) fn submit(
        &mut self,
        now: Instant,
        wakers: &mut Vec<Waker>,
        submit: &mut SubmitFn<'_>,
    ) -> Result<bool, Ended> {
        self.expire(now, wakers, || Failure::Lost(Lost::new(Outcome::NotSent, None)));
        let mut progress = false;
        loop {
            if self.held == Held::Abandoned {
                return Err(Ended::Abandoned);
            }
            self.purge_front();
            let front = self.queue.front(now, self.limits);
            // What was sent together in part goes as a whole.
            let is_begun = front.is_some_and(|(queued, ..)| self.queue.is_begun(&queued));
            if !is_begun && self.renewal.is_asked() {
                return if self.renewal.tell() { Err(Ended::Stale) } else { Ok(progress) };
            }
            let Some((queued, command, by)) = front else { return Ok(progress) };
            let failure = match submit(
                by,
                queued.ticket.tag(),
                EncodedCommand::from_parts(queued.class, command),
            ) {
                Ok(()) => None,
                Err(SubmitError::Refused(refused)) => Some(Failure::Refused(refused)),
                Err(SubmitError::TooLarge(error)) => Some(Failure::TooLarge(error)),
                // It waits, for a later turn or for its time to be over.
                Err(_) => return Ok(progress),
            };
            progress = true;
            match failure {
                None => {
                    self.queue.pop();
                    self.held = self.held.after(queued.ticket.slot, queued.class);
                }
                Some(failure) => self.refused(&queued, &failure, wakers),
            }
        }
    }

    /// The connection doesn't take the command in front. What it belongs to isn't executed without
    /// it.
    fn refused(&mut self, queued: &Queued, failure: &Failure, wakers: &mut Vec<Waker>) {
        let slot = queued.ticket.slot;
        let in_transaction = self.held.open().is_some_and(|open| open.multi);
        self.queue.drop_front();
        wakers.extend(self.put(queued.ticket, Err(failure.clone())));
        if in_transaction || self.session.is_some_and(|open| open.slot == slot) {
            let rest = self.queue.take(|_, other| other.ticket.batch() == queued.ticket.batch());
            self.fail(&rest, &Failure::StateLost, wakers);
            self.lose_session(slot, !rest.is_empty());
        }
    }

    /// Fails the commands whose time is over.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        wakers: &mut Vec<Waker>,
        failure: impl Fn() -> Failure,
    ) {
        if now < self.queue.due() {
            return;
        }
        let rest = self.rest_of_transaction();
        let (gone, told) = self.queue.expired(now, self.limits, rest);
        if !gone.is_empty() {
            self.fail(&gone, &failure(), wakers);
            self.torn_all(&gone);
        }
        // The `EXEC` is still to come.
        self.fail(&told, &Failure::Lost(Lost::new(Outcome::Unknown, None)), wakers);
    }

    /// Fails all that wait.
    pub(super) fn refuse(&mut self, wakers: &mut Vec<Waker>, failure: impl Fn() -> Failure) {
        let gone = self.queue.take(|_, _| true);
        if !gone.is_empty() {
            self.fail(&gone, &failure(), wakers);
            self.torn_all(&gone);
        }
    }

    /// Notes that a command of the batch was not executed for want of a login. What of it wasn't
    /// sent would overtake it.
    pub(super) fn hold_back(&mut self, ticket: Ticket, wakers: &mut Vec<Waker>) {
        let gone = self.queue.take(|_, queued| queued.ticket.batch() == ticket.batch());
        self.fail(&gone, &Failure::NoLogin, wakers);
        if !gone.is_empty() && self.held.open().is_some_and(|open| open.slot == ticket.slot) {
            // What would have ended it is not sent.
            self.held = Held::Abandoned;
        }
    }

    /// A command that was lost, with what the network says of it.
    pub(super) fn lost(&self, lost: Lost) -> Failure {
        match (&self.cause, lost.reason) {
            (Some(cause), Some(CloseReason::Broken(_))) => Failure::Broke(lost, cause.clone()),
            _ => Failure::Lost(lost),
        }
    }

    /// Whether no more commands are taken, and all that were are answered.
    pub(super) fn is_closed(&self) -> bool {
        self.closing && self.queue.is_empty() && self.slots.iter().all(|slot| slot.missing() == 0)
    }

    /// Whether nothing is open on the connection, by what it was given.
    pub(super) fn can_pause(&self) -> bool {
        self.held == Held::Nothing
    }

    /// Notes that there is no connection any more. What is left of a batch of which a part was sent
    /// does not go to another one: it would be torn. Nor does what relies on a session that was open.
    /// But one that was replaced has answered all that it was given, and the next one goes on there.
    pub(super) fn disconnected(&mut self, reason: CloseReason, wakers: &mut Vec<Waker>) {
        if reason == CloseReason::Replaced && self.can_pause() {
            self.renewal.disconnected();
            return;
        }
        self.purge();
        let held = self.held.open();
        let queue = &mut self.queue;
        let begun = queue.begun();
        let mut rest = queue.take(|_, queued| begun == Some(queued.ticket.batch()));
        let relying = queue.take(|_, queued| held.is_some_and(|it| it.slot == queued.ticket.slot));
        queue.disconnected();
        self.renewal.disconnected();
        self.held = Held::Nothing;
        let lost = self.lost(Lost::new(Outcome::NotSent, Some(reason)));
        if self.is_kept {
            // A node: another one may have the slots by now.
            rest.extend(self.queue.take(|_, _| true));
        }
        self.fail(&rest, &lost, wakers);
        self.fail(&relying, &Failure::StateLost, wakers);
        let torn = held.map(|open| open.slot).or(rest.first().map(|queued| queued.ticket.slot));
        if let Some(session) = self.session
            && torn == Some(session.slot)
        {
            self.session = None;
            if let Some(slot) = self.slots.get_mut(session.slot as usize) {
                // Who heard of it knows.
                slot.state_lost = relying.is_empty();
            }
        }
    }

    /// All replies are in. The connection knows best whether there is a session: `MULTI` or `WATCH`
    /// may have been refused, or `DISCARD`.
    pub(super) fn settle(&mut self, is_open: bool) {
        if !self.queue.is_empty() || self.held == Held::Abandoned {
            return;
        }
        if !is_open {
            (self.held, self.session) = (Held::Nothing, None);
        } else if self.session.is_none() {
            self.held = Held::Abandoned;
        }
    }

    /// Nothing was sent or received for a while: gives memory back that was needed before.
    pub(super) fn give_back(&mut self) {
        self.queue.forget();
        for slot in self.slots.iter_mut().filter(|slot| slot.expected == 0) {
            slot.replies.forget();
        }
        if self.queue.is_empty() {
            self.give_slots_back();
        }
    }

    /// Frees the last slots that no handle has. There must be no command in flight,
    /// whose reply could go to the next owner of that slot.
    fn give_slots_back(&mut self) {
        let Self { free, slots, .. } = self;
        free.sort_unstable_by(|one, other| other.cmp(one));
        let last = (0..slots.len()).rev();
        let gone =
            free.iter().zip(last).take_while(|(free, last)| **free as usize == *last).count();
        if gone > 0 {
            free.drain(..gone);
            free.shrink_to_fit();
            slots.truncate(slots.len() - gone);
            slots.shrink_to_fit();
        }
    }

    /// For how many bytes there is memory.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        let slots = self.slots.iter().map(|slot| slot.replies.bytes.capacity());
        self.queue.room() + slots.sum::<usize>() + self.slots.capacity() * size_of::<Slot>()
    }

    /// Waiting and later callers get `error` from now on.
    pub(super) fn end(&mut self, error: &Error) -> Vec<Waker> {
        let mut wakers = Vec::new();
        if self.over.is_none() {
            self.over = Some(Box::new(error.clone()));
            let waiting = self.queue.take(|_, _| true);
            self.fail(&waiting, &Failure::Unavailable(Some(error.clone())), &mut wakers);
            // How far the others came is unknown.
            let unknown = Lost::new(Outcome::Unknown, Some(CloseReason::Closed));
            for slot in &mut self.slots {
                wakers.extend(slot.fail_rest(&Failure::Lost(unknown)));
            }
        }
        wakers
    }
}

impl fmt::Debug for QueueState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueueState")
    }
}
