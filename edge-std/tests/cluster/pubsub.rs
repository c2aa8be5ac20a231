//! Shard channels, while slots move, primaries die and nodes are replaced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis_entraid::entraid_core::auth::Protocol;
use redis_entraid::entraid_core::cluster::Slot;
use redis_entraid::{Client, Delivery, Subscriber, Topic, args};
use tokio::task::JoinSet;

use crate::load::Stop;
use crate::{LIFE, blocking, builder, connect, start};

/// So many channels, in all parts of the cluster.
const CHANNELS: usize = 30;

fn channel(number: usize) -> String {
    format!("channel:{number}")
}

/// A message that was published.
struct Published {
    at: Instant,
    /// How many have got it, if the server said so.
    receivers: Option<i64>,
}

/// What was published on each channel, by its number there; and what was heard, in order.
#[derive(Default)]
struct Books {
    published: BTreeMap<usize, Vec<Published>>,
    heard: Vec<(Instant, Heard)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Heard {
    Message { channel: usize, number: usize },
    Gap,
}

type Shared = Arc<Mutex<Books>>;

/// Publishes numbers on some of the channels.
async fn publish(mut redis: Client, of: usize, books: Shared, stop: Stop) {
    while !stop.is_asked() {
        for at in (0..CHANNELS).filter(|at| at % 3 == of) {
            let number = books.lock().unwrap().published.get(&at).map_or(0, Vec::len);
            let name = channel(at);
            let command = args!["SPUBLISH", &*name, number as i64];
            let receivers = redis.command(command).await.ok().and_then(|reply| reply.int().ok());
            let published = Published { at: Instant::now(), receivers };
            books.lock().unwrap().published.entry(at).or_default().push(published);
        }
    }
}

async fn listen(mut subscriber: Subscriber, books: Shared, stop: Stop) {
    let wait = Duration::from_millis(500);
    loop {
        let heard = match tokio::time::timeout(wait, subscriber.next()).await {
            Err(_) if stop.is_asked() => return,
            Err(_) => continue,
            Ok(Ok(Delivery::Gap)) => Heard::Gap,
            Ok(Ok(Delivery::Message(message))) => {
                let name = String::from_utf8(message.channel().to_vec()).unwrap();
                let channel = name.strip_prefix("channel:").unwrap().parse().unwrap();
                Heard::Message { channel, number: message.text().unwrap().parse().unwrap() }
            }
            Ok(other) => panic!("{other:?}"),
        };
        books.lock().unwrap().heard.push((Instant::now(), heard));
    }
}

impl Books {
    /// How long after `since` a message was published that nobody has heard, or that failed.
    fn disturbed(&self, since: Instant) -> Duration {
        let all = self.published.values().flatten();
        let unheard = all.filter(|it| it.at > since && it.receivers.is_none_or(|count| count == 0));
        unheard.map(|it| it.at.duration_since(since)).max().unwrap_or_default()
    }

    /// Checks that what was heard is in order and not doubled, and that a gap was told for all that is missing.
    /// Returns how many messages are missing, and how many of them a server has sent to the subscriber.
    fn check(&self) -> (usize, usize) {
        let (mut missing, mut lost) = (0, 0);
        for at in 0..CHANNELS {
            let mut last: Option<(usize, usize)> = None;
            for (place, (when, heard)) in self.heard.iter().enumerate() {
                let Heard::Message { channel, number } = *heard else { continue };
                if channel != at {
                    continue;
                }
                let next = last.map_or(0, |(_, last)| last + 1);
                assert!(number >= next, "{number} came where {next} is next");
                if number > next {
                    missing += number - next;
                    let published = &self.published[&at][next..number];
                    lost += published.iter().filter(|it| it.receivers > Some(0)).count();
                    let from = last.map_or(0, |(place, _)| place);
                    let soon = *when + Duration::from_secs(1);
                    let mut behind = self.heard[from..].iter().take_while(|(at, _)| *at < soon);
                    assert!(
                        behind.any(|(_, heard)| *heard == Heard::Gap),
                        "no gap was told between {next} and {number} of channel {at}"
                    );
                }
                last = Some((place, number));
            }
        }
        (missing, lost)
    }

    /// The same when nothing is under way any more.
    fn check_all(&self) {
        self.check();
        for (at, published) in &self.published {
            let last = self.heard.iter().rev().find_map(|(_, heard)| match heard {
                Heard::Message { channel, number } if channel == at => Some(*number),
                _ => None,
            });
            let behind = &published[last.expect("something was heard") + 1..];
            assert!(behind.iter().all(|it| it.receivers.is_none_or(|count| count == 0)));
        }
    }
}

/// What was disturbed while something was done to the cluster: how long after its end, messages on their way that
/// were lost, and all that are missing.
struct Phase {
    books: Shared,
    before: (usize, usize),
}

impl Phase {
    fn begin(books: &Shared) -> Self {
        let before = books.lock().unwrap().check();
        Self { books: books.clone(), before }
    }

    fn end(self, what: &str, changed: Instant) -> (Duration, usize) {
        let books = self.books.lock().unwrap();
        let (missing, lost) = books.check();
        let (missing, lost) = (missing - self.before.0, lost - self.before.1);
        let disturbed = books.disturbed(changed);
        println!("{what}: {missing} missing, {lost} of them sent; disturbed for {disturbed:.1?}");
        (disturbed, lost)
    }
}

/// Subscribes to all channels, and has others publish on them.
async fn work(redis: &Client, subscriber: Subscriber, stop: &Stop) -> (Shared, JoinSet<()>) {
    let (mut subscriber, books, mut tasks) = (subscriber, Shared::default(), JoinSet::new());
    subscriber.subscribe(Topic::Shard, (0..CHANNELS).map(channel)).await.unwrap();
    for of in 0..3 {
        tasks.spawn(publish(redis.clone(), of, books.clone(), stop.clone()));
    }
    tasks.spawn(listen(subscriber, books.clone(), stop.clone()));
    (books, tasks)
}

async fn ended(mut tasks: JoinSet<()>, stop: &Stop) {
    stop.now();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shard_channels_follow_their_slots_and_each_gap_is_told() {
    let emulator = Arc::new(start(3, 1, LIFE.as_secs()));
    let (redis, stop) = (connect(&emulator).await, Stop::default());
    let subscriber = builder(&emulator).subscriber().await.unwrap();
    let (books, tasks) = work(&redis, subscriber, &stop).await;
    wait(1).await;

    let (phase, begun) = (Phase::begin(&books), Instant::now());
    wait(3).await;
    assert_eq!(phase.end("undisturbed", begun), (Duration::ZERO, 0));

    let phase = Phase::begin(&books);
    blocking(&emulator, |cluster| {
        let primaries = cluster.primaries();
        // Those of a third of its channels at least.
        let slots = primaries[0].slots[0].clone();
        let moved = *slots.start()..=slots.start() + 3000;
        let channels = (0..CHANNELS).map(|at| Slot::of(channel(at).as_bytes()).number());
        assert!(channels.filter(|slot| moved.contains(slot)).count() > 2);
        cluster.move_slots(moved, primaries[0].port, primaries[1].port).unwrap();
    })
    .await;
    let changed = Instant::now();
    wait(2).await;
    let (disturbed, lost) = phase.end("slots moved", changed);
    assert!(disturbed < Duration::from_secs(1) && lost == 0, "{disturbed:?}, {lost}");

    let (phase, killed) = (Phase::begin(&books), Instant::now());
    blocking(&emulator, |cluster| cluster.fail_over(cluster.primaries()[2].port)).await.unwrap();
    let changed = Instant::now();
    println!("  the servers' own failover took {:.1?}", changed.duration_since(killed));
    wait(4).await;
    let (disturbed, _) = phase.end("primary killed", changed);
    assert!(disturbed < Duration::from_secs(1), "{disturbed:?}");

    let phase = Phase::begin(&books);
    blocking(&emulator, |cluster| cluster.replace(cluster.primaries()[0].port)).await.unwrap();
    let changed = Instant::now();
    wait(2).await;
    let (disturbed, lost) = phase.end("node replaced", changed);
    assert!(disturbed < Duration::from_secs(1) && lost == 0, "{disturbed:?}, {lost}");

    let phase = Phase::begin(&books);
    blocking(&emulator, |cluster| cluster.cut(cluster.primaries()[1].port)).await.unwrap();
    let changed = Instant::now();
    wait(2).await;
    let (disturbed, _) = phase.end("connections cut", changed);
    assert!(disturbed < Duration::from_secs(1), "{disturbed:?}");

    ended(tasks, &stop).await;
    let (books, counts) = (books.lock().unwrap(), emulator.counts());
    books.check_all();
    println!("in all: {} heard, {counts:?}", books.heard.len());
    assert_eq!((counts.refused, counts.expired), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_resp2_shard_channels_follow_their_slots_too() {
    let emulator = Arc::new(start(3, 0, 600));
    let (redis, stop) = (connect(&emulator).await, Stop::default());
    let subscriber = builder(&emulator).protocol(Protocol::Resp2).subscriber().await.unwrap();
    let (books, tasks) = work(&redis, subscriber, &stop).await;
    wait(1).await;
    let phase = Phase::begin(&books);
    blocking(&emulator, |cluster| cluster.replace(cluster.primaries()[1].port)).await.unwrap();
    let changed = Instant::now();
    wait(2).await;
    let (disturbed, lost) = phase.end("node replaced, RESP2", changed);
    assert!(disturbed < Duration::from_secs(1) && lost == 0, "{disturbed:?}, {lost}");
    ended(tasks, &stop).await;
    books.lock().unwrap().check_all();
}
