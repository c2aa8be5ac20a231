//! One task's access to a connection: it sends commands and waits for their replies.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::time::Duration;

use super::error::Error;
use super::exchange::{Batch, Exchange, Failure, Repeat, Replies, Sent, State, Ticket};
use super::share::Share;
use crate::command::{Class, Slices, TimeText};
use crate::connection::{Lost, Outcome};
use crate::resp::{Arg, Redirect, Value};
use crate::time::{Clock, Instant};

/// One task's access to a connection.
pub struct Handle<L: Share<State>> {
    exchange: Arc<Exchange<L>>,
    slot: u32,
    batch: Batch,
    replies: Replies,
}

impl<L: Share<State>> Handle<L> {
    /// The first one on a connection.
    pub fn new(exchange: Arc<Exchange<L>>) -> Self {
        let slot = exchange.enter();
        Self { exchange, slot, batch: Batch::default(), replies: Replies::default() }
    }

    /// Another one on the same connection.
    pub fn another(&self) -> Self {
        Self::new(self.exchange.clone())
    }

    /// Where it meets what drives the connection.
    pub(super) const fn exchange(&self) -> &Arc<Exchange<L>> {
        &self.exchange
    }

    /// Whether its connection's task is still there.
    pub fn is_alive(&self) -> bool {
        self.exchange.is_alive()
    }

    /// Executes a command, in slices if it blocks for long. Its reply is number 0 then.
    /// `slice` is the longest that it may block at the server then. It has `limit` besides the time
    /// that it blocks, or else what the configuration says.
    ///
    /// # Errors
    /// [`Error`] if nothing was sent.
    pub async fn execute(
        &mut self,
        clock: &impl Clock,
        slice: impl Fn() -> Duration,
        limit: Option<Duration>,
        args: &[Arg<'_>],
    ) -> Result<(), Error> {
        let now = clock.now();
        self.batch.clear();
        let class = self.batch.push(args)?;
        if let Class::Blocking(_) = class
            && let Some(slices) = Slices::of(now, args)
        {
            return self.sliced(clock, slice, limit, args, slices).await;
        }
        self.send(clock, limit).await
    }

    async fn sliced(
        &mut self,
        clock: &impl Clock,
        slice: impl Fn() -> Duration,
        limit: Option<Duration>,
        args: &[Arg<'_>],
        slices: Slices,
    ) -> Result<(), Error> {
        loop {
            let now = clock.now();
            let mut text = TimeText::default();
            let most = slice().min(self.exchange.max_block());
            let (at, time) = slices.next(now, most, &mut text);
            let mut part: Vec<_> = args.to_vec();
            if let Some(place) = part.get_mut(at) {
                *place = time;
            }
            self.batch.clear();
            self.batch.push(&part)?;
            self.send(clock, limit).await?;
            match self.pick(0) {
                Ok(reply) if !slices.is_done(clock.now(), reply) => {}
                _ => return Ok(()),
            }
        }
    }

    /// Executes commands one behind the other. All of them together have `limit`, or else each what
    /// the configuration says, from when its turn comes.
    ///
    /// # Errors
    /// [`Error`] if nothing was sent.
    pub async fn execute_all<'c, I>(
        &mut self,
        clock: &impl Clock,
        limit: Option<Duration>,
        commands: I,
    ) -> Result<(), Error>
    where
        I: Iterator<Item = &'c [Arg<'c>]>,
    {
        self.batch.clear();
        for args in commands {
            self.batch.push(args)?;
        }
        self.send(clock, limit).await
    }

    /// Sends the batch, and once more what the server didn't execute for want of a login: in order,
    /// and behind the next login.
    async fn send(&mut self, clock: &impl Clock, limit: Option<Duration>) -> Result<(), Error> {
        let by = limit.map(|limit| clock.now().plus(limit));
        let Sent { in_session, .. } = self.exchanged(clock.now(), by).await?;
        let (first, is_lost) = match Repeat::of(&self.batch, &self.replies, in_session) {
            None => return Ok(()),
            Some(Repeat::From(first)) => (first, false),
            Some(Repeat::Lost(first)) => (first, true),
        };
        if is_lost {
            self.exchange.give_up_session(self.slot);
            let all = self.replies.len();
            self.replies.truncate(first);
            (first..all).for_each(|_| self.replies.fail(Failure::StateLost));
            return Ok(());
        }
        let mut before = core::mem::take(&mut self.replies);
        self.batch.skip(first);
        self.exchanged(clock.now(), by).await?;
        // Who was never heard again says less than the server did.
        if !self.is_unheard() {
            before.truncate(first);
            before.append(&self.replies);
        }
        self.replies = before;
        Ok(())
    }

    /// Queues the batch, and waits for its replies.
    async fn exchanged(&mut self, now: Instant, by: Option<Instant>) -> Result<Sent, Error> {
        let sent = self.exchange.send(self.slot, now, by, &self.batch)?;
        let (exchange, replies) = (&self.exchange, &mut self.replies);
        let mut waiting = Waiting { exchange, ticket: Some(sent.ticket) };
        poll_fn(|cx| exchange.poll_replies(cx, sent.ticket, replies)).await;
        waiting.ticket = None;
        Ok(sent)
    }

    /// Whether the first command of the last ones was not sent, since the connection took none.
    fn is_unheard(&self) -> bool {
        let first = self.replies.get(0);
        matches!(first, Err(Some(Failure::Lost(lost))) if *lost == Lost::new(Outcome::NotSent, None))
    }

    /// How many replies came to the last commands.
    pub fn replies(&self) -> usize {
        self.replies.len()
    }

    /// The reply number `at` of those that came last.
    ///
    /// # Errors
    /// [`Error`] if there is none, or if it is one of the server's.
    pub fn pick(&self, at: usize) -> Result<Value<'_>, Error> {
        let value = match self.replies.get(at) {
            Ok(raw) => Value::framed(raw),
            Err(failure) => return Err(failure.map_or(Error::Closed, |it| it.clone().into())),
        };
        match value.error() {
            Some(error) => Err(Error::Server(error.into())),
            None => Ok(value),
        }
    }

    /// Where the first reply says to go instead, if it does.
    pub(super) fn redirect(&self) -> Option<Redirect<'_>> {
        Value::framed(self.replies.get(0).ok()?).error()?.redirect()
    }

    /// Whether it is in the middle of a transaction.
    pub fn has_session(&self) -> bool {
        self.exchange.has_session(self.slot)
    }
}

/// Withdraws what nobody waits for any more.
struct Waiting<'h, L: Share<State>> {
    exchange: &'h Exchange<L>,
    /// Nothing when the waiting is over.
    ticket: Option<Ticket>,
}

impl<L: Share<State>> Drop for Waiting<'_, L> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.exchange.withdraw(ticket);
        }
    }
}

impl<L: Share<State>> Drop for Handle<L> {
    fn drop(&mut self) {
        self.exchange.leave(self.slot);
    }
}

impl<L: Share<State>> fmt::Debug for Handle<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("slot", &self.slot).finish_non_exhaustive()
    }
}
