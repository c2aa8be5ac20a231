//! The driver's side of the queue.

use core::task::{Context, Waker};
use core::time::Duration;
use std::collections::VecDeque;

use redis_entraid_core::connection::{Lost, Outcome};
use redis_entraid_core::time::Instant;

use super::{Delivery, Demand, Exchange, Failure, Queued, Ticket};

/// Commands that were taken from the handles and not given to a connection yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// How much of `bytes` is gone.
    used: usize,
    queue: VecDeque<Queued>,
    /// The batch of which a connection was last given a command.
    begun: Option<Ticket>,
    /// Which connection that was.
    connection: u32,
    wakers: Vec<Waker>,
}

impl Outbox {
    /// Takes more commands when there are none left.
    pub(crate) fn poll(&mut self, exchange: &Exchange, cx: &Context<'_>) -> Demand {
        if self.queue.is_empty() {
            self.used = 0;
        }
        exchange.poll_outbox(cx, &mut self.bytes, &mut self.queue)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next command, and its bytes. One that belongs to a session of an earlier connection
    /// fails.
    pub(crate) fn front(&mut self, exchange: &Exchange) -> Option<(Queued, &[u8])> {
        let connection = self.connection;
        let bound = |queued: &Queued| queued.bound.is_some_and(|bound| bound != connection);
        self.fail_while(exchange, bound, || Failure::StateLost);
        let queued = *self.queue.front()?;
        Some((queued, self.bytes.get(self.used..self.used + queued.len)?))
    }

    /// The command in front was given to the connection.
    pub(crate) fn sent(&mut self) {
        self.begun = self.pop();
    }

    /// The command in front will not be sent.
    pub(crate) fn fail(&mut self, exchange: &Exchange, failure: Failure) {
        if let Some(ticket) = self.pop() {
            self.deliver(exchange).fail(ticket.tag(), failure);
        }
    }

    fn pop(&mut self) -> Option<Ticket> {
        let queued = self.queue.pop_front()?;
        self.used += queued.len;
        Some(queued.ticket)
    }

    fn fail_while(
        &mut self,
        exchange: &Exchange,
        which: impl Fn(&Queued) -> bool,
        failure: impl Fn() -> Failure,
    ) {
        while self.queue.front().is_some_and(&which) {
            self.fail(exchange, failure());
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) fn deadline(&self, timeout: Duration) -> Instant {
        let waits = |queued: &&Queued| Some(queued.ticket) != self.begun;
        let oldest = self.queue.front().filter(waits);
        oldest.map_or(Instant::FAR_FUTURE, |queued| queued.since.plus(timeout))
    }

    /// Fails what has waited for longer than `timeout`. A batch that was begun stays whole: it
    /// may be a transaction.
    pub(crate) fn expire(
        &mut self,
        exchange: &Exchange,
        now: Instant,
        timeout: Duration,
        failure: impl Fn() -> Failure,
    ) {
        let begun = self.begun;
        let late =
            |queued: &Queued| Some(queued.ticket) != begun && now >= queued.since.plus(timeout);
        self.fail_while(exchange, late, failure);
    }

    /// Fails all that wait.
    pub(crate) fn fail_all(&mut self, exchange: &Exchange, failure: impl Fn() -> Failure) {
        self.fail_while(exchange, |_| true, failure);
    }

    /// The connection has ended. What is left of a batch of which a part was sent does not go to
    /// another one: it would be torn.
    pub(crate) fn disconnected(&mut self, exchange: &Exchange, lost: Lost) {
        self.connection = exchange.disconnected();
        let torn = self.begun.take();
        self.fail_while(
            exchange,
            |queued| Some(queued.ticket) == torn,
            || Failure::Lost(Lost::new(Outcome::NotSent, lost.reason)),
        );
    }

    /// Opens the slots for a series of replies.
    pub(crate) fn deliver<'e>(&'e mut self, exchange: &'e Exchange) -> Delivery<'e> {
        exchange.deliver(&mut self.wakers)
    }
}
