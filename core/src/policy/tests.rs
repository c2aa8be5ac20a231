use super::*;

const HOUR: u64 = 3_600_000;

/// A policy of ratio and bound alone, as the peers' pure functions have it.
fn policy(ppm: u32, lower_ms: u64) -> RefreshPolicy {
    RefreshPolicy {
        expiration_refresh_ratio: Ratio::from_ppm(ppm).unwrap(),
        lower_refresh_bound: Duration::from_millis(lower_ms),
        reauth_lead: Duration::ZERO,
        ..RefreshPolicy::default()
    }
}

/// The wait from now, for a token received `age` ago that lives for `life` in all.
fn delay(ppm: u32, lower_ms: u64, age_ms: u64, life_ms: u64) -> u64 {
    let after = policy(ppm, lower_ms).refresh_after(Duration::from_millis(life_ms), None);
    millis(after).saturating_sub(age_ms)
}

#[test]
fn the_delays_of_go_redis_entraid_are_kept_but_for_a_bound_of_half_the_life_or_more() {
    // Age, life, ratio, lower bound, delay: rows G2 to G15. A missing token (G1) and a negative
    // ratio (G11) can't be said here.
    for (row, age, life, ppm, lower, expected) in [
        ("G2", 2 * HOUR, HOUR, 750_000, 1000, 0),
        ("G3", HOUR, HOUR + 500, 750_000, 1000, 0),
        ("G5", HOUR, 2 * HOUR, 750_000, 1000, HOUR / 2),
        ("G6", HOUR, 2 * HOUR, 750_000, 45 * 60_000, 15 * 60_000),
        ("G7", HOUR / 2, 90 * 60_000, 750_000, 600_000, 37 * 60_000 + 30_000),
        ("G8", 0, HOUR, 750_000, 60_000, 45 * 60_000),
        ("G9", 0, HOUR, 1_000_000, 600_000, 50 * 60_000),
        ("G10", 0, HOUR, 0, 1000, 0),
        ("G12", 0, 365 * 24 * HOUR, 750_000, HOUR, 24 * 365 * 45 * 60_000),
        // 0 there: it would ask for ever.
        ("G13", 0, HOUR, 750_000, HOUR, HOUR / 2),
        ("G14", 0, HOUR, 750_000, 2 * HOUR, HOUR / 2),
        ("G15", 0, 1000, 100, 1, 0),
        ("G4", 0, 1000, 750_000, 1000, 500),
    ] {
        assert_eq!(delay(ppm, lower, age, life), expected, "{row}");
    }
    assert_eq!(Ratio::from_ppm(1_100_000), None);
}

#[test]
fn small_lives_and_ratios_are_exact_to_the_millisecond() {
    for (life, ppm, expected) in [
        (1000, 1000, 1),
        (100, 1000, 0),
        (123, 1000, 0),
        (1000, 100, 0),
        (10, 100, 0),
        (HOUR, 100, 360),
        (100, 10_000, 1),
        (100, 9000, 0),
        (100, 11_000, 1),
        (24 * HOUR, 100, 8640),
        (10_000, 2900, 29),
    ] {
        assert_eq!(delay(ppm, 1, 0, life), expected, "{life} x {ppm}");
    }
}

#[test]
fn no_four_digit_ratio_is_off_by_a_millisecond() {
    for ratio in 1..=10_000 {
        let expected = u64::from(ratio) * HOUR / 10_000;
        assert_eq!(delay(ratio * 100, 0, 0, HOUR), expected, "{ratio}");
    }
}

#[test]
fn the_delays_of_the_jvm_client_are_kept() {
    for (life, lower, ppm, expected) in [
        (5000, 2000, 500_000, 2500),
        (10_000, 8000, 200_000, 2000),
        // 0 there.
        (10_000, 10_000, 200_000, 2000),
        (0, 5000, 200_000, 0),
        (10_000, 1000, 10, 0),
        (10_000, 1000, 100, 1),
    ] {
        assert_eq!(delay(ppm, lower, 0, life), expected, "{life} {lower} {ppm}");
    }
}

#[test]
fn the_delays_of_node_redis_are_kept() {
    for (life, ppm, expected) in
        [(1000, 800_000, 800), (1000, 0, 0), (1000, 1_000_000, 1000), (5, 800_000, 4)]
    {
        assert_eq!(delay(ppm, 0, 0, life), expected, "{life} x {ppm}");
    }
    assert_eq!(delay(800_000, 0, 1100, 1000), 0, "expired");
}

#[test]
fn the_lead_is_three_minutes_but_never_eats_a_short_life() {
    let policy = RefreshPolicy { expiration_refresh_ratio: Ratio::ONE, ..RefreshPolicy::default() };
    let after = |secs| policy.refresh_after(Duration::from_secs(secs), None).as_secs();
    assert_eq!(after(3600), 3600 - 180);
    assert_eq!(after(600), 540);
    assert_eq!(after(10), 9);
    assert_eq!(after(0), 0);
}

#[test]
fn the_server_may_ask_for_an_earlier_refresh_only() {
    let policy = RefreshPolicy::default();
    let after = |hint| policy.refresh_after(Duration::from_secs(1000), Some(hint)).as_secs();
    assert_eq!(after(Duration::from_secs(500)), 500);
    assert_eq!(after(Duration::from_secs(900)), 700);
}

#[test]
fn retries_grow_to_their_limit() {
    let waits = |initial, max, multiplier, attempts| -> std::vec::Vec<u64> {
        let retry = RetryPolicy {
            max_attempts: attempts,
            initial_delay: Duration::from_millis(initial),
            max_delay: Duration::from_millis(max),
            backoff_multiplier: multiplier,
            ..RetryPolicy::default()
        };
        (1..).map_while(|n| retry.delay(n)).map(millis).collect()
    };
    assert_eq!(waits(100, 1000, 2, 5), [100, 200, 400, 800, 1000]);
    assert_eq!(waits(100, 300, 2, 5), [100, 200, 300, 300, 300]);
    assert_eq!(waits(100, 500, 10, 3), [100, 500, 500]);
    assert_eq!(waits(50, 1000, 1, 3), [50, 50, 50]);
    assert_eq!(waits(50, 1000, 2, 0), []);
    let endless = Backoff { initial: Duration::ZERO, max: Duration::MAX, multiplier: u32::MAX };
    assert_eq!(endless.delay(3), Duration::ZERO);
}

#[test]
fn jitter_stays_in_its_bounds_and_differs_with_the_seed() {
    let delay = 10_000;
    let samples = |seed| -> std::vec::Vec<u64> {
        let mut jitter = Jitter::new(seed);
        (0..1000).map(|_| jitter.around_millis(delay, Ratio::percent(10))).collect()
    };
    let first = samples(1);
    assert!(first.iter().all(|ms| (9_000..=11_000).contains(ms)));
    let mean = first.iter().sum::<u64>() / 1000;
    assert!((9_500..=10_500).contains(&mean), "{mean}");
    assert!(first.iter().any(|&ms| ms != first[0]));
    assert_ne!(first, samples(2));

    let mut none = Jitter::none();
    assert_eq!(none.earlier(delay, Ratio::percent(10)), delay);
    let mut seeded = Jitter::new(7);
    assert!((0..1000).all(|_| {
        let early = seeded.earlier(delay, Ratio::percent(5));
        early <= delay && early >= 9_500
    }));
    let _ = seeded.around_millis(u64::MAX, Ratio::ONE);
}
