//! Keys and certificates, made at start.
//!
//! The default chain has the shape of Azure's: an RSA-2048 leaf with a wildcard name, two
//! RSA-4096 intermediates that sign with SHA-384, and a root that is not sent.

pub(crate) mod application;
pub(crate) mod endpoints;

use std::io::{Error, Result};
use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PKCS_RSA_SHA384, RsaKeySize, SanType,
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
    /// P-256 throughout, for devices that understand nothing else.
    P256,
    /// One that must not be trusted, of P-256.
    Flawed(Flaw),
}

/// Why a chain must not be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The leaf was valid once.
    Expired,
    /// The leaf will be valid.
    NotYetValid,
    /// The leaf is for another name.
    OtherName,
    /// The root to trust has the same name, but another key.
    OtherRoot,
    /// The issuer of the leaf is a leaf itself.
    LeafAsAuthority,
    /// The issuer of the leaf doesn't say whether it is an authority.
    NoConstraints,
    /// There are more authorities than one of them permits.
    PathLength,
    /// The issuer of the leaf may only vouch for other names.
    NameConstraint,
    /// The leaf is for clients.
    ClientOnly,
}

impl Flaw {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 9] = [
        ("expired", Self::Expired),
        ("not-yet-valid", Self::NotYetValid),
        ("other-name", Self::OtherName),
        ("other-root", Self::OtherRoot),
        ("leaf-as-authority", Self::LeafAsAuthority),
        ("no-constraints", Self::NoConstraints),
        ("path-length", Self::PathLength),
        ("name-constraint", Self::NameConstraint),
        ("client-only", Self::ClientOnly),
    ];
}

impl Chain {
    /// The chain called `name`: `rsa`, `ec`, `p256`, or one of [`Flaw::ALL`].
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "rsa" => Some(Self::Rsa),
            "ec" => Some(Self::Ec),
            "p256" => Some(Self::P256),
            name => {
                let found = Flaw::ALL.iter().find(|(known, _)| *known == name);
                found.map(|(_, flaw)| Self::Flawed(*flaw))
            }
        }
    }
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
    /// The same two without what is between the leaf and the root: a front end that was set up wrong.
    pub(crate) leaf_only: [Arc<ServerConfig>; 2],
}

impl Pki {
    /// The authority of this process: made once, since RSA keys take a while.
    pub fn shared(chain: Chain) -> Result<Self> {
        static RSA: OnceLock<Result<Pki>> = OnceLock::new();
        static EC: OnceLock<Result<Pki>> = OnceLock::new();
        let shared = match chain {
            Chain::Rsa => &RSA,
            Chain::Ec => &EC,
            Chain::P256 | Chain::Flawed(_) => return Self::new(chain).map_err(Error::other),
        };
        let pki = shared.get_or_init(|| Self::new(chain).map_err(Error::other));
        pki.as_ref().cloned().map_err(|error| Error::other(error.to_string()))
    }

    fn new(chain: Chain) -> std::result::Result<Self, rcgen::Error> {
        let Certificates { root_pem, sent, leaf_key } = match chain {
            Chain::Flawed(flaw) => flawed(flaw)?,
            chain => sound(chain)?,
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let provider = default_provider();
        let gcm = CryptoProvider {
            cipher_suites: vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384],
            ..provider.clone()
        };
        let server = |provider, versions: &[_], sent: &[CertificateDer<'static>]| {
            ServerConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(versions)
                .and_then(|builder| {
                    builder.with_no_client_auth().with_single_cert(sent.to_vec(), key.clone_key())
                })
                .map(Arc::new)
                .map_err(|_| rcgen::Error::CouldNotParseCertificate)
        };
        let leaf = sent.get(..1).unwrap_or_default();
        let all = rustls::DEFAULT_VERSIONS;
        let leaf_only =
            [server(provider.clone(), all, leaf)?, server(gcm.clone(), &[&TLS13], leaf)?];
        let redis = server(gcm, &[&TLS13], &sent)?;
        Ok(Self { root_pem, server: server(provider, all, &sent)?, redis, leaf_only })
    }
}

/// What is made of a chain.
struct Certificates {
    /// Whom to trust.
    root_pem: String,
    /// The leaf, and what is between it and the root.
    sent: Vec<CertificateDer<'static>>,
    leaf_key: KeyPair,
}

fn sound(chain: Chain) -> std::result::Result<Certificates, rcgen::Error> {
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
        _ => {
            let authority = if chain == Chain::P256 {
                &PKCS_ECDSA_P256_SHA256
            } else {
                &PKCS_ECDSA_P384_SHA384
            };
            (
                KeyPair::generate_for(authority)?,
                vec![KeyPair::generate_for(authority)?],
                KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            )
        }
    };
    let names = ["Emulated TLS RSA Root G2", "Emulated Azure RSA TLS Issuing CA 03"];
    let below = names.map(authority).into_iter().zip(intermediates);
    issue(root, below.collect(), leaf()?, leaf_key)
}

fn flawed(flaw: Flaw) -> std::result::Result<Certificates, rcgen::Error> {
    let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
    let (mut first, mut second) = (authority("Emulated Root G2"), authority("Emulated CA 03"));
    let mut leaf = leaf()?;
    let now = OffsetDateTime::now_utc();
    match flaw {
        Flaw::Expired => leaf.not_after = now - Duration::hours(1),
        Flaw::NotYetValid => leaf.not_before = now + Duration::hours(1),
        Flaw::OtherName => {
            leaf.subject_alt_names = vec![SanType::DnsName("other.example".try_into()?)];
        }
        Flaw::LeafAsAuthority => second.is_ca = IsCa::ExplicitNoCa,
        Flaw::NoConstraints => second.is_ca = IsCa::NoCa,
        Flaw::PathLength => first.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
        Flaw::NameConstraint => {
            second.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![GeneralSubtree::DnsName("other.example".into())],
                excluded_subtrees: Vec::new(),
            });
        }
        Flaw::ClientOnly => {
            leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
        Flaw::OtherRoot => {}
    }
    let mut made = issue(key()?, vec![(first, key()?), (second, key()?)], leaf, key()?)?;
    if flaw == Flaw::OtherRoot {
        made.root_pem = authority(ROOT).self_signed(&key()?)?.pem();
    }
    Ok(made)
}

/// The name of the root.
const ROOT: &str = "Emulated Global Root G2";

fn issue(
    root: KeyPair,
    below: Vec<(CertificateParams, KeyPair)>,
    leaf: CertificateParams,
    leaf_key: KeyPair,
) -> std::result::Result<Certificates, rcgen::Error> {
    let params = authority(ROOT);
    let root_pem = params.self_signed(&root)?.pem();
    let mut issuer = Issuer::new(params, root);
    let mut sent: Vec<CertificateDer<'static>> = Vec::new();
    for (params, key) in below {
        sent.insert(0, params.signed_by(&key, &issuer)?.der().clone());
        issuer = Issuer::new(params, key);
    }
    sent.insert(0, leaf.signed_by(&leaf_key, &issuer)?.der().clone());
    Ok(Certificates { root_pem, sent, leaf_key })
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
