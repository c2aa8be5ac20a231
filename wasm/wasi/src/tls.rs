//! TLS inside the component, over `wasi:sockets`.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use redis_entraid_client::{ConfigError, roots_from_pem};
use redis_entraid_core::transport::{
    self, ConnectErrorKind, Connector, Endpoint, Stage, TransportUser, Wearing,
};
use redis_entraid_tls::pki_types::{TrustAnchor, UnixTime};
use redis_entraid_tls::rand_core::{CryptoRng, Error as RngError, RngCore};
use redis_entraid_tls::{self as tls, AZURE, Buffers, Config, Halves, RECORDS_IN, Tls, anchor};
use wasip2::clocks::wall_clock;
use wasip2::random::random::{get_random_bytes, get_random_u64};

use crate::net::{self, Tcp};
use crate::reactor::Reactor;

/// Whom to trust.
#[derive(Clone, Debug)]
pub struct Roots(Vec<TrustAnchor<'static>>);

impl Default for Roots {
    /// The roots of Azure: a component knows no others.
    fn default() -> Self {
        Self(AZURE.to_vec())
    }
}

impl Roots {
    /// Trusts the certificates in `pem`, and no others.
    ///
    /// # Errors
    /// [`ConfigError::Roots`] if there is none, or one that can't be read.
    pub fn pem(pem: &[u8]) -> Result<Self, ConfigError> {
        roots_from_pem(pem, |certificate| anchor(&certificate).map(|root| root.to_owned()))
            .map(Self)
    }
}

/// Opens TCP connections with TLS 1.3, and verifies the server.
#[derive(Clone, Debug)]
pub struct TlsTcp {
    tcp: Tcp,
    roots: Roots,
}

/// Room for outgoing records: a login fits into one.
const RECORDS_OUT: usize = 4096;

impl TlsTcp {
    /// Connections whose futures wait at `reactor`, to servers with a certificate of `roots`.
    pub const fn new(reactor: Reactor, roots: Roots) -> Self {
        Self { tcp: Tcp::new(reactor), roots }
    }
}

impl Connector for TlsTcp {
    type Error = ConnectError;

    async fn connect<S: TransportUser>(
        &mut self,
        endpoint: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, ConnectError> {
        let stream = self.tcp.open(endpoint).await.map_err(ConnectError::Tcp)?;
        endpoint.begins(Stage::Tls);
        let (reader, writer) = stream.halves();
        let halves = Halves::new(reader, writer);
        let now = wall_clock::now().seconds;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let config = Config::new(endpoint.server_name, &self.roots.0, now);
        let (mut records_in, mut records_out) = (vec![0; RECORDS_IN], vec![0; RECORDS_OUT]);
        let buffers = Buffers { records_in: &mut records_in, records_out: &mut records_out };
        let opened = Tls::connect(&halves, buffers, &config, &mut Random).await;
        let mut tls = opened.map_err(ConnectError::Tls)?;
        let (reader, writer) = tls.split();
        let writer = Wearing::new(writer, endpoint, || halves.is_wearing_out());
        Ok(session.run(reader, writer).await)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is no TCP connection.
    #[error(transparent)]
    Tcp(net::ConnectError),
    /// The TLS handshake failed.
    #[error("{0} ({advice})", advice = .0.advice())]
    Tls(tls::Error),
}

impl transport::ConnectError for ConnectError {
    fn kind(&self) -> ConnectErrorKind {
        use tls::Error as E;
        match self {
            Self::Tcp(error) => error.kind(),
            // The server, or the way to it, failed: it may come back.
            Self::Tls(E::Transport(_) | E::Truncated | E::Closed | E::Alert) => {
                ConnectErrorKind::Unreachable
            }
            Self::Tls(_) => ConnectErrorKind::Tls,
        }
    }
}

/// Random numbers from the host.
struct Random;

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        (get_random_u64() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        get_random_u64()
    }

    fn fill_bytes(&mut self, room: &mut [u8]) {
        // The host gives as many as it was asked for.
        room.copy_from_slice(&get_random_bytes(room.len() as u64));
    }

    fn try_fill_bytes(&mut self, room: &mut [u8]) -> Result<(), RngError> {
        self.fill_bytes(room);
        Ok(())
    }
}

impl CryptoRng for Random {}
