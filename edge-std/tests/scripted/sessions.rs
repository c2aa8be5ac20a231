//! What belongs to one connection - transactions, watched keys, blocking commands - and what
//! becomes of it.

use std::time::Duration;

use crate::server::{Answer, Heard, Server};
use redis_entraid::error::{CommandRefused, Outcome};
use redis_entraid::{Client, Error, Idle, args};

fn usual() -> Server {
    Server::new(|_| None)
}

/// Cuts the connection at the first `command`.
fn cut_at(command: &'static str) -> Server {
    Server::new(move |heard| {
        (heard.connection == 0 && heard.command == command).then_some(Answer::Cut)
    })
}

async fn ok(redis: &mut Client, command: &str) {
    let words: Vec<_> = command.split(' ').map(redis_entraid::Arg::from).collect();
    redis.command(&words).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_sent_in_parts_needs_a_client_without_clones() {
    let server = usual();
    let mut redis = server.client().connect().await.unwrap();
    let mut other = redis.clone();
    for command in [args!["MULTI"], args!["WATCH", "k"]] {
        let error = redis.command(command).await.unwrap_err();
        assert!(matches!(error, Error::Refused(CommandRefused::Shared)), "{error}");
    }
    redis.pipeline([args!["MULTI"], args!["SET", "k", 1], args!["EXEC"]]).await.unwrap();
    ok(&mut other, "GET k").await;
    drop(other);
    ok(&mut redis, "WATCH k").await;
    ok(&mut redis, "MULTI").await;
    // A clone that came later has to wait for its end.
    let mut other = redis.clone();
    let error = other.command(args!["GET", "k"]).await.unwrap_err();
    assert!(matches!(error, Error::Refused(CommandRefused::Shared)), "{error}");
    ok(&mut redis, "EXEC").await;
    ok(&mut other, "GET k").await;
    assert_eq!(
        server.commands(),
        ["MULTI", "SET k 1", "EXEC", "GET k", "WATCH k", "MULTI", "EXEC", "GET k"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_was_lost_is_told_before_the_transaction_that_relies_on_it() {
    let server = cut_at("GET k");
    let mut redis = server.client().connect().await.unwrap();
    ok(&mut redis, "WATCH k").await;
    let error = redis.command(args!["GET", "k"]).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    let transaction = [args!["MULTI"], args!["SET", "k", 1], args!["EXEC"]];
    let error = redis.pipeline(transaction).await.map(drop).unwrap_err();
    assert!(matches!(error, Error::StateLost), "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent);
    // From the beginning it works.
    ok(&mut redis, "WATCH k").await;
    redis.pipeline(transaction).await.unwrap();
    let on_the_second: Vec<_> = server.heard().into_iter().filter(|h| h.connection == 1).collect();
    let commands: Vec<_> = on_the_second.into_iter().map(|Heard { command, .. }| command).collect();
    assert_eq!(commands, ["WATCH k", "MULTI", "SET k 1", "EXEC"]);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_waits_for_a_connection_isnt_sent_to_one_that_doesnt_watch() {
    let server = Server::new(|heard| match (heard.connection, heard.command.as_str()) {
        // It dies while the transaction is still in line behind the blocking command.
        (0, "BLPOP q 1.000") => Some(Answer::Cut),
        _ => None,
    });
    let mut redis = server.client().connect().await.unwrap();
    ok(&mut redis, "WATCH k").await;
    let batch = [args!["BLPOP", "q", "1.000"], args!["MULTI"], args!["EXEC"]];
    let replies = redis.pipeline(batch).await.unwrap();
    let outcomes: Vec<_> = replies.map(|reply| reply.unwrap_err().outcome()).collect();
    assert_eq!(outcomes, [Outcome::Unknown, Outcome::NotSent, Outcome::NotSent]);
    ok(&mut redis, "PING").await;
    assert_eq!(server.commands(), ["WATCH k", "BLPOP q 1.000", "PING"]);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_in_a_transaction_leaves_nothing_behind() {
    let server = usual();
    let mut redis = server.client().connect().await.unwrap();
    ok(&mut redis, "MULTI").await;
    let mut other = redis.clone();
    drop(redis);
    ok(&mut other, "SET k 1").await;
    let heard = |connection, command: &str| Heard { connection, command: command.to_owned() };
    assert_eq!(server.heard(), [heard(0, "MULTI"), heard(1, "SET k 1")]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_not_continued_on_another_connection() {
    let server = cut_at("SET a 1");
    let mut redis = server.client().connect().await.unwrap();
    let (first, rest) = (args!["SET", "a", 1], args!["SET", "b", 1]);
    let batch = core::iter::once(first).chain((0..5000).map(|_| rest));
    let replies = redis.pipeline(batch).await.unwrap();
    let failed = replies.filter(Result::is_err).count();
    assert_eq!(failed, 5001);
    ok(&mut redis, "PING").await;
    let second: Vec<_> = server.heard().into_iter().filter(|h| h.connection == 1).collect();
    assert_eq!(second.len(), 1, "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_blocks_for_long_is_sent_in_slices_that_add_up() {
    let server = Server::new(|heard| {
        let seconds: f64 = heard.command.strip_prefix("BLPOP q ")?.parse().unwrap();
        Some(Answer::After(Duration::from_secs_f64(seconds), "_\r\n"))
    });
    let mut redis = server.client().connect().await.unwrap();
    let start = tokio::time::Instant::now();
    let reply = redis.command(args!["BLPOP", "q", "25.5"]).await.unwrap();
    assert!(reply.is_null());
    let took = start.elapsed().as_millis();
    assert!((25_500..25_520).contains(&took), "{took}");
    let commands = server.commands();
    assert_eq!(commands[..2], ["BLPOP q 10.000", "BLPOP q 10.000"]);
    assert_eq!(commands.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_a_blocked_connection_is_told_that_it_was_not_sent() {
    let server = Server::new(|heard| {
        let blocks = heard.command.starts_with("BLPOP");
        blocks.then_some(Answer::After(Duration::from_secs(9), "_\r\n"))
    });
    let mut redis = server.client().connect().await.unwrap();
    let mut other = redis.clone();
    let blocked = tokio::spawn(async move {
        redis.command(args!["BLPOP", "q", 9]).await.map(|reply| reply.is_null()).unwrap()
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let start = tokio::time::Instant::now();
    let error = other.command(args!["PING"]).await.unwrap_err();
    assert!(
        matches!(error, Error::Lost { outcome: Outcome::NotSent, reason: None, .. }),
        "{error}"
    );
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    assert!(blocked.await.unwrap());
    ok(&mut other, "PING").await;
    assert_eq!(server.commands(), ["BLPOP q 9.000", "PING"]);
}

#[tokio::test(start_paused = true)]
async fn a_redirected_command_goes_to_the_address_under_the_configured_name() {
    let server = Server::new(|heard| {
        let (connection, command) = (heard.connection, heard.command.as_str());
        match command {
            "GET a" if connection == 0 => Some(Answer::Raw("-MOVED 15495 10.1.2.3:8501\r\n")),
            "GET a" => Some(Answer::Raw("+here\r\n")),
            "GET b" if connection == 0 => Some(Answer::Raw("-MOVED 3300 :8502\r\n")),
            "GET b" => Some(Answer::Raw("+there\r\n")),
            _ => None,
        }
    });
    let mut redis = server.client().port(10_000).connect().await.unwrap();
    for _ in 0..3 {
        assert_eq!(redis.command(args!["GET", "a"]).await.unwrap().str().unwrap(), "here");
    }
    assert_eq!(redis.command(args!["GET", "b"]).await.unwrap().str().unwrap(), "there");
    let mut other = redis.clone();
    assert_eq!(other.command(args!["GET", "a"]).await.unwrap().str().unwrap(), "here");
    let to = |address: &str, port| (address.to_owned(), port, "here".to_owned());
    // One connection for each, by all handles, and the certificate's name at each.
    assert_eq!(server.dialed(), [to("here", 10_000), to("10.1.2.3", 8501), to("here", 8502)]);
    let pipeline = redis.pipeline([args!["GET", "b"], args!["GET", "a"]]).await.unwrap();
    let texts: Vec<_> = pipeline.map(|reply| reply.unwrap().str().unwrap().to_owned()).collect();
    assert_eq!(texts, ["there", "here"]);
    // In a transaction that was begun elsewhere, it is an error with a type.
    drop(other);
    redis.command(args!["MULTI"]).await.unwrap();
    let error = redis.command(args!["GET", "a"]).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent);
    let Error::Server(error) = error else { panic!("{error}") };
    assert_eq!(error.redirect().unwrap().to_string(), "slot 15495 is at 10.1.2.3:8501");
}

#[tokio::test(start_paused = true)]
async fn a_node_stays_connected_when_the_handle_that_led_there_is_gone() {
    let server = Server::new(|heard| {
        let moved = heard.connection == 0 && heard.command == "GET a";
        moved.then_some(Answer::Raw("-MOVED 15495 10.1.2.3:8501\r\n"))
    });
    let redis = server.client().connect().await.unwrap();
    for _ in 0..3 {
        redis.clone().command(args!["GET", "a"]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(server.connections(), 2);
    // It goes with the client.
    drop(redis);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!server.commands().contains(&"PING".to_owned()), "{:?}", server.commands());
}

#[tokio::test(start_paused = true)]
async fn a_redirection_in_a_circle_is_an_error() {
    let server = Server::new(|heard| {
        heard.command.starts_with("GET").then_some(Answer::Raw("-MOVED 1 10.1.2.3:1\r\n"))
    });
    let mut redis = server.client().connect().await.unwrap();
    let error = redis.command(args!["GET", "a"]).await.unwrap_err();
    assert_eq!(error.code(), Some("MOVED"));
    let asked = server.commands().iter().filter(|command| *command == "GET a").count();
    assert!((4..10).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_may_go_comes_back_with_the_next_command() {
    let server = usual();
    let idle = Idle::Close(Duration::from_secs(60));
    let mut redis = server.client().idle(idle).connect().await.unwrap();
    ok(&mut redis, "PING").await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(redis.health().connection.is_none());
    assert_eq!(server.connections(), 1);
    ok(&mut redis, "PING").await;
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_by_default() {
    let server = usual();
    let mut redis = server.client().connect().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    ok(&mut redis, "GET k").await;
    assert_eq!(server.connections(), 1);
    let pings = server.commands().iter().filter(|command| *command == "PING").count();
    assert_eq!(pings, 14, "one every four minutes, and none behind a command");
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_command_is_never_sent() {
    let server = Server::new(|heard| match (heard.connection, heard.command.as_str()) {
        (0, "GET k") => Some(Answer::Cut),
        // The next login isn't answered for a while.
        (1, hello) if hello.starts_with("HELLO") => {
            Some(Answer::After(Duration::from_secs(4), "%1\r\n+proto\r\n:3\r\n"))
        }
        _ => None,
    });
    let mut redis = server.client().connect().await.unwrap();
    redis.command(args!["GET", "k"]).await.unwrap_err();
    for _ in 0..20 {
        let waited = tokio::time::timeout(Duration::from_millis(100), async {
            redis.command(args!["INCR", "n"]).await.map(|_| ())
        });
        assert!(waited.await.is_err());
    }
    ok(&mut redis, "PING").await;
    assert_eq!(server.commands(), ["GET k", "PING"]);
}
