//! TLS by rustls: whom to trust.

mod chain;
#[cfg(feature = "http")]
mod pinned;

use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, OnceLock};

use chain::Incomplete;
use redis_entraid_client::roots_from_pem;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::ConfigError;
#[cfg(feature = "http")]
pub(crate) use pinned::pinned;

/// Whether a handshake failed because of what was said, and not because the network failed.
pub(crate) fn is_about_tls(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::Other)
}

/// Whether the other side ended TLS with an alert.
pub(crate) fn is_alert(error: &Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(error, Some(rustls::Error::AlertReceived(_)))
}

/// The certificate authorities to trust. Verification can't be turned off, but by a
/// configuration of one's own.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Roots {
    /// The platform's. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others. A process reads them once, on
    /// a thread of its own, unless they are [reloaded](Roots::reload_platform).
    #[default]
    Platform,
    /// Mozilla's, compiled in.
    #[cfg(feature = "webpki-roots")]
    WebPki,
    /// These. [`Roots::pem`] reads them.
    Certificates(Arc<[CertificateDer<'static>]>),
    /// A configuration of your own.
    Custom(Arc<ClientConfig>),
}

impl Roots {
    /// Trusts the certificates in `pem`.
    ///
    /// # Errors
    /// [`ConfigError::Roots`] if there is none, or one that can't be read.
    pub fn pem(pem: &[u8]) -> core::result::Result<Self, ConfigError> {
        let mut store = RootCertStore::empty();
        let known = |certificate: CertificateDer<'static>| {
            store.add(certificate.clone()).map(|()| certificate)
        };
        Ok(Self::Certificates(roots_from_pem(pem, known)?.into()))
    }

    /// Reads the platform's roots again, for all connections of this process that trust
    /// [`Platform`](Self::Platform): a long-lived one should call this when the machine's store was
    /// updated. Connections that are there stay; the next ones are verified by the new roots.
    ///
    /// # Errors
    /// [`ConfigError::Roots`] if there are none. Those that were read before are kept then.
    pub async fn reload_platform() -> core::result::Result<(), ConfigError> {
        let unreadable = |error: Error| ConfigError::Roots(error.to_string());
        let config = read_platform().await.map_err(unreadable)?;
        *PLATFORM.lock().await = Some(config);
        Ok(())
    }
}

impl core::fmt::Debug for Roots {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Platform => "Platform",
            #[cfg(feature = "webpki-roots")]
            Self::WebPki => "WebPki",
            Self::Certificates(_) => "Certificates",
            Self::Custom(_) => "Custom",
        })
    }
}

/// What TLS is done with for who trusts the platform's roots: it takes longer to read those than to log
/// in over plain HTTP and TCP, so that a process does it once.
static PLATFORM: Mutex<Option<Arc<ClientConfig>>> = Mutex::const_new(None);

async fn platform() -> Result<Arc<ClientConfig>> {
    // Callers that come meanwhile wait for the same.
    let mut known = PLATFORM.lock().await;
    if let Some(config) = &*known {
        return Ok(config.clone());
    }
    let config = read_platform().await?;
    *known = Some(config.clone());
    Ok(config)
}

/// Reads the platform's roots, in a thread that may block: they are hundreds of files on some systems, and
/// on a network at others.
async fn read_platform() -> Result<Arc<ClientConfig>> {
    let read = tokio::task::spawn_blocking(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(found.certs);
        if added == 0 {
            let why = found.errors.first().map(ToString::to_string).unwrap_or_default();
            return Err(Error::other(format!(
                "no trusted roots on this machine ({why}): install ca-certificates, or give roots with `Builder::roots`"
            )));
        }
        trusting(store)
    });
    read.await.map_err(Error::other)?
}

fn trusting(store: RootCertStore) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let usual = WebPkiServerVerifier::builder_with_provider(store.into(), provider.clone());
    // It only says more than the usual one.
    verified_by(chain::Verifier(usual.build().map_err(Error::other)?), provider)
}

fn verified_by(
    verifier: impl ServerCertVerifier + 'static,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// What TLS is done with. It is made when it is first needed.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    roots: Roots,
    /// For certificates of its own. That of the platform's roots is shared by the process.
    config: Option<Arc<OnceLock<Arc<ClientConfig>>>>,
}

impl Tls {
    pub(crate) fn new(roots: Roots) -> Self {
        let config = match roots {
            Roots::Platform | Roots::Custom(_) => None,
            _ => Some(Arc::default()),
        };
        Self { roots, config }
    }

    async fn config(&self) -> Result<Arc<ClientConfig>> {
        if let Some(config) = self.config.as_ref().and_then(|config| config.get()) {
            return Ok(config.clone());
        }
        let mut store = RootCertStore::empty();
        match &self.roots {
            Roots::Custom(config) => return Ok(config.clone()),
            #[cfg(feature = "webpki-roots")]
            Roots::WebPki => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            // It may be another one the next time.
            Roots::Platform => return platform().await,
            Roots::Certificates(certificates) => {
                for certificate in certificates.iter() {
                    store.add(certificate.clone()).map_err(Error::other)?;
                }
            }
        }
        let config = trusting(store)?;
        Ok(match &self.config {
            Some(known) => known.get_or_init(|| config).clone(),
            None => config,
        })
    }

    /// Does TLS over `stream` with the server `name`.
    pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        name: &str,
        stream: S,
    ) -> Result<TlsStream<S>> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| Error::new(ErrorKind::InvalidInput, error))?;
        let connected = TlsConnector::from(self.config().await?).connect(name, stream).await;
        connected.map_err(|error| match Incomplete::behind(&error) {
            Some(incomplete) => Error::new(ErrorKind::InvalidData, incomplete),
            None => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_certificate_is_no_trust() {
        for pem in
            ["", "certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            assert!(matches!(Roots::pem(pem.as_bytes()), Err(ConfigError::Roots(_))), "{pem}");
        }
    }
}
