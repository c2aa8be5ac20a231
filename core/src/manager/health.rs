//! How a manager stands.

use core::time::Duration;

use super::{Generation, TokenManager};
use crate::source::SourceError;
use crate::storage::Storage;
use crate::time::Instant;

/// How the tokens of an identity stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct TokenHealth {
    /// The newest token's number.
    pub generation: Option<Generation>,
    /// Since it was asked for.
    pub age: Option<Duration>,
    /// Until it ends; zero if it has.
    pub expires_in: Option<Duration>,
    /// Until the next request, or zero while one is in flight.
    pub next_fetch_in: Duration,
    /// Whether a request is in flight.
    pub in_flight: bool,
    /// Requests so far.
    pub requests: u32,
    /// New tokens so far, the first one included.
    pub refreshes: u32,
    /// Times that the source gave the same token again.
    pub same_tokens: u32,
    /// Failed requests so far.
    pub failures: u32,
    /// Failed requests since the last token.
    pub failures_in_a_row: u32,
    /// Tokens that a server refused.
    pub rejections: u32,
    /// Why the last request failed, if it did.
    pub last_error: Option<SourceError>,
    /// Seconds by which this machine's wall clock is ahead of the token endpoint's, as far as both
    /// are known. Nothing here depends on it, but certificates and assertions do.
    pub clock_skew: Option<i64>,
}

impl<M: Storage<u8>> TokenManager<M> {
    /// How things stand. Never shows the token.
    pub fn health(&self, now: Instant) -> TokenHealth {
        let newest = self.newest().facts.as_ref();
        TokenHealth {
            generation: newest.map(|facts| facts.generation),
            age: newest.map(|facts| now.since(facts.sent_at)),
            expires_in: newest.map(|facts| facts.expires_at.since(now)),
            next_fetch_in: match self.in_flight {
                Some(_) => Duration::ZERO,
                None => self.due().0.since(now),
            },
            in_flight: self.in_flight.is_some(),
            requests: self.counts.requests,
            refreshes: self.counts.refreshes,
            same_tokens: self.counts.same_tokens,
            failures: self.counts.failures,
            failures_in_a_row: self.failures_in_a_row(),
            rejections: self.counts.rejections,
            last_error: self.failure.as_ref().map(|failure| failure.error),
            clock_skew: self.clock_skew,
        }
    }
}
