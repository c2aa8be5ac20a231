//! Subscribers: what they hear, and what they are told when they don't.

use core::pin::pin;
use std::format;
use std::string::String;
use std::vec;

use super::broker::{Broker, DAY, Rule};
use super::*;
use crate::{Delivery, ErrorKind};
use redis_entraid_core::command::Topic;
use redis_entraid_core::connection::Replacement;
use redis_entraid_core::drive::either;
use redis_entraid_core::event::Event;

pub(super) const USUAL: Rule = |_, _| None;

/// Runs `f` with a subscriber of `broker`.
pub(super) fn with<R>(
    broker: &Broker,
    settings: Settings,
    f: impl AsyncFnOnce(Subscriber<Calendar>, &Broker) -> R,
) -> R {
    let (timer, source) = (Calendar(broker.world.clone()), broker.source(&Rc::default()));
    let (subscriber, driver) = Subscriber::new(settings, timer, broker.clone(), source, None);
    broker.run(f(subscriber, broker), vec![Box::pin(driver)])
}

/// The next thing that it hears, in a word.
pub(super) async fn heard(subscriber: &Subscriber<Calendar>) -> String {
    match subscriber.next().await.unwrap() {
        Delivery::Message(message) => {
            format!("{} {}", str(message.channel()), message.text().unwrap())
        }
        Delivery::Refused { name, error, .. } => format!("refused {} {}", str(&name), error.code),
        other => format!("{other:?}"),
    }
}

fn str(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap()
}

#[test]
fn messages_come_in_order() {
    with(&Broker::new(USUAL), Broker::settings(false), async |subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a", "b"]).await.unwrap();
        for number in 0..100 {
            let channel = if number % 3 == 0 { "a" } else { "b" };
            assert_eq!(broker.publish(channel, &format!("{number}")), 1);
        }
        for number in 0..100 {
            let channel = if number % 3 == 0 { "a" } else { "b" };
            assert_eq!(heard(&subscriber).await, format!("{channel} {number}"));
        }
        assert_eq!(subscriber.health().connection.unwrap().subscriptions, 2);
    });
}

#[test]
fn after_a_cut_a_gap_is_said_and_the_subscriptions_are_back() {
    with(&Broker::new(USUAL), Broker::settings(false), async |subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a", "b"]).await.unwrap();
        broker.publish("a", "before");
        assert_eq!(heard(&subscriber).await, "a before");
        broker.cut();
        assert_eq!(heard(&subscriber).await, "Gap");
        // From here on nothing is missing.
        assert_eq!((broker.publish("a", "behind"), broker.publish("b", "too")), (1, 1));
        assert_eq!(heard(&subscriber).await, "a behind");
        assert_eq!(heard(&subscriber).await, "b too");
        assert_eq!(subscriber.health().reconnects, 1);
        // Nobody looks for a while: one word is enough for all that.
        for _ in 0..3 {
            broker.cut();
            broker.sleep(Duration::from_secs(60)).await;
        }
        broker.publish("a", "at last");
        assert_eq!(heard(&subscriber).await, "Gap");
        assert_eq!(heard(&subscriber).await, "a at last");
    });
}

#[test]
fn a_login_on_the_live_connection_disturbs_nothing() {
    with(&Broker::new(USUAL), Broker::settings(false), async |subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
        for number in 0..3 * 3600 {
            broker.publish("a", &format!("{number}"));
            assert_eq!(heard(&subscriber).await, format!("a {number}"));
            broker.sleep(Duration::from_secs(1)).await;
        }
        let health = subscriber.health();
        assert!(health.reauths >= 3 && health.token.refreshes > 3, "{health:?}");
        assert_eq!((health.reconnects, broker.connects()), (0, 1));
    });
}

#[test]
fn with_resp2_the_connection_is_replaced_before_its_token_ends_and_a_gap_is_said() {
    with(&Broker::new(USUAL), Broker::settings(true), async |subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
        for round in 1..4 {
            assert_eq!(heard(&subscriber).await, "Gap");
            assert!(broker.world.now() < Instant::from_millis(round * 3_600_000));
            assert_eq!((broker.publish("a", "x"), broker.open()), (1, 1));
            assert_eq!(heard(&subscriber).await, "a x");
        }
    });
}

fn overlapping() -> Settings {
    let mut settings = Broker::settings(true);
    settings.config.replacement = Replacement::Overlap;
    settings
}

#[test]
fn with_an_overlap_nothing_is_missed_and_what_may_come_twice_is_said() {
    with(&Broker::new(USUAL), overlapping(), async |subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a", "b"]).await.unwrap();
        let mut overlaps = 0;
        for number in 0..3 * 3600 {
            broker.publish("a", &format!("{number}"));
            let wanted = format!("a {number}");
            let mut first = heard(&subscriber).await;
            if first == "Overlap" || first == "Settled" {
                overlaps += usize::from(first == "Overlap");
                first = heard(&subscriber).await;
            }
            if first == "Settled" {
                first = heard(&subscriber).await;
            }
            assert_eq!(first, wanted);
            broker.sleep(Duration::from_secs(1)).await;
        }
        assert!(overlaps >= 3, "{overlaps}");
        assert_eq!(broker.connects(), overlaps + 1);
        // A second time for the sake of what comes before the answer.
        assert_eq!(broker.heard("SUBSCRIBE a").len(), 2 * overlaps + 1);
        // One is left, and its health is the subscriber's.
        assert_eq!(broker.open(), 1);
        assert_eq!(subscriber.health().connection.unwrap().subscriptions, 2);
    });
}

#[test]
fn what_both_connections_of_an_overlap_hear_is_between_the_two_words() {
    // The second connection has to wait for its second subscription.
    let rule: Rule = |number, said| (number == 1 && said == "SUBSCRIBE b").then_some("deaf");
    let mut settings = overlapping();
    settings.config.command_timeout = Duration::from_secs(3);
    with(&Broker::new(rule), settings, async |subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a", "b"]).await.unwrap();
        assert_eq!(heard(&subscriber).await, "Overlap");
        assert_eq!(broker.publish("a", "x"), 2);
        assert_eq!((broker.publish("b", "y"), broker.open()), (1, 2));
        for wanted in ["a x", "b y", "a x"] {
            assert_eq!(heard(&subscriber).await, wanted);
        }
        // A server that doesn't answer is left for another try, while the first one serves.
        assert_eq!(heard(&subscriber).await, "Settled");
        assert_eq!(broker.open(), 1);
        for wanted in ["Overlap", "Settled"] {
            assert_eq!(heard(&subscriber).await, wanted);
        }
        assert_eq!((broker.connects(), broker.open()), (3, 1));
    });
}

#[test]
fn a_connection_that_breaks_while_another_takes_its_place_makes_a_gap() {
    // The second connection never has all; the first one is cut meanwhile.
    let rule: Rule = |number, said| (number == 1 && said == "SUBSCRIBE b").then_some("deaf");
    with(&Broker::new(rule), overlapping(), async |subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a", "b"]).await.unwrap();
        assert_eq!(heard(&subscriber).await, "Overlap");
        broker.cut_first();
        assert_eq!(heard(&subscriber).await, "Settled");
        assert_eq!(heard(&subscriber).await, "Gap");
        assert_eq!((broker.publish("a", "x"), broker.publish("b", "y")), (1, 1));
    });
}

#[test]
fn the_earlier_connection_ends_as_soon_as_the_other_one_has_all() {
    let mut broker = Broker::new(USUAL);
    broker.far = Duration::from_millis(10);
    with(&broker, overlapping(), async |subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
        assert_eq!(heard(&subscriber).await, "Overlap");
        let start = broker.world.now();
        assert_eq!(heard(&subscriber).await, "Settled");
        let took = broker.world.now().since(start);
        assert!(took <= Duration::from_millis(20), "{took:?}");
    });
}

#[test]
fn a_cut_while_another_connection_is_dialed_makes_for_one_and_no_more() {
    let mut broker = Broker::new(USUAL);
    broker.dial = Duration::from_secs(2);
    with(&broker, overlapping(), async |subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
        while broker.dials.get() < 2 {
            broker.sleep(Duration::from_secs(1)).await;
        }
        broker.cut();
        assert_eq!(heard(&subscriber).await, "Gap");
        broker.sleep(Duration::from_secs(60)).await;
        assert_eq!((broker.connects(), broker.open()), (2, 1));
        broker.publish("a", "y");
        assert_eq!(heard(&subscriber).await, "a y");
    });
}

#[test]
fn what_nobody_reads_is_dropped_and_counted_and_holds_no_login_up() {
    let mut settings = Broker::settings(false);
    settings.backlog = 10_000;
    with(&Broker::new(USUAL), settings, async |subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
        for number in 0..1000 {
            broker.publish("a", &format!("{number}"));
            if number % 10 == 0 {
                broker.sleep(Duration::from_secs(10)).await;
            }
        }
        broker.sleep(Duration::from_secs(3600)).await;
        let mut read = 0;
        let missed = loop {
            match subscriber.next().await.unwrap() {
                Delivery::Message(message) => {
                    assert_eq!(message.text().unwrap(), format!("{read}"));
                    read += 1;
                }
                Delivery::Missed(count) => break count,
                other => panic!("{other:?}"),
            }
        };
        assert!((50..200).contains(&read), "{read}");
        assert_eq!(read + missed, 1000);
        assert!(subscriber.health().reauths >= 1);
        broker.publish("a", "again");
        assert_eq!(heard(&subscriber).await, "a again");
    });
}

#[test]
fn dropped_it_ends_its_connection_and_its_driver() {
    let broker = Broker::new(USUAL);
    let (timer, source) = (Calendar(broker.world.clone()), broker.source(&Rc::default()));
    let (subscriber, driver) =
        Subscriber::new(Broker::settings(false), timer, broker.clone(), source, None);
    let using = async {
        subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
        assert_eq!(broker.open(), 1);
        drop(subscriber);
    };
    let both = async {
        let mut driver = core::pin::pin!(driver);
        either(using, driver.as_mut()).await;
        driver.await;
    };
    assert!(broker.world.run(DAY, both).is_some(), "it goes on");
    assert_eq!(broker.open(), 0);
}

#[test]
fn with_its_driver_it_is_over() {
    let broker = Broker::new(USUAL);
    let (timer, source) = (Calendar(broker.world.clone()), broker.source(&Rc::default()));
    let (subscriber, driver) =
        Subscriber::new(Broker::settings(false), timer, broker.clone(), source, None);
    drop(driver);
    let said = broker.world.run(DAY, async {
        let start = subscriber.logged_in().await.unwrap_err();
        assert!(matches!(start, Error::Closed) && broker.world.now() == Instant::default());
        let next = subscriber.next().await.map(|_| ()).unwrap_err();
        let subscribed = subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap_err();
        (matches!(next, Error::Closed), matches!(subscribed, Error::Closed))
    });
    assert_eq!(said, Some((true, true)));
    // At the deadline it says why.
    let mut settings = Broker::settings(false);
    settings.deadline = Some(Duration::from_secs(60));
    let rule: Rule = |_, said| said.starts_with("HELLO").then_some("-WRONGPASS no\r\n");
    let error = with(&Broker::new(rule), settings, async |subscriber, broker| {
        let error = subscriber.next().await.map(|_| ()).unwrap_err();
        assert_eq!(broker.world.now(), Instant::from_millis(60_000));
        error
    });
    assert_eq!(error.code(), Some("WRONGPASS"), "{error}");
}

#[test]
fn a_refused_login_is_told_to_who_waits_for_it() {
    let rule: Rule = |_, said| said.starts_with("HELLO").then_some("-WRONGPASS no\r\n");
    with(&Broker::new(rule), Broker::settings(false), async |subscriber, broker| {
        let error = subscriber.logged_in().await.unwrap_err();
        assert_eq!((error.code(), broker.connects()), (Some("WRONGPASS"), 1), "{error}");
    });
}

#[test]
fn a_refused_subscription_is_an_error_for_each_who_waits_and_a_revoked_one_is_told() {
    let rule: Rule = |number, said| match said {
        "SUBSCRIBE b" => Some("-NOPERM no\r\n"),
        "SUBSCRIBE a" if number > 0 => Some("-NOPERM no\r\n"),
        _ => None,
    };
    with(&Broker::new(rule), Broker::settings(false), async |subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
        let mut codes = Vec::new();
        let (one, other) = (RefCell::new(None), RefCell::new(None));
        let wait = async |place: &RefCell<Option<Error>>| {
            *place.borrow_mut() = subscriber.subscribe(Topic::Channel, ["b"]).await.err();
        };
        let mut first = core::pin::pin!(wait(&one));
        let mut second = core::pin::pin!(wait(&other));
        poll_fn(|cx| {
            let first = one.borrow().is_some() || first.as_mut().poll(cx).is_ready();
            let second = other.borrow().is_some() || second.as_mut().poll(cx).is_ready();
            if first && second { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        for error in [one.take(), other.take()] {
            codes.push(error.unwrap().code().unwrap().to_string());
        }
        assert_eq!(codes, ["NOPERM", "NOPERM"]);
        broker.cut();
        for wanted in ["refused a NOPERM", "Gap"] {
            assert_eq!(heard(&subscriber).await, wanted);
        }
        assert_eq!(broker.heard("SUBSCRIBE b"), [0], "nobody asks again");
    });
}

#[test]
fn who_waits_for_messages_may_subscribe_to_more_meanwhile() {
    with(&Broker::new(USUAL), Broker::settings(false), async |subscriber, broker| {
        let mut said = String::new();
        let reading = async { said = heard(&subscriber).await };
        let asking = async {
            broker.sleep(Duration::from_secs(1)).await;
            subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
            subscriber.unsubscribe(Topic::Channel, ["a"]);
            subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
            broker.publish("a", "x");
            core::future::pending::<()>().await;
        };
        either(reading, asking).await;
        assert_eq!(said, "a x");
        assert_eq!(broker.heard("UNSUBSCRIBE a").len(), 1);
        assert_eq!(broker.heard("SUBSCRIBE a").len(), 2);
    });
}

#[test]
fn what_is_wanted_without_a_connection_is_subscribed_to_when_there_is_one() {
    let rule: Rule = |number, said| (number < 2 && said == "SUBSCRIBE a").then_some("");
    with(&Broker::new(rule), Broker::settings(false), async |subscriber, broker| {
        let error = subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap_err();
        // There was a connection: it's the server that failed.
        assert!(matches!(error, Error::Unconfirmed), "{error}");
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Lost, Outcome::Unknown));
        // A server that doesn't answer is left for another try.
        broker.sleep(Duration::from_secs(1)).await;
        assert_eq!(broker.connects(), 2);
        broker.sleep(Duration::from_secs(60)).await;
        assert_eq!((broker.publish("a", "x"), broker.connects()), (1, 3));
        assert_eq!(heard(&subscriber).await, "a x");
    });
}

/// Counts what is lost with connections.
fn counting(settings: &mut Settings) -> Rc<Cell<u32>> {
    let lost = Rc::<Cell<u32>>::default();
    let counts = lost.clone();
    settings.on_event = Some(Box::new(move |event| {
        if let Event::StateLost(_) = event {
            counts.set(counts.get() + 1);
        }
    }));
    lost
}

#[test]
fn what_comes_twice_comes_before_the_end_of_the_overlap_whichever_connection_is_slower() {
    for slow in [0, 1] {
        let mut broker = Broker::new(USUAL);
        broker.far = Duration::from_millis(5);
        broker.lag = (slow, Duration::from_millis(30));
        broker.dial = Duration::from_secs(1);
        with(&broker, overlapping(), async |subscriber, broker| {
            subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
            while broker.dials.get() < 2 {
                broker.sleep(Duration::from_millis(100)).await;
            }
            for number in 0..2000 {
                broker.publish("a", &format!("{number}"));
                broker.sleep(Duration::from_millis(1)).await;
            }
            let mut all = Vec::new();
            while !all.contains(&"a 1999".to_string()) {
                all.push(heard(&subscriber).await);
            }
            let settled = all.iter().position(|said| said == "Settled").unwrap();
            let (before, behind) = all.split_at(settled);
            assert!(before.len() > 1000 && behind.len() > 100, "{all:?}");
            for (at, said) in behind.iter().enumerate() {
                assert!(!before.contains(said) && !behind[..at].contains(said), "{slow}: {said}");
            }
        });
    }
}

#[test]
fn what_is_under_way_on_the_old_connection_when_the_new_one_has_all_is_heard() {
    let (mut settings, mut broker) = (overlapping(), Broker::new(USUAL));
    let lost = counting(&mut settings);
    broker.far = Duration::from_millis(5);
    broker.lag = (0, Duration::from_millis(3));
    broker.dial = Duration::from_secs(1);
    with(&broker, settings, async |subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
        while broker.dials.get() < 2 {
            broker.sleep(Duration::from_millis(100)).await;
        }
        for number in 0..2000 {
            broker.publish("a", &format!("{number}"));
            broker.sleep(Duration::from_millis(1)).await;
        }
        broker.publish("a", "end");
        assert_eq!(broker.open(), 1);
        let mut heard_all = Vec::new();
        while heard_all.iter().all(|said| said != "a end") {
            heard_all.push(heard(&subscriber).await);
        }
        for number in 0..2000 {
            assert!(heard_all.contains(&format!("a {number}")), "{number} of {heard_all:?}");
        }
        assert!(heard_all.contains(&"Settled".to_string()), "{heard_all:?}");
        assert!(!heard_all.contains(&"Gap".to_string()), "{heard_all:?}");
        // The other connection had them.
        assert_eq!(lost.get(), 0);
    });
}

#[test]
fn a_planned_overlap_loses_no_state_and_a_break_does() {
    for (replacement, expected) in [(Replacement::Overlap, 0), (Replacement::BreakThenMake, 3)] {
        let mut settings = Broker::settings(true);
        settings.config.replacement = replacement;
        let lost = counting(&mut settings);
        with(&Broker::new(USUAL), settings, async |subscriber, broker| {
            subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
            while broker.connects() < 4 {
                broker.sleep(Duration::from_secs(10)).await;
            }
            broker.sleep(Duration::from_secs(10)).await;
            assert_eq!((lost.get(), broker.connects()), (expected, 4));
        });
    }
}

#[test]
fn an_old_connection_that_breaks_before_its_last_word_makes_a_gap() {
    // It never answers the last PING, and the server cuts it, or it is given up.
    for (answer, ends) in [("cut", "0 s"), ("", "15 s")] {
        let rule: Rule = match answer {
            "cut" => |number, said| (number == 0 && said == "PING").then_some("cut"),
            _ => |number, said| (number == 0 && said == "PING").then_some(""),
        };
        let mut settings = overlapping();
        settings.config.idle =
            redis_entraid_core::connection::Idle::Keep(Duration::from_secs(86_400));
        with(&Broker::new(rule), settings, async |subscriber, broker| {
            subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
            assert_eq!(heard(&subscriber).await, "Overlap");
            let start = broker.world.now();
            assert_eq!(heard(&subscriber).await, "Gap");
            assert_eq!(heard(&subscriber).await, "Settled");
            let took = broker.world.now().since(start);
            assert_eq!(format!("{} s", took.as_secs()), ends);
            assert_eq!((broker.publish("a", "x"), broker.open()), (1, 1));
        });
    }
}

#[test]
fn who_subscribes_again_and_again_puts_off_neither_a_gap_nor_a_replacement() {
    let mut broker = Broker::new(USUAL);
    broker.far = Duration::from_millis(20);
    broker.dial = Duration::from_secs(1);
    with(&broker, overlapping(), async |subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
        // More often than there are answers.
        let asking = async || {
            for number in 0_u32.. {
                let name = format!("{}", number % 100);
                subscriber.unsubscribe(Topic::Channel, [&name]);
                let subscribing = pin!(subscriber.subscribe(Topic::Channel, [&name]));
                either(async { drop(subscribing.await) }, broker.sleep(Duration::from_millis(5)))
                    .await;
            }
        };
        let within_10_s = async |wanted: &str| {
            let reading = async { assert_eq!(heard(&subscriber).await, wanted) };
            let limit = async {
                broker.sleep(Duration::from_secs(10)).await;
                panic!("{wanted} doesn't come");
            };
            either(reading, limit).await;
        };
        broker.cut();
        either(asking(), within_10_s("Gap")).await;
        while broker.dials.get() < 3 {
            broker.sleep(Duration::from_millis(100)).await;
        }
        let both = async {
            within_10_s("Overlap").await;
            within_10_s("Settled").await;
        };
        either(asking(), both).await;
    });
}

#[test]
fn a_subscription_that_the_server_ends_is_made_again_and_a_gap_is_said() {
    for resp2 in [false, true] {
        with(&Broker::new(USUAL), Broker::settings(resp2), async |subscriber, broker| {
            subscriber.subscribe(Topic::Channel, ["a", "b"]).await.unwrap();
            broker.end("b");
            assert_eq!(heard(&subscriber).await, "Gap");
            assert_eq!((broker.publish("b", "x"), broker.connects()), (1, 1));
            assert_eq!(heard(&subscriber).await, "b x");
            assert_eq!(broker.heard("SUBSCRIBE a").len(), 1);
        });
    }
}

#[test]
fn a_server_that_has_forgotten_the_login_of_a_subscriber_is_told_all_again() {
    // It says so to the PING of a quiet connection.
    let rule: Rule = |number, said| {
        (number == 0 && said == "PING").then_some("-NOAUTH Authentication required.\r\n")
    };
    for resp2 in [false, true] {
        with(&Broker::new(rule), Broker::settings(resp2), async |subscriber, broker| {
            subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
            assert_eq!(heard(&subscriber).await, "Gap");
            assert!(broker.world.now() < Instant::from_millis(250_000));
            assert_eq!((broker.publish("a", "x"), broker.open()), (1, 1));
            assert_eq!(heard(&subscriber).await, "a x");
        });
    }
}

#[test]
fn a_server_that_always_says_noauth_is_asked_once_for_each_login() {
    let rule: Rule =
        |_, said| said.starts_with("SUBSCRIBE").then_some("-NOAUTH Authentication required.\r\n");
    with(&Broker::new(rule), Broker::settings(false), async |subscriber, broker| {
        let error = subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap_err();
        assert!(!matches!(error, Error::Server(_)), "{error}");
        broker.sleep(Duration::from_secs(3600)).await;
        let asked = broker.heard("SUBSCRIBE a");
        assert!((600..800).contains(&asked.len()), "{}", asked.len());
        let mut connections = asked.clone();
        connections.dedup();
        assert_eq!(asked, connections);
    });
}
