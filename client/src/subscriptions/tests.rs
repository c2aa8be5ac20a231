//! A hub between who reads and a connection, both played by the test.

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
use redis_entraid_core::time::Instant;

const LOGGED_IN: Event = Event::LoggedIn { generation: Generation(1), protocol: Protocol::Resp3 };
const NOW: Instant = Instant::from_millis(0);
const AGAIN: Event = Event::Reauthenticated { generation: Generation(2) };

struct CommandDispatcher {
    hub: Arc<SubscriptionHub<RefCell<SubscriptionState>>>,
    reader: Reader<RefCell<SubscriptionState>>,
    line: SubscriberConnection<RefCell<SubscriptionState>>,
    /// What the server was told and has not answered.
    told: Vec<(Tag, String)>,
}

impl CommandDispatcher {
    /// With a connection that has logged in.
    #[allow(clippy::arc_with_non_send_sync)]
    fn new() -> Self {
        let hub = Arc::new(SubscriptionHub::new(50_000));
        let (reader, line) = (Reader::new(hub.clone()), SubscriberConnection::new(hub.clone()));
        let mut dispatcher = Self { hub, reader, line, told: Vec::new() };
        dispatcher.happens(LOGGED_IN);
        dispatcher
    }

    fn happens(&mut self, event: Event) {
        self.line.output(NOW, Output::Event(event));
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
        self.line.submit(NOW, &Context::from_waker(Waker::noop()), &mut tell).unwrap();
        self.told[before..].iter().map(|(_, said)| said.clone()).collect()
    }

    /// The server answers what it was told first.
    fn answer(&mut self, raw: &str) {
        let (tag, _) = self.told.remove(0);
        self.line.output(NOW, Output::Reply { tag, reply: Ok(Value::framed(raw.as_bytes())) });
    }

    fn publish(&mut self, text: &str) {
        let raw = format!(">3\r\n+message\r\n+a\r\n+{text}\r\n");
        self.line.output(NOW, Output::Push(Ok(Value::framed(raw.as_bytes()))));
    }

    /// All that is there to be heard, in words.
    fn heard(&self) -> Vec<String> {
        let mut heard = Vec::new();
        while let Poll::Ready(Ok(delivery)) =
            self.hub.poll_next(&Context::from_waker(Waker::noop()))
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
    let mut dispatcher = CommandDispatcher::new();
    #[allow(clippy::arc_with_non_send_sync)]
    let reader = Reader::new(dispatcher.hub.clone());
    let mut first = pin!(reader.subscribe(Topic::Channel, ["a"]));
    let mut first = Waiter::new(first.as_mut());
    assert_eq!(first.poll(), None);
    assert_eq!(dispatcher.submit(), ["SUBSCRIBE a"]);
    dispatcher.answer("-NOPERM no\r\n");
    // Another one asks again before the first one looks.
    let mut second = pin!(reader.subscribe(Topic::Channel, ["a"]));
    let mut second = Waiter::new(second.as_mut());
    assert_eq!(second.poll(), None);
    assert_eq!(first.poll().as_deref(), Some("NOPERM"));
    assert_eq!(dispatcher.submit(), ["SUBSCRIBE a"]);
    dispatcher.answer("_\r\n");
    assert_eq!(second.poll().as_deref(), Some("OK"));
    assert!(dispatcher.heard().is_empty(), "who waited has heard it");
}

#[test]
fn who_waits_for_what_another_one_ends_waits_no_more() {
    let mut dispatcher = CommandDispatcher::new();
    #[allow(clippy::arc_with_non_send_sync)]
    let reader = Reader::new(dispatcher.hub.clone());
    let mut waiting = pin!(reader.subscribe(Topic::Channel, ["a"]));
    let mut waiting = Waiter::new(waiting.as_mut());
    assert_eq!(waiting.poll(), None);
    assert_eq!(dispatcher.submit(), ["SUBSCRIBE a"]);
    dispatcher.reader.unsubscribe(Topic::Channel, ["a"]);
    assert_eq!(waiting.poll().as_deref(), Some("OK"));
    assert_eq!(dispatcher.submit(), ["UNSUBSCRIBE a"]);
}

#[test]
fn a_server_that_has_forgotten_the_login_is_told_again_with_the_next_one_and_not_before() {
    let mut dispatcher = CommandDispatcher::new();
    #[allow(clippy::arc_with_non_send_sync)]
    let reader = Reader::new(dispatcher.hub.clone());
    let mut first = pin!(reader.subscribe(Topic::Channel, ["a"]));
    let mut first = Waiter::new(first.as_mut());
    first.poll();
    dispatcher.submit();
    dispatcher.answer("_\r\n");
    assert_eq!(first.poll().as_deref(), Some("OK"));
    let mut second = pin!(reader.subscribe(Topic::Channel, ["b", "c"]));
    let mut second = Waiter::new(second.as_mut());
    second.poll();
    assert_eq!(dispatcher.submit(), ["SUBSCRIBE b", "SUBSCRIBE c"]);
    for _ in 0..3 {
        while !dispatcher.told.is_empty() {
            dispatcher.answer("-NOAUTH Authentication required.\r\n");
            assert!(dispatcher.submit().is_empty(), "a hot loop");
        }
        // It isn't a refusal.
        assert_eq!(second.poll(), None);
        dispatcher.happens(AGAIN);
        // Who knows what else it has forgotten?
        assert_eq!(dispatcher.submit(), ["SUBSCRIBE a", "SUBSCRIBE b", "SUBSCRIBE c"]);
        assert!(dispatcher.heard().is_empty());
    }
    for _ in 0..3 {
        dispatcher.answer("_\r\n");
    }
    assert_eq!(second.poll().as_deref(), Some("OK"));
    assert_eq!(dispatcher.heard(), ["Gap"]);
    // The next login is one as usual.
    dispatcher.happens(AGAIN);
    assert!(dispatcher.submit().is_empty());
    // The connection has noticed it by itself, and says so; so has it what was to end.
    dispatcher.reader.unsubscribe(Topic::Channel, ["b"]);
    assert_eq!(dispatcher.submit(), ["UNSUBSCRIBE b"]);
    dispatcher.happens(lost(3));
    dispatcher.told.clear();
    dispatcher.happens(AGAIN);
    assert_eq!(dispatcher.submit(), ["UNSUBSCRIBE b", "SUBSCRIBE a", "SUBSCRIBE c"]);
    for _ in 0..3 {
        dispatcher.answer("_\r\n");
    }
    assert_eq!(dispatcher.heard(), ["Gap"]);
}

#[test]
fn what_was_not_sent_is_told_again_and_what_nobody_answers_makes_the_connection_unknown() {
    let mut dispatcher = CommandDispatcher::new();
    dispatcher.hub.want(&[subscription_state::Name::new(Topic::Channel, b"a")]);
    assert_eq!(dispatcher.submit(), ["SUBSCRIBE a"]);
    let (tag, _) = dispatcher.told.remove(0);
    dispatcher.line.output(NOW, Output::Lost { tag, lost: Lost::new(Outcome::NotSent, None) });
    assert!(!dispatcher.line.is_unknown());
    dispatcher.happens(AGAIN);
    assert_eq!(dispatcher.submit(), ["SUBSCRIBE a"]);
    let (tag, _) = dispatcher.told.remove(0);
    dispatcher.line.output(NOW, Output::Lost { tag, lost: Lost::new(Outcome::Unknown, None) });
    assert!(dispatcher.line.is_unknown());
}

#[test]
fn what_one_connection_is_refused_ends_on_the_other_one_too() {
    let mut dispatcher = CommandDispatcher::new();
    dispatcher.hub.want(&[subscription_state::Name::new(Topic::Channel, b"a")]);
    dispatcher.submit();
    dispatcher.answer("_\r\n");
    let mut old = core::mem::replace(
        &mut dispatcher.line,
        SubscriberConnection::replacing(dispatcher.hub.clone()),
    );
    dispatcher.happens(LOGGED_IN);
    assert_eq!(dispatcher.submit(), ["SUBSCRIBE a"]);
    dispatcher.answer("-NOPERM no\r\n");
    assert_eq!(dispatcher.heard(), ["refused a"]);
    old.outlives(&dispatcher.line);
    dispatcher.line = old;
    assert_eq!(dispatcher.submit(), ["UNSUBSCRIBE a"]);
}

#[test]
fn a_connection_that_fails_to_take_the_place_of_another_has_lost_nothing() {
    let mut dispatcher = CommandDispatcher::new();
    let mut next = SubscriberConnection::replacing(dispatcher.hub.clone());
    let lost = lost(1);
    assert!(next.output(NOW, Output::Event(lost)).is_none());
    next.succeeds(&dispatcher.line, CloseReason::Replaced);
    assert!(next.output(NOW, Output::Event(lost)).is_some());
    assert!(dispatcher.line.output(NOW, Output::Event(lost)).is_some());
    dispatcher.happens(AGAIN);
}

#[test]
fn what_nobody_reads_takes_no_more_room_with_time_and_gives_it_back() {
    let mut dispatcher = CommandDispatcher::new();
    for _ in 0..1000 {
        dispatcher.publish(&"x".repeat(100));
        dispatcher.hub.overlap_begins();
        dispatcher.hub.overlap_ends();
        dispatcher.hub.gap_ends();
    }
    let heard = dispatcher.heard();
    // Each message that there was room for has its own; and then it is said once.
    let last: Vec<_> = heard[heard.len() - 4..].iter().map(String::as_str).collect();
    assert!(heard.len() < 1200, "{}", heard.len());
    assert!(last[0].starts_with("Missed("), "{last:?}");
    assert_eq!(last[1..], ["Overlap", "Settled", "Gap"]);
    assert_eq!(dispatcher.hub.room(), 0);
}

#[test]
fn what_comes_twice_is_settled_when_the_connection_that_stays_has_heard_it_too() {
    for earlier_ends in [true, false] {
        let mut dispatcher = CommandDispatcher::new();
        dispatcher.hub.want(&[subscription_state::Name::new(Topic::Channel, b"a")]);
        dispatcher.submit();
        dispatcher.answer("_\r\n");
        let mut old = core::mem::replace(
            &mut dispatcher.line,
            SubscriberConnection::replacing(dispatcher.hub.clone()),
        );
        dispatcher.happens(LOGGED_IN);
        dispatcher.submit();
        dispatcher.answer("_\r\n");
        assert_eq!(dispatcher.heard(), ["Overlap"]);
        if earlier_ends {
            dispatcher.line.succeeds(&old, CloseReason::Replaced);
        } else {
            old.outlives(&dispatcher.line);
            dispatcher.line = old;
        }
        assert!(dispatcher.heard().is_empty());
        // What is known already is confirmed behind what is under way.
        assert_eq!(dispatcher.submit(), ["SUBSCRIBE a"]);
        dispatcher.publish("late");
        dispatcher.answer("_\r\n");
        assert_eq!(dispatcher.heard(), ["late", "Settled"]);
        assert!(dispatcher.submit().is_empty());
    }
}

#[test]
fn an_overlap_is_settled_however_it_ends() {
    let overlapping = || {
        let mut dispatcher = CommandDispatcher::new();
        dispatcher.hub.want(&[subscription_state::Name::new(Topic::Channel, b"a")]);
        dispatcher.submit();
        dispatcher.answer("_\r\n");
        let old = core::mem::replace(
            &mut dispatcher.line,
            SubscriberConnection::replacing(dispatcher.hub.clone()),
        );
        dispatcher.happens(LOGGED_IN);
        dispatcher.submit();
        dispatcher.answer("_\r\n");
        dispatcher.line.succeeds(&old, CloseReason::Replaced);
        assert_eq!(dispatcher.heard(), ["Overlap"]);
        dispatcher
    };
    // Nobody wants it any more.
    let mut dispatcher = overlapping();
    dispatcher.reader.unsubscribe(Topic::Channel, ["a"]);
    assert_eq!(dispatcher.submit(), ["UNSUBSCRIBE a"]);
    assert_eq!(dispatcher.heard(), ["Settled"]);
    // The connection ends.
    let mut dispatcher = overlapping();
    dispatcher.submit();
    dispatcher.line.lost();
    assert_eq!(dispatcher.heard(), ["Settled"]);
    // The next overlap begins: there is one end for both.
    let mut dispatcher = overlapping();
    dispatcher.submit();
    let mut next = SubscriberConnection::replacing(dispatcher.hub.clone());
    core::mem::swap(&mut dispatcher.line, &mut next);
    let mut earlier = next;
    dispatcher.happens(LOGGED_IN);
    dispatcher.submit();
    let (_, said) = dispatcher.told.remove(1);
    assert_eq!(said, "SUBSCRIBE a");
    dispatcher.line.output(NOW, Output::Reply { tag: 0, reply: Ok(Value::framed(b"_\r\n")) });
    let tag = dispatcher.told.remove(0).0;
    earlier.output(NOW, Output::Reply { tag, reply: Ok(Value::framed(b"_\r\n")) });
    assert!(dispatcher.heard().is_empty());
    dispatcher.line.succeeds(&earlier, CloseReason::Replaced);
    dispatcher.submit();
    dispatcher.answer("_\r\n");
    assert_eq!(dispatcher.heard(), ["Settled"]);
}

#[test]
fn subscriptions_one_by_one_and_all_at_once_cost_little_each() {
    let subscribes = |dispatcher: &CommandDispatcher, names: Range<u64>| {
        // In no order, but each once.
        let names = names.map(|at| format!("{:x}", at * 7919 % 1_000_003));
        let mut waiting = pin!(dispatcher.reader.subscribe(Topic::Channel, names));
        assert_eq!(Waiter::new(waiting.as_mut()).poll(), None);
    };
    let time = |calls: u64, names: u64| {
        let (mut dispatcher, start) = (CommandDispatcher::new(), Stopwatch::now());
        (0..calls).for_each(|call| subscribes(&dispatcher, call * names..(call + 1) * names));
        assert_eq!(dispatcher.submit().len() as u64, calls * names);
        start.elapsed()
    };
    let (one_by_one, at_once) = (time(10_000, 1), time(1, 10_000));
    // Sorted anew each time, they would take a thousand times as long.
    assert!(one_by_one < at_once * 50, "{one_by_one:?}, at once {at_once:?}");
}
