//! What commands cost while nothing happens.

use std::io::Result;

use crate::orders::{Keys, Load, Measured, Order};
use crate::scene::{Client, Program, servers};
use crate::table::{Table, median};

/// A client, and what it is connected to.
#[derive(Clone, Copy)]
struct Case {
    title: &'static str,
    client: Client,
    is_cluster: bool,
    keys: Keys,
}

const OURS: usize = 0;
const ONE_NODE: usize = 2;
const UNROUTED: usize = 3;

const CASES: [Case; 4] = [
    Case { title: "ours", client: Client::Ours, is_cluster: true, keys: Keys::AllSlots },
    Case { title: "redis-rs", client: Client::RedisRs, is_cluster: true, keys: Keys::AllSlots },
    Case { title: "ours, one slot", client: Client::Ours, is_cluster: true, keys: Keys::OneSlot },
    Case {
        title: "ours, one server",
        client: Client::Ours,
        is_cluster: false,
        keys: Keys::AllSlots,
    },
];

/// In a pipeline.
const HUNDRED: usize = 100;

const LOADS: [(&str, Load); 3] = [
    ("1 task", Load::Tasks(1)),
    ("64 tasks", Load::Tasks(64)),
    ("pipelines of 100", Load::Pipelines(HUNDRED)),
];

/// Measures each load with each client, in turn, so many rounds.
pub(crate) fn table(rounds: usize, seconds: f64, threads: usize) -> Result<Table> {
    let (cluster, single) = (servers(true)?, servers(false)?);
    let mut programs = Vec::new();
    for case in CASES {
        let servers = if case.is_cluster { &cluster } else { &single };
        let mut program = Program::start(case.client, threads, servers)?;
        // It learns the map, and both write all keys.
        let warm = |keys, load| Order::Measure { load, keys, seconds: 1.0 };
        let _: Measured = program.order(warm(Keys::AllSlots, Load::Tasks(64)))?;
        let _: Measured = program.order(warm(case.keys, Load::Tasks(64)))?;
        programs.push(program);
    }
    let mut table = Table::new(CASES.map(|case| case.title));
    for (title, load) in LOADS {
        let mut all: [Vec<Measured>; CASES.len()] = Default::default();
        for _ in 0..rounds {
            for ((case, program), measured) in CASES.iter().zip(&mut programs).zip(&mut all) {
                let order = Order::Measure { load, keys: case.keys, seconds };
                let one: Measured = program.order(order)?;
                eprintln!("{title}, {}: {one:?}", case.title);
                measured.push(one);
            }
        }
        rows(&mut table, title, load, &all);
    }
    Ok(table)
}

fn rows(table: &mut Table, title: &str, load: Load, all: &[Vec<Measured>; CASES.len()]) {
    let mut row = |what: &str, digits: usize, value: &dyn Fn(&Measured) -> f64| {
        let cell = |measured: &Vec<Measured>| {
            format!("{:.digits$}", median(measured.iter().map(value).collect()))
        };
        table.row(format!("{title}: {what}"), all.each_ref().map(cell));
    };
    match load {
        Load::Tasks(_) => row("commands/s", 0, &|it| it.commands as f64 / it.seconds),
        Load::Pipelines(size) => {
            row("pipelines/s", 0, &|it| it.commands as f64 / size as f64 / it.seconds);
        }
    }
    row("CPU, µs per command", 2, &cpu);
    row("allocations per command", 2, &|it| it.allocations as f64 / it.commands as f64);
    let cell = |at: usize, measured: &Vec<Measured>| {
        let ratio = |(one, other): (&Measured, &Measured)| cpu(one) / cpu(other);
        let ratios = measured.iter().zip(&all[at]).map(ratio).collect();
        format!("{:.2}", median(ratios))
    };
    table.row(format!("{title}: CPU, times ours"), all.each_ref().map(|it| cell(OURS, it)));
    let unrouted = [OURS, ONE_NODE, UNROUTED];
    let mut cells = ["-"; CASES.len()].map(str::to_owned);
    for at in unrouted {
        cells[at] = cell(UNROUTED, &all[at]);
    }
    table.row(format!("{title}: CPU, times one server's"), cells);
    let failed =
        |measured: &Vec<Measured>| measured.iter().map(|it| it.failed).sum::<u64>().to_string();
    table.row(format!("{title}: failed"), all.each_ref().map(failed));
}

/// Microseconds per command.
fn cpu(measured: &Measured) -> f64 {
    measured.cpu * 1e6 / measured.commands as f64
}
