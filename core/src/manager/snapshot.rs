//! A token that outlives its process: in a function's cache, in flash, in a key-value store.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::slot::Facts;
use super::{Generation, TokenManager};
use crate::jwt::Claims;
use crate::secret::Secret;
use crate::storage::{Buffer, CapacityError, Storage};
use crate::time::{Instant, UnixTime, millis};

/// The first byte: what the others mean.
const VERSION: u8 = 1;

/// What is kept. Nothing in it is monotonic: it is read on another boot, or another machine.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    user: &'a str,
    token: &'a str,
    /// Seconds since 1970.
    ends: u64,
    /// Milliseconds from the request to the end.
    life: u64,
}

/// Why a snapshot is of no use. Then a token is fetched, as without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SnapshotError {
    /// It was made by another version of this library.
    Version,
    /// It is not what was made.
    Damaged,
    /// Its token has ended.
    Expired,
    /// Its token doesn't fit.
    TooLarge(CapacityError),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "the snapshot is of another version",
            Self::Damaged => "the snapshot is damaged",
            Self::Expired => "the snapshot's token has ended",
            Self::TooLarge(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for SnapshotError {}

impl<M: Storage<u8>> TokenManager<M> {
    /// Writes the token that serves to `out`, for [`restore`](Self::restore) to read. Answers with
    /// the bytes; with none if there is no token, or nobody knows the date on which it ends.
    ///
    /// It is a secret, in clear: who keeps it where others can read must seal it, and `out` should
    /// be wiped. Take one for each new [generation](super::TokenHealth::generation).
    ///
    /// # Errors
    /// [`CapacityError`] if `out` is too small: the token, the user name and 32 bytes.
    ///
    /// ```
    /// use core::time::Duration;
    /// use redis_entraid_core::manager::{Pull, TokenManager};
    /// use redis_entraid_core::policy::RefreshPolicy;
    /// use redis_entraid_core::secret::Secret;
    /// use redis_entraid_core::time::{Instant, UnixTime};
    /// use redis_entraid_core::token::Token;
    ///
    /// let manager = || TokenManager::new(RefreshPolicy::default(), [[0; 256]; 2]);
    /// let (boot, today) = (Instant::from_millis(0), UnixTime(1_800_000_000));
    /// let token = Token::new(Secret::new("token")).with_user("oid");
    ///
    /// let mut first = manager();
    /// first.unix_time(boot, today);
    /// first.token(boot, &token.with_expires_in(Duration::from_secs(3600))).unwrap();
    /// let mut memory = [0; 256];
    /// let kept = first.snapshot(boot, &mut memory).unwrap().unwrap();
    ///
    /// // Half an hour later, in another process: it serves, and isn't asked for again yet.
    /// let mut second = manager();
    /// let now = Instant::from_millis(5);
    /// second.restore(kept, now, Some(UnixTime(today.0 + 1800))).unwrap();
    /// assert_eq!(second.login(now).unwrap().expose(), "token");
    /// assert_eq!(second.pull(now), Pull::Use);
    /// ```
    pub fn snapshot<'o>(
        &self,
        now: Instant,
        out: &'o mut [u8],
    ) -> Result<Option<&'o mut [u8]>, CapacityError> {
        let Some(login) = self.login(now) else { return Ok(None) };
        let facts = login.facts;
        let left = facts.expires_at.since(now);
        let by_clock = self.unix_time_at(now).map(|t| UnixTime(t.0.saturating_add(left.as_secs())));
        let Some(UnixTime(ends)) = facts.ends.or(by_clock) else { return Ok(None) };
        let life = millis(facts.life);
        let kept = Kept { user: login.user(), token: login.expose(), ends, life };
        let needed = kept.user.len().saturating_add(kept.token.len()).saturating_add(32);
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
    /// With a wall clock its schedule goes on where it was. Without one nobody knows whether it
    /// still lives: it is tried, and a fresh one is due at once.
    ///
    /// # Errors
    /// [`SnapshotError`] if it is of no use; the tokens are as they were then.
    pub fn restore(
        &mut self,
        snapshot: &[u8],
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
        let life = Duration::from_millis(kept.life);
        // A clock that is behind makes no token live longer.
        let left = unix_time.map(|time| UnixTime(kept.ends).since(time).min(life));
        let refresh_in = match left {
            Some(left) => self.policy.refresh_after(life, None).saturating_sub(life - left),
            None => Duration::ZERO,
        };
        let left = left.unwrap_or(life);
        if left.is_zero() {
            return Err(SnapshotError::Expired);
        }
        let generation = Generation(self.last.0.saturating_add(1));
        let facts = Facts {
            generation,
            sent_at: now.minus(life - left),
            life,
            expires_at: now.plus(left),
            refresh_at: now
                .after(self.jitter.earlier(millis(refresh_in), self.policy.refresh_jitter)),
            ends: Some(UnixTime(kept.ends)),
            audience: Claims::read(kept.token).map(|claims| claims.audience).unwrap_or_default(),
            accepted: false,
            rejected: false,
        };
        if let Some(time) = unix_time {
            self.unix_time(now, time);
        }
        let (_, older) = self.newest_mut();
        older.store(kept.user, Secret::new(kept.token), facts).map_err(SnapshotError::TooLarge)?;
        self.newest_is_second = !self.newest_is_second;
        self.last = generation;
        Ok(generation)
    }
}
