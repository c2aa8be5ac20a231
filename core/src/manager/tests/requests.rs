//! Whose answer an answer is.

use super::*;

/// Polls at `at`, where a request is due.
#[track_caller]
fn request(manager: &mut Manager, at: Instant) -> RequestId {
    match manager.poll(at) {
        Action::Fetch { request, .. } => request,
        Action::Wait { until, .. } => panic!("nothing is due before {until:?}"),
    }
}

/// A manager whose first request timed out, and whose second one is in flight since second 31.
fn second_in_flight() -> (Manager, RequestId, RequestId) {
    let mut manager = manager(RefreshPolicy::default());
    let first = request(&mut manager, secs(0));
    assert!(matches!(manager.poll(secs(30)), Action::Wait { .. }));
    let second = request(&mut manager, secs(31));
    (manager, first, second)
}

const IN_FLIGHT: Action = Action::Wait { until: secs(61), why: Reason::InFlight };

#[test]
fn a_late_failure_changes_nothing() {
    let (mut manager, first, second) = second_in_flight();
    let throttled = ErrorKind::Throttled(Some(Duration::from_secs(600)));
    manager.failed(secs(32), first, SourceError::Other { kind: throttled, what: "late" });
    manager.abandoned(secs(32), first);
    assert_eq!(manager.poll(secs(32)), IN_FLIGHT);
    let health = manager.health(secs(32));
    assert_eq!((health.failures, health.last_error), (1, Some(SourceError::TimedOut)));
    manager.failed(secs(33), second, TRANSIENT);
    assert_eq!(manager.health(secs(33)).failures_in_a_row, 2);
    // Nor does one that comes when nothing is in flight: it was counted when it timed out.
    manager.failed(secs(34), second, TRANSIENT);
    assert_eq!(manager.health(secs(34)).failures, 2);
    fetches_at(&mut manager, secs(35));
}

#[test]
fn a_late_token_serves_and_the_newer_request_stays_in_flight() {
    let (mut manager, first, second) = second_in_flight();
    let taken = manager.token(secs(32), first, &token("late", 3_600_000)).unwrap();
    assert_eq!(taken, Refreshed::New(Generation(1)));
    let login = manager.login(secs(32)).unwrap();
    // It lives from when it was asked for.
    assert_eq!((login.expose(), login.expires_at()), ("late", secs(3600)));
    assert_eq!(manager.poll(secs(32)), IN_FLIGHT);
    assert_eq!(manager.health(secs(32)).failures_in_a_row, 1);
    manager.token(secs(33), second, &token("timely", 3_600_000)).unwrap();
    assert_eq!(manager.login(secs(33)).unwrap().expose(), "timely");
    assert_eq!(manager.health(secs(33)).failures_in_a_row, 0);
    fetches_at(&mut manager, secs(31 + 2520));
}

#[test]
fn an_endpoint_slower_than_the_time_limit_yields_tokens() {
    // Each answer takes 40 seconds, and 30 are allowed.
    let mut manager = manager(RefreshPolicy::default());
    let names: Vec<_> = (0..100).map(|n| std::format!("token-{n}")).collect();
    let (mut now, mut asked) = (secs(0), Vec::new());
    let mut answers = std::collections::VecDeque::<(Instant, RequestId)>::new();
    while now < secs(36_000) {
        while answers.front().is_some_and(|(at, _)| *at <= now) {
            let (_, request) = answers.pop_front().unwrap();
            manager.token(now, request, &token(&names[asked.len()], 3_600_000)).unwrap();
        }
        if let Action::Fetch { request, .. } = manager.poll(now) {
            asked.push(now);
            answers.push_back((now.plus(Duration::from_secs(40)), request));
        }
        assert!(now < secs(41) || manager.login(now).is_some());
        now = now.plus(Duration::from_secs(1));
    }
    assert!(asked.len() < 40, "{}", asked.len());
}

#[test]
fn a_late_token_that_has_ended_takes_no_place() {
    let (mut manager, first, second) = second_in_flight();
    manager.token(secs(32), second, &token("good", 60_000)).unwrap();
    let late = manager.token(secs(33), first, &token("dead", 33_000));
    assert_eq!(late, Err(TokenError::Expired));
    let health = manager.health(secs(33));
    assert_eq!((health.failures_in_a_row, health.refreshes), (0, 1));
    assert_eq!(manager.login(secs(33)).unwrap().expose(), "good");
}

#[test]
fn a_late_token_takes_no_place_of_one_that_ends_later() {
    let (mut manager, first, second) = second_in_flight();
    manager.token(secs(32), second, &token("good", 60_000)).unwrap();
    // It would end at second 61, and the other one does at second 91.
    let late = manager.token(secs(33), first, &token("short", 61_000));
    assert_eq!(late, Ok(Refreshed::Same(Generation(1))));
    assert!(manager.newer_than(Generation(1), secs(33)).is_none());
    fetches_at(&mut manager, secs(31 + 42));
}

#[test]
fn a_late_token_of_no_use_is_no_failure() {
    let (mut manager, first, _) = second_in_flight();
    assert_eq!(manager.token(secs(32), first, &token("", 1)), Err(TokenError::NotText));
    assert_eq!(manager.poll(secs(32)), IN_FLIGHT);
    assert_eq!(manager.health(secs(32)).failures, 1);
}

#[test]
fn a_pushed_token_clears_nothing_that_it_is_not_the_answer_to() {
    let (mut manager, _, second) = second_in_flight();
    manager.push(secs(32), &token("pushed", 3_600_000)).unwrap();
    assert_eq!(manager.login(secs(32)).unwrap().expose(), "pushed");
    assert_eq!(manager.poll(secs(32)), IN_FLIGHT);
    let throttled = ErrorKind::Throttled(Some(Duration::from_secs(3000)));
    let error = SourceError::Other { kind: throttled, what: "busy" };
    manager.failed(secs(33), second, error);
    manager.push(secs(34), &token("again", 3_600_000)).unwrap();
    let health = manager.health(secs(34));
    assert_eq!((health.failures_in_a_row, health.last_error), (2, Some(error)));
    // Its own schedule is earlier than what the endpoint asked for.
    fetches_at(&mut manager, secs(33 + 3000));
}

#[test]
fn the_token_that_is_there_pushed_in_moves_no_schedule() {
    let mut manager = manager(RefreshPolicy::default());
    manager.push(secs(0), &token("t", 3_600_000)).unwrap();
    manager.rejected(secs(1), Generation(1));
    assert_eq!(manager.push(secs(2), &token("t", 9_999_999)), Ok(Refreshed::Same(Generation(1))));
    // It is as refused as before, and another one is wanted.
    assert!(manager.newer_than(Generation(0), secs(2)).is_none());
    assert!(matches!(manager.poll(secs(2)), Action::Fetch { .. }));
}

#[test]
fn a_new_token_pushed_in_is_the_fresh_one_that_was_wanted() {
    let mut manager = manager(RefreshPolicy::default());
    manager.push(secs(0), &token("one", 3_600_000)).unwrap();
    manager.rejected(secs(1), Generation(1));
    manager.push(secs(2), &token("two", 3_600_000)).unwrap();
    fetches_at(&mut manager, secs(2 + 2520));
}

#[test]
fn no_policy_asks_a_source_that_answers_more_than_128_times_in_a_life() {
    let day = Duration::from_secs(86_400);
    for ratio in [0, 1, 500_000, 1_000_000] {
        for bound in [Duration::ZERO, day / 2, day, 2 * day, Duration::MAX] {
            for (jitter, hint) in [(0, None), (100, None), (50, Some(Duration::ZERO))] {
                let mut manager = seeded(
                    RefreshPolicy {
                        expiration_refresh_ratio: Ratio::from_ppm(ratio).unwrap(),
                        lower_refresh_bound: bound,
                        refresh_jitter: Ratio::percent(jitter),
                        reauth_lead: bound,
                        token_floor: Duration::ZERO,
                        failure_floor: Duration::ZERO,
                        ..RefreshPolicy::default()
                    },
                    7,
                );
                let (mut now, mut requests) = (secs(0), 0);
                while now < secs(86_400) {
                    match manager.poll(now) {
                        Action::Fetch { request, .. } => {
                            requests += 1;
                            let text = std::format!("token-{requests}");
                            let mut token = token(&text, 86_400_000);
                            token.refresh_in = hint;
                            manager.token(now, request, &token).unwrap();
                        }
                        Action::Wait { until, .. } => now = until,
                    }
                }
                assert!(requests <= 128, "{requests}: {ratio} {bound:?} {jitter} {hint:?}");
            }
        }
    }
}

#[test]
fn a_bound_of_the_whole_life_counts_as_half_of_it() {
    let bound = Duration::from_secs(3600);
    let mut manager = manager(RefreshPolicy { lower_refresh_bound: bound, ..bare() });
    let first = request(&mut manager, secs(0));
    manager.token(secs(0), first, &token("t", 3_600_000)).unwrap();
    fetches_at(&mut manager, secs(1800));
}
