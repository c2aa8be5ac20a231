//! A connection: one socket's login, commands and replies, without the socket.
//!
//! A host tells it which bytes came and how many went out, takes the bytes to send from it, and reads
//! what happened. A loop of your own drives it like this, over any kind of socket:
//!
//! ```
//! use core::time::Duration;
//! use redis_entraid_core::args;
//! use redis_entraid_core::connection::{Config, Connection, Output, Pending};
//! use redis_entraid_core::manager::TokenManager;
//! use redis_entraid_core::policy::{Jitter, RefreshPolicy};
//! use redis_entraid_core::secret::Secret;
//! use redis_entraid_core::time::Instant;
//! use redis_entraid_core::token::Token;
//!
//! let now = Instant::from_millis(0);
//! let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::new(7), [[0; 64]; 2]);
//! let token = Token::new(Secret::new("token")).with_user("oid");
//! manager.push(now, &token.with_expires_in(Duration::from_secs(3600))).unwrap();
//!
//! let config = Config { set_info: false, ..Config::new(7) };
//! let mut connection = Connection::new(config, [0; 256], [0; 256], [Pending::default(); 4]);
//! # let mut server = |bytes: &[u8]| -> &'static [u8] {
//! #     if bytes.starts_with(b"*5\r\n$5\r\nHELLO") { b"%1\r\n+proto\r\n:3\r\n" } else { b"$5\r\nhello\r\n" }
//! # };
//! let mut greeting = None;
//! while greeting.is_none() {
//!     connection.update(now, &mut manager);
//!     if connection.is_ready() {
//!         connection.submit(now, 7, args!["GET", "greeting"]).unwrap();
//!     }
//!     // Write what it has to send ...
//!     let bytes = connection.transmit();
//!     let (len, answer) = (bytes.len(), server(bytes));
//!     connection.sent(len);
//!     // ... read what came ...
//!     connection.receive_space()[..answer.len()].copy_from_slice(answer);
//!     connection.received(now, answer.len());
//!     // ... and see what came of it.
//!     while let Some(output) = connection.next(now) {
//!         if let Output::Reply { tag: 7, reply } = output {
//!             greeting = Some(reply.unwrap().str().unwrap().to_owned());
//!         }
//!     }
//! }
//! assert_eq!(greeting.as_deref(), Some("hello"));
//! ```

mod buffers;
mod config;
mod deadlines;
mod health;
mod logins;
mod machine;
mod output;
mod prelude;
mod replies;
mod ring;
mod server_state;
mod submit;

use core::fmt;

pub use crate::close::CloseReason;
pub(crate) use buffers::{Receiver, Transmitter};
pub use config::{ClientName, Config, Idle, Replacement};
pub(crate) use deadlines::QUIET;
pub use health::ConnectionHealth;
pub(crate) use machine::Machine;
pub use output::{Lost, Outcome, Output, ReplyTooLarge, SubmitError};
pub use ring::{Pending, Tag};

use crate::command::EncodedCommand;
use crate::manager::TokenManager;
use crate::resp::Arg;
use crate::storage::Storage;
use crate::time::Instant;

/// A connection with its buffers.
///
/// `B` is the memory of its two buffers, `R` that of its ring. The receive buffer must hold the largest
/// reply that is wanted whole (at least 32 bytes for a subscriber), the transmit buffer the largest
/// command, the ring one entry for each command that waits for its reply. A login needs no room: it
/// is written in pieces. Memory that has grown is given back when replies and commands are small
/// again, and when there are none.
pub struct Connection<B: Storage<u8>, R> {
    machine: Machine<R>,
    receiver: Receiver<B>,
    transmitter: Transmitter<B>,
}

impl<B: Storage<u8>, R: Storage<Pending>> Connection<B, R> {
    /// Creates a connection over a transport that was just opened.
    pub fn new(config: Config, receive: B, transmit: B, ring: R) -> Self {
        Self {
            machine: Machine::new(config, ring),
            receiver: Receiver::new(receive),
            transmitter: Transmitter::new(transmit),
        }
    }

    /// Borrows its three parts. A pump that holds a read and a write at once lends each of them its
    /// buffer, and both the machine.
    pub(crate) const fn parts(
        &mut self,
    ) -> (&mut Machine<R>, &mut Receiver<B>, &mut Transmitter<B>) {
        (&mut self.machine, &mut self.receiver, &mut self.transmitter)
    }

    /// Acts on the time and on the tokens: logs in, logs in again, sends a `PING`, gives up.
    ///
    /// Call it first of all, when the manager has a new token, at
    /// [`next_deadline`](Self::next_deadline), and when [`needs_update`](Self::needs_update) returns
    /// `true`. More often is harmless.
    pub fn update<M: Storage<u8>>(&mut self, now: Instant, manager: &mut TokenManager<M>) {
        self.machine.update(now, &mut self.transmitter, manager);
        if B::GROWS {
            let quiet_at = self.machine.quiet_at();
            if now >= quiet_at {
                self.receiver.give_back();
            } else if self.receiver.has_grown() {
                self.machine.update_by(quiet_at);
            }
        }
    }

    /// Returns whether to call [`update`](Self::update) now. Any other call may change the answer.
    pub fn needs_update(&self) -> bool {
        self.machine.needs_update()
    }

    /// Returns when to call [`update`](Self::update) at the latest. Any other call may change the answer.
    pub const fn next_deadline(&self) -> Instant {
        self.machine.next_deadline()
    }

    /// Returns whether it has ended. [`next`](Self::next) may still have outputs.
    pub const fn has_ended(&self) -> bool {
        self.machine.has_ended()
    }

    /// Returns why it has ended, once it has. [`next`](Self::next) may still have outputs.
    pub const fn close_reason(&self) -> Option<CloseReason> {
        self.machine.close_reason()
    }

    /// Returns whether the login allows a command now. Any other call may change the answer.
    pub fn is_ready(&self) -> bool {
        self.machine.is_ready()
    }

    /// Queues a command. Its reply carries `tag`.
    ///
    /// # Errors
    /// [`SubmitError`] if it is not queued. After `Full`, try again later.
    pub fn submit(&mut self, now: Instant, tag: Tag, args: &[Arg<'_>]) -> Result<(), SubmitError> {
        self.machine.submit(now, &mut self.transmitter, tag, args)
    }

    /// Queues a command that is already encoded. Its reply carries `tag`, and is waited for until `by`.
    ///
    /// # Errors
    /// [`SubmitError`] if it is not queued. After `Full`, try again later.
    pub fn submit_encoded(
        &mut self,
        now: Instant,
        by: Instant,
        tag: Tag,
        command: EncodedCommand<'_>,
    ) -> Result<(), SubmitError> {
        self.machine.submit_encoded(now, by, &mut self.transmitter, tag, command)
    }

    /// Returns the bytes to send; empty if there are none, and when the connection has ended.
    ///
    /// From this call on they count as offered: if the connection ends, the outcome of their commands
    /// is [`Unknown`](Outcome::Unknown).
    pub fn transmit(&mut self) -> &[u8] {
        if self.machine.has_ended() {
            return &[];
        }
        self.machine.offered();
        self.transmitter.bytes()
    }

    /// Notes that the first `len` bytes of [`transmit`](Self::transmit) were sent.
    pub fn sent(&mut self, len: usize) {
        let len = self.transmitter.sent(len);
        self.machine.sent(len);
    }

    /// Returns room to receive into; never empty after [`next`](Self::next) has returned `None`.
    pub fn receive_space(&mut self) -> &mut [u8] {
        self.receiver.space()
    }

    /// Notes that `len` bytes came into [`receive_space`](Self::receive_space).
    pub fn received(&mut self, now: Instant, len: usize) {
        self.receiver.received(len);
        self.machine.heard(now);
        if self.receiver.has_grown() {
            self.machine.update_by(now.plus(QUIET));
        }
    }

    /// Notes that the transport is gone, and why.
    pub const fn closed(&mut self, reason: CloseReason) {
        self.machine.close(reason);
    }

    /// Notes that nothing more will come: the server has closed the transport, or it was cut in the
    /// middle of a reply.
    pub const fn end_of_stream(&mut self) {
        self.machine.close(self.receiver.ended());
    }

    /// Returns whether the next command may go to another connection: no transaction, `WATCH` or
    /// blocking command is open here. May change with each command and reply.
    pub fn can_pause(&self) -> bool {
        self.machine.can_pause()
    }

    /// Ends the connection when all replies are in, since another one has taken its place. A
    /// subscriber's sends `PING` first, and hands out the messages that come before the answer.
    /// If it ends with another reason than [`CloseReason::Replaced`], something may be missing.
    pub fn retire(&mut self) {
        self.machine.retire();
    }

    /// Returns the next thing that happened, if there is one. The last of all is
    /// [`Event::Disconnected`](crate::event::Event::Disconnected).
    pub fn next(&mut self, now: Instant) -> Option<Output<'_>> {
        self.machine.next(now, &mut self.receiver)
    }

    /// Returns whether no command was submitted and no byte received for five seconds, and no reply is
    /// awaited: a good time to free memory.
    pub fn is_quiet(&self, now: Instant) -> bool {
        self.machine.is_quiet(now)
    }

    /// Returns the state of the connection at `now`. Never shows the token.
    pub fn health(&self, now: Instant) -> ConnectionHealth {
        self.machine.health(now)
    }
}

impl<B: Storage<u8>, R: Storage<Pending>> fmt::Debug for Connection<B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("machine", &self.machine)
            .field("receiver", &self.receiver)
            .field("transmitter", &self.transmitter)
            .finish()
    }
}

#[cfg(test)]
mod tests;
