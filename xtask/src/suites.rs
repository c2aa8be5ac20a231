//! What `cargo xtask test` does, and how it reports.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::demo::start_emulator;
use crate::targets::{CORTEX_M3, component, cross, gateway};
use crate::tools::{
    Output, Result, attempt, cargo, cargo_tool, debian, give_up_at, redis_servers, root, run,
    toolchain, wasmtime,
};
use crate::{npm, size};

/// A group of checks.
pub(crate) struct Suite {
    /// How to name it on the command line.
    pub(crate) name: &'static str,
    /// What it proves.
    pub(crate) what: &'static str,
    /// What it may take, on two cores and with nothing built.
    budget_minutes: u64,
    /// Fewer checks than this mean that some were lost.
    least: u32,
    run: fn() -> Result<Counts>,
}

/// How many checks there were.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    passed: u32,
    failed: u32,
    skipped: u32,
    /// Something was compiled or fetched for it.
    built: bool,
}

impl From<&Output> for Counts {
    /// What the lines `test result: ok. 3 passed; 0 failed; 1 ignored; ...` add up to.
    fn from(output: &Output) -> Self {
        let mut counts = Self { built: output.built, ..Self::default() };
        for line in output.text.lines().filter(|line| line.starts_with("test result: ")) {
            let number = |what| {
                let before = line.split(what).next().unwrap_or_default();
                before.rsplit([' ', '.']).next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0)
            };
            counts.passed += number(" passed");
            counts.failed += number(" failed");
            counts.skipped += number(" ignored");
        }
        if let Some(failure) = &output.failure {
            println!("{failure}");
            // Something else than a test may have failed.
            counts.failed = counts.failed.max(1);
        }
        counts
    }
}

/// All suites, in the order in which they run: what fails fast comes first.
pub(crate) const SUITES: &[Suite] = &[
    Suite {
        name: "format",
        what: "rustfmt has nothing to say",
        budget_minutes: 1,
        least: 10,
        run: format,
    },
    Suite {
        name: "lints",
        what: "clippy has nothing to say, in any combination of features",
        budget_minutes: 10,
        least: 12,
        run: lints,
    },
    Suite {
        name: "unit",
        what: "the tests of the crates and of their documentation",
        budget_minutes: 15,
        least: 715,
        run: unit,
    },
    Suite {
        name: "tls",
        what: "TLS for devices: good servers are accepted, all others get an error and no panic",
        budget_minutes: 10,
        least: 170,
        run: tls,
    },
    Suite {
        name: "leaks",
        what: "no token and no secret is ever shown",
        budget_minutes: 5,
        least: 4,
        run: leaks,
    },
    Suite {
        name: "simulation",
        what: "200 connections stay logged in for 1,000 days, in less than a minute",
        budget_minutes: 5,
        least: 2,
        run: simulation,
    },
    Suite {
        name: "docs",
        what: "rustdoc has nothing to say",
        budget_minutes: 5,
        least: 1,
        run: docs,
    },
    Suite {
        name: "no-std",
        what: "core, TLS and the embassy host need neither std nor an allocator, here and on devices",
        budget_minutes: 8,
        least: 9,
        run: no_std,
    },
    Suite {
        name: "conformance",
        what: "every host does what the cases say, on redis-server 6.2, 7.0 and 8.2 and without",
        budget_minutes: 10,
        least: 265,
        run: conformance,
    },
    Suite {
        name: "components",
        what: "what people copy for WASI runs in wasmtime, and what a request costs",
        budget_minutes: 10,
        least: 7,
        run: components,
    },
    Suite {
        name: "gateway",
        what: "a firmware without a heap, in 256 KiB of flash and 64 KiB of RAM, stays logged in",
        budget_minutes: 10,
        least: 3,
        run: firmware,
    },
    Suite {
        name: "javascript",
        what: "the npm package, installed, does in Node, Deno and Workers what it says",
        budget_minutes: 15,
        least: 123,
        run: javascript,
    },
    Suite {
        name: "examples",
        what: "what people copy runs as it is",
        budget_minutes: 5,
        least: 5,
        run: examples,
    },
    Suite {
        name: "demo",
        what: "the main job, as the README shows it, with and without a server of one's own",
        budget_minutes: 5,
        least: 3,
        run: demo,
    },
    Suite {
        name: "deny",
        what: "licences and sources of the dependencies",
        budget_minutes: 15,
        least: 1,
        run: deny,
    },
];

/// Runs the suites named in `only`, or all.
pub(crate) fn test(only: &[&str]) -> ExitCode {
    if let Some(name) = only.iter().find(|name| SUITES.iter().all(|suite| suite.name != **name)) {
        eprintln!("there is no suite {name}");
        return ExitCode::from(2);
    }
    let mut rows = Vec::new();
    for suite in SUITES.iter().filter(|suite| only.is_empty() || only.contains(&suite.name)) {
        println!("\n== {}: {}", suite.name, suite.what);
        let start = Instant::now();
        give_up_at(start + Duration::from_secs(suite.budget_minutes * 60 + 30));
        let (mut counts, mut note) = match (suite.run)() {
            Ok(counts) => (counts, String::new()),
            Err(error) => {
                println!("{error}");
                (Counts { failed: 1, ..Counts::default() }, "failed".into())
            }
        };
        let seconds = start.elapsed().as_secs();
        if counts.failed == 0 && counts.passed < suite.least {
            note = format!("only {} of at least {} checks", counts.passed, suite.least);
            counts.failed += 1;
        }
        if counts.skipped > 0 {
            note = "nothing may be skipped".into();
            counts.failed += 1;
        }
        if seconds > suite.budget_minutes * 60 {
            note = format!("over its budget of {} min", suite.budget_minutes);
            counts.failed += 1;
        }
        rows.push((suite.name, seconds, counts, note));
    }
    println!("\n{:12} {:>5} {:>7} {:>7} {:>7}", "suite", "s", "", "passed", "failed");
    let mut sum = Counts::default();
    for (name, seconds, counts, note) in rows {
        let built = if counts.built { "built" } else { "cached" };
        let Counts { passed, failed, skipped, .. } = counts;
        println!("{name:12} {seconds:>5} {built:>7} {passed:>7} {failed:>7}  {note}");
        sum.passed += passed;
        sum.failed += failed;
        sum.skipped += skipped;
    }
    println!("\n{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Counts {
    /// One check that passed.
    fn one() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    fn add(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
        self.built |= more.built;
    }
}

/// Runs a command as one check.
fn check(command: &mut Command) -> Result<Counts> {
    Ok(Counts { built: run(command)?.built, ..Counts::one() })
}

/// Runs tests, each of which is a check.
fn tests(args: &[&str]) -> Result<Counts> {
    let mut command = cargo(&[&["test", "--no-fail-fast"], args].concat());
    Ok(Counts::from(&attempt(own(&mut command))?))
}

/// Takes away what the user's environment says of a server and an identity: the checks bring
/// their own.
fn own(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            ["REDIS_", "AZURE_", "IDENTITY_"].iter().any(|prefix| name.starts_with(prefix))
        });
        if ours {
            command.env_remove(name);
        }
    }
    command
}

/// The packages outside the workspace.
const OUTSIDE: [&str; 9] = [
    "examples/gateway-qemu",
    "examples/wasi-cli",
    "examples/wasi-function",
    "tests/fuzz/libfuzzer",
    "tests/no-std",
    "tests/sizes/wasi",
    "tests/wasi",
    "wasm/bindgen",
    "wasm/js",
];

fn format() -> Result<Counts> {
    toolchain(&["rustfmt"])?;
    let mut counts = check(&mut cargo(&["fmt", "--all", "--check"]))?;
    for package in OUTSIDE {
        let manifest = format!("{package}/Cargo.toml");
        counts.add(check(&mut cargo(&["fmt", "--check", "--manifest-path", &manifest]))?);
    }
    Ok(counts)
}

fn lints() -> Result<Counts> {
    toolchain(&["clippy"])?;
    let mut counts = Counts::default();
    let all = &["--workspace"][..];
    let edge_std = &["--package", "redis-entraid", "--no-default-features", "--features"][..];
    for (packages, features) in [
        (all, ""),
        (all, "--no-default-features"),
        (all, "--all-features"),
        (edge_std, ""),
        (edge_std, "log"),
        (edge_std, "net"),
        (edge_std, "http"),
        (edge_std, "tls"),
        (edge_std, "http tls"),
        (edge_std, "webpki-roots"),
    ] {
        let mut args = vec!["clippy", "--all-targets"];
        args.extend(packages);
        // An empty list of features is one; an empty flag is none.
        args.extend(Some(features).filter(|text| !text.is_empty() || packages == edge_std));
        args.extend(["--", "-Dwarnings"]);
        counts.add(check(&mut cargo(&args))?);
    }
    // The fuzzers themselves are no members of the workspace.
    debian(&["c++"], &["g++"])?;
    let fuzzers = ["clippy", "--locked", "--manifest-path", "tests/fuzz/libfuzzer/Cargo.toml"];
    counts.add(check(&mut cargo(&[&fuzzers[..], &["--", "-Dwarnings"]].concat()))?);
    // Nor is what only runs in JavaScript.
    let js = ["clippy", "--locked", "--manifest-path", "wasm/js/Cargo.toml"];
    let mut command = cross(npm::WASM, "core,alloc", &js)?;
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "-Dwarnings");
    counts.add(check(&mut command)?);
    Ok(counts)
}

fn unit() -> Result<Counts> {
    // Those that are suites of their own.
    let others = ["leaks", "redis-entraid-tls", "simulation"];
    let exclude = others.iter().flat_map(|package| ["--exclude", package]);
    let mut counts = tests(&["--workspace"].into_iter().chain(exclude).collect::<Vec<_>>())?;
    counts.add(tests(&["--package", "redis-entraid-core", "--no-default-features"])?);
    counts.add(tests(&["--package", "redis-entraid-core", "--all-features"])?);
    Ok(counts)
}

fn tls() -> Result<Counts> {
    debian(&["openssl"], &["openssl"])?;
    let package = ["--package", "redis-entraid-tls"];
    let mut counts = tests(&package)?;
    // What a device with P-256 alone has.
    counts.add(tests(&[&package[..], &["--no-default-features"]].concat())?);
    Ok(counts)
}

fn leaks() -> Result<Counts> {
    tests(&["--package", "leaks"])
}

fn simulation() -> Result<Counts> {
    tests(&["--release", "--package", "simulation"])
}

fn docs() -> Result<Counts> {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    check(command.env("RUSTDOCFLAGS", "-Dwarnings"))
}

fn no_std() -> Result<Counts> {
    let manifest = "tests/no-std/Cargo.toml";
    let mut counts = Counts::default();
    for features in ["", "defmt", "postcard", "tls"] {
        counts.add(check(&mut cargo(&[
            "build",
            "--locked",
            "--release",
            "--manifest-path",
            manifest,
            "--features",
            features,
        ]))?);
    }
    for features in ["", "tls"] {
        let build = ["build", "--locked", "--release", "--manifest-path", manifest];
        let mut command =
            cross(CORTEX_M3, "core", &[&build[..], &["--features", features]].concat())?;
        counts.add(check(&mut command)?);
    }
    // What other devices have.
    let p256 = ["--features", "tls-p256"];
    let cortex_m0 = ["check", "--locked", "--release", "--manifest-path", manifest];
    let mut checks = vec![cross("thumbv6m-none-eabi", "core", &[&cortex_m0[..], &p256].concat())?];
    for target in ["thumbv7em-none-eabihf", "riscv32imac-unknown-none-elf"] {
        let host = ["check", "--locked", "--release", "--package", "redis-entraid-embassy"];
        checks.push(cross(target, "core", &[&host[..], &["--features", "defmt"]].concat())?);
    }
    for command in &mut checks {
        counts.add(check(command)?);
    }
    Ok(counts)
}

/// The arguments that name the package of the conformance cases.
const CONFORMANCE: [&str; 4] = ["--package", "conformance", "--features", "host"];

fn conformance() -> Result<Counts> {
    let servers = redis_servers()?;
    let mut counts = Counts { built: build_examples()?, ..Counts::default() };
    let servers: Vec<String> = servers.iter().map(|path| path.display().to_string()).collect();
    let test = ["test", "--test", "cases", "--", "--nocapture"];
    let (before, after) = test.split_at(1);
    let mut command = cargo(&[before, &CONFORMANCE, after].concat());
    let guest = component("tests/wasi", "")?;
    counts.built |= guest.built;
    own(&mut command).env("REDIS_SERVERS", servers.join(":"));
    command.env("WASMTIME", wasmtime()?).env("WASI_GUEST", guest.path);
    let output = attempt(&mut command)?;
    counts.add(Counts::from(&output));
    // Each run of a case is a check of its own.
    counts.passed += runs(&output);
    Ok(counts)
}

/// How many runs of cases there were.
fn runs(output: &Output) -> u32 {
    let mut lines = output.text.lines();
    lines.find_map(|line| line.split_once(" runs of ")?.0.parse().ok()).unwrap_or(0)
}

fn examples() -> Result<Counts> {
    debian(&["curl", "redis-server"], &["curl", "redis-server"])?;
    let mut counts = Counts { built: build_examples()?, ..Counts::default() };
    counts.add(tests(&[&CONFORMANCE[..], &["--test", "examples"]].concat())?);
    Ok(counts)
}

fn components() -> Result<Counts> {
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

fn javascript() -> Result<Counts> {
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

fn firmware() -> Result<Counts> {
    debian(
        &["qemu-system-arm", "nc", "redis-server"],
        &["qemu-system-arm", "netcat-openbsd", "redis-server"],
    )?;
    let firmware = gateway("rsa")?;
    let package = ["test", "--package", "conformance", "--features", "gateway"];
    let test = ["--test", "gateway", "--", "--nocapture", "--test-threads", "2"];
    let mut command = cargo(&[&package[..], &test].concat());
    let mut counts = Counts::from(&attempt(own(&mut command).env("GATEWAY", firmware.path))?);
    counts.built |= firmware.built;
    Ok(counts)
}

fn build_examples() -> Result<bool> {
    Ok(run(&mut cargo(&["build", "--package", "examples"]))?.built)
}

fn demo() -> Result<Counts> {
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

fn deny() -> Result<Counts> {
    let tool = cargo_tool("cargo-deny", "0.20.2")?;
    // It reads the sources of crates for all targets, also of those that nothing here builds.
    run(&mut cargo(&["fetch", "--locked"]))?;
    let mut command = Command::new(tool);
    command.current_dir(root());
    // Advisories would need a database from the internet.
    command.args(["--offline", "--all-features", "check", "bans", "licenses", "sources"]);
    check(&mut command)
}
