use super::*;

/// Queues `text`, has `count` commands of it taken, and withdraws the rest; then says what else the
/// connection gets.
fn withdrawn(
    line: &mut Line,
    handle: &mut Handle<Shared>,
    count: usize,
    text: &'static str,
) -> Result<Vec<String>, Ended> {
    let clock = Stopped::default();
    let waiting = begun(handle, &clock, text);
    line.take(count).unwrap();
    drop(waiting);
    let before = line.said.len();
    line.take(100)?;
    Ok(line.said.split_off(before))
}

#[test]
fn what_was_not_submitted_is_withdrawn_command_by_command() {
    let (mut line, mut handle) = Line::new();
    let rest = withdrawn(&mut line, &mut handle, 2, "SET a 1 | SET b 2 | SET c 3");
    assert_eq!(rest, Ok(Vec::new()));
    assert_eq!(line.said, ["SET a 1", "SET b 2"]);
    assert!(!line.dispatcher.demand().waits);
}

#[test]
fn what_lies_between_multi_and_exec_goes_whole_or_not_at_all() {
    let text = "SET a 1 | MULTI | SET b 2 | EXEC | SET c 3 | MULTI | SET d 4 | EXEC";
    let whole: &[&[&str]] = &[
        &[],
        &[],
        &["SET b 2", "EXEC"],
        &["EXEC"],
        &[],
        &[],
        &["SET d 4", "EXEC"],
        &["EXEC"],
        &[],
    ];
    for (count, rest) in whole.iter().enumerate() {
        let (mut line, mut handle) = Line::new();
        // Others may be there.
        let _other = handle.another();
        let said = withdrawn(&mut line, &mut handle, count, text).unwrap();
        assert_eq!(said, *rest, "{count}");
        // Nothing is left of it.
        let clock = Stopped::default();
        let mut next = begun(&mut handle, &clock, "GET a");
        line.take(1).unwrap();
        line.answer(line.tags.len() - 1, "+1\r\n");
        assert!(next.as_mut().poll(&mut cx()).is_ready());
    }
}

#[test]
fn a_transaction_of_many_calls_of_which_one_is_withdrawn_comes_to_nothing() {
    for (first, text) in [("MULTI", "SET a 1"), ("MULTI", "EXEC"), ("WATCH k", "WATCH l")] {
        let (mut line, mut handle) = Line::new();
        let clock = Stopped::default();
        let waiting = begun(&mut handle, &clock, first);
        line.take(1).unwrap();
        line.answer(0, "+OK\r\n");
        drop(waiting);
        // The connection must not serve anybody else.
        assert_eq!(withdrawn(&mut line, &mut handle, 0, text), Err(Ended::Abandoned), "{text}");
        line.dispatcher.disconnected(CloseReason::Closed);
        let error = refused(&mut handle, "SET b 2 | EXEC");
        assert!(matches!(error, Error::StateLost), "{error}");
        // It was told, and begins again.
        let waiting = begun(&mut handle, &clock, "MULTI");
        line.take(1).unwrap();
        drop(waiting);
        assert!(handle.has_session());
    }
}

#[test]
fn a_transaction_that_is_withdrawn_as_a_whole_leaves_the_watch_before_it() {
    let (mut line, mut handle) = Line::new();
    let clock = Stopped::default();
    drop_answered(&mut line, &mut handle, "WATCH k");
    assert_eq!(withdrawn(&mut line, &mut handle, 0, "MULTI | SET k 1 | EXEC"), Ok(Vec::new()));
    // What is read under a WATCH doesn't concern it either.
    assert_eq!(withdrawn(&mut line, &mut handle, 0, "GET k"), Ok(Vec::new()));
    assert!(handle.has_session());
    let _waiting = begun(&mut handle, &clock, "MULTI | SET k 1 | EXEC");
    line.take(3).unwrap();
    assert_eq!(line.said, ["WATCH k", "MULTI", "SET k 1", "EXEC"]);
}

#[test]
fn a_watch_of_a_pipeline_that_was_withdrawn_keeps_nobody_out() {
    let (mut line, mut handle) = Line::new();
    let (mut other, clock) = (handle.another(), Stopped::default());
    let text = "WATCH k | MULTI | SET k 1 | EXEC";
    assert_eq!(withdrawn(&mut line, &mut handle, 1, text), Ok(Vec::new()));
    let _waiting = begun(&mut other, &clock, "GET k");
    let _other = begun(&mut handle, &clock, "GET k");
    line.take(2).unwrap();
    assert_eq!(line.said, ["WATCH k", "GET k", "GET k"]);
}

/// Sends a command and has it answered.
fn drop_answered(line: &mut Line, handle: &mut Handle<Shared>, text: &'static str) {
    let clock = Stopped::default();
    let mut waiting = begun(handle, &clock, text);
    line.take(1).unwrap();
    line.answer(line.tags.len() - 1, "+OK\r\n");
    assert!(waiting.as_mut().poll(&mut cx()).is_ready());
}

#[test]
fn the_commands_of_others_stay_as_they_are_and_in_their_order() {
    let (mut line, first) = Line::new();
    let clock = Stopped::default();
    let mut handles: Vec<_> = (0..40).map(|_| first.another()).collect();
    let mut waiting: Vec<_> = handles
        .iter_mut()
        .enumerate()
        .map(|(at, handle)| {
            let text = if at % 2 == 0 { "SET key a-long-value | GET key" } else { "GET k" };
            (at, begun(handle, &clock, text))
        })
        .collect();
    line.take(5).unwrap();
    waiting.retain(|(at, _)| at % 4 == 1 || *at == 4);
    line.take(100).unwrap();
    let usual = ["SET key a-long-value", "GET key", "GET k"];
    let mut said: Vec<_> = [usual, ["SET key a-long-value", "GET key", ""]].concat();
    said.pop();
    said.extend(["SET key a-long-value", "GET key"]);
    said.extend(["GET k"; 9]);
    assert_eq!(line.said, said);
}

#[test]
fn who_has_gone_for_good_has_withdrawn_too() {
    for (count, text, rest) in [
        (0, "SET a 1", Ok(0)),
        (1, "MULTI | SET b 2 | EXEC", Ok(2)),
        (1, "MULTI | SET b 2", Err(Ended::Abandoned)),
        (0, "MULTI | SET b 2", Ok(0)),
    ] {
        let (mut line, mut handle) = Line::new();
        let clock = Stopped::default();
        let waiting = begun(&mut handle, &clock, text);
        line.take(count).unwrap();
        drop(waiting);
        // It came later.
        let mut other = handle.another();
        drop(handle);
        let before = line.said.len();
        let taken = line.take(100).map(|_| line.said.len() - before);
        assert_eq!(taken, rest, "{text}");
        if taken.is_err() {
            line.dispatcher.disconnected(CloseReason::Closed);
        }
        let _next = begun(&mut other, &clock, "GET a");
        line.take(1).unwrap();
        assert_eq!(line.said.last().unwrap(), "GET a");
    }
}

#[test]
fn what_many_handles_took_is_given_back_when_they_have_gone() {
    let (mut line, mut first) = Line::new();
    let clock = Stopped::default();
    let mut others: Vec<_> = (0..1000).map(|_| first.another()).collect();
    let mut kept = others.swap_remove(100);
    for handle in &mut others {
        drop_answered(&mut line, handle, "GET a");
    }
    let many = first.queue().room();
    drop(others);
    line.dispatcher.deliver().give_back();
    let few = first.queue().room();
    assert!(few < many / 5, "{few} of {many}");
    // All that are there have a slot of their own.
    let (mut next, mut last) = (first.another(), first.another());
    let handles = [&mut first, &mut kept, &mut next, &mut last];
    let waiting: Vec<_> = handles
        .into_iter()
        .zip(["GET 0", "GET 1", "GET 2", "GET 3"])
        .map(|(handle, text)| begun(handle, &clock, text))
        .collect();
    let before = line.said.len();
    line.take(4).unwrap();
    for (at, mut waiting) in waiting.into_iter().enumerate() {
        assert!(waiting.as_mut().poll(&mut cx()).is_pending());
        line.answer(before + at, "+OK\r\n");
        assert!(waiting.as_mut().poll(&mut cx()).is_ready());
    }
}
