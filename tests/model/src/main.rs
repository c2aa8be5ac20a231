//! More of the model test than the tests have time for.
#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use model::real::Real;
use model::{Broken, Kind, Script, play, replay, shown, shrink};

const USAGE: &str = "\
model [--seeds N] [--first SEED] [--steps N]   scripts over the small server
      [--server PROGRAM [--cluster]]           and over a real one";

fn main() -> ExitCode {
    let (mut first, mut seeds, mut steps) = (1, 1000, 100);
    let (mut server, mut cluster) = (None, false);
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        if flag == "--cluster" {
            cluster = true;
            continue;
        }
        let text = args.next().unwrap_or_default();
        match (flag.as_str(), text.parse::<u64>().ok()) {
            ("--seeds", Some(value)) => seeds = value,
            ("--first", Some(value)) => first = value,
            ("--steps", Some(value)) => steps = value as usize,
            ("--server", _) => server = Some(PathBuf::from(text)),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let mut real = server.map(|program| Real::start(&program, cluster).expect("it starts"));
    let kind = if real.is_some() { Kind::Real { cluster } } else { Kind::Any };
    let mut play = |script: &Script| -> Result<usize, Broken> {
        let Some(server) = real.take() else { return play(script) };
        let (played, server) = replay(script, server);
        real = Some(server);
        played
    };
    // What panics is reported with its script.
    std::panic::set_hook(Box::new(|_| {}));
    let start = Instant::now();
    let mut operations = 0;
    let mut broken = BTreeMap::new();
    for seed in first..first + seeds {
        let script = Script::draw(seed, steps, kind);
        match play(&script) {
            Ok(played) => operations += played,
            Err(how) => broken.entry(how.rule).or_insert_with(Vec::new).push((script, how)),
        }
    }
    println!("{operations} operations in {:.1} s", start.elapsed().as_secs_f64());
    for (rule, scripts) in &broken {
        if std::env::var_os("MODEL_LOG").is_some() {
            continue;
        }
        println!("{rule}: {} scripts", scripts.len());
        let mut shapes = BTreeSet::new();
        for (script, how) in scripts.iter().take(100) {
            let (script, how) = shrink(script, how, &mut play);
            // One of each kind is enough to see.
            let shape = format!("{:?}", script.steps).replace(|c: char| c.is_ascii_digit(), "");
            if shapes.insert(shape) {
                println!("{}", shown(&script, &how));
            }
        }
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
