//! What is wrong on this machine, so that there is no token: variables, files, tools, and the way to the endpoint.

use redis_entraid::Chosen;
use redis_entraid::entraid_core::source::{self, IoFailure, SourceError};
use redis_entraid::entraid_core::token::TokenError;
use redis_entraid::error::ConfigError;

use super::{Diagnosis, network, refusal};
use crate::doctor::az::{Command, allow, show};
use crate::doctor::problem::Known;
use crate::doctor::tls::TlsProblem;

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
            "Hand both on: sudo, su and shells of their own drop them. A restart sets them anew (in \
            Container Apps: az containerapp revision restart):",
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
    if let Some(diagnosis) = own(reason, known) {
        return diagnosis;
    }
    match reason {
        SourceError::Io(IoFailure::Tls) => {
            network::endpoint_tls(tls.unwrap_or(TlsProblem::BadCertificate), known)
        }
        SourceError::Io(IoFailure::Request | IoFailure::Unsupported) => Diagnosis::new(
            format!(
                "The request for a token can't be made as {}, or a proxy in HTTPS_PROXY, asks for it.",
                variable(known)
            ),
            "Correct the variable: endpoints of Entra ID are https URLs, and proxies are http or https URLs.",
        ),
        SourceError::Io(IoFailure::TooLarge(_)) => Diagnosis::new(
            format!("What {} answers, or a file of the identity, is larger than any token.", known.endpoint),
            format!("Check {}, and the files that the variables of the identity name.", variable(known)),
        ),
        SourceError::Io(IoFailure::NotFound | IoFailure::File) => Diagnosis::new(
            "A file of the identity can't be read.",
            "Let the user of this process read it.",
        ),
        SourceError::Io(_) | SourceError::TimedOut => unreachable(known),
        SourceError::Refused { .. } => refusal::refused(reason, known),
        SourceError::WebPage => Diagnosis::new(
            format!("A web page came instead of a token: a proxy or a captive portal answers for {}.", known.endpoint),
            "Let this machine reach the endpoint without that, or through another proxy, which HTTPS_PROXY \
            names. Azure's own firewalls know the endpoint by a service tag:",
        )
        .run(allow_entra()),
        SourceError::Token(TokenError::Expired) => network::clock(),
        _ => Diagnosis::new(
            format!("What is at {} does not answer as Microsoft Entra ID does.", known.endpoint),
            format!(
                "Check {}, and what is between this machine and the endpoint. This is what the endpoint \
                of this cloud is called:",
                variable(known)
            ),
        )
        .run(cloud()),
    }
}

/// What is wrong before anything is asked for: with files, tools and their users.
fn own(reason: &SourceError, known: &Known) -> Option<Diagnosis> {
    let is_file = matches!(reason, SourceError::Io(IoFailure::NotFound | IoFailure::File));
    let is_own = is_file || matches!(reason, SourceError::Other { .. } | SourceError::Config(_));
    Some(match known.chosen.as_ref()? {
        Chosen::ClientCertificate { .. } if is_own => Diagnosis::new(
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
        Chosen::WorkloadIdentity { .. } if is_own => federated(reason, known)?,
        Chosen::AzureArc { .. } if is_own => Diagnosis::new(
            "This user may not read the key files of Azure Arc's agent, or another program answers in the \
            agent's place.",
            "Add the user to the group himds (sudo usermod -aG himds <user>), and start the process anew.",
        ),
        Chosen::ServiceFabric if matches!(reason, SourceError::Other { .. }) => Diagnosis::new(
            "The certificate at IDENTITY_ENDPOINT is not that of IDENTITY_SERVER_THUMBPRINT: the variables are \
            of an earlier start, or another program answers there.",
            "Restart the application, which gets new variables then; never keep them.",
        ),
        Chosen::Developer { .. } if is_own || *reason == SourceError::TimedOut => developer(reason),
        _ => return None,
    })
}

/// Who is signed in to a developer's tool.
fn developer(reason: &SourceError) -> Diagnosis {
    let login = match reason {
        // The tool's own, in quotes of code.
        SourceError::Config(source::ConfigError::Missing(login)) => login.trim_matches('`'),
        _ => "az login",
    };
    match reason {
        SourceError::TimedOut => Diagnosis::new(
            "The developer's tool that AZURE_TOKEN_CREDENTIALS names says nothing in time: it starts slowly, or \
            waits for somebody.",
            "Give it more time (--timeout 60), and see whether it is signed in:",
        ),
        SourceError::Io(IoFailure::File) => Diagnosis::new(
            "The developer's tool that AZURE_TOKEN_CREDENTIALS names is there, and can't be run by this user.",
            "Make it executable, or install it anew; and then sign in:",
        ),
        SourceError::Io(IoFailure::NotFound) => Diagnosis::new(
            "AZURE_TOKEN_CREDENTIALS asks for the person who is signed in to a developer's tool, and the tool \
            isn't installed here, or not in PATH.",
            "Install it, and sign in (az login, Connect-AzAccount or azd auth login):",
        ),
        _ => Diagnosis::new(
            "AZURE_TOKEN_CREDENTIALS asks for the person who is signed in to a developer's tool, and nobody is.",
            "Sign in:",
        ),
    }
    .run(Command::new(login))
}

/// What is wrong with the files of workload identity.
fn federated(reason: &SourceError, known: &Known) -> Option<Diagnosis> {
    Some(match reason {
        SourceError::Io(_) if known.machine.hides_authorities => Diagnosis::new(
            "The file that AZURE_KUBERNETES_CA_FILE names can't be read: the identity binding's volume is not \
            mounted, or this user may not read it.",
            "Leave the variable and the volume as the webhook sets them, let the user or the fsGroup of the pod \
            read the file, and start the pod anew.",
        ),
        SourceError::Other { .. } if known.machine.is_bound => Diagnosis::new(
            "AZURE_KUBERNETES_CA_FILE or AZURE_KUBERNETES_CA_DATA has no certificates of authorities.",
            "Leave the variable and the volume as the webhook sets them, and start the pod anew.",
        ),
        SourceError::Io(IoFailure::NotFound) => Diagnosis::new(
            "The file that AZURE_FEDERATED_TOKEN_FILE names isn't there: workload identity is not set up for this \
            pod.",
            "Give the pod the label azure.workload.identity/use: \"true\" and a service account with the \
            annotation azure.workload.identity/client-id, and start it anew.",
        ),
        SourceError::Io(_) => Diagnosis::new(
            "The file that AZURE_FEDERATED_TOKEN_FILE names is there, and this user may not read it, or it is a \
            folder.",
            "Run the container as a user who may: set the pod's securityContext.fsGroup to a group of that \
            user.",
        ),
        _ => return None,
    })
}

/// Variables that the host sets, and this process didn't get: so another identity is asked for than is meant.
pub(super) fn unset(known: &Known) -> Option<Diagnosis> {
    let is_imds = matches!(known.chosen, Some(Chosen::Imds { .. }));
    (is_imds && known.machine.is_pod).then(|| {
        Diagnosis::new(
            "AZURE_FEDERATED_TOKEN_FILE is not set in this pod, so the managed identity of its node is asked \
            for, in place of the pod's workload identity.",
            "Give the pod the label azure.workload.identity/use: \"true\" and a service account with the \
            annotation azure.workload.identity/client-id, and start it anew: the webhook of workload identity \
            sets the variables.",
        )
    })
}

/// Nothing comes from the endpoint.
pub(super) fn unreachable(known: &Known) -> Diagnosis {
    if let Some(diagnosis) = unset(known) {
        return diagnosis;
    }
    match known.chosen {
        Some(Chosen::AzureArc { .. }) => Diagnosis::new(
            format!(
                "Nothing answers at {}: the agent of Azure Arc doesn't run on this machine.",
                known.endpoint
            ),
            "Start it: sudo systemctl start himdsd.",
        ),
        Some(Chosen::ServiceFabric | Chosen::MachineLearning { .. } | Chosen::CloudShell) => {
            Diagnosis::new(
                format!("Nothing answers at {}, which the host of this process has named.", known.endpoint),
                "Run this inside that host, with the variables of its present start.",
            )
        }
        Some(Chosen::Imds { .. }) => Diagnosis::new(
            "No variable of another identity is set, so a managed identity is used; but there is no \
            instance metadata service here. The machine is not in Azure, or a firewall, a network policy \
            or a proxy keeps this process from 169.254.169.254.",
            "In Azure, open the way. Elsewhere, set AZURE_CLIENT_ID, AZURE_TENANT_ID and \
            AZURE_CLIENT_SECRET of a service principal. This makes one:",
        )
        .run(Command::new("az ad sp create-for-rbac").with("--name <name>")),
        Some(Chosen::AppService { .. }) => Diagnosis::new(
            "Nothing answers at IDENTITY_ENDPOINT: it is that of another container or of an earlier start, \
            or the app has no identity yet. In Container Apps, what answers there starts a few seconds after \
            the app.",
            "Wait for half a minute, and run this inside the app. A restart sets the variables anew (in \
            Container Apps: az containerapp revision restart):",
        )
        .run(restart()),
        _ if known.machine.is_bound => Diagnosis::new(
            format!(
                "Nothing answers at {}, which AZURE_KUBERNETES_TOKEN_PROXY names: a network policy or a mesh \
                keeps this pod from it, or identity bindings are off in this cluster.",
                known.endpoint
            ),
            "Let the pod reach it, and leave the variable as the webhook sets it.",
        ),
        _ => match &known.machine.proxy {
            Some(proxy) if known.asks_entra() => Diagnosis::new(
                format!(
                    "This machine can't reach {} through the proxy {proxy}, which HTTPS_PROXY or ALL_PROXY \
                    names: the proxy doesn't answer, or has no way there.",
                    known.endpoint
                ),
                "Correct the variable or the proxy; or name the endpoint in NO_PROXY, and allow HTTPS to it:",
            ),
            _ => Diagnosis::new(
                format!(
                    "This machine can't reach {}: its name isn't resolved, or a firewall, a network \
                    security group or a route is in the way.",
                    known.endpoint
                ),
                "Allow HTTPS to Microsoft Entra ID:",
            ),
        }
        .run(allow_entra()),
    }
}

/// A proxy answers with `status` when it is asked to reach the endpoint.
pub(super) fn proxy(status: u16, known: &Known) -> Diagnosis {
    let proxy = known.machine.proxy.as_deref().unwrap_or("that HTTPS_PROXY names");
    let endpoint = &known.endpoint;
    match status {
        407 => Diagnosis::new(
            format!("The proxy {proxy} wants a login, and HTTPS_PROXY has none, or another one."),
            "Set HTTPS_PROXY to http://<user>:<password>@<proxy>, with special characters as %40 and so on; or \
            name the endpoint in NO_PROXY, if it can be reached without.",
        ),
        500.. => Diagnosis::new(
            format!("The proxy {proxy} can't reach {endpoint}."),
            "Look at the proxy: its DNS, and what it may connect to. Or name the endpoint in NO_PROXY, if it \
            can be reached without.",
        ),
        _ => Diagnosis::new(
            format!("The proxy {proxy} doesn't let this machine reach {endpoint}."),
            "Ask who runs the proxy to allow CONNECT to this name at port 443; or name the endpoint in \
            NO_PROXY, if it can be reached without.",
        ),
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
    tenant_id(
        format!("The endpoint gives tokens of the tenant {tenant}, not of AZURE_TENANT_ID."),
        "Set AZURE_TENANT_ID to the tenant of the cache's subscription:",
    )
}

pub(super) fn tenant_id(cause: impl Into<String>, advice: &str) -> Diagnosis {
    Diagnosis::new(cause, advice)
        .run(Command::new("az account show").with("--query tenantId").with("--output tsv"))
}

pub(super) fn authority(cause: &str, advice: &str) -> Diagnosis {
    Diagnosis::new(cause, advice).run(cloud())
}

/// Shows what the endpoint of Entra ID is called in this cloud.
pub(super) fn cloud() -> Command {
    Command::new("az cloud show").with("--query endpoints.activeDirectory").with("--output tsv")
}

/// Makes a client secret.
pub(super) fn secret(application: &str) -> Command {
    Command::new("az ad app credential reset").with(format!("--id {application}")).with("--append")
}

/// Restarts an app, which sets its variables anew.
pub(super) fn restart() -> Command {
    Command::new("az webapp restart").with("--resource-group <resource-group>").with("--name <app>")
}

fn allow_entra() -> Command {
    allow("AllowEntraId", "AzureActiveDirectory", "443")
}

/// The application id of the identity.
pub(super) fn application(known: &Known) -> &str {
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
        Some(Chosen::AppService { .. } | Chosen::AzureArc { .. } | Chosen::ServiceFabric) => {
            "IDENTITY_ENDPOINT"
        }
        Some(Chosen::MachineLearning { .. } | Chosen::CloudShell) => "MSI_ENDPOINT",
        Some(Chosen::Imds { .. }) => "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        _ if known.machine.is_bound => "AZURE_KUBERNETES_TOKEN_PROXY",
        _ => "AZURE_AUTHORITY_HOST",
    }
}
