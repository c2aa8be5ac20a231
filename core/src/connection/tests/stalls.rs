//! Where a connection would stand still, or go around in circles.

use super::*;

const NOAUTH: &str = "-NOAUTH Authentication required.\r\n";
const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";

/// Takes what is to be sent, and looks as often as is wanted, but not for ever.
fn settles(bench: &mut Bench) {
    for _ in 0..10 {
        while let len @ 1.. = bench.connection.transmit().len() {
            bench.connection.sent(len);
        }
        if !bench.connection.needs_update() {
            return;
        }
        bench.update();
    }
    panic!("it wants to be looked at for ever: {:?}", bench.connection);
}

#[test]
fn a_forgotten_login_that_is_refused_then_leaves_none_to_serve() {
    for (reply, error) in
        [("-WRONGPASS no\r\n", LoginError::WrongPass), (LOADING, LoginError::Unavailable)]
    {
        let mut bench = Bench::ready();
        bench.now = secs(60);
        bench.submit(1, args!["GET", "a"]);
        bench.heard.clear();
        bench.answer(NOAUTH);
        bench.hears(&["AUTH oid token-1"]);
        let rejected = event(Event::Rejected { generation: ONE, error, serving: false });
        assert_eq!(bench.answer(reply), [rejected, ended(CloseReason::Refused(error))]);
        bench.hears(&[]);
    }
}

#[test]
fn a_replacement_that_becomes_due_in_the_middle_of_a_drain_is_said_and_holds_nothing_up() {
    let config = Config { replacement: Replacement::Overlap, ..Config::new(0) };
    let mut bench = Bench::with(Config { set_info: false, ..config }, 256, 256, 8);
    bench.update();
    bench.flush();
    bench.answer(HELLO);
    due(&mut bench, "token-2");
    bench.answer(LOADING);
    bench.update();
    bench.now = bench.connection.next_deadline();
    bench.update();
    bench.flush();
    bench.answer(LOADING);
    // The next attempt waits for a reply until only half of the lead is left.
    bench.now = secs(3600 - 100);
    bench.submit(1, args!["GET", "a"]);
    bench.update();
    bench.flush();
    assert!(!bench.connection.is_ready());
    bench.now = secs(3600 - 60);
    bench.connection.receive_space()[..4].copy_from_slice(b"+v\r\n");
    bench.connection.received(bench.now, 4);
    assert_eq!(bench.outputs(), ["1 v"]);
    settles(&mut bench);
    let ends_in = Duration::from_secs(60);
    assert_eq!(bench.outputs(), [event(Event::ReplacementDue { ends_in })]);
    assert!(bench.connection.is_ready());
}

#[test]
fn a_connection_is_kept_until_its_replacement_is_there() {
    let replacement = Replacement::Overlap;
    let config = Config { protocol: Protocol::Resp2, replacement, ..Config::new(0) };
    let mut bench = Bench::with(Config { set_info: false, ..config }, 256, 256, 8);
    bench.update();
    bench.flush();
    bench.answer("+OK\r\n");
    bench.submit(1, args!["SUBSCRIBE", "a"]);
    bench.answer("*3\r\n+subscribe\r\n+a\r\n:1\r\n");
    due(&mut bench, "token-2");
    bench.heard.clear();
    assert_eq!(bench.outputs().len(), 1);
    // Nobody can make another one, and nobody publishes anything.
    for _ in 0..3 {
        bench.now = bench.connection.next_deadline();
        bench.update();
        bench.flush();
        bench.hears(&["PING"]);
        bench.answer("*2\r\n+pong\r\n+\r\n");
        bench.update();
        assert!(bench.connection.next_deadline() <= bench.now.plus(Duration::from_secs(240)));
    }
}

#[test]
fn a_server_that_answers_a_command_and_does_not_take_the_rest_of_it_is_given_up() {
    let mut bench = Bench::ready();
    bench.connection.submit(bench.now, 1, args!["SET", "k", "v"]).unwrap();
    assert!(bench.connection.transmit().len() > 4);
    bench.connection.sent(4);
    assert_eq!(bench.answer_unsent("-ERR Protocol error\r\n"), ["1 error ERR"]);
    for at in [5, 10] {
        assert!(!bench.connection.has_ended());
        assert_eq!(bench.connection.next_deadline(), secs(at));
        bench.now = secs(at);
        bench.update();
    }
    bench.update();
    assert_eq!(bench.outputs(), [ended(CloseReason::Unresponsive)]);
}

#[test]
fn after_a_refused_login_the_next_one_is_due_in_time_whoever_looks() {
    let config = Config { login_timeout: Duration::MAX, set_info: false, ..Config::new(0) };
    let mut bench = Bench::with(config, 256, 256, 8);
    bench.update();
    bench.flush();
    bench.answer(HELLO);
    due(&mut bench, "token-2");
    bench.heard.clear();
    bench.answer(LOADING);
    let at = bench.now;
    // Only when it asks for it.
    for _ in 0..5 {
        bench.now = bench.now.max(bench.connection.next_deadline());
        bench.update();
        bench.flush();
        if !bench.heard.is_empty() {
            break;
        }
    }
    bench.hears(&["AUTH oid token-2"]);
    assert_eq!(bench.now.since(at), Duration::from_secs(1));
}

#[test]
fn a_command_without_a_time_limit_forgets_no_ping() {
    for end in [args!["GET", "a"] as &[_], args!["EXEC"]] {
        let mut bench = Bench::ready();
        bench.update();
        bench.submit(1, args!["MULTI"]);
        bench.answer("+OK\r\n");
        bench.submit(2, args!["DISCARD"]);
        bench.answer("+OK\r\n");
        let mut memory = [0; 64];
        let command = EncodedCommand::encode(end, &mut memory).unwrap();
        let by = Instant::FAR_FUTURE;
        bench.connection.submit_encoded(bench.now, by, 1, command).unwrap();
        bench.flush();
        bench.heard.clear();
        // It is looked at while there is no reply, and never after.
        bench.now = secs(239);
        bench.update();
        bench.now = secs(241);
        bench.update();
        bench.answer("+v\r\n");
        assert_eq!(bench.connection.next_deadline(), secs(481));
        bench.now = secs(481);
        bench.update();
        bench.flush();
        bench.hears(&["PING"]);
    }
}

#[test]
fn no_choice_makes_a_hot_loop_of_idleness() {
    let idle = Idle::Keep(Duration::ZERO);
    let mut bench = Bench::with(Config { idle, set_info: false, ..Config::new(0) }, 256, 256, 8);
    bench.update();
    bench.flush();
    bench.heard.clear();
    bench.answer(HELLO);
    bench.update();
    bench.flush();
    bench.hears(&[]);
    bench.now = secs(1);
    bench.update();
    bench.flush();
    bench.hears(&["PING"]);
    // It isn't let go before anybody could use it either.
    let idle = Idle::Close(Duration::ZERO);
    let mut bench = Bench::with(Config { idle, set_info: false, ..Config::new(0) }, 256, 256, 8);
    bench.update();
    bench.flush();
    bench.answer(HELLO);
    bench.update();
    assert!(bench.connection.is_ready());
}

#[test]
fn an_answer_to_half_a_login_ends_the_connection() {
    let room = 24;
    for reply in ["+OK\r\n", LOADING] {
        let config = Config { set_info: false, ..Config::new(0) };
        let mut bench = Bench::with(config, 256, room, 8);
        bench.update();
        bench.flush();
        bench.answer(HELLO);
        bench.now = bench.now.plus(Duration::from_secs(40));
        bench.token("token-2");
        bench.now = bench.now.plus(Duration::from_secs(40));
        bench.update();
        let len = bench.connection.transmit().len();
        assert_eq!(len, room);
        bench.connection.sent(len);
        // What is sent next would be taken for the rest of the token.
        assert_eq!(bench.answer_unsent(reply), [ended(CloseReason::Protocol)], "{reply}");
    }
    // Who is turned away at the door hears why.
    let mut bench = Bench::with(Config::new(0), 256, room, 8);
    bench.update();
    bench.connection.transmit();
    let error = LoginError::MaxClients;
    let rejected = event(Event::Rejected { generation: ONE, error, serving: false });
    assert_eq!(
        bench.answer_unsent("-ERR max number of clients reached\r\n"),
        [rejected, ended(CloseReason::Refused(error))]
    );
}

#[test]
fn an_exec_that_is_refused_where_no_transaction_is_open_leaves_none() {
    // A proxy that has forgotten the login may say so of each command.
    let mut bench = Bench::ready();
    bench.now = secs(60);
    for (tag, args) in [args!["MULTI"], args!["SET", "a", 1], args!["EXEC"]].into_iter().enumerate()
    {
        bench.submit(tag as u64, args);
    }
    bench.heard.clear();
    bench.answer(&NOAUTH.repeat(3));
    bench.hears(&["AUTH oid token-1"]);
    for (tag, word) in ["MULTI", "EXEC"].into_iter().enumerate() {
        let mut bench = Bench::ready();
        bench.submit(tag as u64, args![word]);
        bench.answer("-PROXY what?\r\n");
        assert!(bench.connection.is_ready(), "{word}");
    }
}

#[test]
fn a_multi_that_is_refused_among_others_holds_no_login_up() {
    let mut bench = Bench::ready();
    bench.now = secs(40);
    bench.token("token-2");
    bench.now = secs(80);
    bench.submit(1, args!["MULTI"]);
    bench.submit(2, args!["GET", "a"]);
    bench.update();
    assert_eq!(bench.answer("-OOM no\r\n"), ["1 error OOM"]);
    // Nothing opens a transaction: what came would go on without end.
    assert_eq!(bench.connection.submit(bench.now, 3, args!["GET", "b"]), Err(SubmitError::Full));
    // And what follows blocks, as it did before.
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.submit(2, args!["GET", "a"]);
    bench.answer("-OOM no\r\n");
    let refused = Err(SubmitError::Refused(CommandRefused::Blocking));
    assert_eq!(bench.connection.submit(bench.now, 3, args!["BLPOP", "q", 0]), refused);
    // What follows an EXEC that was refused is still a part of the transaction.
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.submit(2, args!["EXEC", "oops"]);
    bench.submit(3, args!["GET", "a"]);
    bench.answer("+OK\r\n-ERR wrong number of arguments for 'exec' command\r\n");
    bench.submit(4, args!["BLPOP", "q", 0]);
    bench.submit(5, args!["EXEC"]);
    bench.answer("+QUEUED\r\n+QUEUED\r\n-EXECABORT no\r\n");
    assert!(!bench.connection.health(bench.now).session);
}
