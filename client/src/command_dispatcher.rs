//! The connection's side of the queue.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll, Waker};

use super::command_queue::{CommandQueue, Delivery, Failure, QueueState};
use super::error::{Cause, Error};
use super::lock::Lock;
use redis_entraid_core::command::EncodedCommand;
use redis_entraid_core::connection::{
    CloseReason, ConnectionHealth, Lost, Outcome, Output, SubmitError, Tag,
};
use redis_entraid_core::resp::Value;
use redis_entraid_core::time::Instant;
use redis_entraid_core::transport::Endpoint;

/// Takes the commands of a client's handles, gives them to a connection, and the replies back.
pub struct CommandDispatcher<L: Lock<QueueState>> {
    queue: Arc<CommandQueue<L>>,
    /// Kept for its room.
    wakers: Vec<Waker>,
}

/// What the queued commands need from the driver of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDemand {
    /// Whether commands wait to be sent.
    pub waits: bool,
    /// Until when a connection is wanted for one at least, if it is: commands wait, or did lately.
    pub until: Option<Instant>,
}

/// No more commands are to be sent on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nor on another one: there are no handles left.
    NotNeeded,
    /// A transaction or `WATCH` was left open by a handle that has gone. Close the connection.
    Abandoned,
    /// It leads to the wrong server: it is to [retire](redis_entraid_core::connection::Connection::retire), and
    /// another one to be made.
    Stale,
}

/// Gives a command to a connection: when its reply is no longer waited for, its tag, and the command.
/// See [`Connection::submit_encoded`](redis_entraid_core::connection::Connection::submit_encoded).
pub type SubmitFn<'s> = dyn FnMut(Instant, Tag, EncodedCommand<'_>) -> Result<(), SubmitError> + 's;

impl<L: Lock<QueueState>> CommandDispatcher<L> {
    /// For the handles of `queue`.
    pub fn new(queue: Arc<CommandQueue<L>>) -> Self {
        Self { queue, wakers: Vec::new() }
    }

    /// What the commands want that wait, or did lately.
    pub fn demand(&self) -> QueueDemand {
        self.queue.demand()
    }

    /// Ready when the [`demand`](Self::demand) differs from what is `known`.
    ///
    /// # Errors
    /// [`Ended::NotNeeded`] when there are no handles left.
    pub fn poll_demand(&self, cx: &Context<'_>, known: QueueDemand) -> Poll<Result<(), Ended>> {
        match self.queue.update(cx)? {
            demand if demand == known => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }

    /// When the time of a command is over that was not sent yet.
    pub fn deadline(&self) -> Instant {
        self.demand().until.unwrap_or(Instant::FAR_FUTURE)
    }

    /// While there is no connection: fails the commands whose time is over. `problem` says why
    /// there is none.
    pub fn expire(&mut self, now: Instant, problem: impl Fn() -> Option<Error>) {
        self.queue.expire(now, &mut self.wakers, || Failure::Unavailable(problem()));
    }

    /// While there is a connection: fails the commands whose time is over that it didn't take.
    pub fn expire_behind(&mut self, now: Instant) {
        let too_slow = || Failure::Lost(Lost::new(Outcome::NotSent, None));
        self.queue.expire(now, &mut self.wakers, too_slow);
    }

    /// There will be no connection for now: fails all commands that wait for one.
    pub fn refuse(&mut self, problem: impl Fn() -> Option<Error>) {
        self.queue.refuse(&mut self.wakers, || Failure::Unavailable(problem()));
    }

    /// Notes that there is a connection, which was dialed as `endpoint`: redirections to there mean
    /// that it leads to the wrong server.
    pub fn connected(&self, endpoint: &Endpoint<'_>) {
        self.queue.connected(endpoint);
    }

    /// Notes why the connection breaks, in the words of the network, before its last outputs.
    pub fn broke(&self, cause: Cause) {
        self.queue.broke(cause);
    }

    /// Returns whether a handle has asked for another connection since the last call.
    pub fn take_handover(&self) -> bool {
        self.queue.take_handover()
    }

    /// Returns whether the next command may go to another connection: nothing is open on this one.
    pub fn can_pause(&self) -> bool {
        self.queue.can_pause()
    }

    /// Notes that the connection has ended.
    pub fn disconnected(&mut self, reason: CloseReason) {
        self.queue.disconnected(reason, &mut self.wakers);
    }

    /// Gives commands to the connection, as many as it takes, and has `cx` woken for more. Says
    /// whether it did.
    ///
    /// # Errors
    /// [`Ended`] if there are no more for this connection.
    pub fn submit(
        &mut self,
        cx: &Context<'_>,
        now: Instant,
        submit: &mut SubmitFn<'_>,
    ) -> Result<bool, Ended> {
        self.queue.submit(cx, now, &mut self.wakers, submit)
    }

    /// Takes the outcomes of commands: pass all outputs of one turn, so that waiting callers are
    /// woken when all is there.
    pub fn deliver(&mut self) -> Deliveries<'_, L> {
        Deliveries(self.queue.deliver(&mut self.wakers))
    }

    /// Waiting and later callers get `error` from now on.
    pub fn end(&self, error: &Error) {
        self.queue.end(error);
    }
}

impl<L: Lock<QueueState>> fmt::Debug for CommandDispatcher<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandDispatcher").finish_non_exhaustive()
    }
}

/// Whether a command was not executed, for want of a login.
pub(super) fn says_noauth(value: Value<'_>) -> bool {
    value.error().is_some_and(|error| error.code() == "NOAUTH")
}

/// The slots of the handles, open for replies. No code of a user's may be called meanwhile.
pub struct Deliveries<'d, L: Lock<QueueState> + 'd>(Delivery<'d, L>);

impl<L: Lock<QueueState>> Deliveries<'_, L> {
    /// Takes `output`, and gives back what is for no handle: pushes and events.
    pub fn output<'o>(&mut self, output: Output<'o>) -> Option<Output<'o>> {
        match output {
            Output::Reply { tag, reply: Ok(value) } if says_noauth(value) => {
                self.0.no_login(tag, value.raw());
            }
            Output::Reply { tag, reply: Ok(value) } => self.0.reply(tag, value.raw()),
            Output::Reply { tag, reply: Err(error) } => {
                self.0.fail(tag, Failure::ReplyTooLarge(error));
            }
            Output::Lost { tag, lost } => self.0.lost(tag, lost),
            // Pushes, events, and what a later core has.
            _ => return Some(output),
        }
        None
    }

    /// Gives memory back that was needed before: to be called when the connection
    /// [is quiet](redis_entraid_core::connection::Connection::is_quiet).
    pub fn give_back(&mut self) {
        self.0.give_back();
    }

    /// After the last output of a turn: `health` is how the connection stands then.
    pub fn settle(&mut self, health: &ConnectionHealth) {
        if health.waiting == 0 {
            self.0.settle(health.session);
        }
    }
}

impl<L: Lock<QueueState>> fmt::Debug for Deliveries<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").finish_non_exhaustive()
    }
}
