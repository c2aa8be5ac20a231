//! `cargo xtask demo`: the main job, end to end on one machine.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};

use crate::tools::{Result, cargo, run};

/// How long the emulator's tokens live: three refreshes fit into half a minute, and a machine that
/// stands still for three seconds has time for each.
const LIFE_SECONDS: &str = "14";

/// Builds what is needed and runs it: against the server of the environment if it names one,
/// else against the emulator.
pub(crate) fn demo() -> ExitCode {
    match try_demo() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_demo() -> Result<ExitCode> {
    let real = ["REDIS_HOSTNAME", "REDIS_ENDPOINT"]
        .into_iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if real {
        run(&mut cargo(&["build", "--package", "examples", "--bin", "demo"]))?;
        return show(program("demo")?.env("DEMO_FORCE_REFRESH", "1"));
    }
    run(&mut cargo(&[
        "build",
        "--package",
        "amr-emulator",
        "--package",
        "examples",
        "--bin",
        "amr-emulator",
        "--bin",
        "demo",
    ]))?;
    let (_emulator, environment) = start_emulator(&["--life", LIFE_SECONDS])?;
    show(program("demo")?.envs(environment))
}

fn show(command: &mut Command) -> Result<ExitCode> {
    let status = command.status().map_err(|error| error.to_string())?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A program of this workspace that was built.
pub(crate) fn program(name: &str) -> Result<Command> {
    // This program lies where they do.
    let mut path = std::env::current_exe().map_err(|error| error.to_string())?;
    path.set_file_name(name);
    Ok(Command::new(path))
}

/// An emulator that ends when this is dropped.
pub(crate) struct Emulator(Child);

impl Drop for Emulator {
    fn drop(&mut self) {
        // The end of its standard input tells it to stop, and to clean up.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Starts an emulator that was built, and answers with the environment that its clients need.
pub(crate) fn start_emulator(args: &[&str]) -> Result<(Emulator, Vec<(String, String)>)> {
    let mut child = program("amr-emulator")?
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("amr-emulator: {error}"))?;
    let stdout = BufReader::new(child.stdout.take().ok_or("it has no output")?);
    let emulator = Emulator(child);
    let mut environment = Vec::new();
    for line in stdout.lines() {
        let line = line.map_err(|error| error.to_string())?;
        if let Some((name, value)) = line.strip_prefix("export ").and_then(|l| l.split_once('=')) {
            environment.push((name.to_owned(), value.trim_matches('\'').to_owned()));
        } else if line == "# ready" {
            return Ok((emulator, environment));
        } else if line.starts_with("# keys") {
            println!("{}", line.trim_start_matches("# "));
        }
    }
    Err("the emulator didn't start".into())
}
