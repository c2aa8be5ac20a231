//! The rules of a connection.

use core::fmt;
use core::time::Duration;

use super::buffers::Transmitter;
use super::config::Config;
use super::prelude::Prelude;
use super::ring::{Pending, Ring, Role};
use super::server_state::ServerState;
use crate::auth::{Handshake, Protocol};
use crate::close::CloseReason;
use crate::manager::{Generation, TokenManager};
use crate::schedule::{Can, Due, LoginSchedule};
use crate::storage::Storage;
use crate::time::Instant;

/// The state of a connection, apart from its bytes.
///
/// ```text
///   fresh ──▶ logging in ──▶ ready ◀──────────────────────────────┐
///                              │ newer token                      │ +OK, or refused: the
///                              ▼                                  │ earlier login stays
///                           draining ──▶ logging in again ────────┘
///              no commands are taken,    AUTH alone: nothing before it
///              replies come in           unanswered, nothing behind it
///                         any state ──▶ ended
/// ```
///
/// A transaction is not interrupted: between `MULTI` and `EXEC` or `DISCARD` draining waits. Where
/// no `AUTH` can be sent - by a RESP2 subscriber - or it is refused again and again, the connection
/// is replaced before its login ends. A `NOAUTH` on a connection that is logged in means that the
/// server has forgotten the login: it logs in again at once, or ends where it can't.
pub(crate) struct Machine<R> {
    pub(super) config: Config,
    pub(super) phase: Phase,
    pub(super) ring: Ring<R>,
    pub(super) schedule: LoginSchedule,
    pub(super) protocol: Protocol,
    pub(super) client_id: Option<i64>,
    pub(super) server_state: ServerState,
    pub(super) prelude: Prelude,
    /// What the manager is not told yet: a token was accepted or refused.
    pub(super) verdict: Option<(Generation, bool)>,
    /// When the last byte came.
    pub(super) heard: Instant,
    /// When it was last spoken to, having been idle.
    pub(super) spoke: Instant,
    /// The earliest deadline of a command, or earlier.
    pub(super) command_deadline: Instant,
    pub(super) look_at: Instant,
    /// When the last command was taken.
    pub(super) asked: Instant,
    /// When the first login worked.
    pub(super) logged_in: Instant,
    /// Another connection has taken its place.
    pub(super) retired: bool,
    /// The token for whose sake a replacement was asked for.
    pub(super) replacement_due: Option<Generation>,
    /// How soon it has to be replaced; the host is not told yet.
    pub(super) replaced_within: Option<Duration>,
    /// Bytes that were given to the transmitter so far.
    pub(super) appended: u64,
    /// Bytes that were shown to the transport: it may have sent them, whatever it says.
    pub(super) offered: u64,
    /// Bytes that it says it has sent of them.
    pub(super) sent: u64,
    pub(super) counts: Counts,
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    Fresh,
    LoggingIn {
        handshake: Handshake,
        deadline: Instant,
    },
    Ready,
    /// No commands are taken, so that all replies come in: to log in again, or to end.
    Draining {
        then: Then,
    },
    /// It has ended. What was received before may still have to be heard.
    Ended {
        reason: CloseReason,
        reported: bool,
        heard: bool,
    },
}

/// What comes when all replies are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    LogIn,
    /// It ends, since another connection has taken its place. A transaction is finished before,
    /// and a subscriber says `PING`.
    Retire,
    /// It ends, and what is open on it is lost.
    End(CloseReason),
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) reauths: u32,
    pub(super) rejections: u32,
    pub(super) commands: u64,
}

impl<R: Storage<Pending>> Machine<R> {
    pub(super) fn new(config: Config, ring: R) -> Self {
        Self {
            prelude: Prelude::Sent,
            protocol: config.protocol,
            schedule: LoginSchedule::new(config.id),
            config,
            phase: Phase::Fresh,
            ring: Ring::new(ring),
            client_id: None,
            server_state: ServerState::default(),
            verdict: None,
            heard: Instant::default(),
            spoke: Instant::default(),
            command_deadline: Instant::FAR_FUTURE,
            look_at: Instant::default(),
            asked: Instant::default(),
            logged_in: Instant::default(),
            retired: false,
            replacement_due: None,
            replaced_within: None,
            appended: 0,
            offered: 0,
            sent: 0,
            counts: Counts::default(),
        }
    }

    /// See [`Connection::update`](super::Connection::update).
    pub(crate) fn update<B: Storage<u8>, M: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        manager: &mut TokenManager<M>,
    ) {
        match self.verdict.take() {
            Some((generation, true)) => manager.accepted(generation),
            Some((generation, false)) => manager.rejected(now, generation),
            None => {}
        }
        self.tick(now);
        let next = match &self.phase {
            Phase::Fresh => {
                if let Due::Login(attempt) = self.schedule.poll(now, manager, Can::Login) {
                    let handshake = Handshake::first(self.config.protocol);
                    self.prelude = Prelude::of(&handshake);
                    self.start(now, out, manager, handshake, attempt);
                }
                Instant::FAR_FUTURE
            }
            Phase::LoggingIn { .. } => self.write_login(now, out, manager),
            Phase::Ready | Phase::Draining { .. } => {
                self.write_prelude(now, out);
                self.look_at_tokens(now, out, manager)
            }
            Phase::Ended { .. } => Instant::FAR_FUTURE,
        };
        self.look_at = next.min(self.limit()).min(self.give_back(now, out));
    }

    /// Whether the server holds the last command back, and with it all that would follow.
    fn is_blocked(&self) -> bool {
        self.ring.back().is_some_and(|entry| matches!(entry.role, Role::Blocking))
    }

    /// See [`Connection::needs_update`](super::Connection::needs_update).
    pub(crate) fn needs_update(&self) -> bool {
        self.verdict.is_some()
            || match &self.phase {
                Phase::Fresh | Phase::Ended { .. } => false,
                Phase::Ready => {
                    self.server_state.is_unknown() && self.is_drained()
                        || self.has_room_for_prelude()
                }
                // Behind a HELLO that was refused, commands may wait for their replies.
                Phase::LoggingIn { handshake, .. } => {
                    let due = !handshake.is_written() || self.prelude != Prelude::Sent;
                    due && self.sent == self.appended && self.ring.is_empty()
                }
                Phase::Draining { .. } => self.is_drained(),
            }
    }

    /// See [`Connection::next_deadline`](super::Connection::next_deadline).
    pub(crate) const fn next_deadline(&self) -> Instant {
        self.look_at
    }

    /// See [`Connection::is_ready`](super::Connection::is_ready).
    pub(crate) fn is_ready(&self) -> bool {
        match self.phase {
            _ if self.server_state.is_unknown() => false,
            // Behind the first login comes the prelude.
            _ if self.prelude != Prelude::Sent => false,
            // What follows a blocking command would only wait at the server: it waits here.
            Phase::Ready => !self.is_blocked(),
            Phase::Draining { then: Then::End(_) } => false,
            Phase::Draining { .. } => self.server_state.expects_transaction(),
            Phase::LoggingIn { .. } => self.is_eager(),
            _ => false,
        }
    }

    /// See [`Connection::can_pause`](super::Connection::can_pause).
    pub(crate) fn can_pause(&self) -> bool {
        // Behind the first login commands may be under way that end with it.
        let is_first = self.schedule.have().is_none() && self.ring.has_commands_of_host();
        !self.server_state.expects_any() && !self.is_blocked() && !is_first
    }

    /// Whether commands may follow the login under way in the same flight.
    fn is_eager(&self) -> bool {
        let Phase::LoggingIn { handshake, .. } = &self.phase else { return false };
        self.config.eager && self.schedule.have().is_none() && handshake.is_written()
    }

    /// Notes that bytes have come.
    pub(crate) const fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Notes that all that is in the transmitter is about to be shown to the transport.
    pub(crate) const fn offered(&mut self) {
        self.offered = self.appended;
    }

    /// Notes that `len` bytes of the transmitter's were sent.
    pub(crate) const fn sent(&mut self, len: usize) {
        self.sent += len as u64;
    }

    /// See [`Connection::closed`](super::Connection::closed).
    #[inline(never)]
    pub(crate) const fn close(&mut self, reason: CloseReason) {
        let transport = matches!(reason, CloseReason::ByServer | CloseReason::Broken(_));
        // An answer to a login that is cut off counts for nothing.
        let login = matches!(self.phase, Phase::LoggingIn { .. });
        self.end(reason, !transport || login);
    }

    /// Ends it. What was received and not `heard` is taken in before.
    pub(super) const fn end(&mut self, reason: CloseReason, heard: bool) {
        match &mut self.phase {
            Phase::Ended { heard: known, .. } => *known |= heard,
            // Whatever came then: this is why.
            Phase::Draining {
                then: Then::End(reason @ (CloseReason::Refused(_) | CloseReason::LoginLost)),
            } => {
                let reason = *reason;
                self.phase = Phase::Ended { reason, reported: false, heard };
            }
            _ => self.phase = Phase::Ended { reason, reported: false, heard },
        }
    }

    /// Ends it when all replies are in, since another connection has taken its place. A subscriber
    /// says `PING` before, whose answer comes behind all messages that are under way.
    pub(crate) fn retire(&mut self) {
        self.retired = true;
        match self.phase {
            Phase::Draining { then: Then::End(_) | Then::Retire } => {}
            Phase::Ready | Phase::Draining { .. } => {
                self.phase = self.serving();
                self.look_at = Instant::default();
            }
            // What is under way comes before the answer to the login.
            Phase::LoggingIn { .. } if self.server_state.is_subscriber() => {}
            // While it logs in, there is no reply to wait for.
            _ => self.close(CloseReason::Replaced),
        }
    }

    /// The phase of a connection that is logged in.
    pub(super) const fn serving(&self) -> Phase {
        match self.retired {
            true => Phase::Draining { then: Then::Retire },
            false => Phase::Ready,
        }
    }

    /// Whether it has ended.
    pub(crate) const fn has_ended(&self) -> bool {
        self.close_reason().is_some()
    }

    /// Why it has ended, if it has.
    pub(crate) const fn close_reason(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Ended { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

impl<R: Storage<Pending>> fmt::Debug for Machine<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("phase", &self.phase)
            .field("ring", &self.ring)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}
