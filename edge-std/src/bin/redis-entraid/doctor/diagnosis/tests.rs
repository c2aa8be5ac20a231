use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use redis_entraid::entraid_core::json::JsonError;
use redis_entraid::entraid_core::source::{
    ConfigError as SourceConfig, ErrorKind, IoFailure, OAuthError, SourceError,
};
use redis_entraid::entraid_core::storage::{Buffer, CapacityError};
use redis_entraid::entraid_core::token::TokenError;
use redis_entraid::error::{ConfigError, LoginError, ServerError};
use redis_entraid::{Chosen, DeveloperTool};

use super::*;
use crate::claims::Federated;
use crate::doctor::machine::Machine;
use crate::doctor::problem::{Step, TcpProblem};
use crate::doctor::tls::TlsProblem;

const APP: &str = "aaaaaaaa-0000-0000-0000-000000000001";
const OBJECT: &str = "bbbbbbbb-0000-0000-0000-000000000002";

fn principal() -> Known {
    Known {
        host: "orders.westeurope.redis.azure.net".into(),
        port: 10_000,
        chosen: Some(Chosen::ServicePrincipal { client_id: APP.into(), tenant: "t".into() }),
        endpoint: "https://login.microsoftonline.com".into(),
        object_id: Some(OBJECT.into()),
        clock_ahead: Some(0),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(20, 1, 2, 3))],
        machine: Machine::default(),
    }
}

fn imds(client_id: Option<&str>) -> Known {
    let chosen = Some(Chosen::Imds { client_id: client_id.map(str::to_owned) });
    Known { chosen, ..principal() }
}

fn app(client_id: Option<&str>) -> Known {
    let chosen = Some(Chosen::AppService { client_id: client_id.map(str::to_owned) });
    Known { chosen, ..principal() }
}

/// The same at a machine of this kind.
fn at(known: Known, machine: Machine) -> Known {
    Known { machine, ..known }
}

fn pod() -> Machine {
    Machine { is_pod: true, ..Machine::default() }
}

fn workload() -> Known {
    let chosen = Some(Chosen::WorkloadIdentity { client_id: APP.into(), tenant: "t".into() });
    // {"iss":"https://oidc/","sub":"system:serviceaccount:shop:orders","aud":"api://AzureADTokenExchange","exp":1795300358}
    let token = "e30.eyJpc3MiOiJodHRwczovL29pZGMvIiwic3ViIjoic3lzdGVtOnNlcnZpY2VhY2NvdW50OnNob3A6b3JkZXJzIiwiYXVkIjoiYXBpOi8vQXp1cmVBRFRva2VuRXhjaGFuZ2UiLCJleHAiOjE3OTUzMDAzNTh9.x";
    let machine = Machine { federated: Federated::read(token), ..pod() };
    Known { chosen, machine, ..principal() }
}

fn bound() -> Known {
    let machine = Machine { is_bound: true, ..pod() };
    Known { endpoint: "https://10.0.0.1".into(), ..at(workload(), machine) }
}

fn other(chosen: Chosen) -> Known {
    Known { chosen: Some(chosen), ..principal() }
}

fn token(reason: SourceError) -> Problem {
    Problem::Token { reason, tls: None, proxy: None, said: String::new() }
}

/// A proxy refuses to reach Entra.
fn by_proxy(status: u16) -> Problem {
    let reason = SourceError::Io(IoFailure::Request);
    Problem::Token { reason, tls: None, proxy: Some(status), said: String::new() }
}

fn refused(status: u16, error: OAuthError, code: Option<u32>, kind: ErrorKind) -> Problem {
    token(SourceError::Refused { status, error, code, kind })
}

/// Refused by Entra with its own code.
fn entra(code: u32) -> Problem {
    refused(401, OAuthError::InvalidClient, Some(code), ErrorKind::Configuration)
}

fn endpoint_tls(problem: TlsProblem) -> Problem {
    let reason = SourceError::Io(IoFailure::Tls);
    Problem::Token { reason, tls: Some(problem), proxy: None, said: String::new() }
}

fn tcp(problem: TcpProblem) -> Problem {
    Problem::Tcp(vec![("20.1.2.3:10000".into(), problem)])
}

fn node(problem: Problem) -> Problem {
    Problem::Node { which: "20.1.2.3:8501, one of 2 nodes".into(), problem: Box::new(problem) }
}

fn command(code: &str, step: Step) -> Problem {
    let error = ServerError { code: code.into(), message: String::new() };
    Problem::Command { command: "SET", error, step }
}

/// What was seen, where; a part of the cause, and a part of the command, which is empty if there is none.
type Case = (Problem, Known, &'static str, &'static str);

#[rustfmt::skip] // A table.
fn cases() -> Vec<Case> {
    let none = OAuthError::Other;
    let config = ErrorKind::Configuration;
    let silent = || tcp(TcpProblem::Silent(Duration::from_secs(10)));
    let no_route = || tcp(TcpProblem::NoRoute("Network is unreachable".into()));
    let throttled = |status, wait: Option<u64>, code| {
        refused(status, none, code, ErrorKind::Throttled(wait.map(Duration::from_secs)))
    };
    let arc = |by_variables| other(Chosen::AzureArc { by_variables });
    let proxied = || Machine { proxy: Some("proxy:3128".into()), ..Machine::default() };
    let needs = |tool| token(SourceError::Config(SourceConfig::Missing(tool)));
    let failed = |what| token(SourceError::Other { kind: config, what });
    let private = Known { addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3))], ..principal() };
    let named = |host: &str| Known { host: host.into(), ..principal() };
    let unsure = Known { clock_ahead: None, ..principal() };
    let environment = Problem::Environment;
    let developer = || Chosen::Developer { tool: DeveloperTool::AzureCli };
    let other_port = Known { port: 6380, ..principal() };
    vec![
        (environment(ConfigError::Missing("REDIS_HOSTNAME")), Known::default(), "No variable names the server", "az redisenterprise list"),
        (environment(ConfigError::Missing("IDENTITY_HEADER")), Known::default(), "was lost", "az webapp restart"),
        (environment(ConfigError::Missing("AZURE_TENANT_ID")), Known::default(), "needs AZURE_TENANT_ID", "az account show --query tenantId"),
        (environment(ConfigError::Missing("AZURE_CLIENT_ID")), Known::default(), "needs AZURE_CLIENT_ID", "az ad app list"),
        (environment(ConfigError::Invalid("REDIS_ENDPOINT")), Known::default(), "no server", "az redisenterprise show"),
        (environment(ConfigError::Invalid("AZURE_CLIENT_ID")), Known::default(), "is invalid", ""),
        (environment(ConfigError::Unsupported("AZURE_USERNAME")), Known::default(), "AZURE_USERNAME", "az ad app credential reset"),
        (environment(ConfigError::Unsupported("AZURE_TOKEN_CREDENTIALS")), Known::default(), "AZURE_TOKEN_CREDENTIALS", ""),
        (environment(SourceConfig::TenantRequired.into()), Known::default(), "AZURE_TENANT_ID", "az account show"),
        (environment(SourceConfig::NotHttps("the authority").into()), Known::default(), "AZURE_AUTHORITY_HOST", "az cloud show"),
        (token(SourceError::Io(IoFailure::Connect)), imds(None), "no instance metadata service", "az ad sp create-for-rbac"),
        (token(SourceError::TimedOut), imds(None), "no instance metadata service", "az ad sp create-for-rbac"),
        (token(SourceError::Io(IoFailure::Connect)), app(None), "IDENTITY_ENDPOINT", "az webapp restart"),
        (token(SourceError::Io(IoFailure::Connect)), principal(), "can't reach https://login.microsoftonline.com", "--destination-address-prefixes AzureActiveDirectory"),
        (token(SourceError::Io(IoFailure::NotFound)), workload(), "workload identity is not set up", ""),
        (token(SourceError::Io(IoFailure::File)), workload(), "this user may not read it", ""),
        (token(SourceError::Io(IoFailure::Connect)), at(imds(None), pod()), "AZURE_FEDERATED_TOKEN_FILE is not set in this pod", ""),
        (token(SourceError::TimedOut), arc(true), "the agent of Azure Arc doesn't run", ""),
        (token(SourceError::Io(IoFailure::Connect)), arc(false), "the agent of Azure Arc doesn't run", ""),
        (token(SourceError::Io(IoFailure::Connect)), at(principal(), proxied()), "through the proxy proxy:3128", "AzureActiveDirectory"),
        (by_proxy(407), at(principal(), proxied()), "The proxy proxy:3128 wants a login", ""),
        (by_proxy(403), at(principal(), proxied()), "doesn't let this machine reach https://login", ""),
        (by_proxy(502), at(principal(), proxied()), "can't reach https://login", ""),
        (token(SourceError::Io(IoFailure::Request)), principal(), "can't be made as AZURE_AUTHORITY_HOST", ""),
        (token(SourceError::Io(IoFailure::Unsupported)), principal(), "can't be made", ""),
        (token(SourceError::Io(IoFailure::TooLarge(CapacityError::new(Buffer::Response, 2, 1)))), principal(), "larger than any token", ""),
        (token(SourceError::Io(IoFailure::Connect)), bound(), "AZURE_KUBERNETES_TOKEN_PROXY names", ""),
        (token(SourceError::Io(IoFailure::File)), at(workload(), Machine { hides_authorities: true, ..bound().machine }), "AZURE_KUBERNETES_CA_FILE names can't be read", ""),
        (failed("no roots"), bound(), "has no certificates of authorities", ""),
        (endpoint_tls(TlsProblem::UnknownIssuer), bound(), "not signed by an authority in AZURE_KUBERNETES_CA_FILE", ""),
        (endpoint_tls(TlsProblem::OtherName), bound(), "AZURE_KUBERNETES_SNI_NAME", ""),
        (failed("the thumbprint"), other(Chosen::ServiceFabric), "not that of IDENTITY_SERVER_THUMBPRINT", ""),
        (needs("`azd auth login`"), other(developer()), "nobody is", "azd auth login"),
        (token(SourceError::TimedOut), other(developer()), "says nothing in time", "az login"),
        (token(SourceError::Io(IoFailure::File)), other(developer()), "can't be run by this user", "az login"),
        (token(SourceError::Io(IoFailure::NotFound)), other(developer()), "isn't installed here", "az login"),
        (endpoint_tls(TlsProblem::UnknownIssuer), principal(), "authority that this machine doesn't trust", "ca-certificates"),
        (endpoint_tls(TlsProblem::Expired), unsure.clone(), "its clock is wrong", "timedatectl set-ntp"),
        (endpoint_tls(TlsProblem::OtherName), principal(), "does not answer as Microsoft Entra ID does", "az cloud show"),
        (endpoint_tls(TlsProblem::NoCommonTls), principal(), "does not answer as Microsoft Entra ID does", "az cloud show"),
        (throttled(429, Some(7), None), imds(None), "too often", ""),
        (throttled(429, Some(7), Some(7_000_215)), principal(), "too often, by this application", ""),
        (throttled(400, None, Some(90_055)), principal(), "too often", ""),
        (throttled(429, None, None), other(Chosen::CloudShell), "by all processes of this machine", ""),
        (throttled(410, Some(10), None), imds(None), "failing or being updated", ""),
        (throttled(503, Some(7), None), principal(), "failing or being updated", ""),
        (entra(7_000_215), principal(), "not a secret of this application", APP),
        (entra(7_000_222), principal(), "has expired", "az ad app credential reset --id aaaaaaaa"),
        (entra(700_016), principal(), "no application of this tenant", "az ad sp show --id aaaaaaaa"),
        (entra(7_000_112), principal(), "disabled", "--set accountEnabled=true"),
        (entra(90_002), principal(), "no tenant of this cloud", "az account show"),
        (entra(900_382), principal(), "another cloud", "az cloud show"),
        (entra(9_001_023), principal(), "one tenant", "az account show"),
        (entra(700_211), workload(), "another issuer, or is not replicated yet. The token says: issuer https://oidc/, subject system:serviceaccount:shop:orders, audience api://AzureADTokenExchange.", "az ad app federated-credential list"),
        (entra(700_212), workload(), "another audience", "az ad app federated-credential list"),
        (entra(7_002_137), workload(), "another subject", "az ad app federated-credential list"),
        (entra(7_002_138), workload(), "another subject", "az ad app federated-credential list"),
        (entra(700_024), workload(), "is not valid now (it ends at 2026-11-21T22:32:38Z): the file is not replaced", ""),
        (entra(700_213), principal(), "No federated credential", "az ad app federated-credential list --id aaaaaaaa"),
        (entra(500_011), principal(), "no service principal of Azure Managed Redis", "az ad sp create --id acca5fbb-b7e4-4009-81f1-37e38fd66d78"),
        (entra(700_024), principal(), "clock is wrong", "timedatectl"),
        (entra(53_003), principal(), "conditional access", ""),
        (entra(1), principal(), "for the reason that it gives", "az ad sp show"),
        (refused(400, OAuthError::SeveralIdentities, None, config), imds(None), "Several user-assigned", "az identity list"),
        (refused(400, OAuthError::SeveralIdentities, None, config), at(imds(None), pod()), "AZURE_FEDERATED_TOKEN_FILE is not set in this pod", ""),
        (refused(400, OAuthError::InvalidRequest, None, config), at(imds(Some(APP)), pod()), "AZURE_FEDERATED_TOKEN_FILE is not set in this pod", ""),
        (refused(400, OAuthError::InvalidRequest, None, config), arc(true), "The endpoint https://login", ""),
        (refused(401, none, None, config), other(Chosen::ServiceFabric), "The endpoint https://login", ""),
        (refused(401, none, None, config), other(Chosen::MachineLearning { client_id: None }), "The endpoint https://login", ""),
        (refused(401, none, None, config), other(Chosen::CloudShell), "The endpoint https://login", ""),
        (refused(403, none, None, config), bound(), "The endpoint https://10.0.0.1 refuses", ""),
        (refused(400, OAuthError::InvalidRequest, None, config), imds(None), "A system-assigned identity is not assigned to this machine", "az vm identity assign"),
        (refused(400, OAuthError::InvalidRequest, None, config), imds(Some(APP)), APP, "--identities <resource-id-of-the-identity>"),
        (refused(400, OAuthError::InvalidRequest, None, config), app(None), "not assigned to this app", "az webapp identity assign"),
        (refused(401, none, None, config), app(None), "IDENTITY_HEADER is not the one", "az webapp restart"),
        (refused(403, none, None, config), imds(None), "no instance metadata service", "az ad sp create-for-rbac"),
        (refused(451, none, None, config), imds(None), "for the reason that it gives", ""),
        (refused(410, none, None, ErrorKind::Transient), app(None), "failing or being updated", ""),
        (refused(503, none, None, ErrorKind::Transient), imds(None), "failing or being updated", ""),
        (token(SourceError::WebPage), principal(), "captive portal", "AzureActiveDirectory"),
        (token(SourceError::Json(JsonError::TooDeep)), principal(), "does not answer as Microsoft Entra ID does", "az cloud show"),
        (token(SourceError::NoToken), principal(), "does not answer as Microsoft Entra ID does", "az cloud show"),
        (token(SourceError::Token(TokenError::Expired)), principal(), "clock is wrong", "timedatectl"),
        (Problem::Audience("x".into()), principal(), "another service", "--scope https://redis.azure.com/.default"),
        (Problem::Tenant("t2".into()), principal(), "tenant t2", "az account show"),
        (Problem::Clock(7200), principal(), "clock is wrong", "timedatectl"),
        (Problem::Name(String::new()), principal(), "misspelt", "az redisenterprise show --cluster-name orders"),
        (Problem::Name(String::new()), named("orders.redis.cache.windows.net"), "another service", "--query hostName"),
        (Problem::Name(String::new()), named("orders.privatelink.redis.azure.net"), "private DNS zone", "--query hostName"),
        (tcp(TcpProblem::Refused), named("orders.redis.cache.windows.net"), "another service", "--query hostName"),
        (Problem::Tls(TlsProblem::OtherName, String::new()), named("orders.privatelink.redis.azure.net"), "private DNS zone", "--query hostName"),
        (tcp(TcpProblem::Refused), principal(), "being made, updated or was deleted", "--query resourceState"),
        (tcp(TcpProblem::Refused), other_port, "listens at 10000", "--query port"),
        (tcp(TcpProblem::Denied), principal(), "doesn't let the program connect", ""),
        (silent(), principal(), "a pod's network policy", "az redisenterprise show --cluster-name orders --resource-group <resource-group> --query publicNetworkAccess"),
        (no_route(), principal(), "no route there", ""),
        (tcp(TcpProblem::Other("odd".into())), principal(), "for the reason that it gives", ""),
        (silent(), private, "peered", "--destination-port-ranges 10000 8500-8599"),
        (Problem::Tls(TlsProblem::OtherName, String::new()), principal(), "not for orders.westeurope", "--query hostName"),
        (Problem::Tls(TlsProblem::NotTls, String::new()), principal(), "doesn't speak TLS: host or port are of another server", "database show --cluster-name orders --resource-group <resource-group> --query clientProtocol"),
        (Problem::Tls(TlsProblem::Closed, String::new()), principal(), "closes the connection during the TLS handshake", "--query resourceState"),
        (Problem::Tls(TlsProblem::Alert, String::new()), principal(), "turns the TLS handshake down", "--query hostName"),
        (Problem::Tls(TlsProblem::NoCommonTls, String::new()), principal(), "in no version or form", "--query minimumTlsVersion"),
        (Problem::Tls(TlsProblem::Silent, String::new()), principal(), "or says nothing", "--query resourceState"),
        (Problem::Tls(TlsProblem::UnknownIssuer, String::new()), principal(), "doesn't trust", "ca-certificates"),
        (Problem::Tls(TlsProblem::Incomplete, String::new()), principal(), "without those of its authorities", ""),
        (Problem::Tls(TlsProblem::NoRoots, String::new()), principal(), "no roots to trust", "ca-certificates"),
        (Problem::Tls(TlsProblem::Expired, String::new()), principal(), "this machine's clock is right", "--query hostName"),
        (Problem::Tls(TlsProblem::NotYetValid, String::new()), unsure, "its clock is wrong", "timedatectl"),
        (Problem::Tls(TlsProblem::BadCertificate, String::new()), principal(), "something in between replaces it", "--query hostName"),
        (Problem::Login(LoginError::WrongPass), principal(), OBJECT, "access-policy-assignment create --cluster-name orders"),
        (Problem::Login(LoginError::WrongPass), at(imds(None), pod()), "the managed identity of its node", ""),
        (Problem::Login(LoginError::WrongAudience), principal(), "another service", "az account get-access-token"),
        (Problem::Login(LoginError::NoPerm), principal(), "doesn't let it log in", "access-policy-assignment update"),
        (Problem::Login(LoginError::Unavailable), principal(), "starting, in maintenance", "--query resourceState"),
        (Problem::Login(LoginError::MaxClients), principal(), "as many connections", "--sku <larger-size>"),
        (Problem::Login(LoginError::Denied), principal(), "no Azure Managed Redis", "--query hostName"),
        (Problem::Login(LoginError::Unexpected), principal(), "in this form", "access-policy-assignment list"),
        (command("NOPERM", Step::Write), principal(), "doesn't let it write", "--access-string"),
        (command("NOPERM", Step::Read), principal(), "doesn't let it read", "--access-string"),
        (command("READONLY", Step::Write), principal(), "failover", "--query resourceState"),
        (command("LOADING", Step::Read), principal(), "starting, in maintenance", "--query resourceState"),
        (command("OOM", Step::Write), principal(), "full", "--sku <larger-size>"),
        (command("NOAUTH", Step::Read), principal(), "forgotten the login", "access-policy-assignment list"),
        (command("ERR", Step::Read), principal(), "for the reason that it gives", "--query resourceState"),
        (Problem::Lost(Step::Read, String::new()), principal(), "fell silent", "--query resourceState"),
        (Problem::Garbled, principal(), "not what is read", "--query resourceState"),
        (Problem::NoNodes, principal(), "starting, in maintenance", "--query resourceState"),
        (node(silent()), principal(), "OSS cluster policy", "--destination-port-ranges 10000 8500-8599"),
        (node(Problem::Login(LoginError::MaxClients)), principal(), "as many connections", "--sku <larger-size>"),
        (node(Problem::Login(LoginError::WrongPass)), principal(), OBJECT, "access-policy-assignment create"),
    ]
}

#[test]
fn each_problem_has_its_cause_and_its_command() {
    for (problem, known, cause, command) in cases() {
        let diagnosis = diagnose(&problem, &known);
        assert!(diagnosis.cause.contains(cause), "{problem:?}: {diagnosis:?}");
        let line = diagnosis.command.as_ref().map(Command::line).unwrap_or_default();
        assert!(line.contains(command), "{problem:?}: {line}");
        assert_eq!(line.is_empty(), command.is_empty(), "{problem:?}: {line}");
        // What to do is a sentence, or leads to the command.
        let end = if line.is_empty() { '.' } else { ':' };
        assert!(diagnosis.advice.ends_with(end), "{problem:?}: {}", diagnosis.advice);
        assert!(diagnosis.cause.ends_with('.'), "{problem:?}: {}", diagnosis.cause);
    }
}

#[test]
fn the_wait_that_the_endpoint_asks_for_is_told() {
    let wait = Some(Duration::from_secs(7));
    let throttled = refused(429, OAuthError::Other, None, ErrorKind::Throttled(wait));
    assert!(diagnose(&throttled, &imds(None)).advice.starts_with("Wait for 7s."));
    let throttled = refused(429, OAuthError::Other, None, ErrorKind::Throttled(None));
    assert!(diagnose(&throttled, &imds(None)).advice.starts_with("Wait for a minute."));
    let failing = refused(503, OAuthError::Other, None, ErrorKind::Throttled(wait));
    assert!(diagnose(&failing, &principal()).advice.starts_with("Wait for 7s and try again"));
}

#[test]
fn no_command_asks_for_what_is_known() {
    for (problem, known, ..) in cases() {
        let line = diagnose(&problem, &known).command.map(|command| command.line());
        let line = line.unwrap_or_default();
        if known.object_id.is_some() {
            assert!(!line.contains("<object-id>") && !line.contains("<cache>"), "{line}");
        }
    }
}

#[test]
fn addresses_of_private_networks_are_known() {
    for address in [
        "10.0.0.1",
        "172.16.1.1",
        "192.168.0.1",
        "127.0.0.1",
        "169.254.1.1",
        "fd00::1",
        "::1",
        "::ffff:10.0.0.1",
    ] {
        assert!(is_private(&address.parse().unwrap()), "{address}");
    }
    for address in ["20.1.2.3", "172.32.0.1", "2603:1020::5"] {
        assert!(!is_private(&address.parse().unwrap()), "{address}");
    }
}
