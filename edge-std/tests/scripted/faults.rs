//! What goes wrong in between, and who is told what.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use crate::server::{Answer, Fresh, Server};
use redis_entraid::error::{CommandRefused, Outcome};
use redis_entraid::source::{AccessToken, FetchError, Request, TokenSource};
use redis_entraid::{Client, Error, Event, args};
use tokio::time::{Instant, sleep};

/// Answers with the command itself, `BLPOP` after nine seconds.
fn echo() -> Server {
    Server::new(|heard| match heard.command.split(' ').next() {
        Some("GET") => Some(Answer::Raw(format!("+{}\r\n", heard.command).leak())),
        Some("BLPOP") => Some(Answer::After(Duration::from_secs(9), "+popped\r\n")),
        _ => None,
    })
}

fn texts(replies: redis_entraid::Pipeline<'_>) -> Vec<String> {
    let text = |reply: Result<redis_entraid::Value<'_>, Error>| match reply {
        Ok(value) => value.str().unwrap().to_owned(),
        Err(Error::Refused(CommandRefused::Blocking)) => "refused".to_owned(),
        Err(error) => format!("{:?}", error.outcome()),
    };
    replies.map(text).collect()
}

#[tokio::test(start_paused = true)]
async fn each_reply_of_a_pipeline_stands_where_its_command_does_whatever_fails_before_its_turn() {
    let server = echo();
    let mut redis = server.client().connect().await.unwrap();
    let refused = [args!["GET", "a"], args!["BLPOP", "q", 60], args!["GET", "b"]];
    let replies = texts(redis.pipeline(refused).await.unwrap());
    assert_eq!(replies, ["GET a", "refused", "GET b"]);
}

#[tokio::test(start_paused = true)]
async fn what_blocks_uses_up_nobody_elses_time() {
    let server = echo();
    let mut redis = server.client().connect().await.unwrap();
    let mut other = redis.clone();
    let start = Instant::now();
    let blocking = [args!["BLPOP", "q", 9], args!["BLPOP", "q", 9], args!["GET", "b"]];
    let waits = async {
        sleep(Duration::from_secs(1)).await;
        let error = other.command(args!["GET", "c"]).await.unwrap_err();
        (error.outcome(), start.elapsed().as_secs())
    };
    let (replies, waited) = tokio::join!(redis.pipeline(blocking), waits);
    assert_eq!(texts(replies.unwrap()), ["popped", "popped", "GET b"]);
    // Who stood behind it was told in time, and nothing of theirs was sent.
    assert_eq!(waited, (Outcome::NotSent, 6));
    assert!(!server.commands().contains(&"GET c".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_waited_through_a_failed_login_is_whole_on_the_next_connection() {
    let server = Server::new(|heard| {
        let first = heard.connection == 0 && heard.command == "PING";
        let login = heard.connection == 1 && heard.command.starts_with("HELLO");
        (first || login).then_some(Answer::Cut)
    });
    let mut redis = server.client().connect().await.unwrap();
    redis.command(args!["PING"]).await.unwrap_err();
    for command in [args!["MULTI"], args!["SET", "k", 1], args!["EXEC"], args!["GET", "k"]] {
        redis.command(command).await.unwrap();
    }
    let heard = server.heard().into_iter().filter(|heard| heard.connection == 2);
    let commands: Vec<_> = heard.map(|heard| heard.command).collect();
    assert_eq!(commands, ["MULTI", "SET k 1", "EXEC", "GET k"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_handle_left_unsent_is_not_sent() {
    let server = Server::new(|heard| (heard.command == "PING").then_some(Answer::Cut));
    let mut redis = server.client().connect().await.unwrap();
    redis.command(args!["PING"]).await.unwrap_err();
    let mut other = redis.clone();
    {
        let mut left = pin!(async move { redis.command(args!["SET", "k", 1]).await.map(drop) });
        poll_fn(|cx| Poll::Ready(left.as_mut().poll(cx).is_pending())).await;
    }
    other.command(args!["GET", "k"]).await.unwrap();
    assert_eq!(server.commands(), ["PING", "GET k"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_refused_begins_nothing() {
    let server =
        Server::new(|heard| (heard.command == "WATCH k").then_some(Answer::Raw("-NOPERM no\r\n")));
    let mut redis = server.client().connect().await.unwrap();
    redis.command(args!["WATCH", "k"]).await.unwrap_err();
    let mut other = redis.clone();
    other.command(args!["GET", "k"]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_stays_open_by_mistake_serves_nobody() {
    let server = Server::new(|heard| {
        (heard.command == "DISCARD x").then_some(Answer::Raw("-ERR wrong number\r\n"))
    });
    let mut redis = server.client().connect().await.unwrap();
    redis.command(args!["MULTI"]).await.unwrap();
    redis.command(args!["DISCARD", "x"]).await.unwrap_err();
    sleep(Duration::from_secs(1)).await;
    redis.command(args!["SET", "k", 1]).await.unwrap();
    let heard = server.heard();
    assert_eq!((heard[2].connection, &*heard[2].command), (1, "SET k 1"));
}

#[test]
fn a_command_on_its_way_may_have_been_executed_when_the_runtime_goes() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (theirs, ours) = (runtime(), runtime());
    let server = Server::new(|heard| {
        (heard.command == "INCR n").then_some(Answer::After(Duration::from_secs(60), ":1\r\n"))
    });
    let mut redis = theirs.block_on(server.client().connect()).unwrap();
    let mut later = redis.clone();
    let mut incr = pin!(async { redis.command(args!["INCR", "n"]).await.map(drop) });
    theirs.block_on(async {
        while server.commands().is_empty() {
            poll_fn(|cx| Poll::Ready(incr.as_mut().poll(cx).is_pending())).await;
            tokio::task::yield_now().await;
        }
    });
    drop(theirs);
    let error = ours.block_on(incr).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    let error = ours.block_on(later.command(args!["INCR", "n"])).unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_is_not_dialed_for_ever() {
    let server = Server::new(|heard| match (heard.connection, &*heard.command) {
        (0, "GET k") => Some(Answer::Raw("-MOVED 1 10.0.0.2:8500\r\n")),
        (1, "GET k") => Some(Answer::Raw("+there\r\n")),
        // Node and all go when there is nothing to do.
        (1, "PING") => Some(Answer::Cut),
        _ => None,
    });
    let mut redis = server.client().connect().await.unwrap();
    assert_eq!(redis.command(args!["GET", "k"]).await.unwrap().str().unwrap(), "there");
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_disturbs_nobody() {
    let server = Server::new(|heard| (heard.command == "PING").then_some(Answer::Cut));
    let builder = server.client().source(Fresh::default());
    let mut redis = builder.on_event(|_| panic!("on purpose")).connect().await.unwrap();
    redis.command(args!["PING"]).await.unwrap_err();
    redis.command(args!["GET", "k"]).await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    assert!(redis.health().token.refreshes > 5, "{:?}", redis.health());
}

/// A source that never answers.
struct Silent;

impl TokenSource for Silent {
    async fn fetch(&mut self, _: Request<'_>) -> Result<AccessToken, FetchError> {
        pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_answers_is_named_as_the_reason() {
    let server = echo();
    let error = server.client().source(Silent).connect().await.unwrap_err();
    assert!(matches!(error, Error::Token(_)), "{error}");
}

/// A source that gives a token of ten minutes, and from the next request on none for as long as it
/// was told.
struct Outage {
    ends: Arc<Mutex<Option<Instant>>>,
    requests: u32,
}

impl TokenSource for Outage {
    async fn fetch(&mut self, _: Request<'_>) -> Result<AccessToken, FetchError> {
        self.requests += 1;
        let down = self.ends.lock().unwrap().is_some_and(|ends| Instant::now() < ends);
        if down {
            return Err(FetchError::transient("down"));
        }
        let token = AccessToken::new(format!("token-{}", self.requests)).user("oid");
        Ok(token.expires_in(Duration::from_secs(600)))
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_who_waits_is_served_within_the_longest_quick_wait() {
    for seconds in [1500, 1530, 1559, 2000, 4321, 10_000] {
        let server = echo();
        let ends = Arc::new(Mutex::new(None));
        let source = Outage { ends: ends.clone(), requests: 0 };
        let client = server.client().source(source).connect().await.unwrap();
        let back = Instant::now() + Duration::from_secs(seconds);
        *ends.lock().unwrap() = Some(back);
        // Somebody asks again and again, and one more comes when the token is long over.
        let ask = async |mut redis: Client| {
            while redis.command(args!["GET", "k"]).await.is_err() {}
        };
        sleep(Duration::from_secs(700)).await;
        ask(client).await;
        let late = Instant::now().saturating_duration_since(back);
        assert!(late <= Duration::from_secs(31), "{seconds}: {late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_an_outage_waits_for_no_slow_attempt() {
    for late in (0..60).step_by(10) {
        let server = echo();
        let ends = Arc::new(Mutex::new(None));
        let source = Outage { ends: ends.clone(), requests: 0 };
        let mut redis = server.client().source(source).connect().await.unwrap();
        *ends.lock().unwrap() = Some(Instant::now() + Duration::from_secs(2000));
        // Nobody has waited; the next attempt may be nearly a minute away.
        sleep(Duration::from_secs(2000 + late)).await;
        let start = Instant::now();
        while redis.command(args!["GET", "k"]).await.is_err() {}
        assert!(start.elapsed() <= Duration::from_secs(31), "{late}: {:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn replacements_leave_the_waits_of_reconnecting_alone() {
    // With RESP2 each new token means a new connection.
    let server = Server::new(|heard| {
        let text = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
        (heard.command == "SUBSCRIBE a").then_some(Answer::Raw(text))
    });
    let (sender, mut waits) = tokio::sync::mpsc::unbounded_channel();
    let mut subscriber = Client::builder("here")
        .connector(server.clone())
        .source(Fresh::default())
        .protocol(redis_entraid::Protocol::Resp2)
        .replacement(redis_entraid::Replacement::Overlap)
        .on_event(move |event| {
            if let Event::LoggedIn { .. } | Event::Disconnected { .. } = event {
                let _ = sender.send((Instant::now(), *event));
            }
        })
        .subscriber()
        .await
        .unwrap();
    subscriber.subscribe(redis_entraid::Topic::Channel, ["a"]).await.unwrap();
    sleep(Duration::from_secs(7200)).await;
    assert!(server.connections() > 10, "{}", server.connections());
    assert!(subscriber.health().is_ready() && subscriber.problem().is_none());
    // A login comes first, and the end of the one before at once.
    let mut last = None;
    while let Ok((at, event)) = waits.try_recv() {
        if let (Event::Disconnected { .. }, Some(last)) = (event, last) {
            assert!(at.duration_since(last) < Duration::from_secs(1));
        }
        last = Some(at);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_leads_its_transaction_to_the_node_of_its_key() {
    let server = Server::new(|heard| {
        let moved = heard.connection == 0 && heard.command == "WATCH k";
        moved.then_some(Answer::Raw("-MOVED 1 10.0.0.2:8500\r\n"))
    });
    let mut redis = server.client().connect().await.unwrap();
    for command in [args!["WATCH", "k"], args!["MULTI"], args!["EXEC"]] {
        redis.command(command).await.unwrap();
    }
    let there = server.heard().into_iter().filter(|heard| heard.connection == 1);
    let there: Vec<_> = there.map(|heard| heard.command).collect();
    assert_eq!(there, ["WATCH k", "MULTI", "EXEC"]);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_of_which_something_is_refused_opens_nothing() {
    let server = Server::new(|heard| {
        (heard.command == "MULTI").then_some(Answer::Raw("+the server is in a transaction\r\n"))
    });
    let mut redis = server.client().connect().await.unwrap();
    let batch = [args!["BLPOP", "q", 60], args!["MULTI"], args!["SET", "k", 1]];
    let replies = texts(redis.pipeline(batch).await.unwrap());
    assert_eq!(replies, ["refused", "NotSent", "NotSent"]);
    redis.command(args!["GET", "k"]).await.unwrap();
    assert_eq!(server.commands(), ["GET k"]);
}
