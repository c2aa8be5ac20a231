//! Identities whose proof is in a file that others replace.

use super::*;
use amr_emulator::Captured;
use redis_entraid::entraid_core::source::{ErrorKind, SourceError};
use redis_entraid::source::{Authority, ProxyRoots, TokenProxy, WorkloadIdentity};
use std::fs;

/// A file of this test alone, which goes with it.
struct File(PathBuf);

impl File {
    fn new(name: &str, content: &[u8]) -> Self {
        let file = format!("redis-entraid-{}-{name}", std::process::id());
        let file = Self(std::env::temp_dir().join(file));
        file.write(content);
        file
    }

    fn write(&self, content: &[u8]) {
        fs::write(&self.0, content).expect("the folder can be written to");
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}

fn workload(emulator: &Emulator, path: String) -> WorkloadIdentity<String> {
    let entra = emulator.entra();
    let authority = Authority::at_host(emulator.authority(), entra.tenant.clone());
    WorkloadIdentity::new(authority, entra.principal.client_id.clone(), path)
}

/// Why there is no token.
async fn error(events: &mut UnboundedReceiver<Event>) -> SourceError {
    match fetched(events).await {
        Event::FetchFailed { error, .. } => error,
        event => panic!("{event}"),
    }
}

#[tokio::test]
async fn a_federated_token_is_the_one_that_is_in_the_file_now() {
    let emulator = emulator(3);
    let file = File::new("federated", emulator.entra().federated_token().as_bytes());
    let (mut redis, mut events) = events(client_of(&emulator, workload(&emulator, file.path())));
    assert!(matches!(fetched(&mut events).await, Event::Refreshed { .. }));
    emulator.entra().rotate_federated_token();
    // The node writes it a moment later: until then Entra refuses the old one.
    assert_eq!(error(&mut events).await.kind(), ErrorKind::Replication);
    file.write(emulator.entra().federated_token().as_bytes());
    let healed = loop {
        match fetched(&mut events).await {
            Event::FetchFailed { .. } => {}
            event => break event,
        }
    };
    assert!(matches!(healed, Event::Refreshed { .. }));
    assert_eq!(redis.command(args!["PING"]).await.unwrap().str(), Ok("PONG"));
}

#[tokio::test]
async fn a_file_that_is_of_no_use_is_named_and_nothing_of_it_is_sent() {
    let emulator = emulator(3600);
    let secret = b"-----BEGIN PRIVATE KEY-----\nMIIE.a.b\n-----END PRIVATE KEY-----\n";
    let (empty, other) = (File::new("empty", b""), File::new("other", secret));
    let large = File::new("large", &[b'a'; 20_000]);
    let folder = std::env::temp_dir().display().to_string();
    for (path, said) in [
        ("/nonexistent/token".to_owned(), "not found"),
        (empty.path(), "contains no JWT"),
        (other.path(), "contains no JWT"),
        (folder, "not a file"),
        (large.path(), "16384"),
    ] {
        let source = workload(&emulator, path.clone());
        let (client, mut events) = events(client_of(&emulator, source));
        fetched(&mut events).await;
        let error = client.problem().expect("there is no token").to_string();
        assert!(error.contains(said), "{path}: {error}");
        assert!(!error.contains("MIIE"), "{error}");
    }
    assert!(emulator.requests().is_empty());
}

#[tokio::test]
async fn a_federated_token_of_16_kib_is_sent() {
    let emulator = emulator(3600);
    let token = format!("e30.{}.c2ln", "a".repeat((16 << 10) - 9));
    let file = File::new("long", token.as_bytes());
    let (_client, mut events) = events(client_of(&emulator, workload(&emulator, file.path())));
    // Nobody has issued it.
    assert!(matches!(error(&mut events).await, SourceError::Refused { .. }));
    let sent = emulator.requests().iter().flat_map(Captured::form).collect::<Vec<_>>();
    let sent = sent.iter().find(|(name, _)| name == "client_assertion");
    assert_eq!(sent.map(|(_, value)| value.len()), Some(16 << 10));
}

#[tokio::test]
async fn a_token_proxy_is_verified_by_its_own_name_and_authorities() {
    let emulator = emulator(3600);
    let get = variables(&emulator, Kind::IdentityBinding);
    let variable = |name| get(name).expect("it is set");
    let pem = fs::read(variable("AZURE_KUBERNETES_CA_FILE")).unwrap();
    let roots = File::new("roots", &pem);
    let token = variable("AZURE_FEDERATED_TOKEN_FILE");
    let source = |name: Option<String>, roots| {
        let url = variable("AZURE_KUBERNETES_TOKEN_PROXY");
        let source = workload(&emulator, token.clone());
        client_of(&emulator, TokenProxy::new(source, url, name, roots))
    };
    let name = || Some(variable("AZURE_KUBERNETES_SNI_NAME"));
    let by_file = || ProxyRoots::File(roots.path());
    let data = ProxyRoots::Pem(String::from_utf8(pem.clone()).unwrap());
    for roots in [by_file(), data] {
        source(name(), roots).connect().await.unwrap();
    }
    for (name, roots) in [(None, by_file()), (name(), ProxyRoots::Usual)] {
        let (_client, mut events) = events(source(name, roots));
        let error = error(&mut events).await.to_string();
        assert!(error.contains("TLS to the token endpoint failed"), "{error}");
    }
    // While the file is replaced, what was read before is trusted; then, what it says now.
    let (client, mut told) = events(source(name(), by_file()));
    assert!(matches!(fetched(&mut told).await, Event::Refreshed { .. }));
    roots.write(b"\n");
    client.identity().refresh_now();
    assert!(matches!(fetched(&mut told).await, Event::Refreshed { .. }));
    fs::remove_file(&roots.0).unwrap();
    client.identity().refresh_now();
    assert!(matches!(fetched(&mut told).await, Event::Refreshed { .. }));
    let (_early, mut first) = events(source(name(), by_file()));
    assert_eq!(error(&mut first).await.kind(), ErrorKind::Replication);
    roots.write(emulator.root_pem().as_bytes());
    client.identity().refresh_now();
    let error = error(&mut told).await.to_string();
    assert!(error.contains("TLS to the token endpoint failed"), "{error}");
}
