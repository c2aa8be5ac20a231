//! The JavaScript host in workerd.

use amr_emulator::Emulator;
use conformance::guest::variable;
use conformance::workerd;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::{Child, Process};

/// What a Worker is told of the emulator.
const VARIABLES: &[&str] = &[
    "REDIS_HOSTNAME",
    "REDIS_PORT",
    "AZURE_AUTHORITY_HOST",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "EMULATOR_CLIENT_ID",
    "EMULATOR_OBJECT_ID",
    "EMULATOR_RESOURCE_ID",
];

impl Child {
    /// The JavaScript host, in workerd. A case runs within one request, which has the lines from a
    /// connection that it makes to us: nothing that it opens could be used by another request.
    pub(crate) async fn worker(name: &str, emulator: &Emulator) -> Self {
        let folder = variable("JS_PROJECT").join("cases").join(name);
        let (guest, port) = workerd::serve("worker.mjs", &folder, emulator, VARIABLES);
        let lines = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let own = lines.local_addr().expect("it has one").port();
        let request = TcpStream::connect(("127.0.0.1", port)).await;
        let mut request = request.expect("it listens");
        let line = format!("GET /{own} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        request.write_all(line.as_bytes()).await.expect("it listens");
        let (lines, _) = lines.accept().await.expect("it connects");
        let (answers, lines) = lines.into_split();
        Self::new(Process::Worker { _guest: guest, _request: request }, lines, answers)
    }
}
