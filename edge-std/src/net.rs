//! DNS, TCP and TLS.

use core::time::Duration;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use redis_entraid_core::client::{Missed, Unreached, reach};
use redis_entraid_core::time::Instant;
use redis_entraid_core::transport::{ConnectErrorKind, Endpoint, Stage};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::clock::TokioClock;
use crate::connect::Connect;
use crate::error::ConnectError;

/// Linux gives a peer up that acknowledges nothing for this long. By itself it would take a
/// quarter of an hour.
#[cfg(any(target_os = "linux", target_os = "android"))]
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// Opens a TCP connection as it should be for Redis: no delay, and a dead peer is noticed.
pub(crate) async fn tcp(endpoint: &Endpoint<'_>) -> Result<TcpStream, Failed> {
    endpoint.begins(Stage::Name);
    let addresses = tokio::net::lookup_host((endpoint.address, endpoint.port)).await;
    let addresses = addresses.map_err(|error| (ConnectErrorKind::Name, error))?;
    endpoint.begins(Stage::Tcp);
    let stream = connect(addresses, endpoint.deadline()).await?;
    if let Ok(peer) = stream.peer_addr() {
        endpoint.reached(&peer.ip().to_canonical().to_string());
    }
    Ok(stream)
}

/// Connects to the first of `addresses` that answers.
async fn connect(
    addresses: impl IntoIterator<Item = SocketAddr>,
    until: Instant,
) -> Result<TcpStream, Failed> {
    let stream = reach(&TokioClock, until, addresses, TcpStream::connect).await.map_err(failed)?;
    configure(&stream);
    Ok(stream)
}

/// What it comes to that no address was reached.
fn failed(unreached: Unreached<Error>) -> Failed {
    let denied = unreached.addresses().all(|(_, missed)| match missed {
        Missed::Failed(error) => error.kind() == ErrorKind::PermissionDenied,
        _ => false,
    });
    let first = unreached.errors().next().map(Error::kind);
    let (kind, of) = match first {
        Some(of) if denied => (ConnectErrorKind::Host, of),
        Some(of) => (ConnectErrorKind::Unreachable, of),
        None => (ConnectErrorKind::Unreachable, ErrorKind::TimedOut),
    };
    (kind, Error::new(of, unreached))
}

/// Why a TCP connection was not opened.
pub(crate) type Failed = (ConnectErrorKind, Error);

/// Sets what the system knows of: a connection without it is still a connection.
fn configure(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(5));
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
}

/// TCP without TLS: for tests, and for a server on the same machine. Tokens go out in clear.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainTcp;

impl Connect for PlainTcp {
    type Stream = TcpStream;

    async fn connect(&self, endpoint: Endpoint<'_>) -> Result<TcpStream, ConnectError> {
        let Endpoint { address, port, .. } = endpoint;
        tcp(&endpoint)
            .await
            .map_err(|(kind, error)| ConnectError::new(kind, format!("{address}:{port}"), error))
    }
}

/// TCP with TLS, which verifies that the server is the one that was asked for.
#[cfg(feature = "tls")]
#[derive(Clone, Debug)]
pub struct TlsTcp {
    tls: crate::tls::Tls,
}

#[cfg(feature = "tls")]
impl Default for TlsTcp {
    fn default() -> Self {
        Self::new(crate::tls::Roots::default())
    }
}

#[cfg(feature = "tls")]
impl TlsTcp {
    /// Trusts `roots`.
    pub fn new(roots: crate::tls::Roots) -> Self {
        Self { tls: crate::tls::Tls::new(roots) }
    }
}

#[cfg(feature = "tls")]
impl Connect for TlsTcp {
    type Stream = tokio_rustls::client::TlsStream<TcpStream>;

    async fn connect(&self, endpoint: Endpoint<'_>) -> Result<Self::Stream, ConnectError> {
        let Endpoint { address, port, server_name, .. } = endpoint;
        let to = || format!("{server_name} at {address}:{port}");
        let stream =
            tcp(&endpoint).await.map_err(|(kind, error)| ConnectError::new(kind, to(), error))?;
        endpoint.begins(Stage::Tls);
        self.tls.connect(server_name, stream).await.map_err(|error| {
            // A server that has too many clients drops the connection before TLS begins.
            let tls = crate::tls::is_about_tls(&error);
            let kind = if tls { ConnectErrorKind::Tls } else { ConnectErrorKind::Unreachable };
            ConnectError::new(kind, to(), error)
        })
    }
}

#[cfg(test)]
mod tests;
