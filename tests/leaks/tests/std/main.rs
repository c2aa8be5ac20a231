//! The tokio host through everything that can go wrong: what it and its libraries log, what its
//! events, errors and panics say, and every public type.

#![allow(clippy::unwrap_used)]

mod identities;

use std::error::Error as _;
use std::panic;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use amr_emulator::{Emulator, Options, Store};
use leaks::{Secrets, Shown};
use redis_entraid::entraid_core::transport::Endpoint;
use redis_entraid::error::{ConfigError, ConnectError, Error};
use redis_entraid::http::Http;
use redis_entraid::net::{PlainTcp, TlsTcp};
use redis_entraid::source::*;
use redis_entraid::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

static SHOWN: LazyLock<Mutex<Shown>> = LazyLock::new(Mutex::default);
/// What is logged, apart from what is shown: printing may log.
static LOGGED: Mutex<String> = Mutex::new(String::new());
static SECRETS: LazyLock<Mutex<Secrets>> = LazyLock::new(Mutex::default);

fn shown() -> MutexGuard<'static, Shown> {
    SHOWN.lock().unwrap()
}

/// Takes down all that anybody logs.
struct Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}: {}\n", record.level(), record.target(), record.args());
        *LOGGED.lock().unwrap() += &line;
    }
    fn flush(&self) {}
}

/// A source of which we know the tokens.
struct Watched<S>(S);

impl<S: TokenSource> TokenSource for Watched<S> {
    async fn fetch(&mut self, request: Request<'_>) -> Result<AccessToken, FetchError> {
        shown().value(&request);
        let token = self.0.fetch(request).await.inspect_err(|error| shown().error(error))?;
        shown().value(&token);
        SECRETS.lock().unwrap().add(token.as_token().secret.expose());
        Ok(token)
    }
}

/// How a client is set up.
fn client<S: TokenSource>(emulator: &Emulator, source: S) -> Builder {
    let policy = RefreshPolicy {
        failure_floor: Duration::ZERO,
        token_floor: Duration::ZERO,
        reauth_spread: Duration::ZERO,
        token_request_timeout: Duration::from_secs(4),
        ..RefreshPolicy::default()
    };
    // A machine may stand still for seconds, and each of these has its say all the same.
    Client::builder("localhost")
        .port(emulator.redis_port())
        .roots(Roots::pem(emulator.root_pem().as_bytes()).unwrap())
        .policy(policy)
        .command_timeout(Duration::from_secs(1))
        .start_timeout(Duration::from_secs(8))
        .source(Watched(source))
        .on_event(|event| {
            shown().value(event);
            shown().text += &format!("{event}\n");
        })
}

fn error(error: &Error) {
    let mut shown = shown();
    shown.error(error);
    shown.value(&error.kind());
    shown.value(&error.outcome());
    match error {
        Error::Server(error) => shown.value(error),
        Error::Connect(error) => shown.error(&**error),
        Error::Config(error) => shown.error(error),
        _ => {}
    }
}

/// Logs in, works, refreshes, works, and shows all that there is.
async fn work(builder: Builder) {
    shown().value(&builder);
    let mut client = match builder.connect().await {
        Ok(client) => client,
        Err(why) => return error(&why),
    };
    for round in 0..3 {
        for command in [args!["SET", "k", round], args!["NOSUCH"], args!["AUTH", "x", "y"]] {
            match client.command(command).await {
                Ok(reply) => shown().value(&reply),
                Err(why) => error(&why),
            }
        }
        match client.pipeline([args!["PING"], args!["GET", "k"]]).await {
            Ok(replies) => shown().value(&replies),
            Err(why) => error(&why),
        }
        shown().value(&client);
        shown().value(&client.health());
        shown().value(&client.problem());
        shown().value(client.identity());
        client.identity().refresh_now();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Logs in, and again with the next token.
async fn renewed(builder: Builder) {
    let client = builder.start_timeout(Duration::from_secs(60)).connect().await.unwrap();
    client.identity().refresh_now();
    while client.health().reauths == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn start(life: u64, faults: &[&str]) -> Emulator {
    let options = Options { life, store: Store::Builtin, ..Options::default() };
    let emulator = Emulator::start(&options).unwrap();
    let entra = emulator.entra();
    let mut secrets = SECRETS.lock().unwrap();
    secrets.add(&entra.secret);
    secrets.add(&entra.identity_header);
    faults.iter().for_each(|fault| emulator.arm(fault).unwrap());
    emulator
}

/// The same without holding up others: it makes keys.
async fn started(life: u64, faults: &'static [&str]) -> Emulator {
    tokio::task::spawn_blocking(move || start(life, faults)).await.unwrap()
}

fn principal(emulator: &Emulator) -> ServicePrincipal<String> {
    let entra = emulator.entra();
    let authority = Authority::at_host(emulator.authority(), entra.tenant.clone());
    let (id, secret) = (entra.principal.client_id.clone(), entra.secret.clone());
    ServicePrincipal::with_secret(authority, id, secret)
}

async fn every_fault() {
    let mut all = tokio::task::JoinSet::new();
    for faults in [
        &[][..],
        &["token#1 refuse invalid_client 7000215", "token#2 garbage", "token#3 cut"],
        &["token#1 status 429 retry-after 1", "token#2 status 503"],
        &["token#* hang"],
        &["token#2+ same", "cmd#3 cut-after 3"],
        &["auth#1 wrongpass"],
        &["auth#2 wrongpass", "auth#3 wrongpass", "auth#4 hang"],
        &["auth#1 error LOADING Redis is loading", "auth#2 cut"],
        &["connect#1 cut", "auth#1 cut-after 5", "cmd#1 hang"],
    ] {
        all.spawn(async {
            let emulator = started(3600, faults).await;
            work(client(&emulator, principal(&emulator))).await;
        });
    }
    // The login ends, and there is no other.
    let emulator = started(2, &["token#2+ refuse unauthorized_client 700016"]).await;
    work(client(&emulator, principal(&emulator))).await;
    // Nobody knows the certificate, or whose it is.
    let emulator = started(3600, &[]).await;
    renewed(client(&emulator, principal(&emulator))).await;
    work(client(&emulator, principal(&emulator)).roots(Roots::Platform)).await;
    let name = Client::builder("cache.westeurope.redis.azure.net").address("127.0.0.1");
    let name = name.port(emulator.redis_port()).source(Watched(principal(&emulator)));
    work(name.roots(Roots::pem(emulator.root_pem().as_bytes()).unwrap())).await;
    all.join_all().await;
}

async fn every_source() {
    let emulator = started(3600, &[]).await;
    let find = |name: &str| {
        let (all, more) = (emulator.environment(), emulator.managed_environment());
        let mut all = all.into_iter().chain(more);
        all.find(|(known, _)| *known == name).map(|(_, value)| value)
    };
    let chosen = Client::from_variables(find).unwrap();
    shown().value(&chosen);
    shown().value(chosen.chosen().unwrap());
    let header = emulator.entra().identity_header.clone();
    let endpoint = find("IDENTITY_ENDPOINT").unwrap();
    let app_service =
        ManagedIdentity::app_service(endpoint.clone(), header.clone(), Selector::System);
    shown().value(&app_service);
    work(client(&emulator, app_service)).await;
    let wrong = ManagedIdentity::app_service(endpoint, format!("not-{header}"), Selector::System);
    work(client(&emulator, wrong)).await;
    let fixed = StaticToken::new("a-token-that-no-server-takes").user("oid");
    shown().value(&fixed);
    work(client(&emulator, fixed)).await;
    let unusable = StaticToken::new("a token with spaces in it");
    work(client(&emulator, unusable)).await;
    struct Panics;
    impl TokenSource for Panics {
        async fn fetch(&mut self, _: Request<'_>) -> Result<AccessToken, FetchError> {
            panic!("a source's own words")
        }
    }
    work(client(&emulator, Panics)).await;
    let identity = Identity::new(Watched(principal(&emulator)));
    shown().value(&identity);
    shown().value(&identity.start());
}

async fn a_subscriber() {
    let emulator = started(3600, &[]).await;
    let patient = client(&emulator, principal(&emulator)).start_timeout(Duration::from_secs(30));
    let mut subscriber = patient.subscriber().await.unwrap();
    emulator.arm("cmd#* error NOPERM no channels for you").unwrap();
    error(&subscriber.subscribe(Topic::Channel, ["news"]).await.unwrap_err());
    shown().value(&subscriber);
    shown().value(&subscriber.health());
    let fixed = StaticToken::new("a-token-of-little-value").user("oid");
    let builder = Client::builder("here").source(Watched(fixed)).connector(OneMessage);
    let mut subscriber = builder.subscriber().await.unwrap();
    subscriber.subscribe(Topic::Channel, ["news"]).await.unwrap();
    let delivery = subscriber.next().await.unwrap();
    shown().value(&delivery);
    let Delivery::Message(message) = delivery else { panic!("{delivery:?}") };
    shown().value(&message);
}

/// A server that takes a login and a subscription, and has one message.
struct OneMessage;

impl Connect for OneMessage {
    type Stream = DuplexStream;

    async fn connect(&self, _: Endpoint<'_>) -> Result<DuplexStream, ConnectError> {
        let (near, mut far) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            for answer in [
                "%1\r\n+proto\r\n:3\r\n+OK\r\n+OK\r\n",
                ">3\r\n+subscribe\r\n+news\r\n:1\r\n>3\r\n+message\r\n+news\r\n+hello\r\n",
                "",
            ] {
                let _ = far.read(&mut [0; 4096]).await;
                let _ = far.write_all(answer.as_bytes()).await;
            }
        });
        Ok(near)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_logged_printed_or_reported_shows_a_secret() {
    log::set_boxed_logger(Box::new(Log)).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        *LOGGED.lock().unwrap() += &format!("{info}\n");
        usual(info);
    }));
    tokio::join!(every_fault(), every_source(), identities::every_identity(), a_subscriber());
    let mut shown = shown();
    shown.value(&Roots::default());
    shown.value(&Http::new(Roots::default()));
    shown.value(&PlainTcp);
    shown.value(&TlsTcp::new(Roots::default()));
    shown.value(&TokioClock);
    let error: ConfigError = Client::from_variables(|_| None).unwrap_err();
    shown.error(&error);
    assert!(error.source().is_none());

    shown.text += &LOGGED.lock().unwrap();

    // It was all there: each of these was said.
    for word in [
        "AADSTS7000215",
        "WRONGPASS",
        "logged in again",
        "certificate chain not trusted",
        "own words",
    ] {
        assert!(shown.text.contains(word), "{word}");
    }
    assert_eq!(SECRETS.lock().unwrap().found_in(&shown.text), None);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let missing = shown.missing(&here.join("../../edge-std/src"));
    assert!(missing.is_empty(), "not printed: {missing:?}");
}
