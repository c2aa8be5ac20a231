//! Transactions: when one is open, and when it is over.

use super::*;

#[test]
fn a_transaction_is_not_interrupted() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    assert_eq!(bench.answer("+OK\r\n"), ["1 OK"]);
    bench.heard.clear();
    due(&mut bench, "token-2");
    bench.hears(&[]);
    bench.submit(2, args!["INCR", "n"]);
    assert_eq!(bench.answer("+QUEUED\r\n"), ["2 QUEUED"]);
    bench.submit(3, args!["EXEC"]);
    bench.hears(&["INCR n", "EXEC"]);
    bench.answer("*1\r\n:1\r\n");
    bench.hears(&["AUTH oid token-2"]);
}

#[test]
fn a_multi_that_was_refused_opens_no_transaction() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.answer("-NOPERM no\r\n");
    bench.heard.clear();
    due(&mut bench, "token-2");
    bench.hears(&["AUTH oid token-2"]);
    // One in another is refused, and the other one is still open.
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.submit(2, args!["MULTI"]);
    bench.answer("+OK\r\n-ERR MULTI calls can not be nested\r\n");
    bench.heard.clear();
    due(&mut bench, "token-2");
    bench.hears(&[]);
}

#[test]
fn a_transaction_is_over_when_the_server_says_so() {
    // EXEC with an argument too many is no EXEC: the transaction is still open.
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.submit(2, args!["EXEC", "oops"]);
    bench.answer("+OK\r\n-ERR wrong number of arguments for 'exec' command\r\n");
    bench.heard.clear();
    due(&mut bench, "token-2");
    bench.hears(&[]);
    bench.submit(3, args!["EXEC"]);
    bench.answer("-EXECABORT Transaction discarded because of previous errors.\r\n");
    bench.hears(&["EXEC", "AUTH oid token-2"]);
    // Two one behind the other, of which the first was refused.
    let mut bench = Bench::ready();
    for (tag, word) in ["MULTI", "EXEC", "MULTI"].into_iter().enumerate() {
        bench.submit(tag as u64, args![word]);
    }
    bench.answer("-NOPERM no\r\n-ERR EXEC without MULTI\r\n+OK\r\n");
    bench.heard.clear();
    due(&mut bench, "token-2");
    bench.hears(&[]);
    bench.submit(4, args!["DISCARD"]);
    bench.answer("+OK\r\n");
    bench.hears(&["DISCARD", "AUTH oid token-2"]);
}

#[test]
fn a_transaction_whose_reply_is_too_large_is_over() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.submit(2, args!["EXEC"]);
    // What is left of it in the buffer begins like an error.
    let text = format!("${}\r\n{}\r\n", 250, "-".repeat(250));
    let outputs = bench.answer(&format!("+OK\r\n*2\r\n{text}{text}"));
    assert!(outputs[1].contains("receive buffer"), "{outputs:?}");
    assert!(!bench.connection.health(bench.now).session);
}

#[test]
fn a_watch_that_is_refused_late_ends_no_other() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["WATCH", "a"]);
    bench.submit(2, args!["UNWATCH"]);
    bench.submit(3, args!["WATCH", "b"]);
    bench.answer("-NOPERM no\r\n+OK\r\n+OK\r\n");
    assert!(bench.connection.health(bench.now).session);
    bench.submit(4, args!["WATCH", "c"]);
    bench.submit(5, args!["UNWATCH"]);
    bench.answer("-NOPERM no\r\n+OK\r\n");
    assert!(!bench.connection.health(bench.now).session);
}

/// A connection with `MULTI`, a command and `EXEC` or `DISCARD` answered.
fn transaction(end: &str, answer: &str) -> Bench {
    let mut bench = Bench::ready();
    bench.submit(1, args!["WATCH", "w"]);
    bench.submit(2, args!["MULTI"]);
    bench.submit(3, args!["SET", "a", 1]);
    bench.submit(4, args![end]);
    bench.heard.clear();
    bench.answer(&format!("+OK\r\n+OK\r\n+QUEUED\r\n{answer}\r\n"));
    bench
}

#[test]
fn a_transaction_that_the_server_throws_away_is_over() {
    for answer in [
        "-EXECABORT Transaction discarded because of previous errors.",
        "-CROSSSLOT Keys in request don't hash to the same slot",
        "-MOVED 1 10.0.0.1:8500",
        "-ASK 1 10.0.0.1:8500",
        "-TRYAGAIN Multiple keys request during rehashing of slot",
        "-CLUSTERDOWN The cluster is down",
        "*-1",
        "_",
        "*1\r\n+OK",
    ] {
        let mut bench = transaction("EXEC", answer);
        assert!(!bench.connection.health(bench.now).session, "{answer}");
        due(&mut bench, "token-2");
        bench.hears(&["AUTH oid token-2"]);
    }
}

#[test]
fn an_answer_that_proves_that_no_transaction_is_open_ends_it_but_no_watch() {
    for end in ["EXEC", "DISCARD"] {
        let bench = transaction(end, &format!("-ERR {end} without MULTI"));
        let (machine, now) = (&bench.connection, bench.now);
        assert!(machine.health(now).session, "keys are watched");
        let mut bench = bench;
        bench.submit(5, args!["UNWATCH"]);
        bench.answer("+OK\r\n");
        assert!(!bench.connection.health(now).session, "{end}");
    }
}

#[test]
fn a_refused_discard_leaves_the_transaction_open() {
    for answer in ["-NOPERM no", "-ERR wrong number of arguments for 'discard' command"] {
        let mut bench = transaction("DISCARD", answer);
        bench.heard.clear();
        due(&mut bench, "token-2");
        bench.hears(&[]);
        assert!(bench.connection.is_ready(), "{answer}");
        bench.submit(5, args!["DISCARD"]);
        bench.answer("+OK\r\n");
        bench.hears(&["DISCARD", "AUTH oid token-2"]);
    }
}

#[test]
fn an_answer_that_says_nothing_of_the_transaction_ends_the_connection_at_the_next_drain() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.submit(2, args!["EXEC"]);
    bench.submit(3, args!["GET", "a"]);
    assert_eq!(bench.answer("+OK\r\n-PROXY what?\r\n"), ["1 OK", "2 error PROXY"]);
    assert_eq!(bench.connection.submit(bench.now, 4, args!["GET", "b"]), Err(SubmitError::Full));
    let lost = LostState { transaction: true, ..LostState::default() };
    let end = [event(Event::StateLost(lost)), ended(CloseReason::SessionUnknown)];
    assert_eq!(bench.answer("+QUEUED\r\n")[1..], end);
    // A later answer may say it.
    for (later, session) in [("-ERR MULTI calls can not be nested", true), ("+OK", true)] {
        let mut bench = Bench::ready();
        for (tag, word) in ["MULTI", "EXEC", "MULTI"].into_iter().enumerate() {
            bench.submit(tag as u64, args![word]);
        }
        bench.answer(&format!("+OK\r\n-PROXY what?\r\n{later}\r\n"));
        let health = bench.connection.health(bench.now);
        assert_eq!((health.ready, health.session), (true, session), "{later}");
    }
}

#[test]
fn nothing_of_ours_goes_between_multi_and_exec() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.submit(2, args!["GET", "a"]);
    bench.answer("+OK\r\n+QUEUED\r\n");
    bench.now = secs(240);
    bench.update();
    bench.flush();
    bench.hears(&["MULTI", "GET a"]);
    bench.submit(3, args!["EXEC"]);
    bench.answer("*1\r\n_\r\n");
    bench.now = secs(480);
    bench.update();
    bench.flush();
    bench.hears(&["EXEC", "PING"]);
}

#[test]
fn tracking_that_was_thrown_away_with_its_transaction_is_not_lost() {
    for (answer, lost) in [("*1\r\n+OK", true), ("-EXECABORT no", false), ("_", false)] {
        let mut bench = Bench::ready();
        bench.submit(1, args!["MULTI"]);
        bench.submit(2, args!["CLIENT", "TRACKING", "ON"]);
        bench.submit(3, args!["EXEC"]);
        bench.answer(&format!("+OK\r\n+QUEUED\r\n{answer}\r\n"));
        bench.connection.closed(CloseReason::ByServer);
        let outputs = bench.outputs();
        assert_eq!(outputs.len(), 1 + usize::from(lost), "{answer}: {outputs:?}");
    }
}

#[test]
fn an_error_larger_than_the_buffer_ends_what_it_ends() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.submit(2, args!["EXEC"]);
    bench.answer(&format!("+OK\r\n-EXECABORT {}\r\n", "x".repeat(300)));
    assert!(!bench.connection.health(bench.now).session);
}

#[test]
fn a_login_that_is_due_makes_no_unknown_session_ready() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.answer("+OK\r\n");
    due(&mut bench, "token-2");
    bench.connection.submit(bench.now, 2, args!["EXEC"]).unwrap();
    let lost = LostState { transaction: true, ..LostState::default() };
    bench.flush();
    let end = [event(Event::StateLost(lost)), ended(CloseReason::SessionUnknown)];
    assert_eq!(bench.answer("-PROXY what?\r\n")[1..], end);
}
