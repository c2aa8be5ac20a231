//! When a connection logs in, and with what.

use super::buffers::Transmitter;
use super::config::{Idle, Replacement};
use super::machine::{Machine, Phase, Then};
use super::ring::Pending;
use crate::args;
use crate::auth::{Handshake, Protocol};
use crate::close::CloseReason;
use crate::manager::{Generation, TokenManager};
use crate::schedule::{Attempt, Can, Due};
use crate::storage::Storage;
use crate::time::Instant;

impl<R: Storage<Pending>> Machine<R> {
    /// Begins a login.
    pub(super) fn start<B: Storage<u8>, M: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        manager: &TokenManager<M>,
        handshake: Handshake,
        attempt: Attempt,
    ) {
        self.schedule.sent(now, attempt);
        let deadline = now.plus(self.config.login_timeout);
        self.phase = Phase::LoggingIn { handshake, deadline };
        self.write_login(now, out, manager);
    }

    /// The server says `NOAUTH`: logs in again. The connection ends instead if the
    /// last login didn't last (no hot loop); if it has subscriptions, which the server may have
    /// forgotten too; and in a transaction, also in one whose end is still to be sent (`cut`).
    pub(super) fn login_lost(&mut self, now: Instant, cut: bool) {
        let retires = match self.phase {
            Phase::Ready | Phase::Draining { then: Then::LogIn } => false,
            Phase::Draining { then: Then::Retire } => true,
            _ => return,
        };
        self.schedule.lost(now);
        let in_transaction = cut || self.server_state.in_transaction();
        let subscriber = self.can_log_in() == Can::Never || self.server_state.subscriptions() > 0;
        let lasted = self.schedule.have().is_some();
        let can_log_in = lasted && !in_transaction && !subscriber && !retires;
        let then = if can_log_in { Then::LogIn } else { Then::End(CloseReason::LoginLost) };
        self.phase = Phase::Draining { then };
    }

    fn can_log_in(&self) -> Can {
        match self.server_state.is_subscriber() && self.protocol == Protocol::Resp2 {
            true => Can::Never,
            false => Can::Login,
        }
    }

    /// Writes the next piece of a login. Answers when to look again.
    pub(super) fn write_login<B: Storage<u8>, M: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        manager: &TokenManager<M>,
    ) -> Instant {
        if let Phase::LoggingIn { handshake, .. } = &mut self.phase
            && !handshake.is_written()
            && out.is_empty()
            && self.ring.is_empty()
        {
            let login = self.schedule.sent_token().and_then(|generation| manager.get(generation));
            let Some(login) = login else {
                self.close(CloseReason::TokenReplaced);
                return Instant::default();
            };
            let name = self.config.name.as_ref().map(|name| name.as_str());
            self.appended +=
                out.fill_secret(|room| handshake.write(login.user(), login.expose(), name, room));
        }
        if let Phase::LoggingIn { handshake, .. } = &self.phase
            && handshake.is_written()
        {
            self.write_prelude(now, out);
        }
        Instant::FAR_FUTURE
    }

    pub(super) fn look_at_tokens<B: Storage<u8>, M: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        manager: &TokenManager<M>,
    ) -> Instant {
        let end = match self.phase {
            Phase::Draining { then: Then::End(reason) } => Some(reason),
            Phase::Draining { then: Then::Retire } => Some(self.send_barrier(now, out)),
            _ if self.server_state.is_unknown() => Some(CloseReason::SessionUnknown),
            _ => None,
        };
        if let Some(reason) = end {
            if self.is_drained() {
                self.close(reason);
            }
            return Instant::FAR_FUTURE;
        }
        let until = match self.schedule.poll(now, manager, self.can_log_in()) {
            Due::Login(attempt) => {
                self.phase = Phase::Draining { then: Then::LogIn };
                if self.is_drained() {
                    self.start(now, out, manager, Handshake::again(self.protocol), attempt);
                }
                return Instant::FAR_FUTURE;
            }
            Due::Replace { by, generation } => {
                return self.replace(now, out, by, generation);
            }
            Due::Close => {
                // It may just have turned out that it has ended; else no token is left to log in with
                // again.
                self.tick(now);
                self.close(CloseReason::LoginLost);
                return Instant::FAR_FUTURE;
            }
            Due::Wait { until } => until,
        };
        // Still another token may have come while it drained, whose turn is later, or it has gone
        // again, by being refused on another connection.
        self.phase = Phase::Ready;
        until.min(self.see_to_idleness(now, out))
    }

    /// Has a subscriber that retires say `PING`: the answer comes behind all messages that are under
    /// way. Says how the connection ends.
    fn send_barrier<B: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
    ) -> CloseReason {
        let in_transaction =
            self.server_state.in_transaction() || self.server_state.expects_transaction();
        if !in_transaction
            && self.server_state.is_subscriber()
            && self.send_own(now, out, args!["PING"])
        {
            self.phase = Phase::Draining { then: Then::End(CloseReason::Replaced) };
        }
        CloseReason::Replaced
    }

    /// Does what is to be done when there is nothing to do, but nothing in a transaction. Answers
    /// when to look again.
    fn see_to_idleness<B: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
    ) -> Instant {
        if !self.ring.is_empty() || self.server_state.in_transaction() {
            return Instant::FAR_FUTURE;
        }
        let after = self.config.idle.after();
        match self.config.idle {
            Idle::Keep(_) => {
                let ping_at = self.heard.max(self.spoke).plus(after);
                if now < ping_at {
                    return ping_at;
                }
                self.spoke = now;
                self.send_own(now, out, args!["PING"]);
                now.plus(after)
            }
            Idle::Close(_) => {
                let kept = self.server_state.lost().is_some();
                let let_go_at = self.asked.max(self.logged_in).plus(after);
                if now >= let_go_at && !kept {
                    self.close(CloseReason::Idle);
                }
                if kept { Instant::FAR_FUTURE } else { let_go_at }
            }
        }
    }

    /// Sees to a replacement, for the sake of the token `generation`. Answers when to look again.
    fn replace<B: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        by: Instant,
        generation: Generation,
    ) -> Instant {
        match self.config.replacement {
            Replacement::BreakThenMake => {
                self.phase = Phase::Draining { then: Then::Retire };
                if self.is_drained() {
                    self.close(CloseReason::Replaced);
                }
                Instant::FAR_FUTURE
            }
            // It serves, and is kept, until the other one is there.
            Replacement::Overlap => {
                self.phase = Phase::Ready;
                if self.replacement_due < Some(generation) {
                    self.replacement_due = Some(generation);
                    self.replaced_within = Some(by.since(now));
                }
                self.see_to_idleness(now, out)
            }
        }
    }

    /// Whether all replies are in and no transaction is to be finished: an `AUTH` would be alone
    /// on the wire.
    pub(super) fn is_drained(&self) -> bool {
        let ends = matches!(self.phase, Phase::Draining { then: Then::End(_) });
        let is_free = ends || self.server_state.is_unknown() || !self.server_state.in_transaction();
        self.ring.is_empty() && self.sent == self.appended && is_free
    }
}
