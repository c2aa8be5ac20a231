//! Runs the npm package in real Node, Deno and workerd, against the emulator.
//!
//! `cargo xtask test javascript` builds and installs it, and names what runs it: `NODE`, `DENO`,
//! `WORKERD` and `ESBUILD`, and `JS_PROJECT`, the folder where the package is installed.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use amr_emulator::{Counts, Emulator, Options, Store};
use conformance::case::environment;
use conformance::guest::{Guest, Served, emulator, far, variable, within};

fn real() -> Options {
    Options { store: Store::Redis("redis-server".into()), ..Options::default() }
}

/// `program` in Node or Deno, with the identities of `emulator`.
fn javascript(host: &str, program: &str, emulator: &Emulator) -> Command {
    let mut command = within(180, variable(&host.to_uppercase()));
    if host == "deno" {
        command.args(["run", "--quiet", "--allow-net", "--allow-env", "--allow-read"]);
    }
    command.current_dir(variable("JS_PROJECT")).arg(program).envs(environment(emulator));
    // For `fetch`.
    let root = emulator.root_file();
    command.env("NODE_EXTRA_CA_CERTS", &root).env("DENO_CERT", &root);
    command.stdout(Stdio::piped());
    command
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("it is there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn node_and_deno_have_the_basics() {
    for host in ["node", "deno"] {
        let emulator = emulator(real());
        let said = output(&mut javascript(host, "basics.mjs", &emulator));
        assert!(said.ends_with("done\n"), "{said}");
    }
}

#[test]
fn the_examples_stay_logged_in_through_three_tokens_and_a_cut() {
    for (host, program) in
        [("node", "examples/node/counter.mjs"), ("deno", "examples/deno/counter.ts")]
    {
        let emulator = emulator(Options { life: 10, ..Options::default() });
        let mut command = javascript(host, program, &emulator);
        let mut guest = Guest::start(command.env("COUNT", "90"));
        guest.until("logged in again", 3);
        assert_eq!((emulator.counts().connections, emulator.counts().reauths), (1, 3));
        emulator.cut();
        guest.until("disconnected", 1);
        guest.until("logged in with token", 1);
        assert_eq!((emulator.counts().connections, emulator.counts().refused), (2, 0));
    }
}

#[test]
fn the_first_command_goes_in_the_flight_of_the_login() {
    for host in ["node", "deno"] {
        let emulator = emulator(far());
        output(&mut javascript(host, "first.mjs", &emulator));
        let Counts { rounds, connections, commands, .. } = emulator.counts();
        assert_eq!((rounds, connections), (1, 1), "{host}: {commands} commands");
    }
}

/// node-redis with tokens of 10 s, whose endpoint is down for 30 s, or never.
fn node_redis(provider: &str, outage: bool) -> (String, Counts) {
    let emulator = emulator(Options { life: 10, ..Options::default() });
    let seconds = if outage { "60" } else { "32" };
    let mut command = javascript("node", "node-redis.mjs", &emulator);
    // Some credentials look there first.
    ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_AUTHORITY_HOST"]
        .iter()
        .for_each(|name| _ = command.env_remove(name));
    let mut guest = Guest::start(command.env("PROVIDER", provider).env("SECONDS", seconds));
    if outage {
        std::thread::sleep(Duration::from_secs(12));
        emulator.arm("token#* status 503").expect("it is a fault");
        std::thread::sleep(Duration::from_secs(30));
        emulator.disarm();
    }
    let said = guest.rest();
    let counts = emulator.counts();
    let Counts { token_requests, connections, logins, reauths, refused, expired, .. } = counts;
    println!(
        "\nnode-redis, provider: {provider}, outage: {outage}: {} token requests={token_requests} \
        connections={connections} logins={logins} reauths={reauths} refused={refused} \
        expired={expired}",
        said.trim()
    );
    (said, counts)
}

#[test]
fn node_redis_lives_through_three_refreshes_with_our_provider() {
    let (said, counts) = node_redis("ours", false);
    assert!(said.contains(" failed=0 alive=true"), "{said}");
    assert!(counts.reauths >= 3 && counts.connections == 1, "{counts:?}");
    assert_eq!((counts.refused, counts.expired), (0, 0));
}

#[test]
fn node_redis_comes_back_after_an_outage_of_the_token_endpoint() {
    let (said, counts) = node_redis("ours", true);
    assert!(said.contains(" alive=true"), "{said}");
    assert!(counts.logins >= 2, "{counts:?}");
}

#[test]
fn the_official_provider_runs_beside_it_for_comparison() {
    // Its numbers are for people: they are what it is, and not what it has to be.
    let (_, counts) = node_redis("theirs", true);
    assert!(counts.token_requests > 0, "{counts:?}");
}

/// The example of a Worker, bundled as the tools of Workers do it, in workerd.
fn serve(name: &str, options: Options, variables: &[&str]) -> Served {
    let emulator = emulator(options);
    let folder = variable("JS_PROJECT").join(name);
    std::fs::create_dir_all(&folder).expect("it can be made");
    bundle(&folder);
    std::fs::copy(variable("JS_PROJECT").join("kv.mjs"), folder.join("kv.mjs"))
        .expect("it can be copied");
    std::fs::write(folder.join("ca.pem"), emulator.root_pem()).expect("it can be written");
    // Some port that is free.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.expect("there is one").port();
    std::fs::write(folder.join("workerd.capnp"), config(port, variables))
        .expect("it can be written");
    let mut command = within(600, variable("WORKERD"));
    command.current_dir(&folder).args(["serve", "workerd.capnp"]).envs(environment(&emulator));
    let guest = Guest::start(&mut command);
    let address = format!("127.0.0.1:{port}");
    let start = Instant::now();
    while TcpStream::connect(&address).is_err() {
        assert!(start.elapsed() < Duration::from_secs(30), "workerd doesn't start");
        std::thread::sleep(Duration::from_millis(50));
    }
    Served { address, emulator, guest }
}

fn bundle(folder: &Path) {
    let mut command = Command::new(variable("ESBUILD"));
    command.current_dir(variable("JS_PROJECT")).arg("examples/worker/src/index.ts");
    command.args(["--bundle", "--format=esm", "--conditions=workerd", "--log-level=warning"]);
    command.args(["--external:cloudflare:*", "--loader:.wasm=copy", "--asset-names=[name]"]);
    output(command.arg(format!("--outdir={}", folder.display())));
}

/// What a Worker is told of the emulator, as a service principal.
const PRINCIPAL: &[&str] = &[
    "REDIS_HOSTNAME",
    "REDIS_PORT",
    "AZURE_AUTHORITY_HOST",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
];

/// The same with a managed identity, whose endpoint has no TLS.
const MANAGED: &[&str] = &["REDIS_HOSTNAME", "REDIS_PORT", "AZURE_POD_IDENTITY_AUTHORITY_HOST"];

/// What workerd is told: the Worker, with the emulator's root for its sockets and its `fetch`.
fn config(port: u16, variables: &[&str]) -> String {
    let mut bindings = String::new();
    for name in variables {
        bindings += &format!("(name = \"{name}\", fromEnvironment = \"{name}\"), ");
    }
    let key = "00112233445566778899aabbccddeeff".repeat(2);
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "kv", worker = .kv),
    (name = "internet", network = (
      allow = ["public", "private", "local"],
      tlsOptions = (trustBrowserCas = false, trustedCertificates = [embed "ca.pem"]))),
  ],
  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "main")],
);
const kv :Workerd.Worker = (
  modules = [(name = "kv.mjs", esModule = embed "kv.mjs")],
  compatibilityDate = "2026-10-01");
const main :Workerd.Worker = (
  modules = [
    (name = "index.js", esModule = embed "index.js"),
    (name = "redis_entraid_js_bg.wasm", wasm = embed "redis_entraid_js_bg.wasm"),
  ],
  bindings = [
    {bindings}(name = "CACHE_KEY", text = "{key}"),
    (name = "TOKENS", kvNamespace = "kv"),
  ],
  compatibilityDate = "2026-10-01");
"#
    )
}

#[test]
fn a_worker_asks_for_a_token_once_in_its_life_and_waits_for_one_round_trip() {
    let worker = serve("worker-far", far(), PRINCIPAL);
    worker.hits(1000);
    let counts = worker.cost("Worker, one after the other");
    assert_eq!((counts.token_requests, counts.refused), (1, 0));
    assert_eq!((counts.connections, counts.rounds), (1000, 1000), "one of each for a request");
    worker.at_once(50);
}

#[test]
fn a_worker_has_the_next_token_before_the_last_one_ends() {
    let worker = serve("worker-short", Options { life: 10, ..far() }, PRINCIPAL);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(25) {
        worker.hit().expect("each is answered");
    }
    let counts = worker.cost("Worker, tokens of 10 s, for 25 s");
    assert!((3..=6).contains(&counts.token_requests), "{counts:?}");
    assert_eq!((counts.refused, counts.expired), (0, 0));
}

#[test]
fn a_worker_whose_token_is_refused_fetches_a_fresh_one_and_tries_once_more() {
    let worker = serve("worker-refused", far(), PRINCIPAL);
    worker.hits(2);
    worker.emulator.arm("auth#3 wrongpass").expect("it is a fault");
    worker.hits(2);
    let counts = worker.cost("Worker, the kept token refused once");
    assert_eq!((counts.token_requests, counts.refused, counts.connections), (2, 1, 5));
}

#[test]
fn a_worker_refuses_a_server_that_it_does_not_trust() {
    for chain in ["other-root", "other-name", "expired"] {
        let chain_of = amr_emulator::Chain::named(chain).expect("it is one");
        let options = Options { chain: chain_of, ..far() };
        let worker = serve(&format!("worker-{chain}"), options, MANAGED);
        let answer = worker.hit().expect_err("it is refused");
        assert!(!answer.contains(" 200 "), "{answer}");
        let counts = worker.emulator.counts();
        assert_eq!((counts.tokens, counts.logins, counts.refused), (1, 0, 0), "{chain}");
    }
}
