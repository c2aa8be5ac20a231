//! A device in this process: the host's own code over an in-memory network of embassy-net's, at
//! whose other end the emulator is.
#![allow(clippy::unwrap_used, dead_code)]

use std::cell::RefCell;
use std::fmt::Display;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use amr_emulator::{Chain, Emulator, Options, Store};
use embassy_net::Stack;
use network::{SERVERS, Wire, leak, memory};
use rand_core::OsRng;
use redis_entraid_embassy::edge_tls::pki_types::CertificateDer;
use redis_entraid_embassy::edge_tls::pki_types::pem::PemObject;
use redis_entraid_embassy::edge_tls::{Buffers, RECORDS_IN, anchor};
use redis_entraid_embassy::entraid_core::event::Event;
use redis_entraid_embassy::entraid_core::source::{
    HttpSource, ManagedIdentity, Selector, TokenSource,
};
use redis_entraid_embassy::entraid_core::time::UnixTime;
use redis_entraid_embassy::{
    Client, Config, EmbassyClock, Http, Roots, Runner, Storage, Tcp, Tls, new,
};
use tokio::task::{LocalSet, spawn_local};

type Source = HttpSource<ManagedIdentity<&'static str>, Http<Tcp<'static>>, &'static mut [u8]>;

/// What a device lives in.
pub(crate) struct Board {
    pub(crate) emulator: Emulator,
    pub(crate) stack: Stack<'static>,
    pub(crate) wire: Wire,
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

/// Runs `test` with a board, for at most two minutes.
pub(crate) fn on_board<F: Future<Output = ()>>(
    chain: &str,
    life: u64,
    test: impl FnOnce(Rc<Board>) -> F,
) {
    on(chain, life, network::device_on, test);
}

/// The same with a board that is told its address, and that of `localhost`.
pub(crate) fn on_board_by_dhcp<F: Future<Output = ()>>(test: impl FnOnce(Rc<Board>) -> F) {
    on("rsa", 3600, |wire, ports| network::device_by_dhcp(wire, "localhost", ports), test);
}

fn on<F: Future<Output = ()>>(
    chain: &str,
    life: u64,
    plug: impl FnOnce(&Wire, &[(u16, u16)]) -> Stack<'static>,
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
        let board = Rc::new(Board::new(emulator, plug));
        let tested = tokio::time::timeout(Duration::from_secs(120), test(board)).await;
        assert!(tested.is_ok(), "it takes too long: {}", said());
    }));
}

impl Board {
    fn new(emulator: Emulator, plug: impl FnOnce(&Wire, &[(u16, u16)]) -> Stack<'static>) -> Self {
        let port = |url: String| url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
        let wire = Wire::default();
        let stack = plug(
            &wire,
            &[
                (10_000, emulator.redis_port()),
                (80, port(emulator.plain())),
                (443, port(emulator.authority())),
            ],
        );
        let root = CertificateDer::from_pem_slice(emulator.root_pem().as_bytes()).unwrap();
        let root = anchor(leak(root)).unwrap();
        let roots = leak(Roots::new(leak([root])));
        let clock = leak(EmbassyClock::new(UnixTime(1_760_000_000)));
        Self { emulator, stack, wire, clock, roots }
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
        HttpSource::new(identity, http, memory(512))
    }

    /// A client whose tokens are from `source`, and its runner.
    pub(crate) fn made_of<S: TokenSource + 'static>(
        &self,
        source: S,
        change: impl FnOnce(&mut Config),
    ) -> (Client, Runner<Tls<Tcp<'static>, OsRng>, S>) {
        let mut config = Config::new("localhost", 7);
        config.address = Some(SERVERS);
        config.on_event = Some(hear);
        change(&mut config);
        let tls = self.tls(self.tcp());
        let storage: &'static mut Storage<2560, 4096, 512, 1024> = leak(Storage::new());
        new(storage, self.clock, config, tls, source)
    }

    /// The same, running.
    pub(crate) fn client_of<S: TokenSource + 'static>(
        &self,
        source: S,
        change: impl FnOnce(&mut Config),
    ) -> Client {
        let (client, mut runner) = self.made_of(source, change);
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
