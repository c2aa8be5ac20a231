//! When to refresh, and what to do when that fails: numbers only, by the names that the official
//! clients use.
//!
//! ```
//! use core::time::Duration;
//! use redis_entraid_core::policy::{Ratio, RefreshPolicy};
//!
//! let policy = RefreshPolicy {
//!     expiration_refresh_ratio: Ratio::percent(75),
//!     lower_refresh_bound: Duration::from_secs(120),
//!     ..RefreshPolicy::default()
//! };
//! // A token of one hour is refreshed after 45 minutes.
//! let life = Duration::from_secs(3600);
//! assert_eq!(policy.refresh_after(life, None), Duration::from_secs(2700));
//! ```

use core::time::Duration;

use crate::source::ErrorKind;
use crate::time::millis;

/// A share between nothing and the whole, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ratio(u32);

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The whole.
    pub const ONE: Self = Self(1_000_000);

    /// `ppm` parts per million; `None` above 1,000,000.
    pub const fn from_ppm(ppm: u32) -> Option<Self> {
        if ppm <= Self::ONE.0 { Some(Self(ppm)) } else { None }
    }

    /// `percent` in a hundred; all above 100 is the whole.
    pub const fn percent(percent: u32) -> Self {
        if percent < 100 { Self(percent * 10_000) } else { Self::ONE }
    }

    /// The share in parts per million.
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// This share of `duration`, in whole milliseconds, rounded down.
    pub const fn of(self, duration: Duration) -> Duration {
        Duration::from_millis(self.of_millis(millis(duration)))
    }

    #[inline(never)]
    pub(crate) const fn of_millis(self, total: u64) -> u64 {
        // u64 milliseconds times a million don't fit in u64, and u128 costs a device kilobytes:
        // so the whole millions and the rest are taken apart.
        let ppm = self.0 as u64;
        let million = Self::ONE.0 as u64;
        let whole = (total / million).saturating_mul(ppm);
        whole.saturating_add(total % million * ppm / million)
    }
}

/// How a token is renewed.
///
/// The defaults keep Microsoft's advice: a new token is on its way long before the old one ends,
/// and the last re-AUTH with the new one comes at least three minutes before that end.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RefreshPolicy {
    /// The share of a token's life after which the next one is fetched. 0.7 as in
    /// go-redis-entraid and redis-py-entraid.
    pub expiration_refresh_ratio: Ratio,
    /// The next token is fetched when no more than this is left, whatever the ratio says. Zero
    /// means no bound; what is more than half of a token's life counts as half of it.
    pub lower_refresh_bound: Duration,
    /// The largest share of the wait by which a refresh is brought forward at random, so that a
    /// fleet doesn't fetch at the same time. It never delays a refresh.
    pub refresh_jitter: Ratio,
    /// The time limit of one token request. After it the request counts as failed.
    pub token_request_timeout: Duration,
    /// What happens when a request fails.
    pub retry: RetryPolicy,
    /// The least time from a failed request to the next one, however it failed.
    pub failure_floor: Duration,
    /// The least time from the answer that brought a token to the next request.
    pub token_floor: Duration,
    /// Connections should have logged in with the new token this long before the old one ends.
    /// Microsoft asks for three minutes; of short-lived tokens it is at most a tenth of the life.
    pub reauth_lead: Duration,
    /// The logins of many connections with a new token are spread over this time, as far as the
    /// lead leaves room.
    pub reauth_spread: Duration,
}

impl RefreshPolicy {
    /// The time from the request for a token to the request for the next one, without jitter:
    /// `min(ratio x life, life - bound, refresh_in)`.
    ///
    /// `life` is counted from when the request was sent; `refresh_in` is the server's own word,
    /// where it gave one. A manager uses a token for a 128th of its life at least, whatever this returns.
    pub fn refresh_after(&self, life: Duration, refresh_in: Option<Duration>) -> Duration {
        Duration::from_millis(self.refresh_after_millis(millis(life), refresh_in))
    }

    pub(crate) fn refresh_after_millis(&self, life: u64, refresh_in: Option<Duration>) -> u64 {
        let by_ratio = self.expiration_refresh_ratio.of_millis(life);
        // A bound of the whole life would make a refresh due at all times.
        let bound = millis(self.lower_refresh_bound).min(life / 2).max(self.lead_millis(life));
        let by_bound = life.saturating_sub(bound);
        by_ratio.min(by_bound).min(refresh_in.map_or(u64::MAX, millis))
    }

    /// [`reauth_lead`](Self::reauth_lead), scaled down for a token that lives for `life` only.
    pub fn lead(&self, life: Duration) -> Duration {
        Duration::from_millis(self.lead_millis(millis(life)))
    }

    pub(crate) fn lead_millis(&self, life: u64) -> u64 {
        millis(self.reauth_lead).min(Ratio::percent(10).of_millis(life))
    }
}

impl Default for RefreshPolicy {
    fn default() -> Self {
        Self {
            expiration_refresh_ratio: Ratio::percent(70),
            lower_refresh_bound: Duration::ZERO,
            refresh_jitter: Ratio::percent(5),
            token_request_timeout: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            failure_floor: Duration::from_secs(1),
            token_floor: Duration::from_secs(5),
            reauth_lead: Duration::from_secs(180),
            reauth_spread: Duration::from_secs(30),
        }
    }
}

/// How a failed request is repeated: each kind of failure has a schedule of its own, and none of
/// them ends. While the old token lives it is served meanwhile.
///
/// | [kind](ErrorKind) | waits |
/// |---|---|
/// | transient | `initial_delay`, growing by `backoff_multiplier` to `max_delay`, `max_attempts` times; then `slow_delay` |
/// | throttled | what the endpoint asks for, at least the same; if it asks for nothing, at least `throttled_delay` |
/// | parse | `parse_delay` |
/// | clock | `clock_delay` |
/// | replication | as transient |
/// | configuration | `slow_delay` |
///
/// While a caller waits for a token and there is no live one, each wait is at most `max_delay`, but
/// for what the endpoint asked for: see [`set_demand`](crate::manager::TokenManager::set_demand).
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RetryPolicy {
    /// How many quick attempts follow a failure, before the slow ones.
    pub max_attempts: u32,
    /// The wait before the first quick attempt.
    pub initial_delay: Duration,
    /// The longest wait between quick attempts, and after any failure while a caller waits and there
    /// is no live token.
    pub max_delay: Duration,
    /// What the wait is multiplied by from one attempt to the next, as a whole number.
    pub backoff_multiplier: u32,
    /// The largest share of a wait that is added to or taken from it at random.
    pub jitter: Ratio,
    /// Whether a failure of this kind gets the quick attempts. Any other kind has a wait of its
    /// own each time; it is never given up.
    #[cfg_attr(feature = "defmt", defmt(Debug2Format))]
    pub is_retryable: fn(ErrorKind) -> bool,
    /// The wait between slow attempts: when the quick ones are used up, and when a person has to
    /// change something.
    pub slow_delay: Duration,
    /// The least wait after a throttled request (HTTP 429) without `Retry-After`.
    pub throttled_delay: Duration,
    /// The wait when the response can't be parsed: perhaps from a proxy, and temporary.
    pub parse_delay: Duration,
    /// The wait when a clock is wrong, until it may have been set.
    pub clock_delay: Duration,
}

impl RetryPolicy {
    /// The wait after so many failures in a row (1 = the first), without jitter; `None` when the
    /// quick attempts are used up.
    pub fn delay(&self, failures: u32) -> Option<Duration> {
        self.delay_millis(failures).map(Duration::from_millis)
    }

    fn delay_millis(&self, failures: u32) -> Option<u64> {
        (1..=self.max_attempts).contains(&failures).then(|| self.backoff().delay_millis(failures))
    }

    /// The same; the slow one when the quick attempts are used up.
    pub(crate) fn quick_millis(&self, failures: u32) -> u64 {
        self.delay_millis(failures).unwrap_or_else(|| millis(self.slow_delay))
    }

    /// The wait after a failure of this kind, the last of so many in a row, without jitter.
    pub fn wait(&self, kind: ErrorKind, failures: u32) -> Duration {
        let wait = self.own_wait_millis(kind, failures).max(self.asked_millis(kind));
        Duration::from_millis(wait)
    }

    /// The same but for what the endpoint asked for.
    pub(crate) fn own_wait_millis(&self, kind: ErrorKind, failures: u32) -> u64 {
        let retryable = (self.is_retryable)(kind);
        match kind {
            ErrorKind::Parse if !retryable => return millis(self.parse_delay),
            ErrorKind::Clock if !retryable => return millis(self.clock_delay),
            _ => {}
        }
        // When the quick attempts are used up there are only slow ones.
        self.quick_millis(if retryable { failures } else { 0 })
    }

    /// The part of the wait that the endpoint asked for.
    pub(crate) fn asked_millis(&self, kind: ErrorKind) -> u64 {
        match kind {
            ErrorKind::Throttled(Some(asked)) => millis(asked),
            ErrorKind::Throttled(None) if (self.is_retryable)(kind) => millis(self.throttled_delay),
            _ => 0,
        }
    }

    pub(crate) const fn backoff(&self) -> Backoff {
        Backoff {
            initial: self.initial_delay,
            max: self.max_delay,
            multiplier: self.backoff_multiplier,
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
            backoff_multiplier: 2,
            jitter: Ratio::percent(20),
            is_retryable: ErrorKind::is_retryable,
            slow_delay: Duration::from_secs(60),
            throttled_delay: Duration::from_secs(5),
            parse_delay: Duration::from_secs(15),
            clock_delay: Duration::from_secs(30),
        }
    }
}

/// Waits that grow by a factor, up to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Backoff {
    /// The first wait.
    pub initial: Duration,
    /// The longest one.
    pub max: Duration,
    /// What each is multiplied by to give the next.
    pub multiplier: u32,
}

impl Backoff {
    /// The wait after so many failures in a row, 1 being the first.
    pub fn delay(&self, failures: u32) -> Duration {
        Duration::from_millis(self.delay_millis(failures))
    }

    #[inline(never)]
    pub(crate) fn delay_millis(&self, failures: u32) -> u64 {
        let (mut delay, max) = (millis(self.initial), millis(self.max));
        // Ends early: what grows at all reaches the limit by doubling.
        for _ in 1..failures {
            if delay >= max || delay == 0 || self.multiplier <= 1 {
                break;
            }
            delay = delay.saturating_mul(self.multiplier.into());
        }
        delay.min(max)
    }
}

/// Random numbers from a seed that the host gives: SplitMix64 (Steele, Lea, Flood 2014).
///
/// For jitter, not for secrets.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Jitter {
    state: Option<u64>,
}

impl Jitter {
    /// Seeds it with any number that differs from process to process.
    pub const fn new(seed: u64) -> Self {
        Self { state: Some(seed) }
    }

    /// Returns another seed, or an id, that depends on `seed` and seems unrelated.
    pub const fn mix(seed: u64) -> u64 {
        mix(seed)
    }

    /// Returns no jitter: all processes of a fleet act at the same time. For tests of exact times.
    pub const fn none() -> Self {
        Self { state: None }
    }

    /// Returns `delay`, less or more up to `share` of it.
    pub fn around(&mut self, delay: Duration, share: Ratio) -> Duration {
        Duration::from_millis(self.around_millis(millis(delay), share))
    }

    /// A number up to, not with, `range`; `None` without a seed.
    fn up_to(&mut self, range: u64) -> Option<u64> {
        let state = self.state.as_mut()?;
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        // 32 good bits: a share of the range in 2^32 parts, in u64 as long as it fits.
        let share = mix(*state) >> 32;
        let high = (range >> 32).saturating_mul(share);
        let low = ((range & 0xffff_ffff) * share) >> 32;
        Some(high.saturating_add(low))
    }

    /// `delay` less up to `share` of it, in milliseconds.
    #[inline(never)]
    pub(crate) fn earlier(&mut self, delay: u64, share: Ratio) -> u64 {
        delay.saturating_sub(self.up_to(share.of_millis(delay)).unwrap_or_default())
    }

    pub(crate) fn around_millis(&mut self, delay: u64, share: Ratio) -> u64 {
        let share = share.of_millis(delay);
        match self.up_to(share.saturating_mul(2)) {
            Some(extra) => delay.saturating_sub(share).saturating_add(extra),
            None => delay,
        }
    }
}

/// Scatters the bits of `x`: near numbers become far ones.
#[inline(never)]
pub(crate) const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
