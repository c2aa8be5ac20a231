//! The rules of a connection.

use core::fmt;
use core::time::Duration;

use super::buffers::Transmitter;
use super::config::Config;
use super::output::CloseReason;
use super::ring::{Owner, Pending, Ring, Role};
use super::session::Session;
use crate::auth::{Handshake, LoginError, Protocol};
use crate::jwt::Audience;
use crate::manager::{Generation, TokenManager};
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
pub struct Machine<R> {
    pub(super) config: Config,
    pub(super) phase: Phase,
    pub(super) ring: Ring<R>,
    pub(super) login: Option<Login>,
    pub(super) protocol: Protocol,
    pub(super) client_id: Option<i64>,
    pub(super) session: Session,
    pub(super) set_info_due: bool,
    /// The name is still to be told, since the login was an `AUTH`.
    pub(super) set_name_due: bool,
    /// What the manager is still to be told: a token was accepted or not.
    pub(super) verdict: Option<(Generation, bool)>,
    /// When the last byte came.
    pub(super) heard: Instant,
    /// When it was last spoken to, having been idle.
    pub(super) spoke: Instant,
    /// The earliest deadline of a command, or earlier.
    pub(super) command_deadline: Instant,
    pub(super) look_at: Instant,
    /// Entries of the ring whose owner is still to be told that they took too long.
    pub(super) late: usize,
    /// Logins that were refused since the last one that worked.
    pub(super) refused: Option<Refusals>,
    /// When the last command was taken.
    pub(super) asked: Instant,
    /// When the first login worked.
    pub(super) logged_in: Instant,
    /// Another connection has taken its place.
    pub(super) retired: bool,
    /// The token for whose sake a replacement was asked for.
    pub(super) replacement_due: Option<Generation>,
    /// How soon it has to be replaced, which the host is still to be told.
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
        login: Login,
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

/// After so long without a command or a reply, buffers that have grown shrink again.
pub(crate) const QUIET: Duration = Duration::from_secs(5);

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

/// The login that a connection has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Login {
    pub(super) generation: Generation,
    pub(super) ends: Instant,
    pub(super) audience: Audience,
    /// When the server was asked for it.
    pub(super) since: Instant,
    /// The server has forgotten it.
    pub(super) lost: bool,
}

/// Logins that were refused one after the other, while an earlier one serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusals {
    pub(super) count: u32,
    pub(super) last: LoginError,
    /// No other login before then.
    pub(super) not_before: Instant,
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
            set_info_due: config.set_info,
            set_name_due: false,
            protocol: config.protocol,
            config,
            phase: Phase::Fresh,
            ring: Ring::new(ring),
            login: None,
            client_id: None,
            session: Session::default(),
            verdict: None,
            heard: Instant::default(),
            spoke: Instant::default(),
            command_deadline: Instant::FAR_FUTURE,
            look_at: Instant::default(),
            late: 0,
            refused: None,
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

    /// See [`Connection::look`](super::Connection::look).
    pub fn look<B: Storage<u8>, M: Storage<u8>>(
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
            Phase::Fresh => self.start(now, out, manager, Handshake::first(self.config.protocol)),
            Phase::LoggingIn { .. } => self.write_login(out, manager),
            Phase::Ready | Phase::Draining { .. } => self.look_at_tokens(now, out, manager),
            Phase::Ended { .. } => Instant::FAR_FUTURE,
        };
        self.look_at = next.min(self.limit()).min(self.give_back(now, out));
    }

    /// Gives memory back that nothing has needed for a while. Answers when to look again for that:
    /// only if there is some.
    fn give_back<B: Storage<u8>>(&mut self, now: Instant, out: &mut Transmitter<B>) -> Instant {
        if !B::GROWS && !R::GROWS {
            return Instant::FAR_FUTURE;
        }
        let quiet_at = self.quiet_at();
        if now < quiet_at {
            let grown = out.has_grown() || self.ring.has_grown();
            return if grown { quiet_at } else { Instant::FAR_FUTURE };
        }
        out.give_back();
        self.ring.give_back();
        Instant::FAR_FUTURE
    }

    /// When it will have been quiet for a while, as far as is known.
    pub(super) fn quiet_at(&self) -> Instant {
        if self.ring.is_empty() {
            self.heard.max(self.asked).plus(QUIET)
        } else {
            Instant::FAR_FUTURE
        }
    }

    /// Has [`look`](Self::look) called at `at`, if not earlier.
    pub(super) fn look_by(&mut self, at: Instant) {
        self.look_at = self.look_at.min(at);
    }

    /// Sees to what needs neither tokens nor room to write: what has taken too long. A part of
    /// [`look`](Self::look), for pumps whose writer is busy.
    pub fn tick(&mut self, now: Instant) {
        match &self.phase {
            Phase::LoggingIn { deadline, .. } if now >= *deadline => {
                self.close(CloseReason::LoginTimeout);
            }
            Phase::LoggingIn { .. } if now >= self.command_deadline => self.expire_commands(now),
            Phase::Ready | Phase::Draining { .. } => {
                if self.login.is_some_and(|login| now >= login.ends) {
                    self.close(self.why_login_ended());
                } else if !self.ring.is_empty() && now >= self.silent_until() {
                    self.close(CloseReason::Unresponsive);
                } else if now >= self.command_deadline {
                    self.expire_commands(now);
                }
            }
            _ => {}
        }
        self.look_at = self.limit();
    }

    /// Why no login came in time: what was in its way.
    fn why_login_ended(&self) -> CloseReason {
        match (&self.phase, self.refused) {
            // A newer token is there.
            (Phase::Draining { .. }, _) if self.session.in_transaction() => {
                CloseReason::TransactionOpen
            }
            (Phase::Draining { .. }, _) => CloseReason::Unresponsive,
            (_, Some(Refusals { last, .. })) => CloseReason::Refused(last),
            _ => CloseReason::LoginExpired,
        }
    }

    fn expire_commands(&mut self, now: Instant) {
        let mut next = Instant::FAR_FUTURE;
        for entry in self.ring.iter_mut().filter(|entry| entry.owner == Owner::Host) {
            if now >= entry.deadline {
                entry.owner = Owner::Late;
                self.late += 1;
            } else {
                next = next.min(entry.deadline);
            }
        }
        self.command_deadline = next;
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(super) fn limit(&self) -> Instant {
        match &self.phase {
            Phase::Fresh | Phase::Ended { .. } => Instant::FAR_FUTURE,
            Phase::LoggingIn { deadline, .. } => (*deadline).min(self.command_deadline),
            Phase::Ready | Phase::Draining { .. } => {
                let ends = self.login.map_or(Instant::FAR_FUTURE, |login| login.ends);
                let silent = match self.ring.is_empty() {
                    true => Instant::FAR_FUTURE,
                    false => self.silent_until(),
                };
                ends.min(self.command_deadline).min(silent)
            }
        }
    }

    /// Until when the server may be silent: a while beyond the last byte, and beyond the time that
    /// the oldest command has, which may be long.
    #[inline(never)]
    pub(super) fn silent_until(&self) -> Instant {
        let oldest = self.ring.front().map_or(self.heard, |entry| entry.deadline);
        self.heard.max(oldest).plus(self.config.unresponsive_after)
    }

    /// Whether the server holds the last command back, and with it all that would follow.
    fn is_blocked(&self) -> bool {
        self.ring.back().is_some_and(|entry| entry.role == Role::Blocking)
    }

    /// See [`Connection::wants_look`](super::Connection::wants_look).
    pub fn wants_look(&self) -> bool {
        self.verdict.is_some()
            || match &self.phase {
                Phase::Fresh | Phase::Ended { .. } => false,
                Phase::Ready => self.session.is_unknown() && self.is_drained(),
                // Behind a HELLO that was refused, commands may wait for their replies.
                Phase::LoggingIn { handshake, .. } => {
                    !handshake.is_written() && self.sent == self.appended && self.ring.is_empty()
                }
                Phase::Draining { .. } => self.is_drained(),
            }
    }

    /// See [`Connection::next_deadline`](super::Connection::next_deadline).
    pub const fn next_deadline(&self) -> Instant {
        self.look_at
    }

    /// See [`Connection::is_ready`](super::Connection::is_ready).
    pub fn is_ready(&self) -> bool {
        match self.phase {
            _ if self.session.is_unknown() => false,
            // What follows a blocking command would only wait at the server: it waits here.
            Phase::Ready => !self.is_blocked(),
            Phase::Draining { then: Then::End(_) } => false,
            Phase::Draining { .. } => self.session.expects_transaction(),
            Phase::LoggingIn { .. } => self.eager_login().is_some(),
            _ => false,
        }
    }

    /// The login under way, if commands may follow it in the same flight.
    pub(super) fn eager_login(&self) -> Option<Login> {
        match &self.phase {
            Phase::LoggingIn { handshake, login, .. }
                if self.config.eager && self.login.is_none() && handshake.is_written() =>
            {
                Some(*login)
            }
            _ => None,
        }
    }

    /// Notes that bytes have come.
    pub const fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Notes that all that is in the transmitter is about to be shown to the transport.
    pub const fn offered(&mut self) {
        self.offered = self.appended;
    }

    /// Notes that `len` bytes of the transmitter's were sent.
    pub const fn sent(&mut self, len: usize) {
        self.sent += len as u64;
    }

    /// See [`Connection::closed`](super::Connection::closed).
    #[inline(never)]
    pub const fn close(&mut self, reason: CloseReason) {
        let transport = matches!(reason, CloseReason::ByServer | CloseReason::Broken);
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
    pub fn retire(&mut self) {
        self.retired = true;
        match self.phase {
            Phase::Draining { then: Then::End(_) | Then::Retire } => {}
            Phase::Ready | Phase::Draining { .. } => {
                self.phase = self.serving();
                self.look_at = Instant::default();
            }
            // What is under way comes before the answer to the login.
            Phase::LoggingIn { .. } if self.session.is_subscriber() => {}
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
    pub const fn has_ended(&self) -> bool {
        self.close_reason().is_some()
    }

    /// Why it has ended, if it has.
    pub const fn close_reason(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Ended { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Whether a command would be sent, now or when a login is over, and answered as far as is known.
    fn is_serving(&self, now: Instant) -> bool {
        let is_open = match self.phase {
            Phase::Fresh | Phase::Ended { .. } | Phase::Draining { then: Then::End(_) } => false,
            Phase::LoggingIn { .. } | Phase::Ready | Phase::Draining { .. } => true,
        };
        let is_logged_in = self.login.is_some_and(|login| now < login.ends && !login.lost);
        let is_overdue = self.ring.front().is_some_and(|oldest| now >= oldest.deadline);
        is_open && is_logged_in && !is_overdue && !self.session.is_unknown()
    }

    const fn is_logging_in(&self) -> bool {
        matches!(
            self.phase,
            Phase::Fresh | Phase::LoggingIn { .. } | Phase::Draining { then: Then::LogIn }
        )
    }

    /// See [`Connection::health`](super::Connection::health).
    pub fn health(&self, now: Instant) -> ConnectionHealth {
        ConnectionHealth {
            ready: self.is_serving(now),
            logging_in: self.is_logging_in(),
            protocol: self.protocol,
            client_id: self.client_id,
            generation: self.login.map(|login| login.generation),
            login_ends_in: self.login.map(|login| login.ends.since(now)),
            waiting: self.ring.len(),
            session: self.session.is_open(),
            subscriptions: self.session.subscriptions(),
            commands: self.counts.commands,
            reauths: self.counts.reauths,
            rejections: self.counts.rejections,
        }
    }
}

impl<R: Storage<Pending>> fmt::Debug for Machine<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("phase", &self.phase)
            .field("ring", &self.ring)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

/// How a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ConnectionHealth {
    /// Whether a command that is sent now will be sent: it is logged in, and no reply is overdue.
    /// It stays so while it logs in again, and while the server holds a blocking command back.
    pub ready: bool,
    /// Whether a login is under way, or waits for replies.
    pub logging_in: bool,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its number at the server, if the server said so.
    pub client_id: Option<i64>,
    /// The token that it is logged in with.
    pub generation: Option<Generation>,
    /// Until that ends.
    pub login_ends_in: Option<Duration>,
    /// Commands that wait for a reply.
    pub waiting: usize,
    /// Whether a transaction is open or keys are watched, as far as replies have come.
    pub session: bool,
    /// Subscriptions that were confirmed.
    pub subscriptions: u32,
    /// Commands taken so far.
    pub commands: u64,
    /// Logins with a newer token so far.
    pub reauths: u32,
    /// Logins that were refused.
    pub rejections: u32,
}
