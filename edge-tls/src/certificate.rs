//! Why a certificate is not good enough.

use core::fmt;

use rustls_pki_types::{CertificateDer, TrustAnchor};

/// Why a server's certificates, or its proof of owning them, are not good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateError {
    /// It is for another name.
    Name,
    /// It, or one of its issuers, is no longer valid.
    Expired,
    /// It, or one of its issuers, is not valid yet.
    NotYetValid,
    /// No root that is trusted has issued it.
    UnknownIssuer,
    /// The server sent no more than its own certificate, and no root that is trusted has issued that.
    Incomplete,
    /// A signature in the chain was not made with the issuer's key.
    Signature,
    /// An issuer is no certificate authority.
    NotAnAuthority,
    /// The server shows the certificate of an authority as its own.
    Authority,
    /// More authorities are between it and the root than one of them permits.
    PathLength,
    /// It has a name that one of its issuers may not vouch for.
    NameConstraint,
    /// Its key, or that of an issuer, is for other uses (RFC 5280 sections 4.2.1.3 and 4.2.1.12).
    Usage,
    /// It uses an algorithm, a key or an extension that is not understood here.
    Unsupported,
    /// It is not a certificate in the form that RFC 5280 wants.
    Malformed,
    /// There is none.
    None,
    /// There are more than eight.
    TooMany,
    /// The chain takes too much work to check.
    TooComplex,
    /// The server could not show that the certificate is its own: its signature of the handshake
    /// is wrong.
    Proof,
    /// The server signed the handshake with an algorithm that does not fit its key, or that TLS
    /// 1.3 does not permit.
    Scheme,
}

impl CertificateError {
    /// What the person in charge should do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Name => "see that the host name is the one that the cache has in the portal",
            Self::Expired | Self::NotYetValid => "see that this machine's clock is right",
            Self::UnknownIssuer => {
                "see that the roots given include the one that the server's certificate is from"
            }
            Self::Incomplete => {
                "connect again; if it persists, have the server send its whole chain, or see that \
                 the roots given include its issuer"
            }
            Self::Unsupported | Self::Scheme => {
                "see that the features `rsa` and `p384` are on, if the chain needs them"
            }
            Self::TooMany | Self::TooComplex => "have the server send no more than it needs to",
            _ => "see who is between you and the server; do not go on",
        }
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the certificate is not for this host name",
            Self::Expired => "the certificate has expired",
            Self::NotYetValid => "the certificate is not valid yet",
            Self::UnknownIssuer => "the certificate's issuer is not trusted (unknown CA)",
            Self::Incomplete => "the certificate chain is incomplete: its issuer was not sent",
            Self::Signature => "invalid signature in the certificate chain",
            Self::NotAnAuthority => "a certificate's issuer is not a CA",
            Self::Authority => "the server's certificate is a CA certificate",
            Self::PathLength => "a CA's path length does not allow the certificate chain",
            Self::NameConstraint => "the certificate violates its issuer's name constraints",
            Self::Usage => "a certificate's key usage does not allow this",
            Self::Unsupported => "the certificate uses an unsupported feature",
            Self::Malformed => "the certificate is malformed",
            Self::None => "the server sent no certificate",
            Self::TooMany => "the server sent more than eight certificates",
            Self::TooComplex => "the certificate chain is too complex",
            Self::Proof => "the server's handshake signature is invalid",
            Self::Scheme => "the server's signature scheme does not fit its certificate",
        })
    }
}

impl core::error::Error for CertificateError {}

impl From<webpki::Error> for CertificateError {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::CertNotValidForName(_) => Self::Name,
            E::CertExpired { .. } | E::InvalidCertValidity => Self::Expired,
            E::CertNotValidYet { .. } => Self::NotYetValid,
            E::UnknownIssuer => Self::UnknownIssuer,
            E::InvalidSignatureForPublicKey => Self::Signature,
            E::EndEntityUsedAsCa => Self::NotAnAuthority,
            E::CaUsedAsEndEntity => Self::Authority,
            E::PathLenConstraintViolated => Self::PathLength,
            E::NameConstraintViolation => Self::NameConstraint,
            E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => Self::Usage,
            E::UnsupportedSignatureAlgorithmContext(_)
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
            | E::UnsupportedCriticalExtension
            | E::UnsupportedCertVersion
            | E::UnsupportedNameType => Self::Unsupported,
            E::MaximumNameConstraintComparisonsExceeded
            | E::MaximumPathBuildCallsExceeded
            | E::MaximumPathDepthExceeded
            | E::MaximumSignatureChecksExceeded => Self::TooComplex,
            _ => Self::Malformed,
        }
    }
}

/// What to trust, from a root certificate in DER.
///
/// Its dates are not looked at: a root is trusted because it is in the list.
///
/// # Errors
/// The certificate can't be read.
pub fn anchor<'a>(root: &'a CertificateDer<'a>) -> Result<TrustAnchor<'a>, CertificateError> {
    Ok(webpki::anchor_from_trusted_cert(root)?)
}
