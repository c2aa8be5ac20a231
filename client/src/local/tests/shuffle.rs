//! Shard channels whose slots move at random.

use std::collections::VecDeque;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::broker::Broker;
use super::cluster::Cluster;
use super::shards::{HOME, PORTS, change, cluster, ready};
use super::subscriber::{heard, with};
use super::*;
use redis_entraid_core::command::Topic;

/// What is published on some channels, and what was heard.
struct Books {
    channels: Vec<String>,
    /// By channel: what is under way.
    sent: Vec<VecDeque<u32>>,
    /// When something was published last that nobody was subscribed to.
    missed: Vec<Option<Instant>>,
    /// When a gap was told last, and how many were.
    gap: (Option<Instant>, u32),
}

impl Books {
    fn publish(&mut self, broker: &Broker, number: u32) {
        for (at, channel) in self.channels.iter().enumerate() {
            match broker.spublish(channel, &format!("{number}")) {
                0 => self.missed[at] = Some(broker.world.now()),
                1 => self.sent[at].push_back(number),
                more => panic!("{more} connections are subscribed to {channel}"),
            }
        }
    }

    async fn hear(&mut self, broker: &Broker, subscriber: &Subscriber<Calendar>) {
        while let Some(said) = ready(heard(subscriber)).await {
            let Some((channel, number)) = said.split_once(' ') else {
                assert_eq!(said, "Gap");
                self.gap = (Some(broker.world.now()), self.gap.1 + 1);
                continue;
            };
            let at = self.channels.iter().position(|known| known == channel).unwrap();
            assert_eq!(number.parse().ok(), self.sent[at].pop_front(), "{channel}");
        }
    }
}

/// Moves slots at random, and cuts connections, while numbers are published.
async fn shuffle(subscriber: &Subscriber<Calendar>, broker: &Broker, mut state: u64) {
    let mut random = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let channels: Vec<_> = (0..8).map(|number| format!("c{number}")).collect();
    subscriber.subscribe(Topic::Shard, &channels).await.unwrap();
    let sent = vec![VecDeque::new(); channels.len()];
    let missed = vec![None; channels.len()];
    let mut books = Books { channels, sent, missed, gap: (None, 0) };
    for _ in 0..10 {
        // A slot that comes back before the map is asked for, no map tells of.
        let mut silent = vec![];
        for number in 0..300 {
            match random(50) {
                0 | 1 => {
                    let (at, to) = (random(3) as usize, 8500 + random(4) as u16);
                    let says = random(4) > 0;
                    if !silent.contains(&at) {
                        change(broker, |cluster| cluster.ranges[at].2 = to);
                        broker.end_moved(says);
                        silent.extend((!says).then_some(at));
                    }
                }
                2 => broker.cut_port(8500 + random(4) as u16),
                3 if random(5) == 0 => broker.cut_port(HOME),
                4 => {
                    let old = Cluster::of(&PORTS).ranges;
                    change(broker, |cluster| cluster.stale = Some(old));
                }
                5 => change(broker, |cluster| cluster.stale = None),
                _ => {}
            }
            books.publish(broker, number);
            broker.sleep(Duration::from_millis(1 + random(20))).await;
            books.hear(broker, subscriber).await;
        }
        change(broker, |cluster| cluster.stale = None);
        // Until the next map but one: the one before may have been old.
        for number in 300..430 {
            broker.sleep(Duration::from_secs(1)).await;
            books.hear(broker, subscriber).await;
            books.publish(broker, number);
        }
        broker.sleep(Duration::from_secs(1)).await;
        books.hear(broker, subscriber).await;
        assert!(books.sent.iter().all(VecDeque::is_empty), "{:?}", books.sent);
        let now = broker.world.now();
        for missed in books.missed.iter().flatten() {
            assert!(now.since(*missed).as_secs() > 5, "it isn't back");
            assert!(books.gap.0 >= Some(*missed), "no gap was told");
        }
    }
    assert!(books.gap.1 > 20, "there were {} gaps", books.gap.1);
}

#[test]
fn whatever_moves_nothing_that_was_sent_is_missing_doubled_or_out_of_order() {
    for seed in 0..4 {
        let mut broker = cluster();
        broker.lag = (2, Duration::from_millis(5));
        with(&broker, Broker::settings(seed % 2 == 1), async |subscriber, broker| {
            shuffle(&subscriber, broker, seed).await;
        });
    }
}
