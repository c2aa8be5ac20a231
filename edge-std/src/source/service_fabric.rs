//! The managed identity of an application on Service Fabric.

use core::fmt;

use redis_entraid_core::source::{self as core_source, Text};

use super::drive::drive;
use super::{AccessToken, FetchError, Request, TokenSource};
use crate::http::Http;

/// The managed identity of an application on Service Fabric. Its endpoint is trusted by its certificate's SHA-1
/// alone.
///
/// ```
/// use redis_entraid::source::ServiceFabric;
///
/// let source = ServiceFabric::new(
///     "https://localhost:2377/metadata/identity/oauth2/token", // IDENTITY_ENDPOINT
///     "my-secret",                                             // IDENTITY_HEADER
///     [0xa9; 20],                                              // IDENTITY_SERVER_THUMBPRINT
/// );
/// # let _ = source;
/// ```
pub struct ServiceFabric<T> {
    source: core_source::ServiceFabric<T>,
    thumbprint: [u8; 20],
    http: Option<Http>,
}

impl<T: Text> ServiceFabric<T> {
    /// The identity whose tokens `endpoint` gives out, which demands `secret` and has a certificate with the
    /// SHA-1 `thumbprint`.
    pub fn new(endpoint: T, secret: T, thumbprint: [u8; 20]) -> Self {
        Self::over(core_source::ServiceFabric::new(endpoint, secret), thumbprint)
    }

    /// Asks for another resource than [`RESOURCE`](super::RESOURCE).
    #[must_use]
    pub fn with_resource(mut self, resource: T) -> Self {
        self.source = self.source.with_resource(resource);
        self
    }

    /// The same as the environment has it.
    pub(crate) fn over(source: core_source::ServiceFabric<T>, thumbprint: [u8; 20]) -> Self {
        Self { source, thumbprint, http: None }
    }
}

impl<T: Text + Send + 'static> TokenSource for ServiceFabric<T> {
    async fn fetch(&mut self, request: Request<'_>) -> Result<AccessToken, FetchError> {
        let http = match &mut self.http {
            Some(http) => http,
            none => none.insert(Http::pinned(self.thumbprint).map_err(FetchError::configuration)?),
        };
        drive(&mut self.source, http, &request.start).await
    }
}

impl<T: fmt::Debug> fmt::Debug for ServiceFabric<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}
