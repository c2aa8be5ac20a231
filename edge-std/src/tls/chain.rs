//! The missing issuer of a certificate chain that is not trusted.

use core::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use webpki::EndEntityCert;

/// Verifies as rustls does, and says more where an issuer is unknown.
#[derive(Debug)]
pub(super) struct Verifier(pub(super) Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Self(usual) = self;
        let verified =
            usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| match Incomplete::of(end_entity, intermediates) {
            Some(incomplete) if error == CertificateError::UnknownIssuer.into() => {
                CertificateError::Other(OtherError(Arc::new(incomplete))).into()
            }
            _ => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The certificates that a server sent end before a root: one front end of many may have left an
/// authority out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incomplete {
    /// The name of the authority that comes next.
    issuer: String,
    /// Nothing but the server's own certificate was sent.
    alone: bool,
}

impl Incomplete {
    /// Whose certificate was not sent, if the chain doesn't end by itself.
    fn of(end_entity: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Option<Self> {
        let names = |certificate: &CertificateDer<'_>| {
            let certificate = EndEntityCert::try_from(certificate).ok()?;
            Some((certificate.subject().to_owned(), certificate.issuer().to_owned()))
        };
        let (_, mut missing) = names(end_entity)?;
        let alone = others.is_empty();
        let mut others: Vec<_> = others.iter().filter_map(names).collect();
        while let Some(next) = others.iter().position(|(subject, _)| *subject == missing) {
            let (subject, issuer) = others.swap_remove(next);
            if subject == issuer {
                // It was sent with its root, which is not trusted.
                return None;
            }
            missing = issuer;
        }
        let (subject, _) = names(end_entity)?;
        (subject != missing).then(|| Self { issuer: common_name(&missing), alone })
    }

    /// What is behind an error of a handshake, if it is this.
    pub(super) fn behind(error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref()? {
            Error::InvalidCertificate(CertificateError::Other(OtherError(error))) => {
                error.downcast_ref::<Self>().cloned()
            }
            _ => None,
        }
    }
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, alone } = self;
        match alone {
            true => write!(f, "certificate chain incomplete: issuer {issuer} not sent"),
            false => write!(
                f,
                "certificate chain not trusted: it ends below {issuer}, which was not sent and is no \
                trusted root"
            ),
        }
    }
}

impl std::error::Error for Incomplete {}

/// The `CN` in a name (RFC 5280 section 4.1.2.4), as far as it is text.
fn common_name(name: &[u8]) -> String {
    // The object identifier 2.5.4.3, with its tag and length.
    const CN: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
    let at = name.windows(CN.len()).rposition(|part| part == CN);
    let text = at.and_then(|at| match name.get(at + CN.len()..)? {
        [_, len, rest @ ..] => rest.get(..usize::from(*len)),
        _ => None,
    });
    text.map_or_else(|| "without a name".into(), |text| format!("CN={}", text.escape_ascii()))
}
