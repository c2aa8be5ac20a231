//! How a host gives the core a byte stream.
//!
//! ```
//! use redis_entraid_core::transport::Endpoint;
//!
//! let endpoint = Endpoint::new("cache.westeurope.redis.azure.net", 10_000);
//! // A redirection to an address keeps the name that the certificate has to be for.
//! let node = endpoint.redirected("20.1.2.3", 8501);
//! assert_eq!((node.address, node.server_name), ("20.1.2.3", endpoint.server_name));
//! ```

mod peer;
mod turn;

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use core::time::Duration;

pub use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};
pub use peer::IpText;

pub use crate::close::TransportFailure;
use crate::event::Event;
use crate::time::{Instant, millis};

/// The port of Azure Managed Redis.
pub const PORT: u16 = 10_000;

/// A server: where to dial, and which name to verify there.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Endpoint<'a> {
    /// A host name or an IP address, to dial.
    pub address: &'a str,
    /// The TCP port.
    pub port: u16,
    /// The host name that the server's certificate must be for, and that is sent as SNI.
    pub server_name: &'a str,
    progress: Option<&'a Progress>,
    deadline: Instant,
}

impl<'a> Endpoint<'a> {
    /// The server `host`, dialed by its own name.
    pub const fn new(host: &'a str, port: u16) -> Self {
        Self {
            address: host,
            port,
            server_name: host,
            progress: None,
            deadline: Instant::FAR_FUTURE,
        }
    }

    /// Another port, and mostly another address, of the same service.
    ///
    /// Azure Managed Redis redirects to addresses like `20.1.2.3:8501`, and the certificate there
    /// has only the host name.
    #[must_use]
    pub const fn redirected(self, address: &'a str, port: u16) -> Self {
        Self { address, port, ..self }
    }

    /// Notes in `progress` how far dialing comes.
    #[must_use]
    pub const fn with_progress(self, progress: &'a Progress) -> Self {
        Self { progress: Some(progress), ..self }
    }

    /// Limits the attempt. It is dropped at `deadline`; a connector that knows the deadline can end a
    /// moment earlier and say what happened at each address, as `reach` of `redis-entraid-client` does.
    #[must_use]
    pub const fn with_deadline(self, deadline: Instant) -> Self {
        Self { deadline, ..self }
    }

    /// Returns when the attempt is dropped.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Notes that a server accepted the connection, which [`begins`](Self::begins) with
    /// [`Stage::Tls`] notes too: for connectors that use [`next_turn`](Self::next_turn).
    pub fn connected(&self) {
        if let Some(progress) = self.progress {
            progress.turn.connected();
        }
    }

    /// Notes that a server is [`connected`](Self::connected), and its IP address as text: a server may
    /// name itself by that address. For connectors that know it.
    pub fn reached(&self, ip: &str) {
        self.connected();
        if let Some(progress) = self.progress {
            progress.peer.set(ip);
        }
    }

    /// Returns by how many places to rotate the name's addresses for this attempt, modulo 256. It is one
    /// more after each attempt on which a server was [connected](Self::connected) and no login succeeded, or which stopped responding,
    /// so that another address comes first. For connectors that choose an address: call it once an attempt.
    pub fn next_turn(&self) -> usize {
        self.progress.map_or(0, |progress| progress.turn.next().into())
    }

    /// The IP address that was reached last, if the connector reported it.
    pub fn peer(&self) -> Option<IpText> {
        self.progress?.peer.get()
    }

    /// Asks for another transport before this one is worn out: for TLS whose keys are good for a number
    /// of records. The connection takes no more commands, finishes those that it has, and another one
    /// takes its place.
    pub fn wears_out(&self) {
        if let Some(progress) = self.progress {
            progress.worn.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether the transport that was dialed last [should be replaced](Self::wears_out).
    pub fn is_worn(&self) -> bool {
        self.progress.is_some_and(Progress::is_worn)
    }

    /// Takes in what happened to the connection that was dialed: see [`Progress::observe`].
    pub fn observe(&self, event: &Event) {
        if let Some(progress) = self.progress {
            progress.observe(event);
        }
    }

    /// Notes what the connector waits for from now on, so that the error of a timeout can say it.
    pub fn begins(&self, stage: Stage) {
        if let Some(progress) = self.progress {
            progress.stage.store(stage as u8, Ordering::Relaxed);
            // It is a new one.
            progress.worn.store(false, Ordering::Relaxed);
        }
        if stage == Stage::Tls {
            self.connected();
        }
    }

    /// Returns the error of a dial that took `waited` and got no answer.
    pub fn unanswered(&self, waited: Duration) -> Unanswered {
        let begun = self.progress.map_or(0, |progress| progress.stage.load(Ordering::Relaxed));
        let stages = [Stage::Name, Stage::Tcp, Stage::Tls];
        let stage = stages.into_iter().find(|stage| *stage as u8 == begun);
        Unanswered { stage: stage.unwrap_or(Stage::Dial), waited }
    }
}

/// What dialing waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Stage {
    /// Unknown: the connector hasn't reported a stage.
    Dial,
    /// An address for the name.
    Name,
    /// The TCP connection.
    Tcp,
    /// The TLS handshake. TCP is up.
    Tls,
}

/// How far dialing has come, as the connector reports it.
#[derive(Debug, Default)]
pub struct Progress {
    stage: AtomicU8,
    worn: AtomicBool,
    peer: peer::Peer,
    turn: turn::Turn,
}

impl Progress {
    /// Creates the progress of a dial that has not begun.
    pub const fn new() -> Self {
        Self {
            stage: AtomicU8::new(0),
            worn: AtomicBool::new(false),
            peer: peer::Peer::new(),
            turn: turn::Turn::new(),
        }
    }

    /// Handles an event of the dialed connection: whether it led to a login.
    pub fn observe(&self, event: &Event) {
        self.turn.observe(event);
    }

    /// Returns whether the transport dialed last [should be replaced](Endpoint::wears_out).
    pub fn is_worn(&self) -> bool {
        self.worn.load(Ordering::Relaxed)
    }
}

/// A writer that tells its endpoint when the transport wears out.
#[derive(Debug)]
pub struct Wearing<'e, W, F> {
    writer: W,
    endpoint: &'e Endpoint<'e>,
    is_wearing_out: F,
}

impl<'e, W: Write, F: Fn() -> bool> Wearing<'e, W, F> {
    /// Asks `is_wearing_out` each time that something was sent.
    pub const fn new(writer: W, endpoint: &'e Endpoint<'e>, is_wearing_out: F) -> Self {
        Self { writer, endpoint, is_wearing_out }
    }
}

impl<W: Write, F> ErrorType for Wearing<'_, W, F> {
    type Error = W::Error;
}

impl<W: Write, F: Fn() -> bool> Write for Wearing<'_, W, F> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, W::Error> {
        self.writer.write(buf).await
    }

    async fn flush(&mut self) -> Result<(), W::Error> {
        self.writer.flush().await?;
        if (self.is_wearing_out)() {
            self.endpoint.wears_out();
        }
        Ok(())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Progress {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Progress({=u8})", self.stage.load(Ordering::Relaxed));
    }
}

/// A dial got no answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Unanswered {
    /// What was waited for.
    pub stage: Stage,
    /// How long dialing has taken in all.
    pub waited: Duration,
}

impl Unanswered {
    /// For connectors that give up by themselves.
    pub const fn new(stage: Stage, waited: Duration) -> Self {
        Self { stage, waited }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Dial => "no answer",
            Stage::Name => "no answer from DNS",
            Stage::Tcp => "no answer to the TCP connection",
            Stage::Tls => "no answer to the TLS handshake (does this port speak TLS?)",
        })?;
        let tenths = millis(self.waited) / 100;
        write!(f, " within {}.{} s", tenths / 10, tenths % 10)
    }
}

impl core::error::Error for Unanswered {}

impl ConnectError for Unanswered {
    fn kind(&self) -> ConnectErrorKind {
        match self.stage {
            Stage::Name => ConnectErrorKind::Name,
            _ => ConnectErrorKind::Unreachable,
        }
    }
}

/// Why there is no connection, as far as it decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// The name can't be resolved.
    Name,
    /// Connection refused, no answer, or not in time.
    Unreachable,
    /// TLS failed: a certificate that is not trusted, or not for this name.
    Tls,
    /// The host lacks a permission or a resource.
    Host,
}

impl ConnectErrorKind {
    /// Returns what to do about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Name => "check the host name, and DNS: <name>.<region>.redis.azure.net",
            Self::Unreachable => {
                "check the port (10000), firewalls, and the private endpoint if there is one"
            }
            Self::Tls => {
                "check the host name (it must be the one in the certificate, not an address or a \
                privatelink name), this machine's clock, and the trusted roots"
            }
            Self::Host => "check what this program is allowed to do",
        }
    }
}

/// The error of a [`Connector`].
pub trait ConnectError: core::error::Error {
    /// What decides what happens next. The error itself keeps the details, for a person.
    fn kind(&self) -> ConnectErrorKind;
}

/// Uses a transport while it is there.
pub trait TransportUser {
    /// The result of the session.
    type Output;

    /// Uses the two halves of a transport, which can be read and written at the same time. A read
    /// or a write that was begun is only dropped together with both.
    async fn run<R: Read, W: Write>(self, reader: R, writer: W) -> Self::Output;
}

/// Opens transports.
///
/// Unless the user asked for something else, that is TLS whose server was verified.
pub trait Connector {
    /// Why there is no transport.
    type Error: ConnectError;

    /// Dials `endpoint`, verifies its `server_name`, and runs `session` over the transport. The
    /// transport ends with the session, so that it and its buffers may lie on the stack of this
    /// function, or in `self`.
    ///
    /// # Errors
    /// [`ConnectError`] if there was no transport. If there was one, the session's output says how it ended.
    ///
    /// # Cancel safety
    /// May be dropped at any await.
    async fn connect<S: TransportUser>(
        &mut self,
        endpoint: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, Self::Error>;
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn who_gives_up_says_what_nobody_answered_and_for_how_long() {
        let progress = Progress::new();
        let endpoint = Endpoint::new("cache", PORT).with_progress(&progress);
        let said = || endpoint.unanswered(Duration::from_millis(10_049));
        assert_eq!(said().to_string(), "no answer within 10.0 s");
        for (stage, kind, text) in [
            (Stage::Name, ConnectErrorKind::Name, "no answer from DNS within 10.0 s"),
            (
                Stage::Tcp,
                ConnectErrorKind::Unreachable,
                "no answer to the TCP connection within 10.0 s",
            ),
            (
                Stage::Tls,
                ConnectErrorKind::Unreachable,
                "no answer to the TLS handshake (does this port speak TLS?) \
                within 10.0 s",
            ),
        ] {
            // Another node is dialed by the same host.
            endpoint.redirected("10.0.0.1", 8501).begins(stage);
            assert_eq!((said().kind(), said().to_string()), (kind, text.to_string()));
        }
    }
}
