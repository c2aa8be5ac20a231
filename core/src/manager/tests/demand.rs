//! How long who waits for a token has to wait after an outage.

use super::*;

/// How long the outages are that the tests go through, in seconds.
const OUTAGES: [u64; 5] = [10, 100, 1000, 4000, 100_000];

/// Until when a manager without a token has to wait for the next attempt, if the source fails until
/// `back`.
fn next_attempt(manager: &mut Manager, back: Instant, error: SourceError) -> Instant {
    let mut now = manager.next_deadline();
    loop {
        match manager.poll(now) {
            Action::Fetch { .. } if now >= back => return now,
            Action::Fetch { .. } => manager.fails(now, error),
            Action::Wait { until, .. } => {
                assert!(until > now, "a hot loop");
                now = until;
            }
        }
    }
}

const CONFIGURATION: SourceError = SourceError::NoToken;
const REFUSED: SourceError =
    SourceError::Other { kind: ErrorKind::Configuration, what: "invalid_client" };

#[test]
fn after_an_outage_who_waits_has_a_token_within_the_longest_quick_wait() {
    for error in [TRANSIENT, CONFIGURATION, REFUSED] {
        for outage in OUTAGES {
            for seed in 0..20 {
                let mut manager = seeded(RefreshPolicy::default(), seed);
                manager.set_demand(true);
                let back = next_attempt(&mut manager, secs(outage), error);
                let wait = back.since(secs(outage));
                assert!(wait <= Duration::from_secs(30), "{error:?} {outage}: {wait:?}");
            }
        }
    }
}

#[test]
fn demand_counts_for_a_failure_that_has_happened_already() {
    let mut manager = manager(RefreshPolicy::default());
    let failed = next_attempt(&mut manager, secs(1000), TRANSIENT);
    manager.fails(failed, TRANSIENT);
    let after = |secs| failed.plus(Duration::from_secs(secs));
    assert_eq!(manager.next_deadline(), after(60));
    manager.set_demand(true);
    assert_eq!(manager.next_deadline(), after(30));
    manager.set_demand(false);
    assert_eq!(manager.next_deadline(), after(60));
    assert!(matches!(manager.poll(after(40)), Action::Wait { .. }));
    manager.set_demand(true);
    assert!(matches!(manager.poll(after(40)), Action::Fetch { .. }));
}

#[test]
fn while_a_token_lives_demand_hastens_nothing_and_at_its_end_it_does() {
    let mut manager = manager(RefreshPolicy::default());
    manager.push(secs(0), &token("t", 100_000)).unwrap();
    manager.set_demand(true);
    let failed = next_attempt(&mut manager, secs(70), TRANSIENT);
    manager.fails(failed, REFUSED);
    assert_eq!((failed, manager.next_deadline()), (secs(70), secs(100)));
    manager.push(secs(71), &token("u", 200_000)).unwrap();
    manager.refresh_now();
    assert_eq!(manager.next_deadline(), secs(130));
}

#[test]
fn what_the_endpoint_asked_for_is_never_shortened() {
    for (asked, wait) in [(Some(Duration::from_secs(90)), 90), (None, 45)] {
        let retry = RetryPolicy {
            throttled_delay: Duration::from_secs(45),
            max_attempts: 0,
            ..RetryPolicy::default()
        };
        let mut manager = seeded(RefreshPolicy { retry, ..RefreshPolicy::default() }, 7);
        manager.set_demand(true);
        let _ = manager.poll(secs(0));
        let kind = ErrorKind::Throttled(asked);
        manager.fails(secs(0), SourceError::Other { kind, what: "429" });
        assert_eq!(manager.next_deadline(), secs(wait));
    }
}

#[test]
fn demand_goes_below_no_floor() {
    let retry = RetryPolicy { max_delay: Duration::ZERO, ..RetryPolicy::default() };
    let mut manager = manager(RefreshPolicy { retry, ..RefreshPolicy::default() });
    manager.set_demand(true);
    let (mut now, mut requests) = (secs(0), 0);
    while now < secs(100) {
        match manager.poll(now) {
            Action::Fetch { .. } => {
                requests += 1;
                manager.fails(now, REFUSED);
            }
            Action::Wait { until, .. } => now = until,
        }
    }
    assert_eq!(requests, 100, "one a second");
}
