//! A token that outlives its process: in a function's cache, in flash, in a key-value store.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::slot::TokenMeta;
use super::{Generation, TokenManager};
use crate::jwt::Claims;
use crate::policy::{Jitter, RefreshPolicy, mix};
use crate::secret::Secret;
use crate::storage::{Buffer, CapacityError, Storage};
use crate::time::{Instant, UnixTime, millis};

/// The first byte: what the others mean.
const VERSION: u8 = 2;

/// What is kept. Nothing in it is monotonic: it is read on another boot, or another machine.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    identity: Fingerprint,
    user: &'a str,
    token: &'a str,
    /// Seconds since 1970.
    ends: u64,
    /// Milliseconds from the request to the end.
    life: u64,
}

/// Tells identities apart: a snapshot is only of use for the one that it was made for.
///
/// It is a hash of what says whose the tokens are: see
/// [`TokenSource::identify`](crate::source::TokenSource::identify). It notices that a configuration
/// has changed. It is no protection: who can write a snapshot can write this into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of nothing.
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Takes in one more part of what it is of. It is not the same to take in two parts one by one
    /// and at once.
    pub fn feed(&mut self, part: &[u8]) {
        // FNV-1a, and the end of each part.
        for byte in part {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.0 = mix(self.0 ^ part.len() as u64);
    }

    /// Of what `identify` feeds.
    pub fn of(identify: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Self {
        let mut fingerprint = Self::new();
        identify(&mut |part| fingerprint.feed(part));
        fingerprint
    }
}

impl Default for Fingerprint {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a snapshot can't be used. A token is then fetched, as without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SnapshotError {
    /// It was made by another version of this library.
    Version,
    /// Its bytes are damaged.
    Damaged,
    /// It was made for another identity: the configuration has changed.
    OtherIdentity,
    /// Its token has ended.
    Expired,
    /// Its token doesn't fit.
    TooLarge(CapacityError),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "the snapshot has another version",
            Self::Damaged => "the snapshot is damaged",
            Self::OtherIdentity => "the snapshot is for another identity",
            Self::Expired => "the snapshot's token has expired",
            Self::TooLarge(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for SnapshotError {}

impl<M: Storage<u8>> TokenManager<M> {
    /// Writes the token that serves to `out`, for [`restore`](Self::restore) to read. Answers with
    /// the bytes; with none if there is no token, if a server has refused it, or if it is unknown
    /// the date on which it ends. `identity` is whose it is.
    ///
    /// It is a secret, in clear: who keeps it where others can read must seal it, and `out` should
    /// be wiped. Take one for each new [generation](super::TokenHealth::generation).
    ///
    /// # Errors
    /// [`CapacityError`] if `out` is too small: the token, the user name and 48 bytes.
    ///
    /// ```
    /// use core::time::Duration;
    /// use redis_entraid_core::manager::{Fingerprint, Pull, TokenManager};
    /// use redis_entraid_core::policy::{Jitter, RefreshPolicy};
    /// use redis_entraid_core::secret::Secret;
    /// use redis_entraid_core::source::{StaticToken, TokenSource};
    /// use redis_entraid_core::time::{Instant, UnixTime};
    /// use redis_entraid_core::token::Token;
    ///
    /// let manager = || TokenManager::new(RefreshPolicy::default(), Jitter::new(7), [[0; 256]; 2]);
    /// let (boot, today) = (Instant::from_millis(0), UnixTime(1_800_000_000));
    /// let token = Token::new(Secret::new("token")).with_user("oid");
    /// let identity = Fingerprint::of(|feed| StaticToken::new(token).identify(feed));
    ///
    /// let mut first = manager();
    /// first.unix_time(boot, today);
    /// first.push(boot, &token.with_expires_in(Duration::from_secs(3600))).unwrap();
    /// let mut memory = [0; 256];
    /// let kept = first.snapshot(boot, identity, &mut memory).unwrap().unwrap();
    ///
    /// // Half an hour later, in another process: it serves, and isn't asked for again yet.
    /// let mut second = manager();
    /// let now = Instant::from_millis(5);
    /// second.restore(kept, identity, now, Some(UnixTime(today.0 + 1800))).unwrap();
    /// assert_eq!(second.login(now).unwrap().expose(), "token");
    /// assert_eq!(second.pull(now), Pull::Use);
    /// ```
    pub fn snapshot<'o>(
        &self,
        now: Instant,
        identity: Fingerprint,
        out: &'o mut [u8],
    ) -> Result<Option<&'o mut [u8]>, CapacityError> {
        let Some(login) = self.login(now) else { return Ok(None) };
        let facts = login.facts;
        if facts.rejected {
            return Ok(None);
        }
        let left = facts.expires_at.since(now);
        let by_clock = self.unix_time_at(now).map(|t| UnixTime(t.0.saturating_add(left.as_secs())));
        let Some(UnixTime(ends)) = facts.ends.or(by_clock) else { return Ok(None) };
        let life = millis(facts.life);
        let kept = Kept { identity, user: login.user(), token: login.expose(), ends, life };
        let needed = kept.user.len().saturating_add(kept.token.len()).saturating_add(48);
        let capacity = out.len();
        let too_small = CapacityError::new(Buffer::Snapshot, needed, capacity);
        let (version, rest) = out.split_first_mut().ok_or(too_small)?;
        *version = VERSION;
        let len = postcard::to_slice(&kept, rest).map_err(|_| too_small)?.len() + 1;
        Ok(out.get_mut(..len))
    }

    /// Takes the token of a [`snapshot`](Self::snapshot) in, at the start. `unix_time` is the wall
    /// clock now, where there is one.
    ///
    /// With a wall clock its schedule continues. Without one it is unknown whether it
    /// still lives: it is tried, and a fresh one is due at once. It is judged again by the first
    /// [`unix_time`](Self::unix_time).
    ///
    /// # Errors
    /// [`SnapshotError`] if it can't be used, as one that was not made for `identity`; the tokens
    /// are as they were then.
    pub fn restore(
        &mut self,
        snapshot: &[u8],
        identity: Fingerprint,
        now: Instant,
        unix_time: Option<UnixTime>,
    ) -> Result<Generation, SnapshotError> {
        let kept = match snapshot.split_first() {
            Some((&VERSION, rest)) => match postcard::take_from_bytes::<Kept<'_>>(rest) {
                Ok((kept, [])) if !kept.user.is_empty() && !kept.token.is_empty() => kept,
                _ => return Err(SnapshotError::Damaged),
            },
            Some(_) => return Err(SnapshotError::Version),
            None => return Err(SnapshotError::Damaged),
        };
        if kept.identity != identity {
            return Err(SnapshotError::OtherIdentity);
        }
        let (life, ends) = (Duration::from_millis(kept.life), UnixTime(kept.ends));
        let generation = Generation(self.last.0.saturating_add(1));
        let mut facts = TokenMeta {
            generation,
            sent_at: now,
            life,
            expires_at: now.plus(life),
            refresh_at: now,
            ends: Some(ends),
            undated: true,
            audience: Claims::read(kept.token).map(|claims| claims.audience).unwrap_or_default(),
            accepted: false,
            rejected: false,
        };
        if let Some(time) = unix_time {
            self.unix_time(now, time);
        }
        if let Some(time) = unix_time.or_else(|| self.unix_time_at(now)) {
            dated(&mut facts, now, time, &self.policy, &mut self.jitter);
        }
        if facts.expires_at <= now {
            return Err(SnapshotError::Expired);
        }
        let (_, older) = self.newest_mut();
        older.store(kept.user, Secret::new(kept.token), facts).map_err(SnapshotError::TooLarge)?;
        self.newest_is_second = !self.newest_is_second;
        self.last = generation;
        Ok(generation)
    }

    /// The wall clock became known: judges what was restored without it.
    pub(super) fn date(&mut self, now: Instant, unix_time: UnixTime) {
        let Self { slots, policy, jitter, .. } = self;
        for facts in slots.iter_mut().filter_map(|slot| slot.facts.as_mut()) {
            if facts.undated {
                dated(facts, now, unix_time, policy, jitter);
            }
        }
    }
}

/// Finds out how much of a restored token's life is left, and when the next one is due.
fn dated(
    facts: &mut TokenMeta,
    now: Instant,
    unix_time: UnixTime,
    policy: &RefreshPolicy,
    jitter: &mut Jitter,
) {
    let life = millis(facts.life);
    // A clock that is behind makes no token live longer.
    let left = facts.ends.map_or(0, |ends| ends.millis_since(unix_time)).min(life);
    let over = life - left;
    let wait = policy.refresh_after_millis(life, None).saturating_sub(over);
    facts.undated = false;
    facts.sent_at = now.minus(Duration::from_millis(over));
    facts.expires_at = facts.expires_at.min(now.after(left));
    facts.refresh_at = now.after(jitter.earlier(wait, policy.refresh_jitter));
}
