//! Set-ups that are broken in one way each, and what `doctor` says of them.

use std::any::Any;
use std::time::Duration;

use amr_emulator::{Chain, Emulator, Flaw, Kind, Options};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, PKCS_RSA_SHA256, RsaKeySize,
};
use serde_json::json;

use crate::program::{Environment, Program, emulator, emulator_with};
use crate::servers;

/// Longer than any step takes.
const PATIENCE: &str = "20";

/// A set-up: the emulator, and what the program gets.
struct SetUp {
    emulator: Emulator,
    environment: Environment,
    faults: Vec<&'static str>,
    /// What lives as long.
    kept: Vec<Box<dyn Any>>,
    /// How many seconds each step may take: not many where it takes all of them.
    patience: &'static str,
}

impl SetUp {
    /// With a service principal, whose token endpoint has TLS.
    fn principal() -> Self {
        let emulator = emulator();
        let environment = emulator.environment();
        Self { emulator, environment, faults: Vec::new(), kept: Vec::new(), patience: PATIENCE }
    }

    /// With a managed identity, by the metadata service: TLS is at the server alone.
    fn imds() -> Self {
        Self::imds_with(Chain::default())
    }

    fn imds_with(chain: Chain) -> Self {
        let emulator = emulator_with(Options { chain, ..Options::default() });
        let mut environment = emulator.managed_environment();
        environment.retain(|(name, _)| !name.starts_with("IDENTITY_"));
        Self { emulator, environment, faults: Vec::new(), kept: Vec::new(), patience: PATIENCE }
    }

    /// With a managed identity of an app.
    fn app() -> Self {
        let emulator = emulator();
        let environment = emulator.managed_environment();
        Self { emulator, environment, faults: Vec::new(), kept: Vec::new(), patience: PATIENCE }
    }

    fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| *known != name);
        self
    }

    fn set(self, name: &'static str, value: impl ToString) -> Self {
        let mut changed = self.without(name);
        changed.environment.push((name, value.to_string()));
        changed
    }

    /// With workload identity, and this as the federated token's file.
    fn workload(token: Option<&str>) -> Self {
        let set_up = Self::principal().without("AZURE_CLIENT_SECRET");
        let path = set_up.emulator.root_file().with_file_name("another-federated-token");
        if let Some(token) = token {
            std::fs::write(&path, token).expect("the folder is ours");
        }
        set_up.set("AZURE_FEDERATED_TOKEN_FILE", path.display())
    }

    /// With the identity of this `kind`.
    fn of(kind: Kind) -> Self {
        let emulator = emulator();
        let environment = emulator.environment_of(kind);
        Self { emulator, environment, faults: Vec::new(), kept: Vec::new(), patience: PATIENCE }
    }

    fn patience(self, patience: &'static str) -> Self {
        Self { patience, ..self }
    }

    fn fault(mut self, fault: &'static str) -> Self {
        self.faults.push(fault);
        if fault.contains("hang") { self.patience("4") } else { self }
    }

    /// With a metadata service that gives this document.
    fn metadata(self, document: &str, date: &str) -> Self {
        let port = servers::metadata(document, date);
        self.set("AZURE_POD_IDENTITY_AUTHORITY_HOST", format!("http://127.0.0.1:{port}"))
    }
}

/// What is broken; where it is seen; the exit code; a part of the cause, and a part of the command.
struct Case {
    broken: &'static str,
    set_up: fn() -> SetUp,
    step: &'static str,
    code: i32,
    cause: &'static str,
    command: &'static str,
}

const NOW: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

/// A token that nobody signed, for this service.
fn unsigned(audience: &str) -> String {
    let claims = json!({
        "aud": audience, "oid": "11111111-2222-3333-4444-555555555555", "exp": 4_102_444_800_u64,
    });
    let [head, claims] =
        [json!({ "alg": "none" }), claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{head}.{claims}.unsigned")
}

fn date_in(seconds: i64) -> String {
    let now = std::time::SystemTime::now();
    let shift = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { now - shift } else { now + shift };
    // The form is one of those that are read.
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Trusts another authority than that of the emulator.
fn other_root(set_up: SetUp) -> SetUp {
    let path = set_up.emulator.root_file().with_file_name("other.pem");
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "Another Root");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("keys can be made");
    let root = authority.self_signed(&key).expect("it is whole");
    std::fs::write(&path, root.pem()).expect("the folder is ours");
    set_up.set("SSL_CERT_FILE", path.display())
}

/// A certificate that the application doesn't have.
fn other_certificate() -> SetUp {
    let set_up = SetUp::of(Kind::Certificate);
    let path = set_up.emulator.root_file().with_file_name("other-certificate.pem");
    let key =
        KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("keys can be made");
    let certificate = CertificateParams::default().self_signed(&key).expect("it is whole");
    let pem = format!("{}{}", key.serialize_pem(), certificate.pem());
    std::fs::write(&path, pem).expect("the folder is ours");
    set_up.set("AZURE_CLIENT_CERTIFICATE_PATH", path.display())
}

fn wrong_clock() -> SetUp {
    let set_up = SetUp::imds();
    let (_, token) = set_up.emulator.entra().login();
    let document = json!({ "access_token": token, "expires_in": "3599" }).to_string();
    set_up.metadata(&document, &date_in(-7200))
}

fn silent_port() -> SetUp {
    let (port, sockets) = servers::full();
    let mut set_up = SetUp::imds().set("REDIS_HOSTNAME", "127.0.0.1").set("REDIS_PORT", port);
    set_up.kept.push(Box::new(sockets));
    set_up.patience("4")
}

/// A cluster of which one node is at this port.
fn with_node(port: u16) -> SetUp {
    let slots = format!(
        "*2\r\n*3\r\n:0\r\n:8191\r\n*2\r\n_\r\n:0\r\n\
        *3\r\n:8192\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n"
    );
    SetUp::imds().set("REDIS_PORT", servers::cluster(slots))
}

/// A cluster that doesn't name its nodes, and redirects to one that is gone.
fn moved() -> SetUp {
    let port = servers::redis(|command| match command.split(' ').next() {
        Some("CLUSTER") => Some("-NOPERM no\r\n".into()),
        Some("GET") => Some("-MOVED 1 127.0.0.1:1\r\n".into()),
        _ => None,
    });
    SetUp::imds().set("REDIS_PORT", port).patience("4")
}

/// A proxy that has one answer.
fn proxied(status: u16) -> SetUp {
    let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
    let proxy = format!("http://me:hush@127.0.0.1:{}", servers::plain(answer));
    SetUp::principal().set("HTTPS_PROXY", proxy)
}

/// An identity binding that trusts another authority than its proxy's.
fn other_authorities() -> SetUp {
    let set_up = SetUp::of(Kind::IdentityBinding);
    let file = set_up.emulator.root_file();
    set_up.set("AZURE_KUBERNETES_CA_FILE", file.display())
}

/// What a node says that has several identities.
const SEVERAL: &str = r#"token#* status 400 body {"error":"invalid_request","error_description":"Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"}"#;

#[rustfmt::skip] // A table.
fn cases() -> Vec<Case> {
    macro_rules! case {
        ($broken:literal, $set_up:expr, $step:literal, $code:literal, $cause:literal, $command:literal) => {
            Case { broken: $broken, set_up: || $set_up, step: $step, code: $code, cause: $cause, command: $command }
        };
    }
    vec![
        // The environment.
        case!("no variable names the server", SetUp::principal().without("REDIS_HOSTNAME"), "environment", 3, "No variable names the server", "az redisenterprise list"),
        case!("the server is a URL without TLS", SetUp::principal().set("REDIS_HOSTNAME", "redis://localhost"), "environment", 3, "REDIS_HOSTNAME is no server", "--query hostName"),
        case!("no tenant", SetUp::principal().without("AZURE_TENANT_ID"), "environment", 3, "AZURE_TENANT_ID", "az account show --query tenantId"),
        case!("a user name and a password", SetUp::principal().without("AZURE_CLIENT_SECRET").set("AZURE_USERNAME", "me").set("AZURE_PASSWORD", "hush"), "environment", 3, "AZURE_USERNAME asks for an identity", "az ad app credential reset"),
        case!("the identity header was lost", SetUp::app().without("IDENTITY_HEADER"), "environment", 3, "lost on the way", "az webapp restart"),
        // The token.
        case!("a wrong secret", SetUp::principal().set("AZURE_CLIENT_SECRET", "hush"), "token", 4, "AZURE_CLIENT_SECRET is not a secret of this application", "az ad app credential reset --id {client}"),
        case!("an application of another tenant", SetUp::principal().set("AZURE_CLIENT_ID", "aaaaaaaa-0000-4000-8000-000000000001"), "token", 4, "no application of this tenant", "az ad sp show --id aaaaaaaa-0000-4000-8000-000000000001"),
        case!("a wrong tenant", SetUp::principal().set("AZURE_TENANT_ID", "aaaaaaaa-0000-4000-8000-000000000001"), "token", 4, "no tenant of this cloud", "az account show --query tenantId"),
        case!("a secret that has expired", SetUp::principal().fault("token#* refuse invalid_client 7000222 401"), "token", 4, "secret has expired", "az ad app credential reset --id {client} --append"),
        case!("an identity that isn't assigned to the machine", SetUp::imds().set("AZURE_CLIENT_ID", "aaaaaaaa-0000-4000-8000-000000000001"), "token", 4, "aaaaaaaa-0000-4000-8000-000000000001 is not assigned to this machine", "az vm identity assign"),
        case!("an identity that isn't assigned to the app", SetUp::app().set("AZURE_CLIENT_ID", "aaaaaaaa-0000-4000-8000-000000000001"), "token", 4, "not assigned to this app", "az webapp identity assign"),
        case!("the identity header of an earlier start", SetUp::app().set("IDENTITY_HEADER", "old"), "token", 4, "IDENTITY_HEADER is not the one", "az webapp restart"),
        case!("a laptop: no metadata service", SetUp::imds().set("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1"), "endpoint", 4, "there is no instance metadata service here", "az ad sp create-for-rbac"),
        case!("a metadata service that says nothing", SetUp::imds().fault("token#* hang"), "endpoint", 4, "there is no instance metadata service here", "az ad sp create-for-rbac"),
        case!("a metadata service that is asked too often", SetUp::imds().fault("token#* status 429 retry-after 7"), "token", 4, "too often, by all processes of this machine", ""),
        case!("a metadata service that is updated", SetUp::imds().fault("token#* status 410"), "token", 4, "failing or being updated", ""),
        case!("an Entra that fails and says for how long", SetUp::principal().fault("token#* status 503 retry-after 7"), "token", 4, "failing or being updated", ""),
        case!("a pod without the variables of workload identity", SetUp::imds().set("KUBERNETES_SERVICE_HOST", "10.0.0.1").set("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1"), "endpoint", 4, "AZURE_FEDERATED_TOKEN_FILE is not set in this pod", ""),
        case!("a pod that is asked for as its node", SetUp::imds().set("KUBERNETES_SERVICE_HOST", "10.0.0.1").fault("auth#* wrongpass"), "login", 6, "the managed identity of its node", ""),
        case!("a pod of a node with several identities", SetUp::imds().set("KUBERNETES_SERVICE_HOST", "10.0.0.1").fault(SEVERAL), "token", 4, "AZURE_FEDERATED_TOKEN_FILE is not set in this pod", ""),
        case!("a proxy that wants a login", proxied(407), "endpoint", 4, "wants a login", ""),
        case!("a proxy that forbids it", proxied(403), "endpoint", 4, "doesn't let this machine reach https://localhost:", ""),
        case!("a proxy that isn't there", SetUp::principal().set("HTTPS_PROXY", "http://me:hush@127.0.0.1:1"), "endpoint", 4, "through the proxy 127.0.0.1:1", "AzureActiveDirectory"),
        case!("a token endpoint behind a closed firewall", SetUp::principal().set("AZURE_AUTHORITY_HOST", "https://127.0.0.1:1"), "endpoint", 4, "can't reach https://127.0.0.1:1", "--destination-address-prefixes AzureActiveDirectory"),
        case!("a firewall that inspects TLS", other_root(SetUp::principal()), "endpoint", 4, "certificate of the token endpoint is issued by an authority that this machine doesn't trust", "ca-certificates"),
        case!("an image without ca-certificates", SetUp::principal().set("SSL_CERT_FILE", "/nowhere"), "endpoint", 4, "no roots to trust", "ca-certificates"),
        case!("a federated token without its file", SetUp::workload(None), "token", 4, "workload identity is not set up for this pod", ""),
        case!("a federated token of another service account", SetUp::workload(Some("eyJ.e30.other")), "token", 4, "No federated credential of the application matches", "az ad app federated-credential list --id {client}"),
        case!("a federated token that this user may not read", SetUp::workload(None).set("AZURE_FEDERATED_TOKEN_FILE", "/"), "token", 4, "this user may not read it, or it is a folder", ""),
        case!("a federated token that is not replaced", SetUp::workload(Some(&unsigned("api://AzureADTokenExchange"))).fault("token#* refuse invalid_client 700024 401"), "token", 4, "is not valid now (it ends at 2100-01-01T00:00:00Z): the file is not replaced", ""),
        case!("a federated token of another cluster", SetUp::workload(Some(&unsigned("api://AzureADTokenExchange"))).fault("token#* refuse invalid_client 700211 401"), "token", 4, "another issuer, or is not replicated yet. The token says: issuer none, subject none, audience api://AzureADTokenExchange.", "az ad app federated-credential list --id {client}"),
        case!("an identity binding without its authorities", SetUp::of(Kind::IdentityBinding).set("AZURE_KUBERNETES_CA_FILE", "/nowhere"), "token", 4, "AZURE_KUBERNETES_CA_FILE names can't be read", ""),
        case!("an identity binding with other authorities", other_authorities(), "endpoint", 4, "not signed by an authority in AZURE_KUBERNETES_CA_FILE", ""),
        case!("an identity binding whose proxy is gone", SetUp::of(Kind::IdentityBinding).set("AZURE_KUBERNETES_TOKEN_PROXY", "https://127.0.0.1:1"), "endpoint", 4, "https://127.0.0.1:1, which AZURE_KUBERNETES_TOKEN_PROXY names", ""),
        case!("a Service Fabric with another certificate", SetUp::of(Kind::ServiceFabric).set("IDENTITY_SERVER_THUMBPRINT", "A9".repeat(20)), "token", 4, "not that of IDENTITY_SERVER_THUMBPRINT", ""),
        case!("a Service Fabric that refuses", SetUp::of(Kind::ServiceFabric).set("IDENTITY_HEADER", "hush"), "token", 4, "refuses the request, for the reason that it gives", ""),
        case!("an agent of Azure Arc that names another file", SetUp::of(Kind::Arc).fault("challenge#* www-authenticate Basic realm=/etc/passwd"), "token", 4, "may not read the key files of Azure Arc's agent", ""),
        case!("a client id in Cloud Shell", SetUp::of(Kind::CloudShell).set("AZURE_CLIENT_ID", "aaaaaaaa-0000-4000-8000-000000000001"), "environment", 3, "one identity only", ""),
        case!("a certificate without its file", SetUp::of(Kind::Certificate).set("AZURE_CLIENT_CERTIFICATE_PATH", "/nowhere.pem"), "token", 4, "AZURE_CLIENT_CERTIFICATE_PATH names can't be used", "az ad app credential reset --id {client} --create-cert"),
        case!("a certificate of another application", other_certificate(), "token", 4, "This application has no such certificate", "az ad app credential list --id {client} --cert"),
        case!("an agent of Azure Arc that doesn't run", SetUp::of(Kind::Arc).set("IDENTITY_ENDPOINT", "http://127.0.0.1:1/token"), "endpoint", 4, "the agent of Azure Arc doesn't run", ""),
        case!("a developer without the Azure CLI", SetUp::imds().set("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential"), "token", 4, "isn't installed here", "az login"),
        case!("a captive portal", SetUp::principal().fault("token#* garbage"), "token", 4, "a proxy or a captive portal", "AzureActiveDirectory"),
        case!("an answer without a token", SetUp::imds().metadata(r#"{"access_token":42}"#, NOW), "token", 4, "does not answer as Microsoft Entra ID does", "az cloud show"),
        case!("a token for another service", SetUp::imds().metadata(&json!({ "access_token": unsigned("https://management.azure.com"), "expires_in": "3599" }).to_string(), &date_in(0)), "token", 4, "for another service", "--scope https://redis.azure.com/.default"),
        case!("a wrong clock", wrong_clock(), "clock", 3, "clock is wrong", "timedatectl set-ntp true"),
        // The way to the server.
        case!("a name that isn't in DNS", SetUp::principal().set("REDIS_HOSTNAME", format!("{}.redis.azure.net", "x".repeat(64))), "dns", 5, "misspelt", "--query hostName"),
        case!("a wrong port", SetUp::principal().set("REDIS_PORT", 1), "tcp", 5, "Azure Managed Redis listens at 10000", "--query port"),
        case!("a port where nothing answers", silent_port(), "tcp", 5, "nothing comes back", "az network nsg rule create"),
        case!("a server that is down", { let set_up = SetUp::principal(); set_up.emulator.down(Duration::from_secs(60)); set_up }, "tcp", 5, "Nobody listens at port", "--query port"),
        case!("a server without TLS", SetUp::imds().set("REDIS_PORT", servers::plain("-ERR unknown command\r\n")), "tls", 5, "doesn't speak TLS", "az redisenterprise database show --cluster-name localhost --resource-group <resource-group> --query clientProtocol"),
        case!("a server with another TLS", SetUp::imds().set("REDIS_PORT", servers::plain(*b"\x15\x03\x03\x00\x02\x02\x28")), "tls", 5, "in no version or form that this program accepts", "--query minimumTlsVersion"),
        case!("a server that is silent", SetUp::imds().fault("connect#* hang"), "tls", 5, "closes the connection during the TLS handshake", "--query resourceState"),
        case!("a server with too many clients", SetUp::imds().fault("connect#* error ERR max number of clients reached"), "tls", 5, "too many connections", "--query resourceState"),
        case!("a certificate of an unknown authority", other_root(SetUp::imds()), "tls", 5, "authority that this machine doesn't trust", "ca-certificates"),
        case!("a certificate for another name", SetUp::imds_with(Chain::Flawed(Flaw::OtherName)), "tls", 5, "The certificate is not for localhost", "--cluster-name localhost"),
        case!("a certificate that has expired", SetUp::imds_with(Chain::Flawed(Flaw::Expired)), "tls", 5, "this machine's clock is right", "--query hostName"),
        case!("a certificate without its authorities", SetUp::imds().fault("connect#* leaf-only"), "tls", 5, "without those of its authorities", ""),
        // The server.
        case!("no access policy assignment", SetUp::principal().fault("auth#* wrongpass"), "login", 6, "for the object id {object}", "access-policy-assignment create --cluster-name localhost --resource-group <resource-group> --database-name default --access-policy-assignment-name {name} --access-policy-name default --object-id {object}"),
        case!("a token that the server doesn't take", SetUp::imds().metadata(&json!({ "access_token": unsigned("https://redis.azure.com"), "expires_in": "3599" }).to_string(), &date_in(0)), "login", 6, "11111111-2222-3333-4444-555555555555", "--object-id 11111111-2222-3333-4444-555555555555"),
        case!("a server that is loading", SetUp::principal().fault("auth#* error LOADING Redis is loading the dataset in memory"), "login", 6, "starting, in maintenance", "--query resourceState"),
        case!("an access policy that reads only", SetUp::principal().fault("cmd#3 error NOPERM User me has no permissions to run the 'set' command"), "write", 1, "doesn't let it write", "access-policy-assignment update"),
        case!("a replica", SetUp::principal().fault("cmd#3 error READONLY You can't write against a read only replica."), "write", 1, "failover", "--query resourceState"),
        case!("a server that falls silent", SetUp::principal().fault("cmd#2 hang"), "read", 7, "fell silent", "--query resourceState"),
        case!("an access policy for other keys", SetUp::principal().fault("cmd#2 error NOPERM No permissions to access a key"), "read", 1, "doesn't let it read this key (doctor --prefix tries others)", "access-policy-assignment update"),
        case!("a database that is full", SetUp::principal().fault("cmd#3 error OOM command not allowed when used memory > 'maxmemory'."), "write", 1, "The database is full", "az redisenterprise update"),
        case!("a server that falls silent after it was written to", SetUp::principal().fault("cmd#4 hang"), "read", 7, "fell silent", "--query resourceState"),
        case!("a cluster that is down", SetUp::principal().fault("cmd#1 error CLUSTERDOWN The cluster is down"), "cluster", 1, "starting, in maintenance", "--query resourceState"),
        case!("a cluster without nodes", SetUp::imds().set("REDIS_PORT", servers::cluster("*0\r\n".into())), "cluster", 1, "starting, in maintenance", "--query resourceState"),
        case!("a node that refuses the login", with_node(servers::redis(|_| Some("-WRONGPASS no\r\n".into()))), "nodes", 6, "no access policy assignment of this cache", "access-policy-assignment create"),
        case!("a node with too many clients", with_node(servers::redis(|_| Some("-ERR max number of clients reached\r\n".into()))), "nodes", 6, "as many connections", "--sku <larger-size>"),
        case!("a key at a node that is gone", moved(), "nodes", 5, "OSS cluster policy", "--destination-port-ranges 10000 8500-8599"),
        case!("a cluster with a node that is gone", with_node(1), "nodes", 5, "OSS cluster policy", "--destination-port-ranges 10000 8500-8599"),
    ]
}

/// Runs `doctor` with the set-up of each case whose number is of this turn.
fn check(turn: usize) {
    for case in cases().into_iter().skip(turn).step_by(TURNS) {
        let Case { broken, step, code, .. } = case;
        let set_up = (case.set_up)();
        let entra = set_up.emulator.entra();
        let principal = &entra.principal;
        let filled = |text: &str| {
            let (client, object) = (&principal.client_id, &principal.object_id);
            let text = text.replace("{client}", client).replace("{object}", object);
            text.replace("{name}", &object.replace('-', ""))
        };
        let (cause, command) = (filled(case.cause), filled(case.command));
        let program = Program::with(set_up.environment.clone());
        let run = |args: &[&str]| {
            set_up.emulator.reset();
            for fault in &set_up.faults {
                set_up.emulator.arm(fault).expect("it is one");
            }
            let ran = program.run(args);
            assert_eq!(ran.code, Some(code), "{broken}: {ran:?}");
            assert!(ran.err.is_empty() && !ran.out.contains("hush"), "{broken}: {ran:?}");
            ran.keeps_secrets_of(&set_up.emulator)
        };
        let json = run(&["doctor", "--json", "--timeout", set_up.patience]).json();
        let problem = &json["problem"];
        let said = |name: &str| problem[name].as_str().unwrap_or_default();
        assert_eq!(said("step"), step, "{broken}: {json}");
        assert!(said("cause").contains(&cause), "{broken}: {json}");
        assert!(said("command").contains(&command), "{broken}: {json}");
        assert_eq!(said("command").is_empty(), command.is_empty(), "{broken}: {json}");
        assert!(!said("saw").is_empty() && json["healthy"] == false, "{broken}: {json}");
        // A person reads the same.
        let shown = run(&["doctor", "--timeout", set_up.patience]).out;
        assert!(shown.contains(&format!("FAIL  {step}")), "{broken}: {shown}");
        let words: Vec<&str> =
            shown.split([' ', '\n', '\\']).filter(|word| !word.is_empty()).collect();
        let shown = words.join(" ");
        assert!(shown.contains(&cause) && shown.contains(&command), "{broken}: {shown}");
    }
}

/// So many tests share the cases.
const TURNS: usize = 2;

#[test]
fn doctor_names_the_cause_of_each_even_case_and_what_mends_it() {
    check(0);
}

#[test]
fn doctor_names_the_cause_of_each_odd_case_and_what_mends_it() {
    check(1);
}

#[test]
fn no_two_cases_are_one() {
    let cases = cases();
    let mut names: Vec<_> = cases.iter().map(|case| case.broken).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() == cases.len() && cases.len() >= 20);
}
