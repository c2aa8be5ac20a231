//! A service principal: an application with a secret, by client credentials (RFC 6749 section 4.4).

use core::fmt;

use super::application::Application;
use super::authority::Authority;
use super::error::{ConfigError, SourceError};
use super::{Hidden, Input, Source, Step, Text};

/// An application that proves itself to Entra with a client secret.
///
/// `T` is a `&str` on a device and a `String` on a host, or a wiped one. Wire: Microsoft's
/// [client credentials flow](https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).
///
/// ```
/// use redis_entraid_core::source::{Authority, ServicePrincipal};
///
/// let tenant = Authority::tenant("72f988bf-86f1-41af-91ab-2d7cd011db47");
/// let source = ServicePrincipal::with_secret(tenant, "my-client-id", "my-secret");
/// assert!(!format!("{source:?}").contains("my-secret"));
/// ```
pub struct ServicePrincipal<T> {
    application: Application<T>,
    secret: T,
}

impl<T: Text> ServicePrincipal<T> {
    /// The application `client_id` with its client secret.
    pub const fn with_secret(authority: Authority<T>, client_id: T, secret: T) -> Self {
        Self { application: Application::new(authority, client_id), secret }
    }

    /// Asks for another scope than [`SCOPE`](super::SCOPE).
    #[must_use]
    pub fn with_scope(mut self, scope: T) -> Self {
        self.application.scope = Some(scope);
        self
    }

    /// Looks for what can't work, before anything is sent.
    ///
    /// # Errors
    /// [`ConfigError`] if the authority is none for client credentials or something is empty.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.application.check(Some((&self.secret, "the client secret")))
    }
}

impl<T: Text> Source for ServicePrincipal<T> {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        if !matches!(input, Input::Start(_)) {
            return Application::<T>::answered(input);
        }
        self.check()?;
        self.application.request(&[("client_secret", self.secret.as_ref())], request)
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        // Not the secret: another one is of the same identity.
        feed(b"service principal");
        self.application.identify(feed);
    }
}

impl<T: fmt::Debug> fmt::Debug for ServicePrincipal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Application { authority, client_id, scope } = &self.application;
        f.debug_struct("ServicePrincipal")
            .field("authority", authority)
            .field("client_id", client_id)
            .field("secret", &Hidden)
            .field("scope", scope)
            .finish()
    }
}
