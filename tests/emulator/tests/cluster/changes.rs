//! Slots that move, and nodes that come and go.

use std::time::{Duration, Instant};

use amr_emulator::ClusterOptions;

use crate::client::{Client, Reply};
use crate::{another, map, slot, start, three, until, within_a_minute};

#[test]
fn a_slot_that_moves_answers_ask_and_tryagain_and_then_moved() {
    within_a_minute(|| {
        let emulator = three();
        let cluster = emulator.cluster().unwrap();
        let from = cluster.primary_of(12_182).unwrap();
        let to = another(cluster, 12_182);
        let mut old = Client::connect(&emulator, from).unwrap();
        let mut new = Client::connect(&emulator, to).unwrap();
        for key in ["foo", "{foo}1", "{foo}2"] {
            assert_eq!(old.call(&["SET", key, key]).text(), "OK");
        }
        let migration = cluster.begin_move(12_182..=12_182, from, to).unwrap();
        migration.move_keys(&[b"foo"]).unwrap();
        assert_eq!(old.call(&["GET", "foo"]).port("ASK 12182 "), to);
        assert_eq!(old.call(&["GET", "{foo}1"]).text(), "{foo}1");
        let tryagain = old.call(&["MGET", "foo", "{foo}1"]);
        assert!(tryagain.text().starts_with("TRYAGAIN"), "{tryagain:?}");
        assert_eq!(new.call(&["GET", "foo"]).port("MOVED 12182 "), from);
        let replies = new.all(&[&["ASKING"], &["GET", "foo"], &["GET", "foo"]]);
        assert_eq!((replies[0].text(), replies[1].text()), ("OK", "foo"));
        assert_eq!(replies[2].port("MOVED 12182 "), from);
        migration.finish().unwrap();
        assert_eq!(old.call(&["GET", "foo"]).port("MOVED 12182 "), to);
        assert_eq!(new.call(&["MGET", "foo", "{foo}1", "{foo}2"]).list().len(), 3);
        assert_eq!(new.call(&["GET", "{foo}2"]).text(), "{foo}2");
        assert_eq!(map(&old.call(&["CLUSTER", "SLOTS"]))[12_182], Some(to));
        assert_eq!((cluster.counts(from).asked, cluster.counts(from).moved), (1, 1));
        assert_eq!(cluster.counts(to).moved, 2);
    });
}

#[test]
fn exec_is_moved_too() {
    within_a_minute(|| {
        let emulator = three();
        let cluster = emulator.cluster().unwrap();
        let from = cluster.primary_of(12_182).unwrap();
        let to = another(cluster, 12_182);
        let mut client = Client::connect(&emulator, from).unwrap();
        // Queued where its slot was, which leaves before it is executed.
        let replies = client.all(&[&["MULTI"], &["SET", "foo", "1"]]);
        assert_eq!(replies[1].text(), "QUEUED");
        cluster.move_slots(12_000..=12_200, from, to).unwrap();
        assert_eq!(client.call(&["EXEC"]).port("MOVED 12182 "), to);
        // Refused before it is queued, which spoils the transaction.
        let replies = client.all(&[&["MULTI"], &["GET", "foo"], &["EXEC"], &["CLUSTER", "SLOTS"]]);
        assert_eq!(replies[1].port("MOVED 12182 "), to);
        assert!(replies[2].text().starts_with("EXECABORT"), "{replies:?}");
        assert_eq!(map(&replies[3])[12_182], Some(to));
    });
}

#[test]
fn a_primary_that_is_killed_is_replaced_by_its_replica() {
    within_a_minute(|| {
        let emulator = start(ClusterOptions { replicas: 1, ..ClusterOptions::default() });
        let cluster = emulator.cluster().unwrap();
        let victim = cluster.primary_of(12_182).unwrap();
        let mut client = Client::connect(&emulator, victim).unwrap();
        assert_eq!(client.call(&["SET", "foo", "1"]).text(), "OK");
        assert_eq!(client.call(&["WAIT", "1", "5000"]).int(), 1);
        let mut witness = Client::connect(&emulator, another(cluster, 12_182)).unwrap();
        let start = Instant::now();
        cluster.kill(victim).unwrap();
        assert!(client.receive().is_err(), "the connection ends");
        assert!(Client::dial(&emulator, victim, "localhost").is_err(), "the port is closed");
        assert_eq!(cluster.primary_of(12_182), None);
        assert!(cluster.kill(victim).is_err(), "it doesn't run");
        until(|| {
            let owner = map(&witness.call(&["CLUSTER", "SLOTS"]))[12_182];
            owner.is_some_and(|owner| owner != victim && cluster.primary_of(12_182) == Some(owner))
        });
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        let heir = witness.call(&["GET", "foo"]).port("MOVED 12182 ");
        assert!(heir != victim && cluster.nodes().contains(&heir));
        let mut client = Client::connect(&emulator, heir).unwrap();
        assert_eq!(client.call(&["GET", "foo"]).text(), "1");
        // The endpoint never leads to the dead.
        for _ in 0..6 {
            let mut client = Client::connect(&emulator, emulator.redis_port()).unwrap();
            assert_eq!(client.call(&["PING"]).text(), "PONG");
        }
    });
}

#[test]
fn a_node_that_is_replaced_is_forgotten_and_its_port_is_closed() {
    within_a_minute(|| {
        let emulator = start(ClusterOptions { replicas: 1, ..ClusterOptions::default() });
        let cluster = emulator.cluster().unwrap();
        let old = cluster.primary_of(12_182).unwrap();
        let mut client = Client::connect(&emulator, old).unwrap();
        for number in 0..50 {
            let key = format!("{{foo}}{number}");
            assert_eq!(client.call(&["SET", &key, &key]).text(), "OK");
        }
        assert_eq!(slot(&mut client, "{foo}1"), 12_182);
        let new = cluster.replace(old).unwrap();
        assert!(client.receive().is_err(), "the connection ends");
        assert!(Client::dial(&emulator, old, "localhost").is_err(), "the port is closed");
        assert_eq!((cluster.primaries().len(), cluster.nodes().len()), (3, 6));
        assert!(!cluster.nodes().contains(&old));
        let mut client = Client::connect(&emulator, emulator.redis_port()).unwrap();
        until(|| {
            let owners = map(&client.call(&["CLUSTER", "SLOTS"]));
            owners.iter().all(|owner| owner.is_some_and(|owner| owner != old))
                && owners[12_182] == Some(new)
        });
        let nodes = client.call(&["CLUSTER", "NODES"]);
        assert!(!nodes.text().contains(&format!(":{old}@")), "{nodes:?}");
        let mut client = Client::connect(&emulator, new).unwrap();
        for number in 0..50 {
            let key = format!("{{foo}}{number}");
            assert_eq!(client.call(&["GET", &key]), Reply::Text(key));
        }
        // The replica is the new one's, and takes over from it.
        assert_eq!(client.call(&["WAIT", "1", "5000"]).int(), 1);
        cluster.kill(new).unwrap();
        until(|| cluster.primary_of(12_182).is_some_and(|owner| owner != new));
    });
}

#[test]
fn a_node_that_joins_has_no_slots_until_some_are_moved_to_it() {
    within_a_minute(|| {
        let emulator = three();
        let cluster = emulator.cluster().unwrap();
        let new = cluster.join().unwrap();
        let owner = cluster.primary_of(0).unwrap();
        let mut client = Client::connect(&emulator, new).unwrap();
        assert_eq!(client.call(&["GET", "{06S}"]).port("MOVED 0 "), owner);
        cluster.move_slots(0..=99, owner, new).unwrap();
        assert_eq!(client.call(&["GET", "{06S}"]), Reply::Null);
        assert_eq!(cluster.primaries()[3].slots, [0..=99]);
        cluster.cut(new).unwrap();
        assert!(client.receive().is_err(), "the connection is cut");
        assert!(Client::connect(&emulator, new).is_ok());
    });
}
