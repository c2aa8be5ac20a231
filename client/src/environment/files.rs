//! Applications whose proof is in a file.

use alloc::string::String;

use redis_entraid_core::source::Authority;

use super::{
    Asked, Chosen, EnvSource, EnvironmentText, Get, application, common, endpoint, required,
};
use crate::error::ConfigError;

/// What the variables of [`Environment`](super::Environment) say to a host that may have files, but nothing else
/// of what native identities need: JavaScript's.
#[derive(Debug)]
#[non_exhaustive]
pub struct FileEnvironment {
    /// The server's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Where its tokens come from.
    pub source: FileSource,
    /// Why from there.
    pub chosen: Chosen,
}

impl FileEnvironment {
    /// Reads the variables through `get`; an empty one counts as none. `has_file` returns whether there is a file
    /// at a path. It supports certificates and federated tokens if the host
    /// `has_proof`: it reads them.
    ///
    /// # Errors
    /// [`ConfigError`] if something is missing, invalid or not supported.
    pub fn read(
        get: impl Fn(&'static str) -> Option<String>,
        has_file: impl Fn(&str) -> bool,
        has_proof: bool,
    ) -> Result<Self, ConfigError> {
        let get = |name: &'static str| get(name).filter(|value| !value.is_empty());
        let get: Get<'_> = &get;
        let (host, port) = endpoint::read(get)?;
        let (source, chosen) = FileSource::read(get, has_file, has_proof)?;
        Ok(Self { host, port, source, chosen })
    }
}

/// A source that the environment chose on a host that may have files.
#[derive(Debug)]
pub enum FileSource {
    /// One that every host has.
    Common(EnvSource),
    /// A service principal by its certificate and key.
    Certificate(ProofFile<EnvironmentText>),
    /// A service principal or managed identity by a federated token.
    FederatedToken(ProofFile<EnvironmentText>),
}

impl FileSource {
    /// Reads the variables of the identity alone, for what logs in to no server.
    ///
    /// # Errors
    /// [`ConfigError`] if something is missing, invalid or not supported.
    pub fn read(
        get: impl Fn(&'static str) -> Option<String>,
        has_file: impl Fn(&str) -> bool,
        has_proof: bool,
    ) -> Result<(Self, Chosen), ConfigError> {
        let get = |name: &'static str| get(name).filter(|value| !value.is_empty());
        let get: Get<'_> = &get;
        let asked = Asked::by(get)?.or_of_agent(get, &has_file);
        let (source, chosen) = match asked {
            Asked::ArcAgent => return Err(ConfigError::ArcAgent),
            Asked::Certificate | Asked::FederatedToken if has_proof => {
                let unsupported = match asked {
                    // It is that of a PFX file or an encrypted key.
                    Asked::Certificate => "AZURE_CLIENT_CERTIFICATE_PASSWORD",
                    // It has authorities and a name of its own to verify.
                    _ => "AZURE_KUBERNETES_TOKEN_PROXY",
                };
                if get(unsupported).is_some() {
                    return Err(ConfigError::Unsupported(unsupported));
                }
                let (file, chosen) = proof_file(asked, get)?;
                let source = match asked {
                    Asked::Certificate => Self::Certificate(file),
                    _ => Self::FederatedToken(file),
                };
                (source, chosen)
            }
            asked => {
                let (source, chosen) = common(asked, get)?;
                (Self::Common(source), chosen)
            }
        };
        chosen.check(get)?;
        Ok((source, chosen))
    }
}

/// An application whose proof is in a file.
#[derive(Debug)]
pub struct ProofFile<T> {
    /// Where its tokens are issued.
    pub authority: Authority<T>,
    /// Its application id.
    pub client_id: T,
    /// The file.
    pub path: T,
}

/// The application that was `asked` for by a certificate or a federated token.
pub(super) fn proof_file<T: From<String> + AsRef<str>>(
    asked: Asked,
    get: Get<'_>,
) -> Result<(ProofFile<T>, Chosen), ConfigError> {
    let (authority, id, (client_id, tenant)) = application::<T>(get)?;
    authority.check()?;
    let path = required(get, asked.variable())?;
    let chosen = match asked {
        Asked::Certificate => {
            // For certificates that are known by their issuer, which Entra allows to a few.
            let name = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN";
            let chain = get(name);
            if chain.is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")) {
                return Err(ConfigError::Unsupported(name));
            }
            Chosen::ClientCertificate { client_id, tenant }
        }
        _ => Chosen::WorkloadIdentity { client_id, tenant },
    };
    Ok((ProofFile { authority, client_id: id, path }, chosen))
}
