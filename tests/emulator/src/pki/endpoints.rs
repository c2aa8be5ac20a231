//! The certificates of the identity endpoints that are not found by a public name.

use std::io::{Error, Result};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rcgen::{Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ResolvesServerCertUsingSni;
use rustls::sign::CertifiedKey;

use super::{authority, dated};

/// A self-signed certificate that only its thumbprint tells from others: Service Fabric's.
pub(crate) struct Pinned {
    pub(crate) config: Arc<ServerConfig>,
    /// The SHA-1 digest of the certificate, in upper-case hexadecimal digits.
    pub(crate) thumbprint: String,
}

impl Pinned {
    pub(crate) fn new() -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::other)?;
        let certificate =
            dated("Emulated Service Fabric").self_signed(&key).map_err(Error::other)?;
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate.der());
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private(&key))
            .map_err(Error::other)?;
        let thumbprint = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Self { config: Arc::new(config), thumbprint })
    }
}

/// A server of one name, with an authority of its own: the proxy of AKS identity bindings.
pub(crate) struct Named {
    /// Refuses who doesn't ask for the name.
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) root_pem: String,
}

impl Named {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let (root_pem, chain, key) = issued(name).map_err(Error::other)?;
        let provider = default_provider();
        let certified = CertifiedKey::from_der(chain, private(&key), &provider);
        let mut by_name = ResolvesServerCertUsingSni::new();
        by_name.add(name, certified.map_err(Error::other)?).map_err(Error::other)?;
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(by_name));
        Ok(Self { config: Arc::new(config), root_pem })
    }
}

type Signed = (String, Vec<CertificateDer<'static>>, KeyPair);

/// A certificate for `name`, its key, and the root that issued it.
fn issued(name: &str) -> std::result::Result<Signed, rcgen::Error> {
    let root = authority("Emulated AKS Root");
    let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let root_pem = root.self_signed(&root_key)?.pem();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut leaf = dated(name);
    leaf.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
    let leaf = leaf.signed_by(&key, &Issuer::new(root, root_key))?;
    Ok((root_pem, vec![leaf.der().clone()], key))
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))
}
