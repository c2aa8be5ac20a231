//! What the endpoint means that answers, and gives no token.

use std::time::Duration;

use redis_entraid::Chosen;
use redis_entraid::entraid_core::source::{ErrorKind, OAuthError, SourceError};

use super::identity::{application, authority, restart, secret, tenant_id, unreachable, unset};
use super::{Diagnosis, network};
use crate::doctor::az::Command;
use crate::doctor::problem::Known;
use crate::time::{moment, span};

/// The application id of the service, in every tenant.
const REDIS_APP: &str = "acca5fbb-b7e4-4009-81f1-37e38fd66d78";

/// The code with which Entra throttles a whole tenant.
const TENANT_THROTTLED: u32 = 90_055;

/// Why the endpoint refuses.
pub(super) fn refused(reason: &SourceError, known: &Known) -> Diagnosis {
    let SourceError::Refused { status, error, code, kind } = *reason else {
        return unreachable(known);
    };
    let wait = match kind {
        ErrorKind::Throttled(wait) => wait,
        _ => None,
    };
    if status == 429 || code == Some(TENANT_THROTTLED) {
        return too_often(wait, known);
    }
    if let Some(meant) = code.and_then(|code| entra(code, known)) {
        return meant;
    }
    if matches!(kind, ErrorKind::Transient | ErrorKind::Throttled(_)) {
        let wait = wait.map_or_else(|| "a minute".to_owned(), span);
        return Diagnosis::new(
            format!("{} is failing or being updated.", known.endpoint),
            format!(
                "Wait for {wait} and try again: a client does so by itself, and keeps a token that it has."
            ),
        );
    }
    by_host(status, error, known)
}

fn too_often(wait: Option<Duration>, known: &Known) -> Diagnosis {
    let wait = wait.map_or_else(|| "a minute".to_owned(), span);
    let asked = match known.asks_entra() {
        true => "by this application, or by the whole tenant",
        false => "by all processes of this machine together",
    };
    Diagnosis::new(
        format!("The endpoint is asked for tokens too often, {asked}."),
        format!(
            "Wait for {wait}. Then look for what asks: a process needs one token an hour, so share one \
            client among its tasks instead of making one for each request."
        ),
    )
}

/// What the codes of Entra mean.
fn entra(code: u32, known: &Known) -> Option<Diagnosis> {
    let application = application(known);
    Some(match code {
        7_000_215 => Diagnosis::new(
            "AZURE_CLIENT_SECRET is not a secret of this application: it is the secret's id instead of its \
            value, was cut or quoted on the way, or was replaced.",
            "Set the value, or make a new secret (it may take a minute until it is known); the others stay \
            valid:",
        )
        .run(secret(application)),
        7_000_222 => Diagnosis::new(
            "The client secret has expired.",
            "Make a new one; the others stay valid:",
        )
        .run(secret(application)),
        700_016 => Diagnosis::new(
            "AZURE_CLIENT_ID is no application of this tenant: it is an object id, or of another tenant.",
            "This shows whether the tenant knows it:",
        )
        .run(Command::new("az ad sp show").with(format!("--id {application}"))),
        7_000_112 => Diagnosis::new("The application is disabled in this tenant.", "Enable it:").run(
            Command::new("az ad sp update")
                .with(format!("--id {application}"))
                .with("--set accountEnabled=true"),
        ),
        90_002 => tenant_id(
            "AZURE_TENANT_ID is no tenant of this cloud.",
            "Correct it, or AZURE_AUTHORITY_HOST if the tenant is in another cloud. This shows the tenant \
            of the subscription:",
        ),
        90_038 | 900_382 | 900_432 => authority(
            "The tenant is in another cloud.",
            "Set AZURE_AUTHORITY_HOST to what this shows, signed in to that cloud:",
        ),
        9_001_023 => tenant_id(
            "AZURE_TENANT_ID is `common` or `consumers`; a service principal has one tenant.",
            "Set it to the tenant's id. This shows that of the subscription:",
        ),
        700_211 => federated("issuer", known),
        700_212 => federated("audience", known),
        700_213 | 7_002_137 | 7_002_138 => federated("subject (namespace and service account)", known),
        70_021 => federated("issuer, subject or audience", known),
        500_011 | 650_057 => Diagnosis::new(
            "The tenant has no service principal of Azure Managed Redis, for which the token is.",
            "Add Microsoft's to the tenant:",
        )
        .run(Command::new("az ad sp create").with(format!("--id {REDIS_APP}"))),
        500_133 | 700_024 => old_assertion(known),
        700_027 | 50_012 => Diagnosis::new(
            "This application has no such certificate: it was never registered, has expired, or was replaced.",
            "Compare its thumbprint with what this lists:",
        )
        .run(
            Command::new("az ad app credential list")
                .with(format!("--id {application}"))
                .with("--cert"),
        ),
        53_003 => Diagnosis::new(
            "A conditional access policy blocks this application here.",
            "Ask who manages the tenant to let the application in from this network.",
        ),
        _ => return None,
    })
}

/// No federated credential has the `what` of the token.
fn federated(what: &str, known: &Known) -> Diagnosis {
    let says = known.machine.federated.as_ref();
    let says = says.map(|token| format!(" The token says: {token}.")).unwrap_or_default();
    Diagnosis::new(
        format!(
            "No federated credential of the application matches the token: it has another {what}, or is not \
            replicated yet.{says}"
        ),
        "Compare them with what this lists (for a managed identity: az identity federated-credential \
        list):",
    )
    .run(
        Command::new("az ad app federated-credential list")
            .with(format!("--id {}", application(known))),
    )
}

/// What proves the application isn't valid now.
fn old_assertion(known: &Known) -> Diagnosis {
    if !matches!(known.chosen, Some(Chosen::WorkloadIdentity { .. })) {
        return network::clock();
    }
    let ended = known.machine.federated.as_ref().and_then(|token| token.ends);
    let ended = ended.map(|ends| format!(" (it ends at {})", moment(ends))).unwrap_or_default();
    Diagnosis::new(
        format!(
            "The token in the file that AZURE_FEDERATED_TOKEN_FILE names is not valid now{ended}: the file is \
            not replaced, since it is a copy or mounted by subPath, or this machine's clock is wrong."
        ),
        "Let the variable name the file that Kubernetes itself projects, which it replaces in time, and mount \
        its whole folder. If the file is new, compare the clock with another one (in a container, on its host).",
    )
}

/// An answer without a code of Entra's, or with one that isn't known.
fn by_host(status: u16, error: OAuthError, known: &Known) -> Diagnosis {
    let is_unset = error == OAuthError::SeveralIdentities || matches!(status, 400..=407);
    if let (true, Some(diagnosis)) = (is_unset, unset(known)) {
        return diagnosis;
    }
    match &known.chosen {
        _ if error == OAuthError::SeveralIdentities => Diagnosis::new(
            "Several user-assigned identities are assigned to this machine, and AZURE_CLIENT_ID names none.",
            "Set AZURE_CLIENT_ID to the client id of one of them:",
        )
        .run(
            Command::new("az identity list")
                .with("--query \"[].{name:name, client:clientId}\"")
                .with("--output table"),
        ),
        Some(Chosen::Imds { client_id }) if status == 400 => {
            let (whose, identity) = which(client_id.as_deref());
            let command = Command::new("az vm identity assign")
                .with("--resource-group <resource-group>")
                .with("--name <vm>");
            let command = if client_id.is_some() { command.with(identity) } else { command };
            Diagnosis::new(
                format!("{whose} is not assigned to this machine."),
                "Assign it (for a scale set, which AKS nodes are in: az vmss identity assign):",
            )
            .run(command)
        }
        Some(Chosen::AppService { .. }) if status == 401 || status == 403 => Diagnosis::new(
            "IDENTITY_HEADER is not the one that this app's endpoint expects: it is of an earlier start, or \
            of another app.",
            "Hand it on as it is; never keep it. A restart sets it anew (in Container Apps: az containerapp \
            revision restart):",
        )
        .run(restart()),
        Some(Chosen::AppService { client_id }) if status < 429 => {
            let (whose, identity) = which(client_id.as_deref());
            let command = Command::new("az webapp identity assign")
                .with("--resource-group <resource-group>")
                .with("--name <app>");
            let command = if client_id.is_some() { command.with(identity) } else { command };
            Diagnosis::new(
                format!("{whose} is not assigned to this app."),
                "Assign it (in Container Apps: az containerapp identity assign):",
            )
            .run(command)
        }
        // Not one of the service's own: a proxy's, or that of Docker Desktop.
        Some(Chosen::Imds { .. }) if matches!(status, 401 | 403 | 405 | 407) => unreachable(known),
        _ if known.asks_entra() => Diagnosis::new(
            "Entra ID refuses the request, for the reason that it gives.",
            "Look the code up at https://login.microsoftonline.com/error, and check the application:",
        )
        .run(Command::new("az ad sp show").with(format!("--id {}", application(known)))),
        _ => Diagnosis::new(
            format!("The endpoint {} refuses the request, for the reason that it gives.", known.endpoint),
            "Correct that. If it gives none, see whether a proxy answers in its place, or whether the \
            variables are of an earlier start.",
        ),
    }
}

fn which(client_id: Option<&str>) -> (String, &'static str) {
    match client_id {
        Some(id) => (
            format!("The user-assigned identity with the client id {id}"),
            "--identities <resource-id-of-the-identity>",
        ),
        None => ("A system-assigned identity".to_owned(), ""),
    }
}
