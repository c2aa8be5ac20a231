use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::json;

use super::*;

const CLIENT: &str = "0d1c8d2a-6f4b-4d7e-8a55-0f4d3a5f9b11";
const ENDPOINT: &str = "https://localhost:1/tenant/oauth2/v2.0/token";

fn expected() -> Expected<'static> {
    Expected {
        client_id: CLIENT,
        audiences: [ENDPOINT.into(), "https://localhost:1/tenant/v2.0".into()],
    }
}

fn claims(id: &str) -> Value {
    let nbf = now();
    json!({
        "aud": ENDPOINT, "iss": CLIENT, "sub": CLIENT, "jti": id, "nbf": nbf, "exp": nbf + 600,
    })
}

/// An assertion with this header and these claims.
fn signed(certificate: &Certificate, header: &Value, claims: &Value) -> String {
    let key = PrivatePkcs8KeyDer::from_pem_slice(certificate.pem.as_bytes()).unwrap();
    let key = KeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", encode(header), encode(claims));
    let algorithm: &'static dyn RsaEncoding =
        if header["alg"] == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(algorithm, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn an_assertion_of_either_algorithm_is_good_while_it_is_valid_however_its_thumbprint_is_written() {
    let certificate = Certificate::shared().unwrap();
    let raw = |digits: &str| URL_SAFE_NO_PAD.decode(digits).unwrap();
    let (sha1, sha256) = (raw(&certificate.sha1), raw(&certificate.sha256));
    for (id, header) in [
        ("1", json!({ "alg": "RS256", "typ": "JWT", "x5t": certificate.sha1 })),
        ("2", json!({ "alg": "RS256", "typ": "JWT", "x5t": URL_SAFE.encode(&sha1) })),
        ("3", json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": certificate.sha256 })),
        ("4", json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": STANDARD.encode(&sha256) })),
    ] {
        let assertion = signed(&certificate, &header, &claims(id));
        assert!(names_a_certificate(&assertion));
        assert_eq!(certificate.check(&assertion, &expected()), Ok(()), "{header}");
        assert_eq!(certificate.check(&assertion, &expected()), Ok(()), "again: {header}");
    }
}

#[test]
fn a_wrong_assertion_is_refused_for_what_is_wrong_with_it() {
    let certificate = Certificate::shared().unwrap();
    let good = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": certificate.sha256 });
    let check = |assertion: &str| certificate.check(assertion, &expected());
    // The header.
    for header in [
        json!({ "alg": "PS256", "x5t#S256": certificate.sha1 }),
        json!({ "alg": "RS256", "x5t#S256": certificate.sha256 }),
        json!({ "alg": "none", "x5t": certificate.sha1 }),
    ] {
        let assertion = signed(&certificate, &header, &claims("header"));
        assert_eq!(check(&assertion), Err(Refused::Signature), "{header}");
    }
    // The signature.
    let assertion = signed(&certificate, &good, &claims("signature"));
    let (text, signature) = assertion.rsplit_once('.').unwrap();
    let (header, _) = text.split_once('.').unwrap();
    let other = URL_SAFE_NO_PAD.encode(claims("other").to_string());
    assert_eq!(check(&format!("{header}.{other}.{signature}")), Err(Refused::Signature));
    // The claims.
    let now = now();
    for (name, value, refused) in [
        ("aud", json!("https://login.microsoftonline.com/tenant/v2.0"), Refused::Claims),
        ("iss", json!("somebody"), Refused::Claims),
        ("sub", json!("somebody"), Refused::Claims),
        ("jti", json!(""), Refused::Claims),
        ("exp", Value::Null, Refused::Claims),
        ("exp", json!(now - 400), Refused::Time),
        ("nbf", json!(now + 400), Refused::Time),
        ("exp", json!(now + 2 * LONGEST), Refused::Time),
    ] {
        let mut wrong = claims("claims");
        wrong[name] = value;
        assert_eq!(check(&signed(&certificate, &good, &wrong)), Err(refused), "{wrong}");
    }
    // A second needn't be a whole one, and the time may be that of the issue.
    let mut fraction = claims("fraction");
    fraction["exp"] = json!(now as f64 + 600.25);
    fraction["iat"] = fraction["nbf"].take();
    assert_eq!(check(&signed(&certificate, &good, &fraction)), Ok(()));
    // Clocks may be five minutes apart.
    for (id, start) in [("early", now + 250), ("late", now - 850)] {
        let mut skewed = claims(id);
        (skewed["nbf"], skewed["exp"]) = (json!(start), json!(start + 600));
        assert_eq!(check(&signed(&certificate, &good, &skewed)), Ok(()), "{id}");
    }
    for text in ["", "x", "a.b.c", "e30.e30.e30"] {
        assert!(check(text).is_err() && !names_a_certificate(text), "{text}");
    }
}
