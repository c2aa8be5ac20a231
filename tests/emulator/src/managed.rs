//! The endpoints of managed identities: as many forms of one request as Azure has hosts.

pub(crate) mod arc;

use serde_json::{Value, json};

use crate::Shared;
use crate::capture::{Captured, find};
use crate::entra::{Granted, Identity, grants::instead};
use crate::faults::{Event, ExpiresOn, Fault};
use crate::http::message::{Answer, Reaction};
use crate::token::{is_redis, now};

/// Which field names the user-assigned identity, and by which of its ids.
type Selectors = &'static [(&'static str, fn(&Identity) -> Option<&str>)];

const CLIENT_ID: fn(&Identity) -> Option<&str> = |identity| Some(&identity.client_id);
const OBJECT_ID: fn(&Identity) -> Option<&str> = |identity| Some(&identity.object_id);
const RESOURCE_ID: fn(&Identity) -> Option<&str> = |identity| identity.resource_id.as_deref();

/// Why a request is refused.
#[derive(Clone, Copy)]
enum Refusal {
    NoMetadata,
    WrongHeader,
    ApiVersion,
    NotFound,
    Resource,
}

impl Refusal {
    /// As the instance metadata service says it.
    fn imds(self) -> Answer {
        let (error, description) = match self {
            Self::NoMetadata => ("bad_request_102", "Required metadata header not specified"),
            Self::WrongHeader => ("unauthorized", "The header is missing or wrong"),
            Self::ApiVersion => ("invalid_request", "api-version not supported"),
            Self::NotFound => ("invalid_request", "Identity not found"),
            Self::Resource => ("invalid_resource", "AADSTS500011: not found"),
        };
        Answer::json(self.status(), &json!({ "error": error, "error_description": description }))
    }

    /// As App Service says it.
    fn app_service(self) -> Answer {
        let (status, message) = (self.status(), self.message());
        Answer::json(status, &json!({ "statusCode": status, "message": message }))
    }

    /// As Service Fabric and Cloud Shell say it.
    fn nested(self) -> Answer {
        let code = match self {
            Self::NoMetadata => "bad_request_102",
            Self::WrongHeader => "SecretHeaderNotFound",
            Self::ApiVersion => "InvalidApiVersion",
            Self::NotFound => "ManagedIdentityNotFound",
            Self::Resource => "ArgumentNullOrEmpty",
        };
        Answer::json(400, &json!({ "error": { "code": code, "message": self.message() } }))
    }

    fn message(self) -> &'static str {
        match self {
            Self::NoMetadata => "Required metadata header not specified",
            Self::WrongHeader => "Missing or wrong header",
            Self::ApiVersion => "api-version not supported",
            Self::NotFound => "No managed identity found for the request",
            Self::Resource => "The resource is missing or not known",
        }
    }

    const fn status(self) -> u16 {
        match self {
            Self::WrongHeader => 401,
            _ => 400,
        }
    }
}

/// What one of the endpoints asks for.
struct Endpoint {
    api_versions: &'static [&'static str],
    selectors: Selectors,
    /// Fields that don't matter.
    also: &'static [&'static str],
    refuse: fn(Refusal) -> Answer,
}

impl Endpoint {
    /// Gives a token out if the `fields` of a request are right, in the document that `answer` makes.
    fn grant(
        &self,
        shared: &Shared,
        fields: &[(String, String)],
        header: Result<(), Refusal>,
        answer: impl Fn(&Granted, &Identity) -> Value,
    ) -> Reaction {
        let (identity, selected) = self.identity(shared, fields);
        shared.grant(identity, |granted| {
            header.map_err(self.refuse)?;
            if !self.api_versions.is_empty() {
                let asked = find(fields, "api-version").unwrap_or_default();
                if !self.api_versions.contains(&asked) {
                    return Err((self.refuse)(Refusal::ApiVersion));
                }
            }
            if !selected && !granted.ignores_selector {
                return Err((self.refuse)(Refusal::NotFound));
            }
            if !find(fields, "resource").is_some_and(is_redis) {
                return Err((self.refuse)(Refusal::Resource));
            }
            Ok(answer(granted, identity))
        })
    }

    /// Which identity is asked for, and whether there is such a one.
    fn identity<'a>(
        &self,
        shared: &'a Shared,
        fields: &[(String, String)],
    ) -> (&'a Identity, bool) {
        let known = |name: &str| {
            ["api-version", "resource"].contains(&name)
                || self.also.contains(&name)
                || self.selectors.iter().any(|(selector, _)| *selector == name)
        };
        let user = &shared.entra.user_assigned;
        let asked = self.selectors.iter().filter_map(|(name, id)| Some((find(fields, name)?, id)));
        let mut asked = asked.collect::<Vec<_>>();
        let sound = fields.iter().all(|(name, _)| known(name)) && asked.len() <= 1;
        match asked.pop() {
            None => (&shared.entra.system_assigned, sound),
            Some((asked, id)) => {
                let assigned = id(user).is_some_and(|id| asked.eq_ignore_ascii_case(id));
                (user, sound && assigned)
            }
        }
    }
}

fn metadata(request: &Captured) -> Result<(), Refusal> {
    match request.header("metadata") {
        Some("true") => Ok(()),
        _ => Err(Refusal::NoMetadata),
    }
}

/// The document that all endpoints give, with its date in the usual form of this one.
fn document(granted: &Granted, resource: Option<&str>, date: ExpiresOn) -> Value {
    json!({
        "access_token": granted.token, "expires_on": granted.expires_on(date),
        "resource": resource, "token_type": "Bearer",
    })
}

/// The longer one of the instance metadata service, where all numbers are in quotes.
fn imds_document(granted: &Granted, resource: Option<&str>) -> Value {
    let left = granted.left().to_string();
    let mut document = document(granted, resource, ExpiresOn::Seconds);
    document["not_before"] = json!(now().saturating_sub(300).to_string());
    document["refresh_token"] = json!("");
    document["expires_in"] = json!(left);
    document["ext_expires_in"] = json!(left);
    document
}

/// Answers the instance metadata service's `GET`.
pub(crate) fn imds(shared: &Shared, request: &Captured) -> Reaction {
    const IMDS: Endpoint = Endpoint {
        api_versions: &["2018-02-01", "2019-08-01"],
        selectors: &[
            ("client_id", CLIENT_ID),
            ("object_id", OBJECT_ID),
            ("msi_res_id", RESOURCE_ID),
        ],
        also: &[],
        refuse: Refusal::imds,
    };
    IMDS.grant(shared, &request.query, metadata(request), |granted, identity| {
        let mut document = imds_document(granted, request.field("resource"));
        document["client_id"] = json!(identity.client_id);
        document
    })
}

/// Answers the `GET $IDENTITY_ENDPOINT` of App Service, Functions and Container Apps.
pub(crate) fn app_service(shared: &Shared, request: &Captured) -> Reaction {
    const APP_SERVICE: Endpoint = Endpoint {
        api_versions: &["2019-08-01"],
        selectors: &[
            ("client_id", CLIENT_ID),
            ("principal_id", OBJECT_ID),
            ("object_id", OBJECT_ID),
            ("mi_res_id", RESOURCE_ID),
        ],
        also: &[],
        refuse: Refusal::app_service,
    };
    let header = secret(request, "x-identity-header", &shared.entra.identity_header);
    APP_SERVICE.grant(shared, &request.query, header, |granted, identity| {
        let mut document = document(granted, request.field("resource"), ExpiresOn::Seconds);
        document["client_id"] = json!(identity.client_id);
        document
    })
}

/// Answers the `GET $MSI_ENDPOINT` of Azure Machine Learning, and of App Service in its old form.
pub(crate) fn machine_learning(shared: &Shared, request: &Captured) -> Reaction {
    const MACHINE_LEARNING: Endpoint = Endpoint {
        api_versions: &["2017-09-01"],
        selectors: &[("clientid", CLIENT_ID)],
        also: &[],
        refuse: Refusal::app_service,
    };
    let header = secret(request, "secret", &shared.entra.msi_secret);
    MACHINE_LEARNING.grant(shared, &request.query, header, |granted, _| {
        document(granted, request.field("resource"), ExpiresOn::Seconds)
    })
}

/// Answers the `GET $IDENTITY_ENDPOINT` of Service Fabric, where the cluster says which identity it is.
pub(crate) fn service_fabric(shared: &Shared, request: &Captured) -> Reaction {
    const SERVICE_FABRIC: Endpoint = Endpoint {
        api_versions: &["2019-07-01-preview"],
        selectors: &[],
        also: &["token_sha256_to_refresh", "xms_cc"],
        refuse: Refusal::nested,
    };
    let header = secret(request, "secret", &shared.entra.identity_header);
    SERVICE_FABRIC.grant(shared, &request.query, header, |granted, _| {
        document(granted, request.field("resource"), ExpiresOn::Number)
    })
}

/// Answers the `POST $MSI_ENDPOINT` of Cloud Shell, where one is who has opened it.
pub(crate) fn cloud_shell(shared: &Shared, request: &Captured) -> Reaction {
    const CLOUD_SHELL: Endpoint =
        Endpoint { api_versions: &[], selectors: &[], also: &[], refuse: Refusal::nested };
    let form = request.form();
    CLOUD_SHELL.grant(shared, &form, metadata(request), |granted, _| {
        imds_document(granted, find(&form, "resource"))
    })
}

/// Answers Azure Arc's `GET`: the first time with the name of a file, whose content the second one has.
pub(crate) fn arc(shared: &Shared, request: &Captured) -> Reaction {
    const ARC: Endpoint = Endpoint {
        api_versions: &["2021-02-01", "2020-06-01", "2019-11-01"],
        selectors: &[],
        also: &[],
        refuse: Refusal::imds,
    };
    let Some(authorization) = request.header("authorization") else {
        if let Err(refusal) = metadata(request) {
            return Reaction::Answer(refusal.imds());
        }
        return challenge(shared);
    };
    let key = authorization.strip_prefix("Basic ");
    let known = key.is_some_and(|key| shared.keys.redeem(key));
    let header = if known { metadata(request) } else { Err(Refusal::WrongHeader) };
    ARC.grant(shared, &request.query, header, |granted, _| {
        imds_document(granted, request.field("resource"))
    })
}

/// Writes a key to a file, and says where it is.
fn challenge(shared: &Shared) -> Reaction {
    let fault = match shared.faults.event(Event::Challenge).map(instead) {
        Some(Ok(reaction)) => return reaction,
        Some(Err(fault)) => Some(fault),
        None => None,
    };
    let size = match fault {
        Some(Fault::KeySize(size)) => size,
        _ => arc::SIZE,
    };
    let header = match (fault, shared.keys.issue(size)) {
        (Some(Fault::WwwAuthenticate(header)), _) => header,
        (_, Ok(file)) => format!("Basic realm={}", file.display()),
        (_, Err(error)) => return Reaction::Answer(Answer::new(500, error.to_string())),
    };
    let headers = vec![("www-authenticate", header)];
    Reaction::Answer(Answer { status: 401, headers, body: String::new() })
}

fn secret(request: &Captured, header: &str, secret: &str) -> Result<(), Refusal> {
    if request.header(header) == Some(secret) { Ok(()) } else { Err(Refusal::WrongHeader) }
}
