//! L: scenarios of the official clients' own suites.

use super::*;

#[test]
fn l1_tokens_come_at_20_100_and_180() {
    let mut manager = manager(peer(80, 0, 0, 0));
    let sent =
        run(&mut manager, 20, &[Ok(token("a", 100)), Ok(token("b", 100)), Ok(token("c", 100))]);
    assert_eq!(sent.map_add(20), [20, 100, 180]);
}

trait MapAdd {
    fn map_add(self, more: u64) -> Vec<u64>;
}

impl MapAdd for Vec<u64> {
    fn map_add(self, more: u64) -> Vec<u64> {
        self.into_iter().map(|millis| millis + more).collect()
    }
}

#[test]
fn l2_a_fatal_error_is_reported_and_asked_about_for_ever() {
    let mut manager = manager(peer(80, 0, 0, 0));
    let fatal = [Ok(token("a", 100)), Err(FATAL), Err(FATAL), Err(FATAL), Ok(token("b", 100))];
    let sent = run(&mut manager, 20, &fatal);
    assert_eq!(sent, [0, 80, 60_100, 120_120, 180_140]);
    assert_eq!(manager.health(ms(180_160)).failures, 3);
}

#[test]
fn l3_two_failures_are_repeated_after_100_and_200() {
    let mut manager = manager(peer(80, 0, 3, 100));
    let script = [Ok(token("a", 100)), Err(TRANSIENT), Err(TRANSIENT), Ok(token("b", 100))];
    assert_eq!(run(&mut manager, 20, &script), [0, 80, 200, 420]);
}

#[test]
fn l4_l17_quick_attempts_that_are_used_up_turn_into_slow_ones() {
    let mut manager = manager(peer(80, 0, 2, 100));
    let script = [
        Ok(token("a", 100)),
        Err(TRANSIENT),
        Err(TRANSIENT),
        Err(TRANSIENT),
        Err(TRANSIENT),
        Ok(token("b", 100)),
    ];
    assert_eq!(run(&mut manager, 0, &script), [0, 80, 180, 380, 60_380, 120_380]);
}

#[test]
fn l5_short_tokens_are_asked_for_no_oftener_than_the_floor() {
    let floor = Duration::from_secs(1);
    let policy = RefreshPolicy { token_floor: floor, ..peer(70, 3_600_000, 3, 1000) };
    let mut manager = manager(policy);
    let script = [Ok(token("a", 1000)), Ok(token("b", 1000)), Ok(token("c", 1000))];
    // The floor counts from the answer.
    assert_eq!(run(&mut manager, 10, &script), [0, 1010, 2020]);
}

#[test]
fn l7_l8_a_failure_is_known_before_anything_is_given_up() {
    for (error, next) in [(TRANSIENT, 700 + 100), (FATAL, 700 + 60_000)] {
        let mut manager = manager(peer(70, 0, 3, 100));
        run(&mut manager, 0, &[Ok(token("a", 1000)), Err(error)]);
        assert_eq!(manager.health(ms(700)).last_error, Some(error));
        assert_eq!(manager.next_deadline(), ms(next));
        assert!(manager.login(ms(999)).is_some());
    }
}

#[test]
fn l11_a_token_that_lives_costs_no_request_and_is_served_while_the_endpoint_is_down() {
    let mut manager = manager(peer(70, 0, 3, 100));
    run(&mut manager, 0, &[Ok(token("a", 10_000))]);
    for now in 0..7000 {
        assert!(matches!(manager.poll(ms(now)), Action::Wait { .. }));
        assert_eq!(manager.login(ms(now)).unwrap().expose(), "a");
    }
    let request = fetch_due(&mut manager, ms(7000));
    manager.failed(ms(7000), request, FATAL);
    assert_eq!(manager.login(ms(9_999)).unwrap().expose(), "a");
    assert!(manager.login(ms(10_000)).is_none());
}

#[test]
fn l12_l16_l27_a_token_is_renewed_neither_early_nor_late() {
    for (percent, life, due) in
        [(90, 10_000, 9000), (28, 10_000, 2800), (99, 1000, 990), (1, 1000, 10)]
    {
        let mut manager = manager(peer(percent, 0, 3, 100));
        run(&mut manager, 0, &[Ok(token("a", life))]);
        fetch_due(&mut manager, ms(due));
    }
}

#[test]
fn l14_a_token_that_is_pushed_in_needs_no_request_before_its_time() {
    let mut manager = manager(peer(50, 0, 3, 100));
    let pushed = manager.push(ms(0), &token("pushed", 1000)).unwrap();
    assert_eq!(pushed, Refreshed::New(Generation(1)));
    fetch_due(&mut manager, ms(500));
}

#[test]
fn l15_l22_l23_failures_before_the_first_token_are_repeated() {
    let mut manager = manager(peer(70, 0, 4, 100));
    let mut script = vec![Err(TRANSIENT); 4];
    script.push(Ok(token("a", 1000)));
    assert_eq!(run(&mut manager, 0, &script), [0, 100, 300, 700, 1500]);
    assert_eq!(manager.login(ms(1500)).unwrap().expose(), "a");
    assert_eq!(manager.health(ms(1500)).refreshes, 1);
}

#[test]
fn l18_an_expired_token_is_an_error_and_no_hot_loop() {
    let mut manager = manager(RefreshPolicy::default());
    let expired = token("a", 3_600_000)
        .with_expires_on(UnixTime(1_795_300_000))
        .with_server_time(UnixTime(1_795_300_100));
    let request = fetch_due(&mut manager, ms(0));
    assert_eq!(manager.token(ms(0), request, &expired), Err(TokenError::Expired));
    fetch_due(&mut manager, ms(30_000));
}

#[test]
fn l24_l25_a_hung_request_is_given_up_and_the_next_one_counts() {
    let timeout = Duration::from_millis(100);
    let policy = RefreshPolicy { token_request_timeout: timeout, ..peer(70, 0, 5, 100) };
    let mut slow = manager(policy.clone());
    // Each takes 200, and 100 are allowed: none is waited for longer, none overlaps another.
    let script = vec![Ok(token("a", 1000)); 4];
    assert_eq!(run(&mut slow, 200, &script), [0, 200, 500, 1000]);
    assert!(slow.health(ms(1100)).in_flight);
    let mut once = manager(policy);
    assert!(matches!(once.poll(ms(0)), Action::Fetch { deadline, .. } if deadline == ms(100)));
    let waiting = once.poll(ms(99));
    assert_eq!(waiting, Action::Wait { until: ms(100), why: Reason::InFlight });
    let second = fetch_due(&mut once, ms(200));
    once.token(ms(200), second, &token("a", 1000)).unwrap();
    assert!(once.login(ms(300)).is_some());
}

#[test]
fn l26_l28_the_cadence_is_the_share_of_the_life() {
    let mut manager = manager(peer(70, 200, 3, 100));
    let script = [Ok(token("1", 1000)), Ok(token("2", 1000)), Ok(token("3", 1000))];
    assert_eq!(run(&mut manager, 0, &script), [0, 700, 1400]);
    assert_eq!(manager.login(ms(1400)).unwrap().expose(), "3");
}

#[test]
fn l29_l32_one_request_serves_any_number_of_connections_also_late_ones() {
    let mut manager = manager(peer(50, 0, 3, 100));
    run(&mut manager, 0, &[Ok(token("1", 100)), Ok(token("2", 100))]);
    for connection in 0..1000 {
        assert_eq!(manager.login(ms(60)).unwrap().expose(), "2");
        let newer = manager.newer_than(Generation(1), ms(60)).unwrap();
        assert_eq!(newer.generation(), Generation(2), "{connection}");
    }
    assert_eq!(manager.health(ms(60)).requests, 2);
}
