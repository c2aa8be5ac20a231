//! Keys and certificates, made at start.
//!
//! The default chain has the shape of Azure's: an RSA-2048 leaf with a wildcard name, two
//! RSA-4096 intermediates that sign with SHA-384, and a root that is not sent.

use std::io::{Error, Result};
use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256,
    PKCS_RSA_SHA384, RsaKeySize, SanType,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::TLS13;
use time::{Duration, OffsetDateTime};

/// The shape of the certificate chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chain {
    /// RSA-2048 leaf, RSA-4096/SHA-384 intermediates, as Azure's.
    #[default]
    Rsa,
    /// P-256 leaf, P-384 intermediate and root.
    Ec,
}

/// A certificate authority and a server certificate of it.
#[derive(Clone, Debug)]
pub struct Pki {
    /// The root, to trust.
    pub root_pem: String,
    /// What the token endpoint does TLS with.
    pub server: Arc<ServerConfig>,
    /// What the Redis ports do TLS with: what Azure Managed Redis has in common with clients
    /// without CBC, which is TLS 1.3 with AES-GCM.
    pub redis: Arc<ServerConfig>,
}

impl Pki {
    /// The authority of this process: made once, since RSA keys take a while.
    pub fn shared(chain: Chain) -> Result<Self> {
        static RSA: OnceLock<Result<Pki>> = OnceLock::new();
        static EC: OnceLock<Result<Pki>> = OnceLock::new();
        let shared = match chain {
            Chain::Rsa => &RSA,
            Chain::Ec => &EC,
        };
        let pki = shared.get_or_init(|| Self::new(chain).map_err(Error::other));
        pki.as_ref().cloned().map_err(|error| Error::other(error.to_string()))
    }

    fn new(chain: Chain) -> std::result::Result<Self, rcgen::Error> {
        // Each certificate with its key, from the root down.
        let (root, intermediates, leaf_key) = match chain {
            Chain::Rsa => (
                KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
                vec![
                    KeyPair::generate_rsa_for(&PKCS_RSA_SHA384, RsaKeySize::_4096)?,
                    KeyPair::generate_rsa_for(&PKCS_RSA_SHA384, RsaKeySize::_4096)?,
                ],
                KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
            ),
            Chain::Ec => (
                KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?,
                vec![KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?],
                KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            ),
        };
        let params = authority("Emulated Global Root G2");
        let root_pem = params.self_signed(&root)?.pem();
        let mut issuer = Issuer::new(params, root);
        let mut sent: Vec<CertificateDer<'static>> = Vec::new();
        let names = ["Emulated TLS RSA Root G2", "Emulated Azure RSA TLS Issuing CA 03"];
        for (name, key) in names.into_iter().zip(intermediates) {
            let params = authority(name);
            sent.insert(0, params.signed_by(&key, &issuer)?.der().clone());
            issuer = Issuer::new(params, key);
        }
        sent.insert(0, leaf()?.signed_by(&leaf_key, &issuer)?.der().clone());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let provider = default_provider();
        let gcm = CryptoProvider {
            cipher_suites: vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384],
            ..provider.clone()
        };
        let server = |provider, versions: &[_]| {
            ServerConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(versions)
                .and_then(|builder| {
                    builder.with_no_client_auth().with_single_cert(sent.clone(), key.clone_key())
                })
                .map(Arc::new)
                .map_err(|_| rcgen::Error::CouldNotParseCertificate)
        };
        let redis = server(gcm, &[&TLS13])?;
        Ok(Self { root_pem, server: server(provider, rustls::DEFAULT_VERSIONS)?, redis })
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = dated(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf() -> std::result::Result<CertificateParams, rcgen::Error> {
    let mut params = dated("*.emulator.redis.azure.net");
    for name in ["*.emulator.redis.azure.net", "localhost"] {
        params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn dated(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "redis-entraid tests");
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(30);
    params
}
