mod demand;
mod requests;
#[cfg(feature = "postcard")]
mod snapshot;
mod tokens;

use super::*;
use crate::event::Event;
use crate::policy::{Jitter, Ratio, RetryPolicy};
use crate::secret::Secret;
use crate::source::ErrorKind;
use crate::source::IoFailure;
use crate::token::{Token, TokenError};
use core::time::Duration;
use std::vec::Vec;

type Manager = TokenManager<[u8; 64]>;

const fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

const fn secs(secs: u64) -> Instant {
    Instant::from_millis(secs * 1000)
}

fn token(text: &str, life_ms: u64) -> Token<'_> {
    Token::new(Secret::new(text)).with_user("oid").with_expires_in(Duration::from_millis(life_ms))
}

/// No floors and no lead, to compare with the peers.
fn bare() -> RefreshPolicy {
    RefreshPolicy {
        failure_floor: Duration::ZERO,
        token_floor: Duration::ZERO,
        reauth_lead: Duration::ZERO,
        ..RefreshPolicy::default()
    }
}

fn manager(policy: RefreshPolicy) -> Manager {
    TokenManager::new(policy, Jitter::none(), [[0; 64]; 2])
}

fn seeded(policy: RefreshPolicy, seed: u64) -> Manager {
    TokenManager::new(policy, Jitter::new(seed), [[0; 64]; 2])
}

/// The answers to the request in flight, whichever that is.
trait Answer {
    /// A token; it is pushed in if nothing is in flight.
    fn gets(&mut self, at: Instant, token: &Token<'_>) -> Result<Refreshed, TokenError>;
    fn fails(&mut self, at: Instant, error: SourceError);
}

impl<M: Storage<u8>> Answer for TokenManager<M> {
    fn gets(&mut self, at: Instant, token: &Token<'_>) -> Result<Refreshed, TokenError> {
        match self.in_flight.as_ref().map(|in_flight| in_flight.request) {
            Some(request) => self.token(at, request, token),
            None => self.push(at, token),
        }
    }

    fn fails(&mut self, at: Instant, error: SourceError) {
        let request = self.in_flight.as_ref().expect("it was asked").request;
        self.failed(at, request, error);
    }
}

const TRANSIENT: SourceError = SourceError::Io(IoFailure::Connect);

/// Asserts that nothing is due one tick before `at`, and a fetch at it.
#[track_caller]
fn fetches_at(manager: &mut Manager, at: Instant) {
    let before = at.minus(Duration::from_millis(1));
    match manager.poll(before) {
        Action::Wait { until, .. } => assert_eq!(until, at),
        Action::Fetch { .. } => panic!("a fetch too early, at {before:?}"),
    }
    assert!(matches!(manager.poll(at), Action::Fetch { .. }), "no fetch at {at:?}");
}

#[test]
fn the_first_poll_fetches_and_the_second_waits_for_it() {
    let mut manager = manager(RefreshPolicy::default());
    assert!(
        matches!(manager.poll(secs(0)), Action::Fetch { deadline, .. } if deadline == secs(30))
    );
    let in_flight = Action::Wait { until: secs(30), why: Reason::InFlight };
    assert_eq!(manager.poll(secs(0)), in_flight);
    assert_eq!(manager.poll(ms(29_999)), in_flight);
    assert_eq!(manager.next_deadline(), secs(30));
    // The answer never came: that is a failure like another.
    assert_eq!(manager.poll(secs(30)), Action::Wait { until: secs(31), why: Reason::Backoff });
    assert_eq!(manager.health(secs(30)).last_error, Some(SourceError::TimedOut));
}

#[test]
fn a_token_is_renewed_at_its_share_of_life_counted_from_the_request() {
    // The peer's L1: life 100, ratio 0.8, latency 20.
    let policy = RefreshPolicy { expiration_refresh_ratio: Ratio::percent(80), ..bare() };
    let mut manager = manager(policy);
    let mut arrivals = Vec::new();
    for (n, text) in ["a", "b", "c"].into_iter().enumerate() {
        let sent = ms(80 * n as u64);
        if n > 0 {
            fetches_at(&mut manager, sent);
        } else {
            assert!(matches!(manager.poll(sent), Action::Fetch { .. }));
        }
        let arrived = sent + Duration::from_millis(20);
        manager.gets(sent, &token(text, 100)).unwrap();
        assert_eq!(manager.login(arrived).unwrap().expose(), text);
        arrivals.push(arrived.as_millis());
    }
    assert_eq!(arrivals, [20, 100, 180]);
}

#[test]
fn failures_are_retried_quickly_then_slowly_and_never_given_up() {
    let retry = RetryPolicy {
        max_attempts: 3,
        initial_delay: Duration::from_secs(1),
        max_delay: Duration::from_secs(10),
        slow_delay: Duration::from_secs(60),
        ..RetryPolicy::default()
    };
    let mut manager = manager(RefreshPolicy { retry, ..RefreshPolicy::default() });
    let mut now = secs(0);
    let mut waits = Vec::new();
    for _ in 0..200 {
        assert!(matches!(manager.poll(now), Action::Fetch { .. }));
        manager.fails(now, TRANSIENT);
        let Action::Wait { until, why: Reason::Backoff } = manager.poll(now) else { panic!() };
        waits.push(until.since(now).as_secs());
        now = until;
    }
    assert_eq!(waits[..5], [1, 2, 4, 60, 60]);
    assert!(waits[5..].iter().all(|wait| *wait == 60));
    // It comes back by itself, and the next failure is a first one again.
    assert!(matches!(manager.poll(now), Action::Fetch { .. }));
    manager.gets(now, &token("t", 3_600_000)).unwrap();
    assert_eq!(manager.health(now).failures_in_a_row, 0);
    let due = now + Duration::from_secs(2520);
    fetches_at(&mut manager, due);
    manager.fails(due, TRANSIENT);
    fetches_at(&mut manager, due + Duration::from_secs(1));
}

#[test]
fn what_nobody_repairs_by_asking_is_asked_slowly() {
    let mut manager = manager(RefreshPolicy::default());
    let _ = manager.poll(secs(0));
    manager.fails(secs(0), SourceError::NoToken);
    let mut now = secs(15);
    fetches_at(&mut manager, now);
    for (kind, wait) in [
        (ErrorKind::Configuration, 60),
        (ErrorKind::Clock, 30),
        (ErrorKind::Parse, 15),
        (ErrorKind::Configuration, 60),
    ] {
        manager.fails(now, SourceError::Other { kind, what: "x" });
        now = now + Duration::from_secs(wait);
        fetches_at(&mut manager, now);
    }
}

#[test]
fn a_server_that_asks_to_be_left_alone_is() {
    let mut manager = manager(RefreshPolicy::default());
    let throttled = |wait| SourceError::Other { kind: ErrorKind::Throttled(wait), what: "x" };
    let _ = manager.poll(secs(0));
    manager.fails(secs(0), throttled(Some(Duration::from_secs(90))));
    fetches_at(&mut manager, secs(90));
    // Less than our own wait is none of its business.
    manager.fails(secs(90), throttled(Some(Duration::from_millis(1))));
    fetches_at(&mut manager, secs(92));
    // If it doesn't say for how long, it is left alone for a while.
    manager.fails(secs(92), throttled(None));
    fetches_at(&mut manager, secs(97));
}

#[test]
fn a_live_token_is_served_whatever_the_endpoint_does() {
    let mut manager = manager(RefreshPolicy::default());
    let _ = manager.poll(secs(0));
    manager.gets(secs(0), &token("t", 100_000)).unwrap();
    for now in 70..100 {
        if let Action::Fetch { .. } = manager.poll(secs(now)) {
            manager.fails(secs(now), TRANSIENT);
        }
        assert_eq!(manager.login(secs(now)).unwrap().expose(), "t");
    }
    assert!(manager.login(ms(99_999)).is_some());
    assert!(manager.login(secs(100)).is_none());
    assert_eq!(manager.pull(secs(100)), Pull::FetchFirst);
}

#[test]
fn the_same_token_again_is_no_new_one_and_is_not_asked_for_in_a_hurry() {
    let mut manager = manager(RefreshPolicy::default());
    let _ = manager.poll(secs(0));
    let first = manager.gets(secs(0), &token("t", 1_000_000)).unwrap();
    assert_eq!(first, Refreshed::New(Generation(1)));
    fetches_at(&mut manager, secs(700));
    let again = manager.gets(secs(700), &token("t", 300_000)).unwrap();
    assert_eq!(again, Refreshed::Same(Generation(1)));
    assert!(manager.newer_than(Generation(1), secs(700)).is_none());
    // Half of what remains, and half of that, down to the floor.
    fetches_at(&mut manager, secs(850));
    manager.gets(secs(850), &token("t", 150_000)).unwrap();
    fetches_at(&mut manager, secs(925));
    manager.gets(secs(925), &token("t", 999_999_999)).unwrap();
    assert_eq!(manager.login(secs(925)).unwrap().expires_at(), secs(1000), "it lives no longer");
    let mut now = secs(962);
    let mut requests = 0;
    while now < secs(1000) {
        match manager.poll(now) {
            Action::Fetch { .. } => {
                requests += 1;
                manager.gets(now, &token("t", 60_000)).unwrap();
            }
            Action::Wait { until, .. } => now = until,
        }
    }
    assert!(requests <= 8, "{requests}");
    assert_eq!(manager.health(now).refreshes, 1);
}

#[test]
fn no_policy_makes_a_hot_loop_whatever_comes_of_a_request() {
    let never = Duration::ZERO;
    let retry = RetryPolicy {
        initial_delay: never,
        max_delay: never,
        slow_delay: never,
        ..RetryPolicy::default()
    };
    let policy = RefreshPolicy { retry, expiration_refresh_ratio: Ratio::ZERO, ..bare() };
    for outcome in 0..3 {
        let mut manager = manager(policy.clone());
        let (mut now, mut requests) = (secs(0), 0);
        while now < secs(1) && requests < 1000 {
            match manager.poll(now) {
                Action::Fetch { request, .. } => {
                    requests += 1;
                    match outcome {
                        0 => manager.failed(now, request, TRANSIENT),
                        1 => manager.abandoned(now, request),
                        _ => {
                            let name = std::format!("token-{requests}");
                            manager.token(now, request, &token(&name, 1)).unwrap();
                        }
                    }
                }
                Action::Wait { until, .. } => now = until,
            }
        }
        assert_eq!(requests, 100, "outcome {outcome}");
    }
}

#[test]
fn no_answer_makes_it_ask_more_often_than_the_floors_allow() {
    for life in [0, 1, 1000, 240_000, 365 * 86_400_000, u64::MAX] {
        let mut manager = manager(RefreshPolicy {
            expiration_refresh_ratio: Ratio::ZERO,
            ..RefreshPolicy::default()
        });
        let (mut now, mut requests) = (secs(0), 0);
        let names: Vec<_> = (0..100).map(|n| std::format!("token-{n}")).collect();
        while now < secs(100) {
            match manager.poll(now) {
                Action::Fetch { .. } => {
                    let _ = manager.gets(now, &token(&names[requests], life));
                    requests += 1;
                }
                Action::Wait { until, .. } => {
                    assert!(until > now);
                    now = until;
                }
            }
        }
        assert!(requests <= 20, "{requests} requests with tokens of {life} ms");
    }
}
