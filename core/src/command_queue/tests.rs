//! Tasks, and a connection that takes as many commands as it is told to.

mod model;
mod order;
mod room;

use std::string::{String, ToString};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::vec::Vec;

use super::*;
use crate::args;
use crate::close::{CloseReason, TransportFailure};
use crate::connection::{Output, ReplyTooLarge, SubmitError, Tag};
use crate::resp::Value;

const SECOND: Duration = Duration::from_secs(1);
const BROKEN: CloseReason = CloseReason::Broken(TransportFailure::Reset);
const NOT_SENT: Lost = Lost::new(Outcome::NotSent, Some(BROKEN));
const UNKNOWN: Lost = Lost::new(Outcome::Unknown, Some(BROKEN));

/// Whether it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What waits, and is woken.
#[derive(Clone)]
struct Woken(Arc<Flag>, Waker);

impl Woken {
    fn new() -> Self {
        let flag = Arc::new(Flag::default());
        Self(flag.clone(), Waker::from(flag))
    }

    fn cx(&self) -> Context<'_> {
        Context::from_waker(&self.1)
    }

    /// Whether it was woken since the last time.
    fn take(&self) -> bool {
        self.0.0.swap(false, Ordering::Relaxed)
    }
}

/// A queue of four commands with 64 bytes for commands and 32 for replies, and what drives it.
struct Bench {
    now: Instant,
    queue: CommandQueue<'static>,
    driver: Woken,
    /// What the connection was given.
    tags: Vec<Tag>,
    said: Vec<String>,
}

/// A task that waits for the reply to one word.
struct Task {
    word: &'static str,
    ticket: Ticket,
    woken: Woken,
}

impl Bench {
    fn new() -> Self {
        let slots = [const { CommandSlot::new() }; 4].to_vec_leaked();
        let limits = Limits { queue: SECOND * 5, reply: SECOND * 5 };
        let memory = |len| std::vec![0; len].leak();
        let queue = CommandQueue::new(slots, memory(64), memory(32), limits);
        let (now, driver) = (Instant::from_millis(0), Woken::new());
        Self { now, queue, driver, tags: Vec::new(), said: Vec::new() }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    fn wake(&mut self) {
        while let Some(waker) = self.queue.next_waker() {
            waker.wake();
        }
    }

    /// Enters a command of one word, and begins to wait for its reply.
    fn enter(&mut self, word: &'static str, limit: Option<Duration>) -> Task {
        let ticket = self.queue.enter(self.now, limit, args![word]).unwrap();
        let task = Task { word, ticket, woken: Woken::new() };
        assert_eq!(self.poll(&task), None, "{word}");
        task
    }

    fn refused(&mut self, args: &[Arg<'_>]) -> CommandError {
        self.queue.enter(self.now, None, args).unwrap_err()
    }

    /// What a task has, as text.
    fn poll(&mut self, task: &Task) -> Option<Result<String, CommandError>> {
        let mut room = [0; 64];
        let Task { word, ticket, woken } = task;
        let polled = self.queue.poll(self.now, &woken.cx(), ticket, args![*word], &mut room);
        self.wake();
        match polled {
            Poll::Pending => None,
            Poll::Ready(answer) => Some(answer.map(|len| {
                let value = Value::new(&room[..len]).unwrap();
                match value.error() {
                    Some(error) => error.code().to_string(),
                    None => value.str().unwrap().to_string(),
                }
            })),
        }
    }

    fn reply(&mut self, task: &Task) -> String {
        self.poll(task).unwrap().unwrap()
    }

    fn error(&mut self, task: &Task) -> CommandError {
        self.poll(task).unwrap().unwrap_err()
    }

    fn drop(&mut self, task: &Task) {
        self.queue.withdraw(&task.ticket);
        self.wake();
    }

    /// Gives so many commands to the connection.
    fn take(&mut self, count: usize) {
        let Self { now, queue, driver, tags, said } = self;
        let end = said.len() + count;
        queue.submit(*now, &driver.cx(), |_, tag, command| {
            if said.len() == end {
                return Err(SubmitError::Full);
            }
            let words = Value::new(command.bytes()).unwrap().items();
            said.push(words.map(|word| word.str().unwrap()).collect::<Vec<_>>().join(" "));
            tags.push(tag);
            Ok(())
        });
        self.wake();
    }

    fn output(&mut self, output: &Output<'_>) {
        self.queue.output(output);
        self.wake();
    }

    /// Answers command number `at` of those that the connection was given.
    fn answer(&mut self, at: usize, raw: &str) {
        let reply = Ok(Value::framed(raw.as_bytes()));
        self.output(&Output::Reply { tag: self.tags[at], reply });
    }

    fn lose(&mut self, at: usize, lost: Lost) {
        self.output(&Output::Lost { tag: self.tags[at], lost });
    }

    /// Whether there is room for a reply to command number `at`.
    fn has_room(&mut self, at: usize, raw: &str) -> bool {
        let reply = Ok(Value::framed(raw.as_bytes()));
        let output = Output::Reply { tag: self.tags[at], reply };
        let polled = self.queue.poll_room(&self.driver.cx(), &output);
        self.wake();
        polled.is_ready()
    }
}

/// Keeps an array for ever.
trait Leaked<T> {
    fn to_vec_leaked(self) -> &'static mut [T];
}

impl<T, const N: usize> Leaked<T> for [T; N] {
    fn to_vec_leaked(self) -> &'static mut [T] {
        Vec::from(self).leak()
    }
}

#[test]
fn a_slot_takes_as_many_bytes_as_the_documentation_says() {
    // On a 32-bit machine the waker is smaller.
    assert!(size_of::<CommandSlot>() <= 72, "{}", size_of::<CommandSlot>());
}

#[test]
fn replies_are_fetched_in_any_order_and_each_task_is_woken_for_its_own() {
    let mut bench = Bench::new();
    let [a, b, c] = ["A", "B", "C"].map(|word| bench.enter(word, None));
    assert!(!bench.driver.take());
    bench.take(9);
    bench.answer(0, "+a\r\n");
    bench.answer(1, "+b\r\n");
    assert!(a.woken.take() && b.woken.take() && !c.woken.take());
    assert_eq!((bench.reply(&b), bench.poll(&c)), ("b".to_string(), None));
    bench.answer(2, "-ERR c\r\n");
    assert_eq!((bench.reply(&c), bench.reply(&a)), ("ERR".to_string(), "a".to_string()));
    assert!(bench.queue.is_empty());
}

#[test]
fn the_driver_is_woken_for_a_command() {
    let mut bench = Bench::new();
    bench.take(9);
    let _a = bench.enter("A", None);
    assert!(bench.driver.take() && bench.queue.is_waiting());
    bench.take(9);
    assert!(!bench.queue.is_waiting() && !bench.driver.take());
}

#[test]
fn what_needs_a_connection_of_its_own_is_refused() {
    let mut bench = Bench::new();
    for (command, refused) in [
        (args!["MULTI"], CommandRefused::Shared),
        (args!["WATCH", "k"], CommandRefused::Shared),
        (args!["SUBSCRIBE", "c"], CommandRefused::Subscription),
        (args!["UNSUBSCRIBE"], CommandRefused::Subscription),
        (args!["AUTH", "me", "token"], CommandRefused::Login),
    ] {
        assert_eq!(bench.refused(command), CommandError::Refused(refused));
    }
    assert!(bench.queue.is_empty());
}

#[test]
fn who_finds_no_slot_is_told_at_once() {
    let mut bench = Bench::new();
    let [a, ..] = ["A", "B", "C", "D"].map(|word| bench.enter(word, None));
    assert_eq!(bench.refused(args!["E"]), CommandError::Busy);
    bench.drop(&a);
    bench.enter("E", None);
}

#[test]
fn what_waits_when_its_time_is_over_is_never_sent() {
    let mut bench = Bench::new();
    let queue = bench.enter("QUEUE", None);
    let limited = bench.enter("LIMITED", Some(SECOND));
    bench.pass(SECOND - Duration::from_millis(1));
    assert_eq!(bench.poll(&limited), None);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.error(&limited), CommandError::Unavailable);
    bench.pass(SECOND * 4);
    // Nobody has polled it so far.
    bench.take(9);
    assert!(queue.woken.take() && bench.said.is_empty());
    assert_eq!(bench.error(&queue).outcome(), Outcome::NotSent);
}

#[test]
fn a_reply_has_a_limit_of_its_own_and_a_block_comes_on_top() {
    let mut bench = Bench::new();
    let blpop = args!["BLPOP", "k", 3];
    let blocking = bench.queue.enter(bench.now, Some(SECOND), blpop).unwrap();
    let (mut room, woken) = ([0; 32], Woken::new());
    assert!(bench.queue.poll(bench.now, &woken.cx(), &blocking, blpop, &mut room).is_pending());
    let usual = bench.enter("USUAL", None);
    bench.pass(SECOND / 2);
    bench.take(9);
    let deadline = |bench: &Bench, ticket| bench.queue.deadline(ticket).as_millis();
    assert_eq!(deadline(&bench, &blocking), 4000);
    assert_eq!(deadline(&bench, &usual.ticket), 5500);
    bench.pass(SECOND * 5);
    let late = CommandError::Lost(Lost::new(Outcome::Unknown, None));
    assert_eq!(bench.error(&usual), late);
}

#[test]
fn the_reply_of_who_has_gone_is_nobody_elses() {
    let mut bench = Bench::new();
    let [a, b] = ["A", "B"].map(|word| bench.enter(word, None));
    bench.take(1);
    bench.drop(&a);
    bench.drop(&b);
    let c = bench.enter("C", None);
    bench.take(9);
    assert_eq!(bench.said, ["A", "C"]);
    bench.answer(0, "+a\r\n");
    assert_eq!(bench.poll(&c), None);
    bench.answer(1, "+c\r\n");
    assert_eq!(bench.reply(&c), "c");
}

#[test]
fn what_a_connection_never_takes_fails_alone() {
    let mut bench = Bench::new();
    let [a, b] = ["A", "B"].map(|word| bench.enter(word, None));
    let mut first = true;
    bench.queue.submit(bench.now, &bench.driver.cx(), |_, _, _| {
        let refused = Err(SubmitError::Refused(CommandRefused::Blocking));
        if core::mem::take(&mut first) { refused } else { Ok(()) }
    });
    assert_eq!(bench.error(&a), CommandError::Refused(CommandRefused::Blocking));
    assert_eq!(bench.poll(&b), None);
}

#[test]
fn nobody_waits_for_a_queue_that_is_closed() {
    let mut bench = Bench::new();
    let [a, b] = ["A", "B"].map(|word| bench.enter(word, None));
    bench.take(1);
    bench.queue.close();
    bench.wake();
    assert!(a.woken.take() && b.woken.take());
    assert_eq!(bench.error(&a), CommandError::Lost(Lost::new(Outcome::Unknown, None)));
    assert_eq!(bench.error(&b), CommandError::Closed);
    assert_eq!(bench.refused(args!["C"]), CommandError::Closed);
}
