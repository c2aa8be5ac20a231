//! Real sockets: a listener whose backlog is full drops who dials, as a firewall does.

use std::net::{Ipv4Addr, TcpListener, TcpStream as Plain};
use std::time::Instant as Time;

use redis_entraid_core::time::Clock;
use socket2::{Domain, Socket, Type};

use super::*;
use crate::Client;
use crate::source::Fixed;

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

fn soon() -> Instant {
    TokioClock.now().plus(Duration::from_millis(400))
}

/// Dials these, whatever is asked for.
struct Several(Vec<SocketAddr>);

impl Connect for Several {
    type Stream = TcpStream;

    async fn connect(&self, endpoint: Endpoint<'_>) -> Result<TcpStream, ConnectError> {
        let connected = connect(self.0.iter().copied(), endpoint.deadline()).await;
        connected.map_err(|(kind, error)| ConnectError::new(kind, "several", error))
    }
}

#[cfg(all(feature = "http", feature = "tls"))]
#[tokio::test]
async fn behind_an_address_that_answers_nobody_a_login_takes_a_quarter_of_a_second_more() {
    use amr_emulator::{Emulator, Options, Store};
    let options = Options { store: Store::Builtin, ..Options::default() };
    let emulator = Emulator::start(&options).unwrap();
    let environment = emulator.environment();
    let find = |name: &str| environment.iter().find(|(known, _)| *known == name);
    let hole = BlackHole::new();
    let good = SocketAddr::from((Ipv4Addr::LOCALHOST, emulator.redis_plain_port()));
    let begun = Time::now();
    let mut redis = Client::from_variables(|name| find(name).map(|(_, value)| value.clone()))
        .unwrap()
        .roots(crate::Roots::pem(emulator.root_pem().as_bytes()).unwrap())
        .connector(Several(vec![hole.address, good]))
        .connect()
        .await
        .unwrap();
    let took = begun.elapsed();
    redis.command(crate::args!["PING"]).await.unwrap();
    assert!((250..2500).contains(&took.as_millis()), "{took:?}");
    assert_eq!(emulator.counts().connections, 1);
}

#[tokio::test]
async fn the_error_says_what_happened_at_each_address() {
    let (hole, closed) = (BlackHole::new(), closed());
    let begun = Time::now();
    let (kind, error) = connect([closed, hole.address], soon()).await.unwrap_err();
    let took = begun.elapsed();
    assert!((350..2500).contains(&took.as_millis()), "{took:?}");
    assert_eq!((kind, error.kind()), (ConnectErrorKind::Unreachable, ErrorKind::ConnectionRefused));
    let text = error.to_string();
    let expected = "127.0.0.1: Connection refused (os error 111), \
                    127.0.0.1: nobody answered by TCP within 0.";
    assert!(text.starts_with(expected), "{text}");
    // Nobody has said anything.
    let (kind, error) = connect([hole.address], soon()).await.unwrap_err();
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
        .source(Fixed::new("token").user("oid"))
        .connector(PlainTcp)
        .reconnect_policy(policy)
        .start_timeout(Duration::from_millis(400))
        .connect()
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("127.0.0.1: nobody answered by TCP within 0.3 s"), "{text}");
}

#[cfg(all(feature = "http", feature = "tls"))]
#[tokio::test]
async fn a_token_service_that_answers_nobody_is_named_with_its_addresses() {
    use redis_entraid_core::http::{Headers, HttpClient, Method, Request, ResponseWriter, Route};
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
        deadline: soon(),
    };
    let mut http = crate::http::Http::new(crate::Roots::default());
    let error = http.send(&request, &mut response).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("127.0.0.1: nobody answered by TCP within 0."), "{text}");
}
