//! What runs show: the hosts, with the servers and the runtimes that their users have.

use std::path::PathBuf;

use super::counts::{Counts, check, own, tests};
use crate::demo::start_emulator;
use crate::devices::measured_gateways;
use crate::targets::{self, component, gateways};
use crate::tools::{
    Output, Result, attempt, cargo, debian, microsoft_clients, redis_py, redis_servers, run,
    wasmtime,
};
use crate::{npm, size};

/// The arguments that name the package of the conformance cases.
const CONFORMANCE: [&str; 4] = ["--package", "conformance", "--features", "host"];

pub(super) fn conformance() -> Result<Counts> {
    cases(&[])
}

/// The same with every case on every server.
pub(super) fn every_server() -> Result<Counts> {
    cases(&[("EVERY_STORE", "1")])
}

fn cases(environment: &[(&str, &str)]) -> Result<Counts> {
    let servers = paths(&redis_servers()?);
    let mut counts = Counts { built: build_examples()?, ..Counts::default() };
    let test = ["test", "--test", "cases", "--test", "wasi", "--", "--nocapture"];
    let (before, after) = test.split_at(1);
    let mut command = cargo(&[before, &CONFORMANCE, after].concat());
    let guest = component("tests/wasi", "")?;
    counts.built |= guest.built;
    own(&mut command).env("REDIS_SERVERS", servers).envs(environment.iter().copied());
    command.env("WASMTIME", wasmtime()?).env("WASI_GUEST", guest.path);
    let output = attempt(&mut command)?;
    counts.add(Counts::from(&output));
    // Each run of a case is a check of its own.
    counts.passed += runs(&output);
    Ok(counts)
}

pub(super) fn scripts() -> Result<Counts> {
    debian(&["redis-server"], &["redis-server"])?;
    beside_servers("redis-server", "100")
}

pub(super) fn more_scripts() -> Result<Counts> {
    beside_servers(&paths(&redis_servers()?), "500")
}

/// The model test's scripts, the table of answers, and routes, with real servers.
fn beside_servers(servers: &str, scripts: &str) -> Result<Counts> {
    let package = ["test", "--package", "model", "--features", "servers"];
    let tests = ["--test", "servers", "--test", "table", "--test", "keys", "--test", "slots"];
    let mut command = cargo(&[&package[..], &tests, &["--", "--nocapture"]].concat());
    own(&mut command).env("REDIS_SERVERS", servers).env("MODEL_SCRIPTS", scripts);
    let output = attempt(&mut command)?;
    let mut counts = Counts::from(&output);
    // Each script and each row of the table is a check of its own.
    counts.passed += runs(&output);
    Ok(counts)
}

fn paths(programs: &[PathBuf]) -> String {
    let paths: Vec<String> = programs.iter().map(|path| path.display().to_string()).collect();
    paths.join(":")
}

/// How many runs of something there were.
fn runs(output: &Output) -> u32 {
    let number = |line: &str| line.split_once(" runs of ")?.0.parse::<u32>().ok();
    output.text.lines().filter_map(number).sum()
}

pub(super) fn examples() -> Result<Counts> {
    debian(&["curl", "redis-server"], &["curl", "redis-server"])?;
    let mut counts = Counts { built: build_examples()?, ..Counts::default() };
    counts.add(tests(&[&CONFORMANCE[..], &["--test", "examples"]].concat())?);
    Ok(counts)
}

pub(super) fn clients() -> Result<Counts> {
    let mut command = cargo(&["test", "--package", "clients", "--test", "getting_started"]);
    Ok(Counts::from(&attempt(own(&mut command).env("REDIS_PY", redis_py()?))?))
}

pub(super) fn microsoft() -> Result<Counts> {
    let package = ["test", "--package", "clients", "--test", "microsoft"];
    let mut command =
        cargo(&[&package[..], &["--", "--nocapture", "--test-threads", "2"]].concat());
    let output = attempt(own(&mut command).env("MICROSOFT_CLIENTS", microsoft_clients()?))?;
    let mut counts = Counts::from(&output);
    // Each login is a check of its own.
    counts.passed += runs(&output);
    Ok(counts)
}

pub(super) fn components() -> Result<Counts> {
    let (cli, function) =
        (component("examples/wasi-cli", "")?, component("examples/wasi-function", "")?);
    let test = ["test", "--test", "components", "--", "--nocapture", "--test-threads", "2"];
    let (before, after) = test.split_at(1);
    let mut command = cargo(&[before, &CONFORMANCE, after].concat());
    command.env("WASMTIME", wasmtime()?).env("WASI_CLI", cli.path);
    command.env("WASI_FUNCTION", function.path);
    let mut counts = Counts::from(&attempt(own(&mut command))?);
    counts.built |= cli.built || function.built;
    Ok(counts)
}

pub(super) fn javascript() -> Result<Counts> {
    debian(&["redis-server"], &["redis-server"])?;
    let project = npm::project()?;
    let mut counts = Counts { built: project.built, ..Counts::default() };
    counts.passed += size::ceilings(&project.package)?;
    for mut types in project.types() {
        counts.add(check(&mut types)?);
    }
    for test in ["cases", "javascript"] {
        let mut command = cargo(&[&["test"][..], &CONFORMANCE, &["--test", test]].concat());
        command.args(["--", "--nocapture", "--test-threads", "2"]);
        own(&mut command).envs(project.environment()?).env("ONLY_HOSTS", "node,deno,workerd");
        let output = attempt(&mut command)?;
        counts.add(Counts::from(&output));
        // Each run of a case is a check of its own.
        counts.passed += runs(&output);
    }
    Ok(counts)
}

pub(super) fn firmware() -> Result<Counts> {
    debian(&["qemu-system-arm", "redis-server"], &["qemu-system-arm", "redis-server"])?;
    let gateways = gateways()?;
    let subject = targets::firmware("tests/firmware", "")?;
    let package = ["test", "--package", "conformance", "--features", "gateway"];
    let test = ["--test", "cases", "--test", "gateway", "--", "--nocapture", "--test-threads", "2"];
    let mut command = cargo(&[&package[..], &test].concat());
    own(&mut command).envs(gateways.iter().map(|(name, firmware)| (name, &firmware.path)));
    command.env("FIRMWARE", subject.path).env("ONLY_HOSTS", "qemu");
    let output = attempt(&mut command)?;
    let mut counts = Counts::from(&output);
    // Each run of a case is a check of its own.
    counts.passed += runs(&output);
    counts.built |= subject.built || gateways.iter().any(|(_, firmware)| firmware.built);
    for gateway in measured_gateways()? {
        gateway.check()?;
        counts.add(Counts::one());
    }
    Ok(counts)
}

fn build_examples() -> Result<bool> {
    Ok(run(&mut cargo(&["build", "--package", "examples", "--package", "axum-service"]))?.built)
}

pub(super) fn demo() -> Result<Counts> {
    let mut counts = Counts::default();
    let mut xtask = cargo(&["xtask", "demo"]);
    own(&mut xtask);
    let last = |text: &str| text.lines().last().unwrap_or_default().to_owned();
    let expect = |found: &str, start: &str, end: &str| {
        if found.starts_with(start) && found.ends_with(end) {
            Ok(Counts::one())
        } else {
            Err(format!("expected {start} ... {end}, not {found}"))
        }
    };
    let shown = last(&run(&mut xtask)?.text);
    let start = "demo ok: refreshes=3 reauths=3 reconnects=0 commands=";
    counts.add(expect(&shown, start, " failed=0")?);
    // As with a server of one's own, whose tokens live for an hour; the second time it hands out
    // a token again.
    for (fault, start, end) in [
        ("token#9 same", start, " failed=0 same-token=0"),
        ("token#2 same", "demo ok: refreshes=2 reauths=2 reconnects=0", " failed=0 same-token=1"),
    ] {
        let (_emulator, environment) = start_emulator(&["--arm", fault])?;
        let shown = last(&run(own(&mut cargo(&["xtask", "demo"])).envs(environment))?.text);
        counts.add(expect(&shown, start, end)?);
    }
    Ok(counts)
}
