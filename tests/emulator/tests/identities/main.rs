//! The identity endpoints, by plain HTTP: what each gives and what it refuses.
#![allow(clippy::unwrap_used)]

mod http;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use amr_emulator::{Emulator, Identity, Kind, Options, Store};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{FORM, Reply, get, post, send};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

const RESOURCE: &str = "resource=https%3A%2F%2Fredis.azure.com%2F";
const REDIS_APP: &str = "acca5fbb-b7e4-4009-81f1-37e38fd66d78";
const METADATA: &str = "Metadata: true";

fn emulator() -> Emulator {
    with_keys_in(std::env::temp_dir().join("nobody-asks"))
}

fn with_keys_in(arc_folder: PathBuf) -> Emulator {
    let store = Store::Builtin;
    Emulator::start(&Options { store, arc_folder, ..Options::default() }).unwrap()
}

/// The object id in the token of a good answer.
fn object_id(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    let document = reply.json();
    let payload = document["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    claims["oid"].as_str().unwrap().to_owned()
}

fn variable(emulator: &Emulator, kind: Kind, name: &str) -> String {
    let variables = emulator.environment_of(kind);
    variables.into_iter().find(|(known, _)| *known == name).unwrap().1
}

fn refused(reply: &Reply, status: u16, text: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert!(reply.body.contains(text), "{reply:?}");
}

#[test]
fn an_application_proves_itself_by_its_secret_and_by_its_certificate() {
    let emulator = emulator();
    let entra = emulator.entra();
    let (authority, id) = (emulator.authority(), &entra.principal.client_id);
    let port = authority.rsplit(':').next().unwrap();
    let post = |headers: &[&str], tenant: &str, form: &str| {
        let tls = http::trusting(port, "localhost", emulator.root_pem().as_bytes()).unwrap();
        send(tls, "POST", &format!("/{tenant}/oauth2/v2.0/token"), headers, form)
    };
    let form = |id: &str, resource: &str, proof: &str| {
        let scope = format!("{resource}%2F.default");
        format!("client_id={id}&grant_type=client_credentials&scope={scope}&{proof}")
    };
    let url = "https%3A%2F%2Fredis.azure.com";
    let ask = |proof: &str| post(&[FORM], &entra.tenant, &form(id, url, proof));
    let secret: String = entra.secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let secret = format!("client_secret={secret}");
    assert_eq!(object_id(&ask(&secret)), entra.principal.object_id);
    // A GUID has no case, and the service is known by its own, too.
    let upper = form(&id.to_uppercase(), REDIS_APP, &secret);
    let token = post(&[FORM], &entra.tenant.to_uppercase(), &upper);
    assert_eq!(object_id(&token), entra.principal.object_id);
    refused(&post(&[], &entra.tenant, &form(id, url, &secret)), 400, "AADSTS900144");
    refused(&ask("client_secret=other"), 401, "AADSTS7000215");
    let kind = "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let ask = |assertion: &str| ask(&format!("{kind}&client_assertion={assertion}"));
    let endpoint = format!("{authority}/{}/oauth2/v2.0/token", entra.tenant);
    let assertion = assertion(&emulator, &endpoint);
    for _ in 0..2 {
        assert_eq!(object_id(&ask(&assertion)), entra.principal.object_id);
    }
    refused(&ask(&assertion[..assertion.len() - 8]), 401, "AADSTS700027");
    let elsewhere = self::assertion(&emulator, "https://login.microsoftonline.com/");
    refused(&ask(&elsewhere), 401, "AADSTS50012");
    refused(&ask("e30.e30.e30"), 401, "AADSTS700213");
}

/// An assertion as azure-identity signs it, with the file of the certificate.
fn assertion(emulator: &Emulator, audience: &str) -> String {
    let pem = std::fs::read(emulator.certificate_file()).unwrap();
    let certificate = CertificateDer::from_pem_slice(&pem).unwrap();
    let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).unwrap();
    let key = KeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
    let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let id = &emulator.entra().principal.client_id;
    let header = json!({ "alg": "RS256", "typ": "JWT", "x5t": thumbprint });
    let claims = json!({
        "aud": audience, "iss": id, "sub": id, "jti": audience, "iat": now, "exp": now + 600,
    });
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    let random = SystemRandom::new();
    key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn imds_knows_an_identity_by_each_of_its_ids() {
    let emulator = emulator();
    let (entra, base) = (emulator.entra(), emulator.plain());
    let ask = |more: &str, headers: &[&str]| {
        let path = "/metadata/identity/oauth2/token?api-version=2018-02-01";
        get(&format!("{base}{path}&{RESOURCE}{more}"), headers)
    };
    assert_eq!(object_id(&ask("", &[METADATA])), entra.system_assigned.object_id);
    let user = &entra.user_assigned;
    for selector in by_each_id(user, ["client_id", "object_id", "msi_res_id"]) {
        assert_eq!(object_id(&ask(&selector, &[METADATA])), user.object_id, "{selector}");
    }
    refused(&ask("", &[]), 400, "bad_request_102");
    refused(&ask("&client_id=nobody", &[METADATA]), 400, "Identity not found");
    refused(&ask("&mi_res_id=nobody", &[METADATA]), 400, "Identity not found");
    let [client, object, _] = by_each_id(user, ["client_id", "object_id", "msi_res_id"]);
    refused(&ask(&format!("{client}{object}"), &[METADATA]), 400, "Identity not found");
    let newer = format!("{base}/metadata/identity/oauth2/token?api-version=2019-08-01");
    for resource in [REDIS_APP.to_owned(), REDIS_APP.to_uppercase()] {
        let token = get(&format!("{newer}&resource={resource}"), &[METADATA]);
        assert_eq!(object_id(&token), entra.system_assigned.object_id);
    }
    let other = REDIS_APP.replace('a', "b");
    refused(&get(&format!("{newer}&resource={other}"), &[METADATA]), 400, "invalid_resource");
}

fn by_each_id(user: &Identity, names: [&str; 3]) -> [String; 3] {
    let ids = [&user.client_id, &user.object_id, user.resource_id.as_ref().unwrap()];
    [0, 1, 2].map(|at| format!("&{}={}", names[at], ids[at]))
}

#[test]
fn app_service_wants_its_header_and_knows_an_object_id_by_two_names() {
    let emulator = emulator();
    let entra = emulator.entra();
    let header = format!("X-IDENTITY-HEADER: {}", entra.identity_header);
    let endpoint = variable(&emulator, Kind::AppService, "IDENTITY_ENDPOINT");
    let ask = |more: &str, headers: &[&str]| {
        get(&format!("{endpoint}?api-version=2019-08-01&{RESOURCE}{more}"), headers)
    };
    assert_eq!(object_id(&ask("", &[&header])), entra.system_assigned.object_id);
    let user = &entra.user_assigned;
    let both =
        [["client_id", "principal_id", "mi_res_id"], ["client_id", "object_id", "mi_res_id"]];
    for selector in both.into_iter().flat_map(|names| by_each_id(user, names)) {
        assert_eq!(object_id(&ask(&selector, &[&header])), user.object_id, "{selector}");
    }
    refused(&ask("", &["X-IDENTITY-HEADER: other"]), 401, "header");
    refused(&ask("&client_id=nobody", &[&header]), 400, r#""statusCode":400"#);
    refused(&ask("&msi_res_id=nobody", &[&header]), 400, r#""statusCode":400"#);
}

#[test]
fn arc_gives_a_token_to_who_reads_its_file_and_once() {
    let folder = std::env::temp_dir().join(format!("amr-arc-{}", std::process::id()));
    let emulator = with_keys_in(folder.clone());
    let endpoint = variable(&emulator, Kind::Arc, "IDENTITY_ENDPOINT");
    let ask = |more: &str, headers: &[&str]| {
        get(&format!("{endpoint}?api-version=2020-06-01&{RESOURCE}{more}"), headers)
    };
    refused(&ask("", &[]), 400, "bad_request_102");
    assert!(!folder.exists());
    let key = || {
        let challenge = ask("", &[METADATA]);
        assert_eq!(challenge.status, 401);
        let header = challenge.header("www-authenticate").unwrap().to_owned();
        let file = PathBuf::from(header.strip_prefix("Basic realm=").unwrap());
        assert_eq!(
            (file.parent(), file.extension()),
            (Some(folder.as_path()), Some("key".as_ref()))
        );
        let key = std::fs::read_to_string(&file).unwrap();
        (file, format!("Authorization: Basic {key}"))
    };
    let ((file, first), (_, second), (_, third)) = (key(), key(), key());
    let (_, newer) = key();
    let url = format!("{endpoint}?api-version=2021-02-01&{RESOURCE}");
    let token = get(&url, &[METADATA, &newer]);
    assert_eq!(object_id(&token), emulator.entra().system_assigned.object_id);
    assert!(first != second && first.len() < 4096);
    let token = ask("", &[METADATA, &first]);
    assert_eq!(object_id(&token), emulator.entra().system_assigned.object_id);
    assert!(token.json()["expires_on"].is_string() && !file.exists());
    refused(&ask("", &[METADATA, &first]), 401, "wrong");
    // A selector is refused, but by an old agent.
    let selector = format!("&client_id={}", emulator.entra().user_assigned.client_id);
    refused(&ask(&selector, &[METADATA, &second]), 400, "Identity not found");
    emulator.reset();
    emulator.arm("token#1 ignore-selector").unwrap();
    let token = ask(&selector, &[METADATA, &third]);
    assert_eq!(object_id(&token), emulator.entra().system_assigned.object_id);
    // What a client must not follow.
    emulator.arm("challenge#1 www-authenticate Basic realm=/etc/passwd").unwrap();
    emulator.arm("challenge#2 key-size 4097").unwrap();
    emulator.arm("challenge#3 status 500").unwrap();
    let header = |reply: Reply| reply.header("www-authenticate").unwrap().to_owned();
    assert_eq!(header(ask("", &[METADATA])), "Basic realm=/etc/passwd");
    let long = header(ask("", &[METADATA]));
    let long = std::fs::metadata(long.strip_prefix("Basic realm=").unwrap()).unwrap();
    assert_eq!(long.len(), 4097);
    assert_eq!(ask("", &[METADATA]).status, 500);
    assert_eq!(emulator.counts().token_requests, 1);
    drop(emulator);
    assert!(!folder.exists());
}

#[test]
fn cloud_shell_wants_a_form_with_nothing_but_the_resource() {
    let emulator = emulator();
    let endpoint = variable(&emulator, Kind::CloudShell, "MSI_ENDPOINT");
    let token = post(&endpoint, &[METADATA], RESOURCE);
    assert_eq!(object_id(&token), emulator.entra().system_assigned.object_id);
    assert!(token.json()["expires_in"].is_string());
    refused(&post(&endpoint, &[], RESOURCE), 400, "Required metadata header");
    let port = emulator.plain().rsplit(':').next().unwrap().to_owned();
    let plain = std::net::TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    let text = send(plain, "POST", "/cloudshell/token", &[METADATA], RESOURCE);
    refused(&text, 400, r#"{"error":{"code""#);
    let selector = format!("{RESOURCE}&client_id={}", emulator.entra().user_assigned.client_id);
    refused(&post(&endpoint, &[METADATA], &selector), 400, r#"{"error":{"code""#);
    refused(&get(&format!("{endpoint}?{RESOURCE}"), &[METADATA]), 400, r#"{"error":{"code""#);
}

#[test]
fn machine_learning_wants_its_secret_and_an_id_by_a_name_of_its_own() {
    let emulator = emulator();
    let entra = emulator.entra();
    let endpoint = variable(&emulator, Kind::MachineLearning, "MSI_ENDPOINT");
    let secret = format!("secret: {}", entra.msi_secret);
    let ask = |more: &str, headers: &[&str]| {
        get(&format!("{endpoint}?api-version=2017-09-01&{RESOURCE}{more}"), headers)
    };
    let token = ask("", &[&secret]);
    assert_eq!(object_id(&token), entra.system_assigned.object_id);
    assert!(token.json()["expires_on"].as_str().unwrap().parse::<u64>().is_ok());
    let user = &entra.user_assigned;
    let selector = format!("&clientid={}", user.client_id);
    assert_eq!(object_id(&ask(&selector, &[&secret])), user.object_id);
    refused(&ask(&selector.replace("clientid", "client_id"), &[&secret]), 400, "identity");
    refused(&ask("", &["secret: other"]), 401, "header");
    // A date, as old services send them.
    emulator.reset();
    emulator.arm("token#1 expires-on us").unwrap();
    let ends = ask("", &[&secret]).json()["expires_on"].as_str().unwrap().to_owned();
    assert!(ends.ends_with(" +00:00") && ends.contains('/'), "{ends}");
}

#[test]
fn service_fabric_is_known_by_its_thumbprint_and_wants_its_secret() {
    let emulator = emulator();
    let entra = emulator.entra();
    let endpoint = variable(&emulator, Kind::ServiceFabric, "IDENTITY_ENDPOINT");
    let secret = format!("Secret: {}", entra.identity_header);
    let ask = |more: &str, secret: &str| {
        let port = endpoint.split(['/', ':']).nth(4).unwrap();
        let tls = http::anyone(port, "localhost").unwrap();
        assert_eq!(tls.1, emulator.fabric_thumbprint());
        let path = format!("/sf/token?api-version=2019-07-01-preview&{RESOURCE}{more}");
        send(tls.0, "GET", &path, &[secret], "")
    };
    let token = ask("", &secret);
    assert_eq!(object_id(&token), entra.system_assigned.object_id);
    assert!(token.json()["expires_on"].is_u64());
    refused(&ask("", "Secret: other"), 400, "SecretHeaderNotFound");
    let selector = format!("&client_id={}", entra.user_assigned.client_id);
    refused(&ask(&selector, &secret), 400, "ManagedIdentityNotFound");
}

#[test]
fn an_identity_binding_answers_as_entra_to_who_asks_for_its_name() {
    let emulator = emulator();
    let entra = emulator.entra();
    let root = std::fs::read(emulator.binding_root_file()).unwrap();
    let base = emulator.binding();
    let (port, path) = base.strip_prefix("https://localhost:").unwrap().split_once('/').unwrap();
    let form = |token: &str| {
        let id = &entra.principal.client_id;
        format!(
            "client_id={id}&grant_type=client_credentials&client_assertion={token}&\
            client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&\
            scope=https%3A%2F%2Fredis.azure.com%2F.default"
        )
    };
    let ask = |token: &str| {
        let tls = http::trusting(port, emulator.binding_name(), &root).unwrap();
        let path = format!("/{path}/{}/oauth2/v2.0/token", entra.tenant);
        send(tls, "POST", &path, &[FORM], &form(token))
    };
    let old = std::fs::read_to_string(entra.federated_token_file()).unwrap();
    assert_eq!(object_id(&ask(&old)), entra.principal.object_id);
    entra.rotate_federated_token();
    refused(&ask(&old), 401, "AADSTS700213");
    let new = std::fs::read_to_string(entra.federated_token_file()).unwrap();
    assert_eq!(object_id(&ask(&new)), entra.principal.object_id);
    for name in ["localhost", "other.ests.aks.azure.test"] {
        assert!(http::anyone(port, name).is_err(), "{name}");
    }
}

#[test]
fn each_request_is_captured_as_it_came() {
    let emulator = emulator();
    let endpoint = variable(&emulator, Kind::AppService, "IDENTITY_ENDPOINT");
    let asked = format!("{endpoint}?api-version=2019-08-01&resource=a%2Fb+c&resource=d");
    get(&asked, &["X-IDENTITY-HEADER: secret", METADATA]);
    post(&variable(&emulator, Kind::CloudShell, "MSI_ENDPOINT"), &[], "resource=x%20y");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let requests = emulator.requests();
    let [first, second] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((first.method.as_str(), first.path.as_str()), ("GET", "/msi/token"));
    let (version, resource) = (pair("api-version", "2019-08-01"), pair("resource", "a/b c"));
    assert_eq!(first.query, [version, resource, pair("resource", "d")]);
    assert!(first.headers.contains(&pair("x-identity-header", "secret")), "{first:?}");
    assert_eq!(second.form(), [pair("resource", "x y")]);
    let control = variable(&emulator, Kind::Imds, "AMR_EMULATOR_CONTROL");
    let listed = get(&format!("{control}/requests"), &[]).json();
    assert_eq!(listed[0]["query"][1], json!(["resource", "a/b c"]));
    assert_eq!((&listed[1]["method"], &listed[1]["form"][0][1]), (&json!("POST"), &json!("x y")));
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(post(&format!("{control}/reset"), &[], "").status, 200);
    assert_eq!(emulator.requests(), []);
}

#[test]
fn an_endpoint_goes_wrong_as_azures_do() {
    let emulator = emulator();
    let ask = |fault: &str| {
        emulator.reset();
        emulator.arm(&format!("token#1 {fault}")).unwrap();
        let path = "/metadata/identity/oauth2/token?api-version=2018-02-01";
        get(&format!("{}{path}&{RESOURCE}", emulator.plain()), &[METADATA])
    };
    let body = r#"{"error":"invalid_request","error_description":"Multiple user assigned identities exist"}"#;
    let reply = ask(&format!("status 400 body {body}"));
    assert_eq!((reply.status, reply.body.as_str()), (400, body));
    assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
    let reply = ask("status 404 body no azure identity found");
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    let reply = ask("status 302 location http://localhost:1/elsewhere");
    assert_eq!(
        (reply.status, reply.header("location")),
        (302, Some("http://localhost:1/elsewhere"))
    );
    assert_eq!(ask("status 429 retry-after 7").header("retry-after"), Some("7"));
    let reply = ask("status 403 reason connecting to 169.254.169.254:80");
    assert_eq!(reply.line, "HTTP/1.0 403 connecting to 169.254.169.254:80");
    assert_eq!((reply.body.as_str(), reply.header("content-length")), ("", None));
    refused(&ask("refuse invalid_client 700213 401"), 401, "AADSTS700213");
    let reply = ask("chunked 100");
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    assert_eq!(object_id(&reply), emulator.entra().system_assigned.object_id);
    let token = ask("opaque").json()["access_token"].as_str().unwrap().to_owned();
    assert!(!token.contains('.'), "{token}");
}
