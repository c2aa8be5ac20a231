//! What is wrong with the variables, or with the token.

use redis_entraid::Chosen;
use redis_entraid::entraid_core::source::{self, ErrorKind, IoFailure, OAuthError, SourceError};
use redis_entraid::entraid_core::token::TokenError;
use redis_entraid::error::ConfigError;

use super::{Diagnosis, network};
use crate::doctor::az::{Command, allow, show};
use crate::doctor::problem::Known;
use crate::doctor::tls::TlsProblem;
use crate::time::span;

/// The application id of the service, in every tenant.
const REDIS_APP: &str = "acca5fbb-b7e4-4009-81f1-37e38fd66d78";

pub(super) fn environment(error: &ConfigError, known: &Known) -> Diagnosis {
    match error {
        ConfigError::Missing(name) => missing(name),
        ConfigError::Invalid(name) if name.starts_with("REDIS_") => Diagnosis::new(
            format!("{name} is no server that tokens may be sent to."),
            "Set REDIS_HOSTNAME to <name>.<region>.redis.azure.net, without redis:// before it, and \
            REDIS_PORT to 10000. This shows the name:",
        )
        .run(show("hostName", known)),
        ConfigError::Unsupported("AZURE_TOKEN_CREDENTIALS") => Diagnosis::new(
            "AZURE_TOKEN_CREDENTIALS names a credential that the other variables don't lead to.",
            "Unset it, or set the variables of that credential.",
        ),
        ConfigError::Unsupported("AZURE_CLIENT_ID") => Diagnosis::new(
            "This host has one identity only (Azure Arc, Service Fabric and Cloud Shell have), and \
            AZURE_CLIENT_ID asks for another one.",
            "Unset AZURE_CLIENT_ID.",
        ),
        ConfigError::Unsupported(name) => Diagnosis::new(
            format!("{name} asks for an identity that this client can't be."),
            format!(
                "Unset {name}, and use a managed identity, workload identity, a certificate or a client \
                secret. This makes a secret, for AZURE_CLIENT_SECRET:"
            ),
        )
        .run(secret("<application-id>")),
        ConfigError::Source(source::ConfigError::TenantRequired) => tenant_id(
            "AZURE_TENANT_ID is empty, or names no single tenant.",
            "Set it to the tenant's id. This shows that of the subscription:",
        ),
        ConfigError::Source(source::ConfigError::NotHttps("the authority")) => authority(
            "AZURE_AUTHORITY_HOST is no https URL.",
            "Unset it in the public cloud, and elsewhere set it to what this shows:",
        ),
        other => Diagnosis::new(format!("The set-up can't work: {other}."), "Correct it."),
    }
}

fn missing(name: &str) -> Diagnosis {
    match name {
        "REDIS_HOSTNAME" => Diagnosis::new(
            "No variable names the server: this process didn't get REDIS_HOSTNAME or REDIS_ENDPOINT.",
            "Set REDIS_HOSTNAME where this process is started. This lists the names that there are:",
        )
        .run(
            Command::new("az redisenterprise list")
                .with("--query \"[].{name:name, host:hostName}\"")
                .with("--output table"),
        ),
        "IDENTITY_HEADER" => Diagnosis::new(
            "App Service and Container Apps set IDENTITY_ENDPOINT and IDENTITY_HEADER together; one of \
            them was lost on the way to this process.",
            "Hand both on: sudo, su and shells of their own drop them. A restart sets them anew:",
        )
        .run(restart()),
        "AZURE_TENANT_ID" => tenant_id(
            "A service principal needs AZURE_TENANT_ID, and this process didn't get it.",
            "Set it to the tenant's id. This shows that of the subscription:",
        ),
        "AZURE_CLIENT_ID" => Diagnosis::new(
            "A service principal needs AZURE_CLIENT_ID, and this process didn't get it.",
            "Set it to the application's id, which is not its object id:",
        )
        .run(
            Command::new("az ad app list")
                .with("--display-name <application>")
                .with("--query \"[].{name:displayName, id:appId}\"")
                .with("--output table"),
        ),
        name => Diagnosis::new(format!("This process didn't get {name}."), format!("Set {name}.")),
    }
}

/// Why there is no token.
pub(super) fn token(reason: &SourceError, tls: Option<TlsProblem>, known: &Known) -> Diagnosis {
    let is_own = matches!(
        reason,
        SourceError::Other { .. } | SourceError::Config(_) | SourceError::Io(IoFailure::NotFound)
    );
    if let (true, Some(diagnosis)) = (is_own, own(known)) {
        return diagnosis;
    }
    match reason {
        SourceError::Io(IoFailure::Tls) => {
            let tls = tls.unwrap_or(TlsProblem::BadCertificate);
            network::endpoint_tls(tls, known)
        }
        SourceError::Io(IoFailure::NotFound | IoFailure::File) => Diagnosis::new(
            "The file that AZURE_FEDERATED_TOKEN_FILE names can't be read: workload identity is not \
            set up for this pod.",
            "Give the pod the label azure.workload.identity/use: \"true\" and a service account with the \
            annotation azure.workload.identity/client-id, and start it anew.",
        ),
        SourceError::Io(_) | SourceError::TimedOut => unreachable(known),
        SourceError::Refused { kind: ErrorKind::Throttled(wait), code: None | Some(90_055), .. } => {
            throttled(*wait, known)
        }
        SourceError::Refused { code: Some(code), .. } => {
            entra(*code, known).unwrap_or_else(|| refused(reason, known))
        }
        SourceError::Refused { .. } => refused(reason, known),
        SourceError::WebPage => Diagnosis::new(
            format!("A web page came instead of a token: a proxy or a captive portal answers for {}.", known.endpoint),
            "Let this machine reach the endpoint without that, or through another proxy, which HTTPS_PROXY \
            names. Azure's own firewalls know the endpoint by a service tag:",
        )
        .run(allow_entra()),
        SourceError::Token(TokenError::Expired) => network::clock(),
        _ => Diagnosis::new(
            format!("What answers at {} gives no token of Microsoft Entra ID.", known.endpoint),
            format!(
                "Check {}, and what is between this machine and the endpoint. This is what the endpoint \
                of this cloud is called:",
                variable(known)
            ),
        )
        .run(cloud()),
    }
}

/// What is wrong on this machine, before anything is asked for: with files, tools and their users.
fn own(known: &Known) -> Option<Diagnosis> {
    Some(match known.chosen {
        Some(Chosen::ClientCertificate { .. }) => Diagnosis::new(
            "The file that AZURE_CLIENT_CERTIFICATE_PATH names can't be used.",
            "Name a PEM or PFX file with the application's certificate and its RSA key, which this user may \
            read. This makes one, in the home folder; the other certificates stay valid:",
        )
        .run(
            Command::new("az ad app credential reset")
                .with(format!("--id {}", application(known)))
                .with("--create-cert")
                .with("--append"),
        ),
        Some(Chosen::AzureArc) => Diagnosis::new(
            "This user may not read the key files of Azure Arc's agent, or another program answers in the \
            agent's place.",
            "Add the user to the group himds (sudo usermod -aG himds <user>), and start the process anew.",
        ),
        Some(Chosen::Developer { .. }) => Diagnosis::new(
            "AZURE_TOKEN_CREDENTIALS asks for the person who is signed in to a developer's tool; nobody is, or \
            the tool isn't installed here.",
            "Sign in:",
        )
        .run(Command::new("az login")),
        _ => return None,
    })
}

fn unreachable(known: &Known) -> Diagnosis {
    match known.chosen {
        Some(Chosen::AzureArc) => Diagnosis::new(
            "Nothing answers at IDENTITY_ENDPOINT: the agent of Azure Arc doesn't run on this machine.",
            "Start it: sudo systemctl start himdsd.",
        ),
        Some(Chosen::ServiceFabric | Chosen::MachineLearning { .. } | Chosen::CloudShell) => {
            Diagnosis::new(
                format!("Nothing answers at {}, which the host of this process has named.", known.endpoint),
                "Run this inside that host, with the variables of its present start.",
            )
        }
        Some(Chosen::Imds { .. }) => Diagnosis::new(
            "No variable of another identity is set, so this is to be a managed identity; but there is no \
            instance metadata service here. The machine is not in Azure, or a firewall, a network policy \
            or a proxy keeps this process from 169.254.169.254.",
            "In Azure, open the way. Elsewhere, set AZURE_CLIENT_ID, AZURE_TENANT_ID and \
            AZURE_CLIENT_SECRET of a service principal. This makes one:",
        )
        .run(Command::new("az ad sp create-for-rbac").with("--name <name>")),
        Some(Chosen::AppService { .. }) => Diagnosis::new(
            "Nothing answers at IDENTITY_ENDPOINT: it is that of another container or of an earlier start, \
            or the app has no identity yet.",
            "Run this inside the app. A restart sets the variables anew:",
        )
        .run(restart()),
        _ => Diagnosis::new(
            format!(
                "This machine can't reach {}: its name isn't resolved, or a firewall, a network security \
                group or a route is in the way.",
                known.endpoint
            ),
            "Allow HTTPS to Microsoft Entra ID:",
        )
        .run(allow_entra()),
    }
}

fn throttled(wait: Option<std::time::Duration>, known: &Known) -> Diagnosis {
    let wait = wait.map_or_else(|| "a minute".to_owned(), span);
    let asked = match known.chosen {
        Some(Chosen::Imds { .. } | Chosen::AppService { .. }) => {
            "by all processes of this machine together"
        }
        _ => "by this application, or by the whole tenant",
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
        700_213 | 70_021 => Diagnosis::new(
            "No federated credential of the application matches the token of this service account: issuer, \
            namespace or name differ, or it is not replicated yet.",
            "Compare them with what this lists (for a managed identity: az identity federated-credential \
            list):",
        )
        .run(Command::new("az ad app federated-credential list").with(format!("--id {application}"))),
        500_011 | 650_057 => Diagnosis::new(
            "The tenant has no service principal of Azure Managed Redis, for which the token is.",
            "Add Microsoft's to the tenant:",
        )
        .run(Command::new("az ad sp create").with(format!("--id {REDIS_APP}"))),
        500_133 | 700_024 => network::clock(),
        700_027 | 50_012 => Diagnosis::new(
            "The certificate is none of this application's: it was never registered, has expired, or was \
            replaced.",
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

/// An answer without a code of Entra's, or with one that isn't known.
fn refused(reason: &SourceError, known: &Known) -> Diagnosis {
    let SourceError::Refused { status, error, kind, .. } = reason else {
        return unreachable(known);
    };
    match (&known.chosen, error) {
        (_, OAuthError::SeveralIdentities) => Diagnosis::new(
            "Several user-assigned identities are assigned to this machine, and AZURE_CLIENT_ID names none.",
            "Set AZURE_CLIENT_ID to the client id of one of them:",
        )
        .run(
            Command::new("az identity list")
                .with("--query \"[].{name:name, client:clientId}\"")
                .with("--output table"),
        ),
        _ if *kind == ErrorKind::Transient => Diagnosis::new(
            format!("{} is failing or being updated.", known.endpoint),
            "Wait a minute and try again: a client does so by itself, and keeps a token that it has.",
        ),
        (Some(Chosen::Imds { client_id }), _) if *status == 400 => {
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
        (Some(Chosen::AppService { .. }), _) if *status == 401 || *status == 403 => Diagnosis::new(
            "IDENTITY_HEADER is not the one that this app's endpoint expects: it is of an earlier start, or \
            of another app.",
            "Hand it on as it is; never keep it. A restart sets it anew:",
        )
        .run(restart()),
        (Some(Chosen::AppService { client_id }), _) if *status < 429 => {
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
        (Some(Chosen::Imds { .. }), _) if matches!(status, 401 | 403 | 405 | 407) => {
            unreachable(known)
        }
        (Some(Chosen::Imds { .. } | Chosen::AppService { .. }), _) => Diagnosis::new(
            "The endpoint refuses the request, for the reason that it gives.",
            "Correct that. If it gives none, see whether a proxy answers in its place.",
        ),
        _ => Diagnosis::new(
            "Entra ID refuses the request, for the reason that it gives.",
            "Look the code up at https://login.microsoftonline.com/error, and check the application:",
        )
        .run(Command::new("az ad sp show").with(format!("--id {}", application(known)))),
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

pub(super) fn audience() -> Diagnosis {
    Diagnosis::new(
        "The token is for another service, so that the server will refuse it: the endpoint gives tokens of \
        its own choice.",
        "Ask for the scope https://redis.azure.com/.default. This shows whether Entra gives such a token:",
    )
    .run(
        Command::new("az account get-access-token")
            .with("--scope https://redis.azure.com/.default")
            .with("--query expiresOn"),
    )
}

pub(super) fn tenant(tenant: &str) -> Diagnosis {
    Diagnosis::new(
        format!("The endpoint gives tokens of the tenant {tenant}, not of AZURE_TENANT_ID."),
        "Set AZURE_TENANT_ID to the tenant of the cache's subscription:",
    )
    .run(Command::new("az account show").with("--query tenantId").with("--output tsv"))
}

fn tenant_id(cause: &str, advice: &str) -> Diagnosis {
    Diagnosis::new(cause, advice)
        .run(Command::new("az account show").with("--query tenantId").with("--output tsv"))
}

fn authority(cause: &str, advice: &str) -> Diagnosis {
    Diagnosis::new(cause, advice).run(cloud())
}

fn cloud() -> Command {
    Command::new("az cloud show").with("--query endpoints.activeDirectory").with("--output tsv")
}

fn secret(application: &str) -> Command {
    Command::new("az ad app credential reset").with(format!("--id {application}")).with("--append")
}

fn restart() -> Command {
    Command::new("az webapp restart").with("--resource-group <resource-group>").with("--name <app>")
}

fn allow_entra() -> Command {
    allow("AllowEntraId", "AzureActiveDirectory", "443")
}

/// The application id of the identity.
fn application(known: &Known) -> &str {
    match &known.chosen {
        Some(
            Chosen::ServicePrincipal { client_id, .. }
            | Chosen::ClientCertificate { client_id, .. }
            | Chosen::WorkloadIdentity { client_id, .. },
        ) => client_id,
        Some(
            Chosen::AppService { client_id: Some(id) }
            | Chosen::MachineLearning { client_id: Some(id) }
            | Chosen::Imds { client_id: Some(id) },
        ) => id,
        _ => "<application-id>",
    }
}

/// The variable that names the endpoint.
fn variable(known: &Known) -> &'static str {
    match known.chosen {
        Some(Chosen::AppService { .. } | Chosen::AzureArc | Chosen::ServiceFabric) => {
            "IDENTITY_ENDPOINT"
        }
        Some(Chosen::MachineLearning { .. } | Chosen::CloudShell) => "MSI_ENDPOINT",
        Some(Chosen::Imds { .. }) => "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        _ => "AZURE_AUTHORITY_HOST",
    }
}
