//! Runs every case with every subject, and with every store that there is.
//!
//! `REDIS_SERVERS` names `redis-server` programs, with colons between them; without it, the one
//! in the path is used. `WASMTIME` names the runtime of the WASI host and `WASI_GUEST` the component
//! from `tests/wasi`; `NODE` and `DENO` those of the JavaScript host and `JS_SUBJECT` its program, in a
//! folder where the npm package is installed, `JS_PROJECT`; `WORKERD` and `ESBUILD` what a Worker takes.
//! With `EVERY_STORE`, all cases run on all servers, and not just some on those behind the first.
//! `FIRMWARE` is the one from `tests/firmware`, for a board in QEMU. Without these such a host isn't run
//! here. `ONLY_HOSTS` and `ONLY_CASES` are names with commas between them.

mod child;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use amr_emulator::Store;
use child::{Child, firmware, javascript, wasi};
use conformance::byo::{self, Loops};
use conformance::case::{Case, environment};
use conformance::client::{self, Clients};
use conformance::device;

/// A host under test.
struct Host {
    name: &'static str,
    /// What it can't do, in the words of the cases.
    lacks: &'static [&'static str],
}

/// Whether there is what runs a host.
fn is_there(host: &Host) -> bool {
    match host.name {
        "wasi" => wasi().is_some(),
        "node" | "deno" => javascript(host.name).is_some(),
        "workerd" => std::env::var_os("WORKERD").is_some(),
        "qemu" => firmware().is_some(),
        _ => true,
    }
}

/// Whether only this one is to be run, or all.
fn is_asked_for(variable: &str, name: &str) -> bool {
    let only = std::env::var(variable).unwrap_or_default();
    only.is_empty() || only.split(',').any(|one| one == name)
}

const HOSTS: &[Host] = &[
    Host { name: "std", lacks: &["lingering", "records"] },
    Host { name: "std-child", lacks: &["lingering", "records"] },
    Host { name: "byo-loop", lacks: byo::LACKS },
    // wasmtime's HTTPS trusts public roots only.
    Host { name: "wasi", lacks: &["principal", "records"] },
    Host { name: "node", lacks: &["lingering", "records"] },
    Host { name: "deno", lacks: &["lingering", "records"] },
    // A handshake that fails is told apart from a server that isn't there in the runtime's log only; and
    // many megabytes take it a minute. It doesn't say what a name is resolved to.
    Host { name: "workerd", lacks: &["large", "lingering", "peer", "records", "tls-reason"] },
    Host { name: "embassy", lacks: device::LACKS },
    Host { name: "qemu", lacks: device::LACKS },
];

/// What one server may do otherwise than another: for the others these cases stand for all.
const ON_EVERY_SERVER: [&str; 5] =
    ["exec-refused", "login-resp3", "pubsub-resp3", "reauth", "transaction"];

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("there are cases")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| Case::read(path).unwrap_or_else(|error| panic!("{error}"))).collect()
}

/// The stores to run with: their names, and whether they are real servers.
fn stores() -> Vec<(String, Store, bool)> {
    let servers = std::env::var("REDIS_SERVERS").unwrap_or_default();
    let mut stores: Vec<_> = servers
        .split(':')
        .filter(|path| !path.is_empty())
        .map(|path| (path.to_owned(), Store::Redis(path.into()), true))
        .collect();
    if stores.is_empty() {
        stores.push(("redis-server".to_owned(), Store::Redis("redis-server".into()), true));
    }
    stores.push(("built-in".to_owned(), Store::Builtin, false));
    stores
}

/// What of `needs` is missing.
fn lacks<'c>(case: &'c Case, host: &Host, real: bool) -> Option<&'c str> {
    let has = |need: &&String| match need.as_str() {
        "redis" => real,
        // An emulated board does some hundreds of commands in a second, others thousands.
        "quick" => host.name != "qemu",
        need => client::HAS.contains(&need) && !host.lacks.contains(&need),
    };
    case.needs.iter().find(|need| !has(need)).map(String::as_str)
}

async fn run(case: &Case, host: &Host, store: &Store) -> Result<(), String> {
    let emulator = case.emulator(store)?;
    let environment = environment(&emulator);
    match host.name {
        "std" => case.run(&emulator, &mut Clients::new(environment)).await,
        "std-child" => case.run(&emulator, &mut Child::std(&environment)).await,
        "wasi" => case.run(&emulator, &mut Child::wasi(&environment)).await,
        host @ ("node" | "deno") => {
            case.run(&emulator, &mut Child::javascript(host, &environment)).await
        }
        "workerd" => case.run(&emulator, &mut Child::worker(&case.name, &emulator).await).await,
        "qemu" => case.run(&emulator, &mut Child::qemu(&environment).await).await,
        "embassy" => case.run(&emulator, &mut Child::embassy(&environment).await).await,
        _ => {
            let mut program = PathBuf::from(env!("CARGO_BIN_EXE_subject-std"));
            program.set_file_name("byo-loop");
            case.run(&emulator, &mut Loops::new(program, environment)).await
        }
    }
}

#[test]
fn every_subject_passes_the_cases_that_it_has_the_means_for() {
    let cases = cases();
    let stores = stores();
    // The most of the time they wait: so many at once. A board is busy.
    let at_once = if firmware().is_some() { 8 } else { 12 };
    let mut jobs = VecDeque::new();
    // Some keep a machine busy as long as they last: not the same with all hosts at once.
    for host in HOSTS {
        for (index, (name, store, real)) in stores.iter().enumerate() {
            for case in &cases {
                // One store is enough for the subjects that only prove the mechanism.
                let once = index > 0
                    && (host.name != "std"
                        || *real
                            && std::env::var_os("EVERY_STORE").is_none()
                            && !ON_EVERY_SERVER.contains(&case.name.as_str()));
                let asked =
                    is_asked_for("ONLY_HOSTS", host.name) && is_asked_for("ONLY_CASES", &case.name);
                if !is_there(host) || !asked {
                    continue;
                }
                if lacks(case, host, *real).is_none() && !once {
                    jobs.push_back((case, host, name, store));
                }
            }
        }
    }
    let total = jobs.len();
    let few = std::env::var_os("ONLY_CASES").is_some();
    assert!(total > 20 || few, "only {total} runs");
    let jobs = Mutex::new(jobs);
    let failures = Mutex::new(String::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                let next = || jobs.lock().expect("nobody panics with it").pop_front();
                while let Some((case, host, store_name, store)) = next() {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .expect("a runtime");
                    if let Err(error) = runtime.block_on(run(case, host, store)) {
                        let mut failures = failures.lock().expect("nobody panics with it");
                        let case = &case.name;
                        let _ = writeln!(
                            failures,
                            "{case} on {} with {store_name}:\n{error}\n",
                            host.name
                        );
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("nobody panics with it");
    assert!(failures.is_empty(), "\n{failures}");
    // The harness may be in the middle of a line.
    println!("\n{total} runs of {} cases", cases.len());
}

#[test]
fn the_matrix_of_hosts_and_cases_is_the_one_that_is_committed() {
    let mut matrix = String::from("# Which host runs which case; else what it lacks.\n");
    for case in cases() {
        let _ = write!(matrix, "{}:", case.name);
        for host in HOSTS {
            match lacks(&case, host, true) {
                None => _ = write!(matrix, " {}", host.name),
                Some(need) => _ = write!(matrix, " {}(-{need})", host.name),
            }
        }
        matrix.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("matrix.txt");
    if std::env::var_os("UPDATE_MATRIX").is_some() {
        std::fs::write(&path, &matrix).expect("it can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(matrix == committed, "UPDATE_MATRIX=1 writes matrix.txt anew:\n{matrix}");
}
