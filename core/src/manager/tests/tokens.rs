//! Which token serves, how long it lives, and what servers and clocks say to it.

use super::*;

#[test]
fn the_accepted_token_is_what_a_refused_one_falls_back_to() {
    let mut manager = manager(RefreshPolicy::default());
    let t = |n: u64| secs(n * 60);
    let _ = manager.poll(t(0));
    manager.gets(t(0), &token("one", 3_600_000)).unwrap();
    manager.accepted(Generation(1));
    fetches_at(&mut manager, t(42));
    manager.gets(t(42), &token("two", 3_600_000)).unwrap();
    assert_eq!(manager.login(t(42)).unwrap().expose(), "two");
    manager.rejected(t(42), Generation(2));
    // The one that works is used meanwhile, and one fresh token is asked for.
    assert_eq!(manager.login(t(42)).unwrap().expose(), "one");
    assert!(manager.newer_than(Generation(1), t(42)).is_none());
    fetches_at(&mut manager, t(42) + Duration::from_secs(5));
    manager.gets(t(43), &token("three", 3_600_000)).unwrap();
    assert_eq!(manager.newer_than(Generation(1), t(43)).unwrap().expose(), "three");
    // The accepted one was kept, the refused one was not.
    assert_eq!(manager.get(Generation(1)).unwrap().expose(), "one");
    assert!(manager.get(Generation(2)).is_none());
    manager.accepted(Generation(3));
    manager.gets(t(44), &token("four", 3_600_000)).unwrap();
    assert_eq!(manager.get(Generation(3)).unwrap().expose(), "three");
}

#[test]
fn tokens_that_are_all_refused_are_asked_for_ever_slower() {
    let mut manager = manager(RefreshPolicy::default());
    let names: Vec<_> = (0..20).map(|n| std::format!("token-{n}")).collect();
    let mut requests = Vec::new();
    let mut now = secs(0);
    while requests.len() < 12 {
        match manager.poll(now) {
            Action::Fetch { .. } => {
                let refreshed = manager.gets(now, &token(&names[requests.len()], 3_600_000));
                let Ok(Refreshed::New(generation)) = refreshed else { panic!() };
                requests.push(now);
                manager.rejected(now, generation);
                // More connections that hear the same say nothing new.
                manager.rejected(now, generation);
            }
            Action::Wait { until, .. } => now = until,
        }
    }
    let waits: Vec<_> = requests.windows(2).map(|w| w[1].since(w[0]).as_secs()).collect();
    assert_eq!(waits, [5, 5, 5, 5, 8, 16, 60, 60, 60, 60, 60]);
}

#[test]
fn a_refused_token_that_comes_again_is_tried_again() {
    // A server may fail to check a good token: the same one may be taken a moment later.
    let mut manager = manager(RefreshPolicy::default());
    let _ = manager.poll(secs(0));
    manager.gets(secs(0), &token("t", 3_600_000)).unwrap();
    manager.rejected(secs(1), Generation(1));
    assert!(manager.newer_than(Generation(0), secs(1)).is_none());
    assert!(manager.login(secs(1)).is_some(), "there is nothing better to connect with");
    fetches_at(&mut manager, secs(5));
    let again = manager.gets(secs(5), &token("t", 3_600_000)).unwrap();
    assert_eq!(again, Refreshed::Same(Generation(1)));
    assert!(manager.newer_than(Generation(0), secs(5)).is_some());
    fetches_at(&mut manager, secs(5 + 3595 / 2) + Duration::from_millis(500));
}

#[test]
fn a_token_that_cant_be_used_is_a_failure_and_leaves_the_old_one() {
    let mut manager = manager(RefreshPolicy::default());
    let _ = manager.poll(secs(0));
    manager.gets(secs(0), &token("t", 3_600_000)).unwrap();
    fetches_at(&mut manager, secs(2520));
    let long = "x".repeat(62);
    let error = manager.gets(secs(2520), &token(&long, 1000)).unwrap_err();
    assert_eq!(std::format!("{error}"), "token buffer too small: 65 bytes needed, 64 available");
    assert_eq!(manager.login(secs(2520)).unwrap().expose(), "t");
    let mut now = secs(2580);
    fetches_at(&mut manager, now);
    for (bad, error) in [
        (token("", 1), TokenError::NotText),
        (token("a b", 1), TokenError::NotText),
        (token("a", 0), TokenError::Expired),
        (Token::new(Secret::new("opaque")), TokenError::Unreadable(crate::jwt::JwtError::Parts)),
        (Token::new(Secret::new("a.e30.c")), TokenError::NoUser),
        (Token::new(Secret::new("t2")).with_user(""), TokenError::NoUser),
        (Token::new(Secret::new("t2")).with_user("oid"), TokenError::NoLifetime),
    ] {
        assert_eq!(manager.gets(now, &bad).unwrap_err(), error);
        now = manager.next_deadline();
        assert!(matches!(manager.poll(now), Action::Fetch { .. }));
    }
    assert_eq!(manager.health(now).failures, 8);
}

#[test]
fn a_life_is_the_shortest_that_anybody_says() {
    let life = |token: Token<'_>, clock: Option<UnixTime>| {
        let mut manager = manager(RefreshPolicy::default());
        if let Some(clock) = clock {
            manager.unix_time(secs(0), clock);
        }
        manager.gets(secs(100), &token)?;
        Ok::<_, TokenError>(
            manager.login(secs(100)).unwrap().expires_at().since(secs(100)).as_secs(),
        )
    };
    let token = Token::new(Secret::new("t")).with_user("oid");
    let hour = Duration::from_secs(3600);
    let at = UnixTime(1_795_300_000);
    let later = |secs| UnixTime(at.0 + secs);
    assert_eq!(life(token.with_expires_in(hour), None), Ok(3600));
    // By the server's own clock, whatever ours says.
    let cached = token.with_expires_in(hour).with_expires_on(later(600)).with_server_time(at);
    assert_eq!(life(cached, Some(UnixTime(5))), Ok(600));
    assert_eq!(life(token.with_expires_on(later(600)).with_server_time(at), None), Ok(600));
    // By ours, if there is nothing else; that was read 100 seconds before.
    assert_eq!(life(token.with_expires_on(later(600)), Some(at)), Ok(500));
    // A clock that is wrong doesn't shorten a life that was said.
    assert_eq!(
        life(token.with_expires_in(hour).with_expires_on(later(600)), Some(later(9999))),
        Ok(3600)
    );
    let over = token.with_expires_in(hour).with_expires_on(at).with_server_time(later(1));
    assert_eq!(life(over, None), Err(TokenError::Expired));
}

#[test]
fn the_user_name_is_the_oid_unless_another_is_given() {
    let jwt = "h.eyJvaWQiOiIxMTExMTExMS0yMjIyLTMzMzMtNDQ0NC01NTU1NTU1NTU1NTUifQ.s";
    let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 128]; 2]);
    let token = Token::new(Secret::new(jwt)).with_expires_in(Duration::from_secs(60));
    manager.gets(secs(0), &token).unwrap();
    assert_eq!(manager.login(secs(0)).unwrap().user(), "11111111-2222-3333-4444-555555555555");
    manager.gets(secs(9), &token.with_user("me")).unwrap();
    assert_eq!(manager.login(secs(9)).unwrap().user(), "me");
    assert_eq!(manager.login(secs(9)).unwrap().generation(), Generation(2));
}

#[test]
fn pull_mode_lets_nobody_wait_for_a_refresh() {
    let mut manager = manager(RefreshPolicy::default());
    assert_eq!(manager.pull(secs(0)), Pull::FetchFirst);
    let _ = manager.poll(secs(0));
    manager.gets(secs(0), &token("t", 100_000)).unwrap();
    assert_eq!(manager.pull(ms(69_999)), Pull::Use);
    assert_eq!(manager.pull(secs(70)), Pull::UseThenRefresh);
    assert!(matches!(manager.poll(secs(70)), Action::Fetch { .. }));
    assert_eq!(manager.pull(secs(70)), Pull::Use, "one is under way");
}

#[test]
fn a_refresh_can_be_asked_for_but_not_below_the_floor() {
    let mut manager = manager(RefreshPolicy::default());
    let _ = manager.poll(secs(0));
    manager.gets(secs(0), &token("t", 3_600_000)).unwrap();
    manager.refresh_now();
    fetches_at(&mut manager, secs(5));
    manager.gets(secs(100), &token("u", 3_600_000)).unwrap();
    manager.refresh_now();
    assert!(matches!(manager.poll(secs(200)), Action::Fetch { .. }));
}

#[test]
fn jitter_only_brings_a_refresh_forward_and_differs_with_the_seed() {
    let due = |seed| {
        let mut manager = seeded(RefreshPolicy::default(), seed);
        manager.gets(secs(0), &token("t", 3_600_000)).unwrap();
        manager.next_deadline()
    };
    let dues: Vec<_> = (0..100).map(due).collect();
    assert!(dues.iter().all(|due| (secs(2394)..=secs(2520)).contains(due)));
    let mut distinct = dues.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(distinct.len() > 90);
    assert_eq!(dues[7], due(7));
}

/// Whether the token lives, and when the next one is due, after the wall clock has jumped by
/// `jump` seconds at second 600, being wrong by `wrong` before.
fn after_a_jump(wrong: i64, jump: i64) -> (Option<u64>, u64) {
    const TRUE: i64 = 1_795_300_000;
    let wall = |secs: i64| UnixTime((TRUE + wrong + secs) as u64);
    let mut manager = manager(RefreshPolicy::default());
    manager.unix_time(secs(0), wall(0));
    let dated = token("t", 3_600_000).with_expires_on(UnixTime(TRUE as u64 + 3600));
    manager.gets(secs(0), &dated).unwrap();
    // Within what a clock of seconds can say, nothing happened.
    manager.unix_time(secs(599), wall(603));
    assert_eq!(manager.next_deadline(), secs(2520));
    manager.unix_time(secs(600), wall(600 + jump));
    let left = manager.login(secs(600)).map(|login| login.expires_at().since(secs(600)).as_secs());
    (left, manager.next_deadline().since(secs(600)).as_secs())
}

#[test]
fn a_sleep_that_the_clock_did_not_count_brings_refresh_and_end_forward() {
    assert_eq!(after_a_jump(0, 1000), (Some(2000), 920));
    assert_eq!(after_a_jump(0, 2500), (Some(500), 0));
    // Two hours asleep: the token is dead, and the next one is fetched at once.
    assert_eq!(after_a_jump(0, 7200), (None, 0));
}

#[test]
fn a_wall_clock_that_is_set_kills_no_token() {
    // From 1970 to now, by an hour, back by an hour.
    assert_eq!(after_a_jump(-1_795_300_000, 1_795_300_000), (Some(3000), 0));
    assert_eq!(after_a_jump(-3600, 3600), (Some(3000), 0));
    assert_eq!(after_a_jump(3600, -3600), (Some(3000), 1920));
    assert_eq!(after_a_jump(0, -600), (Some(3000), 1920));
}

#[test]
fn the_skew_of_the_wall_clock_is_told() {
    let mut manager = manager(RefreshPolicy::default());
    assert_eq!(manager.health(secs(0)).clock_skew, None);
    manager.unix_time(secs(0), UnixTime(1_795_300_600));
    let token = token("t", 3_600_000).with_server_time(UnixTime(1_795_300_000));
    manager.gets(secs(0), &token).unwrap();
    assert_eq!(manager.health(secs(0)).clock_skew, Some(600));
    assert!(manager.login(secs(0)).is_some());
}

#[test]
fn logins_are_spread_but_keep_the_lead() {
    let mut manager = manager(RefreshPolicy::default());
    manager.gets(secs(0), &token("one", 3_600_000)).unwrap();
    manager.gets(secs(2520), &token("two", 3_600_000)).unwrap();
    let at: Vec<_> = (0..1000).map(|id| manager.reauth_at(id, secs(3600))).collect();
    assert!(at.iter().all(|at| (secs(2520)..secs(2550)).contains(at)));
    let in_second = |n| at.iter().filter(|at| at.since(secs(2520)).as_secs() == n).count();
    assert!((0..30).all(|n| (15..60).contains(&in_second(n))), "no second has its share");
    // With little left, all come at once.
    assert_eq!(manager.reauth_at(7, secs(2520)), secs(2520));
    assert!(manager.reauth_at(7, secs(2530)) <= secs(2525));
}

#[test]
fn a_dead_token_that_comes_again_is_a_failure() {
    let mut manager = manager(RefreshPolicy::default());
    let mut now = secs(0);
    for _ in 0..50 {
        now = now.max(manager.next_deadline());
        assert!(matches!(manager.poll(now), Action::Fetch { .. }));
        let _ = manager.gets(now, &token("t", 60_000));
    }
    assert!(now > secs(40 * 30), "{now:?}: asked for in a hurry");
    let health = manager.health(now);
    assert_eq!(health.last_error, Some(SourceError::Token(TokenError::Expired)));
    assert_eq!(manager.pull(now), Pull::FetchFirst);
}

#[test]
fn a_refused_token_is_nothing_to_answer_a_request_with() {
    let mut manager = manager(RefreshPolicy::default());
    manager.gets(secs(0), &token("one", 3_600_000)).unwrap();
    manager.rejected(secs(1), Generation(1));
    assert_eq!(manager.pull(secs(1)), Pull::FetchFirst);
    manager.gets(secs(9), &token("two", 3_600_000)).unwrap();
    assert_eq!(manager.pull(secs(9)), Pull::Use);
}

#[test]
fn a_request_that_is_abandoned_is_no_failure_and_no_obstacle() {
    let mut manager = manager(RefreshPolicy::default());
    let Action::Fetch { request, .. } = manager.poll(secs(0)) else { panic!() };
    manager.abandoned(secs(1), request);
    assert_eq!(manager.health(secs(1)).failures, 0);
    fetches_at(&mut manager, secs(2));
    manager.gets(secs(2), &token("t", 60_000)).unwrap();
    manager.abandoned(secs(3), request);
    assert_eq!(manager.next_deadline(), secs(44));
}

#[test]
fn what_is_accepted_on_other_connections_does_not_hasten_a_refused_token() {
    let mut manager = manager(RefreshPolicy::default());
    let names: Vec<_> = (0..200).map(|n| std::format!("token-{n}")).collect();
    manager.gets(secs(0), &token("good", 36_000_000)).unwrap();
    manager.accepted(Generation(1));
    manager.refresh_now();
    let (mut now, mut requests) = (secs(5), 0);
    while now < secs(600) {
        match manager.poll(now) {
            Action::Fetch { .. } => {
                let Ok(Refreshed::New(generation)) =
                    manager.gets(now, &token(&names[requests], 36_000_000))
                else {
                    panic!("each is a new one")
                };
                requests += 1;
                manager.rejected(now, generation);
                // The old one is taken by a connection that comes back meanwhile.
                manager.accepted(Generation(1));
            }
            Action::Wait { until, .. } => now = until,
        }
    }
    assert!(requests < 20, "{requests}");
}

#[test]
fn a_dead_token_that_was_accepted_makes_way() {
    let mut manager = manager(RefreshPolicy::default());
    manager.gets(secs(0), &token("one", 60_000)).unwrap();
    manager.accepted(Generation(1));
    manager.gets(secs(50), &token("two", 3_600_000)).unwrap();
    manager.gets(secs(70), &token("three", 3_600_000)).unwrap();
    assert!(manager.get(Generation(1)).is_none());
    assert!(manager.get(Generation(2)).is_some() && manager.get(Generation(3)).is_some());
}

#[test]
fn extremes_of_time_do_not_overflow() {
    let mut manager = manager(RefreshPolicy::default());
    let end = Instant::FAR_FUTURE;
    let _ = manager.poll(end);
    manager.fails(end, TRANSIENT);
    manager.gets(secs(7), &token("t", u64::MAX)).unwrap();
    manager.unix_time(end, UnixTime(u64::MAX));
    manager.unix_time(secs(0), UnixTime(0));
    let _ = manager.poll(end);
    let _ = manager.reauth_at(u64::MAX, end);
    let _ = manager.health(secs(0));
}

#[test]
fn memory_is_wiped_and_nothing_shows_a_token() {
    let (mut one, mut two) = ([0; 64], [0; 64]);
    let mut manager =
        TokenManager::new(RefreshPolicy::default(), Jitter::none(), [&mut one[..], &mut two[..]]);
    manager.gets(secs(0), &token("t0p-secret", 100_000)).unwrap();
    manager.gets(secs(9), &token("t0p-secret-2", 100_000)).unwrap();
    let login = manager.login(secs(9)).unwrap();
    let shown = std::format!("{manager:?} {login:?} {:?}", manager.health(secs(9)));
    assert!(!shown.contains("t0p"), "{shown}");
    drop(manager);
    assert_eq!((one, two), ([0; 64], [0; 64]));
}

#[test]
fn answers_become_events() {
    let mut manager = manager(RefreshPolicy::default());
    let mut answered = |sent, at, answer| {
        let Action::Fetch { request, .. } = manager.poll(sent) else { panic!("it isn't due") };
        manager.answered(at, request, answer)
    };
    let event = answered(secs(0), secs(1), Ok(token("t", 3_600_000)));
    let generation = Generation(1);
    assert_eq!(
        event,
        Event::Refreshed {
            generation,
            expires_in: Duration::from_secs(3599),
            next_in: Duration::from_secs(2519),
        }
    );
    let event = answered(secs(2520), secs(2521), Ok(token("t", 1)));
    let next_in = Duration::from_secs(5);
    assert_eq!(event, Event::SameToken { generation, next_in });
    let event = answered(secs(2530), secs(2531), Err(TRANSIENT));
    let next_in = Duration::from_secs(1);
    assert_eq!(event, Event::FetchFailed { error: TRANSIENT, next_in });
}
