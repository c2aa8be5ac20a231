//! DNS and TCP, over embassy-net.

use core::fmt;
use core::net::Ipv4Addr;

use embassy_net::tcp::{self, TcpSocket};
use embassy_net::{IpAddress, Stack};
use embassy_time::{Duration, with_timeout};
use redis_entraid_core::transport::{
    self, ConnectErrorKind, Connector, Endpoint, Stage, TransportUser,
};

use crate::lent::Wiped;

/// As many addresses of a name as are tried, if the stack keeps as many.
const MOST: usize = 4;

/// How long an address is tried if there is another one.
const TRIED: Duration = Duration::from_millis(2500);

/// What saying goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// Opens TCP connections without TLS, one at a time, over one socket of embassy-net's.
pub struct Tcp<'d> {
    stack: Stack<'d>,
    receive: &'d mut [u8],
    transmit: &'d mut [u8],
    first: First,
}

impl<'d> Tcp<'d> {
    /// Connections over `stack`, with these buffers. A kilobyte each will do; larger ones are
    /// quicker where the way is long.
    pub const fn new(stack: Stack<'d>, receive: &'d mut [u8], transmit: &'d mut [u8]) -> Self {
        Self { stack, receive, transmit, first: First { at: 0, turn: 0 } }
    }
}

impl fmt::Debug for Tcp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tcp({} and {} bytes)", self.receive.len(), self.transmit.len())
    }
}

/// Which address of a name is tried first.
struct First {
    at: usize,
    /// What [`Endpoint::next_turn`] was the last time.
    turn: usize,
}

impl First {
    /// Moves on to the next address when the turn has changed: at the first one there may be a server that
    /// accepts connections and says nothing more.
    const fn take_turn(&mut self, turn: usize) {
        if turn != self.turn {
            (self.at, self.turn) = (self.at.wrapping_add(1), turn);
        }
    }
}

/// Looks up `name`. Puts its addresses into `room`, and returns how many there are.
async fn resolve(
    stack: Stack<'_>,
    name: &str,
    room: &mut [IpAddress; MOST],
) -> Result<usize, ConnectError> {
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        *room = [IpAddress::Ipv4(address); MOST];
        return Ok(1);
    }
    #[cfg(feature = "dns")]
    {
        let found = stack.dns_query(name, embassy_net::dns::DnsQueryType::A).await;
        let found = found.unwrap_or_default();
        let len = room.iter_mut().zip(&found).map(|(room, address)| *room = *address).count();
        if len > 0 { Ok(len) } else { Err(ConnectError::Name) }
    }
    #[cfg(not(feature = "dns"))]
    {
        let _ = stack;
        Err(ConnectError::Name)
    }
}

/// Tries `count` addresses by their numbers, from `first` on, each for `limit` but the last one. There is
/// one socket, so that they can't be tried side by side. The one that answers is the first the next
/// time.
async fn one_after_the_other(
    count: usize,
    first: &mut usize,
    limit: Duration,
    mut dial: impl AsyncFnMut(usize) -> Result<(), tcp::ConnectError>,
) -> Result<(), tcp::ConnectError> {
    let start = *first % count.max(1);
    for step in 1..count {
        let at = (start + step - 1) % count;
        // Whatever comes of it, another dial begins behind it.
        *first = at + 1;
        if let Ok(Ok(())) = with_timeout(limit, dial(at)).await {
            *first = at;
            return Ok(());
        }
    }
    let last = (start + count.max(1) - 1) % count.max(1);
    *first = last + 1;
    dial(last).await?;
    *first = last;
    Ok(())
}

impl Connector for Tcp<'_> {
    type Error = ConnectError;

    async fn connect<S: TransportUser>(
        &mut self,
        endpoint: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, ConnectError> {
        // A link that is not up yet is waited for, as long as dialing may take.
        self.stack.wait_config_up().await;
        endpoint.begins(Stage::Name);
        let mut addresses = [IpAddress::Ipv4(Ipv4Addr::UNSPECIFIED); MOST];
        let count = resolve(self.stack, endpoint.address, &mut addresses).await?;
        endpoint.begins(Stage::Tcp);
        let (receive, transmit) = (Wiped(self.receive), Wiped(self.transmit));
        let mut socket = TcpSocket::new(self.stack, receive.0, transmit.0);
        // Neither a timeout nor keep-alives: the stack would end a connection whose device has slept.
        // Each wait has its own limit.
        // Commands are written whole.
        socket.set_nagle_enabled(false);
        let addresses = addresses.get(..count).unwrap_or_default();
        let dial = async |at: usize| match addresses.get(at) {
            Some(address) => {
                socket.abort();
                socket.connect((*address, endpoint.port)).await
            }
            None => Err(tcp::ConnectError::NoRoute),
        };
        self.first.take_turn(endpoint.next_turn());
        let dialed = one_after_the_other(count, &mut self.first.at, TRIED, dial).await;
        dialed.map_err(ConnectError::Dial)?;
        endpoint.connected();
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
    /// The DNS lookup failed.
    Name,
    /// No answer.
    Dial(tcp::ConnectError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "DNS lookup failed",
            Self::Dial(tcp::ConnectError::InvalidState) => "the socket is in use",
            Self::Dial(tcp::ConnectError::ConnectionReset) => "connection refused",
            Self::Dial(tcp::ConnectError::TimedOut) => "the server does not respond",
            Self::Dial(tcp::ConnectError::NoRoute) => "no route to the server",
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

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use redis_entraid_core::auth::Protocol;
    use redis_entraid_core::event::Event;
    use redis_entraid_core::manager::Generation;

    use super::*;

    /// Dials `count` addresses, of which those in `answer` answer and all others are silent. Returns the
    /// order in which they were tried.
    async fn tried(count: usize, first: &mut usize, answer: &[usize]) -> Vec<usize> {
        let mut tried = Vec::new();
        let dial = async |at: usize| {
            tried.push(at);
            match answer.contains(&at) {
                true => Ok(()),
                false if tried.len() == count => Err(tcp::ConnectError::TimedOut),
                false => core::future::pending().await,
            }
        };
        let limit = Duration::from_millis(20);
        let dialed = one_after_the_other(count, first, limit, dial).await;
        assert_eq!(dialed.is_ok(), tried.last().is_some_and(|last| answer.contains(last)));
        tried
    }

    #[tokio::test]
    async fn an_address_that_is_silent_leads_to_the_next_one_and_is_not_the_first_again() {
        let mut first = 0;
        assert_eq!(tried(3, &mut first, &[1]).await, [0, 1]);
        assert_eq!(tried(3, &mut first, &[1]).await, [1]);
        assert_eq!(tried(3, &mut first, &[0]).await, [1, 2, 0]);
        assert_eq!(tried(3, &mut first, &[]).await, [0, 1, 2]);
        // The name has fewer now.
        assert_eq!(tried(1, &mut first, &[0]).await, [0]);
        assert_eq!(tried(2, &mut first, &[0, 1]).await, [0]);
    }

    #[tokio::test]
    async fn an_address_where_nobody_could_log_in_is_not_the_first_again() {
        let progress = transport::Progress::new();
        let endpoint = Endpoint::new("cache", 10_000).with_progress(&progress);
        let mut first = First { at: 0, turn: 0 };
        let mut dial = async |answer: &[usize]| {
            first.take_turn(endpoint.next_turn());
            let tried = tried(2, &mut first.at, answer).await;
            endpoint.connected();
            tried
        };
        assert_eq!(dial(&[0, 1]).await, [0]);
        assert_eq!(dial(&[0, 1]).await, [1]);
        progress.observe(&Event::LoggedIn { generation: Generation(1), protocol: Protocol::Resp3 });
        assert_eq!(dial(&[0, 1]).await, [1]);
        assert_eq!(dial(&[0, 1]).await, [0]);
    }
}
