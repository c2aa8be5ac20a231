use std::vec;

use super::*;
use redis_entraid_core::connection::Outcome;

const PATIENT: Duration = Duration::from_secs(60);

/// Begins to wait for a pipeline that has `limit`.
fn limited<'h>(
    handle: &'h mut Handle<Shared>,
    clock: &'h Stopped,
    limit: Duration,
    text: &'static str,
) -> Pin<Box<dyn Future<Output = Result<(), Error>> + 'h>> {
    let mut waiting = Box::pin(async move {
        let commands = words(text);
        handle.execute_all(clock, Some(limit), commands.iter().map(Vec::as_slice)).await
    });
    assert!(waiting.as_mut().poll(&mut cx()).is_pending(), "{text}");
    waiting
}

fn outcomes(handle: &Handle<Shared>) -> Vec<Outcome> {
    (0..handle.replies()).map(|at| handle.pick(at).unwrap_err().outcome()).collect()
}

#[test]
fn each_command_has_its_own_time_wherever_it_stands_in_line() {
    let (mut line, mut usual) = Line::new();
    let (mut patient, mut hasty) = (usual.another(), usual.another());
    let clock = Stopped::default();
    let mut first = begun(&mut usual, &clock, "GET usual");
    let mut second = limited(&mut patient, &clock, PATIENT, "GET patient");
    let mut third = limited(&mut hasty, &clock, Duration::from_secs(1), "GET hasty");
    let mut left = [1000, 5000, 60_000].map(Instant::from_millis).into_iter();
    for waiting in [&mut third, &mut first, &mut second] {
        let due = left.next().unwrap();
        line.dispatcher.expire(due.minus(Duration::from_millis(1)), || None);
        assert!(line.dispatcher.deadline() <= due && waiting.as_mut().poll(&mut cx()).is_pending());
        line.dispatcher.expire(due, || None);
        assert!(line.dispatcher.deadline() > due && waiting.as_mut().poll(&mut cx()).is_ready());
    }
    assert_eq!(line.dispatcher.demand(), QueueDemand::default());
    drop((first, second, third));
    assert_eq!(outcomes(&hasty), [Outcome::NotSent]);
}

fn is_news(line: &Line, known: QueueDemand) -> bool {
    line.dispatcher.poll_demand(&cx(), known).is_ready()
}

#[test]
fn what_is_not_known_of_those_who_wait_is_news() {
    let (mut line, mut usual) = Line::new();
    let (mut hasty, mut third) = (usual.another(), usual.another());
    let clock = Stopped::default();
    let nothing = QueueDemand::default();
    assert!(!is_news(&line, nothing));
    let first = begun(&mut usual, &clock, "GET usual");
    let usual = line.dispatcher.demand();
    assert!(is_news(&line, nothing) && !is_news(&line, usual));
    // Less time than all others have.
    let second = limited(&mut hasty, &clock, Duration::from_secs(1), "GET hasty");
    assert!(is_news(&line, usual) && !is_news(&line, line.dispatcher.demand()));
    // Who has gone may come again, for as long as he might have waited: till then a connection is
    // wanted.
    drop((first, second));
    let (waits, until) = (false, Some(Instant::from_millis(5000)));
    assert!(is_news(&line, usual) && line.dispatcher.demand() == QueueDemand { waits, until });
    let gone = line.dispatcher.demand();
    // He does, and it is until the same time that a caller waits now.
    let again = begun(&mut third, &clock, "GET usual");
    assert!(is_news(&line, gone) && line.dispatcher.demand().waits);
    drop(again);
    line.dispatcher.expire(Instant::from_millis(5000), || None);
    assert!(is_news(&line, gone) && line.dispatcher.demand() == nothing);
}

#[test]
fn waiting_for_a_connection_takes_nothing_from_the_time_for_the_reply() {
    let (mut line, mut usual) = Line::new();
    let mut patient = usual.another();
    let clock = Stopped::default();
    let first = begun(&mut usual, &clock, "GET usual");
    let second = limited(&mut patient, &clock, PATIENT, "GET patient");
    let (mut deadlines, late) = (Vec::new(), Instant::from_millis(4999));
    line.dispatcher
        .submit(&cx(), late, &mut |by, _, _| {
            deadlines.push(by);
            Ok(())
        })
        .unwrap();
    // But the limit of a call is for all of it.
    assert_eq!(deadlines, [late + Duration::from_secs(5), Instant::from_millis(60_000)]);
    drop((first, second));
}

#[test]
fn the_limit_of_a_pipeline_holds_for_what_was_not_submitted_too() {
    let (mut line, mut handle) = Line::new();
    let clock = Stopped::default();
    let mut waiting = limited(&mut handle, &clock, Duration::from_secs(1), "A | B | C");
    line.take(1).unwrap();
    line.dispatcher.expire_behind(Instant::from_millis(1000));
    line.take(100).unwrap();
    line.answer(0, "+one\r\n");
    assert!(waiting.as_mut().poll(&mut cx()).is_ready());
    drop(waiting);
    assert_eq!((line.said.len(), handle.pick(0).unwrap().str()), (1, Ok("one")));
    assert!((1..3).all(|at| handle.pick(at).unwrap_err().outcome() == Outcome::NotSent));
    // Without one each has its time from when its turn comes.
    let mut waiting = begun(&mut handle, &clock, "A | B");
    line.take(1).unwrap();
    line.dispatcher.expire_behind(Instant::from_millis(60_000));
    line.take(1).unwrap();
    line.answer_all(1, "+OK\r\n");
    assert!(waiting.as_mut().poll(&mut cx()).is_ready());
}

#[test]
fn a_transaction_that_has_begun_is_ended_when_its_time_is_over() {
    let (mut line, mut handle) = Line::new();
    let clock = Stopped::default();
    let mut waiting = limited(&mut handle, &clock, Duration::from_secs(1), "MULTI | A | EXEC | B");
    line.take(1).unwrap();
    line.answer(0, "+OK\r\n");
    line.dispatcher.expire_behind(Instant::from_millis(1000));
    assert!(waiting.as_mut().poll(&mut cx()).is_ready());
    drop(waiting);
    // Nobody knows what the server makes of it.
    let said: Vec<_> = (1..4).map(|at| handle.pick(at).unwrap_err().outcome()).collect();
    assert_eq!(said, [Outcome::Unknown, Outcome::Unknown, Outcome::NotSent]);
    line.take(100).unwrap();
    assert_eq!(line.said, ["MULTI", "A", "EXEC"]);
    // The late replies are nobody's.
    let mut waiting = begun(&mut handle, &clock, "C");
    line.take(1).unwrap();
    line.answer_all(1, "+late\r\n");
    assert!(waiting.as_mut().poll(&mut cx()).is_ready());
}

#[test]
fn who_hears_that_nothing_of_a_transaction_was_sent_may_go_on_at_once() {
    let late = |line: &mut Line| line.dispatcher.expire(Instant::from_millis(60_000), || None);
    let hopeless = |line: &mut Line| line.dispatcher.refuse(|| None);
    for fails in [late as fn(&mut Line), hopeless] {
        let (mut line, mut handle) = Line::new();
        let clock = Stopped::default();
        let mut waiting = begun(&mut handle, &clock, "MULTI");
        fails(&mut line);
        assert!(waiting.as_mut().poll(&mut cx()).is_ready());
        drop(waiting);
        assert_eq!((outcomes(&handle), handle.has_session()), (vec![Outcome::NotSent], false));
        drop(begun(&mut handle, &clock, "GET a"));
        // What fails behind a `MULTI` that was sent is another matter: an `EXEC` would find nothing.
        let waiting = begun(&mut handle, &clock, "MULTI");
        line.take(1).unwrap();
        line.answer(0, "+OK\r\n");
        drop(waiting);
        let waiting = begun(&mut handle, &clock, "SET a 1");
        fails(&mut line);
        drop(waiting);
        assert!(matches!(refused(&mut handle, "EXEC"), Error::StateLost));
    }
}
