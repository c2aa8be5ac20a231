//! The tests of the peers that are worth having, with a clock that is told and no sleeps.
//!
//! The names begin with the rows of the table that they come from: L are scenarios of the official
//! clients' own suites, N are those that none of them has, each for a way in which one of them was
//! seen to break. Times of the L rows are theirs; jitter, floors and lead are zero as with them,
//! and lives count from the request.

use std::time::Duration;

use redis_entraid_core::args;
use redis_entraid_core::auth::Protocol;
use redis_entraid_core::connection::{
    CloseReason, Config, Connection, Output, Pending, Replacement, SubmitError,
};
use redis_entraid_core::event::Event;
use redis_entraid_core::http::HttpErrorKind;
use redis_entraid_core::manager::{Action, Generation, Reason, Refreshed, TokenManager};
use redis_entraid_core::policy::{Ratio, RefreshPolicy, RetryPolicy};
use redis_entraid_core::secret::Secret;
use redis_entraid_core::source::{ErrorKind, SourceError};
use redis_entraid_core::time::{Instant, UnixTime};
use redis_entraid_core::token::{Token, TokenError};

type Manager = TokenManager<[u8; 64]>;

const TRANSIENT: SourceError = SourceError::Http(HttpErrorKind::Connect);
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
    TokenManager::new(policy, [[0; 64]; 2])
}

/// One tick before `at` nothing is due; at it a fetch is.
#[track_caller]
fn fetch_due(manager: &mut Manager, at: Instant) {
    if at > Instant::default() {
        let before = manager.poll(at.minus(Duration::from_millis(1)));
        assert!(matches!(before, Action::Wait { until, .. } if until == at), "{before:?}");
    }
    let then = manager.poll(at);
    assert!(matches!(then, Action::Fetch { .. }), "{then:?}");
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
                Action::Fetch { deadline } => {
                    sent.push(now.as_millis());
                    let arrives = now.plus(latency);
                    if arrives < deadline {
                        match answer {
                            Ok(token) => drop(manager.token(now, token)),
                            Err(error) => manager.failed(arrives, *error),
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
    assert_eq!(run(&mut manager, 10, &script), [0, 1000, 2000]);
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
    fetch_due(&mut manager, ms(7000));
    manager.failed(ms(7000), FATAL);
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
    let pushed = manager.token(ms(0), &token("pushed", 1000)).unwrap();
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
    assert!(matches!(manager.poll(ms(0)), Action::Fetch { .. }));
    assert_eq!(manager.token(ms(0), &expired), Err(TokenError::Expired));
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
    assert!(matches!(once.poll(ms(0)), Action::Fetch { deadline } if deadline == ms(100)));
    let waiting = once.poll(ms(99));
    assert_eq!(waiting, Action::Wait { until: ms(100), why: Reason::InFlight });
    fetch_due(&mut once, ms(200));
    once.token(ms(200), &token("a", 1000)).unwrap();
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

// What nobody else tests.

#[test]
fn n1_refreshing_resumes_by_itself_after_an_outage_of_any_length() {
    for outage in [minutes(10), hours(5), hours(24 * 30)] {
        let mut manager = manager(RefreshPolicy::default());
        let (mut now, mut requests) = (ms(0), 0_u64);
        let back = loop {
            match manager.poll(now) {
                Action::Fetch { .. } if now < outage => {
                    requests += 1;
                    manager.failed(now, TRANSIENT);
                }
                Action::Fetch { .. } => {
                    manager.token(now, &token("back", 3_600_000)).unwrap();
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
    let mut server = Server::new(RefreshPolicy::default(), Config::default());
    server.token("one", 3_600_000);
    server.log_in();
    while server.now < ms(3_590_000) {
        server.now = server.now.plus(Duration::from_secs(10));
        if let Action::Fetch { .. } = server.manager.poll(server.now) {
            server.manager.failed(server.now, TRANSIENT);
        }
        server.connection.look(server.now, &mut server.manager);
        assert_eq!(server.command(), Some("+OK".into()), "at {:?}", server.now);
    }
    assert_eq!(server.logins, ["one"]);
}

#[test]
fn n3_the_same_token_again_and_again_is_no_storm() {
    let mut server = Server::new(RefreshPolicy::default(), Config::default());
    server.token("same", 86_400_000);
    server.log_in();
    let mut requests = Vec::new();
    while server.now < hours(24) {
        match server.manager.poll(server.now) {
            Action::Fetch { .. } => {
                requests.push(server.now);
                server.manager.token(server.now, &token("same", 86_400_000)).unwrap();
            }
            Action::Wait { until, .. } => {
                let waits = requests.last().is_none_or(|last| until.since(*last).as_secs() >= 5);
                assert!(waits, "below the floor");
                server.now = until;
            }
            _ => unreachable!("there is nothing else to do"),
        }
        server.connection.look(server.now, &mut server.manager);
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
                Action::Fetch { .. } => {
                    let apart = last.is_none_or(|last| now.since(last) >= Duration::from_secs(1));
                    assert!(apart, "tokens of {life} ms");
                    last = Some(now);
                    let _ = manager.token(now, &token(&format!("token-{requests}"), life));
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
        while !matches!(manager.poll(now), Action::Fetch { .. }) {
            now = manager.next_deadline();
        }
        manager.failed(now, TRANSIENT);
        // Each is the first of its row: one second, not sixty.
        fetch_due(&mut manager, now.plus(Duration::from_secs(1)));
        now = now.plus(Duration::from_secs(1));
        manager.token(now, &token(&format!("token-{failure}"), 3_600_000)).unwrap();
    }
}

#[test]
fn n6_a_connection_that_nobody_looks_after_holds_up_no_other() {
    let mut forgotten = Server::new(RefreshPolicy::default(), Config::default());
    forgotten.token("one", 600_000);
    forgotten.log_in();
    // The manager is shared; the forgotten connection never looks again.
    let mut now = forgotten.now;
    for round in 0..10 {
        while !matches!(forgotten.manager.poll(now), Action::Fetch { .. }) {
            now = forgotten.manager.next_deadline();
        }
        let text = format!("token-{round}");
        forgotten.manager.token(now, &token(&text, 600_000)).unwrap();
        assert_eq!(forgotten.manager.login(now).unwrap().expose(), text);
    }
    // And when it is looked after, it has ended, and says so.
    forgotten.now = now;
    forgotten.connection.look(now, &mut forgotten.manager);
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
        manager.token(ms(0), &token("t", 3_600_000).with_expires_on(ends)).unwrap();
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
        manager.token(ms(0), &token).unwrap();
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
        manager.token(ms(0), &token("one", 3_600_000)).unwrap();
        manager.token(minutes(42), &token("two", 3_600_000)).unwrap();
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
        let mut server = Server::new(at_once(), Config::default());
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
    let mut server = Server::new(at_once(), Config::default());
    server.token("one", 3_600_000);
    server.log_in();
    server.deaf = true;
    server.refresh("two");
    server.now = server.connection.next_deadline();
    server.connection.look(server.now, &mut server.manager);
    assert_eq!(server.ended(), [CloseReason::LoginTimeout]);
    // Cut in the middle of it: the same, and the token is not to blame.
    let mut server = Server::new(at_once(), Config::default());
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
    let mut server = Server::new(at_once(), Config::default());
    server.token("one", 3_600_000);
    server.log_in();
    server.deaf = true;
    server.now = minutes(10);
    server.connection.submit(server.now, 1, args!["BLPOP", "queue", 10]).unwrap();
    server.token("two", 3_600_000);
    for _ in 0..10 {
        server.connection.look(server.now, &mut server.manager);
        server.exchange();
        server.now = server.now.plus(Duration::from_secs(1));
    }
    assert_eq!(server.logins, ["one"]);
    server.deaf = false;
    server.say("*-1\r\n");
    assert_eq!(server.logins, ["one", "two"]);
    // MULTI with WATCH: nothing comes in between.
    let mut server = Server::new(at_once(), Config::default());
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
        let config = Config { protocol, replacement: Replacement::Overlap, ..Config::default() };
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

/// Connections log in with a new token as soon as it is there.
fn at_once() -> RefreshPolicy {
    RefreshPolicy { reauth_spread: Duration::ZERO, ..RefreshPolicy::default() }
}

/// A connection with its manager, and a server that answers as it is told.
struct Server {
    now: Instant,
    manager: Manager,
    connection: Connection<[u8; 256], [Pending; 8]>,
    logins: Vec<String>,
    /// Answers to logins, before they are accepted.
    answers: Vec<String>,
    /// It hears, and doesn't answer.
    deaf: bool,
    events: Vec<Event>,
    replies: Vec<String>,
    tokens: Vec<String>,
}

impl Server {
    fn new(policy: RefreshPolicy, config: Config) -> Self {
        let config = Config { set_info: false, ..config };
        Self {
            now: ms(0),
            manager: manager(RefreshPolicy { refresh_jitter: Ratio::ZERO, ..policy }),
            connection: Connection::new(config, [0; 256], [0; 256], [Pending::default(); 8]),
            logins: Vec::new(),
            answers: Vec::new(),
            deaf: false,
            events: Vec::new(),
            replies: Vec::new(),
            tokens: Vec::new(),
        }
    }

    fn token(&mut self, text: &str, life_ms: u64) {
        self.tokens.push(text.into());
        self.manager.token(self.now, &token(text, life_ms)).unwrap();
    }

    fn log_in(&mut self) {
        self.connection.look(self.now, &mut self.manager);
        self.exchange();
        assert!(self.connection.is_ready());
    }

    /// A newer token, and time for all to log in with it.
    fn refresh(&mut self, text: &str) {
        self.now = self.now.plus(Duration::from_secs(60));
        self.connection.look(self.now, &mut self.manager);
        self.token(text, 3_600_000);
        for _ in 0..40 {
            self.connection.look(self.now, &mut self.manager);
            self.exchange();
            self.outputs();
            // Not so long that a server that was silenced is given up.
            self.now = self.now.plus(Duration::from_millis(if self.deaf { 100 } else { 1000 }));
        }
    }

    /// Takes what is sent, answers it, and looks when that is wanted.
    fn exchange(&mut self) {
        loop {
            let sent = String::from_utf8(self.connection.transmit().to_vec()).unwrap();
            self.connection.sent(sent.len());
            let token =
                self.tokens.iter().rev().find(|token| sent.contains(&format!("\r\n{token}\r\n")));
            let login = sent.contains("\r\nAUTH\r\n").then_some(token).flatten().cloned();
            if let Some(token) = login {
                self.logins.push(token);
                if !self.deaf {
                    let hello = "%1\r\n+proto\r\n:3\r\n".to_owned();
                    let good = if sent.contains("HELLO") { hello } else { "+OK\r\n".into() };
                    let answer =
                        if self.answers.is_empty() { good } else { self.answers.remove(0) };
                    self.hear(&answer);
                }
            } else if !self.deaf {
                for _ in 0..sent.matches('*').count() {
                    self.hear("+OK\r\n");
                }
            }
            if self.connection.wants_look() {
                self.connection.look(self.now, &mut self.manager);
            } else if self.connection.transmit().is_empty() {
                return;
            }
        }
    }

    fn say(&mut self, bytes: &str) {
        self.hear(bytes);
        self.connection.look(self.now, &mut self.manager);
        self.exchange();
    }

    fn hear(&mut self, bytes: &str) {
        self.connection.receive_space()[..bytes.len()].copy_from_slice(bytes.as_bytes());
        self.connection.received(self.now, bytes.len());
        self.outputs();
    }

    fn outputs(&mut self) {
        while let Some(output) = self.connection.next(self.now) {
            match output {
                Output::Event(event) => self.events.push(event),
                Output::Reply { reply: Ok(value), .. } => {
                    self.replies.push(String::from_utf8_lossy(value.raw()).trim().to_owned());
                }
                _ => {}
            }
        }
    }

    /// Sends a command, and answers with its reply.
    fn command(&mut self) -> Option<String> {
        match self.connection.submit(self.now, 7, args!["SET", "k", "v"]) {
            Ok(()) => {}
            Err(SubmitError::Full) => return None,
            Err(error) => panic!("{error}"),
        }
        self.exchange();
        self.replies.pop()
    }

    fn ended(&mut self) -> Vec<CloseReason> {
        self.outputs();
        let ends = self.events.iter().filter_map(|event| match event {
            Event::Disconnected { reason } => Some(*reason),
            _ => None,
        });
        ends.collect()
    }
}
