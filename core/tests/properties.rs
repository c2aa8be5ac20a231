//! Rules that hold for every sequence of answers, at any time.

use std::time::Duration;

use proptest::prelude::*;
use redis_entraid_core::http::HttpErrorKind;
use redis_entraid_core::manager::{Action, Generation, Pull, TokenManager};
use redis_entraid_core::policy::{Ratio, RefreshPolicy, RetryPolicy};
use redis_entraid_core::secret::Secret;
use redis_entraid_core::source::{ErrorKind, SourceError};
use redis_entraid_core::time::{Instant, UnixTime};
use redis_entraid_core::token::Token;

/// Something that happens to a manager.
#[derive(Clone, Debug)]
enum Op {
    /// Time goes on, by so many milliseconds.
    Pass(u64),
    /// Time goes on to the next deadline.
    Next,
    /// The source answers, with a token of this number and life in milliseconds.
    Token {
        number: u8,
        life: u64,
        refresh_in: Option<u64>,
        ends: Option<u64>,
    },
    /// The source fails.
    Fail(ErrorKind),
    /// A server says yes or no to a token.
    Accept(u32),
    Reject(u32),
    Force,
    /// The wall clock says so many seconds.
    Wall(u64),
    Seed(u64),
}

fn millis() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..10_000_u64,
        4 => 0..100_000_000_u64,
        1 => Just(u64::MAX),
        1 => any::<u64>(),
    ]
}

fn kind() -> impl Strategy<Value = ErrorKind> {
    prop_oneof![
        Just(ErrorKind::Transient),
        Just(ErrorKind::Throttled(None)),
        millis().prop_map(|ms| ErrorKind::Throttled(Some(Duration::from_millis(ms)))),
        Just(ErrorKind::Configuration),
        Just(ErrorKind::Clock),
        Just(ErrorKind::Parse),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..100_000_u64).prop_map(Op::Pass),
        6 => Just(Op::Next),
        1 => any::<u64>().prop_map(Op::Pass),
        6 => (0..4_u8, millis(), prop::option::of(millis()), prop::option::of(any::<u64>()))
            .prop_map(|(number, life, refresh_in, ends)| Op::Token { number, life, refresh_in, ends }),
        4 => kind().prop_map(Op::Fail),
        2 => (0..8_u32).prop_map(Op::Accept),
        2 => (0..8_u32).prop_map(Op::Reject),
        1 => Just(Op::Force),
        1 => any::<u64>().prop_map(Op::Wall),
        1 => any::<u64>().prop_map(Op::Seed),
    ]
}

fn policy() -> impl Strategy<Value = RefreshPolicy> {
    (0..=1_000_000_u32, millis(), 0..6_u32, millis(), 0..4_u32, millis(), 0..=100_u32).prop_map(
        |(ratio, bound, max_attempts, initial, backoff_multiplier, slow, jitter)| RefreshPolicy {
            expiration_refresh_ratio: Ratio::from_ppm(ratio).expect("it is in range"),
            lower_refresh_bound: Duration::from_millis(bound),
            refresh_jitter: Ratio::percent(jitter),
            retry: RetryPolicy {
                max_attempts,
                initial_delay: Duration::from_millis(initial),
                backoff_multiplier,
                slow_delay: Duration::from_millis(slow),
                jitter: Ratio::percent(jitter),
                ..RetryPolicy::default()
            },
            ..RefreshPolicy::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_manager_keeps_its_promises_whatever_happens(
        policy in policy(),
        start in prop_oneof![Just(0), any::<u64>()],
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let floor = policy.failure_floor.min(policy.token_floor);
        let mut manager = TokenManager::new(policy, [[0; 64]; 2]);
        let mut now = Instant::from_millis(start);
        let mut in_flight = None;
        let mut last_request: Option<Instant> = None;
        for op in ops {
            match op {
                Op::Pass(by) => now = now.plus(Duration::from_millis(by)),
                Op::Next => now = now.max(manager.next_deadline()),
                Op::Token { number, life, refresh_in, ends } => {
                    let text = format!("token-{number}");
                    let mut token = Token::new(Secret::new(&text)).with_user("oid");
                    token = token.with_expires_in(Duration::from_millis(life));
                    token.refresh_in = refresh_in.map(Duration::from_millis);
                    token.expires_on = ends.map(UnixTime);
                    let sent = in_flight.take().unwrap_or(now);
                    let taken = manager.token(sent, &token);
                    prop_assert!(life > 0 || taken.is_err());
                }
                Op::Fail(kind) => {
                    in_flight = None;
                    manager.failed(now, SourceError::Other { kind, what: "x" });
                }
                Op::Accept(n) => manager.accepted(Generation(n)),
                Op::Reject(n) => manager.rejected(now, Generation(n)),
                Op::Force => manager.refresh_now(),
                Op::Wall(seconds) => manager.unix_time(now, UnixTime(seconds)),
                Op::Seed(seed) => manager.seed(seed),
            }
            if last_request.is_some_and(|at| now >= at.plus(Duration::from_secs(30))) {
                in_flight = None;
            }
            match manager.poll(now) {
                Action::Fetch { deadline } => {
                    prop_assert!(in_flight.is_none(), "two requests at once");
                    if let Some(last) = last_request {
                        // At the very end of time there is no room for a floor.
                        let apart = now.since(last) >= floor || now == Instant::FAR_FUTURE;
                        prop_assert!(apart, "{last:?} {now:?}");
                    }
                    prop_assert!(deadline > now || now == Instant::FAR_FUTURE);
                    in_flight = Some(now);
                    last_request = Some(now);
                }
                Action::Wait { until, .. } => prop_assert!(until > now, "a wait in the past"),
                other => prop_assert!(false, "{other:?}"),
            }
            // What is served is alive; and what pull mode says agrees with it.
            let served = manager.login(now).map(|login| login.expires_at());
            prop_assert!(served.is_none_or(|end| end > now));
            prop_assert!(served.is_some() || manager.pull(now) == Pull::FetchFirst);
            if let Some(newer) = manager.newer_than(Generation(0), now) {
                prop_assert!(newer.expires_at() > now && served.is_some());
            }
            let at = manager.reauth_at(7, now.plus(Duration::from_secs(60)));
            prop_assert!(at <= Instant::FAR_FUTURE);
            let _ = (manager.health(now), manager.slice(), format!("{manager:?}"));
        }
    }

    #[test]
    fn a_live_token_is_served_until_its_last_moment(
        life in 1_000..100_000_000_u64,
        failures in prop::collection::vec(kind(), 0..40),
    ) {
        let mut manager = TokenManager::new(RefreshPolicy::default(), [[0; 64]; 2]);
        let token = Token::new(Secret::new("t")).with_user("oid");
        let start = Instant::from_millis(1);
        manager.token(start, &token.with_expires_in(Duration::from_millis(life))).unwrap();
        let end = start.plus(Duration::from_millis(life));
        let mut now = start;
        for kind in failures {
            now = now.max(manager.next_deadline()).min(end.minus(Duration::from_millis(1)));
            if let Action::Fetch { .. } = manager.poll(now) {
                manager.failed(now, SourceError::Other { kind, what: "x" });
            }
            prop_assert!(manager.login(now).is_some());
        }
        prop_assert!(manager.login(end.minus(Duration::from_millis(1))).is_some());
        prop_assert!(manager.login(end).is_none());
        manager.failed(end, SourceError::Http(HttpErrorKind::Io));
    }
}
