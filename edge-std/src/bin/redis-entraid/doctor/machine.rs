//! What this machine is, as far as it explains a failure and the identity doesn't say it.

use std::io::Read;
use std::time::Duration;

use redis_entraid::Chosen;

use crate::claims::Federated;
use crate::setup::{authority, variable};

/// No federated token is larger.
const MAX: u64 = 64 << 10;

/// What is known of this machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// It is a pod of Kubernetes.
    pub(crate) is_pod: bool,
    /// The proxy that the variables name: name and port, since the rest may be secret.
    pub(crate) proxy: Option<String>,
    /// Tokens are asked for through the proxy of an AKS identity binding.
    pub(crate) is_bound: bool,
    /// The file that `AZURE_KUBERNETES_CA_FILE` names can't be read.
    pub(crate) hides_authorities: bool,
    /// What the federated token says of itself.
    pub(crate) federated: Option<Federated>,
}

impl Machine {
    /// Looks at variables and files, for no longer than `limit`.
    pub(crate) async fn look(chosen: &Chosen, limit: Duration) -> Self {
        let proxies = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
        let proxy = proxies.into_iter().find_map(variable);
        let is_federated = matches!(chosen, Chosen::WorkloadIdentity { .. });
        let machine = Self {
            is_pod: variable("KUBERNETES_SERVICE_HOST").is_some(),
            proxy: proxy.map(|url| authority(&url).to_owned()),
            is_bound: is_federated && variable("AZURE_KUBERNETES_TOKEN_PROXY").is_some(),
            ..Self::default()
        };
        let without_files = machine.clone();
        // A file may be on a disk that doesn't answer.
        let files = tokio::task::spawn_blocking(move || {
            let ca_file = variable("AZURE_KUBERNETES_CA_FILE").filter(|_| machine.is_bound);
            let token_file = variable("AZURE_FEDERATED_TOKEN_FILE").filter(|_| is_federated);
            Self {
                hides_authorities: ca_file.is_some_and(|path| start(&path).is_none()),
                federated: token_file.and_then(|path| Federated::read(&start(&path)?)),
                ..machine
            }
        });
        match tokio::time::timeout(limit, files).await {
            Ok(Ok(machine)) => machine,
            _ => without_files,
        }
    }
}

/// What a file begins with, if it can be read.
fn start(path: &str) -> Option<String> {
    // Opening a FIFO would wait for a writer.
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mut text = Vec::new();
    std::fs::File::open(path).ok()?.take(MAX).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
