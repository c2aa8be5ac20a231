//! What the model test found, in the fewest words.

use super::*;

#[test]
fn an_exec_that_is_refused_for_want_of_a_login_says_so_too() {
    let mut bench = Bench::ready();
    bench.now = secs(60);
    bench.submit(1, args!["EXEC"]);
    bench.heard.clear();
    let why = "Transaction discarded because of: NOAUTH Authentication required.";
    bench.answer(&format!("-EXECABORT {why}\r\n"));
    bench.hears(&["AUTH oid token-1"]);
}

#[test]
fn who_retires_and_is_not_logged_in_any_more_waits_for_no_transaction() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.answer("+OK\r\n");
    bench.submit(2, args!["GET", "a"]);
    bench.connection.retire();
    let outputs = bench.answer("-NOAUTH Authentication required.\r\n");
    assert_eq!(outputs.last(), Some(&ended(CloseReason::LoginLost)));
}

#[test]
fn a_confirmation_larger_than_the_buffer_counts_what_the_server_counts() {
    let mut bench = Bench::with(Config { set_info: false, ..Config::new(0) }, 96, 256, 8);
    bench.update();
    bench.flush();
    bench.answer(HELLO);
    let name = "z".repeat(100);
    let told = |word: &str, count: u32| {
        format!(">3\r\n${}\r\n{word}\r\n$100\r\n{name}\r\n:{count}\r\n", word.len())
    };
    for tag in 1..=2 {
        bench.submit(tag, args!["SUBSCRIBE", name.as_str()]);
        bench.answer(&told("subscribe", 1));
        assert_eq!(bench.connection.health(bench.now).subscriptions, 1);
    }
    // All that there is gets one confirmation, and what follows its own reply.
    bench.submit(3, args!["UNSUBSCRIBE"]);
    bench.submit(4, args!["GET", "a"]);
    let outputs = bench.answer(&(told("unsubscribe", 0) + "+v\r\n"));
    assert_eq!(outputs.last().map(String::as_str), Some("4 v"));
    assert_eq!(bench.connection.health(bench.now).subscriptions, 0);
}
