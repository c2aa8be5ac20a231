//! Our sources send what Microsoft's clients send for the same identity, but for what is listed here.

use std::collections::BTreeSet;

use amr_emulator::{Emulator, Kind};
use redis_entraid::source::{MachineLearning, ManagedIdentity, Selector};
use redis_entraid::tls::Roots;
use redis_entraid::{Builder, Client};

use crate::requests::normalized;
use crate::{ARC, emulator};

/// Lines that one of theirs sends and we don't.
const THEIRS: &[(&str, &str)] = &[
    ("accept: */*", "their HTTP library's default"),
    ("GET /{tenant}/v2.0/.well-known/openid-configuration", "the path of the endpoint is known"),
    ("&client_info=1", "asks who the person is, and there is none"),
    ("metadata: true", "a header of the instance metadata service, at App Service"),
    ("?object_id={user-object-id}", "App Service's other name for principal_id"),
    (
        "&client_assertion={assertion: alg=PS256, aud={authority}/{tenant}/oauth2/v2.0/token, exp, iat, iss={client-id}, jti, sub={client-id}, typ=JWT, x5c, x5t#S256}",
        "msal sends the certificate, too (x5c), and no nbf",
    ),
    (
        "&client_assertion={assertion: alg=RS256, aud={authority}/{tenant}/oauth2/v2.0/token, exp, iat, iss={client-id}, jti, sub={client-id}, typ=JWT, x5t}",
        "the older form, with SHA-1",
    ),
];

/// Lines that we send and one of theirs doesn't.
const OURS: &[(&str, &str)] = &[
    (
        "accept: application/json",
        "msal's for an application; azure-identity has */* for workload identity",
    ),
    ("?principal_id={user-object-id}", "App Service's documented name"),
    (
        "&client_assertion={assertion: alg=PS256, aud={authority}/{tenant}/oauth2/v2.0/token, exp, iat, iss={client-id}, jti, nbf, sub={client-id}, typ=JWT, x5t#S256}",
        "Entra's documented form",
    ),
];

/// How Microsoft's tests name a login, and the identity.
type Login = (Kind, &'static [&'static str], Option<fn(&Emulator) -> Selector<String>>);

const CLIENT_ID: fn(&Emulator) -> Selector<String> =
    |emulator| Selector::ClientId(emulator.entra().user_assigned.client_id.clone());
const OBJECT_ID: fn(&Emulator) -> Selector<String> =
    |emulator| Selector::ObjectId(emulator.entra().user_assigned.object_id.clone());
const RESOURCE_ID: fn(&Emulator) -> Selector<String> =
    |emulator| Selector::ResourceId(emulator.entra().user_assigned.resource_id.clone().unwrap());

const LOGINS: [Login; 17] = [
    (Kind::Secret, &["secret", "default"], None),
    (Kind::Certificate, &["certificate", "thumbprint", "default"], None),
    (Kind::WorkloadIdentity, &["workload", "assertion", "default"], None),
    (Kind::IdentityBinding, &["binding"], None),
    (Kind::Imds, &["managed", "default"], None),
    (Kind::Imds, &["client-id"], Some(CLIENT_ID)),
    (Kind::Imds, &["object-id"], Some(OBJECT_ID)),
    (Kind::Imds, &["resource-id"], Some(RESOURCE_ID)),
    (Kind::AppService, &["managed", "default"], None),
    (Kind::AppService, &["client-id"], Some(CLIENT_ID)),
    (Kind::AppService, &["object-id"], Some(OBJECT_ID)),
    (Kind::AppService, &["resource-id"], Some(RESOURCE_ID)),
    (Kind::Arc, &["managed"], None),
    (Kind::CloudShell, &["managed"], None),
    (Kind::MachineLearning, &["managed"], None),
    (Kind::MachineLearning, &["client-id"], Some(CLIENT_ID)),
    (Kind::ServiceFabric, &["managed"], None),
];

fn builder(
    emulator: &Emulator,
    kind: Kind,
    selector: Option<fn(&Emulator) -> Selector<String>>,
) -> Builder {
    let environment = emulator.environment_of(kind);
    let get = |name: &str| {
        environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    };
    let variable = |name| get(name).unwrap();
    let Some(selector) = selector.map(|selector| selector(emulator)) else {
        return Client::from_variables(get).unwrap();
    };
    let builder = Client::builder("localhost").port(emulator.redis_port());
    match (kind, selector) {
        (Kind::MachineLearning, Selector::ClientId(id)) => {
            let job = MachineLearning::new(variable("MSI_ENDPOINT"), variable("MSI_SECRET"));
            builder.source(job.with_client_id(id))
        }
        (Kind::AppService, selector) => {
            let (endpoint, header) = (variable("IDENTITY_ENDPOINT"), variable("IDENTITY_HEADER"));
            builder.source(ManagedIdentity::app_service(endpoint, header, selector))
        }
        (_, selector) => builder.source(ManagedIdentity::imds_at(emulator.plain(), selector)),
    }
}

/// The lines of the logins of one of Microsoft's clients, by `kind` in one of these ways.
fn theirs(kind: Kind, ways: &[&str]) -> Vec<(&'static str, BTreeSet<&'static str>)> {
    let text = include_str!("../../requests.txt");
    let kind = Kind::ALL.iter().find(|(_, known)| *known == kind).unwrap().0;
    let blocks = text.split("== ").filter_map(|block| {
        let (name, lines) = block.split_once('\n')?;
        let (_, login) = name.split_once(": ")?;
        let (of, way) = login.split_once(", ")?;
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        (of == kind && ways.contains(&way)).then(|| (name, lines.collect()))
    });
    blocks.collect()
}

#[test]
fn our_sources_send_the_same_requests_as_microsofts_clients() {
    let (mut compared, mut used) = (0, BTreeSet::new());
    for (kind, ways, selector) in LOGINS {
        let _alone = (kind == Kind::Arc).then(|| ARC.lock().unwrap());
        let emulator = emulator(3600);
        let roots = Roots::pem(emulator.root_pem().as_bytes()).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let builder = builder(&emulator, kind, selector).roots(roots);
        runtime.block_on(builder.connect()).unwrap();
        let sent = normalized(&emulator);
        let ours: BTreeSet<_> = sent.lines().map(str::trim).collect();
        let all = theirs(kind, ways);
        assert!(!all.is_empty(), "{kind:?} {ways:?} is not in requests.txt");
        for (name, theirs) in all {
            for (lines, other, allowed) in [(&theirs, &ours, THEIRS), (&ours, &theirs, OURS)] {
                for line in lines.difference(other) {
                    let known = allowed.iter().find(|(known, _)| known == line);
                    let (known, _) = known.unwrap_or_else(|| panic!("{name}: {line}\n{sent}"));
                    used.insert(*known);
                }
            }
            compared += 1;
        }
    }
    let listed: BTreeSet<_> = THEIRS.iter().chain(OURS).map(|(line, _)| *line).collect();
    assert_eq!(used, listed, "a difference that there is no more");
    println!("{compared} runs of our sources beside Microsoft's clients");
}
