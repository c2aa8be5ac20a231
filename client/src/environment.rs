//! Configuration by variables, with the names that Azure's own tools use.

#[cfg(feature = "file-sources")]
mod arc;
mod asked;
mod chosen;
#[cfg(feature = "native-sources")]
mod developer_tool;
mod endpoint;
#[cfg(feature = "file-sources")]
mod files;
#[cfg(feature = "native-sources")]
mod native;

use alloc::string::String;

use zeroize::Zeroizing;

use super::error::ConfigError;
use asked::Asked;
pub use chosen::Chosen;
#[cfg(feature = "native-sources")]
pub use developer_tool::DeveloperTool;
#[cfg(feature = "file-sources")]
pub use files::{FileEnvironment, FileSource, ProofFile};
#[cfg(feature = "native-sources")]
pub use native::{CertificateFile, NativeEnvironment, NativeSource, ProxyRoots};
use redis_entraid_core::source::{
    Authority, Input, ManagedIdentity, Selector, ServicePrincipal, Source, SourceError, Step,
};

/// Returns the value of a variable.
type Get<'a> = &'a dyn Fn(&'static str) -> Option<String>;

/// Returns whether there is a file at this path.
#[cfg(feature = "file-sources")]
type HasFile<'a> = &'a dyn Fn(&str) -> bool;

/// What the variables say: which server, and which identity.
///
/// | variable | meaning |
/// |---|---|
/// | `REDIS_ENDPOINT` | the server, `host` or `host:port` |
/// | `REDIS_HOSTNAME`, `REDIS_PORT` | the same apart; the port is 10000 unless set |
///
/// The first row whose variables are set names the identity. The rows with a star are for all hosts; those
/// with two for hosts with files, as Node and Deno (PEM only); the others for native ones, as tokio's:
///
/// | variables | identity |
/// |---|---|
/// | `AZURE_CLIENT_SECRET` * | the service principal `AZURE_CLIENT_ID` of `AZURE_TENANT_ID`, at `AZURE_AUTHORITY_HOST` if that is set |
/// | `AZURE_CLIENT_CERTIFICATE_PATH` ** | the same with the certificate and key in that file, PEM, or with the feature `pfx` of tokio's host PFX, whose password is `AZURE_CLIENT_CERTIFICATE_PASSWORD` |
/// | `AZURE_FEDERATED_TOKEN_FILE` ** | the same with the federated token in that file, as AKS workload identity sets it; through the proxy of AKS identity bindings if `AZURE_KUBERNETES_TOKEN_PROXY` is set (with `AZURE_KUBERNETES_SNI_NAME`, and `AZURE_KUBERNETES_CA_FILE` or `AZURE_KUBERNETES_CA_DATA`) |
/// | `IDENTITY_ENDPOINT`, `IDENTITY_HEADER`, `IDENTITY_SERVER_THUMBPRINT` | the managed identity of an application on Service Fabric |
/// | `IDENTITY_ENDPOINT`, `IDENTITY_HEADER` * | the managed identity of App Service, Functions or Container Apps |
/// | `IDENTITY_ENDPOINT`, `IMDS_ENDPOINT` | the managed identity of a server with Azure Arc |
/// | `MSI_ENDPOINT`, `MSI_SECRET` | the managed identity of Azure Machine Learning |
/// | `MSI_ENDPOINT` | the person in Azure Cloud Shell |
/// | none, not even `AZURE_POD_IDENTITY_AUTHORITY_HOST`, where the agent of Azure Arc is installed: `/opt/azcmagent/bin/himds`, on Windows `%ProgramFiles%\AzureConnectedMachineAgent\himds.exe` | the managed identity of a server with Azure Arc, at the agent's usual endpoint |
/// | * | the managed identity of the machine, asked for at the instance metadata service (at `AZURE_POD_IDENTITY_AUTHORITY_HOST` if that is set) |
///
/// `AZURE_CLIENT_ID` selects the user-assigned managed identity with this client id. It is an error on Service
/// Fabric, Azure Arc and in Cloud Shell, which have no user-assigned identities here. In Azure Machine Learning,
/// `DEFAULT_IDENTITY_CLIENT_ID` is meant if it isn't set.
///
/// A variable that asks for an identity that is not supported is an error that names it, and never another
/// identity; so is the agent of Azure Arc in Node and Deno. So are `AZURE_USERNAME` with `AZURE_PASSWORD`, `AZURE_CLIENT_SEND_CERTIFICATE_CHAIN`,
/// `AZURE_CLIENT_CERTIFICATE_PASSWORD` in Node and Deno, and `IDENTITY_ENDPOINT` or `AZURE_KUBERNETES_TOKEN_PROXY`
/// alone.
/// `AZURE_TOKEN_CREDENTIALS` may be `prod`, or name the credential that these variables lead to:
/// `EnvironmentCredential`, `WorkloadIdentityCredential` or `ManagedIdentityCredential`. On tokio with the
/// feature `developer`, `AzureCliCredential`, `AzurePowerShellCredential` and `AzureDeveloperCliCredential` are
/// the person who is signed in to that tool, whatever else is set, and `dev` is the first of the three that
/// somebody is signed in to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Environment {
    /// The server's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Where its tokens come from.
    pub source: EnvSource,
    /// Why from there.
    pub chosen: Chosen,
}

impl Environment {
    /// Reads the variables through `get`; an empty one counts as none.
    ///
    /// # Errors
    /// [`ConfigError`] if something is missing, invalid or not supported.
    pub fn read(get: impl Fn(&'static str) -> Option<String>) -> Result<Self, ConfigError> {
        let get = |name: &'static str| get(name).filter(|value| !value.is_empty());
        // There are many calls, and it needn't be quick.
        let get: Get<'_> = &get;
        let (host, port) = endpoint::read(get)?;
        let (source, chosen) = common(Asked::by(get)?, get)?;
        chosen.check(get)?;
        Ok(Self { host, port, source, chosen })
    }
}

fn text(get: Get<'_>, name: &'static str) -> Option<EnvironmentText> {
    get(name).map(Zeroizing::new)
}

fn required<T: From<String>>(get: Get<'_>, name: &'static str) -> Result<T, ConfigError> {
    get(name).map(T::from).ok_or(ConfigError::Missing(name))
}

/// An application's authority and client id, and the latter and its tenant for [`Chosen`].
type Application<T> = (Authority<T>, T, (String, String));

fn application<T: From<String> + AsRef<str>>(get: Get<'_>) -> Result<Application<T>, ConfigError> {
    let client_id: String = required(get, "AZURE_CLIENT_ID")?;
    let tenant: String = required(get, "AZURE_TENANT_ID")?;
    let ids = (client_id.clone(), tenant.clone());
    let authority = match get("AZURE_AUTHORITY_HOST") {
        Some(host) => Authority::at_host(T::from(host), T::from(tenant)),
        None => Authority::tenant(T::from(tenant)),
    };
    Ok((authority, client_id.into(), ids))
}

/// One of the identities that every host has.
fn common(asked: Asked, get: Get<'_>) -> Result<(EnvSource, Chosen), ConfigError> {
    match asked {
        Asked::Secret => principal(get),
        Asked::AppService | Asked::Imds => managed(asked, get),
        other => Err(ConfigError::Unsupported(other.variable())),
    }
}

fn principal(get: Get<'_>) -> Result<(EnvSource, Chosen), ConfigError> {
    let (authority, id, (client_id, tenant)) = application(get)?;
    let secret = required(get, "AZURE_CLIENT_SECRET")?;
    let source = ServicePrincipal::with_secret(authority, id, secret);
    source.check()?;
    Ok((EnvSource::Principal(source), Chosen::ServicePrincipal { client_id, tenant }))
}

fn managed(asked: Asked, get: Get<'_>) -> Result<(EnvSource, Chosen), ConfigError> {
    let client_id = get("AZURE_CLIENT_ID");
    let selector = match text(get, "AZURE_CLIENT_ID") {
        Some(id) => Selector::ClientId(id),
        None => Selector::System,
    };
    if matches!(asked, Asked::AppService) {
        let endpoint = required(get, "IDENTITY_ENDPOINT")?;
        let header = required(get, "IDENTITY_HEADER")?;
        let source = ManagedIdentity::app_service(endpoint, header, selector);
        return Ok((EnvSource::Managed(source), Chosen::AppService { client_id }));
    }
    let source = match text(get, "AZURE_POD_IDENTITY_AUTHORITY_HOST") {
        Some(base) => ManagedIdentity::imds_at(base, selector),
        None => ManagedIdentity::imds(selector),
    };
    Ok((EnvSource::Managed(source), Chosen::Imds { client_id }))
}

/// A value of an environment variable, wiped when dropped.
pub type EnvironmentText = Zeroizing<String>;

/// A source that the environment chose.
#[derive(Debug)]
#[non_exhaustive]
pub enum EnvSource {
    /// A service principal.
    Principal(ServicePrincipal<EnvironmentText>),
    /// A managed identity.
    Managed(ManagedIdentity<EnvironmentText>),
}

impl Source for EnvSource {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        match self {
            Self::Principal(source) => source.next(input, request),
            Self::Managed(source) => source.next(input, request),
        }
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Principal(source) => source.identify(feed),
            Self::Managed(source) => source.identify(feed),
        }
    }
}

#[cfg(test)]
mod tests;
