//! Where tokens come from, on this host.
//!
//! A service principal or a managed identity of the core is a source as it is. Code of your own
//! is one too:
//!
//! ```
//! use std::time::Duration;
//! use redis_entraid::source::{AccessToken, FetchError, Request, TokenSource};
//!
//! struct Vault;
//!
//! impl TokenSource for Vault {
//!     async fn fetch(&mut self, _: Request<'_>) -> Result<AccessToken, FetchError> {
//!         let token = std::fs::read_to_string("/run/secrets/redis-token")
//!             .map_err(FetchError::transient)?;
//!         Ok(AccessToken::new(token.trim()).expires_in(Duration::from_secs(3600)))
//!     }
//! }
//! ```

use core::fmt;
use core::future::Future;
use core::time::Duration;

use redis_entraid_core::secret::Secret;
use redis_entraid_core::time::UnixTime;
use redis_entraid_core::token::Token;
use zeroize::Zeroizing;

#[cfg(feature = "http")]
mod any;
#[cfg(feature = "http")]
mod assertion;
#[cfg(feature = "azure-core")]
mod azure_core;
#[cfg(all(feature = "http", feature = "tls"))]
mod certificate;
#[cfg(feature = "http")]
mod drive;
#[cfg(all(feature = "http", feature = "tls"))]
mod key;
#[cfg(all(feature = "http", feature = "tls"))]
mod service_fabric;
#[cfg(feature = "http")]
mod token_chain;
#[cfg(all(feature = "http", feature = "tls"))]
mod token_proxy;
#[cfg(feature = "developer")]
mod tool;

#[cfg(feature = "http")]
use crate::http::Http;

#[cfg(feature = "http")]
pub use any::AnySource;
#[cfg(feature = "http")]
pub use assertion::ClientAssertion;
#[cfg(feature = "azure-core")]
pub use azure_core::AzureCredential;
#[cfg(all(feature = "http", feature = "tls"))]
pub use certificate::{ClientCertificate, Signer};
#[cfg(all(feature = "http", feature = "tls"))]
pub use key::CertificateError;
pub use redis_entraid_client::FetchError;
#[cfg(all(feature = "http", feature = "tls"))]
pub use redis_entraid_client::ProxyRoots;
pub use redis_entraid_core::source::{
    AZURE_ARC_ENDPOINT, Algorithm, Authority, AzureArc, Chain, Cloud, CloudShell, MachineLearning,
    ManagedIdentity, RESOURCE, SCOPE, Selector, ServicePrincipal, Start, WorkloadIdentity,
};
#[cfg(all(feature = "http", feature = "tls"))]
pub use service_fabric::ServiceFabric;
#[cfg(feature = "developer")]
pub(crate) use token_chain::Probed;
#[cfg(feature = "http")]
pub use token_chain::TokenChain;
#[cfg(all(feature = "http", feature = "tls"))]
pub use token_proxy::TokenProxy;
#[cfg(feature = "developer")]
pub use tool::CommandLineTool;

/// Yields a token when asked, as often as it is asked.
pub trait TokenSource: Send + 'static {
    /// Gets one token. An implementation may simply be an `async fn`, if its future is `Send`.
    ///
    /// # Errors
    /// [`FetchError`] says when it makes sense to ask again.
    ///
    /// # Cancel safety
    /// The future is dropped at the request's deadline, and `fetch` called again later.
    fn fetch(
        &mut self,
        request: Request<'_>,
    ) -> impl Future<Output = Result<AccessToken, FetchError>> + Send;
}

/// What a source is given to fetch a token with.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The deadline of the token, and the other inputs of a source of the core.
    pub start: Start,
    /// A client for HTTP and HTTPS that trusts what this client was configured to trust.
    #[cfg(feature = "http")]
    pub http: &'a mut Http,
    #[cfg(not(feature = "http"))]
    pub(crate) nothing: core::marker::PhantomData<&'a ()>,
}

/// A token that is owned, and wiped in the end.
#[derive(Clone)]
pub struct AccessToken {
    secret: Zeroizing<String>,
    user: Option<String>,
    expires_in: Option<Duration>,
    expires_on: Option<UnixTime>,
    refresh_in: Option<Duration>,
    server_time: Option<UnixTime>,
}

impl AccessToken {
    /// The token `secret`. If it is a JWT, it says itself whose it is and when it ends.
    pub fn new(secret: impl Into<String>) -> Self {
        Self {
            secret: Zeroizing::new(secret.into()),
            user: None,
            expires_in: None,
            expires_on: None,
            refresh_in: None,
            server_time: None,
        }
    }

    /// Names the user to log in as: the object id of the identity.
    #[must_use]
    pub fn user(mut self, object_id: impl Into<String>) -> Self {
        self.user = Some(object_id.into());
        self
    }

    /// Says how long it lives from when it was asked for.
    #[must_use]
    pub fn expires_in(mut self, life: Duration) -> Self {
        self.expires_in = Some(life);
        self
    }

    /// Says when it ends.
    #[must_use]
    pub fn expires_on(mut self, time: UnixTime) -> Self {
        self.expires_on = Some(time);
        self
    }

    /// Says when the next one should be asked for.
    #[must_use]
    pub fn refresh_in(mut self, wait: Duration) -> Self {
        self.refresh_in = Some(wait);
        self
    }

    /// Copies a token of the core's.
    pub fn copy(token: &Token<'_>) -> Self {
        Self {
            secret: Zeroizing::new(token.secret.expose().to_owned()),
            user: token.user.map(str::to_owned),
            expires_in: token.expires_in,
            expires_on: token.expires_on,
            refresh_in: token.refresh_in,
            server_time: token.server_time,
        }
    }

    /// The same for the core.
    pub fn as_token(&self) -> Token<'_> {
        let mut token = Token::new(Secret::new(&self.secret));
        token.user = self.user.as_deref();
        token.expires_in = self.expires_in;
        token.expires_on = self.expires_on;
        token.refresh_in = self.refresh_in;
        token.server_time = self.server_time;
        token
    }
}

/// A token that is there already: from provisioning, or for a test. It is handed out again and
/// again; when it ends, so does the login.
#[derive(Clone, Debug)]
pub struct StaticToken(AccessToken);

impl StaticToken {
    /// Hands out `secret`, for the next hundred years unless something else is said.
    pub fn new(secret: impl Into<String>) -> Self {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
        Self(AccessToken::new(secret).expires_in(CENTURY))
    }

    /// Names the user to log in as.
    #[must_use]
    pub fn user(self, object_id: impl Into<String>) -> Self {
        Self(self.0.user(object_id))
    }

    /// Says how long the token lives from when it is first used.
    #[must_use]
    pub fn expires_in(self, life: Duration) -> Self {
        Self(self.0.expires_in(life))
    }
}

impl TokenSource for StaticToken {
    async fn fetch(&mut self, _: Request<'_>) -> Result<AccessToken, FetchError> {
        Ok(self.0.clone())
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_token().fmt(f)
    }
}

/// The sources of the core are driven over HTTP.
#[cfg(feature = "http")]
impl<S: redis_entraid_core::source::Source + Send + 'static> TokenSource for S {
    async fn fetch(&mut self, request: Request<'_>) -> Result<AccessToken, FetchError> {
        drive::drive(self, request.http, &request.start).await
    }
}
