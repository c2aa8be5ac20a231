//! When a connection logs in, and with what.

use super::buffers::Transmitter;
use super::machine::{Login, Machine, Phase};
use super::output::CloseReason;
use super::ring::Pending;
use crate::args;
use crate::auth::Handshake;
use crate::manager::TokenManager;
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
            let login = Login { generation: login.generation(), ends: login.expires_at() };
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
        let Some(login) = &mut self.login else { return Instant::FAR_FUTURE };
        if let Some(known) = manager.get(login.generation) {
            // It may end earlier than was thought.
            login.ends = login.ends.min(known.expires_at());
        }
        let login = *login;
        if manager.newer_than(login.generation, now).is_some() {
            let due = manager.reauth_at(self.config.id, login.ends).max(self.login_not_before);
            if now < due {
                return due;
            }
            self.phase = Phase::Draining;
            if self.is_drained() {
                return self.start(now, out, manager, Handshake::again(self.protocol));
            }
            return Instant::FAR_FUTURE;
        }
        // A newer token may have gone again, by being refused on another connection.
        self.phase = Phase::Ready;
        if !self.ring.is_empty() {
            return Instant::FAR_FUTURE;
        }
        let ping_at = self.heard.max(self.spoke).plus(self.config.ping_after);
        if now >= ping_at {
            self.spoke = now;
            self.send_own(now, out, args!["PING"]);
        }
        ping_at
    }

    /// Whether an `AUTH` would be alone on the wire.
    pub(super) fn is_drained(&self) -> bool {
        self.ring.is_empty() && self.sent == self.appended && !self.in_transaction
    }
}
