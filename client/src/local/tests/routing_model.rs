//! A client that counts in a cluster, while slots move and connections break: each number comes once, and in order.

use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::broker::Broker;
use super::routing::{HOME, change, cluster, incr, known, slot_of};
use super::*;
use redis_entraid_core::drive::either;

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}

/// What is known of a counter: the last number that came, how many came, and how many may have been counted besides.
#[derive(Debug, Default)]
struct Counted {
    last: i64,
    count: i64,
    unknown: i64,
}

const KEYS: [&str; 6] = ["a", "b", "c", "{a}1", "e", "f"];

fn disturb(random: &mut Random, broker: &Broker) {
    let ports = [8500, 8501, 8502, 8503, 8504];
    let slot = slot_of(random.of(&KEYS));
    match random.below(12) {
        0 | 1 => change(broker, |cluster| cluster.give(slot, random.of(&ports))),
        2 => change(broker, |cluster| cluster.moving = Some((slot, random.of(&ports)))),
        3 => change(broker, |cluster| {
            if let Some((slot, to)) = cluster.moving.take() {
                cluster.give(slot, to);
            }
        }),
        4 => change(broker, |cluster| {
            let says = [
                "TRYAGAIN Multiple keys request during rehashing of slot",
                "CLUSTERDOWN The cluster is down",
                "LOADING Redis is loading the dataset in memory",
                "READONLY You can't write against a read only replica.",
            ];
            cluster.refuses = (random.below(4) as u32, random.of(&says));
        }),
        5 => broker.cut_port(random.of(&ports)),
        6 if random.below(3) == 0 => broker.cut_port(HOME),
        7 => change(broker, |cluster| cluster.replace(random.of(&ports), random.of(&ports))),
        _ => {}
    }
}

/// What a reply says of the counter of `key`.
fn count(all: &mut BTreeMap<&str, Counted>, key: &'static str, reply: Result<i64, Error>) {
    let counted = all.entry(key).or_default();
    match reply {
        Ok(number) => {
            assert!(number > counted.last, "{key}: {number} behind {}", counted.last);
            (counted.last, counted.count) = (number, counted.count + 1);
        }
        Err(error) if error.outcome() == Outcome::Unknown => counted.unknown += 1,
        Err(_) => {}
    }
}

async fn step(
    random: &mut Random,
    client: &mut LocalClient<Calendar>,
    broker: &Broker,
    all: &mut BTreeMap<&'static str, Counted>,
) {
    let patience =
        Duration::from_millis(if random.below(4) == 0 { random.below(4) } else { 60_000 });
    let is_whole = random.below(4) == 0;
    let keys: Vec<&'static str> = if is_whole {
        vec![["a", "{a}1"][random.below(2) as usize]; 2]
    } else {
        (0..=random.below(8)).map(|_| random.of(&KEYS)).collect()
    };
    let mut commands: Vec<_> =
        keys.iter().map(|key| vec![Arg::from("INCR"), Arg::from(*key)]).collect();
    if is_whole {
        commands.insert(0, vec![Arg::from("MULTI")]);
        commands.push(vec![Arg::from("EXEC")]);
    }
    let mut is_done = false;
    let sent = async {
        if !is_whole && keys.len() == 1 {
            let reply = incr(client, keys[0]).await;
            return (is_done, _) = (true, count(all, keys[0], reply));
        }
        let sent = client.pipeline(commands.iter().map(|it| &it[..])).await;
        is_done = true;
        match sent {
            Err(error) => assert_eq!(error.outcome(), Outcome::NotSent),
            Ok(_) if is_whole => {
                let exec = client.reply(3);
                let both =
                    exec.map(|exec| exec.items().map(|it| it.int().unwrap()).collect::<Vec<_>>());
                for at in 0..2 {
                    let one = both.as_ref().map(|both| both[at]).map_err(Clone::clone);
                    count(all, keys[at], one);
                }
            }
            Ok(_) => keys.iter().enumerate().for_each(|(at, key)| {
                count(all, key, client.reply(at).map(|reply| reply.int().unwrap()));
            }),
        }
    };
    either(sent, broker.sleep(patience)).await;
    if !is_done {
        assert!(patience < Duration::from_secs(60), "it waits for ever");
        keys.iter().for_each(|key| all.entry(key).or_default().unknown += 1);
    }
}

#[test]
fn whatever_becomes_of_a_cluster_nothing_is_executed_twice_or_too_late() {
    for seed in 1..=SEEDS {
        let mut broker = cluster();
        broker.far = Duration::from_millis(2);
        known(&broker, async |mut client, broker| {
            let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let mut all = BTreeMap::new();
            for _ in 0..80 {
                disturb(&mut random, broker);
                let begun = broker.world.now();
                step(&mut random, &mut client, broker, &mut all).await;
                let took = broker.world.now().since(begun);
                assert!(took < Duration::from_secs(11), "seed {seed}: {took:?}");
            }
            change(broker, |cluster| (cluster.moving, cluster.refuses.0) = (None, 0));
            broker.sleep(Duration::from_secs(30)).await;
            for (key, counted) in &all {
                let value = client.command(args!["GET", *key]).await;
                let value: i64 = match value.unwrap_or_else(|error| panic!("{key}: {error}")).str()
                {
                    Ok(text) => text.parse().unwrap(),
                    Err(_) => 0,
                };
                let most = counted.count + counted.unknown;
                assert!(
                    (counted.count..=most).contains(&value),
                    "seed {seed}: {key}, {value}: {counted:?}"
                );
            }
            // All nodes that are left serve, and none that is gone is dialed.
            let text: String = format!("{:?}", broker.ports());
            assert!(broker.ports().len() <= 7, "{text}");
            let mut other = client.clone();
            for key in KEYS {
                incr(&mut other, key).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            }
        });
    }
}

/// Enough for each fault that it found, and soon over.
const SEEDS: u64 = 30;
