//! The embassy host through what can go wrong: what its events and errors say, and every public type.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, SystemTime};

use amr_emulator::{Chain, Emulator, Options, Store};
use embassy_net::Stack;
use leaks::{Secrets, Shown};
use network::{SERVERS, leak, memory};
use rand_core::OsRng;
use redis_entraid_embassy::edge_tls::pki_types::CertificateDer;
use redis_entraid_embassy::edge_tls::pki_types::pem::PemObject;
use redis_entraid_embassy::edge_tls::{Buffers, RECORDS_IN, anchor};
use redis_entraid_embassy::entraid_core::command::Topic;
use redis_entraid_embassy::entraid_core::event::Event;
use redis_entraid_embassy::entraid_core::http::{Headers, Method, Request, ResponseWriter, Route};
use redis_entraid_embassy::entraid_core::listener::ListenerEvent;
use redis_entraid_embassy::entraid_core::source::{
    Authority, HttpSource, ManagedIdentity, Selector, ServicePrincipal, TokenSource,
};
use redis_entraid_embassy::entraid_core::source::{SourceIo, Span, Start};
use redis_entraid_embassy::entraid_core::time::{Instant, UnixTime};
use redis_entraid_embassy::entraid_core::token::Token;
use redis_entraid_embassy::entraid_core::transport::{
    Connector, Endpoint, Read, TransportUser, Write,
};
use redis_entraid_embassy::{
    Config, EmbassyClock, Error, Http, Listening, Roots, Storage, Tcp, Tls, args, new,
};
use tokio::task::{JoinSet, LocalSet, spawn_local};

thread_local! {
    static SHOWN: RefCell<Shown> = RefCell::default();
    static SECRETS: RefCell<Secrets> = RefCell::default();
}

fn show(use_it: impl FnOnce(&mut Shown)) {
    SHOWN.with(|shown| use_it(&mut shown.borrow_mut()));
}

fn hear(event: &Event, details: Option<&dyn Display>) {
    show(|shown| {
        shown.value(event);
        shown.text += &format!("{event}\n");
        shown.text += &details.map_or(String::new(), |details| format!("{details}\n"));
    });
}

/// A source of which we know the tokens.
struct Watched<S>(S);

impl<S: TokenSource> TokenSource for Watched<S> {
    type Error = S::Error;

    async fn fetch<'b>(
        &'b mut self,
        start: &Start,
        memory: &'b mut [u8],
    ) -> Result<Token<'b>, S::Error> {
        let fetched = self.0.fetch(start, memory).await;
        match &fetched {
            Ok(token) => {
                SECRETS.with(|secrets| secrets.borrow_mut().add(token.secret.expose()));
                show(|shown| shown.value(token));
            }
            Err(error) => show(|shown| shown.error(error)),
        }
        fetched
    }
}

/// All names of this network are one machine's.
struct Hosts(Tcp<'static>);

impl Connector for Hosts {
    type Error = <Tcp<'static> as Connector>::Error;

    async fn connect<S: TransportUser>(
        &mut self,
        endpoint: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, Self::Error> {
        self.0.connect(&endpoint.redirected(SERVERS, endpoint.port), session).await
    }
}

/// Does nothing with a connection.
struct Nothing;

impl TransportUser for Nothing {
    type Output = ();

    async fn run<R: Read, W: Write>(self, _: R, _: W) {}
}

/// A device, with its server.
struct Device {
    emulator: Emulator,
    stack: Stack<'static>,
    clock: &'static EmbassyClock,
    roots: &'static Roots,
}

impl Device {
    fn new(chain: &str, faults: &[&str]) -> Self {
        let (chain, store) = (Chain::named(chain).unwrap(), Store::Builtin);
        let emulator = Emulator::start(&Options { chain, store, ..Options::default() }).unwrap();
        SECRETS.with(|secrets| {
            secrets.borrow_mut().add(&emulator.entra().secret);
            secrets.borrow_mut().add(&emulator.entra().identity_header);
        });
        faults.iter().for_each(|fault| emulator.arm(fault).unwrap());
        let port = |url: String| url.rsplit(':').next().unwrap().parse().unwrap();
        let stack = network::device(&[
            (10_000, emulator.redis_port()),
            (80, port(emulator.plain())),
            (443, port(emulator.authority())),
        ]);
        let root = CertificateDer::from_pem_slice(emulator.root_pem().as_bytes()).unwrap();
        let roots = leak(Roots::new(leak([anchor(leak(root)).unwrap()])));
        let clock = leak(EmbassyClock::new(UnixTime(1_760_000_000)));
        Self { emulator, stack, clock, roots }
    }

    fn hosts(&self) -> Hosts {
        Hosts(Tcp::new(self.stack, memory(1024), memory(1024)))
    }

    fn tls(&self) -> Tls<Hosts, OsRng> {
        let buffers = Buffers { records_in: memory(RECORDS_IN), records_out: memory(1024) };
        Tls::new(self.hosts(), self.roots, self.clock, buffers, OsRng)
    }

    fn app_service(&self) -> impl TokenSource + 'static {
        let header: &str = leak(self.emulator.entra().identity_header.clone());
        let endpoint = "http://localhost/msi/token";
        let identity = ManagedIdentity::app_service(endpoint, header, Selector::System);
        let http = Http::plain(self.hosts(), memory(1024)).setting(self.clock);
        show(|shown| shown.value(&http));
        HttpSource::new(identity, http, memory(512))
    }

    fn principal(&self) -> impl TokenSource + 'static {
        let _ = self.clock.set(now());
        let entra = self.emulator.entra();
        let authority = Authority::at_host("https://localhost".to_owned(), entra.tenant.clone());
        let (id, secret) = (entra.principal.client_id.clone(), entra.secret.clone());
        let principal = ServicePrincipal::with_secret(authority, id, secret);
        HttpSource::new(principal, Http::secure(self.tls(), memory(1024)), memory(2048))
    }

    /// Logs in, works, and shows all that there is.
    async fn work<S: TokenSource + 'static>(&self, source: S) {
        let mut config = Config::new("localhost", 7);
        config.on_event = Some(hear);
        config.connection.command_timeout = Duration::from_secs(1);
        let (storage, tls): (&'static mut Storage, _) = (leak(Storage::new()), self.tls());
        show(|shown| {
            shown.value(&config);
            shown.value(storage);
            shown.value(&tls);
            shown.value(self.clock);
            shown.value(self.roots);
        });
        let (client, runner) = new(storage, self.clock, config, tls, Watched(source));
        let hear = |heard: &ListenerEvent<'_>| show(|shown| shown.value(heard));
        let listening = Listening::new(&[(Topic::Channel, "news")], hear);
        show(|shown| shown.value(&listening));
        let mut runner = runner.listening(listening);
        show(|shown| shown.value(&runner));
        let running = spawn_local(async move { runner.run().await });
        let large = "v".repeat(600);
        let (mut small, mut room) = ([0; 4], [0; 64]);
        for round in 0..2 {
            for command in [
                args!["SET", "k", "value"],
                args!["INCR", "k"],
                args!["NOSUCH", round],
                args!["AUTH", "x", "y"],
                args!["SET", "k", &*large],
            ] {
                done(client.command(command, &mut room).await);
            }
            done(client.command(args!["GET", "k"], &mut small).await);
            show(|shown| {
                shown.value(&client);
                shown.value(&client.health());
                shown.value(&client.health().problem);
            });
            self.emulator.cut();
        }
        running.abort();
        let _ = running.await;
        done(client.command(args!["PING"], &mut room).await);
    }
}

fn done<T: std::fmt::Debug>(result: Result<T, Error>) {
    show(|shown| match &result {
        Ok(value) => shown.value(value),
        Err(error) => {
            shown.error(error);
            shown.text += &format!("{}\n", error.advice());
            match error {
                Error::Server(error) => {
                    shown.value(error);
                    shown.text += &format!("{error}\n");
                }
                Error::Unavailable { cause: Some(cause) } => shown.error(cause),
                _ => {}
            }
        }
    });
}

fn now() -> UnixTime {
    UnixTime(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs())
}

/// What only the hook hears of a client's errors.
async fn errors(device: &Device) {
    let mut tcp = Tcp::new(device.stack, memory(64), memory(64));
    show(|shown| shown.value(&tcp));
    let nowhere = Endpoint::new("not a name", 1);
    let error = tcp.connect(&nowhere, Nothing).await.unwrap_err();
    show(|shown| shown.error(&error));
    let error = device.tls().connect(&Endpoint::new("localhost", 10_000), Nothing).await;
    show(|shown| shown.error(&error.unwrap_err()));
    show(|shown| shown.error(&device.clock.set(UnixTime(0)).unwrap_err()));
    let mut http = Http::plain(device.hosts(), memory(1024));
    let header = device.emulator.entra().identity_header.clone();
    let value = Span { start: 0, end: header.len() };
    let lines = [Some(("X-IDENTITY-HEADER", value)), None, None, None];
    for url in ["https://localhost/", "http://localhost:10000/"] {
        let request = Request {
            method: Method::Get,
            url,
            headers: Headers::new(&lines, header.as_bytes()),
            body: header.as_bytes(),
            route: Route::LinkLocal,
            deadline: Instant::FAR_FUTURE,
        };
        let error = http.http(&request, &mut ResponseWriter::new(&mut [0; 64])).await.unwrap_err();
        show(|shown| shown.error(&error));
    }
}

#[test]
fn nothing_that_is_printed_or_reported_shows_a_secret() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(async {
        let mut all = JoinSet::new();
        for faults in [
            &[][..],
            &["token#1 garbage", "token#2 cut"],
            &["token#* refuse invalid_client 7000215"],
            &["auth#* wrongpass"],
            &["auth#1 error LOADING Redis is loading", "connect#2 cut", "cmd#2 cut-after 3"],
        ] {
            all.spawn_local(async move {
                let device = Device::new("rsa", faults);
                device.work(device.app_service()).await;
                device.work(device.principal()).await;
            });
        }
        let device = Device::new("expired", &[]);
        device.work(device.app_service()).await;
        errors(&device).await;
        all.join_all().await;
    }));
    SHOWN.with(|shown| {
        let shown = shown.borrow();
        // It was all there: each of these was said.
        for word in
            ["AADSTS7000215", "WRONGPASS", "has expired", "logged in with", "make the buffer"]
        {
            assert!(shown.text.contains(word), "{word}");
        }
        assert_eq!(SECRETS.with(|secrets| secrets.borrow().found_in(&shown.text)), None);
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let missing = shown.missing(&here.join("../../edge-embassy/src"));
        assert!(missing.is_empty(), "not printed: {missing:?}");
    });
}
