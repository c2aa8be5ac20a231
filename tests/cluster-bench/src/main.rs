//! One program on this client and on redis-rs's cluster client, on real clusters behind the emulator's front, side
//! by side.
//!
//! `cluster-bench [--rounds N] [--seconds N] [--threads N]` prints tables. Each client runs in a process of its own,
//! and all take turns. What each measurement has said goes to the standard error.
#![allow(clippy::print_stdout, clippy::indexing_slicing)]

mod books;
mod changes;
#[path = "../../../edge-std/tests/cluster/counter.rs"]
mod counter;
mod load;
mod meter;
mod orders;
mod program;
mod scene;
mod subject;
mod table;
mod undisturbed;

use std::error::Error;
use std::process::ExitCode;

use scene::Client;
use subject::CONCESSIONS;

/// Variables by which redis-rs gets its login.
mod login {
    pub(crate) const USER: &str = "CLUSTER_BENCH_USER";
    pub(crate) const TOKEN: &str = "CLUSTER_BENCH_TOKEN";
}

const USAGE: &str = "\
cluster-bench [--rounds N] [--changes N] [--seconds N] [--threads N]
    --rounds   how often each load is measured (9)
    --changes  how often a cluster is changed under each client (3)
    --seconds  how long each load is measured (1)
    --threads  of each client's runtime; 1 is tokio's current-thread runtime (2)";

struct Settings {
    rounds: usize,
    changes: usize,
    seconds: f64,
    threads: usize,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["program", client, threads] => {
            let client = Client::ALL.into_iter().find(|known| known.word() == *client);
            match (client, threads.parse()) {
                (Some(client), Ok(threads)) => program::run(client, threads),
                _ => Err(USAGE.into()),
            }
        }
        words => settings(words).and_then(|settings| compare(&settings)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn settings(words: &[&str]) -> Result<Settings, Box<dyn Error>> {
    let mut settings = Settings { rounds: 9, changes: 3, seconds: 1.0, threads: 2 };
    for pair in words.chunks(2) {
        match *pair {
            ["--rounds", value] => settings.rounds = value.parse()?,
            ["--changes", value] => settings.changes = value.parse()?,
            ["--seconds", value] => settings.seconds = value.parse()?,
            ["--threads", value] => settings.threads = value.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(settings)
}

fn compare(settings: &Settings) -> Result<(), Box<dyn Error>> {
    let Settings { rounds, changes, seconds, threads } = *settings;
    if rounds > 0 {
        println!("Medians of {rounds} rounds of {seconds} s each, {threads} threads:\n");
        println!("{}", undisturbed::table(rounds, seconds, threads)?);
    }
    if changes > 0 {
        let (table, failures) = changes::table(changes, threads)?;
        println!("64 tasks while a cluster changes, {changes} times, in all:\n");
        println!("{table}");
        failures.iter().for_each(|failure| println!("- {failure}"));
    }
    println!("\nFor redis-rs, this had to be turned off or done differently:\n");
    CONCESSIONS.iter().for_each(|concession| println!("- {concession}"));
    Ok(())
}
