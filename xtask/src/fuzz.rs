//! `cargo xtask fuzz`: lets libFuzzer look for what the tests don't know.

use std::fs;
use std::process::Command;

use crate::tools::{Result, cache, cargo_tool, debian, root, run};

/// How long each target is looked at, unless something else is said.
const SECONDS: u64 = 60;

/// Runs the named targets, or all, each for `--seconds N`. With `--keep`, moves what was found
/// into the corpus of the repository instead, as far as it covers more.
pub(crate) fn fuzz(args: &[&str]) -> Result<()> {
    let (mut only, mut seconds, mut keep) = (Vec::new(), SECONDS, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match *arg {
            "--keep" => keep = true,
            "--seconds" => {
                let number = args.next().and_then(|number| number.parse().ok());
                seconds = number.ok_or("--seconds wants a number")?;
            }
            target => only.push(target.to_owned()),
        }
    }
    let home = root().join("tests/fuzz");
    let corpora = fs::read_dir(home.join("corpus")).map_err(|error| error.to_string())?;
    let names = corpora.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let targets: Vec<String> = names.collect();
    if let Some(unknown) = only.iter().find(|name| !targets.contains(name)) {
        return Err(format!("there is no target {unknown}, only {}", targets.join(", ")));
    }
    debian(&["c++"], &["g++"])?;
    let tool = cargo_tool("cargo-fuzz", "0.13.2")?;
    for target in targets.iter().filter(|name| only.is_empty() || only.contains(name)) {
        let corpus = home.join("corpus").join(target);
        let finds = cache().join("fuzz/finds").join(target);
        fs::create_dir_all(&finds).map_err(|error| error.to_string())?;
        let mut command = Command::new(&tool);
        // Instrumentation is not stable yet.
        command.current_dir(&home).env("RUSTC_BOOTSTRAP", "1");
        command.args(["run", "--fuzz-dir", "libfuzzer", "--target-dir"]).arg(cache().join("fuzz"));
        command.arg(target);
        if keep {
            // What reaches new code, and not just old code more often: a small corpus.
            command.args([&corpus, &finds]).args([
                "--",
                "-set_cover_merge=1",
                "-use_counters=0",
                "-max_len=512",
            ]);
        } else {
            command.args([&finds, &corpus]).args(["--", "-print_final_stats=1", "-max_len=4096"]);
            command.args(["-timeout=10", &format!("-max_total_time={seconds}")]);
        }
        run(&mut command)?;
    }
    Ok(())
}
