//! `sim [--seeds N] [--first SEED] [--days N] [--connections N]`: more of the simulation than the
//! tests have time for.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Instant;

use simulation::{Settings, simulate};

fn main() -> ExitCode {
    let mut settings = Settings { seed: 1, connections: 200, days: 1000 };
    let mut seeds = 1;
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().and_then(|value| value.parse::<u64>().ok());
        match (flag.as_str(), value) {
            ("--seeds", Some(value)) => seeds = value,
            ("--first", Some(value)) => settings.seed = value,
            ("--days", Some(value)) => settings.days = value,
            ("--connections", Some(value)) => settings.connections = value as usize,
            _ => {
                eprintln!("sim [--seeds N] [--first SEED] [--days N] [--connections N]");
                return ExitCode::from(2);
            }
        }
    }
    for seed in settings.seed..settings.seed + seeds {
        let start = Instant::now();
        let report = simulate(&Settings { seed, ..settings });
        println!("seed {seed}: {:.1} s {report:?}", start.elapsed().as_secs_f64());
    }
    ExitCode::SUCCESS
}
