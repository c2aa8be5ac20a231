//! What goes over a connection, and how it ends.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use common::{ClientHalves, NAME, Node, ServerStream, key, leaf, ping, root, run, transport};
use embedded_io_async::{ErrorKind, Read, Write};
use rcgen::PKCS_ECDSA_P256_SHA256 as P256;
use redis_entraid_tls::pki_types::UnixTime;
use redis_entraid_tls::rand_core::OsRng;
use redis_entraid_tls::{Buffers, Config, Error, RECORDS_IN, Tls, anchor};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// A root, and a server's certificate below it.
fn pki() -> &'static (Node, Node) {
    static PKI: OnceLock<(Node, Node)> = OnceLock::new();
    PKI.get_or_init(|| {
        let root = root("root", key(&P256));
        let leaf = root.issue(leaf(&[NAME]), key(&P256));
        (root, leaf)
    })
}

/// Connects over `halves` with the default suite, or with the other one.
macro_rules! connect {
    ($connect:ident, $tls:ident, $halves:expr, $room_in:expr, $room_out:expr) => {
        let roots = [anchor(&pki().0.der).unwrap()];
        let config = Config::new(NAME, &roots, UnixTime::now());
        let (mut records_in, mut records_out) = (vec![0; $room_in], vec![0; $room_out]);
        let buffers = Buffers { records_in: &mut records_in, records_out: &mut records_out };
        let mut $tls = Tls::$connect($halves, buffers, &config, &mut OsRng).await.unwrap();
    };
}

/// Runs `serve` on the server's side of a connection, and `client` on the other.
fn session<S: Future<Output = ()>>(
    capacity: usize,
    serve: impl FnOnce(ServerStream) -> S,
    client: impl AsyncFnOnce(&ClientHalves),
) {
    let (halves, transport) = transport(capacity);
    let serve = async {
        let acceptor = TlsAcceptor::from(Arc::new(pki().1.server()));
        serve(acceptor.accept(transport).await.unwrap()).await;
    };
    run(serve, client(&halves));
}

/// Sends back what comes, until the client closes.
async fn echo(stream: ServerStream) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::io::copy(&mut reader, &mut writer).await.unwrap();
    writer.shutdown().await.unwrap();
}

/// Sends a megabyte and gets it back, both at the same time.
macro_rules! megabyte {
    ($connect:ident, $room_out:expr) => {
        session(4096, echo, async |halves| {
            connect!($connect, tls, halves, RECORDS_IN, $room_out);
            let sent: Vec<u8> = (0..1 << 20).map(|i: u32| (i ^ (i >> 8)) as u8).collect();
            let (mut reader, mut writer) = tls.split();
            let write = async {
                for chunk in sent.chunks(3000) {
                    writer.write_all(chunk).await.unwrap();
                }
                writer.flush().await.unwrap();
            };
            let read = async {
                let mut received = vec![0; sent.len()];
                reader.read_exact(&mut received).await.unwrap();
                received
            };
            let ((), received) = tokio::join!(write, read);
            assert!(received == sent);
            tls.close().await.unwrap();
        })
    };
}

#[test]
fn both_halves_work_at_the_same_time() {
    megabyte!(connect, 4096);
}

#[test]
fn a_small_buffer_for_records_to_send_is_enough() {
    megabyte!(connect, 1024);
}

#[test]
fn a_buffer_larger_than_a_record_is_not_used_up() {
    // More than a record may hold would be refused by the server.
    megabyte!(connect, 100_000);
}

#[test]
fn the_other_suite_works_too() {
    megabyte!(connect_aes256, 4096);
}

#[test]
fn a_server_with_only_the_other_suite_refuses() {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites =
        vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384];
    let server = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(pki().1.server().cert_resolver);
    // handshake_failure
    assert_eq!(ping(server, &[&pki().0], NAME), Err(Error::Refused(40)));
}

#[test]
fn what_the_server_sends_before_the_client_is_read() {
    let serve = |mut stream: ServerStream| async move {
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
    };
    session(4096, serve, async |halves| {
        connect!(connect, tls, halves, RECORDS_IN, 1024);
        let (mut reader, _) = tls.split();
        let mut hello = [0; 5];
        reader.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello");
    });
}

#[test]
fn a_server_that_closes_ends_the_stream() {
    let serve = |mut stream: ServerStream| async move { stream.shutdown().await.unwrap() };
    session(4096, serve, async |halves| {
        connect!(connect, tls, halves, RECORDS_IN, 1024);
        let (mut reader, mut writer) = tls.split();
        assert_eq!(reader.read(&mut [0; 8]).await, Ok(0));
        assert_eq!(reader.read(&mut [0; 8]).await, Ok(0));
        assert_eq!(writer.write(b"PING").await, Err(Error::Closed));
        assert_eq!(tls.close().await, Ok(()));
    });
}

#[test]
fn a_transport_that_just_ends_is_an_error() {
    let serve = |stream: ServerStream| async move { drop(stream) };
    session(4096, serve, async |halves| {
        connect!(connect, tls, halves, RECORDS_IN, 1024);
        let (mut reader, mut writer) = tls.split();
        assert_eq!(reader.read(&mut [0; 8]).await, Err(Error::Truncated));
        assert_eq!(reader.read(&mut [0; 8]).await, Err(Error::Truncated));
        assert_eq!(writer.write(b"PING").await, Err(Error::Truncated));
        assert_eq!(tls.close().await, Err(Error::Truncated));
    });
}

#[test]
fn closing_tells_the_server() {
    let serve = |mut stream: ServerStream| async move {
        let mut all = Vec::new();
        // Without close_notify this would be an error.
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"bye");
    };
    session(4096, serve, async |halves| {
        connect!(connect, tls, halves, RECORDS_IN, 1024);
        tls.split().1.write_all(b"bye").await.unwrap();
        tls.close().await.unwrap();
    });
}

#[test]
fn new_keys_are_an_error() {
    let serve = |mut stream: ServerStream| async move {
        stream.write_all(b"old").await.unwrap();
        stream.get_mut().1.refresh_traffic_keys().unwrap();
        stream.write_all(b"new").await.unwrap();
        stream.flush().await.unwrap();
    };
    session(4096, serve, async |halves| {
        connect!(connect, tls, halves, RECORDS_IN, 1024);
        let (mut reader, mut writer) = tls.split();
        let mut old = [0; 3];
        reader.read_exact(&mut old).await.unwrap();
        assert_eq!(&old, b"old");
        assert_eq!(reader.read(&mut [0; 8]).await, Err(Error::KeyUpdate));
        assert_eq!(reader.read(&mut [0; 8]).await, Err(Error::KeyUpdate));
        assert_eq!(writer.write(b"PING").await, Err(Error::KeyUpdate));
    });
}

#[test]
fn tickets_are_ignored() {
    let mut server = pki().1.server();
    server.send_tls13_tickets = 5;
    assert_eq!(ping(server, &[&pki().0], NAME), Ok(()));
}

#[test]
fn certificates_in_pieces_are_an_error() {
    let mut server = pki().1.server();
    server.max_fragment_size = Some(256);
    assert_eq!(ping(server, &[&pki().0], NAME), Err(Error::Fragmented));
}

#[test]
fn a_record_larger_than_the_buffer_is_an_error() {
    let serve = |mut stream: ServerStream| async move {
        stream.write_all(&[0; 9000]).await.unwrap();
        stream.flush().await.unwrap();
    };
    session(16_384, serve, async |halves| {
        connect!(connect, tls, halves, 4608, 1024);
        let error = tls.split().0.read(&mut [0; 8]).await;
        assert_eq!(error, Err(Error::TooLong { record: 9017, buffer: 4608 }));
    });
}

#[test]
fn a_server_that_wants_a_certificate_gets_none() {
    let (root, leaf) = pki();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        provider.clone(),
    );
    let clients = clients.allow_unauthenticated().build().unwrap();
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_cert_resolver(leaf.server().cert_resolver);
    assert_eq!(ping(server, &[root], NAME), Ok(()));
}

#[test]
fn buffers_too_small_for_the_hello_are_refused() {
    let (halves, _transport) = transport(4096);
    let roots = [anchor(&pki().0.der).unwrap()];
    let config = Config::new(NAME, &roots, UnixTime::now());
    let mut records_in = [0; 1024];
    let (mut small, mut enough) = ([0; 511], [0; 512]);
    let buffers = Buffers { records_in: &mut records_in, records_out: &mut small };
    let refused = run(async {}, Tls::connect(&halves, buffers, &config, &mut OsRng));
    assert_eq!(refused.err(), Some(Error::Buffer(512)));
    // The longest name there is, into the smallest buffer.
    let name = [["a".repeat(62).as_str(); 4].join("."), "b".into()].join(".");
    let config = Config::new(&name, &roots, UnixTime::now());
    let buffers = Buffers { records_in: &mut records_in, records_out: &mut enough };
    let mut rng = OsRng;
    let mut connect = pin!(Tls::connect(&halves, buffers, &config, &mut rng));
    let waiting = connect.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(waiting, Poll::Pending), "the hello has been sent");
}

#[test]
fn halves_serve_one_connection() {
    let (halves, transport) = transport(4096);
    drop(transport);
    let roots = [anchor(&pki().0.der).unwrap()];
    let config = Config::new(NAME, &roots, UnixTime::now());
    for expected in [Error::Transport(ErrorKind::BrokenPipe), Error::Used] {
        let (mut records_in, mut records_out) = ([0; 1024], [0; 1024]);
        let buffers = Buffers { records_in: &mut records_in, records_out: &mut records_out };
        let refused = run(async {}, Tls::connect(&halves, buffers, &config, &mut OsRng));
        assert_eq!(refused.err(), Some(expected));
    }
}

#[test]
fn a_read_that_is_given_up_loses_nothing() {
    let serve = |mut stream: ServerStream| async move {
        for i in 0..200u32 {
            stream.write_all(&i.to_be_bytes().repeat(50)).await.unwrap();
            stream.flush().await.unwrap();
        }
        stream.shutdown().await.unwrap();
    };
    // A transport of seven bytes is in the middle of something most of the time.
    session(7, serve, async |halves| {
        connect!(connect, tls, halves, RECORDS_IN, 1024);
        let (mut reader, _) = tls.split();
        let (mut received, mut given_up) = (Vec::new(), 0);
        loop {
            let mut chunk = [0; 64];
            let read = {
                let mut read = pin!(reader.read(&mut chunk));
                match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(read) => Some(read.unwrap()),
                    Poll::Pending => None,
                }
            };
            match read {
                Some(0) => break,
                Some(len) => received.extend_from_slice(&chunk[..len]),
                None => {
                    given_up += 1;
                    tokio::task::yield_now().await;
                }
            }
        }
        let sent: Vec<u8> = (0..200u32).flat_map(|i| i.to_be_bytes().repeat(50)).collect();
        assert!(received == sent);
        assert!(given_up > 1000, "{given_up}");
    });
}

#[test]
fn a_write_that_is_given_up_ends_the_connection() {
    let serve = |stream: ServerStream| async move {
        // It never reads.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        drop(stream);
    };
    session(1024, serve, async |halves| {
        connect!(connect, tls, halves, RECORDS_IN, 1024);
        let (_, mut writer) = tls.split();
        {
            let mut write = pin!(writer.write_all(&[0; 4096]));
            let written = write.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(written.is_pending());
        }
        assert_eq!(writer.write(b"PING").await, Err(Error::Abandoned));
        assert_eq!(writer.flush().await, Err(Error::Abandoned));
        assert_eq!(tls.close().await, Err(Error::Abandoned));
    });
}

#[test]
fn what_is_written_waits_for_a_flush() {
    let serve = |mut stream: ServerStream| async move {
        let mut ping = [0; 4];
        stream.read_exact(&mut ping).await.unwrap();
        stream.write_all(&ping).await.unwrap();
    };
    session(4096, serve, async |halves| {
        connect!(connect, tls, halves, RECORDS_IN, 1024);
        let (mut reader, mut writer) = tls.split();
        writer.write_all(b"PI").await.unwrap();
        assert_eq!(writer.write(b"").await, Ok(0));
        writer.flush().await.unwrap();
        writer.flush().await.unwrap();
        writer.write_all(b"NG").await.unwrap();
        writer.flush().await.unwrap();
        let mut pong = [0; 4];
        reader.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"PING");
    });
}
