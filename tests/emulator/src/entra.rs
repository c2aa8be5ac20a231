//! Microsoft Entra ID: the directory, and its token endpoint.

mod assertion;
pub(crate) mod grants;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::Shared;
use crate::capture::{Captured, find};
use crate::http::message::{Answer, Reaction};
use crate::token::{Issuer, RESOURCE, is_redis, now, random_hex};
pub use assertion::Certificate;
use assertion::{Expected, names_a_certificate};
pub(crate) use grants::Granted;

/// An application, or a managed identity, as the directory has it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The application id, which is not what one logs in with.
    pub client_id: String,
    /// The object id of the service principal: the user name at the server.
    pub object_id: String,
    /// The resource id of a user-assigned managed identity.
    pub resource_id: Option<String>,
}

/// The directory, and what it has given out.
#[derive(Debug)]
pub struct Entra {
    /// The tenant's id.
    pub tenant: String,
    /// The application that has a secret.
    pub principal: Identity,
    /// That secret.
    pub secret: String,
    /// The certificate that it has, too.
    pub certificate: Certificate,
    /// The machine's own identity.
    pub system_assigned: Identity,
    /// The one that was assigned to it.
    pub user_assigned: Identity,
    /// The federated token that proves the application as its secret does: another issuer's.
    federated_token: Mutex<String>,
    /// Where that lies.
    federated_token_file: PathBuf,
    /// What `X-IDENTITY-HEADER` must say, and `Secret` at Service Fabric.
    pub identity_header: String,
    /// What `secret` must say at Azure Machine Learning.
    pub msi_secret: String,
    issuer: Issuer,
    life: u64,
    last: Mutex<HashMap<String, Granted>>,
    pub(crate) given_out: Mutex<Vec<String>>,
}

/// A random GUID.
pub(crate) fn guid() -> String {
    let hex = random_hex();
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..]);
    format!("{a}-{b}-4{c}-8{d}-{e}")
}

impl Identity {
    fn new(resource_id: Option<String>) -> Self {
        Self { client_id: guid(), object_id: guid(), resource_id }
    }
}

impl Entra {
    /// A directory whose tokens live for `life` seconds, and which has its files in `folder`.
    pub(crate) fn new(life: u64, folder: &Path) -> std::io::Result<Self> {
        let tenant = guid();
        let resource = |name: &str| {
            let group =
                "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/emulator";
            format!("{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}")
        };
        let (token, file) = (federated_token(), folder.join("federated-token"));
        std::fs::write(&file, &token)?;
        Ok(Self {
            issuer: Issuer::new(&tenant)?,
            tenant,
            principal: Identity::new(None),
            // With characters that have to be encoded.
            secret: format!("s3cr+t&{}~=", random_hex()),
            certificate: Certificate::shared()?,
            federated_token: Mutex::new(token),
            federated_token_file: file,
            system_assigned: Identity::new(None),
            user_assigned: Identity::new(Some(resource("gateway"))),
            identity_header: random_hex(),
            msi_secret: random_hex(),
            life,
            last: Mutex::default(),
            given_out: Mutex::default(),
        })
    }

    /// A user name and a password to log in with: for clients that get no tokens themselves.
    ///
    /// # Panics
    /// If a thread did while it held the tokens.
    pub fn login(&self) -> (String, String) {
        let Identity { object_id, client_id, .. } = &self.principal;
        let token = self.issuer.token(object_id, client_id, None, RESOURCE, now() + self.life);
        self.given_out.lock().expect("nobody panics with it").push(token.clone());
        (object_id.clone(), token)
    }

    /// Whether `user` may log in with `token`; answers with the second in which it ends.
    pub(crate) fn check(&self, user: &str, token: &str) -> Result<u64, &'static str> {
        let assigned = [&self.principal, &self.system_assigned, &self.user_assigned];
        if assigned.iter().all(|identity| identity.object_id != user) {
            return Err("no access policy assignment");
        }
        self.issuer.check(user, token)
    }

    /// The federated token of the application: the content of its file.
    ///
    /// # Panics
    /// If a thread did while it held the token.
    pub fn federated_token(&self) -> String {
        self.federated_token.lock().expect("nobody panics with it").clone()
    }

    /// Replaces the federated token and its file, as a Kubernetes node does every hour. The old one is
    /// refused then.
    ///
    /// # Panics
    /// If a thread did while it held the token, or if the file can't be written.
    pub fn rotate_federated_token(&self) {
        let mut held = self.federated_token.lock().expect("nobody panics with it");
        *held = federated_token();
        // Nobody reads half of it.
        let new = self.federated_token_file.with_extension("new");
        std::fs::write(&new, &*held).expect("the emulator's folder is there");
        std::fs::rename(&new, &self.federated_token_file).expect("the emulator's folder is there");
    }

    /// The file with the federated token.
    pub fn federated_token_file(&self) -> &Path {
        &self.federated_token_file
    }

    /// The discovery document (OpenID Connect Discovery 1.0).
    pub(crate) fn discovery(&self, base: &str) -> Value {
        let tenant = &self.tenant;
        json!({
            "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
            "token_endpoint_auth_methods_supported":
                ["client_secret_post", "private_key_jwt"],
            "jwks_uri": format!("{base}/{tenant}/discovery/v2.0/keys"),
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "code id_token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": format!("{base}/{tenant}/v2.0"),
            "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
        })
    }

    pub(crate) fn jwks(&self) -> Value {
        self.issuer.jwks()
    }

    /// What proves an application.
    fn proved(&self, form: &[(String, String)], base: &str) -> Result<(), Answer> {
        let field = |name: &str| find(form, name).unwrap_or_default();
        let (assertion, tenant) = (field("client_assertion"), &self.tenant);
        match field("client_assertion_type") {
            "" if field("client_secret") == self.secret => Ok(()),
            "" => Err(refusal(401, "invalid_client", 7_000_215)),
            JWT_BEARER if names_a_certificate(assertion) => {
                let endpoint = format!("{base}/{tenant}/oauth2/v2.0/token");
                let audiences = [endpoint, format!("{base}/{tenant}/v2.0")];
                let expected = Expected { client_id: &self.principal.client_id, audiences };
                let checked = self.certificate.check(assertion, &expected);
                checked.map_err(|refused| refusal(401, "invalid_client", refused as u32))
            }
            JWT_BEARER if assertion == self.federated_token() => Ok(()),
            JWT_BEARER => Err(refusal(401, "invalid_client", 700_213)),
            _ => Err(refusal(400, "invalid_request", 50_027)),
        }
    }
}

/// Answers `POST /{tenant}/oauth2/v2.0/token` at the authority `base`.
pub(crate) fn client_credentials(shared: &Shared, request: &Captured, base: &str) -> Reaction {
    let entra = &shared.entra;
    let form = request.form();
    let field = |name: &str| find(&form, name).unwrap_or_default();
    let tenant = request.path.trim_start_matches('/').split('/').next().unwrap_or_default();
    shared.grant(&entra.principal, |granted| {
        if matches!(tenant, "common" | "consumers") {
            return Err(refusal(400, "invalid_request", 9_001_023));
        }
        if !tenant.eq_ignore_ascii_case(&entra.tenant) {
            return Err(refusal(400, "invalid_request", 90_002));
        }
        if find(&form, "grant_type").is_none() {
            return Err(refusal(400, "invalid_request", 900_144));
        }
        if field("grant_type") != "client_credentials" {
            return Err(refusal(400, "unsupported_grant_type", 70_003));
        }
        if !field("client_id").eq_ignore_ascii_case(&entra.principal.client_id) {
            return Err(refusal(400, "unauthorized_client", 700_016));
        }
        let known = field("scope").strip_suffix("/.default").is_some_and(is_redis);
        if !known {
            return Err(refusal(400, "invalid_scope", 70_011));
        }
        entra.proved(&form, base)?;
        let left = granted.left();
        Ok(json!({
            "token_type": "Bearer", "expires_in": left, "ext_expires_in": left,
            "access_token": granted.token,
        }))
    })
}

/// The type of an assertion (RFC 7523 section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// As long as a service account's token of Kubernetes.
fn federated_token() -> String {
    format!("eyJhbGciOiJSUzI1NiJ9.{}.signature", random_hex().repeat(40))
}

/// An error document of Entra's.
pub(crate) fn refusal(status: u16, error: &str, code: u32) -> Answer {
    let (trace, correlation) = (guid(), guid());
    let body = json!({
        "error": error,
        "error_description": format!(
            "AADSTS{code}: an emulated refusal.\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}"
        ),
        "error_codes": [code],
        "timestamp": "2026-11-21 22:32:38Z",
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
    });
    Answer::json(status, &body)
}
