//! Each identity of Azure's, at the emulator: its token, its refusals, and what becomes of its files.
#![cfg(all(feature = "http", feature = "tls"))]

#[cfg(feature = "azure-core")]
mod azure_core;
mod certificate;
#[cfg(all(feature = "developer", unix))]
mod developer;
mod faults;
mod files;
mod selected;

use std::path::PathBuf;
use std::time::Duration;

use amr_emulator::{Emulator, Kind, Options, Store};
use redis_entraid::source::{AzureArc, TokenSource};
use redis_entraid::tls::Roots;
use redis_entraid::{Builder, Client, Event, RefreshPolicy, args};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// An emulator whose tokens live so many seconds.
fn emulator(life: u64) -> Emulator {
    let folder = format!("amr-arc-{}-{:?}", std::process::id(), std::thread::current().id());
    let arc_folder: PathBuf = std::env::temp_dir().join(folder);
    let store = Store::Builtin;
    let options = Options { life, store, arc_folder, ..Options::default() };
    Emulator::start(&options).expect("the emulator starts")
}

/// What the host of this `kind` sets.
fn variables(emulator: &Emulator, kind: Kind) -> impl Fn(&'static str) -> Option<String> {
    let environment = emulator.environment_of(kind);
    move |name| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
}

/// A client of `emulator` whose tokens come from `source`.
fn client_of(emulator: &Emulator, source: impl TokenSource) -> Builder {
    trusting(emulator, Client::builder("localhost").port(emulator.redis_port()).source(source))
}

fn trusting(emulator: &Emulator, builder: Builder) -> Builder {
    let mut policy = RefreshPolicy::default();
    policy.retry.initial_delay = Duration::from_millis(10);
    let roots = Roots::pem(emulator.root_pem().as_bytes()).expect("it is PEM");
    builder.roots(roots).policy(policy)
}

/// A client that takes the identity of this `kind` from the environment.
fn client(emulator: &Emulator, kind: Kind) -> Builder {
    let get = variables(emulator, kind);
    if kind == Kind::Arc {
        // The folder that the environment means belongs to root.
        let endpoint = get("IDENTITY_ENDPOINT").expect("it is set");
        let folder = emulator.arc_folder().display().to_string();
        return client_of(emulator, AzureArc::new(endpoint).with_folder(folder));
    }
    trusting(emulator, Client::from_variables(get).expect("the environment is whole"))
}

/// Starts a client, and returns what happens to its identity.
fn events(builder: Builder) -> (Client, UnboundedReceiver<Event>) {
    let (sender, events) = unbounded_channel();
    let client = builder.on_event(move |event| _ = sender.send(*event)).start();
    (client.expect("it has a source"), events)
}

/// What comes of the next request for a token.
async fn fetched(events: &mut UnboundedReceiver<Event>) -> Event {
    let next = async {
        loop {
            let event = events.recv().await.expect("the client is there");
            if matches!(event, Event::Refreshed { .. } | Event::FetchFailed { .. }) {
                return event;
            }
        }
    };
    timeout(Duration::from_secs(20), next).await.expect("something comes of it")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_identity_logs_in_and_stays_logged_in() {
    let mut all = JoinSet::new();
    for (name, kind) in Kind::ALL {
        all.spawn(async move {
            let emulator = emulator(8);
            let (mut redis, mut events) = events(client(&emulator, kind));
            for request in 1..=2 {
                let event = fetched(&mut events).await;
                assert!(matches!(event, Event::Refreshed { .. }), "{name} {request}: {event}");
                let pong = redis.command(args!["PING"]).await;
                assert_eq!(pong.expect(name).str(), Ok("PONG"), "{name} {request}");
            }
            let counts = emulator.counts();
            assert_eq!(counts.connections, 1, "{name}");
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}
