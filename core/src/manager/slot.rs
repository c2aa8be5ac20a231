//! One of the manager's two places for a token.

use core::fmt;
#[cfg(feature = "postcard")]
use core::time::Duration;

use subtle::ConstantTimeEq;

use super::Generation;
use crate::jwt::Audience;
use crate::secret::{Secret, wipe};
use crate::storage::{Buffer, CapacityError, Storage};
use crate::time::{Instant, UnixTime};

/// A wall clock that is right may differ from Entra's by so many milliseconds: so far tokens are dated
/// back.
const TOLERANCE: u64 = 300_000;

/// Memory for a user name and a token, and what is known of them.
pub(super) struct Slot<M: Storage<u8>> {
    memory: M,
    user_len: usize,
    len: usize,
    pub(super) facts: Option<TokenMeta>,
}

/// What is known of a stored token.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenMeta {
    pub(super) generation: Generation,
    pub(super) sent_at: Instant,
    /// From then to its end, as it was given out.
    #[cfg(feature = "postcard")]
    pub(super) life: Duration,
    pub(super) expires_at: Instant,
    pub(super) refresh_at: Instant,
    /// When it ends by the server's clock, as far as it says so.
    pub(super) ends: Option<UnixTime>,
    /// It was restored without a wall clock: how much of its life is over is not known yet.
    #[cfg(feature = "postcard")]
    pub(super) undated: bool,
    pub(super) audience: Audience,
    /// A server has accepted it (`+OK`).
    pub(super) accepted: bool,
    /// A server has refused it since it was last seen fresh from the source.
    pub(super) rejected: bool,
}

impl<M: Storage<u8>> Slot<M> {
    pub(super) const fn new(memory: M) -> Self {
        Self { memory, user_len: 0, len: 0, facts: None }
    }

    /// Takes a token in. What was here is wiped, unless there is no room.
    pub(super) fn store(
        &mut self,
        user: &str,
        secret: Secret<'_>,
        facts: TokenMeta,
    ) -> Result<(), CapacityError> {
        let needed = user.len().saturating_add(secret.len());
        if !self.memory.reserve(needed) {
            let capacity = self.memory.room().len();
            return Err(CapacityError::new(Buffer::Token, needed, capacity));
        }
        self.clear();
        let room = self.memory.room_mut().iter_mut();
        for (to, from) in room.zip(user.bytes().chain(secret.expose().bytes())) {
            *to = from;
        }
        (self.user_len, self.len, self.facts) = (user.len(), needed, Some(facts));
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        wipe(self.memory.room_mut().get_mut(..self.len).unwrap_or_default());
        (self.user_len, self.len, self.facts) = (0, 0, None);
    }

    pub(super) fn user(&self) -> &str {
        self.text(0, self.user_len)
    }

    pub(super) fn secret(&self) -> Secret<'_> {
        Secret::new(self.text(self.user_len, self.len))
    }

    #[inline(never)]
    fn text(&self, from: usize, to: usize) -> &str {
        let bytes = self.memory.room().get(from..to).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Whether it holds this very token, without telling by the time it takes where they differ.
    pub(super) fn holds(&self, user: &str, secret: Secret<'_>) -> bool {
        self.facts.is_some()
            && self.user() == user
            && bool::from(self.secret().expose().as_bytes().ct_eq(secret.expose().as_bytes()))
    }

    /// Brings forward what was due, since the machine slept for `slept` milliseconds and the monotonic clock
    /// didn't count it. `awake` is what the wall clock would say if it hadn't.
    ///
    /// That the token is nearer its end is believed only if the wall clock was right before, by
    /// the token's own date: else it may just have been set.
    pub(super) fn slept(&mut self, now: Instant, slept: u64, awake: UnixTime) {
        let Some(facts) = &mut self.facts else { return };
        facts.refresh_at = facts.refresh_at.before(slept);
        let left = facts.expires_at.millis_since(now);
        let was_right = facts.ends.is_some_and(|ends| {
            let by_wall = ends.millis_since(awake);
            by_wall.abs_diff(left) <= TOLERANCE
        });
        if was_right {
            facts.expires_at = facts.expires_at.before(slept.min(left));
        }
    }

    pub(super) fn live(&self, now: Instant) -> Option<&TokenMeta> {
        self.facts.as_ref().filter(|facts| now < facts.expires_at)
    }
}

impl<M: Storage<u8>> Drop for Slot<M> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<M: Storage<u8>> fmt::Debug for Slot<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.fmt(f)
    }
}
