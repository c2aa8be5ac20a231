//! Certificates with their private keys, from PEM and PFX.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use zeroize::Zeroize;

/// The certificate of an application, and its key.
#[derive(Clone)]
pub(super) struct CertificateKey {
    /// The SHA-256 of the certificate.
    pub(super) thumbprint: [u8; 32],
    key: Arc<dyn SigningKey>,
}

/// Why a client certificate can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There is no certificate in it.
    #[error(
        "there is no certificate in it: give a PEM or PFX file with certificate and private key"
    )]
    NoCertificate,
    /// There is no private key in it.
    #[error(
        "there is no private key in it: give a PEM or PFX file with certificate and private key"
    )]
    NoKey,
    /// The private key belongs to none of its certificates.
    #[error("the private key belongs to none of its certificates")]
    OtherKey,
    /// The key is no RSA key. Entra takes no other ones.
    #[error("the private key is no RSA key, and Entra takes no other one: make an RSA certificate")]
    NotRsa,
    /// The key is encrypted and can't be decrypted: the password is missing or wrong.
    #[error("the private key can't be decrypted: check AZURE_CLIENT_CERTIFICATE_PASSWORD")]
    Password,
    /// The key is encrypted in a way that is not supported.
    #[error(
        "the private key's encryption is not supported: convert it with \
        `openssl pkcs8 -topk8 -v2 aes-256-cbc`"
    )]
    Encryption,
    /// It is PFX, or its key is encrypted, and this program was built without the feature `pfx`.
    #[error(
        "PFX files and encrypted keys need the feature `pfx` of redis-entraid: build with it, or give \
        a PEM file with an unencrypted key"
    )]
    NeedsPfx,
    /// The private key can't be used. Contains the reason.
    #[error("the private key can't be used: {0}")]
    Key(#[source] rustls::Error),
}

impl CertificateError {
    /// Whether a file may look like this while it is being replaced.
    pub(super) const fn is_half_a_file(&self) -> bool {
        matches!(self, Self::NoCertificate | Self::NoKey | Self::OtherKey)
    }
}

impl CertificateKey {
    /// Reads `content`, PEM or PFX.
    pub(super) fn read(content: &[u8], password: Option<&str>) -> Result<Self, CertificateError> {
        let is_pem = content.windows(10).any(|text| text == b"-----BEGIN");
        let (certificates, key) =
            if is_pem { pem(content, password)? } else { pfx(content, password)? };
        if certificates.is_empty() {
            return Err(CertificateError::NoCertificate);
        }
        let mut key = key;
        let signing = any_supported_type(&key).map_err(CertificateError::Key);
        key.zeroize();
        let key = signing?;
        if key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256]).is_none() {
            return Err(CertificateError::NotRsa);
        }
        // A chain may lie there in any order.
        let of_key = |certificate: &CertificateDer<'static>| {
            CertifiedKey::new(vec![certificate.clone()], key.clone()).keys_match().is_ok()
        };
        let certificate = certificates.iter().find(|certificate| of_key(certificate));
        let thumbprint = sha256(certificate.ok_or(CertificateError::OtherKey)?);
        Ok(Self { thumbprint, key })
    }

    /// Signs `data` with RSASSA-PSS and SHA-256.
    pub(super) fn sign(&self, data: &[u8]) -> Result<Vec<u8>, CertificateError> {
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256]);
        signer.ok_or(CertificateError::NotRsa)?.sign(data).map_err(CertificateError::Key)
    }
}

/// The SHA-256 of a certificate.
fn sha256(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    digest.as_ref().try_into().unwrap_or_default()
}

type Parts = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn pem(content: &[u8], password: Option<&str>) -> Result<Parts, CertificateError> {
    let certificates = CertificateDer::pem_slice_iter(content).filter_map(Result::ok).collect();
    if let Ok(key) = PrivateKeyDer::from_pem_slice(content) {
        return Ok((certificates, key));
    }
    let has = |wanted: &[u8]| content.windows(wanted.len()).any(|text| text == wanted);
    if has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Ok((certificates, decrypted(content, password)?));
    }
    // As OpenSSL wrote keys before version 1.
    Err(match has(b"Proc-Type: 4,ENCRYPTED") {
        true => CertificateError::Encryption,
        false => CertificateError::NoKey,
    })
}

#[cfg(feature = "pfx")]
fn decrypted(
    content: &[u8],
    password: Option<&str>,
) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let text = core::str::from_utf8(content).map_err(|_| CertificateError::NoKey)?;
    let start = text.find("-----BEGIN ENCRYPTED").ok_or(CertificateError::NoKey)?;
    let text = text.get(start..).unwrap_or_default();
    let end = text.find("-----END ENCRYPTED PRIVATE KEY-----").ok_or(CertificateError::NoKey)?;
    let text = text.get(..end + "-----END ENCRYPTED PRIVATE KEY-----".len()).unwrap_or_default();
    let (_, document) =
        pkcs8::SecretDocument::from_pem(text).map_err(|_| CertificateError::NoKey)?;
    let encrypted = pkcs8::EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|_| CertificateError::Encryption)?;
    let key =
        encrypted.decrypt(password.unwrap_or_default()).map_err(|_| CertificateError::Password)?;
    Ok(PrivateKeyDer::Pkcs8(key.as_bytes().to_vec().into()))
}

#[cfg(feature = "pfx")]
fn pfx(content: &[u8], password: Option<&str>) -> Result<Parts, CertificateError> {
    let policy = p12_keystore::Pkcs12ImportPolicy::Relaxed;
    let password = password.unwrap_or_default();
    let store =
        p12_keystore::KeyStore::from_pkcs12(content, password, policy).map_err(
            |_| match content.first() {
                // A SEQUENCE, as each PFX is.
                Some(0x30) => CertificateError::Password,
                _ => CertificateError::NoCertificate,
            },
        )?;
    let (_, chain) = store.private_key_chain().ok_or(CertificateError::NoKey)?;
    let certificates = chain.certs().iter().map(|der| der.as_der().to_vec().into()).collect();
    Ok((certificates, PrivateKeyDer::Pkcs8(chain.key().as_der().to_vec().into())))
}

#[cfg(not(feature = "pfx"))]
fn decrypted(_: &[u8], _: Option<&str>) -> Result<PrivateKeyDer<'static>, CertificateError> {
    Err(CertificateError::NeedsPfx)
}

#[cfg(not(feature = "pfx"))]
fn pfx(content: &[u8], _: Option<&str>) -> Result<Parts, CertificateError> {
    // A SEQUENCE, as each PFX is.
    let is_der = content.first() == Some(&0x30);
    Err(if is_der { CertificateError::NeedsPfx } else { CertificateError::NoCertificate })
}
