//! The driver's side of the queue.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::task::{Context, Waker};
use core::time::Duration;

use crate::connection::{Lost, Outcome};
use crate::time::Instant;

use super::super::share::Share;
use super::{Delivery, Demand, Exchange, Failure, Queued, State};

/// Commands that were taken from the handles and not given to a connection yet.
#[derive(Debug, Default)]
pub(in super::super) struct Outbox {
    bytes: Vec<u8>,
    queue: VecDeque<Queued>,
    /// The batch, by slot and number, of which the connection was last given a command.
    begun: Option<(u32, u32)>,
    /// The session of which it was last given one.
    session: Option<u32>,
    /// Since when others wait that will be taken when these are gone.
    behind: Option<Instant>,
    wakers: Vec<Waker>,
}

impl Outbox {
    /// Takes more commands when there are none left.
    pub(in super::super) fn poll<L: Share<State>>(
        &mut self,
        exchange: &Exchange<L>,
        cx: &Context<'_>,
    ) -> Demand {
        let (demand, behind) =
            exchange.poll_outbox(cx, &mut self.bytes, &mut self.queue, self.begun);
        self.behind = behind;
        demand
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next command, its bytes, and until when its reply is waited for.
    pub(in super::super) fn front(
        &self,
        now: Instant,
        timeout: Duration,
    ) -> Option<(Queued, &[u8], Instant)> {
        let queued = *self.queue.front()?;
        // Within a batch each has its time from when its turn comes.
        let since = if queued.ticket.is_of(self.begun) { now } else { queued.since };
        let bytes = self.bytes.get(queued.start..queued.start + queued.len)?;
        Some((queued, bytes, since.plus(timeout)))
    }

    /// The command in front was given to the connection.
    pub(in super::super) fn sent(&mut self) {
        if let Some(queued) = self.queue.pop_front() {
            self.begun = Some((queued.ticket.slot, queued.ticket.batch));
            self.session = queued.session.or(self.session);
        }
    }

    /// The command in front will not be sent.
    pub(in super::super) fn fail<L: Share<State>>(
        &mut self,
        exchange: &Exchange<L>,
        failure: Failure,
    ) {
        self.remove(exchange, 0, failure);
    }

    fn remove<L: Share<State>>(&mut self, exchange: &Exchange<L>, at: usize, failure: Failure) {
        if let Some(queued) = self.queue.remove(at) {
            let begun = self.session.is_some() && queued.session == self.session;
            self.deliver(exchange).unsent(&queued, failure, begun);
        }
    }

    /// Where the commands begin of which none of the same batch was sent. What is begun stays
    /// whole: it may be a transaction.
    fn first_unbegun(&self) -> usize {
        self.queue.partition_point(|queued| queued.ticket.is_of(self.begun))
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(in super::super) fn deadline(&self, timeout: Duration) -> Instant {
        let oldest = self.queue.get(self.first_unbegun()).map(|queued| queued.since);
        oldest.or(self.behind).map_or(Instant::FAR_FUTURE, |since| since.plus(timeout))
    }

    /// Fails what has waited for longer than `timeout`. Says whether there was something.
    pub(in super::super) fn expire<L: Share<State>>(
        &mut self,
        exchange: &Exchange<L>,
        now: Instant,
        timeout: Duration,
        failure: impl Fn() -> Failure,
    ) -> bool {
        if now < self.deadline(timeout) {
            return false;
        }
        let at = self.first_unbegun();
        while self.queue.get(at).is_some_and(|queued| now >= queued.since.plus(timeout)) {
            self.remove(exchange, at, failure());
        }
        if self.behind.is_some_and(|since| now >= since.plus(timeout)) {
            let session = self.session;
            self.deliver(exchange).expire(now.minus(timeout), session, failure);
            self.behind = None;
        }
        true
    }

    /// Fails all that wait.
    pub(in super::super) fn fail_all<L: Share<State>>(
        &mut self,
        exchange: &Exchange<L>,
        failure: impl Fn() -> Failure,
    ) {
        while !self.queue.is_empty() {
            self.fail(exchange, failure());
        }
    }

    /// The connection has ended. What is left of a batch of which a part was sent does not go to
    /// another one: it would be torn.
    pub(in super::super) fn disconnected<L: Share<State>>(
        &mut self,
        exchange: &Exchange<L>,
        lost: Lost,
    ) {
        while self.first_unbegun() > 0 {
            self.fail(exchange, Failure::Lost(Lost::new(Outcome::NotSent, lost.reason)));
        }
        self.begun = None;
        exchange.disconnected(self.session.take());
    }

    /// Opens the slots for a series of replies.
    pub(in super::super) fn deliver<'e, L: Share<State>>(
        &'e mut self,
        exchange: &'e Exchange<L>,
    ) -> Delivery<'e, L> {
        exchange.deliver(&mut self.wakers)
    }
}
