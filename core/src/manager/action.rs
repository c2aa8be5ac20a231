//! What a manager answers.

use super::{Generation, RequestId};
use crate::time::Instant;

/// What to do about tokens now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
#[non_exhaustive]
pub enum Action {
    /// Ask the source for a token, and answer with [`TokenManager::token`](super::TokenManager::token) or
    /// [`TokenManager::failed`](super::TokenManager::failed).
    Fetch {
        /// Which request it is: to be given back with the answer.
        request: RequestId,
        /// When to give it up. The manager counts it as failed then by itself.
        deadline: Instant,
        /// Whether the token that there is was refused, or given up for another reason: the next one
        /// must not come from a cache.
        fresh: bool,
    },
    /// Nothing, before then. Polling earlier is harmless.
    Wait {
        /// When something will be due.
        until: Instant,
        /// What that will be.
        why: Reason,
    },
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Reason {
    /// The next refresh.
    Refresh,
    /// The answer of the source, or its deadline.
    InFlight,
    /// The next attempt, after a failure.
    Backoff,
    /// A floor of the policy: something is due, but not so soon.
    Floor,
}

/// What a host that can't run in the background should do before it answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Pull {
    /// Use the token.
    Use,
    /// Use the token, and fetch the next one when no caller waits for it.
    UseThenRefresh,
    /// There is no live token: fetch one first.
    FetchFirst,
}

/// What a token that came turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refreshed {
    /// A new one.
    New(Generation),
    /// The one that was there already, or one that came late and ends before it.
    Same(Generation),
}
