//! Configuration by variables, with the names that Azure's own tools use.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt;

use zeroize::Zeroizing;

use super::error::ConfigError;
use redis_entraid_core::source::{
    Authority, Input, ManagedIdentity, Selector, ServicePrincipal, Source, SourceError, Step,
};
use redis_entraid_core::transport::PORT;

/// What the variables say: which server, and which identity.
///
/// | variable | meaning |
/// |---|---|
/// | `REDIS_ENDPOINT` | the server, `host` or `host:port` |
/// | `REDIS_HOSTNAME`, `REDIS_PORT` | the same apart; the port is 10000 unless set |
/// | `AZURE_CLIENT_SECRET` | if set: the service principal `AZURE_CLIENT_ID` of `AZURE_TENANT_ID`, at `AZURE_AUTHORITY_HOST` if that is set |
/// | `IDENTITY_ENDPOINT`, `IDENTITY_HEADER` | else, if both are set: the managed identity of App Service, Functions or Container Apps |
/// | `IDENTITY_SERVER_THUMBPRINT` | with these: Service Fabric, which is not supported, and an error |
/// | | else: the managed identity of the machine, asked for at the instance metadata service (at `AZURE_POD_IDENTITY_AUTHORITY_HOST` if that is set) |
/// | `AZURE_CLIENT_ID` | with a managed identity: the user-assigned one with this client id |
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
    /// [`ConfigError`] if something is missing or invalid.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        // There are many calls, and it needn't be quick.
        let get: &dyn Fn(&str) -> Option<String> = &get;
        let (host, port) = endpoint(get)?;
        let text = |name: &str| get(name).map(Zeroizing::new);
        let client_id = get("AZURE_CLIENT_ID");
        let selector = match text("AZURE_CLIENT_ID") {
            Some(id) => Selector::ClientId(id),
            None => Selector::System,
        };
        let (source, chosen) = match (
            text("AZURE_CLIENT_SECRET"),
            text("IDENTITY_ENDPOINT").zip(text("IDENTITY_HEADER")),
        ) {
            (Some(secret), _) => {
                let client_id = client_id.ok_or(ConfigError::Missing("AZURE_CLIENT_ID"))?;
                let tenant = text("AZURE_TENANT_ID");
                let tenant = tenant.ok_or(ConfigError::Missing("AZURE_TENANT_ID"))?;
                let chosen = Chosen::ServicePrincipal {
                    client_id: client_id.clone(),
                    tenant: tenant.as_str().to_owned(),
                };
                let authority = match text("AZURE_AUTHORITY_HOST") {
                    Some(host) => Authority::at_host(host, tenant),
                    None => Authority::tenant(tenant),
                };
                let source = ServicePrincipal::with_secret(authority, client_id.into(), secret);
                source.check()?;
                (EnvSource::Principal(source), chosen)
            }
            // Service Fabric, whose endpoint has a certificate that is known by that alone.
            (None, Some(_)) if get("IDENTITY_SERVER_THUMBPRINT").is_some() => {
                return Err(ConfigError::Unsupported("IDENTITY_SERVER_THUMBPRINT"));
            }
            (None, Some((endpoint, header))) => {
                let source = ManagedIdentity::app_service(endpoint, header, selector);
                (EnvSource::Managed(source), Chosen::AppService { client_id })
            }
            (None, None) => {
                let source = match text("AZURE_POD_IDENTITY_AUTHORITY_HOST") {
                    Some(base) => ManagedIdentity::imds_at(base, selector),
                    None => ManagedIdentity::imds(selector),
                };
                (EnvSource::Managed(source), Chosen::Imds { client_id })
            }
        };
        Ok(Self { host, port, source, chosen })
    }
}

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
    /// The managed identity of an app, since `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` are set.
    AppService {
        /// The application id of a user-assigned one.
        client_id: Option<String>,
    },
    /// The managed identity of the machine, since nothing else is set.
    Imds {
        /// The application id of a user-assigned one.
        client_id: Option<String>,
    },
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
            Self::AppService { client_id } => write!(
                f,
                "managed identity of this app, {} (IDENTITY_ENDPOINT and IDENTITY_HEADER are set)",
                assigned(client_id)
            ),
            Self::Imds { client_id } => write!(
                f,
                "managed identity of this machine, {} (neither AZURE_CLIENT_SECRET nor \
                IDENTITY_ENDPOINT is set)",
                assigned(client_id)
            ),
        }
    }
}

/// EnvironmentText of the environment's, wiped in the end.
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

/// The server's host and port.
fn endpoint(get: &dyn Fn(&str) -> Option<String>) -> Result<(String, u16), ConfigError> {
    let port = |text: &str, name| text.parse().map_err(|_| ConfigError::Invalid(name));
    let host = |host: &str, name| match host.trim_matches(['[', ']']) {
        // Without TLS there is no login at all.
        host if host.is_empty() || host.contains("://") => Err(ConfigError::Invalid(name)),
        host => Ok(host.to_owned()),
    };
    if let Some(endpoint) = get("REDIS_ENDPOINT") {
        let endpoint = endpoint.strip_prefix("rediss://").unwrap_or(&endpoint);
        let endpoint = endpoint.trim_end_matches('/');
        let name = "REDIS_ENDPOINT";
        return match endpoint.rsplit_once(':') {
            // An IPv6 address has more colons than one, and brackets if a port follows.
            Some((name_of, number)) if !name_of.contains(':') || name_of.ends_with(']') => {
                Ok((host(name_of, name)?, port(number, name)?))
            }
            _ => Ok((host(endpoint, name)?, PORT)),
        };
    }
    let name = "REDIS_HOSTNAME";
    let host = host(&get(name).ok_or(ConfigError::Missing(name))?, name)?;
    let number = get("REDIS_PORT").map_or(Ok(PORT), |number| port(&number, "REDIS_PORT"))?;
    Ok((host, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn from(variables: &[(&str, &str)]) -> Result<Environment, ConfigError> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Environment::read(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn one_rule_chooses_the_identity() {
        let host = ("REDIS_HOSTNAME", "h");
        let chosen = |variables: &[(&str, &str)]| from(variables).unwrap().chosen.to_string();
        assert!(chosen(&[host]).starts_with("managed identity of this machine, system-assigned"));
        assert!(
            chosen(&[host, ("AZURE_CLIENT_ID", "c"), ("IDENTITY_ENDPOINT", "http://x")])
                .starts_with("managed identity of this machine, user-assigned, client id c")
        );
        let app = [host, ("IDENTITY_ENDPOINT", "http://x"), ("IDENTITY_HEADER", "h")];
        assert!(chosen(&app).starts_with("managed identity of this app"));
        let principal = [
            host,
            ("IDENTITY_ENDPOINT", "http://x"),
            ("IDENTITY_HEADER", "h"),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_CLIENT_SECRET", "hush"),
            ("AZURE_TENANT_ID", "t"),
        ];
        let sentence = chosen(&principal);
        assert_eq!(sentence, "service principal c of tenant t (AZURE_CLIENT_SECRET is set)");
    }

    #[test]
    fn service_fabric_is_refused_by_its_variable_and_left_over_names_are_not_looked_at() {
        let app = [
            ("REDIS_HOSTNAME", "h"),
            ("IDENTITY_ENDPOINT", "https://localhost:2377/token"),
            ("IDENTITY_HEADER", "h"),
            ("IDENTITY_SERVER_THUMBPRINT", "aa"),
        ];
        let error = from(&app).unwrap_err();
        assert_eq!(error, ConfigError::Unsupported("IDENTITY_SERVER_THUMBPRINT"));
        assert!(error.to_string().contains("IDENTITY_SERVER_THUMBPRINT"));
        // What an older host has left there says nothing.
        let old = [app[0], app[1], app[2], ("MSI_ENDPOINT", "http://x"), ("MSI_SECRET", "s")];
        assert_eq!(from(&old).unwrap().chosen, Chosen::AppService { client_id: None });
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert_eq!(from(&[]).unwrap_err(), ConfigError::Missing("REDIS_HOSTNAME"));
        let error = from(&[("REDIS_HOSTNAME", "h"), ("REDIS_PORT", "x")]).unwrap_err();
        assert_eq!(error, ConfigError::Invalid("REDIS_PORT"));
        let secret = &[("REDIS_HOSTNAME", "h"), ("AZURE_CLIENT_SECRET", "s")];
        assert_eq!(from(secret).unwrap_err(), ConfigError::Missing("AZURE_CLIENT_ID"));
        let error = from(&[
            ("REDIS_HOSTNAME", "h"),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_CLIENT_SECRET", "s"),
            ("AZURE_TENANT_ID", "common"),
        ]);
        assert!(error.unwrap_err().to_string().contains("needs a tenant"));
    }

    #[test]
    fn the_endpoint_may_have_its_port() {
        let endpoint =
            |text: &'static str| endpoint(&|name| (name == "REDIS_ENDPOINT").then(|| text.into()));
        let is = |host: &str, port| Ok((host.to_owned(), port));
        assert_eq!(endpoint("a.b.redis.azure.net:10001"), is("a.b.redis.azure.net", 10_001));
        assert_eq!(endpoint("a.b.redis.azure.net"), is("a.b.redis.azure.net", 10_000));
        assert_eq!(endpoint("rediss://a:1/"), is("a", 1));
        assert_eq!(endpoint("[::1]:5"), is("::1", 5));
        assert_eq!(endpoint("::1"), is("::1", 10_000));
        for wrong in ["a:x", "redis://a:1", "redis://a", "rediss://", ":1", "[]:1"] {
            assert_eq!(endpoint(wrong), Err(ConfigError::Invalid("REDIS_ENDPOINT")), "{wrong}");
        }
    }
}
