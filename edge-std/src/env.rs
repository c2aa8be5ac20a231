//! Configuration by the environment, with the variables that Azure's own tools use.

use core::cell::Cell;
use std::env::VarError;
use std::path::Path;

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
    /// [`Environment`](redis_entraid_client::Environment).
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
        let NativeEnvironment { host, port, source, chosen, .. } =
            NativeEnvironment::read(get, has_file)?;
        #[cfg(feature = "log")]
        log::info!("identity: {chosen}");
        Ok(Self::builder(host).port(port).source(AnySource::try_from(source)?).with_chosen(chosen))
    }
}

/// Calls `read` with the process's variables, for what reads [`NativeEnvironment`] itself.
///
/// # Errors
/// [`ConfigError`] if a variable that `read` asks for is no Unicode, and those of `read`.
pub fn variables<T>(
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

/// Returns whether there is a file at `path`, for what reads [`NativeEnvironment`] itself.
pub fn has_file(path: &str) -> bool {
    Path::new(path).exists()
}

impl AnySource {
    /// Takes the identity from the environment: from the variables of
    /// [`Environment`](redis_entraid_client::Environment), but for those of the server. Also returns why this
    /// identity was chosen.
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
        let (source, chosen) = NativeSource::read(get, has_file)?;
        Ok((Self::try_from(source)?, chosen))
    }
}

/// For what reads [`NativeEnvironment`] itself.
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
                Self::new(ClientCertificate::from_file(authority, client_id, path, password))
            }
            NativeSource::TokenProxy { source, server_name, roots } => {
                Self::new(TokenProxy::over(source, server_name, roots))
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
    /// The identity that the environment asks for. If no variable asks for one: the managed identity of the
    /// machine, and where there is none the [tools](Self::developer_tools) that a developer is signed in with.
    /// That is the order of `DefaultAzureCredential`, and the same program runs in Azure and on a laptop.
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
        let is_set = |name| get(name).is_some_and(|value: String| !value.is_empty());
        // What is asked for by a variable is that, and no other one.
        let is_asked_for =
            !matches!(chosen, Chosen::Imds { .. } | Chosen::AzureArc { by_variables: false });
        if is_asked_for || is_set("AZURE_TOKEN_CREDENTIALS") {
            return Ok(chain.then(name, source));
        }
        let chain = match is_set("AZURE_POD_IDENTITY_AUTHORITY_HOST") {
            true => chain.then(name, source),
            false => chain.then(name, Probed::new(source)),
        };
        Ok(chain.and(Self::developer_tools()))
    }
}
