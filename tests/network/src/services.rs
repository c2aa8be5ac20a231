//! Who tells a device its address, and those of others: DHCP (RFC 2131) and DNS (RFC 1035), as far as
//! a device needs them.

use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpEndpoint, Ipv4Address, Stack};

use crate::{leak, memory};

/// The addresses of the device and of the servers.
const DEVICE: [u8; 4] = [10, 0, 2, 15];
const SERVERS: [u8; 4] = [10, 0, 2, 100];

fn socket(stack: Stack<'static>, port: u16) -> UdpSocket<'static> {
    let [receive, transmit] = [(); 2].map(|()| leak([PacketMetadata::EMPTY; 8]));
    let mut socket = UdpSocket::new(stack, receive, memory(4096), transmit, memory(4096));
    socket.bind(port).expect("it is free");
    socket
}

/// Gives the device its address, and names itself for all else.
pub(crate) async fn dhcp(stack: Stack<'static>) {
    let socket = socket(stack, 67);
    let mut room = [0; 1024];
    loop {
        let Ok((len, _)) = socket.recv_from(&mut room).await else { continue };
        let Some(answer) = room.get(..len).and_then(offer) else { continue };
        let everybody = IpEndpoint::new(Ipv4Address::BROADCAST.into(), 68);
        let _ = socket.send_to(&answer, everybody).await;
    }
}

/// The answer to a DHCPDISCOVER or a DHCPREQUEST.
fn offer(request: &[u8]) -> Option<Vec<u8>> {
    const OPTIONS: usize = 240;
    let mut options = request.get(OPTIONS..)?;
    // The message type is option 53.
    let kind = loop {
        let (code, len) = (*options.first()?, usize::from(*options.get(1)?));
        if code == 53 {
            break *options.get(2)?;
        }
        options = options.get(2 + len..)?;
    };
    let kind = match kind {
        1 => 2,
        3 => 5,
        _ => return None,
    };
    let mut answer = request.get(..OPTIONS)?.to_vec();
    answer[0] = 2;
    answer[16..20].copy_from_slice(&DEVICE);
    answer[20..24].copy_from_slice(&SERVERS);
    for (code, value) in [
        (53, &[kind][..]),
        (54, &SERVERS),
        (51, &3600_u32.to_be_bytes()),
        (1, &[255, 255, 255, 0]),
        (6, &SERVERS),
    ] {
        answer.extend([code, value.len() as u8]);
        answer.extend(value);
    }
    answer.push(255);
    Some(answer)
}

/// Where nobody is.
const NOBODY: [u8; 4] = [10, 0, 2, 99];

/// Knows one name, which is the servers'; `two.` before it is where nobody is and then where they are, and
/// `alias.` is another name for it.
pub(crate) async fn dns(stack: Stack<'static>, name: &'static str) {
    let socket = socket(stack, 53);
    let mut room = [0; 1024];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut room).await else { continue };
        let Some(answer) = room.get(..len).and_then(|query| resolved(query, name)) else {
            continue;
        };
        let _ = socket.send_to(&answer, from).await;
    }
}

/// The answer to a query for an address.
fn resolved(query: &[u8], name: &str) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let (mut at, mut asked) = (HEADER, String::new());
    loop {
        let len = usize::from(*query.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        asked += if asked.is_empty() { "" } else { "." };
        asked += std::str::from_utf8(query.get(at..at + len)?).ok()?;
        at += len;
    }
    // Behind the name are its type and its class.
    let question = query.get(HEADER..at + 4)?;
    let kind = asked.strip_suffix(name);
    let addresses: &[[u8; 4]] = match kind {
        Some("" | "alias.") => &[SERVERS],
        Some("two.") => &[NOBODY, SERVERS],
        _ => &[],
    };
    let is_alias = kind == Some("alias.");
    let count = addresses.len() as u8 + u8::from(is_alias);
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, if count > 0 { 0x80 } else { 0x83 }, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(question);
    let mut of = HEADER as u8;
    if is_alias {
        // The name behind the first label of the question, for a minute.
        let target = of + 1 + "alias".len() as u8;
        answer.extend([0xc0, of, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, target]);
        of = target;
    }
    for address in addresses {
        answer.extend([0xc0, of, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address);
    }
    Some(answer)
}
