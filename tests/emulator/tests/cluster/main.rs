//! The OSS cluster policy: real servers behind the front, and one store that shares its slots among
//! ports.
#![allow(clippy::unwrap_used)]

mod changes;
mod client;
mod ports;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use amr_emulator::{Chain, Cluster, ClusterOptions, Emulator, Options, Store};
use client::{Client, Reply};

/// Runs a test that must end within a minute.
fn within_a_minute(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    if ended.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("it takes more than a minute");
    }
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn start(cluster: ClusterOptions) -> Emulator {
    let cluster = Some(cluster);
    Emulator::start(&Options { cluster, chain: Chain::Ec, ..Options::default() }).unwrap()
}

fn three() -> Emulator {
    start(ClusterOptions::default())
}

/// The ports in a reply to `CLUSTER SLOTS`, one for each slot. Panics if a slot has two.
fn map(slots: &Reply) -> Vec<Option<u16>> {
    let mut owners = vec![None; 16_384];
    for range in slots.list() {
        let [first, last, primary] = range.list() else { panic!("not one node: {range:?}") };
        let [host, port, id, metadata] = primary.list() else { panic!("{primary:?}") };
        assert_eq!((host.text(), id.text().len(), metadata.list()), ("127.0.0.1", 40, &[][..]));
        for slot in first.int()..=last.int() {
            let owner = &mut owners[usize::try_from(slot).unwrap()];
            assert_eq!(owner.replace(u16::try_from(port.int()).unwrap()), None);
        }
    }
    owners
}

/// The slot of a key, as a server says it.
fn slot(client: &mut Client, key: &str) -> u16 {
    u16::try_from(client.call(&["CLUSTER", "KEYSLOT", key]).int()).unwrap()
}

/// A primary that has not the slot.
fn another(cluster: Cluster<'_>, slot: u16) -> u16 {
    let owner = cluster.primary_of(slot).unwrap();
    cluster.primaries().iter().find(|primary| primary.port != owner).unwrap().port
}

/// Waits until it is so.
fn until(mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(20), "it takes too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_map_has_all_slots_and_ports_of_the_front_alone() {
    within_a_minute(|| {
        let options = ClusterOptions { replicas: 1, ..ClusterOptions::default() };
        let emulator = start(options);
        let cluster = emulator.cluster().unwrap();
        let primaries = cluster.primaries();
        assert_eq!((primaries.len(), cluster.nodes().len()), (3, 6));
        let endpoint = emulator.redis_port();
        for mut client in [
            Client::connect(&emulator, endpoint).unwrap(),
            Client::connect(&emulator, *cluster.nodes().last().unwrap()).unwrap(),
            Client::resp2(&emulator, primaries[2].port),
        ] {
            let owners = map(&client.call(&["CLUSTER", "SLOTS"]));
            for (slot, owner) in owners.iter().enumerate() {
                let slot = u16::try_from(slot).unwrap();
                let served = |primary: &&amr_emulator::Primary| primary.slots[0].contains(&slot);
                assert_eq!(*owner, primaries.iter().find(served).map(|primary| primary.port));
            }
            let nodes = client.call(&["CLUSTER", "NODES"]);
            assert_eq!(nodes.text().lines().count(), 3, "{nodes:?}");
            assert!(!nodes.text().contains("slave"), "{nodes:?}");
            let shards = client.call(&["CLUSTER", "SHARDS"]);
            assert_eq!(shards.list().len(), 3);
            for primary in &primaries {
                let address = format!(" 127.0.0.1:{}@", primary.port);
                assert!(nodes.text().contains(&address), "{nodes:?}");
                let port = Reply::Int(primary.port.into());
                let shard = |shard: &&Reply| shard.list()[3].list()[0].list().contains(&port);
                let nodes = shards.list().iter().find(shard).unwrap().list()[3].list();
                assert_eq!(nodes.len(), 1, "{shards:?}");
            }
            assert!(client.call(&["CLUSTER", "INFO"]).text().contains("cluster_state:ok"));
            assert_eq!(client.call(&["CLUSTER", "MYID"]).text().len(), 40);
            let refused = client.call(&["CLUSTER", "REPLICATE", "x"]);
            assert_eq!(refused, Reply::Error("ERR unknown command 'CLUSTER'".into()));
        }
    });
}

#[test]
fn one_primary_and_six_are_clusters_too() {
    within_a_minute(|| {
        for primaries in [1, 6] {
            let emulator = start(ClusterOptions { primaries, ..ClusterOptions::default() });
            assert_eq!(emulator.cluster().unwrap().primaries().len(), primaries);
            let mut client = Client::connect(&emulator, emulator.redis_port()).unwrap();
            assert!(map(&client.call(&["CLUSTER", "SLOTS"])).iter().all(Option::is_some));
        }
    });
}

#[test]
fn a_key_at_the_wrong_node_is_moved_to_a_port_of_the_front() {
    within_a_minute(|| {
        let emulator = start(ClusterOptions { replicas: 1, ..ClusterOptions::default() });
        let cluster = emulator.cluster().unwrap();
        let owner = cluster.primary_of(12_182).unwrap();
        let primaries: Vec<u16> = cluster.primaries().iter().map(|it| it.port).collect();
        for port in cluster.nodes() {
            let mut client = Client::connect(&emulator, port).unwrap();
            let reply = client.call(&["SET", "foo", "1"]);
            match port == owner {
                true => assert_eq!(reply.text(), "OK"),
                false => assert_eq!(reply.port("MOVED 12182 "), owner),
            }
            let counts = cluster.counts(port);
            assert_eq!((counts.moved, counts.asked), (u64::from(port != owner), 0));
            assert_eq!((counts.connections, counts.logins.len()), (1, 1));
            assert_eq!((counts.commands("SET"), counts.rounds), (1, 2));
            assert_eq!(counts.logins_per_second(), 1);
        }
        assert_eq!(emulator.counts().logins, 6);
        assert_eq!(primaries.len(), 3);
    });
}

#[test]
fn replies_stay_in_step_around_redirections_pushes_and_large_replies() {
    within_a_minute(|| {
        let emulator = three();
        let cluster = emulator.cluster().unwrap();
        let owner = cluster.primary_of(12_182).unwrap();
        let mut here = Client::connect(&emulator, owner).unwrap();
        let large = "x".repeat(3 << 20);
        let replies = here.all(&[
            &["SET", "foo", &large],
            &["CLUSTER", "SLOTS"],
            &["GET", "foo"],
            &["SET", "{foo}", "-MOVED 1 127.0.0.1:1"],
            &["GET", "{foo}"],
            &["GET", "bar"],
            &["CLUSTER", "NODES"],
        ]);
        assert_eq!(replies[0].text(), "OK");
        assert!(map(&replies[1]).contains(&Some(owner)));
        assert_eq!(replies[2].text(), large);
        assert_eq!(replies[4].text(), "-MOVED 1 127.0.0.1:1");
        let elsewhere = replies[5].port("MOVED 5061 ");
        assert_eq!(cluster.primary_of(5061), Some(elsewhere));
        assert!(replies[6].text().contains(&format!(":{elsewhere}@")));
        // An error in the place of a confirmation, and then confirmations.
        let replies = here.all(&[
            &["SSUBSCRIBE", "bar"],
            &["CLUSTER", "SLOTS"],
            &["SSUBSCRIBE", "foo"],
            &["SUBSCRIBE", "a"],
            &["CLUSTER", "SLOTS"],
        ]);
        assert_eq!(replies[0].port("MOVED 5061 "), elsewhere);
        assert!(map(&replies[1]).contains(&Some(owner)));
        assert_eq!(replies[2].list()[0].text(), "ssubscribe");
        assert!(map(&replies[4]).contains(&Some(owner)));
        // Messages come between replies.
        let mut other = Client::connect(&emulator, owner).unwrap();
        assert_eq!(other.call(&["SPUBLISH", "foo", "hello"]).int(), 1);
        here.send(&[&["CLUSTER", "SLOTS"]]).unwrap();
        assert_eq!(here.receive().unwrap().list()[2].text(), "hello");
        assert!(map(&here.receive().unwrap()).contains(&Some(owner)));
    });
}

#[test]
fn asking_can_be_unknown_as_it_is_to_the_service() {
    within_a_minute(|| {
        let emulator = start(ClusterOptions { asking: false, ..ClusterOptions::default() });
        let mut client = Client::connect(&emulator, emulator.redis_port()).unwrap();
        let unknown = |name| Reply::Error(format!("ERR unknown command '{name}'"));
        assert_eq!(client.call(&["ASKING"]), unknown("ASKING"));
        assert_eq!(client.call(&["READONLY"]), unknown("READONLY"));
        assert_eq!(client.call(&["PING"]).text(), "PONG");
    });
}

#[test]
fn certificates_have_the_name_of_the_endpoint_and_no_address() {
    within_a_minute(|| {
        let emulator = three();
        let node = emulator.cluster().unwrap().nodes()[1];
        assert!(Client::dial(&emulator, node, "localhost").is_ok());
        let error = Client::dial(&emulator, node, "127.0.0.1").err().unwrap().to_string();
        assert!(error.contains("certificate"), "{error}");
        let mut stranger = Client::dial(&emulator, node, "localhost").unwrap();
        assert!(stranger.call(&["GET", "foo"]).text().starts_with("NOAUTH"));
        let (user, _) = emulator.entra().login();
        assert!(stranger.call(&["AUTH", &user, "x"]).text().starts_with("WRONGPASS"));
    });
}

#[test]
fn a_cluster_needs_a_redis_server_and_a_primary() {
    within_a_minute(|| {
        let why = |store, primaries| {
            let cluster = Some(ClusterOptions { primaries, ..ClusterOptions::default() });
            let options = Options { cluster, store, chain: Chain::Ec, ..Options::default() };
            Emulator::start(&options).err().unwrap().to_string()
        };
        assert!(why(Store::Builtin, 3).contains("needs a redis-server"));
        assert!(why(Store::Any, 0).contains("one primary or more"));
    });
}

/// Processes that run in a folder, or below it.
#[cfg(target_os = "linux")]
fn processes(folder: &std::path::Path) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let folders = all.filter_map(|process| std::fs::read_link(process.path().join("cwd")).ok());
    folders.filter(|cwd| cwd.starts_with(folder)).count()
}

#[test]
#[cfg(target_os = "linux")]
fn no_server_outlives_a_test_that_panics() {
    within_a_minute(|| {
        let (found, folder) = mpsc::channel();
        let panicked = std::thread::spawn(move || {
            let emulator = three();
            let folder = emulator.root_file().parent().unwrap().to_owned();
            assert_eq!(processes(&folder), 3);
            found.send(folder).unwrap();
            panic!("as a test does that fails");
        });
        let folder = folder.recv().unwrap();
        assert!(panicked.join().is_err());
        assert_eq!(processes(&folder), 0);
        assert!(!folder.exists());
    });
}
