//! The token manager: when to fetch, what to log in with. One for each identity, whatever the
//! number of connections.
//!
//! It does no IO and holds no socket. It is told what happened and asked what to do:
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
//! | [`failed`](TokenManager::failed) | the old token is served on; next fetch after a wait |
//! | [`accepted`](TokenManager::accepted) | the candidate is what new connections fall back to |
//! | [`rejected`](TokenManager::rejected) | one fresh token is fetched; the accepted one is used meanwhile |
//! | [`unix_time`](TokenManager::unix_time) | may bring deadlines forward, never back |
//!
//! With the feature `postcard`, a token can be kept as bytes and taken in again on the next boot or
//! in the next instance of a function: see `snapshot` and `restore`.
//!
//! Nothing ends it, and no answer makes it ask more often than the policy's floors allow. An hour
//! with it:
//!
//! ```
//! use core::time::Duration;
//! use redis_entraid_core::manager::{Action, TokenManager};
//! use redis_entraid_core::policy::RefreshPolicy;
//! use redis_entraid_core::secret::Secret;
//! use redis_entraid_core::source::SourceError;
//! use redis_entraid_core::time::Instant;
//! use redis_entraid_core::token::Token;
//!
//! let minutes = |n: u64| Instant::from_millis(n * 60_000);
//! let token = |text| {
//!     Token::new(Secret::new(text)).with_user("my-oid").with_expires_in(Duration::from_secs(3600))
//! };
//! let mut manager = TokenManager::new(RefreshPolicy::default(), [[0; 256]; 2]);
//!
//! assert!(matches!(manager.poll(minutes(0)), Action::Fetch { .. }));
//! manager.token(minutes(0), &token("first")).unwrap();
//! let login = manager.login(minutes(0)).unwrap();
//! assert_eq!((login.user(), login.expose()), ("my-oid", "first"));
//! let have = login.generation();
//! manager.accepted(have);
//!
//! // Nothing to do until 70 % of its life are over ...
//! assert!(matches!(manager.poll(minutes(41)), Action::Wait { until, .. } if until == minutes(42)));
//! // ... then the next one is due. If that fails, the old one still serves.
//! assert!(matches!(manager.poll(minutes(42)), Action::Fetch { .. }));
//! manager.failed(minutes(43), SourceError::TimedOut);
//! assert_eq!(manager.login(minutes(43)).unwrap().expose(), "first");
//! assert!(matches!(manager.poll(minutes(44)), Action::Fetch { .. }));
//! manager.token(minutes(44), &token("second")).unwrap();
//! assert_eq!(manager.newer_than(have, minutes(44)).unwrap().expose(), "second");
//! ```

mod action;
mod clock;
mod health;
mod login;
mod slot;
#[cfg(feature = "postcard")]
mod snapshot;

use core::fmt;
use core::time::Duration;

pub use action::{Action, Pull, Reason, Refreshed};
pub use health::TokenHealth;
pub use login::Login;
use slot::{Facts, Slot};
#[cfg(feature = "postcard")]
pub use snapshot::SnapshotError;

use crate::event::Event;
use crate::policy::{Jitter, RefreshPolicy};
use crate::source::{ErrorKind, SourceError};
use crate::storage::Storage;
use crate::time::{Instant, UnixTime, millis};
use crate::token::{Token, TokenError};

/// The number of a token: each new one has a higher one. The first is 1; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Generation(pub u32);

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
    in_flight: Option<Instant>,
    /// No request before then.
    not_before: Instant,
    /// A fresh token is wanted, whatever the schedule says.
    forced: bool,
    failures_in_a_row: u32,
    rejections_in_a_row: u32,
    /// Both clocks, when they were last seen to agree.
    clocks: Option<(Instant, UnixTime)>,
    /// Seconds by which the wall clock is ahead of the token endpoint's.
    clock_skew: Option<i64>,
    counts: Counts,
    last_error: Option<SourceError>,
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
    /// A manager without a token, with two slots of memory.
    pub fn new(policy: RefreshPolicy, slots: [M; 2]) -> Self {
        let [first, second] = slots;
        Self {
            policy,
            jitter: Jitter::new(),
            slots: [Slot::new(first), Slot::new(second)],
            newest_is_second: false,
            last: Generation(0),
            in_flight: None,
            not_before: Instant::from_millis(0),
            forced: false,
            failures_in_a_row: 0,
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
            last_error: None,
        }
    }

    /// Gives it chance, for jitter: any number that differs from process to process. Without it
    /// there is none, and a fleet asks in step.
    pub const fn seed(&mut self, seed: u64) {
        self.jitter.seed(seed);
    }

    /// Says what to do now.
    ///
    /// Again without an answer to a `Fetch`, it says `Wait`: there is never a second one in
    /// flight. Early calls are harmless; a late one makes a refresh late.
    pub fn poll(&mut self, now: Instant) -> Action {
        if let Some(deadline) = self.in_flight {
            if now < deadline {
                return Action::Wait { until: deadline, why: Reason::InFlight };
            }
            // It failed then, however late anybody looks.
            self.failed(deadline, SourceError::TimedOut);
        }
        let (due, why) = self.due();
        if now < due {
            return Action::Wait { until: due, why };
        }
        // A timeout of zero would have every request fail before it is sent.
        let deadline = now.after(millis(self.policy.token_request_timeout).max(1));
        self.in_flight = Some(deadline);
        self.counts.requests = self.counts.requests.saturating_add(1);
        Action::Fetch { deadline }
    }

    /// When the next request is due, and what for.
    #[inline(never)]
    fn due(&self) -> (Instant, Reason) {
        let wanted = match &self.newest().facts {
            Some(facts) if !self.forced => facts.refresh_at,
            _ => Instant::from_millis(0),
        };
        if wanted >= self.not_before {
            (wanted, Reason::Refresh)
        } else if self.failures_in_a_row > 0 {
            (self.not_before, Reason::Backoff)
        } else {
            (self.not_before, Reason::Floor)
        }
    }

    /// When [`poll`](Self::poll) will have something to do, for hosts that keep their own timer.
    pub fn next_deadline(&self) -> Instant {
        self.in_flight.unwrap_or_else(|| self.due().0)
    }

    /// Whether to use the token that there is, for hosts without a background task. A `Fetch` is
    /// still to be got from [`poll`](Self::poll).
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

    /// Takes a token from the source; `sent_at` is when it was asked for. A token may also be
    /// pushed in, without a `Fetch`.
    ///
    /// # Errors
    /// [`TokenError`] if it can't be used. That counts as a failure, and the next attempt is
    /// scheduled.
    #[inline(never)]
    pub fn token(&mut self, sent_at: Instant, token: &Token<'_>) -> Result<Refreshed, TokenError> {
        self.take(sent_at, token).inspect_err(|error| {
            self.failed(sent_at, SourceError::Token(*error));
        })
    }

    fn take(&mut self, sent_at: Instant, token: &Token<'_>) -> Result<Refreshed, TokenError> {
        let unix_time = self.unix_time_at(sent_at);
        if let (Some(here), Some(there)) = (unix_time, token.server_time) {
            self.clock_skew = here.0.checked_signed_diff(there.0);
        }
        let facts = token.examine(unix_time)?;
        let user = match (&facts.oid, token.user) {
            (Some(oid), _) => oid.as_str(),
            (None, user) => user.unwrap_or_default(),
        };
        let expires_at = sent_at.plus(facts.life);
        let known = self.slots.iter_mut().find(|slot| slot.holds(user, token.secret));
        let refreshed = if let Some(facts) = known.and_then(|slot| slot.facts.as_mut()) {
            // Whatever the source says now, the same token doesn't live longer than it did.
            facts.expires_at = facts.expires_at.min(expires_at);
            if facts.expires_at <= sent_at {
                return Err(TokenError::Expired);
            }
            facts.rejected = false;
            let generation = facts.generation;
            let half = facts.expires_at.millis_since(sent_at) / 2;
            let refresh_at = sent_at.after(half.max(millis(self.policy.token_floor)));
            if let Some(newest) = &mut self.newest_mut().0.facts {
                newest.refresh_at = refresh_at;
            }
            self.counts.same_tokens = self.counts.same_tokens.saturating_add(1);
            Refreshed::Same(generation)
        } else {
            let life = millis(facts.life);
            let wait = self.policy.refresh_after_millis(life, token.refresh_in);
            let wait = self.jitter.earlier(wait, self.policy.refresh_jitter);
            let generation = Generation(self.last.0.saturating_add(1));
            let facts = Facts {
                generation,
                sent_at,
                #[cfg(feature = "postcard")]
                life: facts.life,
                expires_at,
                refresh_at: sent_at.after(wait),
                ends: facts.ends,
                audience: facts.audience,
                accepted: false,
                rejected: false,
            };
            // The accepted one is what a new connection falls back to: it is not overwritten.
            let accepted = |slot: &Slot<M>| slot.live(sent_at).is_some_and(|facts| facts.accepted);
            let (newest, older) = self.newest_mut();
            let replace_newest = accepted(older) && !accepted(newest);
            let slot = if replace_newest { newest } else { older };
            slot.store(user, token.secret, facts)?;
            self.newest_is_second ^= !replace_newest;
            self.last = generation;
            self.counts.refreshes = self.counts.refreshes.saturating_add(1);
            Refreshed::New(generation)
        };
        self.in_flight = None;
        self.forced = false;
        self.failures_in_a_row = 0;
        self.last_error = None;
        self.not_before = sent_at.plus(self.policy.token_floor);
        Ok(refreshed)
    }

    /// Learns that the source gave no token. The old one is served on.
    pub fn failed(&mut self, now: Instant, error: SourceError) {
        self.in_flight = None;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.counts.failures = self.counts.failures.saturating_add(1);
        self.last_error = Some(error);
        let retry = &self.policy.retry;
        let wait = retry.wait_millis(error.kind(), self.failures_in_a_row);
        let jittered = self.jitter.around(wait.min(MAX_ASKED), retry.jitter);
        // What the endpoint asked for is not shortened.
        let asked = match error.kind() {
            ErrorKind::Throttled(Some(asked)) => millis(asked).min(MAX_ASKED),
            _ => 0,
        };
        self.not_before = now.after(jittered.max(asked).max(millis(self.policy.failure_floor)));
    }

    /// Whether trying again soon may help against `error`, by the policy.
    pub fn is_retryable(&self, error: &SourceError) -> bool {
        (self.policy.retry.is_retryable)(error.kind())
    }

    /// Learns that a request was given up before there was an answer. It is no failure; the next
    /// one is due as if it had not been made, but for the floor.
    pub fn abandoned(&mut self, now: Instant) {
        if self.in_flight.take().is_some() {
            self.not_before = self.not_before.max(now.plus(self.policy.failure_floor));
        }
    }

    /// Takes the answer of a source, good or bad, and says what came of it: [`token`](Self::token)
    /// and [`failed`](Self::failed) in one, for drivers that report events.
    pub fn answered(
        &mut self,
        sent_at: Instant,
        now: Instant,
        answer: Result<Token<'_>, SourceError>,
    ) -> Event {
        let refreshed = match answer {
            Ok(token) => self.token(sent_at, &token).map_err(SourceError::Token),
            Err(error) => {
                self.failed(now, error);
                Err(error)
            }
        };
        // The floors, from now on: the answer may have taken its time.
        let floor = match refreshed {
            Ok(_) => self.policy.token_floor,
            Err(_) => self.policy.failure_floor,
        };
        self.not_before = self.not_before.max(now.plus(floor));
        let next_in = self.due().0.since(now);
        match refreshed {
            Ok(Refreshed::New(generation)) => {
                let expires_in = self
                    .newest()
                    .live(now)
                    .map_or(Duration::ZERO, |facts| facts.expires_at.since(now));
                Event::Refreshed { generation, expires_in, next_in }
            }
            Ok(Refreshed::Same(generation)) => Event::SameToken { generation, next_in },
            Err(error) => Event::FetchFailed { error, next_in },
        }
    }

    /// Wants a fresh token as soon as the floors allow, whatever the schedule says.
    pub fn refresh_now(&mut self) {
        self.forced = true;
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

/// The longest that is waited after a failure, whoever asks for it, in milliseconds.
const MAX_ASKED: u64 = 3_600_000;

impl<M: Storage<u8>> fmt::Debug for TokenManager<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenManager")
            .field("slots", &self.slots)
            .field("in_flight", &self.in_flight)
            .field("not_before", &self.not_before)
            .field("failures_in_a_row", &self.failures_in_a_row)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
