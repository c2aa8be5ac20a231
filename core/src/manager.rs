//! The token manager: when to fetch, what to log in with. One for each identity, whatever the
//! number of connections.
//!
//! It does no IO and holds no socket. A host tells it what happened and polls what to do:
//!
//! ```text
//!              poll: due                       token (new or same)
//!   ┌──────┐ ───────────▶ ┌───────────┐ ───────────────────────────▶ ┌──────┐
//!   │ wait │              │ in flight │                              │ wait │ until refresh_at
//!   └──────┘ ◀─────────── └───────────┘ ───────────────────────────▶ └──────┘
//!              failed, or no answer in time: quick attempts, then slow ones, for ever
//! ```
//!
//! | told | effect |
//! |---|---|
//! | [`token`](TokenManager::token), a new one | it is the candidate; next fetch by the [policy](crate::policy) |
//! | `token`, the same again | no login; next fetch after half of what remains |
//! | `token`, the answer to an older request | as [`push`](TokenManager::push): the request in flight stays |
//! | [`failed`](TokenManager::failed) | the old token is served on; next fetch after a wait |
//! | `failed`, of an older request | nothing: it was counted when it timed out |
//! | [`push`](TokenManager::push) | a new token is the candidate; requests and waits are as they were |
//! | [`set_demand`](TokenManager::set_demand) | without a live token, the waits are at most the quick ones |
//! | [`accepted`](TokenManager::accepted) | the candidate is what new connections fall back to |
//! | [`rejected`](TokenManager::rejected) | one fresh token is fetched; the accepted one is used meanwhile |
//! | [`unix_time`](TokenManager::unix_time) | may bring deadlines forward, never back |
//!
//! With the feature `postcard`, a token can be kept as bytes and taken in again on the next boot or
//! in the next instance of a function: see `snapshot` and `restore`.
//!
//! No number of failures ends it, and no answer makes it fetch more often than the policy's floors
//! allow. An hour with it:
//!
//! ```
//! use core::time::Duration;
//! use redis_entraid_core::manager::{Action, TokenManager};
//! use redis_entraid_core::policy::{Jitter, RefreshPolicy};
//! use redis_entraid_core::secret::Secret;
//! use redis_entraid_core::source::SourceError;
//! use redis_entraid_core::time::Instant;
//! use redis_entraid_core::token::Token;
//!
//! let minutes = |n: u64| Instant::from_millis(n * 60_000);
//! let token = |text| {
//!     Token::new(Secret::new(text)).with_user("my-oid").with_expires_in(Duration::from_secs(3600))
//! };
//! // A program has `Jitter::new(seed)`. Here the times are exact.
//! let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 256]; 2]);
//!
//! let Action::Fetch { request, .. } = manager.poll(minutes(0)) else { unreachable!() };
//! manager.token(minutes(0), request, &token("first")).unwrap();
//! let login = manager.login(minutes(0)).unwrap();
//! assert_eq!((login.user(), login.expose()), ("my-oid", "first"));
//! let have = login.generation();
//! manager.accepted(have);
//!
//! // Nothing to do until 70 % of its life are over ...
//! assert!(matches!(manager.poll(minutes(41)), Action::Wait { until, .. } if until == minutes(42)));
//! // ... then the next one is due. If that fails, the old one still serves.
//! let Action::Fetch { request, .. } = manager.poll(minutes(42)) else { unreachable!() };
//! manager.failed(minutes(42), request, SourceError::TimedOut);
//! assert_eq!(manager.login(minutes(43)).unwrap().expose(), "first");
//! let Action::Fetch { request, .. } = manager.poll(minutes(44)) else { unreachable!() };
//! manager.token(minutes(44), request, &token("second")).unwrap();
//! assert_eq!(manager.newer_than(have, minutes(44)).unwrap().expose(), "second");
//! ```

mod action;
mod clock;
mod health;
mod login;
mod request;
mod slot;
#[cfg(feature = "postcard")]
mod snapshot;

use core::fmt;

pub use crate::token::Generation;
pub use action::{Action, Pull, Reason, Refreshed};
pub use health::TokenHealth;
pub use login::Credentials;
pub use request::RequestId;
use request::{Failure, InFlight};
use slot::{Slot, TokenMeta};
#[cfg(feature = "postcard")]
pub use snapshot::{Fingerprint, SnapshotError};

use crate::policy::{Jitter, RefreshPolicy};
use crate::source::SourceError;
use crate::storage::Storage;
use crate::time::{Instant, UnixTime, millis};

/// Milliseconds from one request to the next: no policy makes a hot loop, whatever comes of them.
const MIN_WAIT: u64 = 10;

/// Schedules the fetching of one identity's tokens and keeps them.
///
/// Its memory is two slots, each for one user name and one token: about 1.7 kB for a service
/// principal, 2.1 kB for a managed identity, never more than 16 kB.
pub struct TokenManager<M: Storage<u8>> {
    policy: RefreshPolicy,
    jitter: Jitter,
    slots: [Slot<M>; 2],
    /// Which slot has the newest token.
    newest_is_second: bool,
    last: Generation,
    in_flight: Option<InFlight>,
    /// No request before then, even if a caller waits.
    not_before: Instant,
    /// Why the last request failed, if it did.
    failure: Option<Failure>,
    /// A newer token than this one is wanted, whatever the schedule says.
    wanted_after: Option<Generation>,
    /// A caller waits for a token.
    demand: bool,
    rejections_in_a_row: u32,
    /// Both clocks, when they were last seen to agree.
    clocks: Option<(Instant, UnixTime)>,
    /// Seconds by which the wall clock is ahead of the token endpoint's.
    clock_skew: Option<i64>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: u32,
    refreshes: u32,
    same_tokens: u32,
    failures: u32,
    rejections: u32,
}

impl<M: Storage<u8>> TokenManager<M> {
    /// Creates a manager without a token, with two slots of memory. `jitter` spreads its fetches.
    pub fn new(policy: RefreshPolicy, jitter: Jitter, slots: [M; 2]) -> Self {
        let [first, second] = slots;
        Self {
            policy,
            jitter,
            slots: [Slot::new(first), Slot::new(second)],
            newest_is_second: false,
            last: Generation(0),
            in_flight: None,
            not_before: Instant::from_millis(0),
            failure: None,
            wanted_after: None,
            demand: false,
            rejections_in_a_row: 0,
            clocks: None,
            clock_skew: None,
            counts: Counts {
                requests: 0,
                refreshes: 0,
                same_tokens: 0,
                failures: 0,
                rejections: 0,
            },
        }
    }

    /// Returns what to do now.
    ///
    /// After a `Fetch` it returns `Wait` until the answer or the deadline: there is never a second
    /// request in flight. Early calls are harmless; a late one makes a refresh late. The answer may
    /// change with each other call, and with time.
    pub fn poll(&mut self, now: Instant) -> Action {
        if let Some(InFlight { request, deadline }) = self.in_flight {
            if now < deadline {
                return Action::Wait { until: deadline, why: Reason::InFlight };
            }
            // It failed at the deadline, however late this is polled.
            self.failed(deadline, request, SourceError::TimedOut);
        }
        let (due, why) = self.due();
        if now < due {
            return Action::Wait { until: due, why };
        }
        // A timeout of zero would have every request fail before it is sent.
        let deadline = now.after(millis(self.policy.token_request_timeout).max(1));
        self.counts.requests = self.counts.requests.saturating_add(1);
        let request = RequestId::new(self.counts.requests, now);
        self.in_flight = Some(InFlight { request, deadline });
        self.not_before = self.not_before.max(now.after(MIN_WAIT));
        let fresh = self.last.0 > 0 && self.wanted_after == Some(self.last);
        Action::Fetch { request, deadline, fresh }
    }

    /// When the next request is due, and what for.
    #[inline(never)]
    fn due(&self) -> (Instant, Reason) {
        let wanted = match &self.newest().facts {
            Some(facts) if self.wanted_after != Some(self.last) => facts.refresh_at,
            _ => Instant::from_millis(0),
        };
        let (backoff, why) = match &self.failure {
            Some(failure) if self.demand => (failure.until_in_demand(self.ends()), Reason::Backoff),
            Some(failure) => (failure.until, Reason::Backoff),
            None => (self.not_before, Reason::Floor),
        };
        let earliest = self.not_before.max(backoff);
        if wanted >= earliest { (wanted, Reason::Refresh) } else { (earliest, why) }
    }

    /// Until when there is a token that no server has refused.
    fn ends(&self) -> Instant {
        let facts = self.slots.iter().filter_map(|slot| slot.facts.as_ref());
        let good = facts.filter(|facts| !facts.rejected);
        good.map(|facts| facts.expires_at).max().unwrap_or_default()
    }

    /// Returns when [`poll`](Self::poll) will return something else than `Wait`. May change with each
    /// other call.
    pub fn next_deadline(&self) -> Instant {
        self.in_flight.as_ref().map_or_else(|| self.due().0, |in_flight| in_flight.deadline)
    }

    /// Returns whether to use the token that there is, for hosts without a background task. Get the
    /// request itself from [`poll`](Self::poll).
    pub fn pull(&self, now: Instant) -> Pull {
        let good = |slot: &Slot<M>| slot.live(now).is_some_and(|facts| !facts.rejected);
        if !self.slots.iter().any(good) {
            Pull::FetchFirst
        } else if self.in_flight.is_none() && self.due().0 <= now {
            Pull::UseThenRefresh
        } else {
            Pull::Use
        }
    }

    /// Makes a new token due as soon as the policy's floors allow.
    pub const fn refresh_now(&mut self) {
        self.wanted_after = Some(self.last);
    }

    /// Sets whether a caller waits for a token. While one does and there is no live token, the wait
    /// after a failure is at most [`max_delay`](crate::policy::RetryPolicy::max_delay), whatever
    /// the failure was. The floors stay, and so does what the endpoint asked for.
    ///
    /// It counts for a failure that has happened already, too: [`poll`](Self::poll) again.
    pub const fn set_demand(&mut self, demand: bool) {
        self.demand = demand;
    }

    #[inline(never)]
    fn newest(&self) -> &Slot<M> {
        self.slots_by_age().0
    }

    /// The slot with the newest token, and the other one.
    const fn slots_by_age(&self) -> (&Slot<M>, &Slot<M>) {
        let [first, second] = &self.slots;
        if self.newest_is_second { (second, first) } else { (first, second) }
    }

    const fn newest_mut(&mut self) -> (&mut Slot<M>, &mut Slot<M>) {
        let [first, second] = &mut self.slots;
        if self.newest_is_second { (second, first) } else { (first, second) }
    }
}

impl<M: Storage<u8>> fmt::Debug for TokenManager<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenManager")
            .field("slots", &self.slots)
            .field("in_flight", &self.in_flight)
            .field("not_before", &self.not_before)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
