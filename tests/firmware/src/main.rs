//! The embassy host under test, on the emulated board `mps2-an385` of QEMU: lines come, and answers
//! go, over a connection of its own.
#![no_std]
#![no_main]

mod executor;

use core::cell::RefCell;

use defmt::unwrap;
use defmt_semihosting as _;
use embassy_net::tcp::TcpSocket;
use embassy_net::{Config, Ipv4Address, Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use mps2_an385::{Lan9118, host, time_driver};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use static_cell::{ConstStaticCell, StaticCell};

/// Who says the lines.
const CASES: (Ipv4Address, u16) = (Ipv4Address::new(10, 0, 2, 101), 7);

/// Two for each of eight clients, and the lines.
static NETWORK: StaticCell<StackResources<20>> = StaticCell::new();
static SOCKET: ConstStaticCell<[[u8; 2048]; 2]> = ConstStaticCell::new([[0; 2048]; 2]);
static COMMAND_LINE: ConstStaticCell<[u8; 256]> = ConstStaticCell::new([0; 256]);

#[embassy_executor::task]
async fn network_task(mut runner: embassy_net::Runner<'static, Lan9118>) -> ! {
    runner.run().await
}

#[embassy_executor::task]
async fn subject_task(stack: Stack<'static>, rng: ChaCha8Rng) {
    let [receive, transmit] = SOCKET.take();
    let mut socket = TcpSocket::new(stack, receive, transmit);
    socket.set_nagle_enabled(false);
    unwrap!(socket.connect(CASES).await.ok(), "nobody has a case");
    let (input, output) = socket.split();
    let rng = RefCell::new(rng);
    let chance = || ChaCha8Rng::seed_from_u64(rng.borrow_mut().next_u64());
    conformance::device::serve(stack, chance, input, output).await;
    host::exit(true);
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let peripherals = unwrap!(cortex_m::Peripherals::take());
    time_driver::start(peripherals.SYST);
    let arguments = unwrap!(host::Arguments::read(COMMAND_LINE.take()));
    // For this test only: a true source of chance is what a product has.
    let mut rng = ChaCha8Rng::seed_from_u64(arguments.number("seed"));
    let device = unwrap!(Lan9118::start([2, 0, 0, 0, 0, 1]), "there is no network");
    let address = Ipv4Cidr::new(Ipv4Address::new(10, 0, 2, 15), 24);
    let (gateway, dns_servers) = (None, Default::default());
    let network = Config::ipv4_static(StaticConfigV4 { address, gateway, dns_servers });
    let resources = NETWORK.init(StackResources::new());
    let (stack, runner) = embassy_net::new(device, network, resources, rng.next_u64());
    executor::run(|spawner| {
        spawner.spawn(unwrap!(network_task(runner)));
        spawner.spawn(unwrap!(subject_task(stack, rng)));
    })
}
