//! The signatures that are understood.

use embedded_tls::SignatureScheme;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
#[cfg(any(feature = "p384", feature = "rsa"))]
use sha2::Sha384;
#[cfg(feature = "rsa")]
use sha2::Sha512;
use sha2::{Digest, Sha256};

#[cfg(feature = "rsa")]
use crate::rsa;

/// The signatures that are understood in certificates, for webpki.
pub const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    &P256Sha256,
    #[cfg(feature = "p384")]
    &P256Sha384,
    #[cfg(feature = "p384")]
    &P384Sha256,
    #[cfg(feature = "p384")]
    &P384Sha384,
    #[cfg(feature = "rsa")]
    &Pkcs1Sha256,
    #[cfg(feature = "rsa")]
    &Pkcs1Sha384,
    #[cfg(feature = "rsa")]
    &Pkcs1Sha512,
    #[cfg(feature = "rsa")]
    &PssSha256,
    #[cfg(feature = "rsa")]
    &PssSha384,
    #[cfg(feature = "rsa")]
    &PssSha512,
];

/// What a scheme of TLS 1.3 stands for. PKCS#1 v1.5 is not for handshakes any more (RFC 8446
/// section 4.2.3).
pub(crate) fn by_scheme(
    scheme: SignatureScheme,
) -> Option<&'static dyn SignatureVerificationAlgorithm> {
    match scheme {
        SignatureScheme::EcdsaSecp256r1Sha256 => Some(&P256Sha256),
        #[cfg(feature = "p384")]
        SignatureScheme::EcdsaSecp384r1Sha384 => Some(&P384Sha384),
        #[cfg(feature = "rsa")]
        SignatureScheme::RsaPssRsaeSha256 => Some(&PssSha256),
        #[cfg(feature = "rsa")]
        SignatureScheme::RsaPssRsaeSha384 => Some(&PssSha384),
        #[cfg(feature = "rsa")]
        SignatureScheme::RsaPssRsaeSha512 => Some(&PssSha512),
        _ => None,
    }
}

/// An algorithm: its name, the kind of its keys, its identifier, and how it verifies.
macro_rules! algorithm {
    ($name:ident, $key:ident, $id:ident, $verify:expr) => {
        #[derive(Debug)]
        struct $name;

        impl SignatureVerificationAlgorithm for $name {
            fn verify_signature(
                &self,
                key: &[u8],
                message: &[u8],
                signature: &[u8],
            ) -> Result<(), InvalidSignature> {
                let verify: fn(&[u8], &[u8], &[u8]) -> Option<()> = $verify;
                verify(key, message, signature).ok_or(InvalidSignature)
            }

            fn public_key_alg_id(&self) -> AlgorithmIdentifier {
                alg_id::$key
            }

            fn signature_alg_id(&self) -> AlgorithmIdentifier {
                alg_id::$id
            }
        }
    };
}

algorithm!(P256Sha256, ECDSA_P256, ECDSA_SHA256, p256_verify::<Sha256>);
#[cfg(feature = "p384")]
algorithm!(P256Sha384, ECDSA_P256, ECDSA_SHA384, p256_verify::<Sha384>);
#[cfg(feature = "p384")]
algorithm!(P384Sha256, ECDSA_P384, ECDSA_SHA256, p384_verify::<Sha256>);
#[cfg(feature = "p384")]
algorithm!(P384Sha384, ECDSA_P384, ECDSA_SHA384, p384_verify::<Sha384>);
#[cfg(feature = "rsa")]
algorithm!(Pkcs1Sha256, RSA_ENCRYPTION, RSA_PKCS1_SHA256, rsa::pkcs1::<Sha256>);
#[cfg(feature = "rsa")]
algorithm!(Pkcs1Sha384, RSA_ENCRYPTION, RSA_PKCS1_SHA384, rsa::pkcs1::<Sha384>);
#[cfg(feature = "rsa")]
algorithm!(Pkcs1Sha512, RSA_ENCRYPTION, RSA_PKCS1_SHA512, rsa::pkcs1::<Sha512>);
#[cfg(feature = "rsa")]
algorithm!(PssSha256, RSA_ENCRYPTION, RSA_PSS_SHA256, rsa::pss::<Sha256>);
#[cfg(feature = "rsa")]
algorithm!(PssSha384, RSA_ENCRYPTION, RSA_PSS_SHA384, rsa::pss::<Sha384>);
#[cfg(feature = "rsa")]
algorithm!(PssSha512, RSA_ENCRYPTION, RSA_PSS_SHA512, rsa::pss::<Sha512>);

fn p256_verify<D: Digest>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
    let signature = p256::ecdsa::Signature::from_der(signature).ok()?;
    key.verify_prehash(&D::digest(message), &signature).ok()
}

#[cfg(feature = "p384")]
fn p384_verify<D: Digest>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
    let signature = p384::ecdsa::Signature::from_der(signature).ok()?;
    key.verify_prehash(&D::digest(message), &signature).ok()
}
