//! Configuration by the environment, with the variables that Azure's own tools use.

use core::cell::Cell;
use std::env::VarError;

#[cfg(feature = "developer")]
use redis_entraid_client::DeveloperTool;
use redis_entraid_client::{CertificateFile, Chosen, NativeEnvironment, NativeSource};

use crate::builder::Builder;
use crate::client::Client;
use crate::error::ConfigError;
use crate::source::{AnySource, ClientCertificate, ServiceFabric, TokenProxy};
#[cfg(feature = "developer")]
use crate::source::{CommandLineTool, Probed, TokenChain};

impl Client {
    /// Takes server and identity from the environment: from the variables of
    /// [`Environment`](crate::Environment).
    ///
    /// Which identity was chosen is logged, and told by [`Builder::chosen`].
    ///
    /// # Errors
    /// [`ConfigError`] if something is missing or invalid.
    pub fn from_env() -> Result<Builder, ConfigError> {
        variables(|get| Self::from_variables(get))
    }

    /// The same from anything that knows the variables' values.
    ///
    /// # Errors
    /// [`ConfigError`] if something is missing or invalid.
    pub fn from_variables(
        get: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Builder, ConfigError> {
        let NativeEnvironment { host, port, source, chosen, .. } = NativeEnvironment::read(get)?;
        #[cfg(feature = "log")]
        log::info!("identity: {chosen}");
        Ok(Self::builder(host).port(port).source(AnySource::try_from(source)?).with_chosen(chosen))
    }
}

/// Calls `read` with the process's variables.
fn variables<T>(
    read: impl FnOnce(&dyn Fn(&'static str) -> Option<String>) -> Result<T, ConfigError>,
) -> Result<T, ConfigError> {
    let odd = Cell::new(None);
    let get = |name| match std::env::var(name) {
        Ok(value) => Some(value),
        Err(VarError::NotPresent) => None,
        // To take it for unset could choose another identity.
        Err(VarError::NotUnicode(_)) => {
            odd.set(Some(name));
            None
        }
    };
    let read = read(&get);
    odd.get().map_or(read, |name| Err(ConfigError::Invalid(name)))
}

impl AnySource {
    /// Takes the identity from the environment: from the variables of
    /// [`Environment`](crate::Environment), but for those of the server. Returns why it is that one, too.
    ///
    /// # Errors
    /// [`ConfigError`] if something is missing, invalid or not supported.
    pub fn from_env() -> Result<(Self, Chosen), ConfigError> {
        variables(|get| Self::from_variables(get))
    }

    /// The same from anything that knows the variables' values.
    ///
    /// # Errors
    /// [`ConfigError`] if something is missing, invalid or not supported.
    pub fn from_variables(
        get: impl Fn(&'static str) -> Option<String>,
    ) -> Result<(Self, Chosen), ConfigError> {
        let (source, chosen) = NativeSource::read(get)?;
        Ok((Self::try_from(source)?, chosen))
    }
}

impl TryFrom<NativeSource> for AnySource {
    type Error = ConfigError;

    fn try_from(source: NativeSource) -> Result<Self, ConfigError> {
        Ok(match source {
            NativeSource::Common(source) => Self::new(source),
            NativeSource::Workload(source) => Self::new(source),
            NativeSource::AzureArc(source) => Self::new(source),
            NativeSource::MachineLearning(source) => Self::new(source),
            NativeSource::CloudShell(source) => Self::new(source),
            NativeSource::Certificate(CertificateFile { authority, client_id, path, password }) => {
                let password = password.as_ref().map(|password| &***password);
                Self::new(ClientCertificate::file(authority, client_id, path, password))
            }
            NativeSource::TokenProxy { source, server_name, roots } => {
                Self::new(TokenProxy::new(source, server_name, roots))
            }
            NativeSource::ServiceFabric { source, thumbprint } => {
                Self::new(ServiceFabric::over(source, thumbprint))
            }
            #[cfg(feature = "developer")]
            NativeSource::Developer(tool) => match tool {
                DeveloperTool::Any => Self::new(TokenChain::developer_tools()),
                DeveloperTool::AzureCli => Self::new(CommandLineTool::azure_cli()),
                DeveloperTool::AzurePowerShell => Self::new(CommandLineTool::azure_powershell()),
                DeveloperTool::AzureDeveloperCli => {
                    Self::new(CommandLineTool::azure_developer_cli())
                }
            },
            #[cfg(not(feature = "developer"))]
            NativeSource::Developer(_) => {
                return Err(ConfigError::Unsupported("AZURE_TOKEN_CREDENTIALS"));
            }
        })
    }
}

#[cfg(feature = "developer")]
impl TokenChain {
    /// The identity that the environment asks for, and after it the [tools](Self::developer_tools) that a
    /// developer is signed in with: the order of `DefaultAzureCredential`. The same program runs on a
    /// laptop and in Azure then.
    ///
    /// # Errors
    /// [`ConfigError`] if a variable of the identity is missing, invalid or not supported.
    pub fn from_env() -> Result<Self, ConfigError> {
        variables(|get| Self::from_variables(get))
    }

    /// The same from anything that knows the variables' values.
    ///
    /// # Errors
    /// [`ConfigError`] if a variable of the identity is missing, invalid or not supported.
    pub fn from_variables(
        get: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let (source, chosen) = AnySource::from_variables(&get)?;
        let (name, chain) = (chosen.credential(), Self::new());
        let probed = matches!(chosen, Chosen::Imds { .. })
            && get("AZURE_POD_IDENTITY_AUTHORITY_HOST").is_none();
        let chain = match probed {
            true => chain.then(name, Probed(source)),
            false => chain.then(name, source),
        };
        Ok(chain.and(Self::developer_tools()))
    }
}
