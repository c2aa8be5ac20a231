//! When a connection logs in, and with what.

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
            None => manager.login(now),
            Some(have) => manager.newer_than(have.generation, now),
        };
        if let Some(login) = login {
            let audience = login.audience();
            let login =
                Login { generation: login.generation(), ends: login.expires_at(), audience };
            let deadline = now.plus(self.config.login_timeout);
            self.phase = Phase::LoggingIn { handshake, login, deadline };
            self.write_login(out, manager);
        }
        Instant::FAR_FUTURE
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
        if let Phase::Draining { then: Then::Retire } = self.phase {
            let unsaid = self.session.is_subscriber() && !self.send_own(now, out, args!["PING"]);
            if unsaid && !self.is_drained() {
                // There is no room yet.
                return Instant::FAR_FUTURE;
            }
            self.phase = Phase::Draining { then: Then::End(CloseReason::Replaced) };
        }
        if let Phase::Draining { then: Then::End(reason) } = self.phase {
            if self.is_drained() {
                self.close(reason);
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
            let hopeless = self.refusals_in_a_row > 1 && now >= last;
            if now >= due && (resp2_subscriber || hopeless) {
                self.replace(now, login.ends, generation);
                return Instant::FAR_FUTURE;
            }
            let due = due.max(self.login_not_before);
            if now < due {
                // Still another token has come while it drained, whose turn is later.
                self.phase = Phase::Ready;
                let last = if self.refusals_in_a_row > 1 { last.max(now) } else { due };
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

    /// Does what is to be done when there is nothing to do. Answers when to look again.
    fn see_to_idleness<B: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
    ) -> Instant {
        if !self.ring.is_empty() {
            return Instant::FAR_FUTURE;
        }
        match self.config.idle {
            Idle::Keep(after) => {
                let ping_at = self.heard.max(self.spoke).plus(after);
                if now < ping_at {
                    return ping_at;
                }
                self.spoke = now;
                self.send_own(now, out, args!["PING"]);
                now.plus(after)
            }
            Idle::LetGo(after) => {
                let kept = self.session.lost().is_some();
                let let_go_at = self.asked.max(self.logged_in).plus(after);
                if now >= let_go_at && !kept {
                    self.close(CloseReason::Idle);
                }
                if kept { Instant::FAR_FUTURE } else { let_go_at }
            }
        }
    }

    /// Sees to a replacement, for the sake of the token `generation`.
    fn replace(&mut self, now: Instant, ends: Instant, generation: Generation) {
        match self.config.replacement {
            Replacement::BreakThenMake => {
                self.phase = Phase::Draining { then: Then::End(CloseReason::Replaced) };
                if self.is_drained() {
                    self.close(CloseReason::Replaced);
                }
            }
            Replacement::Overlap if self.replacement_due < Some(generation) => {
                self.replacement_due = Some(generation);
                self.replaced_within = Some(ends.since(now));
            }
            Replacement::Overlap => {}
        }
    }

    /// Whether an `AUTH` would be alone on the wire.
    pub(super) fn is_drained(&self) -> bool {
        self.ring.is_empty() && self.sent == self.appended && !self.session.in_transaction()
    }
}
