//! Subscribers of shard channels of a cluster.

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::broker::Broker;
use super::cluster::Cluster;
use super::subscriber::{USUAL, heard, with};
use super::*;
use redis_entraid_core::command::Topic;

pub(super) const PORTS: [u16; 3] = [8500, 8501, 8502];

/// Where clients connect to.
pub(super) const HOME: u16 = 10_000;

pub(super) fn cluster() -> Broker {
    let mut broker = Broker::new(USUAL);
    broker.far = Duration::from_millis(1);
    *broker.cluster.borrow_mut() = Some(Cluster::of(&PORTS));
    broker
}

fn key_at(broker: &Broker, port: u16) -> String {
    broker.cluster.borrow().as_ref().unwrap().key_at(port)
}

fn asked(broker: &Broker) -> Vec<u16> {
    broker.cluster.borrow().as_ref().unwrap().asked.clone()
}

pub(super) fn change(broker: &Broker, change: impl FnOnce(&mut Cluster)) {
    change(broker.cluster.borrow_mut().as_mut().unwrap());
}

#[test]
fn a_shard_channel_is_subscribed_to_at_the_node_that_has_its_slot() {
    for resp2 in [false, true] {
        with(&cluster(), Broker::settings(resp2), async |subscriber, broker| {
            let [a, b, c] = [8500, 8501, 8501].map(|port| key_at(broker, port));
            subscriber.subscribe(Topic::Channel, ["news"]).await.unwrap();
            subscriber.subscribe(Topic::Shard, [&a, &b]).await.unwrap();
            assert_eq!(broker.ports(), [8500, 8501, HOME]);
            broker.sleep(Duration::from_secs(1)).await;
            subscriber.subscribe(Topic::Shard, [&c]).await.unwrap();
            for number in 0..10 {
                for channel in [&a, &b] {
                    assert_eq!(broker.spublish(channel, &format!("{number}")), 1);
                    assert_eq!(heard(&subscriber).await, format!("{channel} {number}"));
                }
            }
            broker.publish("news", "x");
            assert_eq!(heard(&subscriber).await, "news x");
            assert_eq!(broker.ports(), [8500, 8501, HOME]);
        });
    }
}

/// What moves: all slots of one primary go to another one, and the nodes say so, or don't.
fn moves(broker: &Broker, (from, to): (u16, u16), says: bool) {
    change(broker, |cluster| cluster.replace(from, to));
    broker.end_moved(says);
}

/// Publishes numbers on `channel`, one each 10 ms, until one is heard again. Says how long that took.
async fn until_heard(
    subscriber: &Subscriber<Calendar>,
    broker: &Broker,
    channel: &str,
) -> Duration {
    let since = broker.world.now();
    while broker.spublish(channel, "x") == 0 {
        broker.sleep(Duration::from_millis(10)).await;
        assert!(broker.world.now().since(since).as_secs() < 1000, "it isn't back");
    }
    let took = broker.world.now().since(since);
    assert_eq!(heard(subscriber).await, "Gap");
    assert_eq!(heard(subscriber).await, format!("{channel} x"));
    took
}

#[test]
fn when_a_slot_moves_and_the_server_says_so_the_channel_is_back_at_once_and_a_gap_is_told() {
    for resp2 in [false, true] {
        with(&cluster(), Broker::settings(resp2), async |subscriber, broker| {
            let [a, b] = [8500, 8501].map(|port| key_at(broker, port));
            subscriber.subscribe(Topic::Shard, [&a, &b]).await.unwrap();
            for (from, to) in [(8500, 8503), (8503, 8501), (8501, 8502)] {
                moves(broker, (from, to), true);
                let took = until_heard(&subscriber, broker, &a).await;
                assert!(took < Duration::from_millis(100), "{took:?}");
            }
            broker.sleep(Duration::from_secs(30)).await;
            // A node that has nothing any more is left.
            assert_eq!(broker.ports(), [8502, HOME]);
        });
    }
}

#[test]
fn when_a_slot_moves_and_the_server_says_nothing_the_channel_is_back_within_a_minute() {
    for resp2 in [false, true] {
        for news in [false, true] {
            with(&cluster(), Broker::settings(resp2), async |subscriber, broker| {
                let [a, b] = [8500, 8501].map(|port| key_at(broker, port));
                if news {
                    // With RESP2, the map can't be asked for any more.
                    subscriber.subscribe(Topic::Channel, ["news"]).await.unwrap();
                }
                subscriber.subscribe(Topic::Shard, [&a, &b]).await.unwrap();
                broker.sleep(Duration::from_secs(100)).await;
                moves(broker, (8500, 8502), false);
                let took = until_heard(&subscriber, broker, &a).await;
                assert!(took < Duration::from_secs(62), "{took:?}");
                // Nothing else was disturbed.
                assert_eq!(broker.spublish(&b, "y"), 1);
                assert_eq!(heard(&subscriber).await, format!("{b} y"));
                broker.sleep(Duration::from_secs(3600)).await;
                let asked = asked(broker).len();
                assert!(asked < 90, "{asked}");
            });
        }
    }
}

#[test]
fn a_map_that_is_old_disturbs_nobody() {
    for resp2 in [false, true] {
        with(&cluster(), Broker::settings(resp2), async |subscriber, broker| {
            let a = key_at(broker, 8500);
            subscriber.subscribe(Topic::Shard, [&a]).await.unwrap();
            broker.sleep(Duration::from_secs(100)).await;
            change(broker, |cluster| cluster.stale = Some(cluster.ranges.clone()));
            moves(broker, (8500, 8502), true);
            until_heard(&subscriber, broker, &a).await;
            for number in 0..50 {
                assert_eq!(broker.spublish(&a, &format!("{number}")), 1);
                assert_eq!(heard(&subscriber).await, format!("{a} {number}"));
                broker.sleep(Duration::from_millis(100)).await;
            }
            // If it stays so, it is believed less and less often.
            let before = asked(broker).len();
            broker.sleep(Duration::from_secs(3600)).await;
            assert!(asked(broker).len() - before < 120, "{}", asked(broker).len() - before);
            let mut gaps = 0;
            while ready(heard(&subscriber)).await.is_some() {
                gaps += 1;
            }
            let sent = broker.heard(&format!("SSUBSCRIBE {a}")).len();
            assert!(gaps <= 1 && sent < 50, "{gaps} {sent}");
            change(broker, |cluster| cluster.stale = None);
            broker.sleep(Duration::from_secs(300)).await;
            assert_eq!(broker.spublish(&a, "end"), 1);
            assert_eq!(heard(&subscriber).await, format!("{a} end"));
        });
    }
}

#[test]
fn channels_of_a_node_that_is_gone_are_at_its_heir_when_the_cluster_says_which() {
    for resp2 in [false, true] {
        for news in [false, true] {
            let mut broker = cluster();
            broker.dial = Duration::from_millis(5);
            with(&broker, Broker::settings(resp2), async |subscriber, broker| {
                let [a, b] = [8500, 8501].map(|port| key_at(broker, port));
                if news {
                    subscriber.subscribe(Topic::Channel, ["news"]).await.unwrap();
                }
                subscriber.subscribe(Topic::Shard, [&a, &b]).await.unwrap();
                broker.sleep(Duration::from_secs(100)).await;
                broker.gone.borrow_mut().push(8500);
                broker.cut_port(8500);
                broker.sleep(Duration::from_millis(2500)).await;
                moves(broker, (8500, 8503), false);
                let took = until_heard(&subscriber, broker, &a).await;
                assert!(took < Duration::from_secs(1), "{took:?}");
                assert_eq!(broker.spublish(&b, "y"), 1);
                assert_eq!(heard(&subscriber).await, format!("{b} y"));
            });
        }
    }
}

#[test]
fn nodes_that_send_a_channel_back_and_forth_are_asked_a_few_times_a_second() {
    for resp2 in [false, true] {
        with(&cluster(), Broker::settings(resp2), async |subscriber, broker| {
            let a = key_at(broker, 8500);
            let slot = redis_entraid_core::cluster::Slot::of(a.as_bytes()).number();
            change(broker, |cluster| cluster.circle = Some((slot, 8501, 8502)));
            let error = subscriber.subscribe(Topic::Shard, [&a]).await.unwrap_err();
            assert!(matches!(error, Error::Unconfirmed), "{error}");
            broker.sleep(Duration::from_secs(95)).await;
            let sent = broker.heard(&format!("SSUBSCRIBE {a}")).len();
            assert!((100..400).contains(&sent), "{sent}");
            assert!(broker.connects() < 10, "{}", broker.connects());
            assert!(asked(broker).len() < 250, "{}", asked(broker).len());
            change(broker, |cluster| cluster.circle = None);
            broker.sleep(Duration::from_secs(1)).await;
            assert_eq!(broker.spublish(&a, "x"), 1);
            assert_eq!(heard(&subscriber).await, format!("{a} x"));
        });
    }
}

#[test]
fn a_node_that_says_that_the_channel_is_at_its_own_address_is_dialed_anew() {
    with(&cluster(), Broker::settings(false), async |subscriber, broker| {
        let a = key_at(broker, 8500);
        subscriber.subscribe(Topic::Shard, [&a]).await.unwrap();
        broker.sleep(Duration::from_secs(100)).await;
        // Another server is there by now.
        let before = broker.connects();
        change(broker, |cluster| cluster.strangers = vec![1]);
        broker.end_moved(true);
        let took = until_heard(&subscriber, broker, &a).await;
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(broker.connects(), before + 1);
    });
}

#[test]
fn a_cluster_that_is_down_is_asked_again_until_it_is_up() {
    with(&cluster(), Broker::settings(false), async |subscriber, broker| {
        let a = key_at(broker, 8500);
        subscriber.subscribe(Topic::Shard, [&a]).await.unwrap();
        broker.sleep(Duration::from_secs(100)).await;
        change(broker, |cluster| cluster.refuses = (u32::MAX, "CLUSTERDOWN Hash slot not served"));
        broker.cut();
        broker.sleep(Duration::from_secs(20)).await;
        change(broker, |cluster| cluster.refuses.0 = 0);
        let took = until_heard(&subscriber, broker, &a).await;
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
}

#[test]
fn what_is_unsubscribed_while_it_moves_is_gone_and_what_is_wanted_again_comes() {
    for says in [false, true] {
        with(&cluster(), Broker::settings(false), async |subscriber, broker| {
            let [a, b] = [8500, 8501].map(|port| key_at(broker, port));
            subscriber.subscribe(Topic::Shard, [&a, &b]).await.unwrap();
            for wait in [0, 1, 2, 3, 4, 5, 7, 10] {
                moves(broker, (8500, 8502), says);
                broker.sleep(Duration::from_millis(wait)).await;
                subscriber.unsubscribe(Topic::Shard, [&a]);
                broker.sleep(Duration::from_millis(30)).await;
                assert_eq!(broker.spublish(&a, "unheard"), 0, "{wait}");
                subscriber.subscribe(Topic::Shard, [&a]).await.unwrap();
                assert_eq!(broker.spublish(&a, "x"), 1, "{wait}");
                while heard(&subscriber).await != format!("{a} x") {}
                moves(broker, (8502, 8500), says);
                // Wanted anew before it was let go.
                broker.sleep(Duration::from_millis(wait)).await;
                subscriber.unsubscribe(Topic::Shard, [&a]);
                subscriber.subscribe(Topic::Shard, [&a]).await.unwrap();
                assert_eq!(broker.spublish(&a, "y"), 1, "{wait}");
                while heard(&subscriber).await != format!("{a} y") {}
            }
        });
    }
}

#[test]
fn a_channel_that_is_at_home_stays_there_until_it_moves() {
    for (resp2, says) in [(false, false), (false, true), (true, false), (true, true)] {
        let broker = cluster();
        change(&broker, |cluster| cluster.seed = Some(8500));
        with(&broker, Broker::settings(resp2), async |subscriber, broker| {
            let [a, b] = [8500, 8501].map(|port| key_at(broker, port));
            subscriber.subscribe(Topic::Shard, [&a, &b]).await.unwrap();
            for number in 0..300 {
                assert_eq!(broker.spublish(&a, &format!("{number}")), 1);
                assert_eq!(heard(&subscriber).await, format!("{a} {number}"));
                broker.sleep(Duration::from_secs(1)).await;
            }
            assert_eq!(broker.ports(), [8501, HOME]);
            moves(broker, (8500, 8502), says);
            until_heard(&subscriber, broker, &a).await;
            assert_eq!(broker.ports(), [8501, 8502, HOME]);
        });
    }
}

#[test]
fn a_node_that_grants_what_the_map_gives_to_another_one_is_left_after_a_while() {
    with(&cluster(), Broker::settings(false), async |subscriber, broker| {
        let a = key_at(broker, 8500);
        subscriber.subscribe(Topic::Shard, [&a]).await.unwrap();
        broker.sleep(Duration::from_secs(100)).await;
        broker.rule.set(|number, said| match said.split_once(' ') {
            Some(("SSUBSCRIBE", _)) if number == 1 => Some(">3\r\n+ssubscribe\r\n+k0\r\n:1\r\n"),
            _ => None,
        });
        moves(broker, (8500, 8502), false);
        let took = until_heard(&subscriber, broker, &a).await;
        assert!(took < Duration::from_secs(70), "{took:?}");
    });
}

#[test]
fn without_a_cluster_there_is_one_connection_and_nothing_is_asked() {
    for resp2 in [false, true] {
        with(&Broker::new(USUAL), Broker::settings(resp2), async |subscriber, broker| {
            subscriber.subscribe(Topic::Shard, ["a", "b"]).await.unwrap();
            broker.sleep(Duration::from_secs(1000)).await;
            assert_eq!((broker.connects(), broker.heard("CLUSTER SLOTS").len()), (1, 0));
            broker.cut();
            until_heard(&subscriber, broker, "a").await;
        });
    }
}

#[test]
fn a_connector_for_one_connection_hears_that_a_channel_is_elsewhere() {
    let mut settings = Broker::settings(false);
    settings.follow_moved = false;
    with(&cluster(), settings, async |subscriber, broker| {
        let error = subscriber.subscribe(Topic::Shard, [key_at(broker, 8501)]).await.unwrap_err();
        assert_eq!((error.code(), broker.connects()), (Some("MOVED"), 1));
    });
}

#[test]
fn connections_to_nodes_log_in_again_or_are_replaced_as_the_own_one() {
    use redis_entraid_core::connection::Replacement;
    for (resp2, replacement) in [(false, Replacement::BreakThenMake), (true, Replacement::Overlap)]
    {
        let mut settings = Broker::settings(resp2);
        settings.config.replacement = replacement;
        with(&cluster(), settings, async |subscriber, broker| {
            let channels = [8500, 8501].map(|port| key_at(broker, port));
            subscriber.subscribe(Topic::Shard, &channels).await.unwrap();
            let (mut overlaps, mut last) = (0, 0);
            for number in 1..=3 * 3600 {
                for channel in &channels {
                    assert!(broker.spublish(channel, &format!("{number}")) >= 1);
                }
                broker.sleep(Duration::from_secs(1)).await;
                while last < 2 * number {
                    match &*heard(&subscriber).await {
                        "Overlap" => overlaps += 1,
                        "Settled" => {}
                        "Gap" => panic!("nothing was lost"),
                        said if said.ends_with(&format!(" {number}")) => last += 1,
                        // It came twice.
                        said => assert!(resp2 && said.ends_with(&format!(" {}", number - 1))),
                    }
                }
            }
            assert_eq!(broker.ports(), [8500, 8501, HOME]);
            assert_eq!(overlaps > 0, resp2, "{overlaps}");
        });
    }
}

#[test]
fn who_may_not_ask_for_the_map_asks_for_the_channels_again() {
    let mut broker = cluster();
    broker.rule = Rc::new(Cell::new(|_, said| {
        (said == "CLUSTER SLOTS").then_some("-NOPERM this user has no permissions\r\n")
    }));
    with(&broker, Broker::settings(false), async |subscriber, broker| {
        let a = key_at(broker, 8500);
        subscriber.subscribe(Topic::Shard, [&a]).await.unwrap();
        broker.sleep(Duration::from_secs(100)).await;
        moves(broker, (8500, 8502), false);
        let took = until_heard(&subscriber, broker, &a).await;
        assert!(took < Duration::from_secs(62), "{took:?}");
    });
}

/// What a future has now.
pub(super) async fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = core::pin::pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[test]
fn a_node_that_ends_while_it_is_asked_again_for_a_channel_leaves_a_gap() {
    with(&cluster(), Broker::settings(false), async |subscriber, broker| {
        let a = key_at(broker, 8500);
        subscriber.subscribe(Topic::Shard, [&a]).await.unwrap();
        broker.sleep(Duration::from_secs(100)).await;
        change(broker, |cluster| {
            let wrong = cluster.ranges.iter().map(|range| (range.0, range.1, 8502)).collect();
            cluster.stale = Some(wrong);
        });
        // It doesn't answer any more.
        broker
            .rule
            .set(|number, said| (number == 1 && said.starts_with("SSUBSCRIBE")).then_some(""));
        let asked = || broker.heard(&format!("SSUBSCRIBE {a}")).len();
        let before = asked();
        while asked() == before {
            broker.sleep(Duration::from_millis(100)).await;
        }
        change(broker, |cluster| cluster.stale = None);
        assert_eq!(heard(&subscriber).await, "Gap");
        assert_eq!(broker.spublish(&a, "x"), 1);
        assert_eq!(heard(&subscriber).await, format!("{a} x"));
    });
}
