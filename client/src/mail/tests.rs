//! A mailbox between who reads and a connection, both played by the test.

use core::cell::RefCell;
use core::future::Future;
use core::ops::Range;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use std::format;
use std::string::{String, ToString};
use std::task::Wake;
use std::time::Instant as Stopwatch;
use std::vec::Vec;

use alloc::sync::Arc;

use super::*;
use redis_entraid_core::auth::Protocol;
use redis_entraid_core::connection::{CloseReason, Lost, Outcome, Output, SubmitError, Tag};
use redis_entraid_core::event::{Event, LostState};
use redis_entraid_core::manager::Generation;
use redis_entraid_core::resp::Arg;

const LOGGED_IN: Event = Event::LoggedIn { generation: Generation(1), protocol: Protocol::Resp3 };
const AGAIN: Event = Event::Reauthenticated { generation: Generation(2) };

struct Desk {
    mailbox: Arc<Mailbox<RefCell<Mail>>>,
    reader: Reader<RefCell<Mail>>,
    line: Line<RefCell<Mail>>,
    /// What the server was told and has not answered.
    told: Vec<(Tag, String)>,
}

impl Desk {
    /// With a connection that has logged in.
    #[allow(clippy::arc_with_non_send_sync)]
    fn new() -> Self {
        let mailbox = Arc::new(Mailbox::new(50_000));
        let (reader, line) = (Reader::new(mailbox.clone()), Line::new(mailbox.clone()));
        let mut desk = Self { mailbox, reader, line, told: Vec::new() };
        desk.happens(LOGGED_IN);
        desk
    }

    fn happens(&mut self, event: Event) {
        self.line.output(Output::Event(event));
    }

    /// What the server is told now.
    fn submit(&mut self) -> Vec<String> {
        let before = self.told.len();
        let told = &mut self.told;
        let mut tell = |tag: Tag, args: &[Arg<'_>]| -> Result<(), SubmitError> {
            let words = args.iter().map(|arg| match arg {
                Arg::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Arg::Int(number) => number.to_string(),
                _ => unreachable!(),
            });
            told.push((tag, words.collect::<Vec<_>>().join(" ")));
            Ok(())
        };
        self.line.submit(&Context::from_waker(Waker::noop()), &mut tell).unwrap();
        self.told[before..].iter().map(|(_, said)| said.clone()).collect()
    }

    /// The server answers what it was told first.
    fn answer(&mut self, raw: &str) {
        let (tag, _) = self.told.remove(0);
        self.line.output(Output::Reply { tag, reply: Ok(Value::framed(raw.as_bytes())) });
    }

    fn publish(&mut self, text: &str) {
        let raw = format!(">3\r\n+message\r\n+a\r\n+{text}\r\n");
        self.line.output(Output::Push(Ok(Value::framed(raw.as_bytes()))));
    }

    /// All that is there to be heard, in words.
    fn heard(&self) -> Vec<String> {
        let mut heard = Vec::new();
        while let Poll::Ready(Ok(delivery)) =
            self.mailbox.poll_next(&Context::from_waker(Waker::noop()))
        {
            heard.push(match delivery {
                Delivery::Message(message) => message.text().unwrap().to_string(),
                Delivery::Refused { name, .. } => {
                    format!("refused {}", String::from_utf8_lossy(&name))
                }
                other => format!("{other:?}"),
            });
        }
        heard
    }
}

/// Who waits: what it came to, and whether it was woken.
struct Waiter<'f, F: Future> {
    future: Pin<&'f mut F>,
    woken: Arc<Flag>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<'f, F: Future<Output = Result<(), Error>>> Waiter<'f, F> {
    fn new(future: Pin<&'f mut F>) -> Self {
        Self { future, woken: Arc::new(Flag(AtomicBool::new(true))) }
    }

    /// What it came to, if it was woken and it is over: its code, or nothing.
    fn poll(&mut self) -> Option<String> {
        if !self.woken.0.swap(false, Ordering::Relaxed) {
            return None;
        }
        let waker = Waker::from(self.woken.clone());
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(Ok(())) => Some("OK".to_string()),
            Poll::Ready(Err(error)) => Some(error.code().unwrap().to_string()),
            Poll::Pending => None,
        }
    }
}

/// The connection says that so many subscriptions are lost.
fn lost(subscriptions: u32) -> Event {
    let mut lost = LostState::default();
    lost.subscriptions = subscriptions;
    Event::StateLost(lost)
}

#[test]
fn each_who_waits_hears_what_came_of_the_wish_that_it_waited_for() {
    let mut desk = Desk::new();
    #[allow(clippy::arc_with_non_send_sync)]
    let reader = Reader::new(desk.mailbox.clone());
    let mut first = pin!(reader.subscribe(Topic::Channel, ["a"]));
    let mut first = Waiter::new(first.as_mut());
    assert_eq!(first.poll(), None);
    assert_eq!(desk.submit(), ["SUBSCRIBE a"]);
    desk.answer("-NOPERM no\r\n");
    // Another one asks again before the first one looks.
    let mut second = pin!(reader.subscribe(Topic::Channel, ["a"]));
    let mut second = Waiter::new(second.as_mut());
    assert_eq!(second.poll(), None);
    assert_eq!(first.poll().as_deref(), Some("NOPERM"));
    assert_eq!(desk.submit(), ["SUBSCRIBE a"]);
    desk.answer("_\r\n");
    assert_eq!(second.poll().as_deref(), Some("OK"));
    assert!(desk.heard().is_empty(), "who waited has heard it");
}

#[test]
fn who_waits_for_what_another_one_ends_waits_no_more() {
    let mut desk = Desk::new();
    #[allow(clippy::arc_with_non_send_sync)]
    let reader = Reader::new(desk.mailbox.clone());
    let mut waiting = pin!(reader.subscribe(Topic::Channel, ["a"]));
    let mut waiting = Waiter::new(waiting.as_mut());
    assert_eq!(waiting.poll(), None);
    assert_eq!(desk.submit(), ["SUBSCRIBE a"]);
    desk.reader.unsubscribe(Topic::Channel, ["a"]);
    assert_eq!(waiting.poll().as_deref(), Some("OK"));
    assert_eq!(desk.submit(), ["UNSUBSCRIBE a"]);
}

#[test]
fn a_server_that_has_forgotten_the_login_is_told_again_with_the_next_one_and_not_before() {
    let mut desk = Desk::new();
    #[allow(clippy::arc_with_non_send_sync)]
    let reader = Reader::new(desk.mailbox.clone());
    let mut first = pin!(reader.subscribe(Topic::Channel, ["a"]));
    let mut first = Waiter::new(first.as_mut());
    first.poll();
    desk.submit();
    desk.answer("_\r\n");
    assert_eq!(first.poll().as_deref(), Some("OK"));
    let mut second = pin!(reader.subscribe(Topic::Channel, ["b", "c"]));
    let mut second = Waiter::new(second.as_mut());
    second.poll();
    assert_eq!(desk.submit(), ["SUBSCRIBE b", "SUBSCRIBE c"]);
    for _ in 0..3 {
        while !desk.told.is_empty() {
            desk.answer("-NOAUTH Authentication required.\r\n");
            assert!(desk.submit().is_empty(), "a hot loop");
        }
        // It isn't a refusal.
        assert_eq!(second.poll(), None);
        desk.happens(AGAIN);
        // Who knows what else it has forgotten?
        assert_eq!(desk.submit(), ["SUBSCRIBE a", "SUBSCRIBE b", "SUBSCRIBE c"]);
        assert!(desk.heard().is_empty());
    }
    for _ in 0..3 {
        desk.answer("_\r\n");
    }
    assert_eq!(second.poll().as_deref(), Some("OK"));
    assert_eq!(desk.heard(), ["Gap"]);
    // The next login is one as usual.
    desk.happens(AGAIN);
    assert!(desk.submit().is_empty());
    // The connection has noticed it by itself, and says so; so has it what was to end.
    desk.reader.unsubscribe(Topic::Channel, ["b"]);
    assert_eq!(desk.submit(), ["UNSUBSCRIBE b"]);
    desk.happens(lost(3));
    desk.told.clear();
    desk.happens(AGAIN);
    assert_eq!(desk.submit(), ["UNSUBSCRIBE b", "SUBSCRIBE a", "SUBSCRIBE c"]);
    for _ in 0..3 {
        desk.answer("_\r\n");
    }
    assert_eq!(desk.heard(), ["Gap"]);
}

#[test]
fn what_was_not_sent_is_told_again_and_what_nobody_answers_makes_the_connection_unknown() {
    let mut desk = Desk::new();
    desk.mailbox.want(&[mailbox::Name::new(Topic::Channel, b"a")]);
    assert_eq!(desk.submit(), ["SUBSCRIBE a"]);
    let (tag, _) = desk.told.remove(0);
    desk.line.output(Output::Lost { tag, lost: Lost::new(Outcome::NotSent, None) });
    assert!(!desk.line.is_unknown());
    desk.happens(AGAIN);
    assert_eq!(desk.submit(), ["SUBSCRIBE a"]);
    let (tag, _) = desk.told.remove(0);
    desk.line.output(Output::Lost { tag, lost: Lost::new(Outcome::Unknown, None) });
    assert!(desk.line.is_unknown());
}

#[test]
fn what_one_connection_is_refused_ends_on_the_other_one_too() {
    let mut desk = Desk::new();
    desk.mailbox.want(&[mailbox::Name::new(Topic::Channel, b"a")]);
    desk.submit();
    desk.answer("_\r\n");
    let mut old = core::mem::replace(&mut desk.line, Line::replacing(desk.mailbox.clone()));
    desk.happens(LOGGED_IN);
    assert_eq!(desk.submit(), ["SUBSCRIBE a"]);
    desk.answer("-NOPERM no\r\n");
    assert_eq!(desk.heard(), ["refused a"]);
    old.outlives(&desk.line);
    desk.line = old;
    assert_eq!(desk.submit(), ["UNSUBSCRIBE a"]);
}

#[test]
fn a_connection_that_fails_to_take_the_place_of_another_has_lost_nothing() {
    let mut desk = Desk::new();
    let mut next = Line::replacing(desk.mailbox.clone());
    let lost = lost(1);
    assert!(next.output(Output::Event(lost)).is_none());
    next.succeeds(&desk.line, CloseReason::Replaced);
    assert!(next.output(Output::Event(lost)).is_some());
    assert!(desk.line.output(Output::Event(lost)).is_some());
    desk.happens(AGAIN);
}

#[test]
fn what_nobody_reads_takes_no_more_room_with_time_and_gives_it_back() {
    let mut desk = Desk::new();
    for _ in 0..1000 {
        desk.publish(&"x".repeat(100));
        desk.mailbox.overlap_begins();
        desk.mailbox.overlap_ends();
        desk.mailbox.gap_begins();
        desk.mailbox.settled();
    }
    let heard = desk.heard();
    // Each message that there was room for has its own; and then it is said once.
    let last: Vec<_> = heard[heard.len() - 4..].iter().map(String::as_str).collect();
    assert!(heard.len() < 1200, "{}", heard.len());
    assert!(last[0].starts_with("Missed("), "{last:?}");
    assert_eq!(last[1..], ["Overlap", "Settled", "Gap"]);
    assert_eq!(desk.mailbox.room(), 0);
}

#[test]
fn what_comes_twice_is_settled_when_the_connection_that_stays_has_heard_it_too() {
    for earlier_ends in [true, false] {
        let mut desk = Desk::new();
        desk.mailbox.want(&[mailbox::Name::new(Topic::Channel, b"a")]);
        desk.submit();
        desk.answer("_\r\n");
        let mut old = core::mem::replace(&mut desk.line, Line::replacing(desk.mailbox.clone()));
        desk.happens(LOGGED_IN);
        desk.submit();
        desk.answer("_\r\n");
        assert_eq!(desk.heard(), ["Overlap"]);
        if earlier_ends {
            desk.line.succeeds(&old, CloseReason::Replaced);
        } else {
            old.outlives(&desk.line);
            desk.line = old;
        }
        assert!(desk.heard().is_empty());
        // What is known already is confirmed behind what is under way.
        assert_eq!(desk.submit(), ["SUBSCRIBE a"]);
        desk.publish("late");
        desk.answer("_\r\n");
        assert_eq!(desk.heard(), ["late", "Settled"]);
        assert!(desk.submit().is_empty());
    }
}

#[test]
fn an_overlap_is_settled_however_it_ends() {
    let overlapping = || {
        let mut desk = Desk::new();
        desk.mailbox.want(&[mailbox::Name::new(Topic::Channel, b"a")]);
        desk.submit();
        desk.answer("_\r\n");
        let old = core::mem::replace(&mut desk.line, Line::replacing(desk.mailbox.clone()));
        desk.happens(LOGGED_IN);
        desk.submit();
        desk.answer("_\r\n");
        desk.line.succeeds(&old, CloseReason::Replaced);
        assert_eq!(desk.heard(), ["Overlap"]);
        desk
    };
    // Nobody wants it any more.
    let mut desk = overlapping();
    desk.reader.unsubscribe(Topic::Channel, ["a"]);
    assert_eq!(desk.submit(), ["UNSUBSCRIBE a"]);
    assert_eq!(desk.heard(), ["Settled"]);
    // The connection ends.
    let mut desk = overlapping();
    desk.submit();
    desk.line.lost();
    assert_eq!(desk.heard(), ["Settled"]);
    // The next overlap begins: there is one end for both.
    let mut desk = overlapping();
    desk.submit();
    let mut next = Line::replacing(desk.mailbox.clone());
    core::mem::swap(&mut desk.line, &mut next);
    let mut earlier = next;
    desk.happens(LOGGED_IN);
    desk.submit();
    let (_, said) = desk.told.remove(1);
    assert_eq!(said, "SUBSCRIBE a");
    desk.line.output(Output::Reply { tag: 0, reply: Ok(Value::framed(b"_\r\n")) });
    let tag = desk.told.remove(0).0;
    earlier.output(Output::Reply { tag, reply: Ok(Value::framed(b"_\r\n")) });
    assert!(desk.heard().is_empty());
    desk.line.succeeds(&earlier, CloseReason::Replaced);
    desk.submit();
    desk.answer("_\r\n");
    assert_eq!(desk.heard(), ["Settled"]);
}

#[test]
fn subscriptions_one_by_one_and_all_at_once_cost_little_each() {
    let subscribes = |desk: &Desk, names: Range<u64>| {
        // In no order, but each once.
        let names = names.map(|at| format!("{:x}", at * 7919 % 1_000_003));
        let mut waiting = pin!(desk.reader.subscribe(Topic::Channel, names));
        assert_eq!(Waiter::new(waiting.as_mut()).poll(), None);
    };
    let time = |calls: u64, names: u64| {
        let (mut desk, start) = (Desk::new(), Stopwatch::now());
        (0..calls).for_each(|call| subscribes(&desk, call * names..(call + 1) * names));
        assert_eq!(desk.submit().len() as u64, calls * names);
        start.elapsed()
    };
    let (one_by_one, at_once) = (time(10_000, 1), time(1, 10_000));
    // Sorted anew each time, they would take a thousand times as long.
    assert!(one_by_one < at_once * 50, "{one_by_one:?}, at once {at_once:?}");
}
