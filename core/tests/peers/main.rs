//! The tests of the peers that are worth having, with a clock that is told and no sleeps.
//!
//! The names begin with the rows of the table that they come from: L are scenarios of the official
//! clients' own suites, N are those that none of them has, each for a way in which one of them was
//! seen to break. Times of the L rows are theirs; jitter, floors and lead are zero as with them,
//! and lives count from the request.

mod nobody;
mod server;
mod suites;

use std::time::Duration;

use redis_entraid_core::args;
use redis_entraid_core::auth::Protocol;
use redis_entraid_core::connection::{
    CloseReason, Config, Connection, Output, Pending, Replacement, SubmitError,
};
use redis_entraid_core::event::Event;
use redis_entraid_core::manager::{Action, Generation, Reason, Refreshed, RequestId, TokenManager};
use redis_entraid_core::policy::{Jitter, Ratio, RefreshPolicy, RetryPolicy};
use redis_entraid_core::secret::Secret;
use redis_entraid_core::source::IoFailure;
use redis_entraid_core::source::{ErrorKind, SourceError};
use redis_entraid_core::time::{Instant, UnixTime};
use redis_entraid_core::token::{Token, TokenError};

type Manager = TokenManager<[u8; 64]>;

const TRANSIENT: SourceError = SourceError::Io(IoFailure::Connect);
const FATAL: SourceError =
    SourceError::Other { kind: ErrorKind::Configuration, what: "invalid_client" };

const fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

const fn minutes(minutes: u64) -> Instant {
    ms(minutes * 60_000)
}

const fn hours(hours: u64) -> Instant {
    minutes(hours * 60)
}

fn token(text: &str, life_ms: u64) -> Token<'_> {
    Token::new(Secret::new(text)).with_user("oid").with_expires_in(Duration::from_millis(life_ms))
}

/// A policy like the peers': a ratio, a bound, and quick attempts that double.
fn peer(percent: u32, lower_ms: u64, attempts: u32, initial_ms: u64) -> RefreshPolicy {
    RefreshPolicy {
        expiration_refresh_ratio: Ratio::percent(percent),
        lower_refresh_bound: Duration::from_millis(lower_ms),
        refresh_jitter: Ratio::ZERO,
        failure_floor: Duration::ZERO,
        token_floor: Duration::ZERO,
        reauth_lead: Duration::ZERO,
        reauth_spread: Duration::ZERO,
        retry: RetryPolicy {
            max_attempts: attempts,
            initial_delay: Duration::from_millis(initial_ms),
            jitter: Ratio::ZERO,
            ..RetryPolicy::default()
        },
        ..RefreshPolicy::default()
    }
}

fn manager(policy: RefreshPolicy) -> Manager {
    TokenManager::new(policy, Jitter::none(), [[0; 64]; 2])
}

/// One tick before `at` nothing is due; at it a fetch is.
#[track_caller]
fn fetch_due(manager: &mut Manager, at: Instant) -> RequestId {
    if at > Instant::default() {
        let before = manager.poll(at.minus(Duration::from_millis(1)));
        assert!(matches!(before, Action::Wait { until, .. } if until == at), "{before:?}");
    }
    match manager.poll(at) {
        Action::Fetch { request, .. } => request,
        then => panic!("{then:?}"),
    }
}

/// An endpoint that answers after `latency`, as long as `script` has answers. Says when each
/// request was sent.
fn run(
    manager: &mut Manager,
    latency_ms: u64,
    script: &[Result<Token<'_>, SourceError>],
) -> Vec<u64> {
    let latency = Duration::from_millis(latency_ms);
    let mut now = Instant::default();
    let mut sent = Vec::new();
    for answer in script {
        loop {
            match manager.poll(now) {
                Action::Fetch { request, deadline, .. } => {
                    sent.push(now.as_millis());
                    let arrives = now.plus(latency);
                    if arrives < deadline {
                        match answer {
                            Ok(token) => drop(manager.token(arrives, request, token)),
                            Err(error) => manager.failed(arrives, request, *error),
                        }
                        now = arrives;
                    } else {
                        // Given up: the host has dropped it, and the next poll counts it.
                        now = deadline;
                    }
                    break;
                }
                Action::Wait { until, .. } => {
                    assert!(until > now, "a wait in the past");
                    now = until;
                }
                _ => unreachable!("there is nothing else to do"),
            }
        }
    }
    sent
}
