//! A command queue in lent memory: the commands of many tasks on one connection, without an allocator.
//!
//! A task [enters](CommandQueue::enter) a command and [polls](CommandQueue::poll) for its reply; what
//! drives the connection [submits](CommandQueue::submit) what waits, and hands over
//! [what comes of it](CommandQueue::output). Nothing is woken inside: after each call, without a lock, wake
//! what [`next_waker`](CommandQueue::next_waker) returns.
//!
//! ```
//! use core::task::{Context, Poll, Waker};
//! use core::time::Duration;
//! use redis_entraid_core::args;
//! use redis_entraid_core::command_queue::{CommandQueue, CommandSlot, Limits};
//! use redis_entraid_core::connection::Output;
//! use redis_entraid_core::resp::Value;
//! use redis_entraid_core::time::Instant;
//!
//! let (now, cx) = (Instant::from_millis(0), &mut Context::from_waker(Waker::noop()));
//! let (mut slots, mut commands, mut replies) = ([const { CommandSlot::new() }; 4], [0; 256], [0; 256]);
//! let limits = Limits { queue: Duration::from_secs(5), reply: Duration::from_secs(5) };
//! let mut queue = CommandQueue::new(&mut slots, &mut commands, &mut replies, limits);
//!
//! // Two tasks enter a command each.
//! let (get, ping) = (args!["GET", "k"], args!["PING"]);
//! let first = queue.enter(now, None, get).unwrap();
//! let second = queue.enter(now, None, ping).unwrap();
//! let mut room = [0; 64];
//! assert!(queue.poll(now, cx, &first, get, &mut room).is_pending());
//! assert!(queue.poll(now, cx, &second, ping, &mut room).is_pending());
//!
//! // A connection takes both, as `Connection::submit_encoded` does,
//! let mut tags = Vec::new();
//! queue.submit(now, cx, |_until, tag, _command| Ok(tags.push(tag)));
//! // and has their replies, which are fetched in any order.
//! for (tag, raw) in tags.into_iter().zip([&b"$1\r\nv\r\n"[..], b"+PONG\r\n"]) {
//!     let output = Output::Reply { tag, reply: Ok(Value::framed(raw)) };
//!     assert!(queue.poll_room(cx, &output).is_ready());
//!     queue.output(&output);
//! }
//! while let Some(waker) = queue.next_waker() {
//!     waker.wake();
//! }
//! assert_eq!(queue.poll(now, cx, &second, ping, &mut room), Poll::Ready(Ok(7)));
//! assert_eq!(queue.poll(now, cx, &first, get, &mut room), Poll::Ready(Ok(7)));
//! assert_eq!(&room[..7], b"$1\r\nv\r\n");
//! ```
//!
//! # Order
//!
//! Of two commands, the one that was entered first is never executed second. What a server refused for want
//! of a login (`NOAUTH`), and what was not sent when a connection broke, is entered again in its old place:
//! its task still has the arguments, so that the queue keeps no bytes of what was submitted. A refused
//! command is repeated once, and not at all if a later one may have been executed.
//!
//! # Memory
//!
//! A slot for each command that waits or is under way. The bytes of a command are in the queue from its turn
//! until it is submitted; who finds no room waits for it, first come, first served. A reply is in the queue
//! until its task fetches it; a reply that finds no room stays with the connection, which reads no further
//! meanwhile: [`poll_room`](CommandQueue::poll_room).

mod bytes;
mod driver;
mod error;
mod slot;

use core::fmt;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use bytes::Bytes;
pub use error::CommandError;
pub use slot::CommandSlot;
use slot::{State, find, oldest};

use crate::command::{CommandClass, CommandRefused, classify};
use crate::connection::{Lost, Outcome};
use crate::resp::{Arg, encode, encoded_len};
use crate::storage::{Buffer, CapacityError};
use crate::time::Instant;

/// How long a command may take that has no limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Limits {
    /// For its turn and a connection.
    pub queue: Duration,
    /// For its reply then; the time that it blocks by itself comes on top.
    pub reply: Duration,
}

/// A command that was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ticket {
    number: u64,
    class: CommandClass,
}

/// The reply of a server that has forgotten the login.
const NOAUTH: &[u8] = b"-NOAUTH Authentication required.\r\n";

/// The commands of many tasks, in lent memory, for one connection at a time.
pub struct CommandQueue<'m> {
    slots: &'m mut [CommandSlot],
    /// Those of commands that wait to be submitted, in order.
    commands: Bytes<'m>,
    /// Those of replies that wait to be fetched.
    replies: Bytes<'m>,
    limits: Limits,
    /// The number of the last command.
    last: u64,
    /// The last one that may have been executed.
    executed: u64,
    driver: Option<Waker>,
    wakes_driver: bool,
    /// A reply waits for room.
    is_full: bool,
    is_closed: bool,
}

impl<'m> CommandQueue<'m> {
    /// Creates a queue. `commands` must hold the largest command, as it is encoded, `replies` the largest
    /// reply; of each, 64 KiB are used at most.
    pub const fn new(
        slots: &'m mut [CommandSlot],
        commands: &'m mut [u8],
        replies: &'m mut [u8],
        limits: Limits,
    ) -> Self {
        Self {
            slots,
            commands: Bytes::new(commands),
            replies: Bytes::new(replies),
            limits,
            last: 0,
            executed: 0,
            driver: None,
            wakes_driver: false,
            is_full: false,
            is_closed: false,
        }
    }

    /// Enters a command. It may take `limit` in all, or else what the queue's [`Limits`] say. Poll it next.
    ///
    /// # Errors
    /// [`CommandError::Refused`] if it needs a connection of its own, [`CommandError::TooLarge`] if it never
    /// fits, [`CommandError::Busy`] if all slots are taken, [`CommandError::Closed`].
    pub fn enter(
        &mut self,
        now: Instant,
        limit: Option<Duration>,
        args: &[Arg<'_>],
    ) -> Result<Ticket, CommandError> {
        let class = classify(args).map_err(CommandError::Refused)?;
        match class {
            // Each command may be another task's.
            CommandClass::Multi | CommandClass::Watch => {
                return Err(CommandError::Refused(CommandRefused::Shared));
            }
            CommandClass::Subscribe(..) | CommandClass::Unsubscribe(..) => {
                return Err(CommandError::Refused(CommandRefused::Subscription));
            }
            _ => {}
        }
        if self.is_closed {
            return Err(CommandError::Closed);
        }
        let (len, capacity) = (encoded_len(args), self.commands.capacity());
        if len > capacity {
            let error = CapacityError::new(Buffer::Transmit, len, capacity);
            return Err(CommandError::TooLarge(error));
        }
        let mut slots = self.slots.iter_mut();
        let slot = slots.find(|slot| slot.is_free()).ok_or(CommandError::Busy)?;
        self.last += 1;
        let by = now.plus(limit.unwrap_or(self.limits.queue));
        slot.enter(self.last, by, limit.is_some());
        Ok(Ticket { number: self.last, class })
    }

    /// Fetches the reply of a command to `room`, as it was received, and returns its length; or has `cx` woken.
    /// `args` are those that it was entered with. Poll it at its [`deadline`](Self::deadline), too.
    ///
    /// # Errors
    /// [`CommandError`]. The ticket is used up then, as it is with a reply.
    pub fn poll(
        &mut self,
        now: Instant,
        cx: &Context<'_>,
        ticket: &Ticket,
        args: &[Arg<'_>],
        room: &mut [u8],
    ) -> Poll<Result<usize, CommandError>> {
        self.put(now, ticket, args);
        let Some(slot) = find(self.slots, ticket.number) else {
            return Poll::Ready(Err(CommandError::Lost(Lost::new(Outcome::Unknown, None))));
        };
        let answer = match slot.state {
            State::Replied(bytes) => copy(self.replies.get(bytes), room),
            State::Failed(error) => Err(error),
            State::NoLogin => copy(NOAUTH, room),
            _ if now < slot.deadline() => {
                set_waker(&mut slot.waker, cx);
                return Poll::Pending;
            }
            _ if slot.is_refused && slot.is_waiting() => copy(NOAUTH, room),
            _ => Err(slot.late()),
        };
        self.withdraw(ticket);
        Poll::Ready(answer)
    }

    /// Takes in the bytes of a command, if it is its turn and there is room.
    fn put(&mut self, now: Instant, ticket: &Ticket, args: &[Arg<'_>]) {
        // A late command doesn't enter any more, and delays no other.
        let entering = self.slots.iter_mut().filter(|slot| slot.is_entering() && now < slot.by);
        let first = entering.min_by_key(|slot| slot.number);
        let Some(slot) = first.filter(|slot| slot.is(ticket.number)) else { return };
        let Some((bytes, mut room)) = self.commands.push(encoded_len(args)) else { return };
        encode(args, &mut |piece| {
            if let Some((start, rest)) =
                core::mem::take(&mut room).split_at_mut_checked(piece.len())
            {
                start.copy_from_slice(piece);
                room = rest;
            }
        });
        slot.state = State::Waiting(bytes, ticket.class);
        self.wakes_driver = true;
        self.call_next();
    }

    /// Has the task woken whose turn it is to enter its command.
    fn call_next(&mut self) {
        if let Some(slot) = oldest(self.slots, CommandSlot::is_entering) {
            slot.wakes = true;
        }
    }

    /// Returns when to [`poll`](Self::poll) a command at the latest. It may be earlier when its task was
    /// woken, and later at that time.
    pub fn deadline(&self, ticket: &Ticket) -> Instant {
        let slot = self.slots.iter().find(|slot| slot.is(ticket.number));
        slot.map_or_else(Instant::default, CommandSlot::deadline)
    }

    /// The caller of a command has gone. If the command was not submitted, it never will be; else it may be
    /// executed, and its reply is dropped when it comes.
    pub fn withdraw(&mut self, ticket: &Ticket) {
        let Some(slot) = find(self.slots, ticket.number) else { return };
        match slot.free() {
            State::Waiting(bytes, _) => self.take_command(bytes),
            State::Replied(bytes) => {
                let replies = self.slots.iter_mut().filter_map(|slot| slot.state.reply_mut());
                self.replies.remove(bytes, replies);
                self.has_room();
            }
            // It may be its reply that waits for room.
            State::Submitted(_) => self.has_room(),
            State::Entering => self.call_next(),
            _ => {}
        }
    }

    /// There may be room for a reply that waits for it.
    const fn has_room(&mut self) {
        if self.is_full {
            (self.is_full, self.wakes_driver) = (false, true);
        }
    }

    /// Takes the bytes of a command out, which makes room for the next one.
    fn take_command(&mut self, bytes: bytes::Place) {
        let commands = self.slots.iter_mut().filter_map(|slot| slot.state.command_mut());
        self.commands.remove(bytes, commands);
        self.call_next();
    }

    /// Returns whether a command waits to be submitted.
    pub fn is_waiting(&self) -> bool {
        self.slots.iter().any(CommandSlot::is_waiting)
    }

    /// Returns whether no task waits for anything.
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(CommandSlot::is_free)
    }

    /// Returns the next waker to be woken. Call it after any other call until it returns `None`, and wake
    /// each without a lock.
    pub fn next_waker(&mut self) -> Option<Waker> {
        if core::mem::take(&mut self.wakes_driver)
            && let Some(driver) = self.driver.take()
        {
            return Some(driver);
        }
        let mut slots = self.slots.iter_mut();
        slots.find_map(
            |slot| if core::mem::take(&mut slot.wakes) { slot.waker.take() } else { None },
        )
    }

    /// Ends it: what waits and what is entered later fails with [`CommandError::Closed`]. What was submitted
    /// may have been executed.
    pub fn close(&mut self) {
        self.is_closed = true;
        self.commands.clear();
        for slot in self.slots.iter_mut() {
            match slot.state {
                _ if slot.is_waiting() => slot.end(State::Failed(CommandError::Closed)),
                State::Submitted(_) => {
                    let lost = Lost::new(Outcome::Unknown, None);
                    slot.end(State::Failed(CommandError::Lost(lost)));
                }
                _ => {}
            }
        }
    }
}

/// Copies a reply. Returns its length.
fn copy(from: &[u8], to: &mut [u8]) -> Result<usize, CommandError> {
    let (len, capacity) = (from.len(), to.len());
    let error = CapacityError::new(Buffer::Receive, len, capacity);
    to.get_mut(..len).ok_or(CommandError::TooLarge(error))?.copy_from_slice(from);
    Ok(len)
}

fn set_waker(known: &mut Option<Waker>, cx: &Context<'_>) {
    match known {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *known = Some(cx.waker().clone()),
    }
}

// Commands and replies may hold secrets.
impl fmt::Debug for CommandQueue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.slots.iter().filter(|slot| !slot.is_free()).count();
        write!(f, "CommandQueue({taken} of {})", self.slots.len())
    }
}

#[cfg(test)]
mod tests;
