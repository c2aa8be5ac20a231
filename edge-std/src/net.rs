//! DNS, TCP and TLS.

use core::time::Duration;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use redis_entraid_client::{Missed, Unreached, reach};
use redis_entraid_core::transport::{ConnectErrorKind, Endpoint, Stage};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::clock::TokioClock;
use crate::connect::Connect;
use crate::error::ConnectError;
#[cfg(feature = "tls")]
use crate::tls::Tls;

#[cfg(feature = "tls")]
type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

/// Linux gives a peer up that acknowledges nothing for this long. By itself it would take a
/// quarter of an hour.
#[cfg(any(target_os = "linux", target_os = "android"))]
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// Opens a TCP connection as it should be for Redis: no delay, and a dead peer is noticed.
pub(crate) async fn tcp(endpoint: &Endpoint<'_>) -> Result<TcpStream, Failed> {
    let addresses = resolve(endpoint).await?;
    connect(endpoint, addresses).await
}

/// The same with TLS over it.
#[cfg(feature = "tls")]
pub(crate) async fn tls(endpoint: &Endpoint<'_>, tls: &Tls) -> Result<TlsStream, Failed> {
    let addresses = resolve(endpoint).await?.collect();
    secure(endpoint, addresses, tls).await
}

async fn resolve<'e>(
    endpoint: &Endpoint<'e>,
) -> Result<impl Iterator<Item = SocketAddr> + 'e, Failed> {
    endpoint.begins(Stage::Name);
    let addresses = tokio::net::lookup_host((endpoint.address, endpoint.port)).await;
    addresses.map_err(|error| (ConnectErrorKind::Name, error))
}

/// So many addresses are asked for a better certificate, at the most.
#[cfg(feature = "tls")]
const FRONT_ENDS: usize = 3;

/// Connects to the first of `addresses` that answers and shows a good certificate: one front end of
/// many may have left a part of the chain out.
#[cfg(feature = "tls")]
async fn secure(
    endpoint: &Endpoint<'_>,
    mut addresses: Vec<SocketAddr>,
    tls: &Tls,
) -> Result<TlsStream, Failed> {
    let (mut asked, mut refused) = (0, None);
    loop {
        let stream = match connect(endpoint, addresses.iter().copied()).await {
            Ok(stream) => stream,
            // What a server has shown says more.
            Err(failed) => return Err(refused.unwrap_or(failed)),
        };
        let peer = stream.peer_addr().ok();
        endpoint.begins(Stage::Tls);
        let error = match tls.connect(endpoint.server_name, stream).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        asked += 1;
        let shown = error.kind() == ErrorKind::InvalidData;
        addresses.retain(|address| shown && Some(*address) != peer);
        // A server that has too many clients drops the connection before TLS begins.
        let about_tls = crate::tls::is_about_tls(&error);
        let kind = if about_tls { ConnectErrorKind::Tls } else { ConnectErrorKind::Unreachable };
        let first = refused.take().unwrap_or((kind, error));
        if asked == FRONT_ENDS || addresses.is_empty() {
            return Err(first);
        }
        refused = Some(first);
    }
}

/// Connects to the first of `addresses` that answers.
async fn connect(
    endpoint: &Endpoint<'_>,
    addresses: impl IntoIterator<Item = SocketAddr>,
) -> Result<TcpStream, Failed> {
    endpoint.begins(Stage::Tcp);
    let reached = reach(&TokioClock, endpoint, addresses, TcpStream::connect).await;
    let stream = reached.map_err(failed)?;
    configure(&stream);
    Ok(stream)
}

/// The kind of error of a name with no reachable address.
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
    tls: Tls,
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
        Self { tls: Tls::new(roots) }
    }
}

#[cfg(feature = "tls")]
impl Connect for TlsTcp {
    type Stream = TlsStream;

    async fn connect(&self, endpoint: Endpoint<'_>) -> Result<Self::Stream, ConnectError> {
        let Endpoint { address, port, server_name, .. } = endpoint;
        let to = || format!("{server_name} at {address}:{port}");
        tls(&endpoint, &self.tls)
            .await
            .map_err(|(kind, error)| ConnectError::new(kind, to(), error))
    }
}

#[cfg(test)]
mod tests;
