//! A cluster that changes while it is used.

use std::boxed::Box;
use std::format;
use std::vec;
use std::vec::Vec;

use super::broker::Broker;
use super::routing::{HOME, PORTS, asked, change, cluster, incr, key_at, keys, known, slot_of};
use super::*;
use redis_entraid_core::drive::either;

#[test]
fn a_map_that_is_old_and_wrong_is_asked_for_at_once() {
    known(&cluster(), async |mut client, broker| {
        for _ in 0..35 {
            incr(&mut client, "k").await.unwrap();
            broker.sleep(Duration::from_secs(1)).await;
        }
        let before = asked(broker).len();
        let key = key_at(broker, 8500);
        change(broker, |cluster| cluster.replace(8500, 8503));
        incr(&mut client, &key).await.unwrap();
        broker.sleep(Duration::from_secs(1)).await;
        assert_eq!(asked(broker).len(), before + 1);
    });
}

#[test]
fn a_failover_is_found_at_once_also_when_the_map_is_old() {
    known(&cluster(), async |mut client, broker| {
        for _ in 0..35 {
            incr(&mut client, "k").await.unwrap();
            broker.sleep(Duration::from_secs(1)).await;
        }
        let key = key_at(broker, 8500);
        broker.cut_port(8500);
        broker.sleep(Duration::from_millis(5)).await;
        broker.holes.borrow_mut().push("10.0.0.1");
        let failover = async {
            broker.sleep(Duration::from_millis(400)).await;
            change(broker, |cluster| cluster.replace(8500, 8503));
            // The connections that there are live on.
            broker.sleep(Duration::from_millis(100)).await;
            broker.holes.borrow_mut().clear();
            core::future::pending::<()>().await;
        };
        let waiting = async {
            let before = broker.world.now();
            incr(&mut client, &key).await.unwrap();
            let took = broker.world.now().since(before).as_millis();
            assert!(took < 2000, "{took}");
        };
        either(waiting, failover).await;
    });
}

#[test]
fn what_is_refused_is_not_executed_behind_a_later_command_of_its_slot() {
    known(&cluster(), async |mut client, broker| {
        change(broker, |cluster| cluster.refuses = (1, "CLUSTERDOWN The cluster is down"));
        let all = [args!["INCR", "a"], args!["INCR", "a"], args!["INCR", "a"]];
        client.pipeline(all.iter().map(|it| &it[..])).await.unwrap();
        assert_eq!(client.reply(0).map(drop).unwrap_err().code(), Some("CLUSTERDOWN"));
        assert_eq!(client.reply(1).unwrap().int(), Ok(1));
        assert_eq!(client.reply(2).unwrap().int(), Ok(2));
    });
}

#[test]
fn a_cluster_that_is_none_any_more_is_forgotten() {
    known(&cluster(), async |mut client, broker| {
        change(broker, |cluster| {
            cluster.ranges = vec![(0, 16_383, HOME)];
            cluster.says = Some("-ERR unknown command 'CLUSTER'\r\n");
        });
        broker.holes.borrow_mut().push("10.0.0.1");
        for port in PORTS {
            broker.cut_port(port);
        }
        broker.sleep(Duration::from_millis(5)).await;
        let before = broker.world.now();
        incr(&mut client, "k").await.unwrap();
        let took = broker.world.now().since(before).as_millis();
        assert!(took < 4000, "{took}");
        for key in ["a", "b", "c", "d"] {
            let before = broker.world.now();
            incr(&mut client, key).await.unwrap();
            assert_eq!(broker.world.now().since(before).as_millis(), 1);
        }
        assert_eq!(broker.ports(), [HOME]);
    });
}

#[test]
fn a_command_for_all_is_not_sent_to_some() {
    for says in ["-NOPERM this user has no permissions\r\n", ""] {
        let broker = cluster();
        change(&broker, |cluster| cluster.says = Some(says));
        moved::with(&broker, Broker::settings(false), async |mut client, broker| {
            let key = key_at(broker, 8501);
            incr(&mut client, &key).await.unwrap();
            let nodes = client.nodes.clone();
            let timer = Calendar(broker.world.clone());
            let all = client.handle.execute_on_all(&timer, None, args!["INCR", "x"], &*nodes).await;
            assert!(all.is_err());
            assert_eq!(broker.heard("INCR x").len(), 0);
        });
    }
}

#[test]
fn a_command_for_one_node_waits_as_long_as_any() {
    known(&cluster(), async |mut client, broker| {
        let nodes = client.nodes.clone();
        let timer = Calendar(broker.world.clone());
        let primaries = client.handle.primaries(&timer, &*nodes).await.unwrap();
        let key = key_at(broker, 8501);
        incr(&mut client, &key).await.unwrap();
        broker.sleep(Duration::from_millis(4900)).await;
        broker.cut_port(8501);
        broker.holes.borrow_mut().push("10.0.0.1");
        broker.sleep(Duration::from_millis(10)).await;
        let before = broker.world.now();
        let slice = || Duration::from_secs(1);
        let to = (&primaries[1], &*nodes);
        let _ = client.handle.execute_on(&timer, slice, None, args!["INCR", &*key], to).await;
        let took = broker.world.now().since(before).as_millis();
        assert!((4900..5500).contains(&took), "{took}");
    });
}

#[test]
fn a_command_that_blocks_for_long_follows_its_slot() {
    known(&cluster(), async |client, broker| {
        let key = key_at(broker, 8500);
        let new = format!("{key}x");
        let moves = async {
            broker.sleep(Duration::from_secs(8)).await;
            change(broker, |cluster| cluster.give(slot_of(&new), 8502));
            broker.sleep(Duration::from_secs(8)).await;
            change(broker, |cluster| cluster.give(slot_of(&new), 8501));
            broker.sleep(Duration::from_secs(8)).await;
            let mut other = client.clone();
            incr(&mut other, &new).await.unwrap();
            core::future::pending::<()>().await;
        };
        let mut blocked = client.clone();
        let waits = async {
            let reply = blocked.command(args!["BLPOP", &*new, 60]).await;
            assert_eq!(reply.unwrap().str(), Ok("OK"));
            assert_eq!(broker.world.now().as_millis() / 1000, 30);
        };
        either(waits, moves).await;
    });
}

#[test]
fn two_who_ask_for_the_primaries_at_once_are_both_told() {
    let broker = cluster();
    moved::with(&broker, Broker::settings(false), async |client, broker| {
        let other = client.clone();
        let timer = Calendar(broker.world.clone());
        let before = broker.world.now();
        let mut one = Box::pin(client.handle.primaries(&timer, &*client.nodes));
        let mut two = Box::pin(other.handle.primaries(&timer, &*other.nodes));
        let mut done = (false, false);
        poll_fn(|cx| {
            let is_told = |list: Poll<Result<Vec<_>, _>>| match list {
                Poll::Ready(list) => list.unwrap().len() == 3,
                Poll::Pending => false,
            };
            done.0 = done.0 || is_told(one.as_mut().poll(cx));
            done.1 = done.1 || is_told(two.as_mut().poll(cx));
            if done == (true, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let took = broker.world.now().since(before).as_millis();
        assert!(took < 300, "{took}");
    });
}

#[test]
fn a_client_that_goes_leaves_no_node() {
    known(&cluster(), async |client, broker| {
        let other = client.clone();
        drop(client);
        broker.sleep(Duration::from_secs(1)).await;
        assert_eq!(broker.ports().len(), 4);
        drop(other);
        broker.sleep(Duration::from_secs(1)).await;
        assert_eq!(broker.ports(), [0_u16; 0]);
    });
}

#[test]
fn memory_for_a_large_pipeline_goes_back() {
    known(&cluster(), async |mut client, broker| {
        let large = "x".repeat(1 << 20);
        let keys = keys(broker, 3);
        for key in &keys {
            client.command(args!["SET", &**key, &*large]).await.unwrap();
        }
        let all: Vec<_> = keys.iter().map(|key| [Arg::from("GET"), Arg::from(&**key)]).collect();
        client.pipeline(all.iter().map(|it| &it[..])).await.unwrap();
        assert!(client.handle.room() > 3 << 20);
        for _ in 0..20 {
            incr(&mut client, "n").await.unwrap();
        }
        assert!(client.handle.room() < 4 << 10, "{}", client.handle.room());
    });
}

#[test]
fn a_time_limit_holds_while_a_node_cannot_be_reached() {
    known(&cluster(), async |mut client, broker| {
        let key = key_at(broker, 8500);
        broker.cut_port(8500);
        broker.holes.borrow_mut().push("10.0.0.1");
        broker.sleep(Duration::from_millis(5)).await;
        for limit in [0, 1, 300, 700, 2100, 4900, 9000].map(Duration::from_millis) {
            for is_pipeline in [false, true] {
                let before = broker.world.now();
                let incr = args!["INCR", &*key];
                let error = match is_pipeline {
                    false => client.command_within(limit, incr).await.map(drop),
                    true => {
                        client.pipeline_within(limit, [incr, incr]).await.unwrap();
                        client.reply(1).map(drop)
                    }
                };
                assert_eq!(error.unwrap_err().outcome(), Outcome::NotSent);
                let took = broker.world.now().since(before);
                assert!(took.abs_diff(limit) <= Duration::from_millis(2), "{took:?} of {limit:?}");
            }
        }
    });
}
