//! What takes too long, and what nothing has needed for long.

use core::time::Duration;

use super::buffers::Transmitter;
use super::machine::{Machine, Phase};
use super::ring::{Pending, ReplyTo};
use crate::close::CloseReason;
use crate::storage::Storage;
use crate::time::Instant;

/// After so long without a command or a reply, buffers that have grown shrink again.
pub(crate) const QUIET: Duration = Duration::from_secs(5);

impl<R: Storage<Pending>> Machine<R> {
    /// Sees to what needs neither tokens nor room to write: what has taken too long. A part of
    /// [`update`](Self::update), for pumps whose writer is busy.
    pub(crate) fn tick(&mut self, now: Instant) {
        match &self.phase {
            Phase::LoggingIn { deadline, .. } if now >= *deadline => {
                self.close(CloseReason::LoginTimeout);
            }
            Phase::LoggingIn { .. } if now >= self.command_deadline => self.expire_commands(now),
            Phase::Ready | Phase::Draining { .. } => {
                if now >= self.schedule.ends() {
                    self.close(self.why_login_ended());
                } else if now >= self.silent_until() {
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
        match (&self.phase, self.schedule.refusal()) {
            // A newer token is there.
            (Phase::Draining { .. }, _) if self.server_state.in_transaction() => {
                CloseReason::TransactionOpen
            }
            (Phase::Draining { .. }, _) => CloseReason::Unresponsive,
            (_, Some(refusal)) => CloseReason::Refused(refusal),
            _ => CloseReason::LoginExpired,
        }
    }

    fn expire_commands(&mut self, now: Instant) {
        let mut next = Instant::FAR_FUTURE;
        for entry in self.ring.iter_mut().filter(|entry| entry.owner == ReplyTo::Host) {
            if now >= entry.deadline {
                entry.owner = ReplyTo::Late;
            } else {
                next = next.min(entry.deadline);
            }
        }
        self.ring.some_are_late();
        self.command_deadline = next;
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(super) fn limit(&self) -> Instant {
        match &self.phase {
            Phase::Fresh | Phase::Ended { .. } => Instant::FAR_FUTURE,
            Phase::LoggingIn { deadline, .. } => (*deadline).min(self.command_deadline),
            Phase::Ready | Phase::Draining { .. } => {
                self.schedule.ends().min(self.command_deadline).min(self.silent_until())
            }
        }
    }

    /// Until when the server may be silent: a while beyond the last byte, and beyond the time that
    /// the oldest command has, which may be long; for ever if it owes no reply, and has taken all.
    #[inline(never)]
    pub(super) fn silent_until(&self) -> Instant {
        let oldest = match self.ring.front() {
            Some(entry) => entry.deadline,
            None if self.sent == self.appended => return Instant::FAR_FUTURE,
            None => self.heard,
        };
        self.heard.max(oldest).plus(self.config.unresponsive_after)
    }

    /// Gives memory back that nothing has needed for a while. Answers when to look again for that:
    /// only if there is some.
    pub(super) fn give_back<B: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
    ) -> Instant {
        if !B::GROWS && !R::GROWS {
            return Instant::FAR_FUTURE;
        }
        let quiet_at = self.quiet_at();
        if now < quiet_at {
            // While a reply is awaited, the quiet time can't begin; only what is large is freed.
            let again = match self.ring.is_empty() {
                true => (out.has_memory() || self.ring.has_memory()).then_some(quiet_at),
                false => (out.has_grown() || self.ring.has_grown()).then_some(now.plus(QUIET)),
            };
            return again.unwrap_or(Instant::FAR_FUTURE);
        }
        out.give_back();
        self.ring.give_back();
        Instant::FAR_FUTURE
    }

    /// Whether nothing was sent or received for a while.
    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        now >= self.quiet_at()
    }

    /// When it will have been quiet for a while, as far as is known.
    pub(super) fn quiet_at(&self) -> Instant {
        if self.ring.is_empty() {
            self.heard.max(self.asked).plus(QUIET)
        } else {
            Instant::FAR_FUTURE
        }
    }

    /// Has [`update`](Self::update) called at `at`, if not earlier.
    pub(super) fn update_by(&mut self, at: Instant) {
        self.look_at = self.look_at.min(at);
    }
}
