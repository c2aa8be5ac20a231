//! Which identity the variables ask for.

use super::Get;
use crate::error::ConfigError;

/// An identity, by the variables that ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Secret,
    Certificate,
    FederatedToken,
    ServiceFabric,
    AppService,
    AzureArc,
    /// By its agent, which is installed here.
    #[cfg(feature = "file-sources")]
    ArcAgent,
    MachineLearning,
    CloudShell,
    Imds,
}

impl Asked {
    /// Applies the rule of [`Environment`](super::Environment), the same on all hosts.
    pub(super) fn by(get: Get<'_>) -> Result<Self, ConfigError> {
        let all = |names: &[&'static str]| names.iter().all(|name| get(name).is_some());
        if all(&["AZURE_CLIENT_SECRET"]) {
            return Ok(Self::Secret);
        }
        if all(&["AZURE_CLIENT_CERTIFICATE_PATH"]) {
            return Ok(Self::Certificate);
        }
        if all(&["AZURE_USERNAME", "AZURE_PASSWORD"]) {
            return Err(ConfigError::Unsupported("AZURE_USERNAME"));
        }
        let rest: [(&[&'static str], Self); 6] = [
            (&["AZURE_FEDERATED_TOKEN_FILE"], Self::FederatedToken),
            (
                &["IDENTITY_SERVER_THUMBPRINT", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"],
                Self::ServiceFabric,
            ),
            (&["IDENTITY_ENDPOINT", "IDENTITY_HEADER"], Self::AppService),
            (&["IMDS_ENDPOINT", "IDENTITY_ENDPOINT"], Self::AzureArc),
            (&["MSI_ENDPOINT", "MSI_SECRET"], Self::MachineLearning),
            (&["MSI_ENDPOINT"], Self::CloudShell),
        ];
        match rest.iter().find(|(names, _)| all(names)) {
            Some((_, asked)) => Ok(*asked),
            // Something got lost on the way here: another identity must not take its place.
            None if all(&["AZURE_KUBERNETES_TOKEN_PROXY"]) => {
                Err(ConfigError::Missing("AZURE_FEDERATED_TOKEN_FILE"))
            }
            None if all(&["IDENTITY_ENDPOINT"]) => Err(ConfigError::Missing("IDENTITY_HEADER")),
            None => Ok(Self::Imds),
        }
    }

    /// The variable that asks for it.
    pub(super) const fn variable(self) -> &'static str {
        match self {
            Self::Secret => "AZURE_CLIENT_SECRET",
            Self::Certificate => "AZURE_CLIENT_CERTIFICATE_PATH",
            Self::FederatedToken => "AZURE_FEDERATED_TOKEN_FILE",
            Self::ServiceFabric => "IDENTITY_SERVER_THUMBPRINT",
            Self::AppService => "IDENTITY_ENDPOINT",
            Self::AzureArc => "IMDS_ENDPOINT",
            #[cfg(feature = "file-sources")]
            Self::ArcAgent => "IMDS_ENDPOINT",
            Self::MachineLearning | Self::CloudShell => "MSI_ENDPOINT",
            Self::Imds => "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        }
    }
}
