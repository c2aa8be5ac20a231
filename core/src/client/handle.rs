//! One task's access to a connection: it sends commands and waits for their replies.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::time::Duration;

use super::error::Error;
use super::exchange::{Batch, Exchange, Failure, Replies, State};
use super::share::Share;
use crate::command::{Class, Slices, TimeText};
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
    /// `slice` is the longest that it may block at the server then.
    ///
    /// # Errors
    /// [`Error`] if nothing was sent.
    pub async fn execute(
        &mut self,
        clock: &impl Clock,
        slice: impl Fn() -> Duration,
        args: &[Arg<'_>],
    ) -> Result<(), Error> {
        let now = clock.now();
        self.batch.clear();
        let class = self.batch.push(args)?;
        if let Class::Blocking(_) = class
            && let Some(slices) = Slices::of(now, args)
        {
            return self.sliced(clock, slice, args, slices).await;
        }
        self.send(clock).await
    }

    async fn sliced(
        &mut self,
        clock: &impl Clock,
        slice: impl Fn() -> Duration,
        args: &[Arg<'_>],
        slices: Slices,
    ) -> Result<(), Error> {
        loop {
            let now = clock.now();
            let mut text = TimeText::default();
            let (at, time) = slices.next(now, slice(), &mut text);
            let mut part: Vec<_> = args.to_vec();
            if let Some(place) = part.get_mut(at) {
                *place = time;
            }
            self.batch.clear();
            self.batch.push(&part)?;
            self.send(clock).await?;
            match self.pick(0) {
                Ok(reply) if !slices.is_done(clock.now(), reply) => {}
                _ => return Ok(()),
            }
        }
    }

    /// Executes commands one behind the other.
    ///
    /// # Errors
    /// [`Error`] if nothing was sent.
    pub async fn execute_all<'c, I>(&mut self, clock: &impl Clock, commands: I) -> Result<(), Error>
    where
        I: Iterator<Item = &'c [Arg<'c>]>,
    {
        self.batch.clear();
        for args in commands {
            self.batch.push(args)?;
        }
        self.send(clock).await
    }

    async fn send(&mut self, clock: &impl Clock) -> Result<(), Error> {
        self.exchanged(clock.now()).await?;
        if self.is_refused() {
            // Its login was refused, and so nothing was executed: once more, behind another one.
            self.exchanged(clock.now()).await?;
        }
        // Its memory may go back while nobody uses it.
        self.batch.clear();
        Ok(())
    }

    async fn exchanged(&mut self, now: Instant) -> Result<(), Error> {
        let ticket = self.exchange.send(self.slot, now, &self.batch)?;
        let (exchange, replies) = (&self.exchange, &mut self.replies);
        poll_fn(|cx| exchange.poll_replies(cx, ticket, replies)).await;
        Ok(())
    }

    /// Whether all commands were refused together with their login.
    fn is_refused(&self) -> bool {
        let failures = &self.replies.failures;
        !failures.is_empty()
            && failures.len() == self.replies()
            && failures.iter().all(|(_, failure)| matches!(failure, Failure::NoLogin))
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
        let value = match self.raw(at) {
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
        Value::framed(self.raw(0).ok()?).error()?.redirect()
    }

    /// The reply number `at`, be it an error; or why there is none, if there is a reason.
    fn raw(&self, at: usize) -> Result<&[u8], Option<&Failure>> {
        let Replies { bytes, ends, failures, .. } = &self.replies;
        if let Ok(found) = failures.binary_search_by_key(&at, |(number, _)| *number)
            && let Some((_, failure)) = failures.get(found)
        {
            return Err(Some(failure));
        }
        let start = at.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
        ends.get(at).and_then(|end| bytes.get(start..*end)).ok_or(None)
    }

    /// Whether it is in the middle of a transaction.
    pub fn has_session(&self) -> bool {
        self.exchange.has_session(self.slot)
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
