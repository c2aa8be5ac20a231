//! A request to the source, and what comes of it.

use core::time::Duration;

use super::{Generation, Refreshed, Slot, TokenManager, TokenMeta};
use crate::event::Event;
use crate::source::{ErrorKind, SourceError};
use crate::storage::Storage;
use crate::time::{Instant, millis};
use crate::token::{Token, TokenError};

/// Which request it is, to be given back with its answer: a request that timed out may be answered
/// when the next one is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RequestId {
    number: u32,
    /// What a token's life and schedule count from.
    sent_at: Instant,
}

impl RequestId {
    pub(super) const fn new(number: u32, sent_at: Instant) -> Self {
        Self { number, sent_at }
    }
}

/// The request that is waited for.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) request: RequestId,
    pub(super) deadline: Instant,
}

/// The failure of the last request.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: SourceError,
    in_a_row: u32,
    /// No request before then.
    pub(super) until: Instant,
    /// The same while there is no live token and a caller waits for one.
    quick_until: Instant,
}

impl Failure {
    /// No request before then, if a caller waits and the last live token ends at `ends`.
    pub(super) fn until_in_demand(&self, ends: Instant) -> Instant {
        self.until.min(self.quick_until.max(ends))
    }
}

/// How a token comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// As the answer to the request in flight.
    Answer,
    /// As the answer to an older one.
    Late,
    /// Unasked.
    Pushed,
}

/// The longest wait after a failure, even if the endpoint asks for more, in milliseconds.
const MAX_WAIT: u64 = 3_600_000;

/// After so many attempts more, what one machine of a service says is what all say.
const SETTLED_AFTER: u32 = 3;

/// A token is used for this part of its life before the next one is fetched, whatever the policy
/// and the source say: no numbers have a source asked without end.
const LEAST_USE: u64 = 128;

impl<M: Storage<u8>> TokenManager<M> {
    /// Takes the token that answers `request`. Its life counts from when that was sent.
    ///
    /// The answer to an older request than the one in flight counts as [pushed](Self::push), if it
    /// outlives the present token: else a source that is slower than the time limit would never yield
    /// one.
    ///
    /// # Errors
    /// [`TokenError`] if it can't be used. If the request was in flight, that counts as a failure,
    /// and the next attempt is scheduled.
    #[inline(never)]
    pub fn token(
        &mut self,
        now: Instant,
        request: RequestId,
        token: &Token<'_>,
    ) -> Result<Refreshed, TokenError> {
        let answers = self.is_in_flight(request);
        let origin = if answers { Origin::Answer } else { Origin::Late };
        let taken = self.take(now, request.sent_at, token, origin);
        match taken {
            Ok(_) if answers => {
                self.in_flight = None;
                self.wanted_after = None;
                self.failure = None;
                // The answer may have taken its time: the floor counts from now.
                self.not_before = self.not_before.max(now.plus(self.policy.token_floor));
            }
            Ok(_) => {}
            Err(error) => self.failed(now, request, SourceError::Token(error)),
        }
        taken
    }

    /// Takes a token that was not requested. A request that is in flight stays so.
    ///
    /// # Errors
    /// [`TokenError`] if it can't be used. All is as it was then.
    pub fn push(&mut self, now: Instant, token: &Token<'_>) -> Result<Refreshed, TokenError> {
        self.take(now, now, token, Origin::Pushed)
    }

    /// Takes a token that was requested at `sent_at`.
    fn take(
        &mut self,
        now: Instant,
        sent_at: Instant,
        token: &Token<'_>,
        origin: Origin,
    ) -> Result<Refreshed, TokenError> {
        let unix_time = self.unix_time_at(sent_at);
        if let (Some(here), Some(there)) = (unix_time, token.server_time) {
            self.clock_skew = here.0.cast_signed().checked_sub(there.0.cast_signed());
        }
        let facts = token.examine(unix_time)?;
        let user = match (&facts.oid, token.user) {
            (Some(oid), _) => oid.as_str(),
            (None, user) => user.unwrap_or_default(),
        };
        let expires_at = sent_at.plus(facts.life);
        if origin == Origin::Late {
            if expires_at <= now {
                return Err(TokenError::Expired);
            }
            // It must not take the place of a better one.
            if expires_at <= self.ends() {
                return Ok(Refreshed::Same(self.last));
            }
        }
        let known = self.slots.iter_mut().find(|slot| slot.holds(user, token.secret));
        if let Some(facts) = known.and_then(|slot| slot.facts.as_mut()) {
            // Whatever the source says now, the same token doesn't live longer than it did.
            facts.expires_at = facts.expires_at.min(expires_at);
            if facts.expires_at <= sent_at {
                return Err(TokenError::Expired);
            }
            let generation = facts.generation;
            if origin == Origin::Answer {
                facts.rejected = false;
                let half = facts.expires_at.millis_since(sent_at) / 2;
                let refresh_at = sent_at.after(half.max(millis(self.policy.token_floor)));
                if let Some(newest) = &mut self.newest_mut().0.facts {
                    newest.refresh_at = refresh_at;
                }
            }
            self.counts.same_tokens = self.counts.same_tokens.saturating_add(1);
            return Ok(Refreshed::Same(generation));
        }
        let life = millis(facts.life);
        let wait = self.policy.refresh_after_millis(life, token.refresh_in);
        let wait = self.jitter.earlier(wait, self.policy.refresh_jitter).max(life / LEAST_USE);
        let generation = Generation(self.last.0.saturating_add(1));
        let facts = TokenMeta {
            generation,
            sent_at,
            #[cfg(feature = "postcard")]
            life: facts.life,
            expires_at,
            refresh_at: sent_at.after(wait),
            ends: facts.ends,
            #[cfg(feature = "postcard")]
            undated: false,
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
        Ok(Refreshed::New(generation))
    }

    /// Notes that `request` brought no token. The old token is served on. The failure of an older
    /// request than the one in flight changes nothing: it has failed already, when it timed out.
    pub fn failed(&mut self, now: Instant, request: RequestId, error: SourceError) {
        if !self.is_in_flight(request) {
            return;
        }
        self.in_flight = None;
        self.counts.failures = self.counts.failures.saturating_add(1);
        let in_a_row = self.failures_in_a_row().saturating_add(1);
        let (kind, retry) = (error.kind(), &self.policy.retry);
        let wait = retry.own_wait_millis(kind, in_a_row).min(MAX_WAIT);
        let wait = self.jitter.around_millis(wait, retry.jitter);
        let quick = self.jitter.earlier(millis(retry.max_delay), retry.jitter);
        // What the endpoint asked for is not shortened.
        let floor = retry.asked_millis(kind).min(MAX_WAIT).max(millis(self.policy.failure_floor));
        self.not_before = self.not_before.max(now.after(floor));
        self.failure = Some(Failure {
            error,
            in_a_row,
            until: now.after(wait),
            quick_until: now.after(quick),
        });
    }

    /// Notes that `request` was given up before there was an answer. It is no failure; the next
    /// one is due as if it had not been made, but for the floor.
    pub fn abandoned(&mut self, now: Instant, request: RequestId) {
        if self.is_in_flight(request) {
            self.in_flight = None;
            self.not_before = self.not_before.max(now.plus(self.policy.failure_floor));
        }
    }

    /// Takes the answer to `request`, good or bad, and says what came of it: [`token`](Self::token)
    /// and [`failed`](Self::failed) in one, for drivers that report events.
    pub fn answered(
        &mut self,
        now: Instant,
        request: RequestId,
        answer: Result<Token<'_>, SourceError>,
    ) -> Event {
        let refreshed = match answer {
            Ok(token) => self.token(now, request, &token).map_err(SourceError::Token),
            Err(error) => {
                self.failed(now, request, error);
                Err(error)
            }
        };
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

    /// Returns whether trying again soon may help against `error`, by the policy. If not, give up
    /// waiting for the first token.
    pub fn is_retryable(&self, error: &SourceError) -> bool {
        let kind = error.kind();
        let is_settled = kind == ErrorKind::Replication && self.failures_in_a_row() > SETTLED_AFTER;
        (self.policy.retry.is_retryable)(kind) && !is_settled
    }

    fn is_in_flight(&self, request: RequestId) -> bool {
        self.in_flight.as_ref().is_some_and(|in_flight| in_flight.request == request)
    }

    /// Failed requests since the last token that the source gave.
    pub(super) fn failures_in_a_row(&self) -> u32 {
        self.failure.as_ref().map_or(0, |failure| failure.in_a_row)
    }
}
