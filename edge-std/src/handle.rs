//! One task's access to a connection: it sends commands and waits for their replies.

use core::fmt;
use core::future::poll_fn;
use std::sync::Arc;

use redis_entraid_core::command::{Class, Slices, TimeText};
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::time::{Clock, Instant};

use crate::clock::TokioClock;
use crate::error::Error;
use crate::exchange::{Batch, Exchange, Replies};
use crate::identity::Identity;

/// See the [module](self).
pub(crate) struct Handle {
    exchange: Arc<Exchange>,
    slot: u32,
    batch: Batch,
    replies: Replies,
}

impl Handle {
    pub(crate) fn new(exchange: Arc<Exchange>) -> Self {
        let slot = exchange.enter();
        Self { exchange, slot, batch: Batch::default(), replies: Replies::default() }
    }

    /// Another one on the same connection.
    pub(crate) fn another(&self) -> Self {
        Self::new(self.exchange.clone())
    }

    /// Whether its connection's task is still there.
    pub(crate) fn is_alive(&self) -> bool {
        self.exchange.is_alive()
    }

    /// Executes a command, in slices if it blocks for long. Its reply is number 0 then.
    pub(crate) async fn execute(
        &mut self,
        identity: &Identity,
        args: &[Arg<'_>],
    ) -> Result<(), Error> {
        let now = TokioClock.now();
        self.batch.clear();
        let class = self.batch.push(args)?;
        if let Class::Blocking(_) = class
            && let Some(slices) = Slices::of(now, args)
        {
            return self.sliced(identity, args, slices).await;
        }
        self.send(now).await
    }

    async fn sliced(
        &mut self,
        identity: &Identity,
        args: &[Arg<'_>],
        slices: Slices,
    ) -> Result<(), Error> {
        loop {
            let now = TokioClock.now();
            let slice = identity.manager().slice();
            let mut text = TimeText::default();
            let (at, time) = slices.next(now, slice, &mut text);
            let mut part = args.to_vec();
            part[at] = time;
            self.batch.clear();
            self.batch.push(&part)?;
            self.send(now).await?;
            match self.pick(0) {
                Ok(reply) if !slices.is_done(TokioClock.now(), reply) => {}
                _ => return Ok(()),
            }
        }
    }

    /// Executes commands one behind the other.
    pub(crate) async fn execute_all<'c, I>(&mut self, commands: I) -> Result<(), Error>
    where
        I: Iterator<Item = &'c [Arg<'c>]>,
    {
        self.batch.clear();
        for args in commands {
            self.batch.push(args)?;
        }
        self.send(TokioClock.now()).await
    }

    async fn send(&mut self, now: Instant) -> Result<(), Error> {
        let ticket = self.exchange.send(self.slot, now, &self.batch)?;
        let (exchange, replies) = (&self.exchange, &mut self.replies);
        poll_fn(|cx| exchange.poll_replies(cx, ticket, replies)).await;
        Ok(())
    }

    /// How many replies there are.
    pub(crate) fn len(&self) -> usize {
        self.replies.len()
    }

    /// The reply number `at` of those that came last.
    pub(crate) fn pick(&self, at: usize) -> Result<Value<'_>, Error> {
        let Replies { bytes, ends, failures } = &self.replies;
        if let Ok(found) = failures.binary_search_by_key(&at, |(number, _)| *number) {
            return Err(failures[found].1.clone().into());
        }
        let start = at.checked_sub(1).map_or(0, |before| ends[before]);
        let value = Value::framed(&bytes[start..ends[at]]);
        match value.error() {
            Some(error) => Err(Error::Server(error.into())),
            None => Ok(value),
        }
    }

    /// Whether it is in the middle of a transaction.
    pub(crate) fn has_session(&self) -> bool {
        self.exchange.has_session(self.slot)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.exchange.leave(self.slot);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("slot", &self.slot).finish_non_exhaustive()
    }
}
