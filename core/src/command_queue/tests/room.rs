//! Memory that is full.

use super::*;

const TEN: &str = "$4\r\nfour\r\n";

#[test]
fn a_full_memory_stops_the_connection_until_a_reply_is_fetched() {
    let mut bench = Bench::new();
    let [a, b, c, d] = ["A", "B", "C", "D"].map(|word| bench.enter(word, None));
    bench.take(9);
    (0..3).for_each(|at| bench.answer(at, TEN));
    assert!(!bench.has_room(3, TEN) && !bench.driver.take());
    // In whatever order.
    assert_eq!(bench.reply(&b), "four");
    assert!(bench.driver.take() && bench.has_room(3, TEN));
    bench.answer(3, "$4\r\nlast\r\n");
    assert_eq!([&a, &c, &d].map(|task| bench.reply(task)), ["four", "four", "last"]);
}

#[test]
fn a_reply_that_waits_for_room_waits_no_longer_than_its_task() {
    let mut bench = Bench::new();
    let [a, b] = ["A", "B"].map(|word| bench.enter(word, None));
    bench.take(9);
    let large = "$20\r\naaaaaaaaaaaaaaaaaaaa\r\n";
    bench.answer(0, large);
    assert!(!bench.has_room(1, large));
    // Its time limit is its task's business now.
    assert!(b.woken.take());
    assert_eq!(bench.poll(&b), None);
    bench.pass(SECOND * 5);
    assert_eq!(bench.error(&b), CommandError::Lost(Lost::new(Outcome::Unknown, None)));
    assert!(bench.driver.take() && bench.has_room(1, large));
    bench.answer(1, large);
    assert_eq!(bench.reply(&a).len(), 20);
    assert!(bench.queue.is_empty());
}

#[test]
fn a_reply_that_never_fits_is_an_error_for_its_command_alone() {
    let mut bench = Bench::new();
    let [a, b] = ["A", "B"].map(|word| bench.enter(word, None));
    bench.take(9);
    let large = "$40\r\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    assert!(bench.has_room(0, large));
    bench.answer(0, large);
    bench.answer(1, "+b\r\n");
    let error = bench.error(&a);
    let too_large = ReplyTooLarge { size: 47, capacity: 32 };
    let expected = (CommandError::ReplyTooLarge(too_large), Outcome::Unknown);
    assert_eq!((error, error.outcome()), expected);
    assert_eq!(bench.reply(&b), "b");
}

#[test]
fn commands_wait_for_room_in_their_order() {
    let mut bench = Bench::new();
    let long = "A-COMMAND-THAT-TAKES-UP-MOST-OF-THE-ROOM";
    // `C` would fit, but `B` was there before.
    let [a, b, c] = [long, long, "C"].map(|word| bench.enter(word, None));
    bench.take(9);
    assert_eq!(bench.said, [long]);
    assert!(b.woken.take() && !c.woken.take());
    assert_eq!(bench.poll(&b), None);
    assert!(c.woken.take() && bench.driver.take());
    assert_eq!(bench.poll(&c), None);
    bench.take(9);
    assert_eq!(bench.said, [long, long, "C"]);
    assert_eq!(bench.poll(&a), None);
}

#[test]
fn whose_turn_does_not_come_in_time_is_told_that_others_took_it() {
    let mut bench = Bench::new();
    let long = "A-COMMAND-THAT-TAKES-UP-MOST-OF-THE-ROOM";
    let [a, b] = [long, long].map(|word| bench.enter(word, None));
    bench.pass(SECOND * 5);
    assert_eq!(bench.error(&b), CommandError::Busy);
    assert_eq!(bench.error(&a), CommandError::Unavailable);
}

#[test]
fn what_does_not_fit_is_an_error_that_names_the_buffer() {
    let mut bench = Bench::new();
    let large = bench.refused(args!["SET", "k", &[b'v'; 64]]);
    let error = CapacityError::new(Buffer::Transmit, 91, 64);
    assert_eq!((large, large.outcome()), (CommandError::TooLarge(error), Outcome::NotSent));
    let a = bench.enter("A", None);
    bench.take(1);
    bench.answer(0, TEN);
    let mut room = [0; 9];
    let fetched = bench.queue.poll(bench.now, &a.woken.cx(), &a.ticket, args!["A"], &mut room);
    let error = CommandError::TooLarge(CapacityError::new(Buffer::Receive, 10, 9));
    // It was executed.
    assert_eq!((fetched, error.outcome()), (Poll::Ready(Err(error)), Outcome::Unknown));
}
