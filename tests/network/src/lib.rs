//! The network of a device, in memory: embassy-net's stack on both ends of a wire, and servers of
//! this machine behind the other end. For tests, in a `LocalSet` of tokio's.

mod services;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use embassy_net::tcp::TcpSocket;
use embassy_net::{
    Config, DhcpConfig, Ipv4Address, Ipv4Cidr, Stack, StackResources, StaticConfigV4,
};
use embassy_net_driver_channel as channel;
use embassy_net_driver_channel::driver::{HardwareAddress, LinkState};
use embedded_io_async::Write;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

/// The address of the servers.
pub const SERVERS: &str = "10.0.2.100";

/// Sockets of a device, and of the other end.
const SOCKETS: usize = 32;

/// Connections to one port at a time.
const AT_A_TIME: usize = 8;

/// Keeps `value` for ever.
pub fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

/// Memory for a buffer.
pub fn memory(len: usize) -> &'static mut [u8] {
    vec![0; len].leak()
}

/// The wire, which may be cut: frames are lost then, and nobody hears of that. It may be long.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    cut: Rc<Cell<bool>>,
    delay: Rc<Cell<Duration>>,
}

impl Wire {
    /// Cuts it, or joins it again.
    pub fn cut(&self, cut: bool) {
        self.cut.set(cut);
    }

    /// Lets each frame take so long, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.delay.set(delay);
    }
}

/// The stack of a device that finds servers at [`SERVERS`]: at each port that is first of its pair
/// the one of this machine that is second.
pub fn device(ports: &[(u16, u16)]) -> Stack<'static> {
    device_on(&Wire::default(), ports)
}

/// The same, on a wire that may be cut.
pub fn device_on(wire: &Wire, ports: &[(u16, u16)]) -> Stack<'static> {
    between(wire, fixed([10, 0, 2, 15]), ports).0
}

/// The same, of a device that is told its address, and the servers' by their `name`.
pub fn device_by_dhcp(wire: &Wire, name: &'static str, ports: &[(u16, u16)]) -> Stack<'static> {
    let (device, servers) = between(wire, Config::dhcpv4(DhcpConfig::default()), ports);
    spawn_local(services::dhcp(servers));
    spawn_local(services::dns(servers, name));
    device
}

/// A device and the servers, with a wire between them.
fn between(wire: &Wire, device: Config, ports: &[(u16, u16)]) -> (Stack<'static>, Stack<'static>) {
    let (device, device_end) = plug(1, device);
    let (servers, servers_end) = plug(2, fixed([10, 0, 2, 100]));
    spawn_local(join(wire.clone(), device_end, servers_end));
    for (outside, inside) in ports {
        for _ in 0..AT_A_TIME {
            spawn_local(forward(servers, *outside, *inside));
        }
    }
    (device, servers)
}

fn fixed([a, b, c, d]: [u8; 4]) -> Config {
    let address = Ipv4Cidr::new(Ipv4Address::new(a, b, c, d), 24);
    let (gateway, dns_servers) = (None, Default::default());
    Config::ipv4_static(StaticConfigV4 { address, gateway, dns_servers })
}

const MTU: usize = 1514;
type End = channel::Runner<'static, MTU>;

/// A network interface with its stack, and the end of its wire.
fn plug(number: u8, addresses: Config) -> (Stack<'static>, End) {
    let state = leak(channel::State::<MTU, 8, 8>::new());
    let (mut end, device) = channel::new(state, HardwareAddress::Ethernet([2, 0, 0, 0, 0, number]));
    end.set_link_state(LinkState::Up);
    let resources = leak(StackResources::<SOCKETS>::new());
    let (stack, mut runner) = embassy_net::new(device, addresses, resources, 1);
    spawn_local(async move { runner.run().await });
    (stack, end)
}

/// Carries frames from each end to the other.
async fn join(wire: Wire, one: End, other: End) {
    let (_, mut one_in, mut one_out) = one.split();
    let (_, mut other_in, mut other_out) = other.split();
    tokio::join!(
        carry(&wire, &mut one_out, &mut other_in),
        carry(&wire, &mut other_out, &mut one_in)
    );
}

async fn carry(
    wire: &Wire,
    from: &mut channel::TxRunner<'_, MTU>,
    to: &mut channel::RxRunner<'_, MTU>,
) {
    let (sent, mut under_way) = mpsc::unbounded_channel();
    let sending = async {
        loop {
            let frame = from.tx_buf().await;
            if !wire.cut.get() {
                let _ = sent.send((Instant::now() + wire.delay.get(), frame.to_vec()));
            }
            from.tx_done();
        }
    };
    let arriving = async {
        while let Some((at, frame)) = under_way.recv().await {
            if at > Instant::now() {
                sleep_until(at).await;
            }
            if let Some(room) = to.rx_buf().await.get_mut(..frame.len()) {
                room.copy_from_slice(&frame);
            }
            to.rx_done(frame.len());
        }
    };
    tokio::select! { () = sending => {}, () = arriving => {} }
}

/// Takes connections at a port of the network, one after the other, to one of this machine.
async fn forward(stack: Stack<'static>, outside: u16, inside: u16) {
    let (receive, transmit) = (memory(4096), memory(4096));
    loop {
        let mut socket = TcpSocket::new(stack, receive, transmit);
        // As servers do.
        socket.set_nagle_enabled(false);
        if socket.accept(outside).await.is_err() {
            continue;
        }
        // Nobody there is as good as one who goes at once.
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", inside)).await {
            let _ = stream.set_nodelay(true);
            pass(&mut socket, &mut stream).await;
        }
        socket.close();
        let _ = tokio::time::timeout(Duration::from_secs(1), socket.flush()).await;
    }
}

/// Passes on what comes, in both directions, until one of the two ends.
async fn pass(socket: &mut TcpSocket<'_>, stream: &mut TcpStream) {
    let (mut from, mut to) = stream.split();
    let (mut reader, mut writer) = socket.split();
    let up = async {
        let mut room = [0; 2048];
        while let Ok(len @ 1..) = reader.read(&mut room).await {
            if to.write_all(&room[..len]).await.is_err() {
                break;
            }
        }
    };
    let down = async {
        let mut room = [0; 2048];
        while let Ok(len @ 1..) = from.read(&mut room).await {
            if writer.write_all(&room[..len]).await.is_err() {
                break;
            }
        }
        let _ = writer.flush().await;
    };
    tokio::select! { () = up => {}, () = down => {} }
}
