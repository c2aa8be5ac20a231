//! N: what nobody else tests.

use super::server::{Server, at_once};
use super::*;

#[test]
fn n1_refreshing_resumes_by_itself_after_an_outage_of_any_length() {
    for outage in [minutes(10), hours(5), hours(24 * 30)] {
        let mut manager = manager(RefreshPolicy::default());
        let (mut now, mut requests) = (ms(0), 0_u64);
        let back = loop {
            match manager.poll(now) {
                Action::Fetch { request, .. } if now < outage => {
                    requests += 1;
                    manager.failed(now, request, TRANSIENT);
                }
                Action::Fetch { request, .. } => {
                    manager.token(now, request, &token("back", 3_600_000)).unwrap();
                    break now;
                }
                Action::Wait { until, .. } => now = until,
                _ => unreachable!("there is nothing else to do"),
            }
        };
        assert!(back.since(outage) <= Duration::from_secs(60), "{back:?}");
        assert!(requests <= 6 + outage.as_millis() / 60_000, "{requests}");
        fetch_due(&mut manager, back.plus(Duration::from_secs(2520)));
    }
}

#[test]
fn n2_a_valid_token_is_served_and_no_connection_ended_while_the_endpoint_is_down() {
    let mut server = Server::new(RefreshPolicy::default(), Config::new(0));
    server.token("one", 3_600_000);
    server.log_in();
    while server.now < ms(3_590_000) {
        server.now = server.now.plus(Duration::from_secs(10));
        if let Action::Fetch { request, .. } = server.manager.poll(server.now) {
            server.manager.failed(server.now, request, TRANSIENT);
        }
        server.connection.update(server.now, &mut server.manager);
        assert_eq!(server.command(), Some("+OK".into()), "at {:?}", server.now);
    }
    assert_eq!(server.logins, ["one"]);
}

#[test]
fn n3_the_same_token_again_and_again_is_no_storm() {
    let mut server = Server::new(RefreshPolicy::default(), Config::new(0));
    server.token("same", 86_400_000);
    server.log_in();
    let mut requests = Vec::new();
    while server.now < hours(24) {
        match server.manager.poll(server.now) {
            Action::Fetch { request, .. } => {
                requests.push(server.now);
                server.manager.token(server.now, request, &token("same", 86_400_000)).unwrap();
            }
            Action::Wait { until, .. } => {
                let waits = requests.last().is_none_or(|last| until.since(*last).as_secs() >= 5);
                assert!(waits, "below the floor");
                server.now = until;
            }
            _ => unreachable!("there is nothing else to do"),
        }
        server.connection.update(server.now, &mut server.manager);
        server.exchange();
    }
    assert_eq!(server.logins, ["same"], "not one more AUTH");
    // 70 %, then half of what remains each time, until the floor: a dozen, not thousands.
    assert!(requests.len() < 20, "{}", requests.len());
}

#[test]
fn n4_no_life_of_a_token_makes_more_requests_than_the_floor_allows() {
    for life in [1000, 0, 240_000, 365 * 86_400_000, u64::MAX] {
        let mut manager = manager(RefreshPolicy::default());
        let (mut now, mut last) = (ms(0), None);
        let mut requests = 0;
        while now < hours(24) && requests < 100 {
            match manager.poll(now) {
                Action::Fetch { request, .. } => {
                    let apart = last.is_none_or(|last| now.since(last) >= Duration::from_secs(1));
                    assert!(apart, "tokens of {life} ms");
                    last = Some(now);
                    let _ = manager.token(now, request, &token(&format!("token-{requests}"), life));
                    requests += 1;
                }
                Action::Wait { until, .. } => now = until,
                _ => unreachable!("there is nothing else to do"),
            }
        }
        assert!(requests > 0);
    }
}

#[test]
fn n5_failures_spread_over_hours_do_not_add_up() {
    let mut manager = manager(RefreshPolicy::default());
    let mut now = ms(0);
    for failure in 0..50 {
        now = now.max(manager.next_deadline());
        let Action::Fetch { request, .. } = manager.poll(now) else { panic!("it is due") };
        manager.failed(now, request, TRANSIENT);
        // Each is the first of its row: one second, not sixty.
        let request = fetch_due(&mut manager, now.plus(Duration::from_secs(1)));
        now = now.plus(Duration::from_secs(1));
        manager.token(now, request, &token(&format!("token-{failure}"), 3_600_000)).unwrap();
    }
}

#[test]
fn n6_a_connection_that_nobody_looks_after_holds_up_no_other() {
    let mut forgotten = Server::new(RefreshPolicy::default(), Config::new(0));
    forgotten.token("one", 600_000);
    forgotten.log_in();
    // The manager is shared; the forgotten connection never looks again.
    let mut now = forgotten.now;
    for round in 0..10 {
        now = now.max(forgotten.manager.next_deadline());
        let action = forgotten.manager.poll(now);
        let Action::Fetch { request, .. } = action else { panic!("it is due") };
        let text = format!("token-{round}");
        forgotten.manager.token(now, request, &token(&text, 600_000)).unwrap();
        assert_eq!(forgotten.manager.login(now).unwrap().expose(), text);
    }
    // And when it is looked after, it has ended, and says so.
    forgotten.now = now;
    forgotten.connection.update(now, &mut forgotten.manager);
    assert!(forgotten.ended().contains(&CloseReason::LoginExpired));
}

#[test]
fn n7_dropping_it_at_any_time_is_stopping_it() {
    // There is no task, timer or callback that could go on: only whom nobody polls any more.
    let mut manager = manager(RefreshPolicy::default());
    assert!(matches!(manager.poll(ms(0)), Action::Fetch { .. }));
    drop(manager);
}

#[test]
fn n8_jumps_of_the_wall_clock_and_sleeps_bring_forward_and_never_back() {
    let start = UnixTime(1_795_300_000);
    let ends = UnixTime(start.0 + 3600);
    for (jump, due_in, alive) in
        [(3600_i64, 0, false), (-3600, 1520, true), (7200, 0, false), (0, 1520, true)]
    {
        let mut manager =
            manager(RefreshPolicy { refresh_jitter: Ratio::ZERO, ..RefreshPolicy::default() });
        manager.unix_time(ms(0), start);
        manager.push(ms(0), &token("t", 3_600_000).with_expires_on(ends)).unwrap();
        let now = ms(1_000_000);
        manager.unix_time(now, UnixTime((start.0 as i64 + 1000 + jump) as u64));
        assert_eq!(manager.next_deadline().since(now).as_secs(), due_in, "{jump}");
        assert_eq!(manager.login(now).is_some(), alive, "{jump}");
    }
}

#[test]
fn n9_a_server_ten_minutes_ahead_or_behind_changes_no_schedule() {
    for skew in [-600_i64, 0, 600] {
        let mut manager =
            manager(RefreshPolicy { refresh_jitter: Ratio::ZERO, ..RefreshPolicy::default() });
        let here = 1_795_300_000_i64;
        manager.unix_time(ms(0), UnixTime(here as u64));
        let there = here + skew;
        let token = token("t", 600_000)
            .with_expires_on(UnixTime((there + 600) as u64))
            .with_server_time(UnixTime(there as u64));
        manager.push(ms(0), &token).unwrap();
        assert_eq!(manager.login(ms(0)).unwrap().expires_at(), ms(600_000), "{skew}");
        fetch_due(&mut manager, ms(420_000));
        assert_eq!(manager.health(ms(0)).clock_skew, Some(-skew));
    }
}

#[test]
fn n10_the_logins_of_many_instances_are_spread_evenly() {
    let mut histogram = [0_u32; 30];
    for instance in 0..50_u64 {
        let mut manager =
            manager(RefreshPolicy { refresh_jitter: Ratio::ZERO, ..RefreshPolicy::default() });
        manager.push(ms(0), &token("one", 3_600_000)).unwrap();
        manager.push(minutes(42), &token("two", 3_600_000)).unwrap();
        for connection in 0..100_u64 {
            // A connection's id is random in each process.
            let at = manager.reauth_at(instance * 7_919_717 + connection * 104_729, minutes(60));
            histogram[at.since(minutes(42)).as_secs() as usize] += 1;
            let again = manager.reauth_at(instance * 7_919_717 + connection * 104_729, minutes(60));
            assert_eq!(at, again, "the same each time it is asked");
        }
    }
    // 5,000 logins in 30 seconds: 167 in each, by and large.
    assert!(histogram.iter().all(|count| (120..220).contains(count)), "{histogram:?}");
}

#[test]
fn n11_whatever_becomes_of_a_login_the_connection_heals() {
    let wrongpass = "-WRONGPASS invalid username-password pair\r\n";
    let loading = "-LOADING Redis is loading the dataset in memory\r\n";
    for answer in [wrongpass, loading] {
        let mut server = Server::new(at_once(), Config::new(0));
        server.token("one", 3_600_000);
        server.log_in();
        server.answers = vec![answer.into()];
        server.refresh("two");
        // A token that was refused isn't tried again; a server that was busy is asked again.
        let attempts = if answer == loading { 2 } else { 1 };
        assert_eq!(server.logins[1..], vec!["two"; attempts]);
        assert_eq!(server.command(), Some("+OK".into()), "the earlier login serves on");
        server.refresh("three");
        assert_eq!(server.logins.last().map(String::as_str), Some("three"), "{answer}");
        assert!(server.ended().is_empty());
    }
    // No answer: the stream may be out of step, so the connection is given up.
    let mut server = Server::new(at_once(), Config::new(0));
    server.token("one", 3_600_000);
    server.log_in();
    server.deaf = true;
    server.refresh("two");
    server.now = server.connection.next_deadline();
    server.connection.update(server.now, &mut server.manager);
    assert_eq!(server.ended(), [CloseReason::LoginTimeout]);
    // Cut in the middle of it: the same, and the token is not to blame.
    let mut server = Server::new(at_once(), Config::new(0));
    server.token("one", 3_600_000);
    server.log_in();
    server.deaf = true;
    server.refresh("two");
    server.connection.closed(CloseReason::ByServer);
    assert_eq!(server.ended(), [CloseReason::ByServer]);
    assert_eq!(server.manager.login(server.now).unwrap().expose(), "two");
}

#[test]
fn n12_long_commands_transactions_and_subscriptions_cross_a_rotation() {
    // A BLPOP is in the way for the length of its slice, and no longer.
    let mut server = Server::new(at_once(), Config::new(0));
    server.token("one", 3_600_000);
    server.log_in();
    server.deaf = true;
    server.now = minutes(10);
    server.connection.submit(server.now, 1, args!["BLPOP", "queue", 10]).unwrap();
    server.token("two", 3_600_000);
    for _ in 0..10 {
        server.connection.update(server.now, &mut server.manager);
        server.exchange();
        server.now = server.now.plus(Duration::from_secs(1));
    }
    assert_eq!(server.logins, ["one"]);
    server.deaf = false;
    server.say("*-1\r\n");
    assert_eq!(server.logins, ["one", "two"]);
    // MULTI with WATCH: nothing comes in between.
    let mut server = Server::new(at_once(), Config::new(0));
    server.token("one", 3_600_000);
    server.log_in();
    for (tag, command) in [args!["WATCH", "k"], args!["MULTI"]].into_iter().enumerate() {
        server.connection.submit(server.now, tag as u64, command).unwrap();
    }
    server.exchange();
    server.refresh("two");
    assert_eq!(server.logins, ["one"]);
    server.connection.submit(server.now, 3, args!["EXEC"]).unwrap();
    server.exchange();
    assert_eq!(server.logins, ["one", "two"]);
    // A RESP3 subscriber logs in again in place; a RESP2 one has to be replaced, and says so.
    for (protocol, expected) in [(Protocol::Resp3, 2), (Protocol::Resp2, 1)] {
        let config = Config { protocol, replacement: Replacement::Overlap, ..Config::new(0) };
        let mut server = Server::new(at_once(), config);
        server.token("one", 3_600_000);
        server.log_in();
        server.deaf = true;
        server.connection.submit(server.now, 1, args!["SUBSCRIBE", "a"]).unwrap();
        server.exchange();
        server.deaf = false;
        let kind = if protocol == Protocol::Resp3 { '>' } else { '*' };
        server.say(&format!("{kind}3\r\n+subscribe\r\n+a\r\n:1\r\n"));
        server.refresh("two");
        assert_eq!(server.logins.len(), expected);
        let due = server.events.iter().any(|event| matches!(event, Event::ReplacementDue { .. }));
        assert_eq!(due, protocol == Protocol::Resp2);
    }
}
