//! Runs every case with every subject, and with every store that there is.
//!
//! `REDIS_SERVERS` names `redis-server` programs, with colons between them; without it, the one
//! in the path is used. `WASMTIME` names the runtime of the WASI host and `WASI_GUEST` the component
//! from `tests/wasi`; `NODE` and `DENO` those of the JavaScript host and `JS_SUBJECT` its program, in a
//! folder where the npm package is installed. Without these such a host isn't run here.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;

use amr_emulator::Store;
use conformance::byo::{self, Loops};
use conformance::case::{Case, environment};
use conformance::client::{self, Clients, Environment};
use conformance::{Options, Subject};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// A host in a process of its own.
struct Child {
    process: tokio::process::Child,
}

impl Child {
    /// The tokio host.
    fn std(environment: &Environment) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_subject-std"));
        Self::start(command.envs(environment))
    }

    /// The WASI host.
    fn wasi(environment: &Environment) -> Self {
        let (wasmtime, guest) = wasi().expect("only run where there is one");
        let mut command = Command::new(wasmtime);
        command.args(["run", "-S", "inherit-network,allow-ip-name-lookup,http"]);
        for (name, value) in environment {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        Self::start(command.arg(guest))
    }

    /// The JavaScript host, in Node or Deno.
    fn javascript(host: &str, environment: &Environment) -> Self {
        let (program, subject) = javascript(host).expect("only run where there is one");
        let mut command = Command::new(program);
        if host == "deno" {
            command.args(["run", "--quiet", "--allow-net", "--allow-env"]);
        }
        command.arg(subject).envs(environment);
        // For `fetch`.
        let root = environment.get("SSL_CERT_FILE").expect("there is a root");
        Self::start(command.env("NODE_EXTRA_CA_CERTS", root).env("DENO_CERT", root))
    }

    fn start(command: &mut Command) -> Self {
        let process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the subject is there");
        Self { process }
    }

    async fn line(&mut self, line: &str, answer: &mut dyn std::fmt::Write) -> std::fmt::Result {
        let stdin = self.process.stdin.as_mut().expect("it is piped");
        stdin.write_all(format!("{line}\n").as_bytes()).await.expect("it listens");
        let mut said = String::new();
        let stdout = self.process.stdout.as_mut().expect("it is piped");
        BufReader::with_capacity(1, stdout).read_line(&mut said).await.expect("it answers");
        answer.write_str(said.trim_end())
    }
}

impl Subject for Child {
    async fn connect(
        &mut self,
        name: &str,
        options: Options<'_>,
        answer: &mut dyn std::fmt::Write,
    ) -> std::fmt::Result {
        self.line(&format!("connect {name} {}", options.as_str()), answer).await
    }

    async fn send(
        &mut self,
        name: &str,
        commands: &str,
        answer: &mut dyn std::fmt::Write,
    ) -> std::fmt::Result {
        self.line(&format!("send {name} {commands}"), answer).await
    }

    async fn wait(
        &mut self,
        name: &str,
        what: &str,
        count: u32,
        patience: std::time::Duration,
        answer: &mut dyn std::fmt::Write,
    ) -> std::fmt::Result {
        let seconds = patience.as_secs();
        self.line(&format!("wait {name} {what} {count} {seconds}s"), answer).await
    }

    async fn close(&mut self, name: &str, answer: &mut dyn std::fmt::Write) -> std::fmt::Result {
        self.line(&format!("close {name}"), answer).await
    }

    async fn begin(
        &mut self,
        name: &str,
        command: &str,
        answer: &mut dyn std::fmt::Write,
    ) -> std::fmt::Result {
        self.line(&format!("begin {name} {command}"), answer).await
    }

    async fn end(&mut self, name: &str, answer: &mut dyn std::fmt::Write) -> std::fmt::Result {
        self.line(&format!("end {name}"), answer).await
    }

    async fn subscribe(
        &mut self,
        name: &str,
        channel: &str,
        options: Options<'_>,
        answer: &mut dyn std::fmt::Write,
    ) -> std::fmt::Result {
        let options = options.as_str();
        self.line(&format!("subscribe {name} {channel} {options}"), answer).await
    }

    async fn hear(&mut self, name: &str, answer: &mut dyn std::fmt::Write) -> std::fmt::Result {
        self.line(&format!("hear {name}"), answer).await
    }
}

/// A host under test, and how to start it.
struct Host {
    name: &'static str,
    has: &'static [&'static str],
}

/// What the WASI host can do.
const WASI: &[&str] =
    &["begin", "idle", "long-lived", "resp2", "resp3", "sources", "subscribe", "tls", "types"];

/// The runtime and the component, if this is to run them.
fn wasi() -> Option<(OsString, OsString)> {
    std::env::var_os("WASMTIME").zip(std::env::var_os("WASI_GUEST"))
}

/// What the JavaScript host can do.
const JAVASCRIPT: &[&str] =
    &["begin", "idle", "long-lived", "principal", "resp2", "resp3", "sources", "tls", "types"];

/// The runtime and the program of a JavaScript host, if this is to run them.
fn javascript(host: &str) -> Option<(OsString, OsString)> {
    std::env::var_os(host.to_uppercase()).zip(std::env::var_os("JS_SUBJECT"))
}

/// Whether there is what runs a host.
fn is_there(host: &Host) -> bool {
    match host.name {
        "wasi" => wasi().is_some(),
        "node" | "deno" => javascript(host.name).is_some(),
        _ => true,
    }
}

/// Whether only this host is to be run, or all.
fn is_asked_for(host: &Host) -> bool {
    let only = std::env::var("ONLY_HOSTS").unwrap_or_default();
    only.is_empty() || only.split(',').any(|name| name == host.name)
}

const HOSTS: &[Host] = &[
    Host { name: "std", has: client::HAS },
    Host { name: "std-child", has: client::HAS },
    Host { name: "byo-loop", has: byo::HAS },
    Host { name: "wasi", has: WASI },
    Host { name: "node", has: JAVASCRIPT },
    Host { name: "deno", has: JAVASCRIPT },
];

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
    let has = |need: &&String| (real && *need == "redis") || host.has.contains(&need.as_str());
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
    // The most of the time they wait: so many at once.
    let mut jobs = VecDeque::new();
    for case in &cases {
        for host in HOSTS {
            for (index, (name, store, real)) in stores.iter().enumerate() {
                // One store is enough for the subjects that only prove the mechanism.
                let once = host.name != "std" && index > 0;
                if !is_there(host) || !is_asked_for(host) {
                    continue;
                }
                if lacks(case, host, *real).is_none() && !once {
                    jobs.push_back((case, host, name, store));
                }
            }
        }
    }
    let total = jobs.len();
    assert!(total > 20, "only {total} runs");
    let jobs = Mutex::new(jobs);
    let failures = Mutex::new(String::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
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
