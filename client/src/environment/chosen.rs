//! Which identity the environment chose, as a sentence.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt;

#[cfg(feature = "native-sources")]
use super::DeveloperTool;
use super::Get;
use crate::error::ConfigError;

/// Which identity the environment chose, and by which variable. Displays as a sentence, without
/// secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Chosen {
    /// A service principal, since `AZURE_CLIENT_SECRET` is set.
    ServicePrincipal {
        /// Its application id.
        client_id: String,
        /// Its tenant.
        tenant: String,
    },
    /// A service principal by a certificate, since `AZURE_CLIENT_CERTIFICATE_PATH` is set.
    ClientCertificate {
        /// Its application id.
        client_id: String,
        /// Its tenant.
        tenant: String,
    },
    /// A service principal or managed identity by a federated token, since `AZURE_FEDERATED_TOKEN_FILE` is
    /// set.
    WorkloadIdentity {
        /// Its application id.
        client_id: String,
        /// Its tenant.
        tenant: String,
    },
    /// The managed identity of an application on Service Fabric, since `IDENTITY_SERVER_THUMBPRINT` is set.
    ServiceFabric,
    /// The managed identity of an app, since `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` are set.
    AppService {
        /// The application id of a user-assigned one.
        client_id: Option<String>,
    },
    /// The managed identity of a server with Azure Arc, since `IDENTITY_ENDPOINT` and `IMDS_ENDPOINT` are
    /// set, or since nothing is set and its agent is installed.
    AzureArc {
        /// Whether they are set.
        by_variables: bool,
    },
    /// The managed identity of Azure Machine Learning, since `MSI_ENDPOINT` and `MSI_SECRET` are set.
    MachineLearning {
        /// The application id of a user-assigned one.
        client_id: Option<String>,
    },
    /// The person in Cloud Shell, since `MSI_ENDPOINT` is set.
    CloudShell,
    /// The person who is signed in to a developer's tool, since `AZURE_TOKEN_CREDENTIALS` names it.
    #[cfg(feature = "native-sources")]
    Developer {
        /// The tool.
        tool: DeveloperTool,
    },
    /// The managed identity of the machine, since nothing else is set.
    Imds {
        /// The application id of a user-assigned one.
        client_id: Option<String>,
    },
}

impl Chosen {
    /// Microsoft's name for it, as a value of `AZURE_TOKEN_CREDENTIALS`.
    pub fn credential(&self) -> &'static str {
        match self {
            Self::ServicePrincipal { .. } | Self::ClientCertificate { .. } => {
                "EnvironmentCredential"
            }
            Self::WorkloadIdentity { .. } => "WorkloadIdentityCredential",
            #[cfg(feature = "native-sources")]
            Self::Developer { tool } => tool.credential(),
            _ => "ManagedIdentityCredential",
        }
    }

    /// Looks whether `AZURE_TOKEN_CREDENTIALS` agrees.
    pub(super) fn check(&self, get: Get<'_>) -> Result<(), ConfigError> {
        let Some(asked) = get("AZURE_TOKEN_CREDENTIALS") else { return Ok(()) };
        let is = |name: &str| asked.eq_ignore_ascii_case(name);
        // Microsoft's managed identity takes a federated token, too.
        let federated = matches!(self, Self::WorkloadIdentity { .. });
        match is("prod") || is(self.credential()) || federated && is("ManagedIdentityCredential") {
            true => Ok(()),
            false => Err(ConfigError::Unsupported("AZURE_TOKEN_CREDENTIALS")),
        }
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let assigned = |id: &Option<String>| match id {
            Some(id) => format!("user-assigned, client id {id}"),
            None => "system-assigned".to_owned(),
        };
        match self {
            Self::ServicePrincipal { client_id, tenant } => write!(
                f,
                "service principal {client_id} of tenant {tenant} (AZURE_CLIENT_SECRET is set)"
            ),
            Self::ClientCertificate { client_id, tenant } => write!(
                f,
                "service principal {client_id} of tenant {tenant} by its certificate \
                (AZURE_CLIENT_CERTIFICATE_PATH is set)"
            ),
            Self::WorkloadIdentity { client_id, tenant } => write!(
                f,
                "workload identity {client_id} of tenant {tenant} (AZURE_FEDERATED_TOKEN_FILE is set)"
            ),
            Self::ServiceFabric => f.write_str(
                "managed identity of this application on Service Fabric \
                (IDENTITY_SERVER_THUMBPRINT is set)",
            ),
            Self::AppService { client_id } => write!(
                f,
                "managed identity of this app, {} (IDENTITY_ENDPOINT and IDENTITY_HEADER are set)",
                assigned(client_id)
            ),
            Self::AzureArc { by_variables } => {
                f.write_str("managed identity of this server, system-assigned by Azure Arc ")?;
                f.write_str(match by_variables {
                    true => "(IDENTITY_ENDPOINT and IMDS_ENDPOINT are set)",
                    false => "(no variable of an identity is set, and its agent is installed)",
                })
            }
            Self::MachineLearning { client_id } => write!(
                f,
                "managed identity of Azure Machine Learning, {} (MSI_ENDPOINT and MSI_SECRET are set)",
                assigned(client_id)
            ),
            Self::CloudShell => {
                f.write_str("the person who is signed in to Cloud Shell (MSI_ENDPOINT is set)")
            }
            #[cfg(feature = "native-sources")]
            Self::Developer { tool } => write!(
                f,
                "the person who is signed in to a developer's tool (AZURE_TOKEN_CREDENTIALS is {})",
                tool.credential()
            ),
            Self::Imds { client_id } => write!(
                f,
                "managed identity of this machine, {} (no variable of another identity is set)",
                assigned(client_id)
            ),
        }
    }
}
