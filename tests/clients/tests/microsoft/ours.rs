//! Our sources send what Microsoft's clients send for the same identity, but for what is listed here.

use std::collections::BTreeSet;

use amr_emulator::{Emulator, Kind};
use redis_entraid::source::{MachineLearning, ManagedIdentity, Selector};
use redis_entraid::tls::Roots;
use redis_entraid::{Builder, Client};

use crate::requests::normalized;
use crate::{ARC, emulator};

/// A line, why it is other, and the identities that it is other for: for all, if there are none.
type Difference = (&'static str, &'static str, &'static [Kind]);

const ENTRA: &[Kind] = &[Kind::Secret, Kind::Certificate, Kind::WorkloadIdentity];
const FEDERATED: &[Kind] = &[Kind::WorkloadIdentity, Kind::IdentityBinding];

/// The request that we don't send: the path of the token endpoint is known.
const DISCOVERY: &str = "GET /{tenant}/v2.0/.well-known/openid-configuration";

/// Lines that one of theirs sends and we don't.
const THEIRS: &[Difference] = &[
    ("accept: */*", "their HTTP library's default", &[]),
    ("&client_info=1", "asks who the person is, and there is none", ENTRA),
    ("metadata: true", "a header of the instance metadata service", &[Kind::AppService]),
    ("?object_id={user-object-id}", "the other name of principal_id", &[Kind::AppService]),
    (
        "&client_assertion={assertion: alg=PS256, aud={authority}/{tenant}/oauth2/v2.0/token, exp, iat, iss={client-id}, jti, sub={client-id}, typ=JWT, x5c, x5t#S256}",
        "msal sends the certificate, too (x5c), and no nbf",
        &[Kind::Certificate],
    ),
    (
        "&client_assertion={assertion: alg=RS256, aud={authority}/{tenant}/oauth2/v2.0/token, exp, iat, iss={client-id}, jti, sub={client-id}, typ=JWT, x5t}",
        "the older form, with SHA-1",
        &[Kind::Certificate],
    ),
];

/// Lines that we send and one of theirs doesn't.
const OURS: &[Difference] = &[
    ("accept: application/json", "msal's; azure-identity has */* here", FEDERATED),
    ("?principal_id={user-object-id}", "the documented name", &[Kind::AppService]),
    (
        "&client_assertion={assertion: alg=PS256, aud={authority}/{tenant}/oauth2/v2.0/token, exp, iat, iss={client-id}, jti, nbf, sub={client-id}, typ=JWT, x5t#S256}",
        "Entra's documented form",
        &[Kind::Certificate],
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

/// The requests of a login, each with its lines.
fn requests(text: &str) -> Vec<BTreeSet<&str>> {
    let mut requests: Vec<BTreeSet<&str>> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match requests.last_mut() {
            Some(request) if line.starts_with(' ') => _ = request.insert(line.trim()),
            _ => requests.push(BTreeSet::from([line])),
        }
    }
    requests.retain(|request| !request.contains(DISCOVERY));
    requests
}

/// The logins of one of Microsoft's clients, by `kind` in one of these ways, and their requests.
fn theirs(kind: Kind, ways: &[&str]) -> Vec<(&'static str, Vec<BTreeSet<&'static str>>)> {
    let text = include_str!("../../requests.txt");
    let kind = Kind::ALL.iter().find(|(_, known)| *known == kind).unwrap().0;
    let blocks = text.split("== ").filter_map(|block| {
        let (name, lines) = block.split_once('\n')?;
        let (_, login) = name.split_once(": ")?;
        let (of, way) = login.split_once(", ")?;
        (of == kind && ways.contains(&way)).then(|| (name, requests(lines)))
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
        let ours = requests(&sent);
        let all = theirs(kind, ways);
        assert!(!all.is_empty(), "{kind:?} {ways:?} is not in requests.txt");
        for (name, theirs) in all {
            assert_eq!(theirs.len(), ours.len(), "{name}\n{sent}");
            for (theirs, ours) in theirs.iter().zip(&ours) {
                for (lines, other, allowed) in [(theirs, ours, THEIRS), (ours, theirs, OURS)] {
                    for line in lines.difference(other) {
                        let known = allowed.iter().find(|(known, _, kinds)| {
                            known == line && (kinds.is_empty() || kinds.contains(&kind))
                        });
                        let (known, ..) = known.unwrap_or_else(|| panic!("{name}: {line}\n{sent}"));
                        used.insert(*known);
                    }
                }
            }
            compared += 1;
        }
    }
    let listed: BTreeSet<_> = THEIRS.iter().chain(OURS).map(|(line, ..)| *line).collect();
    assert_eq!(used, listed, "a difference that there is no more");
    println!("{compared} runs of our sources beside Microsoft's clients");
}
