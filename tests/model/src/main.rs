//! `model [--seeds N] [--first SEED] [--steps N] [--all]`: more of the model test than the tests have time for.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use model::{Kind, Script, play, shrink};

fn main() -> ExitCode {
    let (mut first, mut seeds, mut steps) = (1, 1000, 100);
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().and_then(|value| value.parse::<u64>().ok());
        match (flag.as_str(), value) {
            ("--seeds", Some(value)) => seeds = value,
            ("--first", Some(value)) => first = value,
            ("--steps", Some(value)) => steps = value as usize,
            _ => {
                eprintln!("model [--seeds N] [--first SEED] [--steps N]");
                return ExitCode::from(2);
            }
        }
    }
    // What panics is reported with its script.
    std::panic::set_hook(Box::new(|_| {}));
    let start = Instant::now();
    let mut operations = 0;
    let mut broken = BTreeMap::new();
    for seed in first..first + seeds {
        let script = Script::draw(seed, steps, Kind::Any);
        match play(&script) {
            Ok(played) => operations += played,
            Err(how) => broken.entry(how.rule).or_insert_with(Vec::new).push((script, how)),
        }
    }
    for (rule, scripts) in &broken {
        println!("{rule}: {} scripts", scripts.len());
        let mut shapes = std::collections::BTreeSet::new();
        for (script, how) in scripts.iter().take(200) {
            let (script, how) = shrink(script, how);
            // One of each kind is enough to see.
            let shape = format!("{:?}", script.steps).replace(|c: char| c.is_ascii_digit(), "");
            if shapes.insert(shape) {
                println!("{}", model::shown(&script, &how));
            }
        }
    }
    println!("{operations} operations in {:.1} s", start.elapsed().as_secs_f64());
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
