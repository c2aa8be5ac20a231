//! Credentials of Microsoft's `azure_identity`.

use core::fmt;
use std::sync::Arc;

use ::azure_core::credentials::TokenCredential;
use ::azure_core::error::ErrorKind as AzureErrorKind;
use redis_entraid_core::source::{ErrorKind, IoFailure, SCOPE, SourceError};
use redis_entraid_core::time::UnixTime;

use super::{AccessToken, FetchError, Request, TokenSource};

/// A credential of `azure_identity`, or anything else that is an `azure_core::TokenCredential`: for a service
/// that has one already.
///
/// It may keep a token of its own until minutes before it ends, so that a refresh comes later than the
/// policy says. [`TokenChain`](super::TokenChain) and the sources here need no crate beside this one.
pub struct AzureCredential {
    credential: Arc<dyn TokenCredential>,
    scope: String,
}

impl AzureCredential {
    /// Takes the tokens of `credential`.
    pub fn new(credential: Arc<dyn TokenCredential>) -> Self {
        Self { credential, scope: SCOPE.to_owned() }
    }

    /// Asks for another scope than [`SCOPE`](super::SCOPE).
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = scope.into();
        self
    }
}

impl TokenSource for AzureCredential {
    async fn fetch(&mut self, _: Request<'_>) -> Result<AccessToken, FetchError> {
        let token = self.credential.get_token(&[&self.scope], None).await.map_err(failed)?;
        let expires_on = u64::try_from(token.expires_on.unix_timestamp()).unwrap_or_default();
        Ok(AccessToken::new(token.token.secret()).expires_on(UnixTime(expires_on)))
    }
}

/// What is not about the network may be a mistake, or one that was mended a moment ago.
fn failed(error: ::azure_core::Error) -> FetchError {
    let kind = match error.kind() {
        // As of a source of our own: a chain passes it over.
        AzureErrorKind::Connection => {
            return FetchError::new(SourceError::Io(IoFailure::Connect), error);
        }
        AzureErrorKind::Io => ErrorKind::Transient,
        AzureErrorKind::HttpResponse { status, .. } => match u16::from(*status) {
            429 => ErrorKind::Throttled(None),
            408 | 500.. => ErrorKind::Transient,
            _ => ErrorKind::Replication,
        },
        _ => ErrorKind::Replication,
    };
    FetchError::of_kind(kind, error)
}

impl fmt::Debug for AzureCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureCredential").field("scope", &self.scope).finish_non_exhaustive()
    }
}
