//! A client of a cluster that knows where its keys are.

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::broker::Broker;
use super::cluster::Cluster;
use super::moved::with;
use super::*;
use redis_entraid_core::cluster::Slot;
use std::boxed::Box;
use std::string::ToString;

pub(super) const PORTS: [u16; 3] = [8500, 8501, 8502];

/// Where clients connect to.
pub(super) const HOME: u16 = 10_000;

pub(super) fn cluster() -> Broker {
    let mut broker = Broker::new(|_, _| None);
    broker.far = Duration::from_millis(1);
    *broker.cluster.borrow_mut() = Some(Cluster::of(&PORTS));
    broker
}

/// Runs `f` with a client that knows the map, and connections to all primaries.
pub(super) fn known(broker: &Broker, f: impl AsyncFnOnce(LocalClient<Calendar>, &Broker)) {
    with(broker, Broker::settings(false), async |mut client, broker| {
        for port in PORTS {
            let key = key_at(broker, port);
            client.command(args!["SET", &*key, "0"]).await.unwrap();
            broker.sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(asked(broker).len(), 1, "the map was asked for");
        f(client, broker).await;
    });
}

pub(super) fn slot_of(key: &str) -> u16 {
    Slot::of(key.as_bytes()).number()
}

pub(super) fn key_at(broker: &Broker, port: u16) -> String {
    broker.cluster.borrow().as_ref().unwrap().key_at(port)
}

pub(super) fn asked(broker: &Broker) -> Vec<u16> {
    broker.cluster.borrow().as_ref().unwrap().asked.clone()
}

pub(super) fn change(broker: &Broker, change: impl FnOnce(&mut Cluster)) {
    change(broker.cluster.borrow_mut().as_mut().unwrap());
}

pub(super) fn keys(broker: &Broker, count: usize) -> Vec<String> {
    broker.cluster.borrow().as_ref().unwrap().keys(count)
}

pub(super) async fn incr(client: &mut LocalClient<Calendar>, key: &str) -> Result<i64, Error> {
    client.command(args!["INCR", key]).await.map(|reply| reply.int().unwrap())
}

#[test]
fn once_the_map_is_known_any_key_costs_one_round_trip() {
    known(&cluster(), async |mut client, broker| {
        assert_eq!(broker.ports(), [8500, 8501, 8502, HOME]);
        for key in keys(broker, 60) {
            let before = broker.world.now();
            incr(&mut client, &key).await.unwrap();
            assert_eq!(broker.world.now().since(before).as_millis(), 1, "{key}");
            assert_eq!(broker.heard(&format!("INCR {key}")).len(), 1);
        }
        // A clone knows it too.
        let mut other = client.clone();
        let before = broker.world.now();
        incr(&mut other, "k0").await.unwrap();
        assert_eq!(broker.world.now().since(before).as_millis(), 1);
        assert_eq!((asked(broker).len(), broker.connects()), (1, 4));
    });
}

#[test]
fn a_pipeline_goes_to_all_nodes_side_by_side_and_its_replies_are_in_order() {
    known(&cluster(), async |mut client, broker| {
        let keys = keys(broker, 100);
        for round in 1..=3 {
            let before = broker.world.now();
            let commands: Vec<_> =
                keys.iter().map(|key| [Arg::from("INCR"), Arg::from(&**key)]).collect();
            assert_eq!(client.pipeline(commands.iter().map(|it| &it[..])).await.unwrap(), 100);
            assert_eq!(broker.world.now().since(before).as_millis(), 1);
            for at in 0..100 {
                assert_eq!(client.reply(at).unwrap().int(), Ok(round), "{at}");
            }
        }
        let heard = broker.heard(&format!("INCR {}", keys[0]));
        assert_eq!(heard.len(), 3);
    });
}

#[test]
fn the_first_pipeline_learns_that_there_is_a_cluster() {
    let broker = cluster();
    with(&broker, Broker::settings(false), async |mut client, broker| {
        let keys = keys(broker, 30);
        let mut commands: Vec<_> =
            keys.iter().map(|key| vec![Arg::from("INCR"), Arg::from(&**key)]).collect();
        commands.insert(5, vec![Arg::from("PING")]);
        assert_eq!(client.pipeline(commands.iter().map(|it| &it[..])).await.unwrap(), 31);
        for at in 0..31 {
            let reply = client.reply(at).unwrap();
            assert_eq!(reply.int().ok(), if at == 5 { None } else { Some(1) }, "{at}");
        }
        assert_eq!(broker.heard("PING").len(), 1, "what was executed is not sent again");
    });
}

#[test]
fn a_transaction_goes_to_the_node_of_its_keys_as_a_whole() {
    known(&cluster(), async |mut client, broker| {
        let a = key_at(broker, 8501);
        let one: [&[Arg<'_>]; 4] =
            [args!["MULTI"], args!["SET", &*a, "7"], args!["INCR", &*a], args!["EXEC"]];
        let elsewhere = key_at(broker, 8502);
        let get: &[Arg<'_>] = args!["GET", &*elsewhere];
        let all = [get].into_iter().chain(one).chain([get]);
        assert_eq!(client.pipeline(all).await.unwrap(), 6);
        let exec = client.reply(4).unwrap();
        assert_eq!(exec.items().nth(1).unwrap().int(), Ok(8));
        assert_eq!(client.reply(5).unwrap().str(), Ok("0"));
        assert_eq!(broker.heard("MULTI"), broker.heard("EXEC"));
        // Also when the keys have moved since.
        change(broker, |cluster| cluster.replace(8501, 8502));
        assert_eq!(client.pipeline(one).await.unwrap(), 4);
        assert_eq!(client.reply(3).unwrap().items().nth(1).unwrap().int(), Ok(8));
    });
}

#[test]
fn what_has_keys_in_two_slots_is_refused_in_the_servers_words_before_anything_is_sent() {
    known(&cluster(), async |mut client, broker| {
        let (a, b) = (key_at(broker, 8500), key_at(broker, 8501));
        let sent = broker.heard("MULTI").len();
        let error = client.command(args!["MGET", &*a, &*b]).await.map(drop).unwrap_err();
        assert_eq!(error.to_string(), "CROSSSLOT Keys in request don't hash to the same slot");
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert!(broker.heard(&format!("MGET {a} {b}")).is_empty());
        let all: [&[Arg<'_>]; 5] = [
            args!["INCR", &*a],
            args!["MULTI"],
            args!["INCR", &*a],
            args!["INCR", &*b],
            args!["EXEC"],
        ];
        assert_eq!(client.pipeline(all).await.unwrap(), 5);
        assert_eq!(client.reply(0).unwrap().int(), Ok(1));
        for at in 1..5 {
            let error = client.reply(at).map(drop).unwrap_err();
            assert_eq!(error.code(), Some("CROSSSLOT"));
        }
        assert_eq!(broker.heard("MULTI").len(), sent);
        assert_eq!(incr(&mut client, &a).await.unwrap(), 2);
    });
}

#[test]
fn slots_that_have_moved_cost_one_request_for_the_map_and_a_round_trip_each_until_then() {
    known(&cluster(), async |client, broker| {
        change(broker, |cluster| cluster.replace(8500, 8503));
        let keys: Vec<_> = keys(broker, 90).into_iter().step_by(3).collect();
        let mut tasks: Vec<_> = keys
            .iter()
            .map(|key| {
                let mut client = client.clone();
                Box::pin(async move { incr(&mut client, key).await.unwrap() })
            })
            .collect();
        poll_fn(|cx| {
            tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
            if tasks.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        broker.sleep(Duration::from_secs(1)).await;
        assert_eq!(asked(broker).len(), 2);
        // The node that has none any more is left.
        assert_eq!(broker.ports(), [8501, 8502, 8503, HOME]);
        let mut client = client.clone();
        for key in &keys {
            let before = broker.world.now();
            incr(&mut client, key).await.unwrap();
            assert_eq!(broker.world.now().since(before).as_millis(), 1);
        }
    });
}

#[test]
fn a_slot_that_is_being_moved_is_asked_for_where_it_goes_and_the_map_stays() {
    known(&cluster(), async |mut client, broker| {
        let key = key_at(broker, 8500);
        let slot = slot_of(&key);
        change(broker, |cluster| cluster.moving = Some((slot, 8501)));
        assert_eq!(incr(&mut client, &key).await.unwrap(), 1);
        assert_eq!(broker.heard("ASKING").len(), 1);
        let all = [args!["INCR", &*key], args!["INCR", &*key]];
        client.pipeline(all.iter().map(|it| &it[..])).await.unwrap();
        assert_eq!(
            (client.reply(0).unwrap().int(), client.reply(1).unwrap().int()),
            (Ok(2), Ok(3))
        );
        assert_eq!((broker.heard("ASKING").len(), asked(broker).len()), (3, 1));
    });
}

#[test]
fn a_node_that_says_later_is_asked_later() {
    for error in [
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN The cluster is down",
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica.",
    ] {
        known(&cluster(), async |mut client, broker| {
            change(broker, |cluster| cluster.refuses = (3, error));
            let before = broker.world.now();
            assert_eq!(incr(&mut client, "k").await.unwrap(), 1, "{error}");
            let took = broker.world.now().since(before).as_millis();
            assert!((40..200).contains(&took), "{took}");
            change(broker, |cluster| cluster.refuses = (2, error));
            client.pipeline([args!["INCR", "k"]].iter().map(|it| &it[..])).await.unwrap();
            assert_eq!(client.reply(0).unwrap().int(), Ok(2));
        });
    }
}

#[test]
fn what_waits_for_a_node_that_is_gone_goes_to_who_has_its_slots() {
    known(&cluster(), async |mut client, broker| {
        let key = key_at(broker, 8500);
        broker.cut_port(8500);
        broker.sleep(Duration::from_millis(5)).await;
        broker.holes.borrow_mut().push("10.0.0.1");
        let failover = async {
            broker.sleep(Duration::from_millis(2300)).await;
            change(broker, |cluster| cluster.replace(8500, 8503));
            broker.holes.borrow_mut().clear();
            core::future::pending::<()>().await;
        };
        let waiting = async {
            let before = broker.world.now();
            assert_eq!(incr(&mut client, &key).await.unwrap(), 1);
            let took = broker.world.now().since(before).as_millis();
            assert!((2300..3300).contains(&took), "{took}");
            let all = [args!["INCR", &*key], args!["INCR", &*key]];
            client.pipeline(all.iter().map(|it| &it[..])).await.unwrap();
            assert_eq!(client.reply(1).unwrap().int(), Ok(3));
        };
        redis_entraid_core::drive::either(waiting, failover).await;
        assert_eq!(broker.heard(&format!("INCR {key}")).len(), 3);
    });
}

#[test]
fn what_a_node_may_have_executed_is_not_sent_again() {
    known(&cluster(), async |mut client, broker| {
        let key = key_at(broker, 8500);
        broker.rule.set(|_, command| (command.starts_with("INCR")).then_some("cut"));
        let error = incr(&mut client, &key).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown);
        let all = [args!["GET", &*key], args!["INCR", &*key], args!["GET", &*key]];
        client.pipeline(all.iter().map(|it| &it[..])).await.unwrap();
        assert_eq!(client.reply(1).map(drop).unwrap_err().outcome(), Outcome::Unknown);
        assert_eq!(broker.heard(&format!("INCR {key}")).len(), 2);
    });
}

#[test]
fn a_watch_and_its_transaction_stay_at_the_node_of_its_key() {
    known(&cluster(), async |mut client, broker| {
        let key = key_at(broker, 8502);
        client.command(args!["WATCH", &*key]).await.unwrap();
        client.command(args!["MULTI"]).await.unwrap();
        client.command(args!["INCR", &*key]).await.unwrap();
        let reply = client.command(args!["EXEC"]).await.unwrap();
        assert_eq!(reply.items().next().unwrap().int(), Ok(1));
        assert_eq!(broker.heard("MULTI"), broker.heard(&format!("WATCH {key}")));
        // Then it goes where its keys are again.
        let elsewhere = key_at(broker, 8500);
        assert_eq!(incr(&mut client, &elsewhere).await.unwrap(), 1);
        assert_eq!(broker.heard(&format!("INCR {elsewhere}")).len(), 1);
    });
}

#[test]
fn a_map_in_use_is_asked_for_once_a_minute_and_an_idle_client_asks_nobody() {
    known(&cluster(), async |mut client, broker| {
        broker.sleep(Duration::from_secs(3600)).await;
        assert_eq!(asked(broker).len(), 1);
        for _ in 0..300 {
            incr(&mut client, "k").await.unwrap();
            broker.sleep(Duration::from_secs(1)).await;
        }
        let count = asked(broker).len();
        assert!((5..=9).contains(&count), "{count}");
    });
}

#[test]
fn when_home_was_dialed_anew_the_map_is_asked_for() {
    known(&cluster(), async |mut client, broker| {
        broker.cut_port(HOME);
        broker.sleep(Duration::from_secs(2)).await;
        incr(&mut client, "k").await.unwrap();
        broker.sleep(Duration::from_secs(2)).await;
        assert_eq!(asked(broker), [asked(broker)[0], HOME]);
    });
}

#[test]
fn a_client_that_closes_leaves_no_node_and_no_request() {
    known(&cluster(), async |client, broker| {
        let mut other = client.clone();
        change(broker, |cluster| cluster.replace(8500, 8503));
        let key = key_at(broker, 8503);
        incr(&mut other, &key).await.unwrap();
        // The request for the map waits for its time.
        client.close();
        client.closed().await;
        assert_eq!(broker.ports(), [0_u16; 0]);
        assert!(matches!(incr(&mut other, &key).await, Err(Error::Closed)));
    });
}

#[test]
fn a_command_for_all_primaries_has_a_reply_of_each() {
    let broker = cluster();
    with(&broker, Broker::settings(false), async |mut client, broker| {
        // Nobody has said yet that there is a cluster.
        let nodes = client.nodes.clone();
        let timer = Calendar(broker.world.clone());
        client.handle.execute_on_all(&timer, None, args!["INCR", "x"], &*nodes).await.unwrap();
        assert_eq!(client.handle.replies(), 3);
        let replies = (0..3).map(|at| client.handle.pick(at).map(|reply| reply.int().unwrap()));
        let ok = replies.filter(|reply| matches!(reply, Ok(1))).count();
        assert_eq!((ok, broker.heard("INCR x").len()), (1, 3), "nothing is redirected");
        let primaries = client.handle.primaries(&timer, &*nodes).await.unwrap();
        let ports: Vec<_> = primaries.iter().map(|node| node.port).collect();
        assert_eq!((ports, asked(broker).len()), (PORTS.into(), 1));
        let key = key_at(broker, 8501);
        let slice = || Duration::from_secs(1);
        let to = (&primaries[1], &*nodes);
        client.handle.execute_on(&timer, slice, None, args!["INCR", &*key], to).await.unwrap();
        assert_eq!(client.handle.pick(0).unwrap().int(), Ok(1));
        // Then it goes where its key is.
        assert_eq!(incr(&mut client, &key).await.unwrap(), 2);
        assert_eq!(broker.heard(&format!("INCR {key}")).len(), 2);
    });
}

#[test]
fn without_a_cluster_a_command_for_all_goes_home() {
    let broker = Broker::new(|_, command| {
        let says = "-ERR This instance has cluster support disabled\r\n";
        (command == "CLUSTER SLOTS").then_some(says)
    });
    with(&broker, Broker::settings(false), async |mut client, broker| {
        let nodes = client.nodes.clone();
        let timer = Calendar(broker.world.clone());
        client.handle.execute_on_all(&timer, None, args!["INCR", "x"], &*nodes).await.unwrap();
        assert_eq!((client.handle.replies(), broker.heard("INCR x")), (1, vec![0]));
        assert_eq!(client.handle.primaries(&timer, &*nodes).await.unwrap(), []);
        assert_eq!(broker.connects(), 1);
    });
}

#[test]
fn a_session_at_a_node_is_one_of_the_client() {
    known(&cluster(), async |mut client, broker| {
        let weak = client.downgrade();
        let key = key_at(broker, 8502);
        client.command(args!["WATCH", &*key]).await.unwrap();
        assert!(weak.has_session());
        client.command(args!["UNWATCH"]).await.unwrap();
        assert!(!weak.has_session());
        assert_eq!(broker.heard("UNWATCH"), broker.heard(&format!("WATCH {key}")));
    });
}

#[test]
fn a_command_that_may_be_divided_has_one_reply_of_its_parts() {
    known(&cluster(), async |mut client, broker| {
        let timer = Calendar(broker.world.clone());
        let nodes = client.nodes.clone();
        let keys = keys(broker, 7);
        let slice = || Duration::from_secs(1);
        let mut divided = async |args: &[Arg<'_>]| {
            let handle = &mut client.handle;
            handle.execute_divided(&timer, slice, None, args, &*nodes).await.unwrap();
            assert_eq!(handle.replies(), 1);
            handle.pick(0).map(|reply| String::from_utf8(reply.raw().into()).unwrap())
        };
        let mut set = vec![Arg::from("MSET")];
        let texts: Vec<_> = (0..7).map(|at| at.to_string()).collect();
        for (key, text) in keys.iter().zip(&texts) {
            set.extend([Arg::from(key), Arg::from(text)]);
        }
        assert_eq!(divided(&set).await.unwrap(), "+OK\r\n");
        let all = |name| [name].into_iter().chain(keys.iter().map(|key| &**key));
        let args = |name| all(name).map(Arg::from).collect::<Vec<_>>();
        let values: String = (0..7).map(|at| format!("$1\r\n{at}\r\n")).collect();
        assert_eq!(divided(&args("MGET")).await.unwrap(), format!("*7\r\n{values}"));
        assert_eq!(divided(&args("DEL")).await.unwrap(), ":7\r\n");
        // One slot is no division, and what can't be divided is refused.
        assert_eq!(divided(args!["MGET", &keys[0]]).await.unwrap(), "*1\r\n_\r\n");
        assert!(matches!(divided(&args("SUNION")).await, Err(Error::CrossSlot)));
        // One part fails.
        change(broker, |cluster| cluster.refuses = (1, "NOPERM no"));
        assert_eq!(divided(&args("DEL")).await.unwrap_err().code(), Some("NOPERM"));
    });
}
