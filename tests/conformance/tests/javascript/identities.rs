//! Applications with a certificate or a federated token, on each host.

use std::io::{Read, Write};
use std::net::TcpStream;

use amr_emulator::{Kind, Options};
use conformance::guest::{emulator, variable};
use conformance::workerd;

use super::{javascript, output, secrets};

/// Tokens that are renewed within seconds.
fn short() -> Options {
    Options { life: 8, ..Options::default() }
}

/// What a Worker is told of the emulator.
const APPLICATION: &[&str] = &[
    "REDIS_HOSTNAME",
    "REDIS_PORT",
    "REDIS_CA_PEM",
    "AZURE_AUTHORITY_HOST",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "EMULATOR_FEDERATED_TOKEN",
    "EMULATOR_CERTIFICATE_PEM",
];

/// How many rules there are to hold, at least.
const RULES: usize = 30;

#[test]
fn node_and_deno_prove_an_application_by_a_certificate_or_a_federated_token() {
    for host in ["node", "deno"] {
        let emulator = emulator(short());
        let mut command = javascript(host, "identities.host.mjs", &emulator);
        for kind in [Kind::Certificate, Kind::WorkloadIdentity] {
            command.envs(emulator.environment_of(kind));
        }
        let said = output(&mut command, &emulator);
        println!("{said}");
        assert!(said.ends_with("done\n"), "{said}");
        assert!(said.matches("ok ").count() > RULES, "{host}: {said}");
    }
}

#[test]
fn a_worker_proves_an_application_by_a_certificate_or_a_federated_token() {
    let emulator = emulator(short());
    let folder = variable("JS_PROJECT").join("worker-identities");
    let program = "identities.worker.mjs";
    let (_guest, port) = workerd::serve(program, &folder, &emulator, APPLICATION);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).expect("it is taken");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("it is answered");
    println!("{said}");
    assert_eq!(secrets(&emulator).found_in(&said), None, "no secret is shown");
    assert!(said.contains("\ndone\n"), "{said}");
    assert!(said.matches("ok ").count() > RULES, "{said}");
}

#[test]
fn a_worker_without_these_identities_does_not_load_what_they_need() {
    let folder = variable("JS_PROJECT").join("worker-plain");
    let emulator = emulator(Options::default());
    let serve = |program| {
        drop(workerd::serve(program, &folder, &emulator, APPLICATION));
        std::fs::read_to_string(folder.join("index.js")).expect("it was bundled")
    };
    // By the names of its functions, which are those of the package here.
    let what_they_need = ["readKey", "workloadIdentity", "proofBy"];
    let without = serve("tokens.worker.mjs");
    assert!(what_they_need.iter().all(|name| !without.contains(name)));
    // Else that would prove nothing. There are no files in any Worker.
    let with = serve("identities.worker.mjs");
    assert_eq!(what_they_need.map(|name| with.contains(name)), [true, true, false]);
}
