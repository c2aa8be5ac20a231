//! The token endpoints: Entra's own, and those of managed identities.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::counters::Counters;
use crate::faults::{Event, Fault, Faults};
use crate::token::{Issuer, RESOURCE, now, random_hex};

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
    /// The machine's own identity.
    pub system_assigned: Identity,
    /// The one that was assigned to it.
    pub user_assigned: Identity,
    /// The federated token that proves the application as its secret does: another issuer's.
    federated_token: Mutex<String>,
    /// What `X-IDENTITY-HEADER` must say.
    pub identity_header: String,
    issuer: Issuer,
    life: u64,
    last: Mutex<HashMap<String, Granted>>,
    pub(crate) given_out: Mutex<Vec<String>>,
}

#[derive(Clone, Debug)]
struct Granted {
    token: String,
    expires_on: u64,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: String,
}

/// What to do with a request.
#[derive(Debug)]
pub(crate) enum Reaction {
    /// Answer it.
    Answer(Answer),
    /// Let it wait, and then answer.
    Later(std::time::Duration, Answer),
    /// Let it wait for ever.
    Hang,
    /// Cut the connection.
    Cut,
    /// Send so many bytes of the body, whose length is not said, and cut.
    CutAfter(usize, Answer),
}

/// A request, as far as it matters here.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// The fields of its form or query.
    pub(crate) fields: HashMap<String, String>,
    /// Its header lines, with names in lower case.
    pub(crate) headers: HashMap<String, String>,
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
    pub(crate) fn new(life: u64) -> std::io::Result<Self> {
        let tenant = guid();
        let resource = |name: &str| {
            let group =
                "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/emulator";
            format!("{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}")
        };
        Ok(Self {
            issuer: Issuer::new(&tenant)?,
            tenant,
            principal: Identity::new(None),
            // With characters that have to be encoded.
            secret: format!("s3cr+t&{}~=", random_hex()),
            federated_token: Mutex::new(federated_token()),
            system_assigned: Identity::new(None),
            user_assigned: Identity::new(Some(resource("gateway"))),
            identity_header: random_hex(),
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

    /// Replaces the federated token, as a Kubernetes node does every hour. The old one is refused then.
    ///
    /// # Panics
    /// If a thread did while it held the token.
    pub fn rotate_federated_token(&self) {
        *self.federated_token.lock().expect("nobody panics with it") = federated_token();
    }

    /// The discovery document (OpenID Connect Discovery 1.0).
    pub(crate) fn discovery(&self, base: &str) -> Value {
        let tenant = &self.tenant;
        json!({
            "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
            "token_endpoint_auth_methods_supported":
                ["client_secret_post"],
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

    /// Answers `POST /{tenant}/oauth2/v2.0/token`.
    pub(crate) fn client_credentials(
        &self,
        request: &Request,
        faults: &Faults,
        counters: &Counters,
    ) -> Reaction {
        let field = |name: &str| request.fields.get(name).map_or("", String::as_str);
        let tenant = request.path.trim_start_matches('/').split('/').next().unwrap_or_default();
        self.react(&self.principal, faults, counters, |granted, _| {
            if matches!(tenant, "common" | "consumers") {
                return Err(refusal(400, "invalid_request", 9_001_023));
            }
            if tenant != self.tenant {
                return Err(refusal(400, "invalid_request", 90_002));
            }
            if field("grant_type") != "client_credentials" {
                return Err(refusal(400, "unsupported_grant_type", 70_003));
            }
            if field("client_id") != self.principal.client_id {
                return Err(refusal(400, "unauthorized_client", 700_016));
            }
            let scope = field("scope");
            let known = scope.strip_suffix("/.default").is_some_and(|resource| {
                resource == RESOURCE || resource == crate::token::REDIS_APP
            });
            if !known {
                return Err(refusal(400, "invalid_scope", 70_011));
            }
            match field("client_assertion_type") {
                "" if field("client_secret") != self.secret => {
                    return Err(refusal(401, "invalid_client", 7_000_215));
                }
                "" => {}
                JWT_BEARER if field("client_assertion") != self.federated_token() => {
                    return Err(refusal(401, "invalid_client", 700_213));
                }
                JWT_BEARER => {}
                _ => return Err(refusal(400, "invalid_request", 50_027)),
            }
            let left = granted.expires_on.saturating_sub(now()).saturating_sub(1);
            Ok(json!({
                "token_type": "Bearer", "expires_in": left, "ext_expires_in": left,
                "access_token": granted.token,
            }))
        })
    }

    /// Answers the instance metadata service's `GET`.
    pub(crate) fn imds(&self, request: &Request, faults: &Faults, counters: &Counters) -> Reaction {
        let field = |name: &str| request.fields.get(name).map(String::as_str);
        let selector = ["client_id", "object_id", "msi_res_id"];
        let metadata = request.headers.get("metadata").is_some_and(|value| value == "true");
        self.managed(request, selector, faults, counters, |granted, identity| {
            if !metadata {
                return Err(imds_refusal(
                    "bad_request_102",
                    "Required metadata header not specified",
                ));
            }
            if field("api-version") != Some("2018-02-01") {
                return Err(imds_refusal("invalid_request", "api-version not supported"));
            }
            let left = granted.expires_on.saturating_sub(now()).saturating_sub(1);
            Ok(json!({
                "access_token": granted.token, "client_id": identity.client_id,
                "expires_in": left.to_string(), "expires_on": granted.expires_on.to_string(),
                "ext_expires_in": left.to_string(),
                "not_before": now().saturating_sub(300).to_string(),
                "refresh_token": "", "resource": field("resource"), "token_type": "Bearer",
            }))
        })
    }

    /// Answers App Service's `GET $IDENTITY_ENDPOINT`.
    pub(crate) fn app_service(
        &self,
        request: &Request,
        faults: &Faults,
        counters: &Counters,
    ) -> Reaction {
        let field = |name: &str| request.fields.get(name).map(String::as_str);
        let selector = ["client_id", "principal_id", "mi_res_id"];
        let header = request.headers.get("x-identity-header");
        self.managed(request, selector, faults, counters, |granted, identity| {
            if header != Some(&self.identity_header) {
                let body = json!({ "statusCode": 401, "message": "Missing or wrong header" });
                return Err(Answer { status: 401, retry_after: None, body: body.to_string() });
            }
            if field("api-version") != Some("2019-08-01") {
                return Err(imds_refusal("invalid_request", "api-version not supported"));
            }
            Ok(json!({
                "access_token": granted.token, "expires_on": granted.expires_on.to_string(),
                "resource": field("resource"), "token_type": "Bearer",
                "client_id": identity.client_id,
            }))
        })
    }

    fn managed(
        &self,
        request: &Request,
        selector: [&str; 3],
        faults: &Faults,
        counters: &Counters,
        answer: impl Fn(&Granted, &Identity) -> Result<Value, Answer>,
    ) -> Reaction {
        let user = &self.user_assigned;
        let ids = [
            &user.client_id,
            &user.object_id,
            user.resource_id.as_ref().unwrap_or(&user.client_id),
        ];
        let asked =
            selector.iter().zip(ids).find_map(|(name, id)| Some((request.fields.get(*name)?, id)));
        let strange = request.fields.keys().any(|name| {
            !["api-version", "resource"].contains(&name.as_str())
                && !selector.contains(&name.as_str())
        });
        let resource =
            request.fields.get("resource").map(|resource| resource.trim_end_matches('/'));
        let (identity, known) = match asked {
            None => (&self.system_assigned, true),
            Some((asked, id)) => (user, asked.eq_ignore_ascii_case(id)),
        };
        self.react(identity, faults, counters, |granted, identity| {
            if strange || !known {
                return Err(imds_refusal("invalid_request", "Identity not found"));
            }
            if resource != Some(RESOURCE) {
                return Err(imds_refusal("invalid_resource", "AADSTS500011: not found"));
            }
            answer(granted, identity)
        })
    }

    /// Gives a token out, or does what a fault says.
    fn react(
        &self,
        identity: &Identity,
        faults: &Faults,
        counters: &Counters,
        answer: impl Fn(&Granted, &Identity) -> Result<Value, Answer>,
    ) -> Reaction {
        counters.add(|counts| &mut counts.token_requests);
        let fault = faults.event(Event::Token);
        let mut wait = None;
        let mut life = self.life;
        let mut same = false;
        let mut bom = "";
        let mut cut_after = None;
        match fault {
            Some(Fault::Status { status, retry_after }) => {
                // As large as one of Entra's own.
                let body = format!("<!DOCTYPE html><p>{}</p>", "Sorry. ".repeat(5_000));
                return Reaction::Answer(Answer { status, retry_after, body });
            }
            Some(Fault::Refuse { error, code, status }) => {
                return Reaction::Answer(refusal(status, &error, code));
            }
            Some(Fault::Bom) => bom = "\u{feff}",
            Some(Fault::Garbage) => {
                let body = "<html>a proxy</html>".to_owned();
                return Reaction::Answer(Answer { status: 200, retry_after: None, body });
            }
            Some(Fault::Cut) => return Reaction::Cut,
            Some(Fault::CutAfter(bytes)) => cut_after = Some(bytes),
            Some(Fault::Hang(None)) => return Reaction::Hang,
            Some(Fault::Hang(for_a_while)) => wait = for_a_while,
            Some(Fault::Life(seconds)) => life = seconds,
            Some(Fault::Same) => same = true,
            _ => {}
        }
        let mut last = self.last.lock().expect("nobody panics with it");
        let granted = match last.get(&identity.object_id) {
            Some(granted) if same => {
                counters.add(|counts| &mut counts.same_tokens);
                granted.clone()
            }
            _ => {
                let expires_on = now() + life;
                let resource_id = identity.resource_id.as_deref();
                let token = self.issuer.token(
                    &identity.object_id,
                    &identity.client_id,
                    resource_id,
                    RESOURCE,
                    expires_on,
                );
                Granted { token, expires_on }
            }
        };
        let answer = match answer(&granted, identity) {
            Ok(body) => {
                counters.add(|counts| &mut counts.tokens);
                let mut all = self.given_out.lock().expect("nobody panics with it");
                all.push(granted.token.clone());
                last.insert(identity.object_id.clone(), granted);
                Answer { status: 200, retry_after: None, body: format!("{bom}{body}") }
            }
            Err(refusal) => refusal,
        };
        match (wait, cut_after) {
            (Some(wait), _) => Reaction::Later(wait, answer),
            (None, Some(bytes)) => Reaction::CutAfter(bytes, answer),
            (None, None) => Reaction::Answer(answer),
        }
    }
}

/// The type of an assertion (RFC 7523 section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// As long as a service account's token of Kubernetes.
fn federated_token() -> String {
    format!("eyJhbGciOiJSUzI1NiJ9.{}.signature", random_hex().repeat(40))
}

/// An error document of Entra's.
fn refusal(status: u16, error: &str, code: u32) -> Answer {
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
    Answer { status, retry_after: None, body: body.to_string() }
}

fn imds_refusal(error: &str, description: &str) -> Answer {
    let body = json!({ "error": error, "error_description": description });
    Answer { status: 400, retry_after: None, body: body.to_string() }
}
