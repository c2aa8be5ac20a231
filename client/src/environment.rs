//! Configuration by variables, with the names that Azure's own tools use.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt;

use zeroize::Zeroizing;

use super::error::ConfigError;
#[cfg(feature = "files")]
use redis_entraid_core::source::WorkloadIdentity;
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
/// | `AZURE_FEDERATED_TOKEN_FILE` | else: the same with the federated token in that file, as AKS workload identity sets it; on hosts that read files |
/// | `IDENTITY_ENDPOINT`, `IDENTITY_HEADER` | else, if both are set: the managed identity of App Service, Functions or Container Apps |
/// | | else: the managed identity of the machine, asked for at the instance metadata service (at `AZURE_POD_IDENTITY_AUTHORITY_HOST` if that is set) |
/// | `AZURE_CLIENT_ID` | with a managed identity: the user-assigned one with this client id |
///
/// These ask for an identity that is not supported, and are an error that names them, rather than another
/// identity: `AZURE_CLIENT_CERTIFICATE_PATH`, or `AZURE_USERNAME` and `AZURE_PASSWORD`, without a secret;
/// `AZURE_KUBERNETES_TOKEN_PROXY` with a federated token (AKS identity bindings);
/// `IDENTITY_SERVER_THUMBPRINT` with an `IDENTITY_HEADER` (Service Fabric); and without one, `IMDS_ENDPOINT`
/// with an `IDENTITY_ENDPOINT` (Azure Arc) and `MSI_ENDPOINT` (Cloud Shell, Azure ML). An
/// `IDENTITY_ENDPOINT` alone is an error, too: its header is missing.
/// `AZURE_TOKEN_CREDENTIALS` may be `prod`, or name the credential that these variables lead to:
/// `EnvironmentCredential`, `WorkloadIdentityCredential` or `ManagedIdentityCredential`.
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
        let get: &dyn Fn(&'static str) -> Option<String> = &get;
        let (host, port) = endpoint(get)?;
        let (source, chosen) = identity(get)?;
        if let Some(asked) = get("AZURE_TOKEN_CREDENTIALS")
            && !chosen.credentials().iter().any(|known| asked.eq_ignore_ascii_case(known))
        {
            return Err(ConfigError::Unsupported("AZURE_TOKEN_CREDENTIALS"));
        }
        Ok(Self { host, port, source, chosen })
    }
}

/// Asks for an identity that is not supported: a variable, and one that has to be set with it.
type Refused = (&'static str, &'static str);

/// What asks for another proof than a client secret.
const INSTEAD_OF_A_SECRET: &[Refused] = &[
    ("AZURE_CLIENT_CERTIFICATE_PATH", ""),
    ("AZURE_USERNAME", "AZURE_PASSWORD"),
    #[cfg(not(feature = "files"))]
    ("AZURE_FEDERATED_TOKEN_FILE", ""),
];

/// Returns the first of the `refused` that is set, as an error.
fn refuse(
    get: &dyn Fn(&'static str) -> Option<String>,
    refused: &[Refused],
) -> Result<(), ConfigError> {
    for (name, beside) in refused {
        if get(name).is_some() && (beside.is_empty() || get(beside).is_some()) {
            return Err(ConfigError::Unsupported(name));
        }
    }
    Ok(())
}

/// The identity that the variables ask for.
fn identity(
    get: &dyn Fn(&'static str) -> Option<String>,
) -> Result<(EnvSource, Chosen), ConfigError> {
    let text = |name: &'static str| get(name).map(Zeroizing::new);
    let required = |name| text(name).ok_or(ConfigError::Missing(name));
    let (secret, file) = (text("AZURE_CLIENT_SECRET"), text("AZURE_FEDERATED_TOKEN_FILE"));
    refuse(get, if secret.is_some() { &[] } else { INSTEAD_OF_A_SECRET })?;
    if secret.is_some() || file.is_some() {
        let client_id = required("AZURE_CLIENT_ID")?;
        let tenant = required("AZURE_TENANT_ID")?;
        let (id, of) = (client_id.as_str().to_owned(), tenant.as_str().to_owned());
        let authority = match text("AZURE_AUTHORITY_HOST") {
            Some(host) => Authority::at_host(host, tenant),
            None => Authority::tenant(tenant),
        };
        #[cfg(feature = "files")]
        if secret.is_none() {
            refuse(get, &[("AZURE_KUBERNETES_TOKEN_PROXY", "")])?;
            let source = WorkloadIdentity::new(authority, client_id, file.unwrap_or_default());
            source.check()?;
            let chosen = Chosen::WorkloadIdentity { client_id: id, tenant: of };
            return Ok((EnvSource::Workload(source), chosen));
        }
        let source =
            ServicePrincipal::with_secret(authority, client_id, secret.unwrap_or_default());
        source.check()?;
        let chosen = Chosen::ServicePrincipal { client_id: id, tenant: of };
        return Ok((EnvSource::Principal(source), chosen));
    }
    let client_id = get("AZURE_CLIENT_ID");
    let selector = match text("AZURE_CLIENT_ID") {
        Some(id) => Selector::ClientId(id),
        None => Selector::System,
    };
    if let Some((endpoint, header)) = text("IDENTITY_ENDPOINT").zip(text("IDENTITY_HEADER")) {
        // Service Fabric, whose endpoint has a certificate that is known by that alone.
        refuse(get, &[("IDENTITY_SERVER_THUMBPRINT", "")])?;
        let source = ManagedIdentity::app_service(endpoint, header, selector);
        return Ok((EnvSource::Managed(source), Chosen::AppService { client_id }));
    }
    // Azure Arc, Cloud Shell and Azure ML.
    refuse(get, &[("IMDS_ENDPOINT", "IDENTITY_ENDPOINT"), ("MSI_ENDPOINT", "")])?;
    if get("IDENTITY_ENDPOINT").is_some() {
        return Err(ConfigError::Missing("IDENTITY_HEADER"));
    }
    let source = match text("AZURE_POD_IDENTITY_AUTHORITY_HOST") {
        Some(base) => ManagedIdentity::imds_at(base, selector),
        None => ManagedIdentity::imds(selector),
    };
    Ok((EnvSource::Managed(source), Chosen::Imds { client_id }))
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
    /// A service principal or managed identity by a federated token, since `AZURE_FEDERATED_TOKEN_FILE` is
    /// set.
    WorkloadIdentity {
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

impl Chosen {
    /// The values of `AZURE_TOKEN_CREDENTIALS` by which Microsoft's libraries choose it, too.
    const fn credentials(&self) -> &'static [&'static str] {
        match self {
            Self::ServicePrincipal { .. } => &["prod", "EnvironmentCredential"],
            Self::WorkloadIdentity { .. } => {
                &["prod", "WorkloadIdentityCredential", "ManagedIdentityCredential"]
            }
            Self::AppService { .. } | Self::Imds { .. } => &["prod", "ManagedIdentityCredential"],
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
            Self::WorkloadIdentity { client_id, tenant } => write!(
                f,
                "workload identity {client_id} of tenant {tenant} (AZURE_FEDERATED_TOKEN_FILE is set)"
            ),
            Self::AppService { client_id } => write!(
                f,
                "managed identity of this app, {} (IDENTITY_ENDPOINT and IDENTITY_HEADER are set)",
                assigned(client_id)
            ),
            Self::Imds { client_id } => write!(
                f,
                "managed identity of this machine, {} (no variable of another identity is set)",
                assigned(client_id)
            ),
        }
    }
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
    /// Workload identity.
    #[cfg(feature = "files")]
    Workload(WorkloadIdentity<EnvironmentText>),
}

impl Source for EnvSource {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        match self {
            Self::Principal(source) => source.next(input, request),
            Self::Managed(source) => source.next(input, request),
            #[cfg(feature = "files")]
            Self::Workload(source) => source.next(input, request),
        }
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Principal(source) => source.identify(feed),
            Self::Managed(source) => source.identify(feed),
            #[cfg(feature = "files")]
            Self::Workload(source) => source.identify(feed),
        }
    }
}

/// The server's host and port.
fn endpoint(get: &dyn Fn(&'static str) -> Option<String>) -> Result<(String, u16), ConfigError> {
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
    use std::vec::Vec;

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
            chosen(&[host, ("AZURE_CLIENT_ID", "c")])
                .starts_with("managed identity of this machine, user-assigned, client id c")
        );
        // The header got lost on the way here: another identity must not take its place.
        let endpoint = ("IDENTITY_ENDPOINT", "http://x");
        let missing = ConfigError::Missing("IDENTITY_HEADER");
        assert_eq!(from(&[host, endpoint]).unwrap_err(), missing);
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

    const HOST: (&str, &str) = ("REDIS_HOSTNAME", "h");
    const WORKLOAD: [(&str, &str); 4] = [
        HOST,
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/azure/tokens/azure-identity-token"),
    ];

    #[cfg(not(feature = "files"))]
    #[test]
    fn a_host_without_files_names_the_variable_of_the_federated_token() {
        let error = from(&WORKLOAD).unwrap_err();
        assert_eq!(error, ConfigError::Unsupported("AZURE_FEDERATED_TOKEN_FILE"));
    }

    #[cfg(feature = "files")]
    #[test]
    fn workload_identity_is_chosen_before_a_managed_identity_and_after_a_secret() {
        let app = [("IDENTITY_ENDPOINT", "http://x"), ("IDENTITY_HEADER", "h")];
        let both = [&WORKLOAD[..], &app].concat();
        let said = "workload identity c of tenant t (AZURE_FEDERATED_TOKEN_FILE is set)";
        assert_eq!(from(&both).unwrap().chosen.to_string(), said);
        let secret = [&WORKLOAD[..], &[("AZURE_CLIENT_SECRET", "s")]].concat();
        assert!(matches!(from(&secret).unwrap().chosen, Chosen::ServicePrincipal { .. }));
        for missing in ["AZURE_CLIENT_ID", "AZURE_TENANT_ID"] {
            let rest: Vec<_> = WORKLOAD.into_iter().filter(|(name, _)| *name != missing).collect();
            assert_eq!(from(&rest).unwrap_err(), ConfigError::Missing(missing));
        }
    }

    #[test]
    fn what_asks_for_an_identity_that_is_not_supported_is_named_and_never_another_identity() {
        let endpoint = ("IDENTITY_ENDPOINT", "https://localhost:2377/token");
        let header = ("IDENTITY_HEADER", "h");
        let cases: [(&str, &[(&str, &str)]); 7] = [
            ("AZURE_CLIENT_CERTIFICATE_PATH", &[]),
            ("IDENTITY_SERVER_THUMBPRINT", &[endpoint, header]),
            ("IMDS_ENDPOINT", &[endpoint]),
            ("MSI_ENDPOINT", &[]),
            ("MSI_ENDPOINT", &[("MSI_SECRET", "s")]),
            ("MSI_ENDPOINT", &[("MSI_SECRET", "s"), endpoint]),
            ("AZURE_USERNAME", &[("AZURE_PASSWORD", "s")]),
        ];
        for (asks, beside) in cases {
            let variables = [&[HOST, (asks, "x")], beside].concat();
            let error = from(&variables).unwrap_err();
            assert_eq!(error, ConfigError::Unsupported(asks), "{variables:?}");
            assert!(error.to_string().contains(asks), "{error}");
        }
        // What an older host has left there says nothing.
        let old = [HOST, endpoint, header, ("MSI_ENDPOINT", "http://x"), ("MSI_SECRET", "s")];
        assert_eq!(from(&old).unwrap().chosen, Chosen::AppService { client_id: None });
    }

    #[test]
    fn a_credential_that_is_named_must_be_the_one_that_is_chosen() {
        let asks = |name, beside: &[_]| {
            from(&[&[("AZURE_TOKEN_CREDENTIALS", name)], beside].concat()).map(|read| read.chosen)
        };
        let unsupported = Err(ConfigError::Unsupported("AZURE_TOKEN_CREDENTIALS"));
        assert!(asks("prod", &[HOST]).is_ok());
        assert!(asks("managedidentitycredential", &[HOST]).is_ok());
        if cfg!(feature = "files") {
            assert!(asks("PROD", &WORKLOAD).is_ok());
            assert!(asks("WorkloadIdentityCredential", &WORKLOAD).is_ok());
            assert!(asks("ManagedIdentityCredential", &WORKLOAD).is_ok());
            assert_eq!(asks("EnvironmentCredential", &WORKLOAD), unsupported);
            let proxy = [&WORKLOAD[..], &[("AZURE_KUBERNETES_TOKEN_PROXY", "x")]].concat();
            let error = Err(ConfigError::Unsupported("AZURE_KUBERNETES_TOKEN_PROXY"));
            assert_eq!(asks("prod", &proxy), error);
        }
        assert_eq!(asks("WorkloadIdentityCredential", &[HOST]), unsupported);
        for name in ["dev", "AzureCliCredential"] {
            assert_eq!(asks(name, &[HOST]), unsupported);
        }
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
