//! What is wrong with a TLS handshake.

use std::error::Error;
use std::io::{self, ErrorKind};

use rustls::CertificateError as Bad;
use rustls::{AlertDescription as Alert, Error as Rustls};

/// Why a handshake fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsProblem {
    /// The certificate was valid once.
    Expired,
    /// The certificate will be valid.
    NotYetValid,
    /// The certificate is for another name.
    OtherName,
    /// This machine doesn't trust who has issued it.
    UnknownIssuer,
    /// The server leaves out who has issued it.
    Incomplete,
    /// Something else is wrong with it.
    BadCertificate,
    /// What answers doesn't speak TLS.
    NotTls,
    /// What answers speaks TLS in no way that this program does.
    NoCommonTls,
    /// The server ends the connection.
    Closed,
    /// The server ends the handshake with an alert.
    Alert,
    /// The server says nothing.
    Silent,
    /// This machine trusts nobody.
    NoRoots,
}

impl TlsProblem {
    /// Looks for it in `error` and what is behind it.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return Self::of_io(error);
            }
            next = error.source();
        }
        None
    }

    fn of_io(error: &io::Error) -> Option<Self> {
        match error.get_ref().and_then(|error| error.downcast_ref::<Rustls>()) {
            Some(error) => Some(Self::of_rustls(error)),
            None => match error.kind() {
                // The library's words in place of `UnknownIssuer`: no type of it tells them apart.
                ErrorKind::InvalidData if error.to_string().contains("incomplete") => {
                    Some(Self::Incomplete)
                }
                ErrorKind::InvalidData => Some(Self::UnknownIssuer),
                ErrorKind::Other => Some(Self::NoRoots),
                ErrorKind::TimedOut => Some(Self::Silent),
                ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe => Some(Self::Closed),
                _ => None,
            },
        }
    }

    const fn of_rustls(error: &Rustls) -> Self {
        match error {
            Rustls::InvalidCertificate(bad) => match bad {
                Bad::Expired | Bad::ExpiredContext { .. } => Self::Expired,
                Bad::NotValidYet | Bad::NotValidYetContext { .. } => Self::NotYetValid,
                Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Self::OtherName,
                Bad::UnknownIssuer => Self::UnknownIssuer,
                _ => Self::BadCertificate,
            },
            Rustls::AlertReceived(
                Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity,
            )
            | Rustls::PeerIncompatible(_)
            | Rustls::PeerMisbehaved(_)
            | Rustls::DecryptError => Self::NoCommonTls,
            Rustls::AlertReceived(_) => Self::Alert,
            Rustls::InvalidMessage(_)
            | Rustls::InappropriateMessage { .. }
            | Rustls::InappropriateHandshakeMessage { .. } => Self::NotTls,
            _ => Self::BadCertificate,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::{PeerIncompatible, PeerMisbehaved};

    use super::*;

    #[test]
    fn tls_that_is_not_ours_is_neither_a_bad_certificate_nor_too_many_connections() {
        for error in [
            Rustls::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
            Rustls::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedCipherSuite),
            Rustls::DecryptError,
            Rustls::AlertReceived(Alert::HandshakeFailure),
            Rustls::AlertReceived(Alert::ProtocolVersion),
        ] {
            let wrapped = io::Error::new(ErrorKind::InvalidData, error.clone());
            assert_eq!(TlsProblem::of(&wrapped), Some(TlsProblem::NoCommonTls), "{error}");
        }
        let other = Rustls::AlertReceived(Alert::UnrecognisedName);
        let wrapped = io::Error::new(ErrorKind::InvalidData, other);
        assert_eq!(TlsProblem::of(&wrapped), Some(TlsProblem::Alert));
    }
}
