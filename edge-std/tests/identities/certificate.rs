//! Applications that prove themselves by a certificate, or by what another issuer says.

use super::*;
use redis_entraid::source::{
    Algorithm, Authority, CertificateError, ClientAssertion, ClientCertificate, FetchError, Signer,
};
use std::fs;
use std::sync::Arc;

fn application(emulator: &Emulator) -> (Authority<String>, String) {
    let entra = emulator.entra();
    let authority = Authority::at_host(emulator.authority(), entra.tenant.clone());
    (authority, entra.principal.client_id.clone())
}

/// Why a certificate can't be used.
fn error(emulator: &Emulator, content: &[u8], password: Option<&str>) -> CertificateError {
    let (authority, id) = application(emulator);
    ClientCertificate::from_bytes(authority, id, content, password).unwrap_err()
}

#[tokio::test]
async fn a_certificate_in_memory_logs_in() {
    let emulator = emulator(3600);
    let (authority, id) = application(&emulator);
    let pem = fs::read(emulator.certificate_file()).unwrap();
    let source = ClientCertificate::from_bytes(authority, id, &pem, None).unwrap();
    assert!(!format!("{source:?}").contains("PRIVATE"));
    client_of(&emulator, source).connect().await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_of_no_use_says_why() {
    let emulator = emulator(3600);
    let pem = fs::read_to_string(emulator.certificate_file()).unwrap();
    let certificate = pem.find("-----BEGIN CERTIFICATE").unwrap();
    let (key, certificate) = (&pem[..certificate], &pem[certificate..]);
    let of = |content: &str| error(&emulator, content.as_bytes(), None);
    assert!(matches!(of(""), CertificateError::NoCertificate));
    assert!(matches!(of(key), CertificateError::NoCertificate));
    assert!(matches!(of(certificate), CertificateError::NoKey));
    let other = format!("{key}{}", emulator.root_pem());
    assert!(matches!(of(&other), CertificateError::OtherKey));
    // Neither the order nor what else is there matters.
    let (authority, id) = application(&emulator);
    let chain = format!("{}{certificate}{key}", emulator.root_pem());
    assert!(ClientCertificate::from_bytes(authority, id, chain.as_bytes(), None).is_ok());
    // In a file, the path is part of what is said.
    let (authority, id) = application(&emulator);
    let file = ClientCertificate::from_file(authority, id, emulator.root_file(), None);
    let error = client_of(&emulator, file).connect().await.unwrap_err().to_string();
    assert!(error.contains("ca.pem: there is no private key in it"), "{error}");
    let (authority, id) = application(&emulator);
    let file = ClientCertificate::from_file(authority, id, "/nonexistent/app.pem", None);
    let error = client_of(&emulator, file).connect().await.unwrap_err().to_string();
    assert!(error.contains("/nonexistent/app.pem"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_the_application_does_not_have_is_refused_with_advice() {
    let (one, other) = (emulator(3600), emulator(3600));
    let (authority, id) = application(&one);
    // Each process has one certificate: make it another one by its thumbprint.
    let signer = Refusing(Arc::from("the TPM is locked"));
    let source = ClientCertificate::from_signer(authority, id, [0; 32], signer);
    let error = client_of(&one, source).connect().await.unwrap_err().to_string();
    assert!(error.contains("the TPM is locked"), "{error}");
    assert!(one.requests().is_empty());
    let (authority, id) = application(&other);
    let source = ClientCertificate::from_signer(authority, id, [0; 32], Zeros);
    let error = client_of(&other, source).connect().await.unwrap_err().to_string();
    assert!(error.contains("the certificate isn't registered with the application"), "{error}");
}

/// A key that can't be reached.
struct Refusing(Arc<str>);

impl Signer for Refusing {
    async fn sign(&mut self, _: Algorithm, _: &[u8]) -> Result<Vec<u8>, FetchError> {
        Err(FetchError::configuration(self.0.to_string()))
    }
}

/// A key that signs nothing.
struct Zeros;

impl Signer for Zeros {
    async fn sign(&mut self, algorithm: Algorithm, data: &[u8]) -> Result<Vec<u8>, FetchError> {
        assert_eq!(algorithm, Algorithm::Ps256);
        assert!(data.starts_with(b"eyJ"));
        Ok(vec![0; 256])
    }
}

#[tokio::test]
async fn an_assertion_is_asked_for_each_time() {
    let emulator = Arc::new(emulator(3));
    let (authority, id) = application(&emulator);
    let issuer = emulator.clone();
    let source = ClientAssertion::new(authority, id, move || {
        let issuer = issuer.clone();
        async move {
            issuer.entra().rotate_federated_token();
            Ok(issuer.entra().federated_token())
        }
    });
    let (_client, mut events) = events(client_of(&emulator, source));
    for _ in 0..2 {
        assert!(matches!(fetched(&mut events).await, Event::Refreshed { .. }));
    }
}

#[cfg(not(feature = "pfx"))]
#[tokio::test]
async fn without_the_feature_a_pfx_file_is_told_from_none() {
    let emulator = emulator(3600);
    let said = error(&emulator, b"\x30\x82\x0a\x00", None).to_string();
    assert!(said.contains("the feature `pfx`"), "{said}");
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let said = error(&emulator, encrypted.as_bytes(), Some("x")).to_string();
    assert!(said.contains("the feature `pfx`"), "{said}");
}

#[cfg(feature = "pfx")]
#[tokio::test]
async fn openssls_pfx_files_and_encrypted_keys_are_read() {
    use std::process::Command;

    let emulator = emulator(3600);
    let folder = std::env::temp_dir().join(format!("redis-entraid-pfx-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let openssl = |arguments: &str, to: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).arg("-in").arg(emulator.certificate_file());
        let output = command.arg("-out").arg(folder.join(to)).output().expect("openssl is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(folder.join(to)).unwrap()
    };
    let pfx = openssl("pkcs12 -export -passout pass:hush", "app.pfx");
    let old = "pkcs12 -export -passout pass:hush -certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES";
    let old = openssl(&format!("{old} -macalg sha1"), "old.pfx");
    let open = openssl("pkcs12 -export -passout pass:", "open.pfx");
    let mut pem = openssl("pkcs8 -topk8 -passout pass:hush", "key.pem");
    assert!(pem.starts_with(b"-----BEGIN ENCRYPTED"));
    let whole = fs::read_to_string(emulator.certificate_file()).unwrap();
    pem.extend_from_slice(&whole.as_bytes()[whole.find("-----BEGIN CERTIFICATE").unwrap()..]);
    for (content, password) in
        [(&pfx, Some("hush")), (&old, Some("hush")), (&open, None), (&pem, Some("hush"))]
    {
        let (authority, id) = application(&emulator);
        let source = ClientCertificate::from_bytes(authority, id, content, password).unwrap();
        client_of(&emulator, source).connect().await.unwrap();
    }
    for content in [&pfx, &old, &pem] {
        for password in [None, Some("wrong")] {
            let error = error(&emulator, content, password);
            assert!(matches!(error, CertificateError::Password), "{error}");
        }
    }
    let elliptic = openssl_elliptic(&folder);
    assert!(matches!(error(&emulator, &elliptic, None), CertificateError::NotRsa));
    fs::remove_dir_all(&folder).unwrap();
}

/// A certificate whose key is none of RSA's.
#[cfg(feature = "pfx")]
fn openssl_elliptic(folder: &std::path::Path) -> Vec<u8> {
    let (key, certificate) = (folder.join("ec.key"), folder.join("ec.pem"));
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x";
    let mut command = std::process::Command::new("openssl");
    command.args(arguments.split(' ')).arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    assert!(command.output().expect("openssl is there").status.success());
    [fs::read(key).unwrap(), fs::read(certificate).unwrap()].concat()
}
