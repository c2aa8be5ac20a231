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

pub use embedded_io_async::{Error, ErrorType, Read, Write};

/// The port of Azure Managed Redis.
pub const PORT: u16 = 10_000;

/// Whom to connect to: where to dial, and whom to expect there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Endpoint<'a> {
    /// A host name or an IP address, to dial.
    pub address: &'a str,
    /// The TCP port.
    pub port: u16,
    /// The host name that the server's certificate must be for, and that is sent as SNI.
    pub server_name: &'a str,
}

impl<'a> Endpoint<'a> {
    /// The server `host`, dialed by its own name.
    pub const fn new(host: &'a str, port: u16) -> Self {
        Self { address: host, port, server_name: host }
    }

    /// Another port, and mostly another address, of the same service.
    ///
    /// Azure Managed Redis redirects to addresses like `20.1.2.3:8501`, and the certificate there
    /// has only the host name.
    #[must_use]
    pub const fn redirected(self, address: &'a str, port: u16) -> Self {
        Self { address, port, server_name: self.server_name }
    }
}

/// Why there is no connection, as far as it decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// The name can't be resolved.
    Name,
    /// Nobody answers there, or not in time.
    Unreachable,
    /// TLS failed: a certificate that is not trusted, or not for this name.
    Tls,
    /// The host lacks a permission or a resource.
    Host,
}

impl ConnectErrorKind {
    /// What the person in charge should do.
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

/// What is done with a transport while it is there.
pub trait Session {
    /// What comes of it.
    type Output;

    /// Uses the two halves of a transport, which can be read and written at the same time. A read
    /// or a write that was begun is only dropped together with both.
    async fn run<R: Read, W: Write>(self, reader: R, writer: W) -> Self::Output;
}

/// Opens transports.
///
/// Unless the user asked for something else, that is TLS whose server was verified.
pub trait Connector {
    /// Why it couldn't.
    type Error: ConnectError;

    /// Dials `endpoint`, verifies that its `server_name` is there, and gives `session` the
    /// transport. When the session is over, so is the transport: it and its buffers may lie on the
    /// stack of this function, or in `self`, for one after the other.
    ///
    /// # Errors
    /// [`ConnectError`] if there was no transport. What becomes of one is the session's to say.
    ///
    /// # Cancel safety
    /// May be dropped at any await.
    async fn connect<S: Session>(
        &mut self,
        endpoint: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, Self::Error>;
}
