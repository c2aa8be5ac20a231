use super::*;

const NOAUTH: &str = "-NOAUTH Authentication required.\r\n";
const ABORT: &str =
    "-EXECABORT Transaction discarded because of: NOAUTH Authentication required.\r\n";

/// Sends `text`, of which `count` commands are taken and answered by `said`; then says what comes
/// behind the login, which is answered by `OK`, and what the caller has of it all.
fn repeated(
    line: &mut Line,
    handle: &mut Handle<Shared>,
    text: &'static str,
    count: usize,
    said: &[&str],
) -> (Vec<String>, Vec<String>) {
    let clock = Stopped::default();
    let mut waiting = begun(handle, &clock, text);
    let (before, _) = (line.said.len(), line.take(count).unwrap());
    said.iter().enumerate().for_each(|(at, reply)| line.answer(before + at, reply));
    let after = line.said.len();
    if waiting.as_mut().poll(&mut cx()).is_pending() {
        line.take(100).unwrap();
        line.answer_all(after, "+OK\r\n");
        assert!(waiting.as_mut().poll(&mut cx()).is_ready(), "{text}");
    }
    drop(waiting);
    (line.said.split_off(after), replies(handle))
}

#[test]
fn what_was_not_executed_for_want_of_a_login_is_repeated_once_and_in_order() {
    for (count, said) in [
        // All were under way; or the last ones still waited, and must not overtake the others.
        (4, &["+one\r\n", NOAUTH, NOAUTH, NOAUTH][..]),
        (2, &["+one\r\n", NOAUTH]),
    ] {
        let (mut line, mut handle) = Line::new();
        let _other = handle.another();
        let (again, got) = repeated(&mut line, &mut handle, "A | B | C | D", count, said);
        assert_eq!(again, ["B", "C", "D"]);
        assert_eq!(got, ["one", "OK", "OK", "OK"]);
    }
}

#[test]
fn what_may_have_been_executed_is_not_repeated() {
    let (mut line, mut handle) = Line::new();
    let (again, got) = repeated(&mut line, &mut handle, "A | B", 2, &[NOAUTH, "+two\r\n"]);
    assert_eq!((again, got[1].as_str()), (Vec::new(), "two"));
    assert!(got[0].starts_with("NOAUTH"), "{got:?}");
}

#[test]
fn a_transaction_is_repeated_as_a_whole() {
    let text = "A | MULTI | B | EXEC | C";
    for said in [
        ["+a\r\n", "+OK\r\n", NOAUTH, ABORT, NOAUTH],
        ["+a\r\n", "+OK\r\n", "+QUEUED\r\n", NOAUTH, NOAUTH],
        ["+a\r\n", NOAUTH, NOAUTH, NOAUTH, NOAUTH],
    ] {
        let (mut line, mut handle) = Line::new();
        let _other = handle.another();
        let (again, got) = repeated(&mut line, &mut handle, text, 5, &said);
        assert_eq!(again, ["MULTI", "B", "EXEC", "C"]);
        assert_eq!(got, ["a", "OK", "OK", "OK", "OK"]);
    }
    // It was executed, all of it or in part.
    for said in [
        ["+a\r\n", "+OK\r\n", NOAUTH, "*0\r\n", NOAUTH],
        ["+a\r\n", NOAUTH, "+b\r\n", "-ERR EXEC without MULTI\r\n", NOAUTH],
    ] {
        let (mut line, mut handle) = Line::new();
        let clock = Stopped::default();
        let mut waiting = begun(&mut handle, &clock, text);
        line.take(5).unwrap();
        said.iter().enumerate().for_each(|(at, reply)| line.answer(at, reply));
        assert!(waiting.as_mut().poll(&mut cx()).is_ready());
        assert!(!line.dispatcher.demand().waits);
    }
}

#[test]
fn a_transaction_of_many_calls_is_lost_with_the_login() {
    for (first, text, said) in [
        ("MULTI", "B", &[NOAUTH][..]),
        ("MULTI", "B | EXEC", &[NOAUTH, ABORT]),
        ("MULTI", "EXEC", &[NOAUTH]),
        // The keys may not be watched any more.
        ("WATCH k", "MULTI | B | EXEC", &[NOAUTH, NOAUTH, NOAUTH]),
    ] {
        let (mut line, mut handle) = Line::new();
        assert_eq!(repeated(&mut line, &mut handle, first, 1, &["+OK\r\n"]).1, ["OK"]);
        let (again, got) = repeated(&mut line, &mut handle, text, said.len(), said);
        assert!(again.is_empty(), "{text}: {again:?}");
        assert!(got.iter().all(|error| error == &Error::StateLost.to_string()), "{got:?}");
        assert!(!handle.has_session());
    }
    // Where nothing of it has begun, there is nothing to lose.
    let (mut line, mut handle) = Line::new();
    assert_eq!(repeated(&mut line, &mut handle, "MULTI", 1, &[NOAUTH]).1, ["OK"]);
    assert!(handle.has_session());
}

#[test]
fn a_server_that_always_says_so_is_believed_the_second_time() {
    let (mut line, mut handle) = Line::new();
    let clock = Stopped::default();
    let mut waiting = begun(&mut handle, &clock, "A | B");
    for round in 0..2 {
        line.take(100).unwrap();
        line.answer_all(round * 2, NOAUTH);
        assert_eq!(waiting.as_mut().poll(&mut cx()).is_ready(), round == 1);
    }
    drop(waiting);
    assert_eq!(line.said, ["A", "B", "A", "B"]);
    assert!(replies(&handle).iter().all(|said| said.starts_with("NOAUTH")), "{handle:?}");
}

#[test]
fn who_is_not_heard_again_knows_what_the_server_said() {
    let (mut line, mut handle) = Line::new();
    let clock = Stopped::default();
    let mut waiting = begun(&mut handle, &clock, "A");
    line.take(1).unwrap();
    line.answer(0, NOAUTH);
    assert!(waiting.as_mut().poll(&mut cx()).is_pending());
    // No login comes.
    line.dispatcher.expire_behind(Instant::from_millis(5000));
    assert!(waiting.as_mut().poll(&mut cx()).is_ready());
    drop(waiting);
    assert_eq!(replies(&handle), ["NOAUTH Authentication required."]);
}

#[test]
fn what_was_executed_before_keeps_its_reply_when_the_rest_cannot_be_repeated() {
    let (mut line, mut handle) = Line::new();
    let clock = Stopped::default();
    let mut waiting = begun(&mut handle, &clock, "A | B | C");
    line.take(3).unwrap();
    line.answer(0, "+one\r\n");
    line.answer(1, NOAUTH);
    line.answer(2, NOAUTH);
    // The task ends before its caller has looked.
    line.dispatcher.end(&Error::Closed);
    assert!(matches!(waiting.as_mut().poll(&mut cx()), Poll::Ready(Ok(()))));
    drop(waiting);
    let not_executed = "NOAUTH Authentication required.";
    assert_eq!(replies(&handle), ["one", not_executed, not_executed]);
}

#[test]
fn what_was_executed_in_a_lost_session_keeps_its_reply() {
    let (mut line, mut handle) = Line::new();
    assert_eq!(repeated(&mut line, &mut handle, "WATCH k", 1, &["+OK\r\n"]).1, ["OK"]);
    let (again, got) = repeated(&mut line, &mut handle, "A | B", 2, &[NOAUTH, "+two\r\n"]);
    assert_eq!((again.len(), got[1].as_str()), (0, "two"));
    assert!(got[0].starts_with("NOAUTH"), "{got:?}");
    // The keys may not be watched any more.
    assert!(matches!(refused(&mut handle, "MULTI | C | EXEC"), Error::StateLost));
}
