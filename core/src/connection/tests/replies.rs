//! Commands and replies, silence, and the end.

use super::*;
use crate::transport::TransportFailure;

#[test]
fn commands_know_whether_they_were_sent() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["GET", "sent"]);
    bench.connection.submit(bench.now, 2, args!["GET", "shown"]).unwrap();
    // Shown to the transport: it may be out, whatever that said of it.
    assert!(!bench.connection.transmit().is_empty());
    bench.connection.submit(bench.now, 3, args!["GET", "not shown"]).unwrap();
    bench.connection.closed(CloseReason::ByServer);
    let reason = Some(CloseReason::ByServer);
    assert_eq!(
        bench.outputs(),
        [
            format!("1 Unknown {reason:?}"),
            format!("2 Unknown {reason:?}"),
            format!("3 NotSent {reason:?}"),
            ended(CloseReason::ByServer),
        ]
    );
    assert!(bench.outputs().is_empty());
    bench.connection.closed(CloseReason::Broken(TransportFailure::Reset));
    assert!(bench.outputs().is_empty(), "it ends once");
}

#[test]
fn a_stream_that_ends_in_the_middle_of_a_reply_broke_and_one_between_replies_was_closed() {
    let large = "x".repeat(300);
    let cut = CloseReason::Broken(TransportFailure::Truncated);
    for (part, expected) in [
        ("", CloseReason::ByServer),
        ("+OK\r\n", CloseReason::ByServer),
        ("+OK\r\n+P", cut),
        ("$3\r\nabc", cut),
        // A reply that is larger than the buffer is read to its end, and dropped.
        (&format!("$400\r\n{large}"), cut),
        (&format!("$300\r\n{large}\r\n"), CloseReason::ByServer),
    ] {
        let mut bench = Bench::ready();
        bench.submit(1, args!["GET", "a"]);
        bench.submit(2, args!["PING"]);
        bench.answer(part);
        bench.connection.end_of_stream();
        assert_eq!(bench.outputs().last(), Some(&ended(expected)), "{part}");
    }
}

#[test]
fn a_command_that_takes_too_long_is_given_up_and_its_reply_dropped() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["GET", "slow"]);
    bench.now = secs(3);
    bench.submit(2, args!["GET", "next"]);
    assert_eq!(bench.connection.next_deadline(), secs(5));
    bench.now = secs(5);
    bench.update();
    assert_eq!(bench.outputs(), ["1 Unknown None"]);
    bench.submit(3, args!["PING"]);
    assert_eq!(bench.answer("+SLOW\r\n+NEXT\r\n+PONG\r\n"), ["2 NEXT", "3 PONG"]);
}

#[test]
fn a_silent_server_is_given_up() {
    let mut bench = Bench::ready();
    bench.now = secs(100);
    bench.submit(1, args!["GET", "a"]);
    bench.now = secs(105);
    bench.update();
    assert_eq!(bench.outputs(), ["1 Unknown None"]);
    assert_eq!(bench.connection.next_deadline(), secs(115));
    bench.now = secs(114);
    bench.answer("$5\r\n");
    bench.update();
    assert_eq!(bench.connection.next_deadline(), secs(124), "a byte is a sign of life");
    bench.now = secs(124);
    bench.update();
    assert_eq!(bench.outputs(), [ended(CloseReason::Unresponsive)]);
}

#[test]
fn a_command_that_may_take_long_makes_no_server_unresponsive() {
    let mut bench = Bench::ready();
    let slow = b"*2\r\n$4\r\nEVAL\r\n$4\r\nslow\r\n";
    let by = secs(60);
    let (now, slow) = (bench.now, EncodedCommand::from_parts(CommandClass::Plain, slow));
    bench.connection.submit_encoded(now, by, 1, slow).unwrap();
    bench.submit(2, args!["GET", "a"]);
    bench.now = secs(5);
    bench.update();
    assert_eq!(bench.outputs(), ["2 Unknown None"], "its own time is over");
    bench.now = Instant::from_millis(59_999);
    bench.update();
    assert_eq!(bench.answer("+done\r\n+late\r\n"), ["1 done"]);
    assert!(bench.connection.is_ready());
}

#[test]
fn an_idle_connection_is_kept_and_a_refused_ping_is_a_sign_of_life() {
    let mut bench = Bench::ready();
    bench.update();
    assert_eq!(bench.connection.next_deadline(), secs(240));
    bench.now = secs(240);
    bench.update();
    bench.flush();
    bench.hears(&["PING"]);
    assert!(bench.answer("-NOPERM User oid has no permissions to run 'ping'\r\n").is_empty());
    bench.update();
    assert_eq!(bench.connection.next_deadline(), secs(480));
    assert!(bench.connection.is_ready());
}

#[test]
fn a_reply_larger_than_the_buffer_is_skipped_and_reported() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["GET", "big"]);
    bench.submit(2, args!["GET", "small"]);
    let big = "x".repeat(10_000);
    let outputs = bench.answer(&format!("*2\r\n$10000\r\n{big}\r\n:7\r\n$2\r\nok\r\n"));
    assert_eq!(outputs, ["1 the reply of 10018 bytes exceeds the receive buffer of 256", "2 ok"]);
    // So is a push, and a login's answer counts even so.
    let push = format!(">1\r\n$300\r\n{}\r\n", "x".repeat(300));
    assert_eq!(
        bench.answer(&push),
        ["push the reply of 312 bytes exceeds the receive buffer of 256"]
    );
    let mut bench = Bench::with(Config::new(0), 32, 256, 8);
    bench.update();
    bench.flush();
    let hello = format!("%1\r\n+modules\r\n${}\r\n{}\r\n", 200, "m".repeat(200));
    let logged_in = Event::LoggedIn { generation: ONE, protocol: Protocol::Resp3 };
    assert_eq!(bench.answer(&hello), [event(logged_in)]);
}

#[test]
fn full_buffers_push_back_and_nothing_is_lost() {
    let mut bench = Bench::with(Config { set_info: false, ..Config::new(0) }, 64, 64, 3);
    bench.update();
    bench.flush();
    bench.answer(HELLO);
    bench.heard.clear();
    let ping = args!["PING"];
    // 14 bytes each: four fit into the transmit buffer, three into the ring.
    for tag in 1..=3 {
        bench.connection.submit(bench.now, tag, ping).unwrap();
    }
    assert_eq!(bench.connection.submit(bench.now, 4, ping), Err(SubmitError::Full));
    bench.flush();
    assert_eq!(bench.connection.submit(bench.now, 4, ping), Err(SubmitError::Full));
    assert_eq!(bench.answer("+a\r\n"), ["1 a"]);
    bench.submit(4, ping);
    assert_eq!(bench.answer("+b\r\n+c\r\n+d\r\n"), ["2 b", "3 c", "4 d"]);
    let long = "x".repeat(64);
    let error = CapacityError::new(Buffer::Transmit, 84, 64);
    let submitted = bench.connection.submit(bench.now, 5, args!["GET", &*long]);
    assert_eq!(submitted, Err(SubmitError::TooLarge(error)));
    let submitted = bench.connection.submit(bench.now, 5, args!["AUTH", "x"]);
    assert_eq!(submitted, Err(SubmitError::Refused(CommandRefused::Login)));
}

#[test]
fn pushes_come_between_replies() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["PING"]);
    let outputs = bench.answer(">2\r\n+invalidate\r\n*1\r\n+k\r\n+PONG\r\n>1\r\n+x\r\n");
    assert_eq!(outputs, ["push invalidate ?", "1 PONG", "push x"]);
}

#[test]
fn an_answer_to_nothing_ends_the_connection() {
    for nonsense in ["+OK\r\n", "HTTP/1.1 400 Bad Request\r\n"] {
        let mut bench = Bench::ready();
        assert_eq!(bench.answer(nonsense), [ended(CloseReason::Protocol)], "{nonsense}");
    }
    // What a server says instead of a greeting is the answer to the login.
    let mut bench = Bench::new();
    bench.update();
    bench.flush();
    let error = LoginError::MaxClients;
    assert_eq!(
        bench.answer("-ERR max number of clients reached\r\n"),
        [
            event(Event::Rejected { generation: ONE, error, serving: false }),
            ended(CloseReason::Refused(error)),
        ]
    );
    assert_eq!(bench.manager.health(bench.now).rejections, 0);
}

#[test]
fn replies_in_single_bytes_cost_no_more_than_in_one_piece() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["GET", "a"]);
    let reply = format!("$200\r\n{}\r\n", "x".repeat(200));
    let mut outputs = Vec::new();
    for byte in reply.bytes() {
        bench.connection.receive_space()[0] = byte;
        bench.connection.received(bench.now, 1);
        outputs.extend(bench.outputs());
    }
    assert_eq!(outputs, [format!("1 {}", "x".repeat(200))]);
}

#[test]
fn an_idle_connection_may_be_let_go() {
    let idle = Idle::Close(Duration::from_secs(60));
    let mut bench = Bench::with(Config { idle, set_info: false, ..Config::new(0) }, 256, 256, 8);
    bench.update();
    bench.flush();
    bench.answer(HELLO);
    bench.now = secs(30);
    bench.submit(1, args!["GET", "k"]);
    bench.answer("_\r\n");
    bench.now = secs(40);
    bench.update();
    assert_eq!(bench.connection.next_deadline(), secs(90));
    bench.now = Instant::from_millis(89_999);
    bench.update();
    assert!(bench.outputs().is_empty());
    bench.now = secs(90);
    bench.update();
    assert_eq!(bench.outputs(), [ended(CloseReason::Idle)]);
    // What the server keeps for it keeps it.
    let mut bench = Bench::with(Config { idle, ..Config::new(0) }, 256, 256, 8);
    bench.update();
    bench.flush();
    bench.answer(HELLO);
    bench.submit(1, args!["WATCH", "k"]);
    bench.answer("+OK\r\n+OK\r\n+OK\r\n");
    bench.now = secs(1000);
    bench.update();
    assert!(bench.outputs().is_empty());
}

#[test]
fn replies_that_came_before_the_end_are_replies() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["GET", "a"]);
    bench.submit(2, args!["GET", "b"]);
    let reply = b"+A\r\n";
    bench.connection.receive_space()[..reply.len()].copy_from_slice(reply);
    bench.connection.received(bench.now, reply.len());
    bench.connection.closed(CloseReason::ByServer);
    let reason = CloseReason::ByServer;
    assert_eq!(
        bench.outputs(),
        ["1 A".to_string(), format!("2 Unknown {:?}", Some(reason)), ended(reason),]
    );
}

#[test]
fn a_late_command_may_still_be_executed() {
    let mut bench = Bench::ready();
    // The transport takes nothing.
    bench.connection.submit(bench.now, 1, args!["INCR", "n"]).unwrap();
    bench.now = secs(5);
    bench.update();
    assert_eq!(bench.outputs(), ["1 Unknown None"]);
    bench.flush();
    bench.hears(&["INCR n"]);
}

#[test]
fn an_idle_connection_is_pinged_also_while_a_login_waits_for_its_turn() {
    let policy =
        RefreshPolicy { reauth_spread: Duration::from_secs(3000), ..RefreshPolicy::default() };
    let mut bench = Bench::new();
    bench.manager = TokenManager::new(policy, Jitter::none(), [[0; 64]; 2]);
    bench.token("token-1");
    bench.update();
    bench.flush();
    bench.answer(HELLO);
    bench.heard.clear();
    bench.token("token-2");
    bench.update();
    assert_eq!(bench.connection.next_deadline(), secs(240));
    bench.now = secs(240);
    bench.update();
    bench.flush();
    bench.hears(&["PING"]);
}

#[test]
fn a_reply_that_comes_before_its_command_is_sent_is_none_and_loses_nothing() {
    for early in ["+OK\r\n", ">3\r\n+subscribe\r\n+a\r\n:1\r\n+OK\r\n"] {
        let mut bench = Bench::ready();
        bench.connection.submit(bench.now, 1, args!["SUBSCRIBE", "a"]).unwrap();
        let outputs = bench.answer(early);
        assert!(outputs.contains(&"1 NotSent Some(Protocol)".to_string()), "{outputs:?}");
        assert_eq!(outputs.last(), Some(&ended(CloseReason::Protocol)));
    }
}
