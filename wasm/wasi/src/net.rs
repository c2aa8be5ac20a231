//! DNS and TCP, over `wasi:sockets`.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use embedded_io_async::{ErrorType, Read, Write};
use redis_entraid_client::{Unreached, reach};
use redis_entraid_core::transport::{
    self, ConnectErrorKind, Connector, Endpoint, ErrorKind, Stage, TransportUser,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

use crate::clock::WasiClock;
use crate::reactor::Reactor;

/// Opens TCP connections without TLS: for tests, and for a proxy beside the component that does
/// TLS. Tokens go out in clear.
#[derive(Clone, Debug)]
pub struct Tcp(Reactor);

impl Tcp {
    /// Connections whose futures wait at `reactor`.
    pub const fn new(reactor: Reactor) -> Self {
        Self(reactor)
    }

    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ConnectError> {
        if let Ok(address) = name.parse() {
            return Ok(Vec::from([address]));
        }
        let failed = ConnectError::Name;
        let stream = resolve_addresses(&instance_network(), name).map_err(failed)?;
        let mut addresses = Vec::new();
        loop {
            match stream.resolve_next_address() {
                Ok(Some(address)) => addresses.push(address_of(address)),
                Ok(None) => return Ok(addresses),
                Err(ErrorCode::WouldBlock) => self.0.wait(stream.subscribe()).await,
                Err(code) => return Err(failed(code)),
            }
        }
    }

    async fn dial(&self, address: SocketAddr) -> Result<Stream, AddressError> {
        let failed = AddressError;
        let (family, remote) = match address {
            SocketAddr::V4(to) => {
                let (port, address) = (to.port(), to.ip().octets().into());
                (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }))
            }
            SocketAddr::V6(to) => {
                let (port, address) = (to.port(), to.ip().segments().into());
                let socket = Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 };
                (IpAddressFamily::Ipv6, IpSocketAddress::Ipv6(socket))
            }
        };
        let socket = create_tcp_socket(family).map_err(failed)?;
        // A dead peer is noticed; a host that can't do that connects all the same.
        let _ = socket.set_keep_alive_enabled(true);
        let _ = socket.set_keep_alive_idle_time(30 * SECOND);
        let _ = socket.set_keep_alive_interval(5 * SECOND);
        socket.start_connect(&instance_network(), remote).map_err(failed)?;
        loop {
            match socket.finish_connect() {
                Ok((input, output)) => {
                    let reactor = self.0.clone();
                    let (output, socket) = (Rc::new(output), Rc::new(socket));
                    return Ok(Stream { input, output, socket, reactor });
                }
                Err(ErrorCode::WouldBlock) => self.0.wait(socket.subscribe()).await,
                Err(code) => return Err(failed(code)),
            }
        }
    }
}

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

fn address_of(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4((a, b, c, d)) => IpAddr::from([a, b, c, d]),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => IpAddr::from([a, b, c, d, e, f, g, h]),
    }
}

impl Tcp {
    /// Dials `endpoint`: the addresses of its name side by side.
    ///
    /// # Errors
    /// [`ConnectError`] with what happened at each address.
    pub async fn open(&self, endpoint: &Endpoint<'_>) -> Result<Stream, ConnectError> {
        endpoint.begins(Stage::Name);
        let addresses = self.resolve(endpoint.address).await?;
        endpoint.begins(Stage::Tcp);
        let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, endpoint.port));
        let timer = WasiClock::new(self.0.clone());
        let reached = reach(&timer, endpoint, addresses, |address| self.dial(address)).await;
        reached.map_err(ConnectError::Unreached)
    }
}

impl Connector for Tcp {
    type Error = ConnectError;

    async fn connect<S: TransportUser>(
        &mut self,
        endpoint: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, ConnectError> {
        let stream = self.open(endpoint).await?;
        let (reader, writer) = stream.halves();
        Ok(session.run(reader, writer).await)
    }
}

/// Why there is no connection, and which permission is missing, if one is.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The DNS lookup failed.
    Name(ErrorCode),
    /// None of its addresses was reached.
    Unreached(Unreached<AddressError>),
}

impl ConnectError {
    /// Whether the host forbids the connection.
    fn is_denied(&self) -> bool {
        match self {
            Self::Name(code) => *code == ErrorCode::AccessDenied,
            Self::Unreached(unreached) => {
                unreached.errors().next().is_some_and(|error| error.0 == ErrorCode::AccessDenied)
            }
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(code) => {
                write!(f, "DNS lookup failed ({})", code.name())?;
                if matches!(code, ErrorCode::AccessDenied | ErrorCode::PermanentResolverFailure) {
                    f.write_str(
                        ": check that the name exists, and run wasmtime with -S allow-ip-name-lookup",
                    )?;
                }
                Ok(())
            }
            Self::Unreached(unreached) if self.is_denied() => write!(
                f,
                "this component is not allowed to connect there ({unreached}): run wasmtime with -S inherit-network, or add the server to Spin's allowed_outbound_hosts"
            ),
            Self::Unreached(unreached) => write!(f, "the server can't be reached ({unreached})"),
        }
    }
}

impl core::error::Error for ConnectError {}

impl transport::ConnectError for ConnectError {
    fn kind(&self) -> ConnectErrorKind {
        match self {
            _ if self.is_denied() => ConnectErrorKind::Host,
            Self::Name(_) => ConnectErrorKind::Name,
            Self::Unreached(_) => ConnectErrorKind::Unreachable,
        }
    }
}

/// What the host says of one address.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{}", .0.name())]
pub struct AddressError(ErrorCode);

/// A TCP connection.
// The host wants the streams gone before the socket.
#[derive(Debug)]
pub struct Stream {
    input: InputStream,
    output: Rc<OutputStream>,
    socket: Rc<TcpSocket>,
    reactor: Reactor,
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The host would wait while it drops what a peer doesn't read, and all here with it.
        self.reactor.linger(self.output.clone(), self.socket.clone());
    }
}

impl Stream {
    /// Its two halves.
    pub fn halves(&self) -> (Reader<'_>, Writer<'_>) {
        (
            Reader { stream: &self.input, reactor: &self.reactor },
            Writer { stream: &self.output, reactor: &self.reactor },
        )
    }
}

/// What reads from a [`Stream`].
#[derive(Debug)]
pub struct Reader<'s> {
    stream: &'s InputStream,
    reactor: &'s Reactor,
}

/// What writes to a [`Stream`].
#[derive(Debug)]
pub struct Writer<'s> {
    stream: &'s OutputStream,
    reactor: &'s Reactor,
}

/// The connection broke, in the runtime's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(String);

impl From<StreamError> for TransportError {
    fn from(error: StreamError) -> Self {
        Self(match error {
            StreamError::Closed => "the stream is closed".into(),
            StreamError::LastOperationFailed(error) => error.to_debug_string(),
        })
    }
}

impl transport::Error for TransportError {
    /// By the words, which are all that WASI has.
    fn kind(&self) -> ErrorKind {
        let says = |word| self.0.contains(word);
        if says("reset") {
            ErrorKind::ConnectionReset
        } else if says("timed out") {
            ErrorKind::TimedOut
        } else if says("pipe") || says("closed") {
            ErrorKind::BrokenPipe
        } else {
            ErrorKind::Other
        }
    }
}

impl ErrorType for Reader<'_> {
    type Error = TransportError;
}

impl ErrorType for Writer<'_> {
    type Error = TransportError;
}

impl Read for Reader<'_> {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, TransportError> {
        loop {
            match self.stream.read(room.len() as u64) {
                // Nothing yet.
                Ok(bytes) if bytes.is_empty() && !room.is_empty() => {
                    self.reactor.wait(self.stream.subscribe()).await;
                }
                Ok(bytes) => {
                    let len = bytes.len().min(room.len());
                    room[..len].copy_from_slice(&bytes[..len]);
                    return Ok(len);
                }
                Err(StreamError::Closed) => return Ok(0),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Write for Writer<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, TransportError> {
        let room = self.room().await?;
        let len = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.stream.write(&bytes[..len])?;
        Ok(len)
    }

    async fn flush(&mut self) -> Result<(), TransportError> {
        self.stream.flush()?;
        self.room().await.map(drop)
    }
}

impl Writer<'_> {
    /// Waits until something can be written. Says how much.
    async fn room(&self) -> Result<u64, TransportError> {
        loop {
            match self.stream.check_write() {
                Ok(0) => self.reactor.wait(self.stream.subscribe()).await,
                Ok(room) => return Ok(room),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
