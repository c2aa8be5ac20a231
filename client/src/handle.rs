//! One task's access to a connection: it sends commands and waits for their replies.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::time::Duration;

use super::command_queue::{
    Batch, CommandQueue, Failure, QueueState, Repeat, Replies, Sent, Ticket,
};
use super::error::{Error, ServerError};
use super::lock::Lock;
use redis_entraid_core::command::{CommandClass, CommandRefused, Slices, TimeText, newest};
use redis_entraid_core::connection::{Lost, Outcome};
use redis_entraid_core::resp::{Arg, Redirect, Value};
use redis_entraid_core::time::{Clock, Instant};

/// One task's access to a connection.
pub struct Handle<L: Lock<QueueState>> {
    queue: Arc<CommandQueue<L>>,
    slot: u32,
    batch: Batch,
    replies: Replies,
    /// Until when what is sent may wait for a connection, if not as long as usual.
    wait: Option<Instant>,
}

impl<L: Lock<QueueState>> Handle<L> {
    /// Creates the first handle of a connection.
    pub fn new(queue: Arc<CommandQueue<L>>) -> Self {
        let slot = queue.enter();
        Self { queue, slot, batch: Batch::default(), replies: Replies::default(), wait: None }
    }

    /// Creates another handle of the same connection.
    pub fn another(&self) -> Self {
        Self::new(self.queue.clone())
    }

    /// Where it meets what drives the connection.
    pub(super) const fn queue(&self) -> &Arc<CommandQueue<L>> {
        &self.queue
    }

    /// What is sent from now on waits for a connection until then, if that isn't over.
    pub(super) const fn wait_until(&mut self, wait: Instant) {
        self.wait = Some(wait);
    }

    /// Takes no more commands of any handle. The driver ends when those that were taken are answered.
    pub fn close(&self) {
        self.queue.close();
    }

    /// Has another connection take the place of the one that there is, without a command failing: see
    /// [`Supervisor::hand_over`](redis_entraid_core::supervisor::Supervisor::hand_over).
    pub fn hand_over(&self) {
        self.queue.hand_over();
    }

    /// Whether its connection's task is still there.
    pub fn is_alive(&self) -> bool {
        self.queue.is_alive()
    }

    /// Executes a command, in slices of at most `slice` if it blocks for long. Its reply is number 0. It
    /// has `limit` besides the time that it blocks, or else what the configuration says.
    ///
    /// # Errors
    /// [`Error`] if it was not sent, or if a part of it failed; its [`outcome`](Error::outcome) says which.
    pub async fn execute(
        &mut self,
        clock: &impl Clock,
        slice: impl Fn() -> Duration,
        limit: Option<Duration>,
        args: &[Arg<'_>],
    ) -> Result<(), Error> {
        let now = clock.now();
        self.batch.clear();
        let (mut slices, mut ids, mut part) = (None, Vec::new(), Vec::new());
        if let CommandClass::Blocking(time) = self.batch.push(args)? {
            part.extend_from_slice(args);
            slices = Slices::of(now, args);
            let is_long = time.is_none_or(|time| time > self.queue.max_block());
            if slices.is_none() && is_long && newest(args).next().is_some() && !self.has_session() {
                // It is rare, and would make all other commands larger.
                if !Box::pin(self.newest(clock, limit, args, &mut ids)).await? {
                    return Ok(());
                }
                for ((_, at), id) in newest(args).zip(&ids) {
                    if let Some(place) = part.get_mut(at) {
                        *place = Arg::from(id.as_slice());
                    }
                }
                slices = Slices::of(now, &part);
            }
        }
        loop {
            let Some(slices) = &slices else { return self.send(clock, limit).await };
            let mut text = TimeText::default();
            let most = slice().min(self.queue.max_block());
            let (at, time) = slices.next(clock.now(), most, &mut text);
            let mut part = part.clone();
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

    /// Finds the last ids of the streams that an `XREAD` reads from `$` on. Says whether that worked;
    /// else what the server says is the first reply.
    async fn newest(
        &mut self,
        clock: &impl Clock,
        limit: Option<Duration>,
        args: &[Arg<'_>],
        ids: &mut Vec<Vec<u8>>,
    ) -> Result<bool, Error> {
        self.batch.clear();
        for stream in newest(args).filter_map(|(at, _)| args.get(at)) {
            self.batch.push(&[Arg::from("XINFO"), Arg::from("STREAM"), *stream])?;
        }
        self.send(clock, limit).await?;
        for at in 0..self.replies() {
            let id = match self.pick(at) {
                Ok(stream) => {
                    last_id(stream).ok_or(Error::Refused(CommandRefused::Blocking))?.to_vec()
                }
                Err(Error::Server(error)) if error.message == "no such key" => b"0-0".to_vec(),
                Err(Error::Server(ServerError { code, .. })) if code == "NOPERM" => {
                    let message = "XREAD from $ on takes XINFO STREAM if it blocks for long, which \
                        this user may not execute: give an id instead of $";
                    return Err(Error::Server(ServerError { code, message: message.into() }));
                }
                Err(Error::Server(_)) if at == 0 => return Ok(false),
                Err(error) => return Err(error),
            };
            ids.push(id);
        }
        Ok(true)
    }

    /// Executes commands one behind the other. All of them together have `limit`, or else each what
    /// the configuration says, from when its turn comes.
    ///
    /// # Errors
    /// [`Error`] if it was not sent, or if a part of it failed; its [`outcome`](Error::outcome) says which.
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
        let mut kept: Option<(Replies, usize)> = None;
        loop {
            let sent = self.exchanged(clock.now(), by).await;
            if let Some((mut before, first)) = kept {
                // Who was never heard again says less than the server did.
                if sent.is_ok() && !self.is_unheard() {
                    before.truncate(first);
                    before.append(&self.replies);
                }
                self.replies = before;
                break;
            }
            match Repeat::of(&self.batch, &self.replies, sent?.session) {
                None => break,
                Some(Repeat::From(first)) => {
                    kept = Some((core::mem::take(&mut self.replies), first));
                    self.batch.skip(first);
                }
                Some(Repeat::Lost(first)) => {
                    let all = self.replies.len();
                    self.queue.lose_session(self.slot, first < all);
                    self.replies.truncate(first);
                    (first..all).for_each(|_| self.replies.fail(Failure::StateLost));
                    break;
                }
            }
        }
        // Its memory may be freed while it is unused.
        self.batch.clear();
        Ok(())
    }

    /// Queues the batch, and waits for its replies.
    async fn exchanged(&mut self, now: Instant, by: Option<Instant>) -> Result<Sent, Error> {
        let Self { queue, slot, batch, replies, wait } = self;
        let wait = wait.filter(|wait| now < *wait);
        let sent = queue.send(*slot, now, (by, wait), batch)?;
        let mut waiting = Waiting { queue, batch, ticket: Some(sent.ticket) };
        poll_fn(|cx| queue.poll_replies(cx, sent.ticket, replies)).await;
        waiting.ticket = None;
        Ok(sent)
    }

    /// Whether the first command of the last ones was not sent, since the connection took none.
    fn is_unheard(&self) -> bool {
        let first = self.replies.get(0);
        matches!(first, Err(Some(Failure::Lost(lost))) if *lost == Lost::new(Outcome::NotSent, None))
    }

    /// Returns how many replies came to the last commands.
    pub fn replies(&self) -> usize {
        self.replies.len()
    }

    /// Returns the reply number `at` to the last commands.
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

    /// Where the reply number `at` says to go instead, if it does.
    pub(super) fn redirect(&self, at: usize) -> Option<Redirect<'_>> {
        Value::framed(self.replies.get(at).ok()?).error()?.redirect()
    }

    /// The connection that the last reply came from leads to the wrong server: another one is to be
    /// made, for what is sent from now on.
    ///
    /// # Errors
    /// When to ask again, if it is too early.
    pub(super) fn renew(&self, now: Instant) -> Result<(), Instant> {
        self.queue.renew(self.slot, now)
    }

    /// Whether it is in the middle of a transaction.
    pub fn has_session(&self) -> bool {
        self.queue.has_session(self.slot)
    }
}

/// The id of the newest entry that a stream ever had, by the reply to `XINFO STREAM`.
fn last_id<'v>(stream: Value<'v>) -> Option<&'v [u8]> {
    let mut items = stream.items();
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        if name.bytes() == Ok(b"last-generated-id") {
            return value.bytes().ok();
        }
    }
    None
}

/// Withdraws what no caller waits for any more.
struct Waiting<'h, L: Lock<QueueState>> {
    queue: &'h CommandQueue<L>,
    batch: &'h mut Batch,
    /// Nothing when the waiting is over.
    ticket: Option<Ticket>,
}

impl<L: Lock<QueueState>> Drop for Waiting<'_, L> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.queue.withdraw(ticket);
            // It may be long until the handle is used again.
            self.batch.clear();
        }
    }
}

impl<L: Lock<QueueState>> Drop for Handle<L> {
    fn drop(&mut self) {
        self.queue.leave(self.slot);
    }
}

impl<L: Lock<QueueState>> fmt::Debug for Handle<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("slot", &self.slot).finish_non_exhaustive()
    }
}
