//! In workerd.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use amr_emulator::{Chain, Emulator, Flaw, Options};
use conformance::guest::{Served, emulator, far, is_one_flight_each, variable};
use conformance::workerd;

/// The example of a Worker.
fn serve(name: &str, options: Options, variables: &[&str]) -> Served {
    serve_program("examples/worker/src/index.ts", name, emulator(options), variables)
}

fn serve_program(program: &str, name: &str, emulator: Emulator, variables: &[&str]) -> Served {
    let folder = variable("JS_PROJECT").join(name);
    let (guest, port) = workerd::serve(program, &folder, &emulator, variables);
    Served { address: format!("127.0.0.1:{port}"), emulator, guest }
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

#[test]
fn a_worker_asks_for_a_token_once_in_its_life_and_waits_for_one_round_trip() {
    let worker = serve("worker-far", far(), PRINCIPAL);
    worker.hits(1000);
    let counts = worker.cost("Worker, one after the other");
    assert_eq!((counts.token_requests, counts.refused), (1, 0));
    assert_eq!(counts.connections, 1000, "one for a request");
    assert!(is_one_flight_each(&counts), "{counts:?}");
    worker.at_once(50);
}

#[test]
fn a_worker_has_the_next_token_before_the_last_one_ends() {
    let worker = serve("worker-short", Options { life: 16, ..far() }, PRINCIPAL);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(35) {
        worker.hit().expect("each is answered");
    }
    let counts = worker.cost("Worker, tokens of 16 s, for 35 s");
    // Three lives, or four; who comes while a token is fetched uses the old one.
    assert!((3..=8).contains(&counts.token_requests), "{counts:?}");
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
    // At once: each tries until its deadline, since it can't know that it is hopeless.
    thread::scope(|scope| {
        for (name, flaw) in Flaw::ALL {
            scope.spawn(move || {
                let options = Options { chain: Chain::Flawed(flaw), ..far() };
                let worker = serve(&format!("worker-{name}"), options, MANAGED);
                let answer = worker.hit().expect_err("it is refused");
                assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
                let counts = worker.emulator.counts();
                assert_eq!((counts.tokens, counts.logins, counts.refused), (1, 0, 0), "{name}");
            });
        }
    });
}

/// A Worker that has managers of tokens at module scope.
fn managers(name: &str, options: Options, fault: Option<&str>) -> Served {
    let emulator = emulator(options);
    if let Some(fault) = fault {
        emulator.arm(fault).expect("it is a fault");
    }
    serve_program("tokens.worker.mjs", name, emulator, MANAGED)
}

/// What comes to so many requests at once.
fn burst(worker: &Served, count: usize) -> Vec<Result<u64, String>> {
    let (done, answers) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..count {
            let done = done.clone();
            scope.spawn(move || done.send(worker.hit()));
        }
    });
    drop(done);
    answers.iter().collect()
}

/// A request that ends in the middle of what it asked of the manager, as if its client went away.
fn left(worker: &Served) {
    let mut stream = TcpStream::connect(&worker.address).expect("it listens");
    let request = b"GET /left HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_burst_on_a_cold_isolate_costs_one_token_request() {
    let both = serve_program("client.worker.mjs", "burst-both", emulator(far()), MANAGED);
    let manager = managers("burst-manager", far(), None);
    for worker in [manager, both, serve("burst-client", far(), PRINCIPAL)] {
        let answers = burst(&worker, 200);
        let failed: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(worker.emulator.counts().token_requests, 1);
    }
}

#[test]
fn a_manager_at_module_scope_outlives_requests_that_were_aborted_and_five_tokens() {
    let life = 10;
    let options = Options { life, ..Options::default() };
    let worker = managers("lives", options, Some("token#1 hang"));
    thread::scope(|scope| {
        (0..20).for_each(|_| _ = scope.spawn(|| left(&worker)));
    });
    let start = Instant::now();
    worker.hit().expect("who comes next does what was left undone");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let (start, mut newest) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(5 * life + 5) {
        left(&worker);
        newest = worker.hit().expect("each is answered, with a token that lives");
        thread::sleep(Duration::from_millis(100));
    }
    let requests = worker.emulator.counts().token_requests;
    assert!(newest >= 5, "{newest} tokens");
    // One for each life, or two where its request was left in the middle.
    assert!(requests <= 20, "{requests} requests for {newest} tokens");
}

#[test]
fn a_manager_at_module_scope_comes_back_after_an_outage_of_the_endpoint() {
    let options = Options { life: 10, ..Options::default() };
    let worker = managers("outage", options, None);
    worker.hit().expect("it is there");
    worker.emulator.arm("token#* status 503").expect("it is a fault");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(14) {
        left(&worker);
        thread::sleep(Duration::from_millis(500));
    }
    worker.emulator.disarm();
    let start = Instant::now();
    worker.hit().expect("it is there again");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_worker_gives_up_a_server_that_accepts_and_says_nothing() {
    let emulator = emulator(far());
    emulator.arm("connect#* hang").expect("it is a fault");
    let program = "examples/worker/src/index.ts";
    let worker = serve_program(program, "worker-silent", emulator, PRINCIPAL);
    let start = Instant::now();
    let answer = worker.hit().expect_err("there is nobody");
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}
