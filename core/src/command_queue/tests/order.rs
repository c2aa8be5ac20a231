//! What is sent again, and what must not be overtaken.

use super::*;

const NO_LOGIN: &str = "-NOAUTH no\r\n";

#[test]
fn what_was_not_sent_waits_for_the_next_connection_before_those_that_came_later() {
    let mut bench = Bench::new();
    let [a, b, c] = ["A", "B", "C"].map(|word| bench.enter(word, None));
    bench.take(2);
    bench.lose(0, UNKNOWN);
    bench.lose(1, NOT_SENT);
    bench.queue.disconnected(BROKEN);
    let d = bench.enter("D", None);
    assert_eq!(bench.error(&a), CommandError::Lost(UNKNOWN));
    assert!(b.woken.take());
    // The others wait for it.
    assert_eq!([&c, &d].map(|task| bench.poll(task)), [None, None]);
    bench.take(9);
    assert_eq!(bench.said.len(), 2);
    assert_eq!([&b, &c, &d].map(|task| bench.poll(task)), [None, None, None]);
    bench.take(9);
    assert_eq!(bench.said, ["A", "B", "B", "C", "D"]);
}

#[test]
fn what_is_refused_for_want_of_a_login_is_sent_again_once_and_in_order() {
    let mut bench = Bench::new();
    let [a, b, c] = ["A", "B", "C"].map(|word| bench.enter(word, None));
    bench.take(2);
    bench.answer(0, NO_LOGIN);
    bench.answer(1, NO_LOGIN);
    assert_eq!([&a, &b, &c].map(|task| bench.poll(task)), [None, None, None]);
    bench.take(9);
    assert_eq!(bench.said, ["A", "B", "A", "B", "C"]);
    bench.answer(2, NO_LOGIN);
    assert_eq!(bench.reply(&a), "NOAUTH");
    bench.answer(3, "+b\r\n");
    assert_eq!(bench.reply(&b), "b");
}

#[test]
fn what_a_later_command_has_overtaken_is_not_sent_again() {
    for later in ["+c\r\n", "-ERR c\r\n"] {
        let mut bench = Bench::new();
        let [a, b, c] = ["A", "B", "C"].map(|word| bench.enter(word, None));
        bench.take(9);
        bench.answer(0, NO_LOGIN);
        bench.answer(1, NO_LOGIN);
        assert_eq!(bench.poll(&a), None);
        // Even if nobody waits for its reply.
        bench.drop(&c);
        bench.answer(2, later);
        assert_eq!([&a, &b].map(|task| bench.reply(task)), ["NOAUTH", "NOAUTH"]);
        bench.take(9);
        assert_eq!(bench.said, ["A", "B", "C"]);
    }
    let mut bench = Bench::new();
    let [a, _b] = ["A", "B"].map(|word| bench.enter(word, None));
    bench.take(9);
    bench.answer(0, NO_LOGIN);
    bench.lose(1, UNKNOWN);
    assert_eq!(bench.reply(&a), "NOAUTH");
}

#[test]
fn who_is_not_sent_again_in_time_knows_what_the_server_said() {
    let mut bench = Bench::new();
    let [a, b] = ["A", "B"].map(|word| bench.enter(word, None));
    bench.take(9);
    bench.answer(0, NO_LOGIN);
    bench.answer(1, NO_LOGIN);
    assert_eq!(bench.poll(&b), None);
    bench.pass(SECOND * 5);
    assert_eq!([&a, &b].map(|task| bench.reply(task)), ["NOAUTH", "NOAUTH"]);
    bench.take(9);
    assert_eq!(bench.said, ["A", "B"]);
}

#[test]
fn who_comes_back_too_late_waits_for_no_other_connection() {
    let mut bench = Bench::new();
    let a = bench.enter("A", None);
    bench.pass(SECOND * 4);
    bench.take(9);
    bench.pass(SECOND);
    // Its reply had time yet.
    assert_eq!(bench.poll(&a), None);
    bench.lose(0, NOT_SENT);
    assert_eq!(bench.error(&a), CommandError::Unavailable);
}

#[test]
fn who_is_late_holds_nobody_up() {
    let mut bench = Bench::new();
    let a = bench.enter("A", Some(SECOND));
    let b = bench.enter("B", None);
    bench.take(9);
    bench.lose(0, NOT_SENT);
    bench.lose(1, NOT_SENT);
    bench.pass(SECOND);
    assert_eq!(bench.poll(&b), None);
    bench.take(9);
    assert_eq!(bench.said, ["A", "B", "B"]);
    assert_eq!(bench.error(&a), CommandError::Unavailable);
}

#[test]
fn what_a_connection_has_left_unanswered_may_have_been_executed() {
    let mut bench = Bench::new();
    let [a, b] = ["A", "B"].map(|word| bench.enter(word, None));
    bench.take(1);
    bench.queue.disconnected(BROKEN);
    bench.wake();
    assert!(a.woken.take() && !b.woken.take());
    assert_eq!(bench.error(&a), CommandError::Lost(UNKNOWN));
    assert_eq!(bench.poll(&b), None);
}

#[test]
fn the_tags_of_others_mean_nothing() {
    let mut bench = Bench::new();
    let a = bench.enter("A", None);
    bench.take(1);
    bench.tags.push(Tag::MAX);
    bench.answer(1, "+OK\r\n");
    bench.answer(0, NO_LOGIN);
    assert_eq!(bench.poll(&a), None);
    bench.take(1);
    assert_eq!(bench.said, ["A", "A"]);
}
