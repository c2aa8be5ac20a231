//! Real sockets: a listener whose backlog is full drops who dials, as a firewall does.

use std::net::{Ipv4Addr, TcpListener, TcpStream as Plain};
use std::time::Instant as Time;

#[cfg(feature = "tls")]
use amr_emulator::{Emulator, Options, Store};
use redis_entraid_core::time::Clock;
use socket2::{Domain, Socket, Type};

use super::*;
use crate::Client;
use crate::source::StaticToken;

/// An address that answers nobody, for as long as this lives.
struct BlackHole {
    _listener: Socket,
    _queued: Plain,
    address: SocketAddr,
}

impl BlackHole {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let queued = Plain::connect(address).unwrap();
        Self { _listener: listener, _queued: queued, address }
    }
}

/// An address where nobody listens.
fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Of no use any more in a moment.
fn soon() -> Endpoint<'static> {
    Endpoint::new("cache", 10_000).with_deadline(TokioClock.now().plus(Duration::from_millis(400)))
}

/// Dials these, whatever is asked for.
#[cfg(all(feature = "http", feature = "tls"))]
struct Several(Vec<SocketAddr>);

#[cfg(all(feature = "http", feature = "tls"))]
impl Connect for Several {
    type Stream = TcpStream;

    async fn connect(&self, endpoint: Endpoint<'_>) -> Result<TcpStream, ConnectError> {
        let connected = connect(&endpoint, self.0.iter().copied()).await;
        connected.map_err(|(kind, error)| ConnectError::new(kind, "several", error))
    }
}

#[cfg(all(feature = "http", feature = "tls"))]
#[tokio::test]
async fn behind_an_address_that_answers_nobody_a_login_takes_a_quarter_of_a_second_more() {
    let options = Options { store: Store::Builtin, ..Options::default() };
    let emulator = Emulator::start(&options).unwrap();
    let hole = BlackHole::new();
    let good = SocketAddr::from((Ipv4Addr::LOCALHOST, emulator.redis_plain_port()));
    let begun = Time::now();
    let connector = Several(vec![hole.address, good]);
    let mut redis = client(&emulator).connector(connector).connect().await.unwrap();
    let took = begun.elapsed();
    redis.command(crate::args!["PING"]).await.unwrap();
    assert!((250..2500).contains(&took.as_millis()), "{took:?}");
    assert_eq!(emulator.counts().connections, 1);
}

/// A client of `emulator`, configured as by the environment.
#[cfg(all(feature = "http", feature = "tls"))]
fn client(emulator: &Emulator) -> crate::Builder {
    let environment = emulator.environment();
    let find = |name: &str| environment.iter().find(|(known, _)| *known == name);
    Client::from_variables(|name| find(name).map(|(_, value)| value.clone()))
        .unwrap()
        .roots(crate::Roots::pem(emulator.root_pem().as_bytes()).unwrap())
}

#[cfg(all(feature = "http", feature = "tls"))]
#[tokio::test]
async fn an_address_that_lets_everybody_connect_and_says_nothing_costs_one_login() {
    let options = Options { store: Store::Builtin, ..Options::default() };
    let emulator = Emulator::start(&options).unwrap();
    // The system accepts for it.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = SocketAddr::from((Ipv4Addr::LOCALHOST, emulator.redis_plain_port()));
    let begun = Time::now();
    let connector = Several(vec![deaf.local_addr().unwrap(), good]);
    let mut redis = client(&emulator).connector(connector).connect().await.unwrap();
    // What a login may take.
    assert!((5000..7500).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    // From then on it is the last one.
    emulator.cut();
    let begun = Time::now();
    while redis.command(crate::args!["PING"]).await.is_err() {}
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// Two emulators of one authority, of which the first leaves a part of its chain out so often.
#[cfg(feature = "tls")]
fn front_ends(times: &str) -> [(Emulator, SocketAddr); 2] {
    let options = Options { store: Store::Builtin, ..Options::default() };
    let start = || {
        let emulator = Emulator::start(&options).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, emulator.redis_port()));
        (emulator, address)
    };
    let all = [start(), start()];
    all[0].0.arm(&format!("connect#{times} leaf-only")).unwrap();
    all
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn the_next_address_is_asked_when_one_leaves_a_part_of_its_chain_out() {
    let [(first, wrong), (_second, right)] = front_ends("1");
    let tls = Tls::new(crate::Roots::pem(first.root_pem().as_bytes()).unwrap());
    let endpoint = Endpoint::new("localhost", 10_000);
    let stream = secure(&endpoint, vec![wrong, right], &tls).await.unwrap();
    assert_eq!(stream.get_ref().0.peer_addr().unwrap(), right);
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn who_is_missing_in_a_chain_is_named() {
    let [(first, wrong), (_second, right)] = front_ends("1+");
    let tls = Tls::new(crate::Roots::pem(first.root_pem().as_bytes()).unwrap());
    let endpoint = Endpoint::new("localhost", 10_000);
    // The next address is no better: the first one's error is told.
    let (kind, error) = secure(&endpoint, vec![wrong, closed()], &tls).await.unwrap_err();
    assert_eq!((kind, error.kind()), (ConnectErrorKind::Tls, ErrorKind::InvalidData));
    let expected =
        "certificate chain incomplete: issuer CN=Emulated Azure RSA TLS Issuing CA 03 not sent";
    assert_eq!(error.to_string(), expected);
    // All was sent but the root, which is another one.
    let others = Tls::new(crate::Roots::pem(OTHER_ROOT.as_bytes()).unwrap());
    let (_, error) = secure(&endpoint, vec![right], &others).await.unwrap_err();
    let expected = "certificate chain not trusted: it ends below CN=Emulated Global Root G2, which was \
                    not sent and is no trusted root";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn the_error_says_what_happened_at_each_address() {
    let (hole, closed) = (BlackHole::new(), closed());
    let begun = Time::now();
    let (kind, error) = connect(&soon(), [closed, hole.address]).await.unwrap_err();
    let took = begun.elapsed();
    assert!((350..2500).contains(&took.as_millis()), "{took:?}");
    assert_eq!((kind, error.kind()), (ConnectErrorKind::Unreachable, ErrorKind::ConnectionRefused));
    let text = error.to_string();
    let expected = "127.0.0.1: Connection refused (os error 111), \
                    127.0.0.1: no answer to the TCP connection within 0.";
    assert!(text.starts_with(expected), "{text}");
    // Nobody has said anything.
    let (kind, error) = connect(&soon(), [hole.address]).await.unwrap_err();
    assert_eq!((kind, error.kind()), (ConnectErrorKind::Unreachable, ErrorKind::TimedOut));
}

#[tokio::test]
async fn the_limit_of_a_client_ends_its_dial_with_the_addresses_in_the_error() {
    let hole = BlackHole::new();
    let policy = crate::ReconnectPolicy {
        connect_timeout: Duration::from_millis(300),
        ..Default::default()
    };
    let error = Client::builder("127.0.0.1")
        .port(hole.address.port())
        .source(StaticToken::new("token").user("oid"))
        .connector(PlainTcp)
        .reconnect_policy(policy)
        .start_timeout(Duration::from_millis(400))
        .connect()
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("127.0.0.1: no answer to the TCP connection within 0.3 s"), "{text}");
}

#[cfg(all(feature = "http", feature = "tls"))]
#[tokio::test]
async fn a_token_service_that_answers_nobody_is_named_with_its_addresses() {
    use redis_entraid_core::http::{Headers, Method, Request, ResponseWriter, Route};
    use redis_entraid_core::source::SourceIo;
    let hole = BlackHole::new();
    let url = format!("http://{}/", hole.address);
    let mut memory = [0; 64];
    let mut response = ResponseWriter::new(&mut memory);
    let request = Request {
        method: Method::Get,
        url: &url,
        headers: Headers::default(),
        body: &[],
        route: Route::LinkLocal,
        deadline: soon().deadline(),
    };
    let mut http = crate::http::Http::new(crate::Roots::default());
    let error = http.http(&request, &mut response).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("127.0.0.1: no answer to the TCP connection within 0."), "{text}");
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<Error>());
    assert_eq!(cause.map(Error::kind), Some(ErrorKind::TimedOut));
}

#[cfg(all(feature = "http", feature = "tls"))]
#[tokio::test]
async fn an_error_without_a_token_keeps_what_the_network_said_and_says_it_once() {
    use crate::source::{ManagedIdentity, Selector};
    let source = ManagedIdentity::imds_at(format!("http://{}", closed()), Selector::System);
    let limit = Duration::from_millis(500);
    let connected = Client::builder("cache").source(source).start_timeout(limit).connect().await;
    let error = connected.unwrap_err();
    let mut cause = std::error::Error::source(&error);
    let mut network = None;
    while let Some(error) = cause {
        network = network.or(error.downcast_ref::<Error>().map(Error::kind));
        cause = error.source();
    }
    assert_eq!(network, Some(ErrorKind::ConnectionRefused), "{error}");
    assert_eq!(error.to_string().matches("Connection refused").count(), 1, "{error}");
}

/// The root of somebody else.
#[cfg(feature = "tls")]
const OTHER_ROOT: &str = "-----BEGIN CERTIFICATE-----
MIIBeTCCAR+gAwIBAgIUWj7LcdDvsHnnf4pyJ5md1RphfL0wCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGTm9ib2R5MCAXDTI2MTEyNjE3MDY1MloYDzIxMjYxMTAyMTcw
NjUyWjARMQ8wDQYDVQQDDAZOb2JvZHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AATsw8+h4KoGRPj/S3wgN7LuniWqkF44cw1k+0bI2MkLcGWcWkHch7nFL72PfeBz
XBBCjUZarpVQM2k4IG8cl3Boo1MwUTAdBgNVHQ4EFgQUmIvUKsOanw+3iYSgKUdP
DP3tT54wHwYDVR0jBBgwFoAUmIvUKsOanw+3iYSgKUdPDP3tT54wDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiAnDfaQLTCzYdqCL5JBSKsQ0KfIWilm
jJ9qjMWmbWCH8QIhAIWwq3dFO7GRAzPHS4CFfSsvqktrOUL2V1u0mHB25Dw7
-----END CERTIFICATE-----
";
