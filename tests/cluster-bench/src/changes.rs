//! What becomes of the commands of 64 tasks while a cluster changes.

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::thread::sleep;
use std::time::{Duration, Instant};

use amr_emulator::Emulator;

use crate::orders::{LIMIT, Order, Seen};
use crate::scene::{Client, Program, servers};
use crate::table::Table;

const TASKS: usize = 64;

/// How long a client is watched after the servers are well again: what waits in vain has failed by then, twice.
const WATCH: Duration = Duration::from_secs(12);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Reshard,
    Kill,
    Replace,
}

const CHANGES: [(Change, &str); 3] = [
    (Change::Reshard, "300 slots move"),
    (Change::Kill, "a primary is killed"),
    (Change::Replace, "a node is replaced"),
];

/// What was seen of one change with one client.
#[derive(Debug)]
struct Observed {
    seen: Seen,
    /// Seconds until the servers themselves were well again.
    servers: f64,
    /// Seconds that it was watched for.
    watched: f64,
}

/// Changes a cluster under each client in turn, so many rounds, each time a new one.
pub(crate) fn table(rounds: usize, threads: usize) -> Result<(Table, Vec<String>)> {
    let mut all: [[Vec<Observed>; 2]; CHANGES.len()] = Default::default();
    for _ in 0..rounds {
        for ((change, title), all) in CHANGES.into_iter().zip(&mut all) {
            for (client, all) in Client::ALL.into_iter().zip(all) {
                let observed = observe(change, client, threads)?;
                eprintln!("{title}, {}: {observed:?}", client.word());
                all.push(observed);
            }
        }
    }
    let mut table = Table::new(["ours", "redis-rs"]);
    let mut texts = Vec::new();
    for ((_, title), all) in CHANGES.into_iter().zip(&all) {
        rows(&mut table, title, all);
        for (client, observed) in Client::ALL.into_iter().zip(all) {
            texts.extend(failures(client, title, observed));
        }
    }
    Ok((table, texts))
}

/// Changes a new cluster under the load of one client.
fn observe(change: Change, client: Client, threads: usize) -> Result<Observed> {
    let emulator = servers(true)?;
    let mut program = Program::start(client, threads, &emulator)?;
    let () = program.order(Order::Work { tasks: TASKS })?;
    sleep(Duration::from_secs(2));
    let () = program.order(Order::Begin)?;
    let begun = Instant::now();
    apply(change, &emulator)?;
    let servers = begun.elapsed().as_secs_f64();
    sleep(WATCH);
    let (seen, watched) = (program.order(Order::End)?, begun.elapsed().as_secs_f64());
    Ok(Observed { seen, servers, watched })
}

/// Changes the cluster and waits until its servers are done.
fn apply(change: Change, emulator: &Emulator) -> Result<()> {
    let Some(cluster) = emulator.cluster() else { return Ok(()) };
    let primaries = cluster.primaries();
    let [first, second, third] = &primaries[..] else {
        return Err(Error::other("there are not three primaries"));
    };
    match change {
        Change::Reshard => {
            let start = *first.slots[0].start();
            cluster.move_slots(start..=start + 299, first.port, second.port)
        }
        Change::Kill => cluster.fail_over(third.port),
        Change::Replace => cluster.replace(first.port).map(drop),
    }
}

fn rows(table: &mut Table, title: &str, all: &[Vec<Observed>; 2]) {
    let mut row = |what: &str, cell: &dyn Fn(&Vec<Observed>) -> String| {
        table.row(format!("{title}: {what}"), all.each_ref().map(cell));
    };
    let sum = |count: fn(&Seen) -> u64| {
        move |all: &Vec<Observed>| all.iter().map(|it| count(&it.seen)).sum::<u64>().to_string()
    };
    let seconds = |value: fn(&Observed) -> f64| {
        move |all: &Vec<Observed>| {
            let all: Vec<_> = all.iter().map(|it| format!("{:.2}", value(it))).collect();
            all.join(", ")
        }
    };
    row("executed", &sum(|seen| seen.executed));
    row("failed, not executed", &sum(|seen| seen.not_executed));
    row("failed, perhaps executed", &sum(|seen| seen.unknown));
    row("executed twice", &sum(|seen| seen.doubled));
    row("acknowledged, lost by servers", &sum(|seen| seen.lost_by_servers));
    row("slowest command, s", &seconds(|it| it.seen.slowest));
    row("done by the servers after, s", &seconds(|it| it.servers));
    row("undisturbed after that, s", &|all| {
        let all: Vec<_> = all.iter().map(recovery).collect();
        all.join(", ")
    });
}

/// Seconds from the servers' being well to the client's.
fn recovery(observed: &Observed) -> String {
    let Observed { seen, servers, watched } = observed;
    // A command that still waits has not failed yet.
    if watched - seen.disturbed < LIMIT.as_secs_f64() + 0.5 {
        return format!("not in {:.0}", watched - servers);
    }
    format!("{:.2}", (seen.disturbed - servers).max(0.0))
}

/// The texts of all failures.
fn failures(client: Client, title: &str, observed: &[Observed]) -> Vec<String> {
    let mut counts = BTreeMap::<&str, u64>::new();
    for (text, count) in observed.iter().flat_map(|it| &it.seen.failures) {
        *counts.entry(text).or_default() += count;
    }
    let line = |(text, count)| format!("{title}, {}: {count} x {text}", client.word());
    counts.into_iter().map(line).collect()
}
