//! The embassy host: on a network in memory.

use std::time::{SystemTime, UNIX_EPOCH};

use conformance::case::root_der;
use conformance::client::Environment;
use tokio::process::Command;

use super::Child;

impl Child {
    /// The embassy host, as a process.
    pub(crate) async fn embassy(environment: &Environment) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_subject-embassy"));
        let ports = ports(environment).map(|(outside, inside)| format!("{outside}={inside}"));
        let mut child = Self::start(command.env("PORTS", ports.join(" ")));
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
