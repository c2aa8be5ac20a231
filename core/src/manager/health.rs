//! How a manager stands.

use core::time::Duration;

use super::Generation;
use crate::source::SourceError;

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
