//! What a connection holds: blocking commands and subscriptions; and its replacement.

use super::*;

#[test]
fn a_blocking_command_has_its_time_and_holds_others_back_here() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["BLPOP", "queue", 8]);
    assert_eq!(bench.connection.submit(bench.now, 2, args!["GET", "a"]), Err(SubmitError::Full));
    // Neither late nor unresponsive while it blocks, and for as long as any command behind that.
    bench.update();
    assert_eq!(bench.connection.next_deadline(), secs(13));
    bench.now = Instant::from_millis(12_999);
    bench.update();
    assert!(bench.outputs().is_empty());
    assert_eq!(bench.answer("*2\r\n+queue\r\n+job\r\n"), ["1 ?"]);
    bench.submit(2, args!["GET", "a"]);
    assert_eq!(bench.answer("_\r\n"), ["2 ?"]);
    // Longer than a login could wait is refused, but in a transaction nothing blocks.
    for long in [args!["BLPOP", "queue", "10.001"], args!["XREAD", "BLOCK", 0, "STREAMS", "s", "0"]]
    {
        let refused = Err(SubmitError::Refused(CommandRefused::Blocking));
        assert_eq!(bench.connection.submit(bench.now, 3, long), refused);
    }
    bench.submit(4, args!["MULTI"]);
    bench.submit(5, args!["BLPOP", "queue", 0]);
    bench.submit(6, args!["EXEC"]);
    assert_eq!(bench.answer("+OK\r\n+QUEUED\r\n*1\r\n_\r\n"), ["4 OK", "5 QUEUED", "6 ?"]);
}

#[test]
fn a_login_waits_for_a_blocking_command_and_comes_before_the_next() {
    let mut bench = Bench::ready();
    bench.now = secs(60);
    bench.token("token-2");
    bench.update();
    let due = bench.connection.next_deadline();
    bench.submit(1, args!["BLPOP", "queue", 10]);
    bench.now = due.max(secs(61));
    bench.update();
    bench.flush();
    bench.hears(&["BLPOP queue 10"]);
    assert_eq!(bench.answer("_\r\n").len(), 1);
    bench.hears(&["AUTH oid token-2"]);
    assert_eq!(
        bench.connection.submit(bench.now, 2, args!["BLPOP", "queue", 10]),
        Err(SubmitError::Full)
    );
}

#[test]
fn a_subscription_is_done_when_all_of_it_is_confirmed() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["SUBSCRIBE", "a", "b"]);
    bench.submit(2, args!["PSUBSCRIBE", "p*"]);
    bench.submit(3, args!["PING"]);
    let confirm = |what: &str, name: &str, n| format!(">3\r\n+{what}\r\n+{name}\r\n:{n}\r\n");
    let all = [
        confirm("subscribe", "a", 1),
        ">3\r\n+message\r\n+a\r\n+early\r\n".to_string(),
        confirm("subscribe", "b", 2),
        confirm("psubscribe", "p*", 3),
        "+PONG\r\n".to_string(),
    ];
    assert_eq!(
        bench.answer(&all.concat()),
        ["push subscribe a 1", "push message a early", "1 ?", "2 ?", "3 PONG",]
    );
    assert_eq!(bench.connection.health(bench.now).subscriptions, 3);
    // All channels, of which there are two; then all, of which there are none.
    bench.submit(4, args!["UNSUBSCRIBE"]);
    bench.submit(5, args!["UNSUBSCRIBE"]);
    let all = [
        confirm("unsubscribe", "a", 2),
        confirm("unsubscribe", "b", 1),
        confirm("unsubscribe", "", 1),
    ];
    assert_eq!(bench.answer(&all.concat()), ["push unsubscribe a 2", "4 ?", "5 ?"]);
    assert_eq!(bench.connection.health(bench.now).subscriptions, 1);
    // A refused one is an error like any other.
    bench.submit(6, args!["SUBSCRIBE", "secret"]);
    assert_eq!(bench.answer("-NOPERM no access\r\n"), ["6 error NOPERM"]);
    bench.submit(7, args!["MULTI"]);
    let refused = Err(SubmitError::Refused(CommandRefused::Subscription));
    assert_eq!(bench.connection.submit(bench.now, 8, args!["SUBSCRIBE", "a"]), refused);
}

#[test]
fn a_resp3_subscriber_logs_in_again_in_place() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["SUBSCRIBE", "a"]);
    bench.answer(">3\r\n+subscribe\r\n+a\r\n:1\r\n");
    bench.heard.clear();
    due(&mut bench, "token-2");
    bench.hears(&["AUTH oid token-2"]);
    assert_eq!(
        bench.answer(">3\r\n+message\r\n+a\r\n+x\r\n+OK\r\n"),
        ["push message a x".to_string(), event(Event::Reauthenticated { generation: TWO }),]
    );
}

/// A RESP2 connection that is logged in and subscribed to a channel.
fn resp2_subscriber(replacement: Replacement) -> Bench {
    let config =
        Config { protocol: Protocol::Resp2, set_info: false, replacement, ..Config::new(0) };
    let mut bench = Bench::with(config, 256, 256, 8);
    bench.update();
    bench.flush();
    bench.answer("+OK\r\n");
    bench.submit(1, args!["SUBSCRIBE", "a"]);
    assert_eq!(bench.answer("*3\r\n+subscribe\r\n+a\r\n:1\r\n"), ["1 ?"]);
    bench.heard.clear();
    bench
}

#[test]
fn a_resp2_subscriber_takes_only_what_resp2_allows() {
    let mut bench = resp2_subscriber(Replacement::default());
    let refused = Err(SubmitError::Refused(CommandRefused::Subscriber));
    assert_eq!(bench.connection.submit(bench.now, 2, args!["GET", "k"]), refused);
    assert_eq!(bench.answer("*3\r\n+message\r\n+a\r\n+x\r\n"), ["push message a x"]);
    // The connection's own PING is answered in the subscriber's way.
    bench.now = secs(240);
    bench.update();
    bench.flush();
    bench.hears(&["PING"]);
    assert!(bench.answer("*2\r\n+pong\r\n+\r\n").is_empty());
    bench.submit(3, args!["UNSUBSCRIBE", "a"]);
    assert_eq!(bench.answer("*3\r\n+unsubscribe\r\n+a\r\n:0\r\n"), ["3 ?"]);
    bench.submit(4, args!["GET", "k"]);
    assert_eq!(bench.answer("$1\r\nv\r\n"), ["4 v"]);
}

#[test]
fn a_resp2_subscriber_is_replaced_before_its_login_ends() {
    let mut bench = resp2_subscriber(Replacement::BreakThenMake);
    due(&mut bench, "token-2");
    bench.hears(&[]);
    let lost = LostState { subscriptions: 1, ..LostState::default() };
    let end = [event(Event::StateLost(lost)), ended(CloseReason::Replaced)];
    assert_eq!(bench.outputs(), end);

    let mut bench = resp2_subscriber(Replacement::Overlap);
    due(&mut bench, "token-2");
    let ends_in = secs(3600).since(bench.now);
    assert_eq!(bench.outputs(), [event(Event::ReplacementDue { ends_in })]);
    bench.update();
    assert!(bench.outputs().is_empty(), "it is said once");
    assert_eq!(bench.answer("*3\r\n+message\r\n+a\r\n+x\r\n"), ["push message a x"]);
}

#[test]
fn a_subscriber_that_retires_hands_out_what_was_under_way_and_its_subscriptions_are_not_lost() {
    let mut bench = resp2_subscriber(Replacement::Overlap);
    due(&mut bench, "token-2");
    bench.outputs();
    bench.connection.retire();
    bench.update();
    bench.flush();
    bench.hears(&["PING"]);
    // It was said once, and nothing else is taken.
    bench.connection.retire();
    bench.update();
    bench.flush();
    bench.hears(&[]);
    let full = bench.connection.submit(bench.now, 2, args!["SUBSCRIBE", "b"]);
    assert_eq!(full, Err(SubmitError::Full));
    assert_eq!(bench.answer("*3\r\n+message\r\n+a\r\n+x\r\n"), ["push message a x"]);
    let last = "*3\r\n+message\r\n+a\r\n+y\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n";
    let end = ["push message a y".to_string(), ended(CloseReason::Replaced)];
    assert_eq!(bench.answer(last), end);
}

#[test]
fn a_subscriber_that_retires_waits_behind_what_it_has_said_before() {
    // No room for a PING.
    let config = Config { set_info: false, replacement: Replacement::Overlap, ..Config::new(0) };
    let mut bench = Bench::with(config, 256, 256, 1);
    bench.update();
    bench.flush();
    bench.answer(HELLO);
    bench.submit(1, args!["SUBSCRIBE", "a"]);
    bench.heard.clear();
    bench.connection.retire();
    bench.update();
    bench.flush();
    bench.hears(&[]);
    assert_eq!(bench.answer(">3\r\n+subscribe\r\n+a\r\n:1\r\n"), ["1 ?"]);
    bench.hears(&["PING"]);
    let last = ">3\r\n+message\r\n+a\r\n+x\r\n+PONG\r\n";
    assert_eq!(bench.answer(last), ["push message a x".to_string(), ended(CloseReason::Replaced)]);
}

#[test]
fn a_subscriber_that_retires_while_it_logs_in_again_loses_nothing_either() {
    for reply in ["+OK\r\n", "-LOADING Redis is loading the dataset in memory\r\n"] {
        let mut bench = Bench::ready();
        bench.submit(1, args!["SUBSCRIBE", "a"]);
        bench.answer(">3\r\n+subscribe\r\n+a\r\n:1\r\n");
        due(&mut bench, "token-2");
        bench.connection.retire();
        bench.heard.clear();
        let answer = format!(">3\r\n+message\r\n+a\r\n+x\r\n{reply}");
        assert_eq!(bench.answer(&answer)[0], "push message a x");
        bench.update();
        bench.flush();
        bench.hears(&["PING"]);
        let last = ">3\r\n+message\r\n+a\r\n+y\r\n+PONG\r\n";
        assert_eq!(bench.answer(last).last(), Some(&ended(CloseReason::Replaced)));
    }
}

#[test]
fn a_subscriber_that_retires_and_is_not_answered_says_so() {
    let mut bench = resp2_subscriber(Replacement::Overlap);
    bench.connection.retire();
    bench.update();
    bench.flush();
    bench.now = Instant::from_millis(14_999);
    bench.update();
    assert!(bench.outputs().is_empty());
    bench.now = secs(15);
    bench.update();
    assert_eq!(bench.outputs(), [ended(CloseReason::Unresponsive)]);
}

#[test]
fn a_connection_whose_logins_are_refused_again_and_again_is_replaced_before_it_dies() {
    let mut bench = Bench::ready();
    due(&mut bench, "token-2");
    let mut attempts = 0;
    while !bench.connection.parts().0.has_ended() {
        assert_eq!(bench.heard.drain(..).collect::<Vec<_>>(), ["AUTH oid token-2"]);
        bench.answer("-LOADING Redis is loading the dataset in memory\r\n");
        attempts += 1;
        loop {
            bench.update();
            bench.flush();
            if !bench.heard.is_empty() || bench.connection.parts().0.has_ended() {
                break;
            }
            bench.now = bench.connection.next_deadline();
        }
    }
    assert!(attempts > 10, "{attempts}");
    assert_eq!(bench.outputs().last(), Some(&ended(CloseReason::Replaced)));
    let left = secs(3600).since(bench.now);
    assert!((60..=90).contains(&left.as_secs()), "{left:?}");
}

#[test]
fn what_is_lost_with_a_connection_is_said() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["WATCH", "k"]);
    bench.submit(2, args!["CLIENT", "TRACKING", "ON"]);
    bench.submit(3, args!["MULTI"]);
    bench.answer("+OK\r\n+OK\r\n+OK\r\n");
    bench.connection.closed(CloseReason::ByServer);
    let lost = LostState { transaction: true, watch: true, tracking: true, subscriptions: 0 };
    let event = Event::StateLost(lost);
    assert_eq!(format!("{event}"), "lost with the connection: MULTI WATCH CLIENT TRACKING");
    assert_eq!(bench.outputs(), [format!("{event:?}"), ended(CloseReason::ByServer)]);

    let mut bench = Bench::ready();
    for (tag, args) in [args!["WATCH", "k"], args!["MULTI"], args!["EXEC"]].into_iter().enumerate()
    {
        bench.submit(tag as u64, args);
    }
    bench.submit(3, args!["WATCH", "k"]);
    bench.submit(4, args!["UNWATCH"]);
    bench.answer("+OK\r\n+OK\r\n*0\r\n+OK\r\n+OK\r\n");
    bench.connection.closed(CloseReason::ByServer);
    assert_eq!(bench.outputs(), [ended(CloseReason::ByServer)]);
}

#[test]
fn who_is_retired_while_logging_in_ends_at_once() {
    let mut fresh = Bench::new();
    let mut greeting = Bench::new();
    greeting.update();
    greeting.flush();
    let mut again = Bench::ready();
    due(&mut again, "token-2");
    for bench in [&mut fresh, &mut greeting, &mut again] {
        bench.connection.retire();
        bench.update();
        assert_eq!(bench.outputs(), [ended(CloseReason::Replaced)]);
        assert!(!bench.connection.needs_update());
    }
}

#[test]
fn a_silent_server_behind_a_blocking_command_is_given_up() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["BLPOP", "queue", 8]);
    bench.now = secs(13);
    bench.update();
    assert_eq!(bench.outputs(), ["1 Unknown None"]);
    // What the server holds back may still come, but not for ever.
    assert_eq!(bench.connection.next_deadline(), secs(23));
    bench.now = secs(23);
    bench.update();
    assert_eq!(bench.outputs(), [ended(CloseReason::Unresponsive)]);
}

#[test]
fn a_confirmation_larger_than_the_buffer_is_a_confirmation() {
    let name = "n".repeat(300);
    for protocol in [Protocol::Resp3, Protocol::Resp2] {
        let mut bench =
            Bench::with(Config { protocol, set_info: false, ..Config::new(0) }, 256, 1024, 8);
        bench.update();
        bench.flush();
        let (hello, first) =
            if protocol == Protocol::Resp3 { (HELLO, '>') } else { ("+OK\r\n", '*') };
        bench.answer(hello);
        bench.submit(1, args!["SUBSCRIBE", &*name]);
        let confirm = |what: &str, n| {
            format!("{first}3\r\n${}\r\n{what}\r\n$300\r\n{name}\r\n:{n}\r\n", what.len())
        };
        let outputs = bench.answer(&confirm("subscribe", 1));
        assert!(outputs[0].starts_with("1 the reply of"), "{outputs:?}");
        assert_eq!(bench.connection.health(bench.now).subscriptions, 1);
        // A message that is too large is nobody's reply.
        let message = confirm("message", 0).replace(":0", "+x");
        assert!(bench.answer(&message)[0].starts_with("push the reply of"));
        bench.submit(2, args!["UNSUBSCRIBE", &*name]);
        assert!(bench.answer(&confirm("unsubscribe", 0))[0].starts_with("2 the reply of"));
        bench.submit(3, args!["GET", "a"]);
        assert_eq!(bench.answer("$1\r\nv\r\n"), ["3 v"]);
    }
}

#[test]
fn a_large_reply_before_a_subscription_is_a_reply() {
    let config = Config { protocol: Protocol::Resp2, set_info: false, ..Config::new(0) };
    let mut bench = Bench::with(config, 256, 256, 8);
    bench.update();
    bench.flush();
    bench.answer("+OK\r\n");
    bench.submit(1, args!["LRANGE", "a", 0, -1]);
    bench.submit(2, args!["SUBSCRIBE", "a"]);
    let outputs = bench.answer(&format!("*1\r\n$300\r\n{}\r\n", "x".repeat(300)));
    assert!(outputs[0].starts_with("1 the reply of"), "{outputs:?}");
    assert_eq!(bench.answer("*3\r\n+subscribe\r\n+a\r\n:1\r\n"), ["2 ?"]);
}

#[test]
fn an_invalidation_larger_than_the_buffer_says_that_all_may_be_stale() {
    let mut bench = Bench::ready();
    let key = "k".repeat(300);
    let push = format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n$300\r\n{key}\r\n");
    // As after a FLUSHALL: instead of keys there is nothing.
    assert_eq!(bench.answer(&push), ["push invalidate ?"]);
    bench.submit(1, args!["GET", "a"]);
    assert_eq!(bench.answer("+v\r\n"), ["1 v"]);
}
