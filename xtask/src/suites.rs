//! What `cargo xtask test` does, and how it reports.

mod counts;
mod runs;
mod sources;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use counts::Counts;
use runs::{
    clients, components, conformance, demo, every_server, examples, firmware, javascript,
    microsoft, more_scripts, scripts,
};
use sources::{
    api, cli, deny, docs, format, fuzzing, leaks, lints, longer_readiness, model, more_model,
    more_simulation, no_std, simulation, tls, unit,
};

use crate::tools::{Result, give_up_at};

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

/// All suites, in the order in which they run: what fails fast comes first.
pub(crate) const SUITES: &[Suite] = &[
    Suite {
        name: "format",
        what: "rustfmt changes nothing",
        budget_minutes: 1,
        least: 13,
        run: format,
    },
    Suite {
        name: "lints",
        what: "clippy warns of nothing, in any combination of features",
        budget_minutes: 15,
        least: 13,
        run: lints,
    },
    Suite {
        name: "unit",
        what: "the tests of the crates and of their documentation",
        budget_minutes: 20,
        least: 790,
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
        name: "cli",
        what: "the program redis-entraid says what is wrong, and how to mend it",
        budget_minutes: 10,
        least: 50,
        run: cli,
    },
    Suite {
        name: "leaks",
        what: "no token and no secret is ever shown",
        budget_minutes: 5,
        least: 5,
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
        name: "model",
        what: "150,000 random operations on a connection and its handles break no promise",
        budget_minutes: 3,
        least: 3,
        run: model,
    },
    Suite {
        name: "docs",
        what: "rustdoc warns of nothing",
        budget_minutes: 5,
        least: 1,
        run: docs,
    },
    Suite {
        name: "api",
        what: "the public API of each crate is that of its snapshot",
        budget_minutes: 3,
        least: 7,
        run: api,
    },
    Suite {
        name: "no-std",
        what: "core, TLS and the embassy host need neither std nor an allocator, here and on devices",
        budget_minutes: 10,
        least: 15,
        run: no_std,
    },
    Suite {
        name: "conformance",
        what: "every host does what the cases say, on redis-server 7.0 and without; some on 6.2 and 8.2",
        budget_minutes: 10,
        least: 260,
        run: conformance,
    },
    Suite {
        name: "servers",
        what: "a real server, in a cluster and not, does what the model test takes it to do",
        budget_minutes: 5,
        least: 450,
        run: scripts,
    },
    Suite {
        name: "clients",
        what: "what redis-py and redis-rs send when one gets started, the emulator's own store answers",
        budget_minutes: 5,
        least: 2,
        run: clients,
    },
    Suite {
        name: "microsoft",
        what: "Microsoft's clients, unmodified, log in at the emulator, and ours send the same requests",
        budget_minutes: 5,
        least: 93,
        run: microsoft,
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
        what: "firmwares without a heap: one of 256 KiB of flash and 64 KiB of RAM, and the cases",
        budget_minutes: 15,
        least: 46,
        run: firmware,
    },
    Suite {
        name: "javascript",
        what: "the npm package, installed, works in Node, Deno and Workers",
        budget_minutes: 15,
        least: 150,
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

/// The long forms, of which the suites have one representative each.
pub(crate) const LONG: &[Suite] = &[
    Suite {
        name: "long-model",
        what: "ten million random operations",
        budget_minutes: 10,
        least: 3,
        run: more_model,
    },
    Suite {
        name: "long-servers",
        what: "500 scripts and the table on redis-server 6.2, 7.0 and 8.2, in a cluster and not",
        budget_minutes: 10,
        least: 3750,
        run: more_scripts,
    },
    Suite {
        name: "long-conformance",
        what: "every case on redis-server 6.2, 7.0 and 8.2 and without",
        budget_minutes: 10,
        least: 339,
        run: every_server,
    },
    Suite {
        name: "long-readiness",
        what: "a readiness probe 5,000 times a second for a minute",
        budget_minutes: 5,
        least: 1,
        run: longer_readiness,
    },
    Suite {
        name: "long-simulation",
        what: "ten times 1,000 days",
        budget_minutes: 15,
        least: 1,
        run: more_simulation,
    },
    Suite {
        name: "long-fuzz",
        what: "two minutes of each fuzzer",
        budget_minutes: 30,
        least: 1,
        run: fuzzing,
    },
];

/// Runs the suites named in `only`, or all; the long forms too if asked to.
pub(crate) fn test(args: &[&str]) -> ExitCode {
    let (long, only): (Vec<&str>, Vec<&str>) = args.iter().partition(|arg| **arg == "--long");
    let suites = || SUITES.iter().chain(LONG.iter().filter(|_| !long.is_empty()));
    if let Some(name) = only.iter().find(|name| suites().all(|suite| suite.name != **name)) {
        eprintln!("there is no suite {name}");
        return ExitCode::from(2);
    }
    let mut rows = Vec::new();
    for suite in suites().filter(|suite| only.is_empty() || only.contains(&suite.name)) {
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
    println!("\n{:16} {:>5} {:>7} {:>7} {:>7}", "suite", "s", "", "passed", "failed");
    let mut sum = Counts::default();
    for (name, seconds, counts, note) in rows {
        let built = if counts.built { "built" } else { "cached" };
        let Counts { passed, failed, skipped, .. } = counts;
        println!("{name:16} {seconds:>5} {built:>7} {passed:>7} {failed:>7}  {note}");
        sum.passed += passed;
        sum.failed += failed;
        sum.skipped += skipped;
    }
    println!("\n{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
