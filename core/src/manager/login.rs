//! What to log in with, and when; and what servers say to it.

use core::time::Duration;

use super::slot::{Slot, TokenMeta};
use super::{Generation, TokenManager};
use crate::jwt::Audience;
use crate::policy::mix;
use crate::secret::Secret;
use crate::storage::Storage;
use crate::time::{Instant, millis};

/// Whom to log in as: a borrowed view of a stored token.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    user: &'a str,
    secret: Secret<'a>,
    pub(super) facts: &'a TokenMeta,
}

impl<'a> Credentials<'a> {
    pub(super) fn of<M: Storage<u8>>(slot: &'a Slot<M>) -> Option<Self> {
        let facts = slot.facts.as_ref()?;
        Some(Self { user: slot.user(), secret: slot.secret(), facts })
    }

    /// The user name for `AUTH`: the identity's object id.
    pub const fn user(&self) -> &'a str {
        self.user
    }

    /// The password for `AUTH`: the token.
    pub const fn secret(&self) -> Secret<'a> {
        self.secret
    }

    /// The text of the token. Short for [`Credentials::secret`]'s [`Secret::expose`].
    pub const fn expose(&self) -> &'a str {
        self.secret.expose()
    }

    /// The token's number.
    pub const fn generation(&self) -> Generation {
        self.facts.generation
    }

    /// When it ends.
    pub const fn expires_at(&self) -> Instant {
        self.facts.expires_at
    }

    /// Which service it is for, by its own claim.
    pub const fn audience(&self) -> Audience {
        self.facts.audience
    }
}

impl<M: Storage<u8>> TokenManager<M> {
    /// Notes that a server said `+OK` to a token.
    pub fn accepted(&mut self, generation: Generation) {
        if generation == self.last {
            self.rejections_in_a_row = 0;
        }
        for slot in &mut self.slots {
            let Some(facts) = &mut slot.facts else { continue };
            // One at most is the accepted one: the newest.
            if facts.generation == generation {
                (facts.accepted, facts.rejected) = (true, false);
            } else if facts.generation < generation {
                facts.accepted = false;
            }
        }
    }

    /// Notes that a server refused a token: a fresh one is fetched, once, and slower if that is
    /// refused too. A token that is not the newest any more is only not offered again.
    pub fn rejected(&mut self, now: Instant, generation: Generation) {
        let mut slots = self.slots.iter_mut().filter_map(|slot| slot.facts.as_mut());
        let Some(facts) = slots.find(|facts| facts.generation == generation) else { return };
        if facts.rejected {
            return;
        }
        (facts.rejected, facts.accepted) = (true, false);
        self.counts.rejections = self.counts.rejections.saturating_add(1);
        if generation == self.last {
            self.wanted_after = Some(generation);
            if self.rejections_in_a_row > 0 {
                let retry = &self.policy.retry;
                let wait = retry.quick_millis(self.rejections_in_a_row);
                let wait = self.jitter.around_millis(wait, retry.jitter);
                self.not_before = self.not_before.max(now.after(wait));
            }
            self.rejections_in_a_row = self.rejections_in_a_row.saturating_add(1);
        }
    }

    /// Returns what a new connection should log in with: the newest token, or the one before while it
    /// lives and the newest is refused. May change with each other call, and with time.
    pub fn login(&self, now: Instant) -> Option<Credentials<'_>> {
        let (newest, older) = self.slots_by_age();
        let good = |slot: &&Slot<M>| slot.live(now).is_some_and(|facts| !facts.rejected);
        let live = |slot: &&Slot<M>| slot.live(now).is_some();
        [newest, older]
            .into_iter()
            .find(good)
            .or_else(|| Some(newest).filter(live))
            .and_then(Credentials::of)
    }

    /// Returns whether it makes sense to log in now: there is a token, and if a server has refused it,
    /// no other one is on its way.
    pub fn is_worth_a_login(&self, now: Instant) -> bool {
        self.login(now).is_some_and(|login| {
            !login.facts.rejected || (self.in_flight.is_none() && self.due().0 > now)
        })
    }

    /// Returns a newer token than `have` to log in with, if there is one.
    pub fn newer_than(&self, have: Generation, now: Instant) -> Option<Credentials<'_>> {
        let newest = self.newest();
        let facts = newest.live(now)?;
        if facts.generation > have && !facts.rejected { Credentials::of(newest) } else { None }
    }

    /// Returns the token with this number as long as it is kept, even if it has ended.
    pub fn get(&self, generation: Generation) -> Option<Credentials<'_>> {
        let is = |slot: &&Slot<M>| slot.facts.is_some_and(|f| f.generation == generation);
        self.slots.iter().find(is).and_then(Credentials::of)
    }

    /// Returns when a connection whose login ends at `ends` should log in with the newest token.
    ///
    /// The logins of many connections are spread, each at a time that its `id` decides, but never
    /// so late that the lead of the policy isn't kept.
    pub fn reauth_at(&self, id: u64, ends: Instant) -> Instant {
        let Some(facts) = &self.newest().facts else { return Instant::FAR_FUTURE };
        let from = facts.sent_at;
        let life = ends.millis_since(from);
        let spare = life.saturating_sub(self.policy.lead_millis(life)) / 2;
        let window = millis(self.policy.reauth_spread).min(spare).min(u64::from(u32::MAX));
        let share = mix(id ^ u64::from(facts.generation.0) << 32) >> 32;
        from.after((window * share) >> 32)
    }

    /// The policy's lead, for a token that lives for `life`, in milliseconds.
    pub(crate) fn lead_millis(&self, life: u64) -> u64 {
        self.policy.lead_millis(life)
    }

    /// How long a command may block at the server, at the most, so that a login is not held up:
    /// a part of the lead that the policy keeps.
    pub fn slice(&self) -> Duration {
        let life = self.newest().facts.as_ref().map(|facts| facts.expires_at.since(facts.sent_at));
        let lead = self.policy.lead(life.unwrap_or_default());
        (lead / 4).clamp(Duration::from_millis(100), Duration::from_secs(10))
    }
}
