//! The seams of the tokio host: back-pressure, a slow token source, and a source of one's own.

use std::sync::Arc;
#[cfg(feature = "http")]
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[cfg(feature = "http")]
use redis_entraid::entraid_core::source::{
    Input, RequestWriter, Source, SourceError, Span, Step, TokenResponse,
};
use redis_entraid::source::{AccessToken, FetchError, Request, StaticToken, TokenSource};
use redis_entraid::{Client, Error, args};

use crate::server::Server;

#[tokio::test]
async fn a_pipeline_of_64_megabytes_goes_through_4_kilobytes_to_a_server_that_waits_to_be_read() {
    let mut redis = Server::new(|_| None)
        .client()
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

#[tokio::test(start_paused = true)]
async fn a_token_fetch_that_hangs_for_20_seconds_changes_no_commands_latency() {
    let asked = Arc::new(AtomicU32::new(0));
    let mut redis = Client::builder("here")
        .source(Slow { asked: asked.clone() })
        .connector(Server::new(|_| None))
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
    let mut redis =
        Client::builder("here").source(source).connector(Server::new(|_| None)).connect().await?;
    Ok(redis.command(args!["PING"]).await?.str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_a_generic_source_can_be_spawned_on_the_multi_thread_runtime() {
    fn spawned<S: TokenSource>(source: S) -> tokio::task::JoinHandle<Result<String, Error>> {
        tokio::spawn(serve_users(source))
    }
    let own = Slow { asked: Arc::default() };
    let (own, fixed) = (spawned(own), spawned(StaticToken::new("token").user("oid")));
    assert_eq!(own.await.unwrap().unwrap(), "OK");
    assert_eq!(fixed.await.unwrap().unwrap(), "OK");
}

/// Panics when it is asked for the second time.
struct Fragile(u32);

impl TokenSource for Fragile {
    async fn fetch(&mut self, _: Request<'_>) -> Result<AccessToken, FetchError> {
        self.0 += 1;
        assert!(self.0 != 2, "on purpose");
        let token = AccessToken::new(format!("token-{}", self.0)).user("oid");
        Ok(token.expires_in(Duration::from_secs(600)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_asked_again() {
    let server = Server::new(|_| None);
    let builder = Client::builder("here").source(Fragile(0)).connector(server.clone());
    let mut redis = builder.connect().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1200)).await;
    redis.command(args!["PING"]).await.unwrap();
    let health = redis.health();
    assert!(health.reauths >= 1 && health.reconnects == 0, "{health:?}");
}

/// A JWT that lies in a file, as a source of the core.
#[cfg(feature = "http")]
struct InFile(std::path::PathBuf);

#[cfg(feature = "http")]
impl Source for InFile {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        match input {
            Input::Start(start) => {
                assert!(start.unix_time.is_some() && start.nonce.is_some());
                let mut writer = RequestWriter::new(request);
                writer.plain(&self.0.display().to_string());
                Ok(Step::ReadFile { path: writer.finish()?, max: 64 })
            }
            Input::File(token) => {
                let mut found = TokenResponse::new(Span { start: 4, end: token.len() });
                found.user = Some(Span { start: 0, end: 3 });
                found.expires_in = Some(Duration::from_secs(60));
                Ok(Step::Done(found))
            }
            Input::Failed(why) => Err(SourceError::Io(why)),
            _ => Err(SourceError::ORDER),
        }
    }
}

#[cfg(feature = "http")]
#[tokio::test]
async fn a_source_of_the_core_reads_a_file_and_says_what_is_wrong_with_it() {
    let folder = std::env::temp_dir().join(format!("redis-entraid-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("token");
    let connect = async || {
        let said = Arc::new(Mutex::new(String::new()));
        let hears = said.clone();
        let server = Server::new(move |heard| {
            *hears.lock().unwrap() += &heard.command;
            None
        });
        let builder = Client::builder("here").source(InFile(path.clone())).connector(server);
        builder.connect().await.map(|_| said.lock().unwrap().clone())
    };
    for (content, problem) in [
        (None, "No such file"),
        (Some("x".repeat(65)), "response buffer too small: 65 bytes needed, 64 available"),
    ] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let error = connect().await.unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{error} {cause}").contains(problem), "{error}: {cause}");
    }
    std::fs::write(&path, "oid a-token").unwrap();
    let said = connect().await.unwrap();
    assert!(said.contains("AUTH oid a-token"), "{said}");
    std::fs::remove_dir_all(&folder).unwrap();
}
