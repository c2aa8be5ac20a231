//! The project's own commands: `cargo xtask` says which there are.

mod demo;
mod devices;
mod elf;
mod fuzz;
mod npm;
mod size;
mod suites;
mod targets;
mod tools;
mod wasm;

use std::process::ExitCode;

use tools::{Result, cargo, run};

const USAGE: &str = "\
cargo xtask demo             the main job: against the emulator, or the server that
                             REDIS_HOSTNAME names
cargo xtask test [--long] [SUITE...]
                             all checks, or the named ones; installs what they need; also those
                             that take long
cargo xtask suites           their names
cargo xtask npm              builds the npm package
cargo xtask size [devices]   how large all is, or only what is for devices, and where the bytes
                             are
cargo xtask sim [--seeds N] [--first SEED] [--days N] [--connections N]
                             more of the simulation than the tests have time for
cargo xtask model [--seeds N] [--first SEED] [--steps N] [--server PROGRAM [--cluster]]
                             the same of the model test, also beside a real server
cargo xtask cluster-bench [--rounds N] [--changes N] [--seconds N] [--threads N]
                             this client and redis-rs's on real clusters, side by side
cargo xtask fuzz [TARGET...] [--seconds N] [--keep]
                             looks for what the tests don't know, or keeps what was found";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["demo"] => demo::demo(),
        ["test", args @ ..] => suites::test(args),
        ["suites"] => {
            let suites = suites::SUITES.iter().chain(suites::LONG);
            suites.for_each(|suite| println!("{:16} {}", suite.name, suite.what));
            ExitCode::SUCCESS
        }
        ["sim", more @ ..] => done(release("simulation", more)),
        ["model", more @ ..] => done(release("model", more)),
        ["cluster-bench", more @ ..] => done(release("cluster-bench", more)),
        ["npm"] => done(npm::package().map(|package| println!("{}", package.tarball.display()))),
        ["size"] => done(size::devices().and_then(|()| size::components())),
        ["size", "devices"] => done(size::devices()),
        ["fuzz", more @ ..] => done(fuzz::fuzz(more)),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Runs the program of one of the workspace's packages, optimized.
fn release(package: &str, args: &[&str]) -> Result<()> {
    let program = ["run", "--quiet", "--release", "--package", package, "--"];
    run(&mut cargo(&[&program, args].concat())).map(drop)
}

fn done(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
