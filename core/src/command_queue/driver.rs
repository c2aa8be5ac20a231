//! The connection's side of the queue.

use core::task::{Context, Poll};

use super::slot::{CommandSlot, State, find, oldest};
use super::{CommandError, CommandQueue, set_waker};
use crate::close::CloseReason;
use crate::command::{CommandClass, EncodedCommand};
use crate::connection::{Lost, Outcome, Output, ReplyTooLarge, SubmitError, Tag};
use crate::time::Instant;

impl CommandQueue<'_> {
    /// Gives commands to a connection, the oldest first, as many as it takes, and has `cx` woken for more.
    /// `submit` is the connection's [`submit_encoded`](crate::connection::Connection::submit_encoded): until
    /// when the reply is waited for, the tag, the command. When a connection has passed
    /// [`NOAUTH`](CommandQueue#order) on, it takes no command before it is logged in again.
    pub fn submit(
        &mut self,
        now: Instant,
        cx: &Context<'_>,
        mut submit: impl FnMut(Instant, Tag, EncodedCommand<'_>) -> Result<(), SubmitError>,
    ) {
        set_waker(&mut self.driver, cx);
        loop {
            let Some(slot) = oldest(self.slots, CommandSlot::is_complete) else { return };
            let State::Waiting(bytes, class) = slot.state else { return };
            let until = if slot.is_limited { slot.by } else { now.plus(self.limits.reply) };
            if now >= slot.by {
                slot.end(match slot.is_refused {
                    true => State::NoLogin,
                    false => State::Failed(slot.late()),
                });
            } else {
                let command = EncodedCommand::from_parts(class, self.commands.get(bytes));
                match submit(until, slot.number, command) {
                    Ok(()) => {
                        slot.state = State::Submitted(match class {
                            CommandClass::Blocking(Some(time)) => until.plus(time),
                            _ => until,
                        });
                    }
                    Err(SubmitError::Refused(refused)) => {
                        slot.end(State::Failed(CommandError::Refused(refused)));
                    }
                    Err(SubmitError::TooLarge(error)) => {
                        slot.end(State::Failed(CommandError::TooLarge(error)));
                    }
                    Err(_) => return,
                }
            }
            self.take_command(bytes);
        }
    }

    /// Returns whether a command waits to be submitted. Has `cx` woken when there is one.
    pub fn poll_waiting(&mut self, cx: &Context<'_>) -> bool {
        set_waker(&mut self.driver, cx);
        self.is_waiting()
    }

    /// Waits until there is room for `output`. A connection is read no further meanwhile.
    pub fn poll_room(&mut self, cx: &Context<'_>, output: &Output<'_>) -> Poll<()> {
        let Output::Reply { tag, reply: Ok(value) } = output else { return Poll::Ready(()) };
        let (len, most) = (value.raw().len(), self.replies.capacity());
        if len <= self.replies.free() || len > most {
            return Poll::Ready(());
        }
        let Some(slot) = find(self.slots, *tag) else { return Poll::Ready(()) };
        if !self.is_full {
            self.is_full = true;
            // The connection has finished it, and no longer watches its time limit.
            slot.wakes = true;
        }
        set_waker(&mut self.driver, cx);
        Poll::Pending
    }

    /// Takes in what came of a command; other outputs change nothing. A reply that finds no
    /// [room](Self::poll_room) is an error for its command.
    pub fn output(&mut self, output: &Output<'_>) {
        let (number, reply) = match *output {
            Output::Reply { tag, reply: Ok(value) } => (tag, Ok(value)),
            Output::Reply { tag, reply: Err(error) } => {
                (tag, Err(CommandError::ReplyTooLarge(error)))
            }
            Output::Lost { tag, lost } => (tag, Err(CommandError::Lost(lost))),
            _ => return,
        };
        if number > self.last {
            // Not a command of this queue: a subscription's, on the same connection.
            return;
        }
        let not_executed = match reply {
            Ok(value) => value.error().is_some_and(|error| error.code() == "NOAUTH"),
            Err(CommandError::Lost(lost)) => lost.outcome == Outcome::NotSent,
            Err(_) => false,
        };
        if !not_executed {
            self.executed(number);
        }
        let Self { slots, replies, executed, .. } = self;
        let slot = find(slots, number).filter(|slot| slot.is_submitted());
        let Some(slot) = slot else { return };
        let is_first = !slot.is_refused && *executed < number;
        if not_executed && (reply.is_err() || is_first) {
            slot.is_refused |= reply.is_ok();
            slot.state = State::Entering;
            slot.is_back = true;
            return self.enter_again();
        }
        slot.end(match reply {
            Ok(_) if not_executed => State::NoLogin,
            Ok(value) => match replies.push(value.raw().len()) {
                Some((bytes, room)) => {
                    room.copy_from_slice(value.raw());
                    State::Replied(bytes)
                }
                None => {
                    let (size, capacity) = (value.raw().len() as u64, replies.capacity());
                    State::Failed(CommandError::ReplyTooLarge(ReplyTooLarge { size, capacity }))
                }
            },
            Err(error) => State::Failed(error),
        });
    }

    /// A command has come back, whose turn is before that of all that wait: those enter again too.
    fn enter_again(&mut self) {
        self.commands.clear();
        for slot in self.slots.iter_mut().filter(|slot| slot.is_waiting()) {
            slot.is_back |= matches!(slot.state, State::Waiting(..));
            slot.state = State::Entering;
        }
        self.call_next();
    }

    /// The command of that number may have been executed: refused ones before it are not repeated.
    fn executed(&mut self, number: u64) {
        self.executed = self.executed.max(number);
        let executed = self.executed;
        let overtaken =
            |slot: &CommandSlot| slot.is_refused && slot.is_waiting() && slot.number < executed;
        while let Some(slot) = self.slots.iter_mut().find(|slot| overtaken(slot)) {
            let state = slot.state;
            slot.end(State::NoLogin);
            match state {
                State::Waiting(bytes, _) => self.take_command(bytes),
                _ => self.call_next(),
            }
        }
    }

    /// The connection has ended, after its last output: what it has not answered may have been executed.
    pub fn disconnected(&mut self, reason: CloseReason) {
        self.is_full = false;
        let lost = Lost::new(Outcome::Unknown, Some(reason));
        while let Some(slot) = oldest(self.slots, CommandSlot::is_submitted) {
            let tag = slot.number;
            self.output(&Output::Lost { tag, lost });
        }
    }
}
