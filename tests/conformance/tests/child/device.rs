//! The embassy host: on a network in memory, and on a board that QEMU emulates.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conformance::case::root_der;
use conformance::client::Environment;
use tokio::net::TcpListener;
use tokio::process::Command;

use super::{Child, Process};

/// The firmware, if this is to run it.
pub(crate) fn firmware() -> Option<OsString> {
    std::env::var_os("FIRMWARE")
}

/// No board runs longer, in seconds.
const LIMIT: &str = "600";

impl Child {
    /// The embassy host, as a process.
    pub(crate) async fn embassy(environment: &Environment) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_subject-embassy"));
        let ports = ports(environment).map(|(outside, inside)| format!("{outside}={inside}"));
        let mut child = Self::start(command.env("PORTS", ports.join(" ")));
        child.tell(environment).await;
        child
    }

    /// The embassy host, as a firmware. It hears its lines over the network, in which there is nobody
    /// but the emulator and this.
    pub(crate) async fn qemu(environment: &Environment) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
        let lines = listener.local_addr().expect("it has an address").port();
        // One connection of ours for each of the board's.
        let program = env!("CARGO_BIN_EXE_forward").replace(',', ",,");
        let forward = |address: &str, outside: u16, inside: u16| {
            format!(",guestfwd=tcp:{address}:{outside}-cmd:'{program}' {inside}")
        };
        let mut network = "user,model=lan9118,restrict=on".to_owned();
        for (outside, inside) in ports(environment) {
            network += &forward("10.0.2.100", outside, inside);
        }
        network += &forward("10.0.2.101", 7, lines);
        let semihosting = format!("enable=on,target=native,arg=firmware,arg=seed={lines}");
        let mut qemu = Command::new("timeout");
        qemu.args([LIMIT, "qemu-system-arm", "-M", "mps2-an385", "-nographic"]);
        qemu.args(["-monitor", "none", "-serial", "none", "-nic", &network]);
        qemu.args(["-semihosting-config", &semihosting, "-kernel"]);
        qemu.arg(firmware().expect("only run where there is one"));
        qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let board = Board(qemu.spawn().expect("QEMU is there"));
        let called = tokio::time::timeout(Duration::from_secs(60), listener.accept()).await;
        let (stream, _) = called.expect("it boots").expect("it calls");
        let (answers, lines) = stream.into_split();
        let mut child = Self::new(Process::Board { _board: board }, lines, answers);
        child.tell(environment).await;
        child
    }

    /// Tells a device where it is.
    async fn tell(&mut self, environment: &Environment) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
        let root = environment.get("REDIS_CA_PEM").map_or(Vec::new(), |pem| root_der(pem));
        let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
        let more = [("NOW", now.as_secs().to_string()), ("ROOT", root)];
        let wanted = [
            "AZURE_AUTHORITY_HOST",
            "AZURE_CLIENT_ID",
            "AZURE_CLIENT_SECRET",
            "AZURE_POD_IDENTITY_AUTHORITY_HOST",
            "AZURE_TENANT_ID",
            "EMULATOR_CLIENT_ID",
            "EMULATOR_OBJECT_ID",
            "EMULATOR_RESOURCE_ID",
            "IDENTITY_ENDPOINT",
            "IDENTITY_HEADER",
            "REDIS_HOSTNAME",
        ];
        let known = wanted.iter().filter_map(|name| {
            let mut value = environment.get(*name)?.clone();
            // The servers have the usual ports in the device's network.
            for (_, inside) in ports(environment) {
                value = value.replace(&format!("localhost:{inside}"), "localhost");
            }
            Some((*name, value))
        });
        for (name, value) in known.chain(more) {
            let mut said = String::new();
            let _ = self.line(&format!("set {name} {value}"), &mut said).await;
            assert_eq!(said, "ok", "{name}");
        }
        let _ = self.line("go", &mut String::new()).await;
    }
}

/// The ports of the device's network, and which of this machine they are.
fn ports(environment: &Environment) -> [(u16, u16); 3] {
    let port = |name| {
        let value = environment.get(name).expect("it is known");
        let digits = value.rsplit(':').next().unwrap_or_default();
        digits.parse().expect("it is a port")
    };
    [
        (10_000, port("REDIS_PORT")),
        (80, port("AZURE_POD_IDENTITY_AUTHORITY_HOST")),
        (443, port("AZURE_AUTHORITY_HOST")),
    ]
}

/// A board in QEMU.
pub(super) struct Board(tokio::process::Child);

impl Drop for Board {
    fn drop(&mut self) {
        // Not by force: `timeout` passes it on.
        if let Some(id) = self.0.id() {
            let mut kill = std::process::Command::new("kill");
            let _ = kill.arg(id.to_string()).stderr(Stdio::null()).status();
        }
    }
}
