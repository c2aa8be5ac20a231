//! One task's access to a connection: it sends commands and waits for their replies.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;

use super::command_queue::{
    Batch, CommandQueue, Failure, QueueState, Repeat, Replies, Sent, Ticket,
};
use super::error::{Error, ServerError};
use super::lock::Lock;
use redis_entraid_core::command::{
    CommandClass, CommandRefused, Slices, TimeText, classify, newest,
};
use redis_entraid_core::connection::{Lost, Outcome};
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::time::{Clock, Instant};

/// One task's access to a connection.
pub struct Handle<L: Lock<QueueState>> {
    queue: Arc<CommandQueue<L>>,
    slot: u32,
    /// The connection is kept for it.
    counts: bool,
    batch: Batch,
    replies: Replies,
    /// Until when what is sent next may wait for a connection, if not as long as usual.
    wait: Option<Instant>,
}

impl<L: Lock<QueueState>> Handle<L> {
    /// Creates the first handle of a connection.
    pub fn new(queue: Arc<CommandQueue<L>>) -> Self {
        Self::entered(queue, true)
    }

    /// Creates one that the connection is not kept for.
    pub(super) fn beside(queue: Arc<CommandQueue<L>>) -> Self {
        Self::entered(queue, false)
    }

    fn entered(queue: Arc<CommandQueue<L>>, counts: bool) -> Self {
        let slot = queue.enter(counts);
        let (batch, replies) = Default::default();
        Self { queue, slot, counts, batch, replies, wait: None }
    }

    /// Creates another handle of the same connection.
    pub fn another(&self) -> Self {
        Self::new(self.queue.clone())
    }

    /// Where it meets what drives the connection.
    pub(super) const fn queue(&self) -> &Arc<CommandQueue<L>> {
        &self.queue
    }

    /// What is sent next, or was sent last.
    pub(super) const fn batch(&self) -> &Batch {
        &self.batch
    }

    /// What is sent next.
    pub(super) const fn batch_mut(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// The replies to what was sent last.
    pub(super) const fn last_replies(&mut self) -> &mut Replies {
        &mut self.replies
    }

    /// What is sent next waits for a connection until then, if that isn't over.
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
        self.execute_as(classify(args)?, clock, slice, limit, args).await
    }

    /// The same for one that was classified.
    pub(super) async fn execute_as(
        &mut self,
        class: CommandClass,
        clock: &impl Clock,
        slice: impl Fn() -> Duration,
        limit: Option<Duration>,
        args: &[Arg<'_>],
    ) -> Result<(), Error> {
        let now = clock.now();
        self.batch.clear();
        let (mut slices, mut ids, mut part) = (None, Vec::new(), Vec::new());
        self.batch.push_as(class, args)?;
        if let CommandClass::Blocking(time) = class {
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
        I: Iterator<Item: AsRef<[Arg<'c>]>>,
    {
        self.batch.clear();
        for args in commands {
            self.batch.push(args.as_ref())?;
        }
        self.send(clock, limit).await
    }

    /// Sends the batch, and waits for the replies.
    async fn send(&mut self, clock: &impl Clock, limit: Option<Duration>) -> Result<(), Error> {
        let by = limit.map(|limit| clock.now().plus(limit));
        self.send_batch(clock, by).await?;
        // Its memory may be freed while it is unused.
        self.batch.clear();
        Ok(())
    }

    /// The same, and keeps the batch.
    pub(super) async fn send_batch(
        &mut self,
        clock: &impl Clock,
        by: Option<Instant>,
    ) -> Result<(), Error> {
        let sent = self.exchanged(clock.now(), by).await?;
        self.repeat(clock, by, sent).await;
        Ok(())
    }

    /// Sends once more what the server didn't execute for want of a login: in order, and behind the next
    /// login.
    pub(super) async fn repeat(&mut self, clock: &impl Clock, by: Option<Instant>, sent: Sent) {
        match Repeat::of(&self.batch, &self.replies, sent.session) {
            None => {}
            Some(Repeat::From(first)) => {
                let mut before = core::mem::take(&mut self.replies);
                self.batch.skip(first);
                let again = self.exchanged(clock.now(), by).await;
                // Who was never heard again says less than the server did.
                if again.is_ok() && !self.is_unheard() {
                    before.truncate(first);
                    before.append(&self.replies);
                }
                self.replies = before;
            }
            Some(Repeat::Lost(first)) => {
                let all = self.replies.len();
                self.queue.lose_session(self.slot, first < all);
                self.replies.truncate(first);
                (first..all).for_each(|_| self.replies.fail(Failure::StateLost));
            }
        }
    }

    /// Queues the batch, until `by` if that is said. Its replies are [polled](Self::poll_replies) for, or it is
    /// [withdrawn](Self::withdraw).
    ///
    /// # Errors
    /// [`Error`] if it can't be sent.
    pub(super) fn submit(&mut self, now: Instant, by: Option<Instant>) -> Result<Sent, Error> {
        let wait = self.wait.take().filter(|wait| now < *wait);
        self.queue.send(self.slot, now, (by, wait), &self.batch)
    }

    /// Ready when all replies to what was submitted are there.
    pub(super) fn poll_replies(&mut self, cx: &Context<'_>, sent: Sent) -> Poll<()> {
        self.queue.poll_replies(cx, sent.ticket, &mut self.replies)
    }

    /// Nobody waits for what was submitted.
    pub(super) fn withdraw(&self, sent: Sent) {
        self.queue.withdraw(sent.ticket);
    }

    /// Queues the batch, and waits for its replies.
    async fn exchanged(&mut self, now: Instant, by: Option<Instant>) -> Result<Sent, Error> {
        let sent = self.submit(now, by)?;
        let Self { queue, batch, replies, .. } = self;
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
        self.replies.pick(at)
    }

    /// The bytes of the reply number `at` to the last commands, or why there are none, if there is a reason.
    pub(super) fn raw(&self, at: usize) -> Result<&[u8], Option<&Failure>> {
        self.replies.get(at)
    }

    /// The reply number `at` to the last commands as it came, be it an error.
    pub(super) fn reply(&self, at: usize) -> Option<Value<'_>> {
        self.replies.get(at).ok().map(Value::framed)
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
        self.queue.leave(self.slot, self.counts);
    }
}

impl<L: Lock<QueueState>> fmt::Debug for Handle<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("slot", &self.slot).finish_non_exhaustive()
    }
}
