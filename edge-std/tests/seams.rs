//! The seams of the tokio host: back-pressure, a slow token source, and a source of one's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis_entraid::core::resp::{Framer, Value};
use redis_entraid::core::transport::Endpoint;
use redis_entraid::error::ConnectError;
use redis_entraid::source::{AccessToken, FetchError, Fixed, Request, TokenSource};
use redis_entraid::{Client, Connect, Error, args};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Connects to a server in this process, over a stream that holds 4 KiB each way.
struct InProcess;

impl Connect for InProcess {
    type Stream = DuplexStream;

    async fn connect(&self, _: Endpoint<'_>) -> Result<DuplexStream, ConnectError> {
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(serve(far));
        Ok(near)
    }
}

/// Answers one command after the other, and reads no further while an answer isn't taken.
async fn serve(mut stream: DuplexStream) {
    let mut input = Vec::new();
    loop {
        let mut used = 0;
        while let Ok(framed) = Framer::new().feed(&input[used..])
            && framed.complete
        {
            let command = Value::new(&input[used..used + framed.used]).expect("it was framed");
            let reply: &[u8] = match command.items().next().and_then(|word| word.str().ok()) {
                Some("HELLO") => b"%1\r\n+proto\r\n:3\r\n",
                Some("CLIENT") => b"-ERR unknown subcommand\r\n",
                _ => b"+OK\r\n",
            };
            if stream.write_all(reply).await.is_err() {
                return;
            }
            used += framed.used;
        }
        input.drain(..used);
        match stream.read_buf(&mut input).await {
            Ok(1..) => {}
            _ => return,
        }
    }
}

#[tokio::test]
async fn a_pipeline_of_64_megabytes_goes_through_4_kilobytes_to_a_server_that_waits_to_be_read() {
    let mut redis = Client::builder("here")
        .source(Fixed::new("token").user("oid"))
        .connector(InProcess)
        .command_timeout(Duration::from_secs(120))
        .connect()
        .await
        .unwrap();
    let value = "x".repeat(1024);
    let command = args!["SET", "key", &value];
    let total = (64 << 20) / 1024;
    let replies = redis.pipeline((0..total).map(|_| command)).await.unwrap();
    assert_eq!(replies.len(), total);
    for reply in replies {
        assert_eq!(reply.unwrap().str().unwrap(), "OK");
    }
}

/// Gives a token at once the first time, and after 20 seconds the second time.
struct Slow {
    asked: Arc<AtomicU32>,
}

impl TokenSource for Slow {
    async fn fetch(&mut self, _: Request<'_>) -> Result<AccessToken, FetchError> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        if asked > 0 {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        let token = AccessToken::new(format!("token-{asked}")).user("oid");
        Ok(token.expires_in(Duration::from_secs(100)))
    }
}

// On a clock that moves only while all wait: a latency of nothing means that nothing waited.
#[tokio::test(start_paused = true)]
async fn a_token_fetch_that_hangs_for_20_seconds_changes_no_commands_latency() {
    let asked = Arc::new(AtomicU32::new(0));
    let mut redis = Client::builder("here")
        .source(Slow { asked: asked.clone() })
        .connector(InProcess)
        .connect()
        .await
        .unwrap();
    let start = tokio::time::Instant::now();
    let mut while_hanging = 0;
    while redis.health().reauths == 0 {
        assert!(start.elapsed() < Duration::from_secs(100), "{:?}", redis.health());
        let before = tokio::time::Instant::now();
        redis.command(args!["PING"]).await.unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO);
        while_hanging += u32::from(redis.health().token.in_flight);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(while_hanging >= 1900, "{while_hanging} commands while the source hung");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert_eq!(redis.health().reconnects, 0);
}

/// A program of a user's own, generic over where its tokens come from.
async fn serve_users<S: TokenSource>(source: S) -> Result<String, Error> {
    let mut redis = Client::builder("here").source(source).connector(InProcess).connect().await?;
    Ok(redis.command(args!["PING"]).await?.str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_a_generic_source_can_be_spawned_on_the_multi_thread_runtime() {
    fn spawned<S: TokenSource>(source: S) -> tokio::task::JoinHandle<Result<String, Error>> {
        tokio::spawn(serve_users(source))
    }
    let own = Slow { asked: Arc::default() };
    let (own, fixed) = (spawned(own), spawned(Fixed::new("token").user("oid")));
    assert_eq!(own.await.unwrap().unwrap(), "OK");
    assert_eq!(fixed.await.unwrap().unwrap(), "OK");
}
