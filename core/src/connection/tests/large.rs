//! Replies and pushes larger than the receive buffer, of which only the head stays.

use super::*;

/// A connection that is logged in, with a receive buffer of this size.
fn ready(receive: usize) -> Bench {
    let mut bench = Bench::with(Config { set_info: false, ..Config::new(0) }, receive, 256, 8);
    bench.update();
    bench.flush();
    let logged_in = Event::LoggedIn { generation: ONE, protocol: Protocol::Resp3 };
    assert_eq!(bench.answer(HELLO), [event(logged_in)]);
    bench.heard.clear();
    bench
}

#[test]
fn a_refusal_larger_than_the_buffer_is_the_same_refusal() {
    let long = "x".repeat(300);
    for receive in [32, 48, 64, 256] {
        let mut bench = ready(receive);
        due(&mut bench, "token-2");
        let error = LoginError::WrongPass;
        let rejected = event(Event::Rejected { generation: TWO, error, serving: true });
        assert_eq!(bench.answer(&format!("-WRONGPASS {long}\r\n")), [rejected], "{receive}");
        assert_eq!(bench.manager.health(bench.now).rejections, 1);
        // A server without HELLO quotes what it got.
        let config = Config { set_info: false, ..Config::new(0) };
        let mut bench = Bench::with(config, receive, 256, 8);
        bench.update();
        bench.flush();
        bench.heard.clear();
        bench.answer(&format!("-ERR unknown command 'HELLO', with args {long}\r\n"));
        bench.hears(&["AUTH oid token-1"]);
    }
}

#[test]
fn a_large_answer_to_a_login_that_is_none_ends_the_connection() {
    let mut bench = ready(64);
    due(&mut bench, "token-2");
    let reply = format!("$300\r\n{}\r\n", "x".repeat(300));
    assert_eq!(bench.answer(&reply), [ended(CloseReason::Protocol)]);
}

#[test]
fn every_confirmation_is_one_whatever_the_buffer_holds_of_it() {
    for receive in [32, 33, 48, 64, 128] {
        let mut bench = ready(receive);
        for (begin, end) in [("SUBSCRIBE", "UNSUBSCRIBE"), ("PSUBSCRIBE", "PUNSUBSCRIBE")] {
            for word in [begin, end] {
                bench.submit(1, args![word, "a"]);
                bench.submit(2, args!["PING"]);
                let (len, word) = (word.len(), word.to_lowercase());
                let name = "n".repeat(200);
                let push = format!(">3\r\n${len}\r\n{word}\r\n$200\r\n{name}\r\n:1\r\n+PONG\r\n");
                let outputs = bench.answer(&push);
                assert!(outputs[0].starts_with("1 the reply of"), "{receive} {outputs:?}");
                assert_eq!(outputs[1], "2 PONG", "{receive} {word}");
            }
        }
    }
}

#[test]
fn no_reply_is_taken_for_a_confirmation() {
    let name = "n".repeat(300);
    let push = format!(">3\r\n$9\r\nsubscribe\r\n$300\r\n{name}\r\n:1\r\n");
    // One is confirmed, and then comes what is no confirmation.
    let mut bench = ready(64);
    bench.submit(3, args!["SUBSCRIBE", "a", "n"]);
    bench.submit(4, args!["GET", "a"]);
    let outputs = bench.answer(&format!("{push}+v\r\n"));
    let end = [3, 4].map(|tag| format!("{tag} Unknown {:?}", Some(CloseReason::Protocol)));
    assert_eq!(outputs[1..3], end, "{outputs:?}");
    // Nor is a push that can't be read, behind attributes for example, where one is due.
    let mut bench = ready(64);
    bench.submit(1, args!["SUBSCRIBE", "n"]);
    let attribute = format!("|1\r\n+a\r\n$100\r\n{}\r\n", "x".repeat(100));
    let outputs = bench.answer(&format!("{attribute}{push}"));
    assert_eq!(outputs, [end[0].replace('3', "1"), ended(CloseReason::Protocol)]);
}

#[test]
fn a_subscription_in_a_transaction_that_goes_on_is_queued() {
    let mut bench = ready(64);
    bench.submit(1, args!["MULTI"]);
    bench.submit(2, args!["DISCARD", "x"]);
    bench.submit(3, args!["PUNSUBSCRIBE"]);
    let refused = "-ERR wrong number of arguments for 'discard' command\r\n";
    let outputs = bench.answer(&format!("+OK\r\n{refused}+QUEUED\r\n"));
    assert_eq!(outputs[2], "3 QUEUED");
}

#[test]
fn what_a_large_attribute_says_is_no_answer() {
    for len in 0..70 {
        let mut bench = ready(64);
        bench.submit(1, args!["MULTI"]);
        bench.submit(2, args!["CLIENT", "TRACKING", "ON"]);
        bench.submit(3, args!["EXEC"]);
        // The last that is left in the head may be a null: that nothing was executed.
        let attribute = format!("|1\r\n+{}\r\n_\r\n", "x".repeat(len));
        let reply = format!("{attribute}*1\r\n$100\r\n{}\r\n", "-".repeat(100));
        bench.answer(&format!("+OK\r\n+QUEUED\r\n{reply}"));
        bench.connection.closed(CloseReason::ByServer);
        let lost = LostState { tracking: true, ..LostState::default() };
        assert_eq!(bench.outputs()[0], event(Event::StateLost(lost)), "{len}");
    }
}
