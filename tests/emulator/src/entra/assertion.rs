//! What an application signs with the key of its certificate, instead of sending a secret (RFC 7523).

use std::io::{Error, Result};
use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::pki::application;
use crate::token::now;

/// How far clocks may be apart, in seconds.
const SKEW: u64 = 300;

/// How long an assertion may be valid, in seconds.
const LONGEST: u64 = 24 * 3600;

/// The certificate that the directory knows of an application.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate and its key, in PEM.
    pub pem: String,
    public_key: Vec<u8>,
    /// Its thumbprints, base64url without padding.
    sha1: String,
    sha256: String,
}

/// Why an assertion is refused, by the number behind `AADSTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The signature is wrong, or the certificate is another one.
    Signature = 700_027,
    /// It isn't valid now, or for too long.
    Time = 700_024,
    /// It says something else than it must.
    Claims = 50_012,
}

/// What an assertion must say.
pub(crate) struct Expected<'a> {
    /// Who signs it.
    pub(crate) client_id: &'a str,
    /// For whom: one of these.
    pub(crate) audiences: [String; 2],
}

impl Certificate {
    /// The certificate of this process: made once, since RSA keys take a while.
    pub(super) fn shared() -> Result<Self> {
        static MADE: OnceLock<std::result::Result<application::Made, String>> = OnceLock::new();
        let made = MADE.get_or_init(|| application::make().map_err(|error| error.to_string()));
        let made = made.as_ref().map_err(|error| Error::other(error.clone()))?;
        let thumbprint = |algorithm: &'static Algorithm| {
            URL_SAFE_NO_PAD.encode(digest(algorithm, &made.certificate))
        };
        Ok(Self {
            pem: made.pem.clone(),
            public_key: made.public_key.clone(),
            sha1: thumbprint(&SHA1_FOR_LEGACY_USE_ONLY),
            sha256: thumbprint(&SHA256),
        })
    }

    /// Checks an `assertion`. Entra takes one again as long as it is valid: msal sends one many times.
    pub(crate) fn check(
        &self,
        assertion: &str,
        expected: &Expected<'_>,
    ) -> std::result::Result<(), Refused> {
        let mut parts = assertion.splitn(3, '.');
        let mut next = || parts.next().ok_or(Refused::Claims);
        let (header, payload, signature) = (next()?, next()?, next()?);
        let signed = &assertion[..header.len() + 1 + payload.len()];
        let (header, claims) = (document(header)?, document(payload)?);
        let (algorithm, thumbprint, known): (&'static RsaParameters, _, _) =
            match header["alg"].as_str() {
                Some("PS256") => (&RSA_PSS_2048_8192_SHA256, &header["x5t#S256"], &self.sha256),
                Some("RS256") => (&RSA_PKCS1_2048_8192_SHA256, &header["x5t"], &self.sha1),
                _ => return Err(Refused::Signature),
            };
        if thumbprint.as_str().map(url_safe).as_ref() != Some(known) {
            return Err(Refused::Signature);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refused::Signature)?;
        UnparsedPublicKey::new(algorithm, &self.public_key)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| Refused::Signature)?;
        let text = |name: &str| claims[name].as_str().unwrap_or_default();
        let (exp, nbf, iat) =
            (second(&claims, "exp"), second(&claims, "nbf"), second(&claims, "iat"));
        let (exp, start) = exp.zip(nbf.or(iat)).ok_or(Refused::Claims)?;
        let now = now();
        if now + SKEW < start || now >= exp + SKEW || exp.saturating_sub(start) > LONGEST {
            return Err(Refused::Time);
        }
        let audience = expected.audiences.iter().any(|known| text("aud") == known);
        let is_client = |name: &str| text(name).eq_ignore_ascii_case(expected.client_id);
        if !audience || !is_client("iss") || !is_client("sub") {
            return Err(Refused::Claims);
        }
        if text("jti").is_empty() {
            return Err(Refused::Claims);
        }
        Ok(())
    }
}

/// Whether a `client_assertion` says by which certificate it is signed: a federated token doesn't.
pub(super) fn names_a_certificate(assertion: &str) -> bool {
    let header = assertion.split('.').next().unwrap_or_default();
    document(header).is_ok_and(|header| header["x5t"].is_string() || header["x5t#S256"].is_string())
}

fn document(part: &str) -> std::result::Result<Value, Refused> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Claims)?;
    serde_json::from_slice(&bytes).map_err(|_| Refused::Claims)
}

/// The second that a claim names. It needn't be a whole one, and msal's isn't.
fn second(claims: &Value, name: &str) -> Option<u64> {
    let second = Duration::try_from_secs_f64(claims[name].as_f64()?).ok()?;
    Some(second.as_secs())
}

/// A thumbprint as base64url without padding: clients send all kinds of base64.
fn url_safe(thumbprint: &str) -> String {
    thumbprint.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

#[cfg(test)]
mod tests;
