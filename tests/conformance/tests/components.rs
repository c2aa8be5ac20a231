//! Runs the components that people copy in a real wasmtime, against the emulator.
//!
//! `WASMTIME` names the runtime, `WASI_CLI` and `WASI_FUNCTION` the components that were built from
//! `examples/`: `cargo xtask test components` sees to all that.

use std::io::{self, BufRead};
use std::ops::Deref;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use amr_emulator::{Emulator, Options};
use conformance::case::environment;
use conformance::guest::{self, Guest, emulator, far, is_one_flight_each, variable, within};

/// `wasmtime` as the READMEs say, with the managed identity of `emulator`.
fn wasmtime(verb: &str, permissions: &str, emulator: &Emulator) -> Command {
    let mut command = within(600, variable("WASMTIME"));
    command.args([verb, "-S", permissions]);
    for (name, value) in environment(emulator) {
        // The service principal's endpoint is HTTPS, for which wasmtime trusts public roots only.
        if !["AZURE_CLIENT_SECRET", "AZURE_CLIENT_ID", "IDENTITY_ENDPOINT"].contains(&&*name) {
            command.arg("--env").arg(format!("{name}={value}"));
        }
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

const ALL: &str = "inherit-network,allow-ip-name-lookup,http";

#[test]
fn a_component_stays_logged_in_through_three_tokens_and_a_cut() {
    let emulator = emulator(Options { life: 20, ..Options::default() });
    let mut command = wasmtime("run", ALL, &emulator);
    command.args(["--env", "COUNT=300"]).arg(variable("WASI_CLI"));
    let mut guest = Guest::start(&mut command);
    guest.until("logged in again", 3);
    assert_eq!((emulator.counts().connections, emulator.counts().reauths), (1, 3));
    emulator.cut();
    guest.until("disconnected", 1);
    let said = guest.until("logged in with token", 1);
    // It counts on.
    let hits = |line: &str| line.parse::<u32>().ok();
    let before = said.iter().rev().find_map(|line| hits(line)).expect("it has counted");
    let next = loop {
        if let Some(next) = hits(guest.line().expect("it goes on")) {
            break next;
        }
    };
    assert!(next > before, "{before} {next}");
    assert_eq!((emulator.counts().connections, emulator.counts().refused), (2, 0));
}

#[test]
fn a_missing_permission_is_named() {
    let emulator = emulator(Options::default());
    for (permissions, named) in [
        ("allow-ip-name-lookup,http", "run wasmtime with -S inherit-network"),
        ("inherit-network,http", "run wasmtime with -S allow-ip-name-lookup"),
    ] {
        let mut command = wasmtime("run", permissions, &emulator);
        let output = command.arg(variable("WASI_CLI")).output().expect("wasmtime is there");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(named) && !output.status.success(), "{permissions}: {said}");
    }
}

/// A function that is served, with a folder for its cache.
struct Served {
    function: guest::Served,
    folder: tempfile::Folder,
}

impl Deref for Served {
    type Target = guest::Served;

    fn deref(&self) -> &guest::Served {
        &self.function
    }
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
    let mut guest = Guest::start(command.arg(variable("WASI_FUNCTION")));
    let mut said = guest.stderr().expect("it is piped");
    let mut line = String::new();
    said.read_line(&mut line).expect("it is text");
    let address = line.trim().rsplit_once("http://").map(|(_, address)| address.trim_matches('/'));
    let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
    // Nobody reads on; but it must be able to write.
    std::thread::spawn(move || io::copy(&mut said, &mut io::stderr()));
    Served { function: guest::Served { address, emulator, guest }, folder }
}

impl Served {
    /// Waits until an instance has saved its token.
    fn until_saved(&self) {
        let start = Instant::now();
        while !self.folder.0.join("token").exists() {
            assert!(start.elapsed() < Duration::from_secs(60), "nothing was saved");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
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
        assert_eq!(counts.connections, 1050, "one for a request");
        assert!(is_one_flight_each(&counts), "{counts:?}");
    }
}

#[test]
fn a_function_without_a_snapshot_asks_for_each_instance() {
    let served = serve("none", far(), 1, false);
    served.hits(20);
    let counts = served.cost("fresh instances, without the snapshot");
    assert_eq!((counts.token_requests, counts.connections), (20, 20));
    assert!(is_one_flight_each(&counts), "{counts:?}");
    // In memory, it is kept as long as the instance is.
    let served = serve("memory", far(), 100, false);
    served.hits(50);
    let counts = served.cost("reused instances, without the snapshot");
    // The next request may come before the instance is free again: then it goes to a second one.
    // And one that nobody wants for a second is let go.
    assert!(counts.token_requests < 25 && counts.connections == 50, "{counts:?}");
}

#[test]
fn a_function_has_the_next_token_before_the_last_one_ends() {
    let served = serve("short", Options { life: 16, ..far() }, 1, true);
    let (start, length) = (Instant::now(), Duration::from_secs(35));
    while start.elapsed() < length {
        served.hit().expect("each is answered");
    }
    let counts = served.cost("tokens of 16 s, for 35 s");
    // Three lives, or four; and who comes while a token is fetched may fetch one too. All others use
    // what there is.
    assert!((3..=counts.commands / 4).contains(&counts.token_requests), "{counts:?}");
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
