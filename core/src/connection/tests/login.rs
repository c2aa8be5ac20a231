//! Logging in, for the first time and again.

use super::*;
use crate::time::UnixTime;

#[test]
fn a_login_is_one_hello_and_opens_the_connection() {
    let mut bench = Bench::new();
    bench.update();
    bench.flush();
    bench.hears(&["HELLO 3 AUTH oid token-1"]);
    assert_eq!(bench.connection.submit(bench.now, 1, args!["PING"]), Err(SubmitError::Full));
    let logged_in = event(Event::LoggedIn { generation: ONE, protocol: Protocol::Resp3 });
    assert_eq!(bench.answer(HELLO), [logged_in]);
    bench.hears(&[]);
    bench.submit(1, args!["SET", "n", 42]);
    bench.hears(&["SET n 42"]);
    assert_eq!(bench.answer("+OK\r\n"), ["1 OK"]);
    let health = bench.connection.health(bench.now);
    assert_eq!((health.client_id, health.generation), (Some(9), Some(ONE)));
}

#[test]
fn without_a_token_it_waits_for_one() {
    let mut bench = Bench::new();
    bench.manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 64]; 2]);
    bench.update();
    bench.flush();
    bench.hears(&[]);
    bench.token("late");
    bench.update();
    bench.flush();
    bench.hears(&["HELLO 3 AUTH oid late"]);
}

#[test]
fn a_token_larger_than_the_transmit_buffer_goes_out_in_pieces_and_is_wiped() {
    let mut bench = Bench::with(Config::new(0), 256, 16, 8);
    bench.update();
    bench.flush();
    bench.hears(&["HELLO 3 AUTH oid token-1"]);
    let (_, _, transmitter) = bench.connection.parts();
    assert!(format!("{transmitter:?}").contains("0 bytes"));
    let connection = core::mem::replace(&mut bench, Bench::new()).connection;
    assert!(!format!("{connection:?}").contains("token-1"));
    let (mut receive, mut memory) = ([0_u8; 16], [0_u8; 64]);
    let ring = [Pending::default()];
    let mut small = Connection::new(Config::new(0), &mut receive[..], &mut memory[..], ring);
    small.update(secs(0), &mut bench.manager);
    assert!(small.transmit().ends_with(b"token-1\r\n"));
    drop(small);
    assert_eq!(memory, [0; 64]);
}

#[test]
fn resp2_is_a_choice_and_a_way_out() {
    let config = Config { protocol: Protocol::Resp2, set_info: false, ..Config::new(0) };
    let mut bench = Bench::with(config, 256, 256, 8);
    bench.update();
    bench.flush();
    bench.hears(&["AUTH oid token-1"]);
    let logged_in = event(Event::LoggedIn { generation: ONE, protocol: Protocol::Resp2 });
    assert_eq!(bench.answer("+OK\r\n"), [&*logged_in]);

    let mut bench = Bench::new();
    bench.update();
    bench.flush();
    assert!(bench.answer("-NOPROTO unsupported protocol version\r\n").is_empty());
    bench.hears(&["HELLO 3 AUTH oid token-1", "AUTH oid token-1"]);
    assert_eq!(bench.answer("+OK\r\n"), [logged_in]);
}

#[test]
fn a_refused_first_login_ends_the_connection_and_says_why() {
    let mut bench = Bench::new();
    bench.update();
    bench.flush();
    let error = LoginError::WrongPass;
    let reason = CloseReason::Refused(error);
    assert_eq!(
        bench.answer("-WRONGPASS invalid username-password pair\r\n"),
        [event(Event::Rejected { generation: ONE, error, serving: false }), ended(reason),]
    );
    assert_eq!(bench.connection.submit(bench.now, 1, args!["PING"]), Err(SubmitError::Ended));
    assert_eq!(bench.manager.health(bench.now).rejections, 1);
    assert!(bench.connection.transmit().is_empty());
}

#[test]
fn a_login_that_is_not_answered_is_given_up_at_its_deadline() {
    let mut bench = Bench::new();
    bench.update();
    bench.flush();
    assert_eq!(bench.connection.next_deadline(), secs(5));
    bench.now = Instant::from_millis(4_999);
    bench.update();
    assert!(bench.outputs().is_empty());
    bench.now = secs(5);
    bench.update();
    assert_eq!(bench.outputs(), [ended(CloseReason::LoginTimeout)]);
}

#[test]
fn another_login_goes_out_alone_when_all_replies_are_in() {
    let mut bench = Bench::ready();
    bench.now = secs(60);
    bench.token("token-2");
    bench.update();
    let due = bench.connection.next_deadline();
    assert!(due > secs(60) && due < secs(90), "{due:?}");
    bench.now = due.minus(Duration::from_millis(1));
    bench.submit(1, args!["GET", "a"]);
    bench.submit(2, args!["GET", "b"]);
    bench.update();
    bench.submit(3, args!["GET", "c"]);
    bench.now = due;
    bench.update();
    assert_eq!(bench.connection.submit(bench.now, 4, args!["PING"]), Err(SubmitError::Full));
    bench.hears(&["GET a", "GET b", "GET c"]);
    assert_eq!(bench.answer("+A\r\n+B\r\n"), ["1 A", "2 B"]);
    bench.hears(&[]);
    assert_eq!(bench.answer("+C\r\n"), ["3 C"]);
    bench.hears(&["AUTH oid token-2"]);
    assert_eq!(bench.connection.submit(bench.now, 4, args!["PING"]), Err(SubmitError::Full));
    assert_eq!(bench.answer("+OK\r\n"), [event(Event::Reauthenticated { generation: TWO })]);
    bench.submit(4, args!["PING"]);
    assert_eq!(bench.answer("+PONG\r\n"), ["4 PONG"]);
    assert_eq!(bench.connection.health(bench.now).reauths, 1);
}

#[test]
fn a_refused_login_on_a_live_connection_keeps_the_old_one_and_tries_a_fresh_token() {
    let mut bench = Bench::ready();
    due(&mut bench, "token-2");
    bench.hears(&["AUTH oid token-2"]);
    let error = LoginError::WrongPass;
    assert_eq!(
        bench.answer("-WRONGPASS no\r\n"),
        [event(Event::Rejected { generation: TWO, error, serving: true })]
    );
    bench.submit(1, args!["PING"]);
    assert_eq!(bench.answer("+PONG\r\n"), ["1 PONG"]);
    bench.hears(&["PING"]);
    assert!(matches!(bench.manager.poll(bench.now), crate::manager::Action::Fetch { .. }));
    due(&mut bench, "token-3");
    bench.hears(&["AUTH oid token-3"]);
    assert_eq!(
        bench.answer("+OK\r\n"),
        [event(Event::Reauthenticated { generation: Generation(3) })]
    );
}

#[test]
fn a_server_that_is_busy_is_asked_again_a_little_later() {
    let mut bench = Bench::ready();
    due(&mut bench, "token-2");
    bench.hears(&["AUTH oid token-2"]);
    bench.answer("-LOADING Redis is loading the dataset in memory\r\n");
    let at = bench.now;
    for wait in [1, 2, 4] {
        bench.update();
        let due = bench.connection.next_deadline();
        assert_eq!(due.since(bench.now).as_secs(), wait);
        bench.now = due.minus(Duration::from_millis(1));
        bench.update();
        bench.flush();
        bench.hears(&[]);
        bench.now = due;
        bench.update();
        bench.flush();
        bench.hears(&["AUTH oid token-2"]);
        bench.answer("-LOADING Redis is loading the dataset in memory\r\n");
    }
    assert_eq!(bench.now.since(at).as_secs(), 7);
    assert_eq!(bench.manager.health(bench.now).rejections, 0, "the token is not to blame");
}

#[test]
fn a_login_that_has_ended_is_never_written_to() {
    let mut bench = Bench::ready();
    bench.now = Instant::from_millis(3_599_999);
    bench.submit(1, args!["GET", "a"]);
    bench.hears(&["GET a"]);
    // Nobody has looked yet, and still nothing is taken.
    bench.now = secs(3600);
    assert_eq!(bench.connection.submit(bench.now, 2, args!["GET", "b"]), Err(SubmitError::Full));
    bench.update();
    let reason = CloseReason::LoginExpired;
    assert_eq!(bench.outputs(), [format!("1 Unknown {:?}", Some(reason)), ended(reason)]);
    assert!(bench.connection.transmit().is_empty());
}

#[test]
fn a_token_that_goes_away_while_it_is_sent_ends_the_connection() {
    let mut bench = Bench::with(Config::new(0), 64, 8, 4);
    bench.update();
    assert!(!bench.connection.transmit().is_empty());
    bench.token("token-2");
    bench.token("token-3");
    bench.flush();
    assert_eq!(bench.outputs(), [ended(CloseReason::TokenReplaced)]);
}

#[test]
fn a_token_for_another_service_is_called_so() {
    // {"oid":...,"aud":"https://management.azure.com"}
    let jwt = "h.eyJvaWQiOiIxMTExMTExMS0yMjIyLTMzMzMtNDQ0NC01NTU1NTU1NTU1NTUiLCJhdWQiOiJodHRwczovL21hbmFnZW1lbnQuYXp1cmUuY29tIn0.s";
    let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 256]; 2]);
    let token = Token::new(Secret::new(jwt)).with_expires_in(Duration::from_secs(3600));
    manager.push(secs(0), &token).unwrap();
    let ring = [Pending::default(); 2];
    let mut connection = Connection::new(Config::new(0), [0; 512], [0; 512], ring);
    connection.update(secs(0), &mut manager);
    let len = connection.transmit().len();
    connection.sent(len);
    let reply = b"-WRONGPASS invalid username-password pair\r\n";
    connection.receive_space()[..reply.len()].copy_from_slice(reply);
    connection.received(secs(0), reply.len());
    let Some(Output::Event(Event::Rejected { error, .. })) = connection.next(secs(0)) else {
        panic!("not refused");
    };
    assert_eq!(error, LoginError::WrongAudience);
    assert!(format!("{error}").contains("scope"));
}

#[test]
fn the_manager_hears_of_a_refused_first_login_before_the_connection_is_done() {
    let mut bench = Bench::new();
    bench.update();
    let len = bench.connection.transmit().len();
    bench.connection.sent(len);
    let reply = b"-WRONGPASS no\r\n";
    bench.connection.receive_space()[..reply.len()].copy_from_slice(reply);
    bench.connection.received(bench.now, reply.len());
    // A pump that waits for the last word has to look first.
    assert_eq!(bench.outputs().len(), 1);
    assert!(bench.connection.needs_update());
    bench.update();
    assert_eq!(bench.outputs(), [ended(CloseReason::Refused(LoginError::WrongPass))]);
    assert_eq!(bench.manager.health(bench.now).rejections, 1);
}

#[test]
fn an_answer_to_a_login_that_is_none_ends_the_connection() {
    let mut bench = Bench::ready();
    due(&mut bench, "token-2");
    assert_eq!(bench.answer(":7\r\n"), [ended(CloseReason::Protocol)]);
    // So does a reply to a command that wasn't even sent.
    let mut bench = Bench::ready();
    bench.connection.submit(bench.now, 1, args!["GET", "a"]).unwrap();
    assert_eq!(bench.answer("+A\r\n").last(), Some(&ended(CloseReason::Protocol)));
}

#[test]
fn a_newer_token_in_the_middle_of_a_drain_holds_no_command_up() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.answer("+OK\r\n");
    due(&mut bench, "token-2");
    bench.token("token-3");
    bench.submit(2, args!["EXEC"]);
    bench.answer("*0\r\n");
    bench.update();
    if !bench.connection.is_ready() {
        bench.answer("+OK\r\n");
    }
    assert!(bench.connection.is_ready() && !bench.connection.needs_update());
}

/// A connection that sends commands behind its first login.
fn eager(protocol: Protocol) -> Bench {
    let config = Config { eager: true, set_info: false, protocol, ..Config::new(0) };
    let mut bench = Bench::with(config, 256, 256, 8);
    bench.update();
    bench
}

#[test]
fn commands_may_follow_the_first_login_in_the_same_flight() {
    for (protocol, login, welcome) in [
        (Protocol::Resp3, "HELLO 3 AUTH oid token-1", HELLO),
        (Protocol::Resp2, "AUTH oid token-1", "+OK\r\n"),
    ] {
        let mut bench = eager(protocol);
        bench.submit(1, args!["INCR", "n"]);
        bench.submit(2, args!["GET", "k"]);
        bench.hears(&[login, "INCR n", "GET k"]);
        // What opens something waits for the answer.
        for args in [args!["MULTI"], args!["WATCH", "k"], args!["BLPOP", "k", 1]] {
            assert_eq!(bench.connection.submit(bench.now, 3, args), Err(SubmitError::Full));
        }
        let outputs = bench.answer(&format!("{welcome}:1\r\n$1\r\nv\r\n"));
        let logged_in = event(Event::LoggedIn { generation: ONE, protocol });
        assert_eq!(outputs, [logged_in, "1 1".into(), "2 v".into()]);
        bench.submit(3, args!["MULTI"]);
    }
    // Else they wait.
    let mut bench = Bench::new();
    bench.update();
    let early = bench.connection.submit(bench.now, 1, args!["INCR", "n"]);
    assert_eq!(early, Err(SubmitError::Full));
}

#[test]
fn what_followed_a_login_that_is_refused_is_answered_before_the_end() {
    let mut bench = eager(Protocol::Resp3);
    bench.submit(1, args!["INCR", "n"]);
    bench.flush();
    let noauth = "-NOAUTH Authentication required.\r\n";
    let error = LoginError::WrongPass;
    let rejected = event(Event::Rejected { generation: ONE, error, serving: false });
    assert_eq!(bench.answer("-WRONGPASS no\r\n"), [rejected]);
    let full = bench.connection.submit(bench.now, 2, args!["GET", "k"]);
    assert_eq!(full, Err(SubmitError::Full));
    let outputs = bench.answer(noauth);
    assert!(outputs[0].starts_with("1 ") && outputs[0].contains("NOAUTH"), "{outputs:?}");
    assert_eq!(outputs[1], ended(CloseReason::Refused(error)));
    assert_eq!(bench.manager.health(bench.now).rejections, 1);
    // A server that then falls silent holds nobody up.
    let mut bench = eager(Protocol::Resp3);
    bench.submit(1, args!["INCR", "n"]);
    bench.flush();
    bench.answer("-WRONGPASS no\r\n");
    bench.now = bench.connection.next_deadline();
    bench.update();
    assert_eq!(bench.outputs()[0], "1 Unknown None");
}

#[test]
fn behind_a_server_without_hello_the_second_login_waits_for_what_followed_the_first() {
    let mut bench = eager(Protocol::Resp3);
    bench.submit(1, args!["INCR", "n"]);
    bench.hears(&["HELLO 3 AUTH oid token-1", "INCR n"]);
    assert!(bench.answer("-ERR unknown command 'HELLO'\r\n").is_empty());
    bench.hears(&[]);
    let outputs = bench.answer("-NOAUTH Authentication required.\r\n");
    assert!(outputs[0].contains("NOAUTH"), "{outputs:?}");
    bench.hears(&["AUTH oid token-1"]);
    // Now it may follow again.
    bench.submit(2, args!["INCR", "n"]);
    bench.hears(&["INCR n"]);
    let protocol = Protocol::Resp2;
    let logged_in = event(Event::LoggedIn { generation: ONE, protocol });
    assert_eq!(bench.answer("+OK\r\n:1\r\n"), [logged_in, "2 1".into()]);
}

#[test]
fn a_refusal_stays_the_reason_whatever_ends_the_connection_then() {
    for end in [
        |bench: &mut Bench| bench.connection.closed(CloseReason::ByServer),
        |bench: &mut Bench| bench.connection.retire(),
        |bench: &mut Bench| bench.now = secs(60),
    ] {
        let mut bench = eager(Protocol::Resp3);
        bench.submit(1, args!["INCR", "n"]);
        bench.answer("-WRONGPASS no\r\n");
        end(&mut bench);
        bench.update();
        bench.answer("-NOAUTH no\r\n");
        bench.update();
        let reason = bench.connection.parts().0.close_reason();
        assert_eq!(reason, Some(CloseReason::Refused(LoginError::WrongPass)));
    }
}

#[test]
fn what_follows_a_login_has_its_time_and_no_more() {
    let config = Config { eager: true, command_timeout: Duration::from_secs(1), ..Config::new(0) };
    let mut bench = Bench::with(config, 256, 256, 8);
    bench.update();
    bench.submit(1, args!["INCR", "n"]);
    assert_eq!(bench.connection.next_deadline(), secs(1));
    bench.now = secs(1);
    bench.update();
    assert_eq!(bench.outputs(), ["1 Unknown None"]);
}

#[test]
fn a_connection_is_ready_while_it_logs_in_again_and_until_a_reply_is_overdue() {
    let mut bench = Bench::new();
    let ready = |bench: &Bench| bench.connection.health(bench.now).ready;
    assert!(!ready(&bench));
    bench.update();
    bench.flush();
    assert!(!ready(&bench), "nobody is logged in");
    bench.answer(HELLO);
    assert!(ready(&bench));
    due(&mut bench, "token-2");
    let health = bench.connection.health(bench.now);
    assert!(health.ready && health.logging_in && !bench.connection.is_ready());
    bench.answer("+OK\r\n");
    bench.submit(1, args!["GET", "a"]);
    bench.now = bench.now.plus(Duration::from_millis(4999));
    assert!(ready(&bench));
    bench.now = bench.now.plus(Duration::from_millis(1));
    bench.update();
    assert!(!ready(&bench), "a reply is overdue");
    bench.answer("+late\r\n");
    assert!(ready(&bench));
}

#[test]
fn a_token_that_ended_while_the_machine_slept_ends_the_login_and_says_so() {
    let wall = |second: u64| UnixTime(1_800_000_000 + second);
    let mut bench = Bench::new();
    bench.manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 64]; 2]);
    bench.manager.unix_time(bench.now, wall(0));
    let mut token = Token::new(Secret::new("dated")).with_user("oid");
    token.expires_on = Some(wall(3600));
    bench.manager.push(bench.now, &token).unwrap();
    bench.update();
    bench.flush();
    bench.answer(HELLO);
    bench.now = bench.now.plus(Duration::from_secs(1));
    bench.manager.unix_time(bench.now, wall(4000));
    bench.update();
    assert_eq!(bench.outputs(), [ended(CloseReason::LoginExpired)]);
}
