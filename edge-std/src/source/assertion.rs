//! An application that proves itself by a statement of another issuer.

use core::fmt;
use core::future::Future;

use redis_entraid_core::source::{self as core_source, Authority};
use zeroize::Zeroizing;

use super::drive::drive;
use super::{AccessToken, FetchError, Request, TokenSource};

/// An application, or a user-assigned managed identity, that proves itself with the token of an issuer that
/// it [trusts](https://learn.microsoft.com/entra/workload-id/workload-identity-federation): of GitHub
/// Actions, SPIFFE, or another cloud. Where that token is in a file, use
/// [`WorkloadIdentity`](super::WorkloadIdentity).
///
/// ```
/// use redis_entraid::source::{Authority, ClientAssertion, FetchError};
///
/// let tenant = Authority::tenant("72f988bf-86f1-41af-91ab-2d7cd011db47".to_owned());
/// let source = ClientAssertion::new(tenant, "my-client-id", async || {
///     // Ask the issuer for a token whose audience is api://AzureADTokenExchange.
///     std::env::var("ID_TOKEN").map_err(FetchError::configuration)
/// });
/// # let _ = source;
/// ```
pub struct ClientAssertion<F> {
    authority: Authority<String>,
    client_id: String,
    scope: Option<String>,
    assert: F,
}

impl<F> ClientAssertion<F> {
    /// The application `client_id` with the JWT that `assert` returns, which is called for each fetch.
    pub fn new(authority: Authority<String>, client_id: impl Into<String>, assert: F) -> Self {
        Self { authority, client_id: client_id.into(), scope: None, assert }
    }

    /// Asks for another scope than [`SCOPE`](super::SCOPE).
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }
}

impl<F, A> TokenSource for ClientAssertion<F>
where
    F: FnMut() -> A + Send + 'static,
    A: Future<Output = Result<String, FetchError>> + Send,
{
    async fn fetch(&mut self, request: Request<'_>) -> Result<AccessToken, FetchError> {
        let assertion = Zeroizing::new((self.assert)().await?);
        let (authority, id) = (self.authority.as_deref(), &*self.client_id);
        let mut source = core_source::ClientAssertion::new(authority, id, &*assertion);
        if let Some(scope) = &self.scope {
            source = source.with_scope(scope);
        }
        drive(&mut source, request.http, &request.start).await
    }
}

impl<F> fmt::Debug for ClientAssertion<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAssertion")
            .field("authority", &self.authority)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}
