//! Subscribers: what they hear, and what they are told when they don't.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::server::{Answer, Fresh, Heard, Server};
use redis_entraid::{
    Builder, Client, Delivery, Error, Event, Idle, Protocol, Replacement, Subscriber, Topic, args,
};
use tokio::time::{Instant, sleep, timeout};

const CONFIRMED: &str = "$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
const MESSAGE: &str = "$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n";

/// What a server says to `SUBSCRIBE a`: that it is, and then a message.
fn subscribed(protocol: Protocol) -> Answer {
    let mark = if protocol == Protocol::Resp3 { ">3\r\n" } else { "*3\r\n" };
    Answer::Raw(format!("{mark}{CONFIRMED}{mark}{MESSAGE}").leak())
}

fn publisher(protocol: Protocol) -> Server {
    Server::new(move |heard| match (&*heard.command, protocol) {
        ("SUBSCRIBE a", _) => Some(subscribed(protocol)),
        ("UNSUBSCRIBE a", Protocol::Resp3) => {
            Some(Answer::Raw(">3\r\n+unsubscribe\r\n+a\r\n:0\r\n"))
        }
        ("UNSUBSCRIBE a", _) => Some(Answer::Raw("*3\r\n+unsubscribe\r\n+a\r\n:0\r\n")),
        _ => None,
    })
}

async fn heard(subscriber: &mut Subscriber) -> String {
    match timeout(Duration::from_secs(3600), subscriber.next())
        .await
        .expect("nothing came")
        .unwrap()
    {
        Delivery::Message(message) => {
            assert_eq!((message.channel(), message.pattern()), (&b"a"[..], None));
            message.text().unwrap().to_owned()
        }
        Delivery::Missed(count) => format!("missed {count}"),
        Delivery::Refused { topic: Topic::Channel, name, error } => {
            format!("refused {} {}", String::from_utf8(name).unwrap(), error.code)
        }
        notice => format!("{notice:?}"),
    }
}

fn fresh(server: &Server, protocol: Protocol) -> Builder<Server> {
    Client::builder("here").connector(server.clone()).source(Fresh::default()).protocol(protocol)
}

#[tokio::test(start_paused = true)]
async fn with_resp3_it_logs_in_again_in_place() {
    let server = publisher(Protocol::Resp3);
    let mut subscriber = fresh(&server, Protocol::Resp3).subscriber().await.unwrap();
    subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
    assert_eq!(heard(&mut subscriber).await, "hello");
    sleep(Duration::from_secs(3600)).await;
    let health = subscriber.health();
    assert!(health.reauths >= 7 && health.reconnects == 0, "{health:?}");
    assert_eq!(health.connection.unwrap().subscriptions, 1);
    let mut commands = server.commands();
    commands.dedup();
    assert_eq!(commands, ["SUBSCRIBE a", "PING"]);
}

#[tokio::test(start_paused = true)]
async fn with_resp2_its_connection_is_replaced_in_time_and_the_gap_announced() {
    let server = publisher(Protocol::Resp2);
    let mut subscriber = fresh(&server, Protocol::Resp2).subscriber().await.unwrap();
    subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
    let start = Instant::now();
    assert_eq!(heard(&mut subscriber).await, "hello");
    for _ in 0..3 {
        assert_eq!(heard(&mut subscriber).await, "Gap");
        assert_eq!(heard(&mut subscriber).await, "hello");
    }
    let each = start.elapsed() / 3;
    assert!(each > Duration::from_secs(300) && each < Duration::from_secs(600), "{each:?}");
    assert_eq!(subscriber.health().reconnects, 3);
}

#[tokio::test(start_paused = true)]
async fn with_resp2_and_an_overlap_nothing_is_missed_and_what_comes_twice_is_announced() {
    let server = publisher(Protocol::Resp2);
    let mut subscriber = fresh(&server, Protocol::Resp2)
        .replacement(Replacement::Overlap)
        .subscriber()
        .await
        .unwrap();
    subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
    assert_eq!(heard(&mut subscriber).await, "hello");
    for _ in 0..3 {
        // The last one is what this server says to who asks a second time.
        for word in ["Overlap", "hello", "Settled", "hello"] {
            assert_eq!(heard(&mut subscriber).await, word);
        }
    }
    let heard = server.heard().into_iter().filter(|heard| heard.command == "SUBSCRIBE a");
    let subscriptions: Vec<_> = heard.map(|heard| heard.connection).collect();
    assert_eq!(subscriptions, [0, 1, 1, 2, 2, 3, 3]);
}

const PONG: &str = "*2\r\n$4\r\npong\r\n$0\r\n\r\n";
const LATE: &str = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$4\r\nlate\r\n";

#[tokio::test(start_paused = true)]
async fn what_is_under_way_on_the_old_connection_when_the_new_one_has_all_is_heard() {
    let server = Server::new(|heard| match (heard.connection, heard.command.as_str()) {
        (_, "SUBSCRIBE a") => Some(subscribed(Protocol::Resp2)),
        (0, "PING") => Some(Answer::After(Duration::from_millis(3), [LATE, PONG].concat().leak())),
        _ => None,
    });
    let lost = Arc::new(AtomicBool::new(false));
    let noted = lost.clone();
    let mut subscriber = fresh(&server, Protocol::Resp2)
        .replacement(Replacement::Overlap)
        .idle(Idle::Keep(Duration::from_secs(3600)))
        .on_event(move |event| {
            noted.fetch_or(matches!(event, Event::StateLost(_)), Ordering::Relaxed);
        })
        .subscriber()
        .await
        .unwrap();
    subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
    for word in ["hello", "Overlap", "hello", "late", "Settled"] {
        assert_eq!(heard(&mut subscriber).await, word);
    }
    // The other connection has the subscription.
    assert!(!lost.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_that_breaks_before_its_last_word_makes_a_gap() {
    let server = Server::new(|heard| match (heard.connection, heard.command.as_str()) {
        (_, "SUBSCRIBE a") => Some(subscribed(Protocol::Resp2)),
        (0, "PING") => Some(Answer::Cut),
        _ => None,
    });
    let mut subscriber = fresh(&server, Protocol::Resp2)
        .replacement(Replacement::Overlap)
        .idle(Idle::Keep(Duration::from_secs(3600)))
        .subscriber()
        .await
        .unwrap();
    subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
    for word in ["hello", "Overlap", "hello", "Gap", "Settled"] {
        assert_eq!(heard(&mut subscriber).await, word);
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_fails_is_tried_again_while_the_earlier_connection_serves() {
    let server = Server::new(|heard| match (heard.connection, heard.command.as_str()) {
        (1, _) => Some(Answer::Cut),
        (_, "SUBSCRIBE a") => Some(subscribed(Protocol::Resp2)),
        _ => None,
    });
    let mut subscriber = fresh(&server, Protocol::Resp2)
        .replacement(Replacement::Overlap)
        .subscriber()
        .await
        .unwrap();
    subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
    for word in ["hello", "Overlap", "hello", "Settled"] {
        assert_eq!(heard(&mut subscriber).await, word);
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_comes_back_with_its_subscriptions_and_the_gap_announced() {
    let server = Server::new(|heard| match (heard.connection, heard.command.as_str()) {
        (0, "SUBSCRIBE b") => Some(Answer::Cut),
        (_, "SUBSCRIBE a") => Some(Answer::Raw(format!(">3\r\n{CONFIRMED}").leak())),
        (_, "SUBSCRIBE b") => Some(Answer::Raw(">3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n")),
        _ => None,
    });
    let mut subscriber = server.client().subscriber().await.unwrap();
    subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
    subscriber.subscribe(Topic::Channel, ["b"]).await.unwrap();
    assert_eq!(heard(&mut subscriber).await, "Gap");
    let on = |connection| move |heard: &Heard| heard.connection == connection;
    assert_eq!(server.heard().into_iter().filter(on(1)).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_subscription_is_an_error_and_a_revoked_one_is_told() {
    let server = Server::new(|heard| match (heard.connection, heard.command.as_str()) {
        (0, "SUBSCRIBE a") => Some(subscribed(Protocol::Resp3)),
        (0, "SUBSCRIBE c") => Some(Answer::Cut),
        (_, command) if command.starts_with("SUBSCRIBE") => {
            Some(Answer::Raw("-NOPERM No permissions to access a channel\r\n"))
        }
        _ => None,
    });
    let mut subscriber = server.client().subscriber().await.unwrap();
    let error = subscriber.subscribe(Topic::Channel, ["b"]).await.unwrap_err();
    assert_eq!(error.code(), Some("NOPERM"));
    subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
    assert_eq!(heard(&mut subscriber).await, "hello");
    let error = subscriber.subscribe(Topic::Channel, ["c"]).await.unwrap_err();
    assert_eq!(error.code(), Some("NOPERM"));
    assert_eq!(heard(&mut subscriber).await, "refused a NOPERM");
    assert_eq!(server.commands().len(), 5, "nobody asks again: {:?}", server.commands());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_dropped_and_counted_and_never_holds_a_login_up() {
    let flood = format!(">3\r\n{CONFIRMED}{}", format!(">3\r\n{MESSAGE}").repeat(1000)).leak();
    let server =
        Server::new(|heard| (heard.command == "SUBSCRIBE a").then_some(Answer::Raw(flood)));
    let mut subscriber =
        fresh(&server, Protocol::Resp3).backlog(10_000).subscriber().await.unwrap();
    subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    let health = subscriber.health();
    assert!(health.reauths >= 7 && health.reconnects == 0, "{health:?}");
    let mut read = 0;
    let missed = loop {
        match heard(&mut subscriber).await.strip_prefix("missed ") {
            Some(missed) => break missed.parse::<u32>().unwrap(),
            None => read += 1,
        }
    };
    assert!((50..200).contains(&read), "{read}");
    assert_eq!(read + missed, 1000);
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_without_a_connection_is_subscribed_to_when_there_is_one() {
    let server = Server::new(|heard| match (heard.connection, heard.command.as_str()) {
        (0 | 1, "SUBSCRIBE a") => Some(Answer::After(Duration::from_secs(60), "")),
        (_, "SUBSCRIBE a") => Some(subscribed(Protocol::Resp3)),
        _ => None,
    });
    let mut subscriber = server.client().subscriber().await.unwrap();
    let error = subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap_err();
    // There was a connection: it's the server that failed.
    assert!(matches!(error, Error::Unconfirmed), "{error}");
    // A server that doesn't answer is left for another try.
    assert_eq!(heard(&mut subscriber).await, "hello");
    assert_eq!(server.connections(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_wanted_ends() {
    let server = publisher(Protocol::Resp3);
    let mut subscriber = server.client().subscriber().await.unwrap();
    subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
    subscriber.unsubscribe(Topic::Channel, ["a"]);
    subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
    assert_eq!(server.commands(), ["SUBSCRIBE a", "UNSUBSCRIBE a", "SUBSCRIBE a"]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_nobody_waits_for_any_more_is_told() {
    let server = Server::new(|heard| {
        (heard.command == "SUBSCRIBE b")
            .then_some(Answer::After(Duration::from_secs(2), "-NOPERM no\r\n"))
    });
    let mut subscriber = fresh(&server, Protocol::Resp3).subscriber().await.unwrap();
    let waiting = subscriber.subscribe(Topic::Channel, ["b"]);
    timeout(Duration::from_secs(1), waiting).await.unwrap_err();
    assert_eq!(heard(&mut subscriber).await, "refused b NOPERM");
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_told_also_if_what_was_missing_is_not_wanted_any_more() {
    let server = Server::new(|heard| match (heard.connection, &*heard.command) {
        (_, "SUBSCRIBE a") => Some(Answer::Raw(format!(">3\r\n{CONFIRMED}").leak())),
        (0, "SUBSCRIBE b") => Some(Answer::Raw(">3\r\n+subscribe\r\n+b\r\n:2\r\n")),
        (0, "UNSUBSCRIBE c") => Some(Answer::Cut),
        (_, "SUBSCRIBE b") => {
            Some(Answer::After(Duration::from_secs(4), ">3\r\n+subscribe\r\n+b\r\n:2\r\n"))
        }
        (0, "SUBSCRIBE c") => Some(Answer::Raw(">3\r\n+subscribe\r\n+c\r\n:3\r\n")),
        _ => None,
    });
    let mut subscriber = fresh(&server, Protocol::Resp3).subscriber().await.unwrap();
    subscriber.subscribe(Topic::Channel, ["a", "b", "c"]).await.unwrap();
    subscriber.unsubscribe(Topic::Channel, ["c"]);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(server.connections(), 2);
    subscriber.unsubscribe(Topic::Channel, ["b"]);
    let next = timeout(Duration::from_secs(1), subscriber.next()).await;
    assert!(matches!(next, Ok(Ok(Delivery::Gap))), "{next:?}");
}

/// An invalidation that is larger than may be received, and then something that may.
fn stale(then: &str) -> Answer {
    let name = "k".repeat(1000);
    let names = format!("$1000\r\n{name}\r\n").repeat(100);
    Answer::Raw(format!(">2\r\n$10\r\ninvalidate\r\n*100\r\n{names}{then}").leak())
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_that_is_too_large_says_that_all_may_be_stale() {
    let server = Server::new(|heard| (heard.command == "GET k").then(|| stale("$5\r\nhello\r\n")));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notes = heard.clone();
    let builder = server.client().max_reply(32 << 10).on_push(move |push| {
        notes.lock().unwrap().push(push.raw().to_vec());
    });
    let mut client = builder.connect().await.unwrap();
    assert_eq!(client.command(args!["GET", "k"]).await.unwrap().str(), Ok("hello"));
    assert_eq!(*heard.lock().unwrap(), [b">2\r\n$10\r\ninvalidate\r\n_\r\n"]);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_that_is_too_large_is_no_message_that_a_subscriber_missed() {
    let server = Server::new(|heard| {
        let confirmed = format!(">3\r\n{CONFIRMED}>3\r\n{MESSAGE}");
        (heard.command == "SUBSCRIBE a").then(|| stale(&confirmed))
    });
    let mut subscriber = server.client().max_reply(32 << 10).subscriber().await.unwrap();
    subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
    assert_eq!(heard(&mut subscriber).await, "hello");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_refused_for_want_of_a_login_is_made_with_the_next_one() {
    let server = Server::new(|heard| {
        let is_first = heard.connection == 0 && heard.command.starts_with("SUBSCRIBE");
        match heard.command.as_str() {
            _ if is_first => Some(Answer::Raw("-NOAUTH Authentication required.\r\n")),
            "SUBSCRIBE news" => Some(Answer::Raw(">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n")),
            _ => None,
        }
    });
    let mut news = server.client().subscriber().await.unwrap();
    news.subscribe(Topic::Channel, ["news"]).await.unwrap();
    assert_eq!(server.connections(), 2);
}
