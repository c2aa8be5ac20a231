//! `amr-emulator`: prints the environment that a client needs, and serves until its standard
//! input ends.
#![allow(clippy::print_stdout)]

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use amr_emulator::{Chain, ClusterOptions, Emulator, Kind, Options, Policy, Store};

const USAGE: &str = "\
amr-emulator [--life SECONDS] [--chain rsa|ec|FLAW] [--store redis|builtin|PATH]
             [--policy enterprise|oss] [--ports N] [--cluster N] [--replicas R]
             [--latency MILLISECONDS] [--arm FAULT]... [--identity NAME]

Entra ID and Azure Managed Redis on loopback. Prints what to export, then serves until its
standard input ends. Faults are lines like `token#2 status 503 retry-after 7`; more can be sent
to $AMR_EMULATOR_CONTROL/arm; $AMR_EMULATOR_CONTROL/counters tells what was served, and
$AMR_EMULATOR_CONTROL/requests which requests came. An identity is the one that the variables lead to:
secret, certificate, workload-identity, identity-binding, imds, app-service, arc, cloud-shell,
machine-learning, service-fabric.

With the policy oss, two ports or N share the slots of one store, which never move. A cluster is
N primaries of the real redis-server with R replicas each (0, if nothing is said), and a port
before each; $REDIS_PORT is the endpoint, which leads to any of them. Of three primaries or more,
one that is killed is replaced by its replica after two or three seconds. It is open-source
Redis: where Redis Enterprise, which the service runs, does the same in another way, this shows
Redis' way. Commands that the service doesn't know are refused, ASKING excepted: slots move by it.

A flaw is what is wrong with a certificate: expired, not-yet-valid, other-name, other-root,
leaf-as-authority, no-constraints, path-length, name-constraint, client-only.";

fn main() -> ExitCode {
    let mut options = Options::default();
    let mut faults = Vec::new();
    let mut kind = Kind::Secret;
    let (mut primaries, mut replicas) = (None, None);
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().unwrap_or_default();
        match (flag.as_str(), value.as_str()) {
            ("--life", seconds) if seconds.parse::<u64>().is_ok() => {
                options.life = seconds.parse().unwrap_or(options.life);
            }
            ("--chain", name) if Chain::named(name).is_some() => {
                options.chain = Chain::named(name).unwrap_or_default();
            }
            ("--latency", millis) if millis.parse::<u64>().is_ok() => {
                options.latency = Duration::from_millis(millis.parse().unwrap_or_default());
            }
            ("--store", "redis") => options.store = Store::Redis("redis-server".into()),
            ("--store", "builtin") => options.store = Store::Builtin,
            ("--store", path) if !path.is_empty() => options.store = Store::Redis(path.into()),
            ("--policy", "enterprise") => options.policy = Policy::Enterprise,
            ("--policy", "oss") => options.policy = Policy::Oss,
            ("--ports", count) if count.parse().is_ok_and(|count: usize| count >= 2) => {
                options.ports = count.parse().unwrap_or(options.ports);
            }
            ("--cluster", count) if count.parse().is_ok_and(|count: usize| count >= 1) => {
                primaries = count.parse().ok();
            }
            ("--replicas", count) if count.parse::<u8>().is_ok() => replicas = count.parse().ok(),
            ("--identity", name) if Kind::named(name).is_some() => {
                kind = Kind::named(name).unwrap_or(kind);
            }
            ("--arm", line) => faults.push(line.to_owned()),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    options.cluster = match (primaries, replicas) {
        (None, None) => None,
        (Some(primaries), replicas) => {
            let replicas = replicas.unwrap_or_default();
            Some(ClusterOptions { primaries, replicas, ..ClusterOptions::default() })
        }
        (None, Some(_)) => {
            eprintln!("amr-emulator: replicas are of a cluster's primaries: add --cluster N");
            return ExitCode::from(2);
        }
    };
    let emulator = match Emulator::start(&options) {
        Ok(emulator) => emulator,
        Err(error) => {
            eprintln!("amr-emulator: {error}");
            return ExitCode::FAILURE;
        }
    };
    for line in faults {
        if let Err(error) = emulator.arm(&line) {
            eprintln!("amr-emulator: {error}");
            return ExitCode::from(2);
        }
    }
    println!("# keys are kept by {}", emulator.store());
    if let Some(cluster) = emulator.cluster() {
        let ports = cluster.nodes().iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        println!("# nodes at 127.0.0.1: {ports}");
    }
    for (name, value) in emulator.environment_of(kind) {
        println!("export {name}='{value}'");
    }
    let entra = emulator.entra();
    println!("# as a managed identity instead, without AZURE_CLIENT_SECRET:");
    for (name, value) in emulator.managed_environment() {
        println!("# {name}='{value}'");
    }
    println!("# user-assigned: client id {}", entra.user_assigned.client_id);
    println!("# ready");
    // Whoever started us holds the other end; when that goes, so do we.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    ExitCode::SUCCESS
}
