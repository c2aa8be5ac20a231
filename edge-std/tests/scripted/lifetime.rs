//! How a client begins and ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis_entraid::entraid_core::transport::{ConnectErrorKind, Endpoint};
use redis_entraid::error::ConnectError;
use redis_entraid::source::StaticToken;
use redis_entraid::{Client, Connect, Error, args};
use tokio::io::DuplexStream;
use tokio::time::{Instant, sleep};

use crate::server::{Answer, Server};

/// A server that is not there at first.
#[derive(Clone)]
struct Later(Server, Arc<AtomicBool>);

impl Connect for Later {
    type Stream = DuplexStream;

    async fn connect(&self, endpoint: Endpoint<'_>) -> Result<DuplexStream, ConnectError> {
        match self.1.load(Ordering::Relaxed) {
            true => self.0.connect(endpoint).await,
            false => Err(ConnectError::new(ConnectErrorKind::Unreachable, "here:1", "not yet")),
        }
    }
}

fn later() -> (Client, Later) {
    let later = Later(Server::new(|_| None), Arc::default());
    let builder = Client::builder("here").source(StaticToken::new("token").user("oid"));
    (builder.connector(later.clone()).start().unwrap(), later)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_started_has_its_commands_wait_for_the_server() {
    let (mut redis, later) = later();
    assert!(!redis.health().is_ready());
    let is_there = later.1.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(3)).await;
        is_there.store(true, Ordering::Relaxed);
    });
    let begun = Instant::now();
    redis.command(args!["SET", "key", "value"]).await.unwrap();
    let waited = begun.elapsed();
    assert!((3000..=4100).contains(&waited.as_millis()), "{waited:?}");
    assert!(redis.health().is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_command_waits_no_longer_than_it_may_and_is_told_why_there_is_no_connection() {
    let (mut redis, _) = later();
    let begun = Instant::now();
    let error = redis.command(args!["GET", "key"]).await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 5);
    let Error::Unavailable { cause: Some(cause) } = error else { panic!("{error}") };
    assert!(matches!(*cause, Error::Connect(_)), "{cause}");
    assert!(matches!(redis.problem(), Some(Error::Connect(_))));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_has_all_its_replies_first() {
    let server = Server::new(|heard| {
        let is_own = heard.command.starts_with("HELLO") || heard.command.starts_with("CLIENT");
        (!is_own).then_some(Answer::After(Duration::from_millis(100), "+OK\r\n"))
    });
    let redis = server.client().connect().await.unwrap();
    let commands: Vec<_> = (0..5)
        .map(|number| {
            let mut redis = redis.clone();
            tokio::spawn(
                async move { redis.command(args!["SET", "key", number]).await.map(|_| ()) },
            )
        })
        .collect();
    let mut late = redis.clone();
    sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    redis.close().await;
    assert_eq!(begun.elapsed().as_millis(), 450);
    for command in commands {
        command.await.unwrap().unwrap();
    }
    assert_eq!(
        late.command(args!["GET", "key"]).await.unwrap_err().to_string(),
        Error::Closed.to_string()
    );
    assert_eq!(server.commands().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_has_the_replies_of_nodes_first() {
    let server = Server::new(|heard| match (heard.connection, &*heard.command) {
        (0, "GET key") => Some(Answer::Raw("-MOVED 1 10.0.0.2:8500\r\n")),
        (1, "GET key") => Some(Answer::After(Duration::from_millis(100), "+there\r\n")),
        _ => None,
    });
    let redis = server.client().connect().await.unwrap();
    let mut other = redis.clone();
    let command = tokio::spawn(async move {
        let value = other.command(args!["GET", "key"]).await;
        (value.map(|value| value.str().unwrap().to_owned()), other)
    });
    sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    redis.close().await;
    assert_eq!(begun.elapsed().as_millis(), 50);
    let (value, mut other) = command.await.unwrap();
    assert_eq!(value.unwrap(), "there");
    assert!(matches!(other.command(args!["GET", "key"]).await, Err(Error::Closed)));
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_connection_closes_when_the_time_of_its_commands_is_over() {
    let (redis, _) = later();
    let mut other = redis.clone();
    let command = tokio::spawn(async move { other.command(args!["GET", "key"]).await.map(|_| ()) });
    sleep(Duration::from_millis(10)).await;
    let begun = Instant::now();
    redis.close().await;
    assert_eq!(begun.elapsed().as_millis(), 4990);
    assert!(matches!(command.await.unwrap(), Err(Error::Unavailable { .. })));
    let (redis, _) = later();
    redis.close().await;
}
