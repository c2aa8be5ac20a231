//! Runs the components that people copy in a real wasmtime, against the emulator.
//!
//! `WASMTIME` names the runtime, `WASI_CLI` and `WASI_FUNCTION` the components that were built from
//! `examples/`: `cargo xtask test components` sees to all that.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use amr_emulator::{Counts, Emulator, Options};
use conformance::case::environment;

/// No guest runs longer.
const LIMIT: &str = "120";

fn emulator(options: Options) -> Emulator {
    Emulator::start(&options).expect("the emulator starts")
}

fn variable(name: &str) -> PathBuf {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: see the top")).into()
}

/// `wasmtime` as the READMEs say, with the managed identity of `emulator`.
fn wasmtime(verb: &str, permissions: &str, emulator: &Emulator) -> Command {
    let mut command = Command::new("timeout");
    command.arg(LIMIT).arg(variable("WASMTIME")).args([verb, "-S", permissions]);
    for (name, value) in environment(emulator) {
        // The service principal's endpoint is HTTPS, for which wasmtime trusts public roots only.
        if !["AZURE_CLIENT_SECRET", "AZURE_CLIENT_ID", "IDENTITY_ENDPOINT"].contains(&&*name) {
            command.arg("--env").arg(format!("{name}={value}"));
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What is left running is killed.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // Through `timeout`, which passes it on.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

const ALL: &str = "inherit-network,allow-ip-name-lookup,http";

#[test]
fn a_component_stays_logged_in_through_three_tokens_and_a_cut() {
    let emulator = emulator(Options { life: 10, ..Options::default() });
    let mut command = wasmtime("run", ALL, &emulator);
    command.args(["--env", "COUNT=60"]).arg(variable("WASI_CLI"));
    let mut guest = Guest(command.spawn().expect("wasmtime is there"));
    let mut lines = BufReader::new(guest.0.stdout.take().expect("it is piped")).lines();
    let mut said = Vec::new();
    let mut until = |what: &str, times: usize| {
        let mut seen = 0;
        while seen < times {
            let line = lines.next().unwrap_or_else(|| panic!("no {what}: {said:#?}"));
            let line = line.expect("it is text");
            seen += usize::from(line.contains(what));
            said.push(line);
        }
    };
    until("logged in again", 3);
    assert_eq!((emulator.counts().connections, emulator.counts().reauths), (1, 3));
    emulator.cut();
    until("disconnected", 1);
    until("logged in with token", 1);
    // It counts on.
    let hits = |line: &str| line.parse::<u32>().ok();
    let before = said.iter().rev().find_map(|line| hits(line));
    let next = lines.find_map(|line| hits(&line.ok()?));
    assert!(next > before, "{before:?} {next:?}");
    assert_eq!((emulator.counts().connections, emulator.counts().refused), (2, 0));
}

#[test]
fn a_missing_permission_is_named() {
    let emulator = emulator(Options::default());
    for (permissions, named) in [
        ("allow-ip-name-lookup,http", "wasmtime wants -S inherit-network"),
        ("inherit-network,http", "wasmtime wants -S allow-ip-name-lookup"),
    ] {
        let mut command = wasmtime("run", permissions, &emulator);
        let output = command.arg(variable("WASI_CLI")).output().expect("wasmtime is there");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(named) && !output.status.success(), "{permissions}: {said}");
    }
}

/// A function that is served.
struct Served {
    _guest: Guest,
    address: String,
    emulator: Emulator,
    folder: tempfile::Folder,
}

/// A folder that goes with its test.
mod tempfile {
    use std::path::PathBuf;

    pub(super) struct Folder(pub(super) PathBuf);

    impl Folder {
        pub(super) fn new(name: &str) -> Self {
            let unique = format!("redis-entraid-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(unique);
            std::fs::create_dir_all(&folder).expect("it can be made");
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Serves the function from `instances` that are used so often, with a folder for its cache or
/// without.
fn serve(name: &str, options: Options, instances: u32, cached: bool) -> Served {
    let (emulator, folder) = (emulator(options), tempfile::Folder::new(name));
    let mut command = wasmtime("serve", "cli,http,inherit-network,allow-ip-name-lookup", &emulator);
    command.args(["--addr", "127.0.0.1:0", "--max-instance-reuse-count", &instances.to_string()]);
    if cached {
        let key = "00112233445566778899aabbccddeeff".repeat(2);
        command.arg("--env").arg(format!("CACHE_KEY={key}"));
        command.arg("--dir").arg(format!("{}::/cache", folder.0.display()));
    }
    let mut child = command.arg(variable("WASI_FUNCTION")).spawn().expect("wasmtime is there");
    let mut said = BufReader::new(child.stderr.take().expect("it is piped"));
    let guest = Guest(child);
    let mut line = String::new();
    said.read_line(&mut line).expect("it is text");
    let address = line.trim().rsplit_once("http://").map(|(_, address)| address.trim_matches('/'));
    let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
    // Nobody reads on; but it must be able to write.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::stderr()));
    Served { _guest: guest, address, emulator, folder }
}

impl Served {
    /// Sends a request. Answers with the number of hits.
    fn hit(&self) -> Result<u64, String> {
        let request = || {
            let mut stream = TcpStream::connect(&self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = request().map_err(|error| error.to_string())?;
        // The body may come in chunks.
        let hits = answer.split_once(" hits").and_then(|(before, _)| {
            before.rsplit_once('\n').and_then(|(_, hits)| hits.parse().ok())
        });
        hits.filter(|_| answer.starts_with("HTTP/1.1 200")).ok_or(answer)
    }

    /// Waits until an instance has saved its token.
    fn until_saved(&self) {
        let start = Instant::now();
        while !self.folder.0.join("token").exists() {
            assert!(start.elapsed() < Duration::from_secs(10), "nothing was saved");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends so many requests, one after the other, and sees that each is counted.
    fn hits(&self, count: u64) {
        let before = self.emulator.counts().commands;
        for number in 1..=count {
            assert_eq!(self.hit(), Ok(before + number));
        }
    }

    /// Sends so many requests at once.
    fn at_once(&self, count: usize) {
        let (done, answers) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..count {
                let done = done.clone();
                scope.spawn(move || done.send(self.hit()));
            }
        });
        drop(done);
        let mut hits: Vec<u64> = answers.iter().map(|hit| hit.expect("each is answered")).collect();
        hits.sort_unstable();
        hits.dedup();
        assert_eq!(hits.len(), count, "each has its own number");
    }

    /// Shows and answers with what that cost.
    fn cost(&self, what: &str) -> Counts {
        let counts = self.emulator.counts();
        let Counts { commands, token_requests, connections, rounds, .. } = counts;
        println!(
            "\n{what}: {commands} requests, {token_requests} token requests, {connections} connections, \
            {rounds} round trips"
        );
        counts
    }
}

/// With some latency, so that a round trip is one.
fn far() -> Options {
    Options { latency: Duration::from_millis(20), ..Options::default() }
}

#[test]
fn a_function_with_a_snapshot_asks_for_a_token_once_in_its_life() {
    for (name, instances) in [("fresh", 1), ("reused", 100)] {
        let served = serve(name, far(), instances, true);
        served.hits(1);
        // It answers before it saves.
        served.until_saved();
        served.hits(999);
        served.at_once(50);
        let counts = served.cost(&format!("{name} instances, with the snapshot"));
        assert_eq!((counts.token_requests, counts.refused), (1, 0));
        assert_eq!((counts.connections, counts.rounds), (1050, 1050), "one of each for a request");
    }
}

#[test]
fn a_function_without_a_snapshot_asks_for_each_instance() {
    let served = serve("none", far(), 1, false);
    served.hits(20);
    let counts = served.cost("fresh instances, without the snapshot");
    assert_eq!((counts.token_requests, counts.connections, counts.rounds), (20, 20, 20));
    // In memory, it is kept as long as the instance is.
    let served = serve("memory", far(), 100, false);
    served.hits(50);
    let counts = served.cost("reused instances, without the snapshot");
    // The next request may come before the instance is free again: then it goes to a second one.
    assert!(counts.token_requests < 5 && counts.connections == 50, "{counts:?}");
}

#[test]
fn a_function_has_the_next_token_before_the_last_one_ends() {
    let served = serve("short", Options { life: 10, ..far() }, 1, true);
    let (start, length) = (Instant::now(), Duration::from_secs(25));
    while start.elapsed() < length {
        served.hit().expect("each is answered");
    }
    let counts = served.cost("tokens of 10 s, for 25 s");
    // Four lives; and who comes while a token is fetched may fetch one too.
    assert!((3..=10).contains(&counts.token_requests), "{counts:?}");
    assert_eq!((counts.refused, counts.expired), (0, 0));
}

#[test]
fn a_refused_token_makes_for_a_fresh_one_and_one_more_try() {
    let served = serve("refused", far(), 1, true);
    served.hits(1);
    served.until_saved();
    served.hits(1);
    served.emulator.arm("auth#3 wrongpass").expect("it is a fault");
    served.hits(2);
    let counts = served.cost("the kept token refused once");
    assert_eq!((counts.token_requests, counts.refused, counts.connections), (2, 1, 5));
}

#[test]
fn a_token_that_was_fetched_is_kept_although_the_request_fails() {
    let served = serve("outage", far(), 1, true);
    served.emulator.arm("connect#* cut").expect("it is a fault");
    for _ in 0..2 {
        let said = served.hit().expect_err("there is no server");
        assert!(said.starts_with("HTTP/1.1 503"), "{said}");
        served.until_saved();
    }
    let counts = served.cost("no server");
    assert_eq!((counts.token_requests, counts.logins), (1, 0));
    served.emulator.disarm();
    served.hits(1);
    assert_eq!(served.emulator.counts().token_requests, 1);
}
