//! The project's own commands: `cargo xtask` says which there are.

mod demo;
mod suites;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask demo             the main job: against the emulator, or the server that
                             REDIS_HOSTNAME names
cargo xtask test [SUITE...]  all checks, or the named ones; installs what they need
cargo xtask suites           their names";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["demo"] => demo::demo(),
        ["test", only @ ..] => suites::test(only),
        ["suites"] => {
            suites::SUITES.iter().for_each(|suite| println!("{:12} {}", suite.name, suite.what));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
