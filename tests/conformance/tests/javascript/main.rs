//! Runs the npm package in real Node, Deno and workerd, against the emulator.
//!
//! `cargo xtask test javascript` builds and installs it, and names what runs it: `NODE`, `DENO`,
//! `WORKERD` and `ESBUILD`, and `JS_PROJECT`, the folder where the package is installed.

mod identities;
mod workers;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use amr_emulator::{Captured, Counts, Emulator, Options, Store};
use conformance::case::{certificate, environment};
use conformance::guest::{Guest, emulator, variable, within};
use leaks::Secrets;

fn real() -> Options {
    Options { store: Store::Redis("redis-server".into()), ..Options::default() }
}

/// `program` in Node or Deno, with the identities of `emulator`.
fn javascript(host: &str, program: &str, emulator: &Emulator) -> Command {
    let mut command = within(400, variable(&host.to_uppercase()));
    if host == "deno" {
        // What it writes is in the folder of the project.
        let allowed = ["--allow-net", "--allow-env", "--allow-read", "--allow-write=."];
        command.args(["run", "--quiet"]).args(allowed);
    }
    command.current_dir(variable("JS_PROJECT")).arg(program).envs(environment(emulator));
    // For `fetch`.
    let root = emulator.root_file();
    command.env("NODE_EXTRA_CA_CERTS", &root).env("DENO_CERT", &root);
    command.stdout(Stdio::piped());
    command
}

/// What a program says, in which no secret of `emulator` may be.
fn output(command: &mut Command, emulator: &Emulator) -> String {
    ended(command, emulator).0
}

/// The same, and how long it took to end after its last line.
fn ended(command: &mut Command, emulator: &Emulator) -> (String, Duration) {
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it is there");
    let mut stderr = child.stderr.take().expect("it is piped");
    let problems = std::thread::spawn(move || {
        let mut problems = Vec::new();
        stderr.read_to_end(&mut problems).map(|_| problems)
    });
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let (mut said, mut last) = (Vec::new(), Instant::now());
    while stdout.read_until(b'\n', &mut said).expect("it can be read") > 0 {
        last = Instant::now();
    }
    let status = child.wait().expect("it ends");
    let took = last.elapsed();
    let problems = problems.join().expect("it reads").expect("it can be read");
    let [said, problems] = [said, problems].map(|text| String::from_utf8_lossy(&text).into_owned());
    let secrets = secrets(emulator);
    for text in [&said, &problems] {
        assert_eq!(secrets.found_in(text), None, "no secret is shown");
    }
    assert!(status.success(), "{said}\n{problems}");
    (said, took)
}

/// All of them that `emulator` has, and what was sent to it as a proof.
fn secrets(emulator: &Emulator) -> Secrets {
    let mut secrets = Secrets::default();
    emulator.tokens().iter().for_each(|token| secrets.add(token));
    secrets.add(&emulator.entra().secret);
    secrets.add(&emulator.entra().identity_header);
    secrets.add(&emulator.entra().federated_token());
    let pem = certificate(emulator);
    let (_, key) = pem.split_once("-----BEGIN PRIVATE KEY-----").expect("there is a key");
    let (key, _) = key.split_once("-----END").expect("it ends");
    // The last line may be short.
    key.lines().filter(|line| line.len() > 30).for_each(|line| secrets.add(line));
    for (name, value) in emulator.requests().iter().flat_map(Captured::form) {
        if name == "client_assertion" {
            secrets.add(&value);
        }
    }
    secrets
}

#[test]
fn node_and_deno_have_the_basics() {
    for host in ["node", "deno"] {
        let emulator = emulator(real());
        let said = output(&mut javascript(host, "basics.mjs", &emulator), &emulator);
        println!("{said}");
        assert!(said.ends_with("done\n"), "{said}");
    }
}

#[test]
fn node_and_deno_hear_what_is_published() {
    for host in ["node", "deno"] {
        let emulator = emulator(real());
        let mut command = javascript(host, "pubsub.mjs", &emulator);
        command.env("NODE_OPTIONS", "--expose-gc").env("DENO_V8_FLAGS", "--expose-gc");
        let said = output(&mut command, &emulator);
        assert!(said.ends_with("done\n"), "{said}");
    }
}

#[test]
fn node_and_deno_fall_into_no_trap() {
    for host in ["node", "deno"] {
        let emulator = emulator(real());
        let mut command = javascript(host, "traps.mjs", &emulator);
        command.env("NODE_OPTIONS", "--expose-gc").env("DENO_V8_FLAGS", "--expose-gc");
        let said = output(&mut command, &emulator);
        println!("{said}");
        assert!(said.ends_with("done\n"), "{said}");
    }
}

#[test]
fn a_process_lives_as_long_as_its_work() {
    std::thread::scope(|scope| {
        for host in ["node", "deno"] {
            for mode in [
                "waits-for-a-token",
                "leaves-a-manager",
                "leaves-a-provider",
                "leaves-a-provider-that-waits",
                "closes-a-client",
                "destroys-a-client",
                "closes-a-subscriber",
                "closes-at-once",
            ] {
                scope.spawn(move || {
                    let emulator = emulator(Options::default());
                    let fault = match mode {
                        "waits-for-a-token" => Some("token#1 status 503"),
                        "leaves-a-provider-that-waits" => Some("token#* status 503"),
                        _ => None,
                    };
                    if let Some(fault) = fault {
                        emulator.arm(fault).expect("it is a fault");
                    }
                    let mut command = javascript(host, "exits.mjs", &emulator);
                    let (said, took) = ended(command.env("MODE", mode), &emulator);
                    assert_eq!(said, "done\n", "{host} {mode}");
                    // What lingers for 10 s, or until the next token, doesn't keep it.
                    assert!(took < Duration::from_secs(9), "{host} {mode}: {took:?}");
                });
            }
        }
    });
}

#[test]
fn no_secret_is_shown() {
    for host in ["node", "deno"] {
        let emulator = emulator(real());
        let said = output(&mut javascript(host, "leaks.mjs", &emulator), &emulator);
        assert!(said.contains("\ndone\n"), "{said}");
        let lines = said.lines().count();
        assert!(lines > 200, "only {lines} lines were looked at");
        assert!(emulator.tokens().len() > 5, "there were tokens to be shown");
    }
}

#[test]
fn the_examples_stay_logged_in_through_three_tokens_and_a_cut() {
    let stays = |host, program| {
        let emulator = emulator(Options { life: 20, ..Options::default() });
        let mut command = javascript(host, program, &emulator);
        let mut guest = Guest::start(command.env("COUNT", "300"));
        guest.until("logged in again", 3);
        assert_eq!((emulator.counts().connections, emulator.counts().reauths), (1, 3));
        emulator.cut();
        guest.until("disconnected", 1);
        guest.until("logged in with token", 1);
        assert_eq!((emulator.counts().connections, emulator.counts().refused), (2, 0));
    };
    std::thread::scope(|scope| {
        scope.spawn(|| stays("node", "examples/node/counter.mjs"));
        scope.spawn(|| stays("deno", "examples/deno/counter.ts"));
    });
}

#[test]
fn the_first_command_goes_in_the_flight_of_the_login() {
    for host in ["node", "deno"] {
        // So far that who stops in the middle of a flight is not taken for one that waits.
        let emulator = emulator(Options { latency: Duration::from_secs(2), ..Options::default() });
        output(&mut javascript(host, "first.mjs", &emulator), &emulator);
        let Counts { rounds, connections, commands, .. } = emulator.counts();
        assert_eq!((rounds, connections), (1, 1), "{host}: {commands} commands");
    }
}

#[test]
fn when_the_module_fails_who_waits_hears_so_and_who_comes_later() {
    let emulator = emulator(real());
    let said = output(&mut javascript("node", "trap.mjs", &emulator), &emulator);
    assert!(said.ends_with("done\n") && !said.contains("NOT OK"), "{said}");
    assert_eq!(said.matches("ok ").count(), 4, "{said}");
}

#[test]
fn node_redis_gets_started_on_the_small_store() {
    let emulator = emulator(Options { store: Store::Builtin, ..Options::default() });
    let (user, token) = emulator.entra().login();
    let mut command = javascript("node", "getting-started.mjs", &emulator);
    command.env("REDIS_USER", user).env("REDIS_TOKEN", token);
    assert_eq!(output(&mut command, &emulator), "done\n");
}

/// What a program with node-redis came to.
struct Ran {
    /// Its own last line.
    said: String,
    /// Whether it ended by itself.
    exits: bool,
    counts: Counts,
}

impl Ran {
    /// The number that it gave as `name`, if it lived that long.
    fn number(&self, name: &str) -> Option<f64> {
        let mut words = self.said.split_whitespace();
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }

    fn is_alive(&self) -> bool {
        self.number("alive") == Some(1.0)
    }

    /// A line of the table.
    fn row(&self, provider: &str, outage: bool) -> String {
        let Counts { token_requests, logins, reauths, refused, expired, connections, .. } =
            self.counts;
        let number = |name| self.number(name).map_or("?".to_owned(), |number| number.to_string());
        format!(
            "{provider:17} {:9} {token_requests:>6} {:>6} {logins:>6} {reauths:>7} {refused:>7} \
            {expired:>7} {connections:>11} {:>8} {:>6} {:>6} {:9} {}",
            if outage { "for 30 s" } else { "never" },
            logins + reauths + refused,
            number("commands"),
            number("failed"),
            number("gap"),
            if self.is_alive() { "yes" } else { "no" },
            if self.exits { "yes" } else { "no" },
        )
    }
}

/// node-redis with tokens of 10 s, whose endpoint is down for 30 s, or never.
fn node_redis(provider: &str, outage: bool) -> Ran {
    let emulator = emulator(Options { life: 10, ..Options::default() });
    let seconds = if outage { "60" } else { "32" };
    let mut command = javascript("node", "node-redis.mjs", &emulator);
    // Some credentials look there first.
    ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_AUTHORITY_HOST"]
        .iter()
        .for_each(|name| _ = command.env_remove(name));
    let mut guest = Guest::start(command.env("PROVIDER", provider).env("SECONDS", seconds));
    // A busy machine may take long to get there.
    guest.until("connected", 1);
    if outage {
        std::thread::sleep(Duration::from_secs(12));
        emulator.arm("token#* status 503").expect("it is a fault");
        std::thread::sleep(Duration::from_secs(30));
        emulator.disarm();
    }
    let said = guest.line().unwrap_or_default().to_owned();
    // It has closed its client: nothing keeps it.
    let exits = guest.ends_within(Duration::from_secs(5));
    Ran { said, exits, counts: emulator.counts() }
}

#[test]
fn node_redis_stays_logged_in_with_our_provider_and_is_compared_with_the_official_one() {
    let (ours, theirs) = ("redis-entraid-js", "@redis/entraid");
    let runs = [(ours, false), (theirs, false), (ours, true), (theirs, true)];
    let ran = std::thread::scope(|scope| {
        runs.map(|(provider, outage)| scope.spawn(move || node_redis(provider, outage)))
            .map(|run| run.join().expect("it ran"))
    });
    println!(
        "\nnode-redis, tokens of 10 s, ten commands a second, with and without an outage of the token \
        endpoint\nprovider          outage    tokens  AUTHs logins reauths refused expired connections \
        commands failed  gap/s recovered exits"
    );
    for ((provider, outage), ran) in runs.iter().zip(&ran) {
        println!("{}", ran.row(provider, *outage));
    }
    // Their numbers are for people: they are what they are, and not what they have to be.
    let [steady, steady_theirs, after, after_theirs] = ran;
    assert!(steady.counts.reauths >= 3 && steady.counts.connections == 1, "{:?}", steady.counts);
    assert_eq!((steady.counts.refused, steady.counts.expired), (0, 0));
    assert!(steady.number("failed") == Some(0.0) && steady.is_alive(), "{}", steady.said);
    assert!(steady.exits && after.exits, "nothing keeps the process");
    assert!(after.is_alive() && after.counts.logins >= 2, "{} {:?}", after.said, after.counts);
    assert!(steady_theirs.counts.token_requests > 0 && after_theirs.counts.token_requests > 0);
}

#[test]
fn metadata_is_asked_for_without_the_proxy_of_the_environment() {
    for host in ["node", "deno"] {
        let emulator = emulator(Options::default());
        // Whoever asks it gets nothing.
        let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let address = format!("http://{}", proxy.local_addr().expect("it has one"));
        let mut command = javascript(host, "proxy.mjs", &emulator);
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
            command.env(name, &address);
        }
        command.env("NODE_USE_ENV_PROXY", "1").env_remove("NO_PROXY").env_remove("no_proxy");
        let said = output(&mut command, &emulator);
        assert!(said.ends_with("done\n"), "{host}: {said}");
        assert_eq!(emulator.counts().token_requests, 2, "{host}");
        proxy.set_nonblocking(true).expect("it can be");
        assert!(proxy.accept().is_err(), "{host}: the proxy was asked");
    }
}

#[test]
fn a_bundle_for_node_runs_wherever_it_is_put() {
    let emulator = emulator(real());
    let folder = std::env::temp_dir().join(format!("bundled-{}", std::process::id()));
    for (format, name) in [("esm", "bundled.mjs"), ("cjs", "bundled.cjs")] {
        let bundle = folder.join(name);
        let mut command = Command::new(variable("ESBUILD"));
        command.current_dir(variable("JS_PROJECT")).arg("bundled.mjs");
        command.args(["--bundle", "--platform=node", "--log-level=warning"]);
        command.arg(format!("--format={format}")).arg(format!("--outfile={}", bundle.display()));
        let bundled = command.output().expect("it is there");
        let warnings = String::from_utf8_lossy(&bundled.stderr);
        assert!(bundled.status.success() && warnings.is_empty(), "{format}: {warnings}");
        let program = bundle.display().to_string();
        let said = output(&mut javascript("node", &program, &emulator), &emulator);
        assert_eq!(said, "done\n", "{format}");
    }
    std::fs::remove_dir_all(&folder).expect("it is ours");
}

#[test]
fn a_flood_of_commands_that_nobody_awaited_is_no_slower_than_twice_that_of_ioredis() {
    let mut command = within(500, variable("NODE"));
    command.current_dir(variable("JS_PROJECT")).arg("flood.mjs").stdout(Stdio::piped());
    let said = output(&mut command, &emulator(Options::default()));
    println!("{said}");
    assert!(said.ends_with("done\n"), "{said}");
}
