//! A gateway on a Cortex-M3 without an operating system: it gets its tokens from a managed-identity
//! endpoint, logs in to a Redis server over verified TLS, stays logged in, and publishes readings
//! as a stream.
//!
//! It runs on the emulated board `mps2-an385` of QEMU. What it is to do stands on its command line,
//! which a real device hasn't got: see the README.
#![no_std]
#![no_main]

mod publish;

use core::fmt::Display;

use defmt::{Display2Format, error, info, unwrap};
use defmt_semihosting as _;
use embassy_executor::Spawner;
use embassy_net::{Ipv4Address, Ipv4Cidr, StackResources, StaticConfigV4};
use mps2_an385::{Lan9118, host, time_driver};
use rand_chacha::ChaCha8Rng;
use redis_entraid_embassy::edge_tls::pki_types::{CertificateDer, TrustAnchor};
use redis_entraid_embassy::edge_tls::rand_core::{RngCore, SeedableRng};
use redis_entraid_embassy::edge_tls::{Buffers, RECORDS_IN, anchor};
use redis_entraid_embassy::entraid_core::event::Event;
use redis_entraid_embassy::entraid_core::source::{HttpSource, ManagedIdentity, Selector};
use redis_entraid_embassy::entraid_core::time::UnixTime;
use redis_entraid_embassy::{Config, EmbassyClock, Http, Roots, Runner, Storage, Tcp, Tls, new};
use static_cell::{ConstStaticCell, StaticCell};

type Source = HttpSource<ManagedIdentity<&'static str>, Http<Tcp<'static>>, &'static mut [u8]>;
type Redis = Runner<Tls<Tcp<'static>, ChaCha8Rng>, Source>;

/// Where the servers are: the names that the emulated network has for them.
const REDIS: &str = "10.0.2.100";
const IDENTITY: &str = "http://10.0.2.101";

static CLOCK: EmbassyClock = EmbassyClock::new(UnixTime(built_at()));
/// A product begins with `Roots::azure()`.
static ROOTS: Roots = Roots::new(&[]);
/// Tokens of up to 2,560 bytes in responses of up to 3 KiB; short commands and replies.
static STORE: ConstStaticCell<Storage<2560, 3072, 256, 256>> = ConstStaticCell::new(Storage::new());
static SOCKET: ConstStaticCell<([u8; 1024], [u8; 512])> =
    ConstStaticCell::new(([0; 1024], [0; 512]));
/// For the token endpoint, which is asked once in an hour.
static HTTP_SOCKET: ConstStaticCell<([u8; 512], [u8; 256])> =
    ConstStaticCell::new(([0; 512], [0; 256]));
/// A login goes out in several.
static RECORDS_OUT: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);
static RECORDS: ConstStaticCell<[u8; RECORDS_IN]> = ConstStaticCell::new([0; RECORDS_IN]);
static HEAD: ConstStaticCell<[u8; 256]> = ConstStaticCell::new([0; 256]);
static REQUEST: ConstStaticCell<[u8; 256]> = ConstStaticCell::new([0; 256]);
static RUNNER: StaticCell<Redis> = StaticCell::new();
static NETWORK: StaticCell<StackResources<2>> = StaticCell::new();
static COMMAND_LINE: ConstStaticCell<[u8; 256]> = ConstStaticCell::new([0; 256]);
static ROOT: ConstStaticCell<[u8; 1024]> = ConstStaticCell::new([0; 1024]);
static CERTIFICATE: StaticCell<CertificateDer<'static>> = StaticCell::new();
static ANCHORS: StaticCell<[TrustAnchor<'static>; 1]> = StaticCell::new();

/// What `build.rs` says.
const fn built_at() -> u64 {
    let (digits, mut at, mut number) = (env!("BUILT_AT").as_bytes(), 0, 0);
    while at < digits.len() {
        number = number * 10 + (digits[at] - b'0') as u64;
        at += 1;
    }
    number
}

#[embassy_executor::task]
async fn network_task(mut runner: embassy_net::Runner<'static, Lan9118>) -> ! {
    runner.run().await
}

#[embassy_executor::task]
async fn redis_task(runner: &'static mut Redis) -> ! {
    runner.run().await
}

/// Logs what happens.
fn on_event(event: &Event, details: Option<&dyn Display>) {
    match details {
        Some(details) => error!("{}: {}", event, Display2Format(details)),
        None => info!("{}", event),
    }
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let peripherals = unwrap!(cortex_m::Peripherals::take());
    time_driver::start(peripherals.SYST);
    let arguments = unwrap!(host::Arguments::read(COMMAND_LINE.take()));

    // Whom to trust. A product has that in its flash, and may replace it there.
    let len = unwrap!(host::read_file(arguments.text("root"), ROOT.take()));
    let certificate = CERTIFICATE.init(CertificateDer::from_slice(len));
    let anchor = unwrap!(anchor(certificate).ok(), "the root can't be read");
    ROOTS.replace(ANCHORS.init([anchor]));

    // A product has a true source of chance.
    let mut rng = ChaCha8Rng::seed_from_u64(arguments.number("seed"));

    let device = unwrap!(Lan9118::start([2, 0, 0, 0, 0, 1]), "there is no network");
    let address = Ipv4Cidr::new(Ipv4Address::new(10, 0, 2, 15), 24);
    let (gateway, dns_servers) = (None, Default::default());
    let network =
        embassy_net::Config::ipv4_static(StaticConfigV4 { address, gateway, dns_servers });
    let resources = NETWORK.init(StackResources::new());
    let (stack, runner) = embassy_net::new(device, network, resources, rng.next_u64());
    spawner.spawn(unwrap!(network_task(runner)));

    let (receive, transmit) = SOCKET.take();
    let (http_receive, http_transmit) = HTTP_SOCKET.take();
    let http = Http::plain(Tcp::new(stack, http_receive, http_transmit), HEAD.take());
    let identity = ManagedIdentity::imds_at(IDENTITY, Selector::System);
    let source = HttpSource::new(identity, http.setting(&CLOCK), &mut REQUEST.take()[..]);

    let mut config = Config::new(arguments.text("host"), rng.next_u64());
    // There is no DNS.
    config.address = Some(REDIS);
    config.on_event = Some(on_event);
    let buffers = Buffers { records_in: RECORDS.take(), records_out: RECORDS_OUT.take() };
    let tls = Tls::new(Tcp::new(stack, receive, transmit), &ROOTS, &CLOCK, buffers, rng);
    let (client, runner) = new(STORE.take(), &CLOCK, config, tls, source);
    // In a task it would be there twice: as its argument, and as a variable of it.
    spawner.spawn(unwrap!(redis_task(RUNNER.init(runner))));

    let published = publish::readings(client, &arguments).await;
    host::exit(published);
}
