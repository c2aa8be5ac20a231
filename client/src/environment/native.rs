//! Identities that need files, keys, TLS of their own, or a person's machine.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;

use redis_entraid_core::source::{
    AZURE_ARC_ENDPOINT, Authority, AzureArc, CloudShell, MachineLearning, ServiceFabric,
    WorkloadIdentity,
};

use super::files::{ProofFile, proof_file};
use super::{
    Asked, Chosen, DeveloperTool, EnvSource, EnvironmentText, Get, common, endpoint, required, text,
};
use crate::error::ConfigError;

/// What the variables of [`Environment`](super::Environment) say to a host that supports all identities.
#[derive(Debug)]
#[non_exhaustive]
pub struct NativeEnvironment {
    /// The server's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Where its tokens come from.
    pub source: NativeSource,
    /// Why from there.
    pub chosen: Chosen,
}

impl NativeEnvironment {
    /// Reads the variables through `get`; an empty one counts as none. `has_file` returns whether there is a file
    /// at a path.
    ///
    /// # Errors
    /// [`ConfigError`] if something is missing, invalid or not supported.
    pub fn read(
        get: impl Fn(&'static str) -> Option<String>,
        has_file: impl Fn(&str) -> bool,
    ) -> Result<Self, ConfigError> {
        let get = |name: &'static str| get(name).filter(|value| !value.is_empty());
        let get: Get<'_> = &get;
        let (host, port) = endpoint::read(get)?;
        let (source, chosen) = NativeSource::read(get, has_file)?;
        Ok(Self { host, port, source, chosen })
    }
}

/// A source that the environment chose on a host that supports all: a host has to know each of them.
#[derive(Debug)]
pub enum NativeSource {
    /// One that every host has.
    Common(EnvSource),
    /// A service principal by its certificate.
    Certificate(CertificateFile),
    /// Workload identity.
    Workload(WorkloadIdentity<EnvironmentText>),
    /// Workload identity through the proxy of AKS identity bindings.
    TokenProxy {
        /// The source.
        source: WorkloadIdentity<EnvironmentText>,
        /// The name that the proxy's certificate is for, if it isn't that of its URL.
        server_name: Option<String>,
        /// The certificate authorities to trust at the proxy.
        roots: ProxyRoots,
    },
    /// Service Fabric.
    ServiceFabric {
        /// The source.
        source: ServiceFabric<EnvironmentText>,
        /// The SHA-1 of the only certificate to accept.
        thumbprint: [u8; 20],
    },
    /// Azure Arc.
    AzureArc(AzureArc<EnvironmentText>),
    /// Azure Machine Learning.
    MachineLearning(MachineLearning<EnvironmentText>),
    /// Cloud Shell.
    CloudShell(CloudShell<EnvironmentText>),
    /// A person who is signed in to a tool on a developer's machine.
    Developer(DeveloperTool),
}

impl NativeSource {
    /// Reads the variables of the identity alone.
    ///
    /// # Errors
    /// [`ConfigError`] if something is missing, invalid or not supported.
    pub fn read(
        get: impl Fn(&'static str) -> Option<String>,
        has_file: impl Fn(&str) -> bool,
    ) -> Result<(Self, Chosen), ConfigError> {
        let get = |name: &'static str| get(name).filter(|value| !value.is_empty());
        let get: Get<'_> = &get;
        if let Some(tool) = DeveloperTool::asked(get) {
            return Ok((Self::Developer(tool), Chosen::Developer { tool }));
        }
        let asked = Asked::by(get)?.or_of_agent(get, &has_file);
        let (source, chosen) = source(asked, get)?;
        chosen.check(get)?;
        Ok((source, chosen))
    }
}

/// An application whose certificate and key are in a file.
pub struct CertificateFile {
    /// Where its tokens are issued.
    pub authority: Authority<String>,
    /// Its application id.
    pub client_id: String,
    /// The file.
    pub path: String,
    /// The file's password, if it has one.
    pub password: Option<EnvironmentText>,
}

impl fmt::Debug for CertificateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { authority, client_id, path, password: _ } = self;
        f.debug_struct("CertificateFile")
            .field("authority", authority)
            .field("client_id", client_id)
            .field("path", path)
            .finish_non_exhaustive()
    }
}

/// The certificate authorities of a token proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyRoots {
    /// Those that the host trusts anyhow.
    Usual,
    /// Those in this file, PEM, which may be replaced.
    File(String),
    /// These, PEM.
    Pem(String),
}

fn source(asked: Asked, get: Get<'_>) -> Result<(NativeSource, Chosen), ConfigError> {
    Ok(match asked {
        Asked::Secret | Asked::AppService | Asked::Imds => {
            let (source, chosen) = common(asked, get)?;
            (NativeSource::Common(source), chosen)
        }
        Asked::Certificate => {
            let (ProofFile { authority, client_id, path }, chosen) = proof_file(asked, get)?;
            let password = text(get, "AZURE_CLIENT_CERTIFICATE_PASSWORD");
            let file = CertificateFile { authority, client_id, path, password };
            (NativeSource::Certificate(file), chosen)
        }
        Asked::FederatedToken => workload(get)?,
        Asked::ServiceFabric => {
            unselected(get)?;
            let endpoint = required(get, "IDENTITY_ENDPOINT")?;
            let source = ServiceFabric::new(endpoint, required(get, "IDENTITY_HEADER")?);
            let name = "IDENTITY_SERVER_THUMBPRINT";
            let thumbprint: String = required(get, name)?;
            let thumbprint = sha1(&thumbprint).ok_or(ConfigError::Invalid(name))?;
            (NativeSource::ServiceFabric { source, thumbprint }, Chosen::ServiceFabric)
        }
        Asked::AzureArc | Asked::ArcAgent => {
            unselected(get)?;
            let by_variables = asked == Asked::AzureArc;
            let endpoint = match by_variables {
                true => required(get, "IDENTITY_ENDPOINT")?,
                false => AZURE_ARC_ENDPOINT.to_owned().into(),
            };
            let mut source = AzureArc::new(endpoint);
            if cfg!(windows) {
                let data: String = required(get, "ProgramData")?;
                source = source.with_folder((data + r"\AzureConnectedMachineAgent\Tokens").into());
            }
            (NativeSource::AzureArc(source), Chosen::AzureArc { by_variables })
        }
        Asked::MachineLearning => {
            let endpoint = required(get, "MSI_ENDPOINT")?;
            let mut source = MachineLearning::new(endpoint, required(get, "MSI_SECRET")?);
            let client_id = get("AZURE_CLIENT_ID").or_else(|| get("DEFAULT_IDENTITY_CLIENT_ID"));
            if let Some(id) = &client_id {
                source = source.with_client_id(id.clone().into());
            }
            (NativeSource::MachineLearning(source), Chosen::MachineLearning { client_id })
        }
        Asked::CloudShell => {
            unselected(get)?;
            let source = CloudShell::new(required(get, "MSI_ENDPOINT")?);
            (NativeSource::CloudShell(source), Chosen::CloudShell)
        }
    })
}

/// There is one identity: to ask for another one must not lead to it.
fn unselected(get: Get<'_>) -> Result<(), ConfigError> {
    get("AZURE_CLIENT_ID").map_or(Ok(()), |_| Err(ConfigError::Unsupported("AZURE_CLIENT_ID")))
}

fn workload(get: Get<'_>) -> Result<(NativeSource, Chosen), ConfigError> {
    let (ProofFile { authority, client_id, path }, chosen) =
        proof_file(Asked::FederatedToken, get)?;
    let source = WorkloadIdentity::new(authority, client_id, path);
    let server_name = get("AZURE_KUBERNETES_SNI_NAME");
    let roots = match (get("AZURE_KUBERNETES_CA_FILE"), get("AZURE_KUBERNETES_CA_DATA")) {
        (Some(_), Some(_)) => {
            let (one, other) = ("AZURE_KUBERNETES_CA_FILE", "AZURE_KUBERNETES_CA_DATA");
            return Err(ConfigError::Both(one, other));
        }
        (Some(path), None) => ProxyRoots::File(path),
        (None, Some(pem)) => ProxyRoots::Pem(pem),
        (None, None) => ProxyRoots::Usual,
    };
    let Some(proxy) = text(get, "AZURE_KUBERNETES_TOKEN_PROXY") else {
        if server_name.is_some() || roots != ProxyRoots::Usual {
            return Err(ConfigError::Missing("AZURE_KUBERNETES_TOKEN_PROXY"));
        }
        source.check()?;
        return Ok((NativeSource::Workload(source), chosen));
    };
    let source = source.with_proxy(proxy);
    source.check()?;
    Ok((NativeSource::TokenProxy { source, server_name, roots }, chosen))
}

/// The 20 bytes that `text` has in hexadecimal.
fn sha1(text: &str) -> Option<[u8; 20]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = [0; 20];
    if pairs.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(bytes)
}
