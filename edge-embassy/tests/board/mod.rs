//! A device in this process: the host's own code over an in-memory network of embassy-net's, at
//! whose other end the emulator is.
#![allow(clippy::unwrap_used, dead_code)]

use std::cell::RefCell;
use std::fmt::Display;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use amr_emulator::{Chain, Emulator, Options, Store};
use embassy_net::tcp::TcpSocket;
use embassy_net::{
    Config as Addresses, Ipv4Address, Ipv4Cidr, Stack, StackResources, StaticConfigV4,
};
use embassy_net_driver_channel as channel;
use embassy_net_driver_channel::driver::HardwareAddress;
use embedded_io_async::Write;
use rand_core::OsRng;
use redis_entraid_embassy::core::event::Event;
use redis_entraid_embassy::core::source::{Driven, ManagedIdentity, Selector, TokenSource};
use redis_entraid_embassy::core::time::UnixTime;
use redis_entraid_embassy::edge_tls::pki_types::CertificateDer;
use redis_entraid_embassy::edge_tls::pki_types::pem::PemObject;
use redis_entraid_embassy::edge_tls::{Buffers, RECORDS_IN, anchor};
use redis_entraid_embassy::{
    Client, Config, EmbassyClock, Http, Roots, Runner, Storage, Tcp, Tls, new,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

/// The address of the emulator in the network.
pub(crate) const EMULATOR: &str = "10.0.2.100";

type Source = Driven<ManagedIdentity<&'static str>, Http<Tcp<'static>>, &'static mut [u8]>;

/// What a device lives in.
pub(crate) struct Board {
    pub(crate) emulator: Emulator,
    pub(crate) stack: Stack<'static>,
    pub(crate) clock: &'static EmbassyClock,
    pub(crate) roots: &'static Roots,
}

thread_local! {
    static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What the clients of this test have said of themselves.
pub(crate) fn said() -> String {
    SAID.with(|said| said.borrow().join("\n"))
}

fn hear(event: &Event, details: Option<&dyn Display>) {
    let details = details.map_or(String::new(), |details| format!(": {details}"));
    SAID.with(|said| said.borrow_mut().push(format!("{event}{details}")));
}

/// Runs `test` with a board, for at most a minute.
pub(crate) fn on_board<F: Future<Output = ()>>(
    chain: &str,
    life: u64,
    test: impl FnOnce(Rc<Board>) -> F,
) {
    let options = Options {
        chain: Chain::named(chain).unwrap(),
        life,
        store: Store::Builtin,
        ..Options::default()
    };
    let emulator = Emulator::start(&options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(async {
        let board = Rc::new(Board::new(emulator));
        let tested = tokio::time::timeout(Duration::from_secs(60), test(board)).await;
        assert!(tested.is_ok(), "it takes too long: {}", said());
    }));
}

fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

pub(crate) fn memory(len: usize) -> &'static mut [u8] {
    Box::leak(vec![0; len].into_boxed_slice())
}

impl Board {
    fn new(emulator: Emulator) -> Self {
        let (device, device_wire) = plug([10, 0, 2, 15]);
        let (server, server_wire) = plug([10, 0, 2, 100]);
        spawn_local(wire(device_wire, server_wire));
        let port = |url: String| url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
        let ports = [
            (10_000, emulator.redis_port()),
            (80, port(emulator.plain())),
            (443, port(emulator.authority())),
        ];
        for (outside, inside) in ports {
            // As many connections at a time.
            for _ in 0..3 {
                spawn_local(forward(server, outside, inside));
            }
        }
        let root = CertificateDer::from_pem_slice(emulator.root_pem().as_bytes()).unwrap();
        let root = anchor(leak(root)).unwrap();
        let roots = leak(Roots::new(leak([root])));
        let clock = leak(EmbassyClock::new(UnixTime(1_760_000_000)));
        Self { emulator, stack: device, clock, roots }
    }

    pub(crate) fn tcp(&self) -> Tcp<'static> {
        Tcp::new(self.stack, memory(1024), memory(1024))
    }

    pub(crate) fn tls<K>(&self, inner: K) -> Tls<K, OsRng> {
        let buffers = Buffers { records_in: memory(RECORDS_IN), records_out: memory(1024) };
        Tls::new(inner, self.roots, self.clock, buffers, OsRng)
    }

    /// The managed identity, whose endpoint sets the clock if that is wanted.
    pub(crate) fn source(&self, sets_clock: bool) -> Source {
        let http = Http::plain(self.tcp(), memory(768));
        let http = if sets_clock { http.setting(self.clock) } else { http };
        let identity = ManagedIdentity::imds_at("http://10.0.2.100", Selector::System);
        Driven::new(identity, http, memory(512))
    }

    /// A client whose tokens are from `source`, running.
    pub(crate) fn client_of<S: TokenSource + 'static>(
        &self,
        source: S,
        change: impl FnOnce(&mut Config),
    ) -> Client {
        let mut config = Config::new("localhost", 7);
        config.address = Some(EMULATOR);
        config.on_event = Some(hear);
        change(&mut config);
        let tls = self.tls(self.tcp());
        let storage: &'static mut Storage<2560, 4096, 512, 1024> = leak(Storage::new());
        let (client, mut runner): (_, Runner<_, S>) = new(storage, self.clock, config, tls, source);
        spawn_local(async move { runner.run().await });
        client
    }

    /// A client as most are.
    pub(crate) fn client(&self) -> Client {
        self.client_of(self.source(true), |_| {})
    }
}

/// Waits until `what` is so.
pub(crate) async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const MTU: usize = 1514;
type End = channel::Runner<'static, MTU>;

/// A network interface with its stack, and the end of its wire.
fn plug(address: [u8; 4]) -> (Stack<'static>, End) {
    let state = leak(channel::State::<MTU, 8, 8>::new());
    let hardware = HardwareAddress::Ethernet([2, 0, 0, 0, 0, address[3]]);
    let (mut end, device) = channel::new(state, hardware);
    end.set_link_state(channel::driver::LinkState::Up);
    let [a, b, c, d] = address;
    let address = Ipv4Cidr::new(Ipv4Address::new(a, b, c, d), 24);
    let (gateway, dns_servers) = (None, Default::default());
    let addresses = Addresses::ipv4_static(StaticConfigV4 { address, gateway, dns_servers });
    let resources = leak(StackResources::<12>::new());
    let (stack, mut runner) = embassy_net::new(device, addresses, resources, 1);
    spawn_local(async move { runner.run().await });
    (stack, end)
}

/// Carries frames from each end to the other.
async fn wire(one: End, other: End) {
    let (_, mut one_in, mut one_out) = one.split();
    let (_, mut other_in, mut other_out) = other.split();
    tokio::join!(carry(&mut one_out, &mut other_in), carry(&mut other_out, &mut one_in));
}

async fn carry(from: &mut channel::TxRunner<'_, MTU>, to: &mut channel::RxRunner<'_, MTU>) {
    loop {
        let frame = from.tx_buf().await;
        let len = frame.len();
        to.rx_buf().await[..len].copy_from_slice(frame);
        to.rx_done(len);
        from.tx_done();
    }
}

/// Takes connections at a port of the network, one after the other, to one of this machine.
async fn forward(stack: Stack<'static>, outside: u16, inside: u16) {
    let (receive, transmit) = (memory(4096), memory(4096));
    loop {
        let mut socket = TcpSocket::new(stack, receive, transmit);
        if socket.accept(outside).await.is_err() {
            continue;
        }
        let mut stream = TcpStream::connect(("127.0.0.1", inside)).await.unwrap();
        let (mut from, mut to) = stream.split();
        {
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
        drop(stream);
        socket.close();
        let _ = tokio::time::timeout(Duration::from_secs(1), socket.flush()).await;
    }
}
