//! One store that shares its slots among ports.

use amr_emulator::{Chain, Emulator, Options, Policy, Store};

use crate::client::{Client, Reply};
use crate::{map, within_a_minute};

fn start(ports: usize) -> Emulator {
    let (chain, store, policy) = (Chain::Ec, Store::Builtin, Policy::Oss);
    Emulator::start(&Options { chain, store, policy, ports, ..Options::default() }).unwrap()
}

#[test]
fn two_hundred_primaries_have_a_map_and_redirect_by_it() {
    within_a_minute(|| {
        let emulator = start(200);
        let mut client = Client::connect(&emulator, emulator.redis_port()).unwrap();
        let owners = map(&client.call(&["CLUSTER", "SLOTS"]));
        let mut ports: Vec<u16> = owners.iter().map(|owner| owner.unwrap()).collect();
        assert_eq!(client.call(&["CLUSTER", "KEYSLOT", "foo"]).int(), 12_182);
        assert_eq!(client.call(&["GET", "foo"]).port("MOVED 12182 "), ports[12_182]);
        let mut there = Client::connect(&emulator, ports[12_182]).unwrap();
        assert_eq!(there.call(&["GET", "foo"]), Reply::Null);
        ports.dedup();
        assert_eq!(ports.len(), 200);
    });
}

#[test]
fn a_map_is_odd_in_each_way_that_a_fault_names() {
    within_a_minute(|| {
        let emulator = start(2);
        let mut resp3 = Client::connect(&emulator, emulator.redis_port()).unwrap();
        let mut resp2 = Client::resp2(&emulator, emulator.redis_port());
        let usual = resp2.call(&["CLUSTER", "SLOTS"]);
        let mut odd = |name: &str| {
            emulator.reset();
            emulator.arm(&format!("slots#2 {name}")).unwrap();
            emulator.arm(&format!("slots#3 {name}")).unwrap();
            assert_eq!(resp3.call(&["CLUSTER", "SLOTS"]), usual);
            let replies = [&mut resp2, &mut resp3].map(|client| client.call(&["CLUSTER", "SLOTS"]));
            assert_eq!(replies[0], replies[1], "the same in both versions of the protocol");
            let [reply, _] = replies;
            reply
        };
        let node = |reply: &Reply, range: usize| reply.list()[range].list()[2].list().to_vec();
        assert_eq!(node(&odd("null-host"), 1)[0], Reply::Null);
        assert_eq!(node(&odd("empty-host"), 1)[0].text(), "");
        assert_eq!(node(&odd("unknown-host"), 0)[0].text(), "?");
        let zero = odd("port-zero");
        assert!(node(&zero, 0)[1].int() == 0 && node(&zero, 1)[1].int() > 0);
        assert_eq!(node(&odd("no-metadata"), 0).len(), 3);
        assert_eq!(node(&odd("no-id"), 0).len(), 2);
        let replicas = odd("replicas");
        assert_eq!(replicas.list()[0].list()[3], replicas.list()[1].list()[2]);
        let hole = odd("hole");
        assert_eq!((hole.list().len(), hole.list()[0].list()[1].int()), (1, 8191));
        assert_eq!(odd("overlap").list()[1].list()[0].int(), 8092);
        assert_eq!(odd("no-slots").list(), []);
    });
}

#[test]
fn nobody_hears_of_slots_before_a_login_nor_with_another_policy() {
    within_a_minute(|| {
        let emulator = start(2);
        let mut stranger = Client::dial(&emulator, emulator.redis_port(), "localhost").unwrap();
        assert!(stranger.call(&["CLUSTER", "SLOTS"]).text().starts_with("NOAUTH"));
        let (chain, store) = (Chain::Ec, Store::Builtin);
        let emulator = Emulator::start(&Options { chain, store, ..Options::default() }).unwrap();
        assert!(emulator.cluster().is_none());
        let mut client = Client::connect(&emulator, emulator.redis_port()).unwrap();
        let unknown = Reply::Error("ERR unknown command 'CLUSTER'".into());
        assert_eq!(client.call(&["CLUSTER", "SLOTS"]), unknown);
    });
}
