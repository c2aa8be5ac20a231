//! How clients are pointed at the emulator: by the variables that Azure's hosts set.

use std::path::{Path, PathBuf};

use crate::Emulator;
use crate::http::BINDING_PATH;

/// The ways to prove an identity that Azure has, by host and proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An application with a client secret.
    Secret,
    /// An application with a client certificate.
    Certificate,
    /// An application with a federated token: AKS workload identity.
    WorkloadIdentity,
    /// The same through the proxy of an AKS identity binding.
    IdentityBinding,
    /// A machine: the instance metadata service.
    Imds,
    /// App Service, Functions and Container Apps.
    AppService,
    /// A machine outside Azure, with the agent of Azure Arc.
    Arc,
    /// Cloud Shell.
    CloudShell,
    /// Azure Machine Learning.
    MachineLearning,
    /// Service Fabric.
    ServiceFabric,
}

impl Kind {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 10] = [
        ("secret", Self::Secret),
        ("certificate", Self::Certificate),
        ("workload-identity", Self::WorkloadIdentity),
        ("identity-binding", Self::IdentityBinding),
        ("imds", Self::Imds),
        ("app-service", Self::AppService),
        ("arc", Self::Arc),
        ("cloud-shell", Self::CloudShell),
        ("machine-learning", Self::MachineLearning),
        ("service-fabric", Self::ServiceFabric),
    ];

    /// The one called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

/// Variables and their values.
type Variables = Vec<(&'static str, String)>;

impl Emulator {
    /// The variables that make a client log in here, as the host of this `kind` sets them.
    pub fn environment_of(&self, kind: Kind) -> Variables {
        let entra = self.entra();
        let file = |file: PathBuf| file.display().to_string();
        let header = || ("IDENTITY_HEADER", entra.identity_header.clone());
        let federated = file(entra.federated_token_file().to_owned());
        let federated = ("AZURE_FEDERATED_TOKEN_FILE", federated);
        let mut variables = vec![
            ("REDIS_HOSTNAME", "localhost".into()),
            ("REDIS_PORT", self.redis_port.to_string()),
            ("SSL_CERT_FILE", file(self.root_file())),
            ("AMR_EMULATOR_CONTROL", format!("{}/control", self.plain())),
        ];
        if matches!(
            kind,
            Kind::Secret | Kind::Certificate | Kind::WorkloadIdentity | Kind::IdentityBinding
        ) {
            variables.extend([
                ("AZURE_AUTHORITY_HOST", self.authority()),
                ("AZURE_TENANT_ID", entra.tenant.clone()),
                ("AZURE_CLIENT_ID", entra.principal.client_id.clone()),
            ]);
        }
        variables.extend(match kind {
            Kind::Secret => vec![("AZURE_CLIENT_SECRET", entra.secret.clone())],
            Kind::Certificate => {
                vec![("AZURE_CLIENT_CERTIFICATE_PATH", file(self.certificate_file()))]
            }
            Kind::WorkloadIdentity => vec![federated],
            Kind::IdentityBinding => vec![
                federated,
                ("AZURE_KUBERNETES_TOKEN_PROXY", self.binding()),
                ("AZURE_KUBERNETES_SNI_NAME", self.binding_name.clone()),
                ("AZURE_KUBERNETES_CA_FILE", file(self.binding_root_file())),
            ],
            Kind::Imds => vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", self.plain())],
            Kind::AppService => {
                vec![("IDENTITY_ENDPOINT", format!("{}/msi/token", self.plain())), header()]
            }
            Kind::Arc => vec![
                (
                    "IDENTITY_ENDPOINT",
                    format!("{}/arc/metadata/identity/oauth2/token", self.plain()),
                ),
                ("IMDS_ENDPOINT", self.plain()),
            ],
            Kind::CloudShell => {
                vec![("MSI_ENDPOINT", format!("{}/cloudshell/token", self.plain()))]
            }
            Kind::MachineLearning => vec![
                ("MSI_ENDPOINT", format!("{}/ml/token", self.plain())),
                ("MSI_SECRET", entra.msi_secret.clone()),
            ],
            Kind::ServiceFabric => vec![
                ("IDENTITY_ENDPOINT", self.fabric()),
                header(),
                ("IDENTITY_SERVER_THUMBPRINT", self.fabric_thumbprint().to_owned()),
            ],
        });
        variables
    }

    /// The variables that make a client log in here as the service principal.
    pub fn environment(&self) -> Variables {
        self.environment_of(Kind::Secret)
    }

    /// The variables that make a client log in here as a managed identity, at App Service or at the
    /// instance metadata service.
    pub fn managed_environment(&self) -> Variables {
        let mut variables = self.environment_of(Kind::Imds);
        for variable in self.environment_of(Kind::AppService) {
            if !variables.contains(&variable) {
                variables.push(variable);
            }
        }
        variables
    }

    /// The file with the application's certificate and its key, in PEM.
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.0.join("certificate.pem")
    }

    /// Where Azure Arc's keys are written.
    pub fn arc_folder(&self) -> &Path {
        self.shared.keys.folder()
    }

    /// `https://localhost:...`, the endpoint of Service Fabric.
    pub fn fabric(&self) -> String {
        format!("https://localhost:{}/sf/token", self.fabric_port)
    }

    /// What tells its certificate: the SHA-1 digest, in upper-case hexadecimal digits.
    pub fn fabric_thumbprint(&self) -> &str {
        &self.fabric_thumbprint
    }

    /// `https://localhost:...`, the proxy of the AKS identity binding.
    pub fn binding(&self) -> String {
        format!("https://localhost:{}{BINDING_PATH}", self.binding_port)
    }

    /// Its server name: it refuses who doesn't ask for that.
    pub fn binding_name(&self) -> &str {
        &self.binding_name
    }

    /// The root to trust for it, in PEM.
    pub fn binding_root_file(&self) -> PathBuf {
        self.folder.0.join("binding-ca.pem")
    }
}
