//! The side of whoever drives the connection.

use alloc::sync::Arc;
use core::fmt;
use core::task::{Context, Poll};
use core::time::Duration;

use super::error::Error;
use super::exchange::{Delivery, Demand, Exchange, Failure, Outbox, State};
use super::share::Share;
use crate::command::Class;
use crate::connection::{CloseReason, ConnectionHealth, Lost, Outcome, Output, SubmitError, Tag};
use crate::resp::Value;
use crate::time::Instant;

/// Takes the commands of a client's handles, gives them to a connection, and the replies back.
pub struct Desk<L: Share<State>> {
    exchange: Arc<Exchange<L>>,
    outbox: Outbox,
    timeout: Duration,
    /// The connection's first login was refused: what went out with it may be sent again.
    refused: bool,
}

/// No more commands are to be sent on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nor on another one: there are no handles left.
    Unneeded,
    /// Something was left open on it that is nobody's. It has to be closed.
    Abandoned,
}

/// Gives an encoded command to a connection, by which time its reply is waited for: see
/// [`Connection::submit_encoded`](crate::connection::Connection::submit_encoded).
pub type Submit<'s> = dyn FnMut(Instant, Tag, Class, &[u8]) -> Result<(), SubmitError> + 's;

impl<L: Share<State>> Desk<L> {
    /// For the handles of `exchange`. A command waits for `timeout`, for a connection and then for
    /// its reply.
    pub fn new(exchange: Arc<Exchange<L>>, timeout: Duration) -> Self {
        Self { exchange, outbox: Outbox::default(), timeout, refused: false }
    }

    /// Ready when there are commands where there were none.
    ///
    /// # Errors
    /// [`Ended::Unneeded`] when there are no handles left.
    pub fn poll_more(&mut self, cx: &Context<'_>) -> Poll<Result<(), Ended>> {
        let before = self.is_empty();
        match self.outbox.poll(&self.exchange, cx) {
            Demand::Unneeded => Poll::Ready(Err(Ended::Unneeded)),
            _ if before && !self.is_empty() => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    /// Whether no command waits to be sent, as far as was [looked](Self::poll_more).
    pub fn is_empty(&self) -> bool {
        self.outbox.is_empty()
    }

    /// When the time of a command is over that was not sent yet.
    pub fn deadline(&self) -> Instant {
        self.outbox.deadline(self.timeout)
    }

    /// While there is no connection: fails the commands whose time is over. `problem` says why
    /// there is none.
    pub fn expire(&mut self, now: Instant, problem: impl Fn() -> Option<Error>) {
        let unavailable = || Failure::Unavailable(problem());
        self.outbox.expire(&self.exchange, now, self.timeout, unavailable);
    }

    /// While there is a connection: fails the commands whose time is over that it didn't take.
    pub fn expire_behind(&mut self, now: Instant) {
        let too_slow = || Failure::Lost(Lost::new(Outcome::NotSent, None));
        self.outbox.expire(&self.exchange, now, self.timeout, too_slow);
    }

    /// There will be no connection for now: fails all commands that wait for one.
    pub fn refuse(&mut self, problem: impl Fn() -> Option<Error>) {
        self.outbox.fail_all(&self.exchange, || Failure::Unavailable(problem()));
    }

    /// Learns that the server has refused the first login of the connection. Commands that went out
    /// with it were not executed; their handles send them once more.
    pub const fn login_refused(&mut self) {
        self.refused = true;
    }

    /// Learns that the connection has ended.
    pub fn disconnected(&mut self, reason: CloseReason) {
        self.refused = false;
        self.outbox.disconnected(&self.exchange, Lost::new(Outcome::NotSent, Some(reason)));
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
        submit: &mut Submit<'_>,
    ) -> Result<bool, Ended> {
        let mut progress = false;
        loop {
            match self.outbox.poll(&self.exchange, cx) {
                Demand::Wanted => {}
                Demand::Abandoned => return Err(Ended::Abandoned),
                Demand::Unneeded => return Err(Ended::Unneeded),
            }
            let too_slow = || Failure::Lost(Lost::new(Outcome::NotSent, None));
            // What fails may take others with it: they are looked at anew.
            if self.outbox.expire(&self.exchange, now, self.timeout, too_slow) {
                continue;
            }
            if self.outbox.is_empty() {
                return Ok(progress);
            }
            while let Some((queued, command, by)) = self.outbox.front(now, self.timeout) {
                let failure = match submit(by, queued.ticket.tag(), queued.class, command) {
                    Ok(()) => None,
                    Err(SubmitError::Refused(refused)) => Some(Failure::Refused(refused)),
                    Err(SubmitError::TooLarge(error)) => Some(Failure::TooLarge(error)),
                    // It waits, for a later turn or for its time to be over.
                    Err(_) => return Ok(progress),
                };
                progress = true;
                if let Some(failure) = failure {
                    self.outbox.fail(&self.exchange, failure);
                    break;
                }
                self.outbox.sent();
            }
        }
    }

    /// Takes what came of the commands: to be given all outputs of a turn, so that who waits is
    /// woken when all is there.
    pub fn deliver(&mut self) -> Deliveries<'_, L> {
        let none_waits = self.outbox.is_empty();
        let refused = self.refused;
        Deliveries { delivery: self.outbox.deliver(&self.exchange), none_waits, refused }
    }

    /// Who waits, and who comes, hears `error` from now on.
    pub fn end(&self, error: &Error) {
        self.exchange.end(error);
    }
}

impl<L: Share<State>> fmt::Debug for Desk<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// The slots of the handles, open for replies. No code of a user's may be called meanwhile.
pub struct Deliveries<'d, L: Share<State> + 'd> {
    delivery: Delivery<'d, L>,
    none_waits: bool,
    refused: bool,
}

/// Whether a command was not executed, for want of a login.
fn is_noauth(value: Value<'_>) -> bool {
    value.error().is_some_and(|error| error.code() == "NOAUTH")
}

impl<L: Share<State>> Deliveries<'_, L> {
    /// Takes `output`, and gives back what is for no handle: pushes and events.
    pub fn output<'o>(&mut self, output: Output<'o>) -> Option<Output<'o>> {
        match output {
            Output::Reply { tag, reply: Ok(value) } if self.refused && is_noauth(value) => {
                self.delivery.fail(tag, Failure::NoLogin);
            }
            Output::Reply { tag, reply: Ok(value) } => self.delivery.reply(tag, value.raw()),
            Output::Reply { tag, reply: Err(error) } => {
                self.delivery.fail(tag, Failure::ReplyTooLarge(error));
            }
            Output::Lost { tag, lost } => self.delivery.fail(tag, Failure::Lost(lost)),
            Output::Push(_) | Output::Event(_) => return Some(output),
        }
        None
    }

    /// After the last output of a turn: `health` is how the connection stands then.
    pub fn settle(&mut self, health: &ConnectionHealth) {
        if health.waiting == 0 && self.none_waits {
            self.delivery.settle(health.session);
        }
    }
}

impl<L: Share<State>> fmt::Debug for Deliveries<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").finish_non_exhaustive()
    }
}
