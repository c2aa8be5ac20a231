//! When a connection logs in, and with what.

use core::time::Duration;

use super::buffers::Transmitter;
use super::config::{Idle, Replacement};
use super::machine::{Login, Machine, Phase, Then};
use super::output::CloseReason;
use super::ring::Pending;
use crate::args;
use crate::auth::{Handshake, Protocol};
use crate::manager::{Generation, TokenManager};
use crate::storage::Storage;
use crate::time::Instant;

/// How long a login has to last until another one is sent for it.
const LOGIN_LASTS: Duration = Duration::from_secs(1);

impl<R: Storage<Pending>> Machine<R> {
    /// Begins a login, if there is something to log in with. Answers when to look again.
    pub(super) fn start<B: Storage<u8>, M: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        manager: &TokenManager<M>,
        handshake: Handshake,
    ) -> Instant {
        let login = match self.login {
            Some(have) if !have.lost => manager.newer_than(have.generation, now),
            _ => manager.login(now),
        };
        if let Some(login) = login {
            let login = Login {
                generation: login.generation(),
                ends: login.expires_at(),
                audience: login.audience(),
                since: now,
                lost: false,
            };
            let deadline = now.plus(self.config.login_timeout);
            self.phase = Phase::LoggingIn { handshake, login, deadline };
            self.write_login(out, manager);
        } else if self.login.is_some_and(|have| have.lost) {
            self.close(CloseReason::LoginLost);
        }
        Instant::FAR_FUTURE
    }

    /// The server says that nobody is logged in: logs in again. The connection ends instead if the
    /// last login didn't last (no hot loop); if it has subscriptions, which the server may have
    /// forgotten too; and in a transaction, also in one whose end is still to be sent (`cut`).
    pub(super) fn login_lost(&mut self, now: Instant, cut: bool) {
        let Some(login) = &mut self.login else { return };
        let retires = match self.phase {
            Phase::Ready | Phase::Draining { then: Then::LogIn } => false,
            Phase::Draining { then: Then::Retire } => true,
            _ => return,
        };
        login.lost = true;
        let lasted = now >= login.since.plus(LOGIN_LASTS);
        let in_transaction = cut || self.session.in_transaction();
        let resp2_subscriber = self.session.is_subscriber() && self.protocol == Protocol::Resp2;
        let subscriber = resp2_subscriber || self.session.subscriptions() > 0;
        let can_log_in = lasted && !in_transaction && !subscriber && !retires;
        let then = if can_log_in { Then::LogIn } else { Then::End(CloseReason::LoginLost) };
        self.phase = Phase::Draining { then };
    }

    /// Writes the next piece of a login. Answers when to look again.
    pub(super) fn write_login<B: Storage<u8>, M: Storage<u8>>(
        &mut self,
        out: &mut Transmitter<B>,
        manager: &TokenManager<M>,
    ) -> Instant {
        if let Phase::LoggingIn { handshake, login, .. } = &mut self.phase
            && !handshake.is_written()
            && out.is_empty()
            && self.ring.is_empty()
        {
            let Some(login) = manager.get(login.generation) else {
                self.close(CloseReason::TokenReplaced);
                return Instant::default();
            };
            let name = self.config.name.as_ref().map(|name| name.as_str());
            self.appended +=
                out.fill_secret(|room| handshake.write(login.user(), login.expose(), name, room));
        }
        Instant::FAR_FUTURE
    }

    pub(super) fn look_at_tokens<B: Storage<u8>, M: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        manager: &TokenManager<M>,
    ) -> Instant {
        if let Some(login) = &mut self.login
            && let Some(known) = manager.get(login.generation)
        {
            // It may end earlier than was thought.
            login.ends = login.ends.min(known.expires_at());
        }
        let end = match self.phase {
            Phase::Draining { then: Then::End(reason) } => Some(reason),
            Phase::Draining { then: Then::Retire } => Some(self.send_barrier(now, out)),
            _ if self.session.is_unknown() => Some(CloseReason::SessionUnknown),
            _ => None,
        };
        if let Some(reason) = end {
            if self.is_drained() {
                self.close(reason);
            }
            return Instant::FAR_FUTURE;
        }
        if self.login.is_some_and(|login| login.lost) {
            if self.is_drained() {
                return self.start(now, out, manager, Handshake::again(self.protocol));
            }
            return Instant::FAR_FUTURE;
        }
        let Some(login) = self.login else { return Instant::FAR_FUTURE };
        if let Some(newer) = manager.newer_than(login.generation, now) {
            let generation = newer.generation();
            let due = manager.reauth_at(self.config.id, login.ends);
            let resp2_subscriber = self.session.is_subscriber() && self.protocol == Protocol::Resp2;
            // Refused again and again, it is given up in the middle of what time is left.
            let last = login.ends.minus(manager.lead(login.ends.since(due)) / 2);
            let refused = self.refused.filter(|refused| refused.count > 1);
            let hopeless = refused.is_some() && now >= last;
            if now >= due && (resp2_subscriber || hopeless) {
                return self.replace(now, out, login.ends, generation);
            }
            let due = self.refused.map_or(due, |refused| due.max(refused.not_before));
            if now < due {
                // Still another token has come while it drained, whose turn is later.
                self.phase = Phase::Ready;
                let last = if refused.is_some() { last.max(now) } else { due };
                return due.min(last).min(self.see_to_idleness(now, out));
            }
            self.phase = Phase::Draining { then: Then::LogIn };
            if self.is_drained() {
                return self.start(now, out, manager, Handshake::again(self.protocol));
            }
            return Instant::FAR_FUTURE;
        }
        // A newer token may have gone again, by being refused on another connection.
        self.phase = Phase::Ready;
        self.see_to_idleness(now, out)
    }

    /// Has a subscriber that retires say `PING`: the answer comes behind all messages that are under
    /// way. Says how the connection ends.
    fn send_barrier<B: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
    ) -> CloseReason {
        let in_transaction = self.session.in_transaction() || self.session.expects_transaction();
        if !in_transaction && self.session.is_subscriber() && self.send_own(now, out, args!["PING"])
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
        if !self.ring.is_empty() || self.session.in_transaction() {
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
            Idle::LetGo(_) => {
                let kept = self.session.lost().is_some();
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
        ends: Instant,
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
                    self.replaced_within = Some(ends.since(now));
                }
                self.see_to_idleness(now, out)
            }
        }
    }

    /// Whether all replies are in and no transaction is to be finished: an `AUTH` would be alone
    /// on the wire.
    pub(super) fn is_drained(&self) -> bool {
        let ends = matches!(self.phase, Phase::Draining { then: Then::End(_) });
        let is_free = ends || self.session.is_unknown() || !self.session.in_transaction();
        self.ring.is_empty() && self.sent == self.appended && is_free
    }
}
