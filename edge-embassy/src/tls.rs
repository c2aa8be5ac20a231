//! TLS over any connector.

use core::cell::Cell;
use core::fmt;
use core::pin::{Pin, pin};
use core::time::Duration;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embedded_io_async::{Read, Write};
use redis_entraid_core::time::Clock;
use redis_entraid_core::transport::{
    self, ConnectErrorKind, Connector, Endpoint, Stage, TransportUser, Wearing,
};
use redis_entraid_tls::pki_types::{TrustAnchor, UnixTime};
use redis_entraid_tls::rand_core::CryptoRngCore;
use redis_entraid_tls::{self as tls, AZURE, Buffers, Config, Halves};

use crate::clock::EmbassyClock;
use crate::lent::Wiped;

/// Whom to trust: for a `static`, so that they can be replaced while the client runs, in the field.
///
/// ```
/// use redis_entraid_embassy::Roots;
///
/// static TRUSTED: Roots = Roots::azure();
/// ```
#[derive(Debug)]
pub struct Roots(Mutex<CriticalSectionRawMutex, Cell<&'static [TrustAnchor<'static>]>>);

impl Roots {
    /// The roots of Azure: DigiCert Global Root G2, which Azure Managed Redis has, and those that
    /// may follow it.
    pub const fn azure() -> Self {
        Self::new(AZURE)
    }

    /// These, and no others: any of them may be the one.
    pub const fn new(roots: &'static [TrustAnchor<'static>]) -> Self {
        Self(Mutex::new(Cell::new(roots)))
    }

    /// Trusts others, from the next connection on.
    pub fn replace(&self, roots: &'static [TrustAnchor<'static>]) {
        self.0.lock(|cell| cell.set(roots));
    }

    fn get(&self) -> &'static [TrustAnchor<'static>] {
        self.0.lock(Cell::get)
    }
}

/// Opens connections with TLS 1.3 over those of `K`, one at a time, and verifies the server.
pub struct Tls<K, R> {
    inner: K,
    roots: &'static Roots,
    clock: &'static EmbassyClock,
    buffers: Buffers<'static>,
    rng: R,
    records: u32,
}

impl<K, R: CryptoRngCore> Tls<K, R> {
    /// TLS over `inner`'s connections, to servers with a certificate of `roots`, by the wall clock
    /// of `clock`.
    ///
    /// `buffers` are for records: one of [`RECORDS_IN`](tls::RECORDS_IN) bytes, and a kilobyte or
    /// more for those to send. `rng` makes the keys: it must be a true random number generator, or be
    /// seeded by one.
    pub const fn new(
        inner: K,
        roots: &'static Roots,
        clock: &'static EmbassyClock,
        buffers: Buffers<'static>,
        rng: R,
    ) -> Self {
        Self { inner, roots, clock, buffers, rng, records: u32::MAX }
    }

    /// Sends no more than so many `records` over one connection, of the 16,777,216 that its keys are good
    /// for. Before that, the connection is replaced: no command is lost for it.
    #[must_use]
    pub const fn with_records(mut self, records: u32) -> Self {
        self.records = records;
        self
    }
}

impl<K, R> fmt::Debug for Tls<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("roots", &self.roots).finish_non_exhaustive()
    }
}

impl<K: Connector, R: CryptoRngCore> Connector for Tls<K, R> {
    type Error = TlsError<K::Error>;

    async fn connect<S: TransportUser>(
        &mut self,
        endpoint: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, Self::Error> {
        let now = self.clock.unix_time().ok_or(TlsError::Time)?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.0));
        let config = Config::new(endpoint.server_name, self.roots.get(), now);
        let Buffers { records_in, records_out } = &mut self.buffers;
        let buffers = Buffers { records_in, records_out };
        let (rng, records) = (&mut self.rng, self.records);
        let secured = Secured { endpoint, config, buffers, rng, records, session };
        let connected = self.inner.connect(endpoint, secured).await;
        connected.map_err(TlsError::Transport)?.map_err(TlsError::Tls)
    }
}

/// What is done with a transport: TLS, and then the session.
struct Secured<'a, R, S> {
    endpoint: &'a Endpoint<'a>,
    config: Config<'a>,
    buffers: Buffers<'a>,
    rng: &'a mut R,
    records: u32,
    session: S,
}

impl<R: CryptoRngCore, S: TransportUser> TransportUser for Secured<'_, R, S> {
    type Output = Result<S::Output, tls::Error>;

    async fn run<I: Read, W: Write>(self, reader: I, writer: W) -> Self::Output {
        self.endpoint.begins(Stage::Tls);
        let Buffers { records_in, records_out } = self.buffers;
        let (records_in, records_out) = (Wiped(records_in), Wiped(records_out));
        let halves = Halves::new(reader, writer).with_records(self.records);
        let buffers = Buffers { records_in: records_in.0, records_out: records_out.0 };
        let mut tls = tls::Tls::connect(&halves, buffers, &self.config, self.rng).await?;
        let (reader, writer) = tls.split();
        let writer = Wearing::new(writer, self.endpoint, || halves.is_wearing_out());
        // By itself, so that the stack of a handshake, which is the deepest, hasn't got its room too.
        let session: Pin<&mut dyn Future<Output = _>> = pin!(self.session.run(reader, writer));
        Ok(session.await)
    }
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError<E> {
    /// There is no TCP connection.
    Transport(E),
    /// The wall clock is not set.
    Time,
    /// The TLS handshake failed.
    Tls(tls::Error),
}

impl<E: fmt::Display> fmt::Display for TlsError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(error) => error.fmt(f),
            Self::Time => f.write_str(
                "the wall clock is not set: without it no certificate can be verified (set it \
                from SNTP, or from the Date of a trusted token endpoint)",
            ),
            Self::Tls(error) => write!(f, "{error} ({})", error.advice()),
        }
    }
}

impl<E: core::error::Error> core::error::Error for TlsError<E> {}

impl<E: transport::ConnectError> transport::ConnectError for TlsError<E> {
    fn kind(&self) -> ConnectErrorKind {
        use tls::Error as T;
        match self {
            Self::Transport(error) => error.kind(),
            Self::Time => ConnectErrorKind::Host,
            // The server, or the way to it, failed: it may come back.
            Self::Tls(T::Transport(_) | T::Truncated | T::Closed | T::Alert) => {
                ConnectErrorKind::Unreachable
            }
            Self::Tls(_) => ConnectErrorKind::Tls,
        }
    }
}
