//! DNS and TCP, over embassy-net.

use core::fmt;
use core::net::Ipv4Addr;

use embassy_net::tcp::{self, TcpSocket};
use embassy_net::{IpAddress, Stack};
use embassy_time::{Duration, with_timeout};
use redis_entraid_core::transport::{self, ConnectErrorKind, Connector, Endpoint, Session};

use crate::lent::Wiped;

/// What saying goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// Opens TCP connections without TLS, one at a time, over one socket of embassy-net's.
pub struct Tcp<'d> {
    stack: Stack<'d>,
    receive: &'d mut [u8],
    transmit: &'d mut [u8],
}

impl<'d> Tcp<'d> {
    /// Connections over `stack`, with these buffers. A kilobyte each will do; larger ones are
    /// quicker where the way is long.
    pub const fn new(stack: Stack<'d>, receive: &'d mut [u8], transmit: &'d mut [u8]) -> Self {
        Self { stack, receive, transmit }
    }
}

impl fmt::Debug for Tcp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tcp({} and {} bytes)", self.receive.len(), self.transmit.len())
    }
}

/// Looks up `name`. The first address is taken: the next attempt may have another.
async fn resolve(stack: Stack<'_>, name: &str) -> Result<IpAddress, ConnectError> {
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return Ok(IpAddress::Ipv4(address));
    }
    #[cfg(feature = "dns")]
    {
        let found = stack.dns_query(name, embassy_net::dns::DnsQueryType::A).await;
        let found = found.ok().and_then(|addresses| addresses.first().copied());
        found.ok_or(ConnectError::Name)
    }
    #[cfg(not(feature = "dns"))]
    {
        let _ = stack;
        Err(ConnectError::Name)
    }
}

impl Connector for Tcp<'_> {
    type Error = ConnectError;

    async fn connect<S: Session>(
        &mut self,
        endpoint: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, ConnectError> {
        // A link that is not up yet is waited for, as long as dialing may take.
        self.stack.wait_config_up().await;
        let address = resolve(self.stack, endpoint.address).await?;
        let (receive, transmit) = (Wiped(self.receive), Wiped(self.transmit));
        let mut socket = TcpSocket::new(self.stack, receive.0, transmit.0);
        // Neither a timeout nor keep-alives: the stack would end a connection whose device has slept.
        // Whoever waits for something knows for how long.
        // Commands are written whole.
        socket.set_nagle_enabled(false);
        socket.connect((address, endpoint.port)).await.map_err(ConnectError::Dial)?;
        let output = {
            let (reader, writer) = socket.split();
            session.run(reader, writer).await
        };
        // Else the server would learn of it only from its next words.
        socket.close();
        if with_timeout(GOODBYE, socket.flush()).await.is_err() {
            socket.abort();
            let _ = with_timeout(GOODBYE, socket.flush()).await;
        }
        Ok(output)
    }
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConnectError {
    /// The name can't be looked up.
    Name,
    /// Nobody answers there.
    Dial(tcp::ConnectError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the name can't be looked up",
            Self::Dial(tcp::ConnectError::InvalidState) => "the socket is in use",
            Self::Dial(tcp::ConnectError::ConnectionReset) => "the server refuses the connection",
            Self::Dial(tcp::ConnectError::TimedOut) => "the server doesn't answer",
            Self::Dial(tcp::ConnectError::NoRoute) => "there is no way to the server",
        })
    }
}

impl core::error::Error for ConnectError {}

impl transport::ConnectError for ConnectError {
    fn kind(&self) -> ConnectErrorKind {
        match self {
            Self::Name => ConnectErrorKind::Name,
            Self::Dial(tcp::ConnectError::InvalidState) => ConnectErrorKind::Host,
            Self::Dial(_) => ConnectErrorKind::Unreachable,
        }
    }
}
