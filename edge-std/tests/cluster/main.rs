//! Real clusters: the client of a service, while slots move, primaries die and nodes are replaced, through several
//! token lives.
#![cfg(all(feature = "http", feature = "tls"))]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod counter;
mod ledger;
mod load;
mod pubsub;

use std::sync::Arc;
use std::time::{Duration, Instant};

use amr_emulator::{Chain, Cluster, ClusterOptions, Emulator, Options};
use ledger::{Ledger, Seen};
use load::Stop;
use redis_entraid::tls::Roots;
use redis_entraid::{Builder, Client, args};
use tokio::task::JoinSet;

/// How long a token lives.
const LIFE: Duration = Duration::from_secs(10);

/// A cluster whose tokens live so many seconds.
fn start(primaries: usize, replicas: u8, life: u64) -> Emulator {
    let cluster = Some(ClusterOptions { primaries, replicas, ..ClusterOptions::default() });
    Emulator::start(&Options { cluster, life, chain: Chain::Ec, ..Options::default() }).unwrap()
}

fn builder(emulator: &Emulator) -> Builder {
    let environment = emulator.environment();
    let find = |name: &str| environment.iter().find(|(known, _)| *known == name);
    let client = Client::from_variables(|name| find(name).map(|(_, value)| value.clone())).unwrap();
    client.roots(Roots::pem(emulator.root_pem().as_bytes()).unwrap())
}

async fn connect(emulator: &Emulator) -> Client {
    builder(emulator).connect().await.unwrap()
}

/// All that was served at the ports of nodes and at the endpoint: commands, `MOVED`, `ASK`.
fn served(emulator: &Emulator) -> (u64, u64, u64) {
    let mut ports = emulator.cluster().unwrap().nodes();
    ports.push(emulator.redis_port());
    let all = ports.iter().map(|port| emulator.counts_at(*port));
    all.fold((0, 0, 0), |(commands, moved, asked), counts| {
        let count: u64 = counts.commands.values().sum();
        (commands + count, moved + counts.moved, asked + counts.asked)
    })
}

/// Has all kinds of tasks work.
fn work(redis: &Client, ledger: &Ledger, stop: &Stop) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let with = || (redis.clone(), ledger.clone(), stop.clone());
    for number in 0..8 {
        let (redis, ledger, stop) = with();
        tasks.spawn(load::singles(number, redis, ledger, stop));
    }
    for number in 0..3 {
        let (redis, ledger, stop) = with();
        tasks.spawn(load::pipelines(number, redis, ledger, stop));
        let (redis, ledger, stop) = with();
        tasks.spawn(load::transactions(number, redis, ledger, stop));
        let (redis, ledger, stop) = with();
        tasks.spawn(load::queue(number, redis, ledger, stop));
    }
    tasks
}

async fn blocking<R: Send + 'static>(
    emulator: &Arc<Emulator>,
    f: impl FnOnce(Cluster<'_>) -> R + Send + 'static,
) -> R {
    let emulator = emulator.clone();
    tokio::task::spawn_blocking(move || f(emulator.cluster().unwrap())).await.unwrap()
}

/// What was seen while something was done to the cluster.
struct Phase<'l> {
    ledger: &'l Ledger,
    before: Seen,
    since: Instant,
}

impl<'l> Phase<'l> {
    fn begin(ledger: &'l Ledger) -> Self {
        Self { ledger, before: ledger.seen(), since: Instant::now() }
    }

    /// Ends it: returns what was seen, and how long after its beginning commands failed or were slow.
    fn end(self, what: &str) -> (Seen, Duration) {
        let Self { before, since, .. } = self;
        let mut seen = self.ledger.seen();
        seen.executed -= before.executed;
        seen.not_sent -= before.not_sent;
        seen.unknown -= before.unknown;
        seen.lost_by_servers -= before.lost_by_servers;
        seen.failures.drain(..before.failures.len());
        seen.slow.drain(..before.slow.len());
        let last = seen.slow.iter().chain(seen.failures.iter().map(|(at, _)| at)).max();
        let disturbed = last.map_or(Duration::ZERO, |last| last.duration_since(since));
        println!(
            "{what}: {} executed, {} not sent, {} perhaps executed, {} lost by servers; disturbed for {disturbed:.1?}",
            seen.executed, seen.not_sent, seen.unknown, seen.lost_by_servers
        );
        if let Some((_, error)) = seen.failures.first() {
            println!("  {error}");
        }
        (seen, disturbed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_key_costs_one_round_trip_once_the_map_is_known() {
    let emulator = start(6, 0, 600);
    let mut redis = connect(&emulator).await;
    for at in 0..200 {
        redis.command(args!["SET", &*format!("k{at}"), at]).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    redis.command(args!["SET", "k", 1]).await.unwrap();
    let before = served(&emulator);
    for at in 0..1000 {
        let value = redis.command(args!["INCR", &*format!("k{}", at % 200)]).await.unwrap();
        assert_eq!(value.int(), Ok(at % 200 + 1 + at / 200));
    }
    let after = served(&emulator);
    assert_eq!((after.0 - before.0, after.1 - before.1), (1000, 0), "commands, MOVED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_for_all_primaries_has_a_reply_of_each() {
    let emulator = start(3, 0, 600);
    let mut redis = connect(&emulator).await;
    for at in 0..60 {
        redis.command(args!["SET", &*format!("k{at}"), at]).await.unwrap();
    }
    let sizes = redis.command_on_all(args!["DBSIZE"]).await.unwrap();
    let sizes: Vec<_> = sizes.map(|size| size.unwrap().int().unwrap()).collect();
    assert_eq!((sizes.len(), sizes.iter().sum::<i64>()), (3, 60));
    let mut keys = 0;
    for primary in redis.primaries().await.unwrap() {
        let all = redis.command_on(&primary, args!["SCAN", 0, "COUNT", 1000]).await.unwrap();
        keys += all.items().nth(1).unwrap().items().count();
    }
    assert_eq!(keys, 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_the_cluster_changes() {
    let emulator = Arc::new(start(3, 1, LIFE.as_secs()));
    let begun = Instant::now();
    let redis = connect(&emulator).await;
    let (ledger, stop) = (Ledger::default(), Stop::default());
    let mut tasks = work(&redis, &ledger, &stop);
    let wait = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    wait(2).await;

    let (phase, before) = (Phase::begin(&ledger), served(&emulator));
    wait(5).await;
    let ((seen, disturbed), after) = (phase.end("undisturbed"), served(&emulator));
    // Where commands are slow by themselves, nothing can be said of how long a change disturbs them.
    let is_quiet = disturbed.is_zero();
    assert_eq!((seen.not_sent, seen.unknown, after.1 - before.1), (0, 0, 0), "failed, MOVED");

    let phase = Phase::begin(&ledger);
    blocking(&emulator, |cluster| {
        let primaries = cluster.primaries();
        let first = *primaries[0].slots[0].start();
        cluster.move_slots(first..=first + 300, primaries[0].port, primaries[1].port).unwrap();
    })
    .await;
    wait(2).await;
    let (seen, _) = phase.end("slots moved");
    assert_eq!((seen.not_sent, seen.unknown, seen.lost_by_servers), (0, 0, 0));

    let phase = Phase::begin(&ledger);
    blocking(&emulator, |cluster| cluster.fail_over(cluster.primaries()[2].port)).await.unwrap();
    let failed_over = phase.since.elapsed();
    wait(5).await;
    let (seen, disturbed) = phase.end("primary killed");
    println!("  the servers' own failover took {failed_over:.1?}");
    // What was under way at that node.
    assert_eq!(seen.not_sent, 0);
    assert!(!is_quiet || disturbed < failed_over + Duration::from_secs(1), "{disturbed:?}");

    let phase = Phase::begin(&ledger);
    blocking(&emulator, |cluster| cluster.replace(cluster.primaries()[0].port)).await.unwrap();
    wait(2).await;
    let (seen, _) = phase.end("node replaced");
    assert_eq!((seen.not_sent, seen.unknown, seen.lost_by_servers), (0, 0, 0));

    wait((5 * LIFE).saturating_sub(begun.elapsed()).as_secs()).await;
    stop.now();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let (counts, seen) = (emulator.counts(), ledger.seen());
    println!("in all: {counts:?}");
    assert_eq!((seen.doubled, counts.refused, counts.expired), (0, 0, 0));
    // One for each life, of which three quarters are used.
    assert!((5..=9).contains(&counts.token_requests), "{counts:?}");
    // Home, three primaries, the new primary, the new node, and what a slot's move led to early.
    assert!(counts.logins <= 8, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_six_primaries_get_one_login_for_each_token_while_the_cluster_changes() {
    let emulator = Arc::new(start(6, 1, LIFE.as_secs()));
    let begun = Instant::now();
    let redis = connect(&emulator).await;
    let (ledger, stop) = (Ledger::default(), Stop::default());
    let mut tasks = work(&redis, &ledger, &stop);
    let wait = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    let mut ports = emulator.cluster().unwrap().nodes();
    ports.push(emulator.redis_port());
    wait(3).await;

    let phase = Phase::begin(&ledger);
    let new = blocking(&emulator, |cluster| {
        let primaries = cluster.primaries();
        let first = *primaries[3].slots[0].start();
        cluster.move_slots(first..=first + 300, primaries[3].port, primaries[4].port).unwrap();
        cluster.replace(primaries[0].port).unwrap()
    })
    .await;
    ports.push(new);
    wait(2).await;
    let (seen, _) = phase.end("six primaries, slots moved, node replaced");
    assert_eq!((seen.not_sent, seen.unknown, seen.lost_by_servers), (0, 0, 0));

    let phase = Phase::begin(&ledger);
    blocking(&emulator, |cluster| cluster.fail_over(cluster.primaries()[2].port)).await.unwrap();
    let failed_over = phase.since.elapsed();
    wait(5).await;
    let (seen, disturbed) = phase.end("six primaries, one killed");
    println!("  the servers' own failover took {failed_over:.1?}");
    assert_eq!(seen.not_sent, 0);
    assert!(disturbed < failed_over + Duration::from_secs(1), "{disturbed:?}");

    wait((3 * LIFE).saturating_sub(begun.elapsed()).as_secs()).await;
    stop.now();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let (counts, seen, lasted) = (emulator.counts(), ledger.seen(), begun.elapsed());
    println!("six primaries, in all: {counts:?} in {lasted:.1?}");
    assert_eq!((seen.doubled, counts.refused, counts.expired), (0, 0, 0));
    // Of a token's life, no less than 65 % passes until the next one is fetched.
    let tokens = lasted.div_duration_f64(LIFE.mul_f64(0.65)) as u64 + 1;
    assert!((3..=tokens).contains(&counts.token_requests), "{counts:?}, at most {tokens}");
    for port in ports {
        let node = emulator.counts_at(port);
        let (logins, most) = (node.logins.len() as u64, node.logins_per_second());
        println!(
            "  {port}: {logins} logins, at most {most} in a second, {} connections",
            node.connections
        );
        // A connection logs in when it is new, and again with each token.
        assert!(logins <= node.connections * tokens && most <= 2, "{port}: {node:?}");
    }
}
