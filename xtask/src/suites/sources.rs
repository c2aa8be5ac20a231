//! What the sources alone show: they are read, compiled, and tested without a host around them.

use std::process::Command;

use super::counts::{Counts, check, own, tests};
use crate::devices::parts;
use crate::fuzz::fuzz;
use crate::npm;
use crate::targets::{CORTEX_M3, cross};
use crate::tools::{Result, attempt, cargo, cargo_tool, debian, quietly, root, run, toolchain};

/// The packages outside the workspace.
const OUTSIDE: [&str; 12] = [
    "examples/gateway-qemu",
    "examples/gateway-qemu/mps2",
    "examples/wasi-cli",
    "examples/wasi-function",
    "tests/firmware",
    "tests/fuzz/libfuzzer",
    "tests/no-std",
    "tests/sizes/device",
    "tests/sizes/wasi",
    "tests/wasi",
    "wasm/bindgen",
    "wasm/js",
];

pub(super) fn format() -> Result<Counts> {
    toolchain(&["rustfmt"])?;
    let mut counts = check(&mut cargo(&["fmt", "--all", "--check"]))?;
    for package in OUTSIDE {
        let manifest = format!("{package}/Cargo.toml");
        counts.add(check(&mut cargo(&["fmt", "--check", "--manifest-path", &manifest]))?);
    }
    Ok(counts)
}

pub(super) fn lints() -> Result<Counts> {
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
        (edge_std, "proxy"),
        (edge_std, "developer"),
        (edge_std, "azure-core"),
        (edge_std, "pfx"),
        (edge_std, "cli"),
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
    counts.add(oldest_rust()?);
    Ok(counts)
}

/// Builds what people add to their services with the oldest Rust that it promises to need, where that
/// is installed. Clippy's `incompatible_msrv` checks the same.
fn oldest_rust() -> Result<Counts> {
    const OLDEST: &str = "1.88";
    let install = ["toolchain", "install", OLDEST, "--profile", "minimal"];
    if quietly(Command::new("rustup").args(install)).is_err() {
        println!("Rust {OLDEST} can't be installed here: only clippy has looked");
        return Ok(Counts::default());
    }
    let packages = ["client", "core", "tls"].map(|name| format!("--package=redis-entraid-{name}"));
    let mut command = Command::new("rustup");
    command.current_dir(root()).args(["run", OLDEST, "cargo", "check", "--locked"]);
    command.args(packages).args(["--package=redis-entraid", "--all-features"]);
    // The toolchain that runs this says where its own compiler is.
    command.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    check(&mut command)
}

pub(super) fn unit() -> Result<Counts> {
    // Those that are suites of their own.
    let others =
        ["clients", "leaks", "model", "public-api-snapshots", "redis-entraid-tls", "simulation"];
    let exclude = others.iter().flat_map(|package| ["--exclude", package]);
    let mut counts = tests(&["--workspace"].into_iter().chain(exclude).collect::<Vec<_>>())?;
    counts.add(tests(&["--package", "redis-entraid-core", "--no-default-features"])?);
    for package in ["redis-entraid-client", "redis-entraid-core"] {
        counts.add(tests(&["--package", package, "--all-features"])?);
    }
    // Identities that only some programs need.
    debian(&["openssl"], &["openssl"])?;
    let package = ["--package", "redis-entraid", "--features", "azure-core,developer,pfx"];
    let test = ["--test", "identities", "--", "azure_core", "certificate", "developer"];
    counts.add(tests(&[&package[..], &test].concat())?);
    Ok(counts)
}

pub(super) fn tls() -> Result<Counts> {
    debian(&["openssl"], &["openssl"])?;
    let package = ["--package", "redis-entraid-tls"];
    let mut counts = tests(&package)?;
    // What a device with P-256 alone has.
    counts.add(tests(&[&package[..], &["--no-default-features"]].concat())?);
    Ok(counts)
}

pub(super) fn cli() -> Result<Counts> {
    tests(&["--package", "redis-entraid", "--features", "cli", "--bins", "--test", "cli"])
}

pub(super) fn leaks() -> Result<Counts> {
    tests(&["--package", "leaks"])
}

pub(super) fn simulation() -> Result<Counts> {
    tests(&["--release", "--package", "simulation"])
}

pub(super) fn more_simulation() -> Result<Counts> {
    let more = ["--package", "simulation", "--", "--first", "100", "--seeds", "10"];
    check(&mut cargo(&[&["run", "--quiet", "--release"], &more[..]].concat()))
}

pub(super) fn model() -> Result<Counts> {
    tests(&["--package", "model"])
}

pub(super) fn more_model() -> Result<Counts> {
    let mut command = cargo(&["test", "--release", "--package", "model", "--", "--nocapture"]);
    Ok(Counts::from(&attempt(own(&mut command).env("MODEL_SCRIPTS", "50000"))?))
}

pub(super) fn longer_readiness() -> Result<Counts> {
    let test = ["test", "--package", "redis-entraid", "--test", "service", "readiness"];
    Ok(Counts::from(&attempt(own(&mut cargo(&test)).env("PROBE_SECONDS", "60"))?))
}

pub(super) fn fuzzing() -> Result<Counts> {
    fuzz(&["--seconds", "120"]).map(|()| Counts::one())
}

pub(super) fn api() -> Result<Counts> {
    tests(&["--package", "public-api-snapshots"])
}

pub(super) fn docs() -> Result<Counts> {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    check(command.env("RUSTDOCFLAGS", "-Dwarnings"))
}

pub(super) fn no_std() -> Result<Counts> {
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
    // What clients share needs an allocator, and no std.
    let client = ["check", "--locked", "--release", "--package", "redis-entraid-client"];
    checks.push(cross("thumbv7em-none-eabihf", "core,alloc", &client)?);
    for command in &mut checks {
        counts.add(check(command)?);
    }
    // And they have room for it.
    for part in parts()? {
        part.check()?;
        counts.add(Counts::one());
    }
    Ok(counts)
}

pub(super) fn deny() -> Result<Counts> {
    let tool = cargo_tool("cargo-deny", "0.20.2")?;
    // It reads the sources of crates for all targets, also of those that nothing here builds.
    run(&mut cargo(&["fetch", "--locked"]))?;
    let mut command = Command::new(tool);
    command.current_dir(root());
    // Advisories would need a database from the internet.
    command.args(["--offline", "--all-features", "check", "bans", "licenses", "sources"]);
    check(&mut command)
}
