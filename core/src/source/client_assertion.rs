//! An application that proves itself by a statement of another issuer.

use core::fmt;

use super::application::{Application, JWT_BEARER, jwt};
use super::authority::Authority;
use super::error::{ConfigError, ErrorKind, SourceError};
use super::{Hidden, Input, Source, Step, Text};

/// An application, or a user-assigned managed identity, that proves itself to Entra with the token of another
/// issuer that it [trusts](https://learn.microsoft.com/entra/workload-id/workload-identity-federation): of
/// GitHub Actions, SPIFFE, or another cloud. It is good for a few minutes: [set](Self::set_assertion) another one for each fetch.
/// Where the token is in a file, [`WorkloadIdentity`](super::WorkloadIdentity) reads it. The request memory must have
/// room for it and for 512 bytes more.
///
/// ```
/// use redis_entraid_core::source::{Authority, ClientAssertion};
///
/// let tenant = Authority::tenant("72f988bf-86f1-41af-91ab-2d7cd011db47");
/// let source = ClientAssertion::new(tenant, "my-client-id", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln");
/// assert!(!format!("{source:?}").contains("eyJ"));
/// ```
pub struct ClientAssertion<T> {
    application: Application<T>,
    assertion: T,
}

const NO_JWT: SourceError = SourceError::Other {
    kind: ErrorKind::Configuration,
    what: "the assertion is no JWT: three parts in base64url with dots between",
};

impl<T: Text> ClientAssertion<T> {
    /// The application `client_id` with a JWT whose audience is `api://AzureADTokenExchange`.
    pub const fn new(authority: Authority<T>, client_id: T, assertion: T) -> Self {
        Self { application: Application::new(authority, client_id), assertion }
    }

    /// Proves itself by this JWT from now on.
    pub fn set_assertion(&mut self, assertion: T) {
        self.assertion = assertion;
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
        self.application.check(Some((&self.assertion, "the assertion")))
    }
}

impl<T: Text> Source for ClientAssertion<T> {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        if !matches!(input, Input::Start(_)) {
            return Application::<T>::answered(input);
        }
        self.check()?;
        let assertion = jwt(self.assertion.as_ref().as_bytes()).ok_or(NO_JWT)?;
        let proof = [("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)];
        self.application.request(&proof, request)
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        // Not the assertion, which is another one each time.
        feed(b"client assertion");
        self.application.identify(feed);
    }
}

impl<T: fmt::Debug> fmt::Debug for ClientAssertion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Application { authority, client_id, scope } = &self.application;
        f.debug_struct("ClientAssertion")
            .field("authority", authority)
            .field("client_id", client_id)
            .field("assertion", &Hidden)
            .field("scope", scope)
            .finish()
    }
}
