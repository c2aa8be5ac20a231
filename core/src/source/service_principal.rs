//! A service principal: an application with a secret, by client credentials (RFC 6749 section 4.4).

use core::fmt;

use super::authority::Authority;
use super::error::{ConfigError, SourceError};
use super::response::Endpoint;
use super::writer::RequestWriter;
use super::{ErrorKind, Hidden, HttpRequest, Input, IoFailure, SCOPE, Source, Step, Text};
use crate::http::Route;

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
    authority: Authority<T>,
    client_id: T,
    secret: T,
    scope: Option<T>,
}

impl<T: Text> ServicePrincipal<T> {
    /// The application `client_id` with its client secret.
    pub const fn with_secret(authority: Authority<T>, client_id: T, secret: T) -> Self {
        Self { authority, client_id, secret, scope: None }
    }

    /// Asks for another scope than [`SCOPE`].
    #[must_use]
    pub fn with_scope(mut self, scope: T) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Looks for what can't work, before anything is sent.
    ///
    /// # Errors
    /// [`ConfigError`] if the authority is none for client credentials or something is empty.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.authority.check()?;
        for (value, what) in
            [(&self.client_id, "the client id"), (&self.secret, "the client secret")]
        {
            if value.as_ref().is_empty() {
                return Err(ConfigError::Empty(what));
            }
        }
        Ok(())
    }
}

/// Not [`IoFailure::Connect`], for which a [`Chain`](super::Chain) tries another identity: Entra is
/// there for every host.
pub(super) const UNREACHABLE: SourceError = SourceError::Other {
    kind: ErrorKind::Transient,
    what: "can't connect to Entra: check DNS, routes and firewalls \
        (login.microsoftonline.com:443)",
};

/// The request for a token by client credentials, with `proof`: form fields, names and values in turn.
pub(super) fn client_credentials<T: Text>(
    authority: &Authority<T>,
    client_id: &T,
    proof: &[(&str, &str)],
    scope: Option<&T>,
    request: &mut [u8],
) -> Result<Step, SourceError> {
    let mut writer = RequestWriter::new(request);
    authority.token_endpoint(&mut writer);
    let url = writer.part();
    writer.field("", "client_id", client_id.as_ref()).field(
        "&",
        "grant_type",
        "client_credentials",
    );
    for (name, value) in proof {
        writer.field("&", name, value);
    }
    writer.field("&", "scope", scope.map_or(SCOPE, |scope| scope.as_ref()));
    let body = writer.part();
    writer.plain("application/x-www-form-urlencoded");
    let form = writer.part();
    writer.plain("application/json");
    let json = writer.finish()?;
    let mut request = HttpRequest::post(url, body, Route::Internet);
    request.header("Content-Type", form)?;
    request.header("Accept", json)?;
    Ok(Step::Http(request))
}

impl<T: Text> Source for ServicePrincipal<T> {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        let Self { authority, client_id, secret, scope } = &*self;
        match input {
            Input::Start(_) => {}
            Input::Failed(IoFailure::Connect) => return Err(UNREACHABLE),
            input => return Endpoint::Entra.answered(input),
        }
        self.check()?;
        let proof = [("client_secret", secret.as_ref())];
        client_credentials(authority, client_id, &proof, scope.as_ref(), request)
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        // Not the secret: another one is of the same identity.
        feed(b"service principal");
        self.authority.identify(feed);
        feed(self.client_id.as_ref().as_bytes());
        feed(self.scope.as_ref().map_or(SCOPE, |scope| scope.as_ref()).as_bytes());
    }
}

impl<T: fmt::Debug> fmt::Debug for ServicePrincipal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServicePrincipal")
            .field("authority", &self.authority)
            .field("client_id", &self.client_id)
            .field("secret", &Hidden)
            .field("scope", &self.scope)
            .finish()
    }
}
