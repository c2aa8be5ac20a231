//! Whom to trust.

use core::cell::Cell;

use aes_gcm::aead::generic_array::GenericArray;
use embedded_tls::{
    CertificateEntryRef, CertificateRef, CertificateVerifyRef, CryptoProvider, CryptoRngCore,
    TlsError, TlsVerifier,
};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer};
use sha2::Digest;
use sha2::digest::Output;
use webpki::{EndEntityCert, KeyUsage, RawPublicKeyEntity};

use crate::algorithms::{ALGORITHMS, by_scheme};
use crate::certificate::CertificateError;
use crate::config::Config;
use crate::der;
use crate::error::Error;
use crate::inner::Progress;
use crate::shared::Shared;
use crate::suite::Suite;

/// As many certificates as a server may send. Azure sends three.
const MOST: usize = 8;

/// The bytes of the largest public key: the certificate itself is not kept.
const KEY: usize = if cfg!(feature = "rsa") {
    550
} else if cfg!(feature = "p384") {
    120
} else {
    91
};

/// What comes before the transcript in what the server signs (RFC 8446 section 4.4.3).
const CONTEXT: &[u8; 34] = b"TLS 1.3, server CertificateVerify\0";

/// Verifies one server, once: first its certificates, then its proof of owning them.
pub(crate) struct Verifier<'a, S: Suite> {
    name: &'a ServerName<'a>,
    config: &'a Config<'a>,
    shared: &'a Shared,
    key: [u8; KEY],
    key_len: usize,
    /// The hash of all messages up to the certificates.
    transcript: Output<S::Hash>,
}

impl<'a, S: Suite> Verifier<'a, S> {
    pub(crate) fn new(
        name: &'a ServerName<'a>,
        config: &'a Config<'a>,
        shared: &'a Shared,
    ) -> Self {
        let transcript = GenericArray::default();
        Self { name, config, shared, key: [0; KEY], key_len: 0, transcript }
    }

    /// Each step is taken once, in its turn.
    fn step(
        &mut self,
        turn: Progress,
        next: Progress,
        step: impl FnOnce(&mut Self) -> Result<(), CertificateError>,
    ) -> Result<(), TlsError> {
        let result = if self.shared.progress() == turn {
            step(self).map_err(Error::from)
        } else {
            Err(Error::Unverified)
        };
        match result {
            Ok(()) => {
                self.shared.advance(next);
                Ok(())
            }
            Err(error) => {
                self.shared.fail(error);
                Err(TlsError::InvalidCertificate)
            }
        }
    }

    fn certificates(
        &mut self,
        entries: &[CertificateEntryRef<'_>],
    ) -> Result<(), CertificateError> {
        let mut sent = [const { CertificateDer::from_slice(&[]) }; MOST];
        let sent = sent.get_mut(..entries.len()).ok_or(CertificateError::TooMany)?;
        for (certificate, entry) in sent.iter_mut().zip(entries) {
            let CertificateEntryRef::X509(der) = entry else {
                return Err(CertificateError::Unsupported);
            };
            *certificate = CertificateDer::from_slice(der);
        }
        let (leaf, intermediates) = sent.split_first().ok_or(CertificateError::None)?;
        let certificate = EndEntityCert::try_from(leaf)?;
        // webpki leaves it to us what the keys of authorities are for.
        let misused = Cell::new(false);
        let authorities = |path: &webpki::VerifiedPath<'_>| {
            for authority in path.intermediate_certificates() {
                if !permits(&authority.der(), der::KEY_CERT_SIGN).unwrap_or(false) {
                    misused.set(true);
                    return Err(webpki::Error::CertDistrusted);
                }
            }
            Ok(())
        };
        let path = certificate.verify_for_usage(
            ALGORITHMS,
            self.config.roots,
            intermediates,
            self.config.now,
            KeyUsage::server_auth(),
            None,
            Some(&authorities),
        );
        match path {
            Ok(_) => {}
            Err(_) if misused.get() => return Err(CertificateError::Usage),
            Err(webpki::Error::UnknownIssuer)
                if intermediates.is_empty() && certificate.issuer() != certificate.subject() =>
            {
                return Err(CertificateError::Incomplete);
            }
            Err(error) => {
                let mut roots = self.config.roots.iter().map(|root| &*root.subject_public_key_info);
                let mut sent = sent.iter().filter_map(|sent| der::key_info(sent));
                let is_unsupported = roots.any(is_unsupported) || sent.any(is_unsupported);
                return Err(match error.into() {
                    // One that can't be checked is not a wrong one.
                    CertificateError::Signature if is_unsupported => CertificateError::Unsupported,
                    error => error,
                });
            }
        }
        certificate.verify_is_valid_for_subject_name(self.name)?;
        if !permits(leaf, der::DIGITAL_SIGNATURE)? {
            return Err(CertificateError::Usage);
        }
        let (key, _) = der::key(leaf)?;
        let kept = self.key.get_mut(..key.len()).ok_or(CertificateError::Unsupported)?;
        kept.copy_from_slice(key);
        self.key_len = key.len();
        Ok(())
    }

    fn proof(&self, proof: &CertificateVerifyRef<'_>) -> Result<(), CertificateError> {
        let algorithm = by_scheme(proof.signature_scheme).ok_or(CertificateError::Scheme)?;
        let mut signed = [0x20; 64 + CONTEXT.len() + 48];
        let (_, rest) = signed.split_at_mut_checked(64).ok_or(CertificateError::Proof)?;
        let parts = CONTEXT.iter().chain(&self.transcript);
        let len = rest.iter_mut().zip(parts).map(|(byte, part)| *byte = *part).count();
        let signed = signed.get(..64 + len).ok_or(CertificateError::Proof)?;
        let key = self.key.get(..self.key_len).ok_or(CertificateError::Proof)?;
        let key = SubjectPublicKeyInfoDer::from(key);
        RawPublicKeyEntity::try_from(&key)?
            .verify_signature(algorithm, signed, proof.signature)
            .map_err(|error| match error {
                webpki::Error::InvalidSignatureForPublicKey
                    if der::content(self.key.get(..self.key_len).unwrap_or_default())
                        .is_some_and(is_unsupported) =>
                {
                    CertificateError::Unsupported
                }
                webpki::Error::InvalidSignatureForPublicKey => CertificateError::Proof,
                _ => CertificateError::Scheme,
            })
    }
}

/// Whether no signature can be checked with the key in `info`, the content of a SubjectPublicKeyInfo.
fn is_unsupported(info: &[u8]) -> bool {
    #[cfg(feature = "rsa")]
    return crate::rsa::is_unsupported(info);
    #[cfg(not(feature = "rsa"))]
    {
        let _ = info;
        false
    }
}

/// Whether a certificate's key may be used so. Without KeyUsage it may be used for anything.
fn permits(certificate: &[u8], usage: u8) -> Result<bool, CertificateError> {
    let (_, permitted) = der::key(certificate)?;
    Ok(permitted.is_none_or(|permitted| permitted & usage != 0))
}

impl<S: Suite> TlsVerifier<S> for Verifier<'_, S> {
    /// The name is known already.
    fn set_hostname_verification(&mut self, _: &str) -> Result<(), TlsError> {
        Ok(())
    }

    fn verify_certificate(
        &mut self,
        transcript: &S::Hash,
        certificates: CertificateRef<'_>,
    ) -> Result<(), TlsError> {
        self.step(Progress::Certificate, Progress::Proof, |verifier| {
            verifier.transcript = transcript.clone().finalize();
            verifier.certificates(&certificates.entries)
        })
    }

    fn verify_signature(&mut self, proof: CertificateVerifyRef<'_>) -> Result<(), TlsError> {
        self.step(Progress::Proof, Progress::Finished, |verifier| verifier.proof(&proof))
    }
}

/// What embedded-tls needs for a handshake.
pub(crate) struct Provider<'a, S: Suite, G> {
    pub(crate) verifier: Verifier<'a, S>,
    pub(crate) rng: &'a mut G,
}

impl<S: Suite, G: CryptoRngCore> CryptoProvider for Provider<'_, S, G> {
    type CipherSuite = S;
    /// Clients have no certificates here.
    type Signature = [u8; 0];

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut *self.rng
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<S>, TlsError> {
        Ok(&mut self.verifier)
    }
}
