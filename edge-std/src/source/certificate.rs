//! An application that proves itself by the key of a certificate.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use std::path::PathBuf;

use redis_entraid_core::http::ResponseWriter;
use redis_entraid_core::source::{self as core_source, Algorithm, Authority, ErrorKind, SourceIo};
use redis_entraid_core::storage::{Buffer, CapacityError};
use zeroize::Zeroizing;

use super::drive::drive;
use super::key::{CertificateError, CertificateKey};
use super::{AccessToken, FetchError, Request, TokenSource};
use crate::http::{Error, Http};

/// An application that proves itself to Entra with a
/// [certificate](https://learn.microsoft.com/entra/identity-platform/certificate-credentials).
///
/// ```no_run
/// use redis_entraid::source::{Authority, ClientCertificate};
///
/// let tenant = Authority::tenant("72f988bf-86f1-41af-91ab-2d7cd011db47".to_owned());
/// // Read anew for each token: a replaced file needs no restart.
/// let source = ClientCertificate::from_file(tenant, "my-client-id", "/run/secrets/app.pem", None);
/// # let _ = source;
/// ```
pub struct ClientCertificate {
    authority: Authority<String>,
    client_id: String,
    scope: Option<String>,
    key: Key,
}

/// Where the certificate and its key are.
enum Key {
    File { path: PathBuf, password: Option<Zeroizing<String>> },
    Memory(CertificateKey),
    Elsewhere { thumbprint: [u8; 32], signer: Box<dyn DynSigner> },
}

/// Signs with the key of a certificate, wherever that is: in a TPM, a PKCS#11 token, a key vault.
pub trait Signer: Send + 'static {
    /// Signs `data` with `algorithm`, which is [`Algorithm::Ps256`] for Entra: RSASSA-PSS with SHA-256, and a
    /// salt of 32 bytes. `data` is not hashed yet.
    ///
    /// # Errors
    /// [`FetchError`] says when it makes sense to ask again.
    fn sign(
        &mut self,
        algorithm: Algorithm,
        data: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>, FetchError>> + Send;
}

type Signature<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, FetchError>> + Send + 'a>>;

/// A signer of any type.
trait DynSigner: Send {
    fn sign_dyn<'a>(&'a mut self, algorithm: Algorithm, data: &'a [u8]) -> Signature<'a>;
}

impl<S: Signer> DynSigner for S {
    fn sign_dyn<'a>(&'a mut self, algorithm: Algorithm, data: &'a [u8]) -> Signature<'a> {
        Box::pin(self.sign(algorithm, data))
    }
}

impl DynSigner for CertificateKey {
    fn sign_dyn<'a>(&'a mut self, _: Algorithm, data: &'a [u8]) -> Signature<'a> {
        Box::pin(core::future::ready(self.sign(data).map_err(FetchError::configuration)))
    }
}

impl ClientCertificate {
    /// The application `client_id` with certificate and RSA key in the file at `path`, which is read for each
    /// token: PEM, or PFX with the feature `pfx`, which also decrypts keys with `password`.
    pub fn from_file(
        authority: Authority<String>,
        client_id: impl Into<String>,
        path: impl Into<PathBuf>,
        password: Option<&str>,
    ) -> Self {
        let password = password.map(|password| Zeroizing::new(password.to_owned()));
        Self::new(authority, client_id.into(), Key::File { path: path.into(), password })
    }

    /// The application `client_id` with the certificate and RSA key in `content`: as in a file.
    ///
    /// # Errors
    /// [`CertificateError`] if it has not both, or they can't be used.
    pub fn from_bytes(
        authority: Authority<String>,
        client_id: impl Into<String>,
        content: &[u8],
        password: Option<&str>,
    ) -> Result<Self, CertificateError> {
        let key = Key::Memory(CertificateKey::read(content, password)?);
        Ok(Self::new(authority, client_id.into(), key))
    }

    /// The application `client_id` with an RSA key that only `signer` can reach, and the SHA-256 of the
    /// certificate's DER form.
    pub fn from_signer(
        authority: Authority<String>,
        client_id: impl Into<String>,
        thumbprint: [u8; 32],
        signer: impl Signer,
    ) -> Self {
        let key = Key::Elsewhere { thumbprint, signer: Box::new(signer) };
        Self::new(authority, client_id.into(), key)
    }

    fn new(authority: Authority<String>, client_id: String, key: Key) -> Self {
        Self { authority, client_id, scope: None, key }
    }

    /// Asks for another scope than [`SCOPE`](super::SCOPE).
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }
}

/// No certificate file is larger.
const MAX: usize = 256 << 10;

impl TokenSource for ClientCertificate {
    async fn fetch(&mut self, request: Request<'_>) -> Result<AccessToken, FetchError> {
        let Self { authority, client_id, scope, key } = self;
        let mut from_file;
        let (thumbprint, signer): (_, &mut dyn DynSigner) = match key {
            Key::File { path, password } => {
                let content = crate::http::read(path, MAX).await.map_err(|error| match error {
                    // It is configured: in a chain, no other identity takes its place.
                    Error::File(error) => FetchError::of_kind(ErrorKind::Replication, error),
                    error => error.into(),
                })?;
                let password = password.clone();
                // To decrypt it may take a while.
                let read = tokio::task::spawn_blocking(move || {
                    CertificateKey::read(&content, password.as_ref().map(|text| &***text))
                });
                let read = read.await.map_err(FetchError::transient)?;
                from_file = read.map_err(|error| {
                    let kind = match error.is_half_a_file() {
                        true => ErrorKind::Replication,
                        false => ErrorKind::Configuration,
                    };
                    FetchError::of_kind(kind, InFile { path: path.clone(), error })
                })?;
                (from_file.thumbprint, &mut from_file)
            }
            Key::Memory(key) => (key.thumbprint, key),
            Key::Elsewhere { thumbprint, signer } => (*thumbprint, &mut **signer),
        };
        let authority = authority.as_deref();
        let mut source = core_source::ClientCertificate::new(authority, client_id, thumbprint);
        if let Some(scope) = scope {
            source = source.with_scope(scope);
        }
        let mut io = Signing { http: request.http, signer, failed: None };
        let fetched = drive(&mut source, &mut io, &request.start).await;
        io.failed.map_or(fetched, Err)
    }
}

/// What is wrong with which file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
struct InFile {
    path: PathBuf,
    #[source]
    error: CertificateError,
}

/// A client for HTTP that signs, too.
struct Signing<'a> {
    http: &'a mut Http,
    signer: &'a mut dyn DynSigner,
    /// Why the signer did not sign.
    failed: Option<FetchError>,
}

impl SourceIo for Signing<'_> {
    type Error = Error;

    async fn http(
        &mut self,
        request: &redis_entraid_core::http::Request<'_>,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), Error> {
        self.http.http(request, response).await
    }

    async fn sign(
        &mut self,
        algorithm: Algorithm,
        _: u8,
        data: &[u8],
        memory: &mut [u8],
    ) -> Result<usize, Error> {
        let signature = match self.signer.sign_dyn(algorithm, data).await {
            Ok(signature) => signature,
            Err(error) => {
                self.failed = Some(error);
                return Err(Error::Unsupported);
            }
        };
        let capacity = memory.len();
        let room = memory.get_mut(..signature.len()).ok_or_else(|| {
            Error::TooLarge(CapacityError::new(Buffer::Response, signature.len(), capacity))
        })?;
        room.copy_from_slice(&signature);
        Ok(signature.len())
    }

    fn nonce(&mut self) -> Option<[u8; 16]> {
        self.http.nonce()
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate")
            .field("authority", &self.authority)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}
