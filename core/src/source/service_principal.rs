//! A service principal: an application that proves itself by client credentials (RFC 6749 section 4.4),
//! with a secret or with a token of another issuer.

use core::fmt;

use super::authority::Authority;
use super::error::{ConfigError, SourceError};
use super::response::Endpoint;
use super::writer::RequestWriter;
use super::{ErrorKind, Hidden, HttpRequest, Input, IoFailure, SCOPE, Source, Step, Text};
use crate::http::Route;

/// An application that proves itself to Entra with a client secret, or with a federated token.
///
/// `T` is a `&str` on a device and a `String` on a host, or a wiped one. Wire: Microsoft's
/// [client credentials flow](https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).
///
/// A federated token is one of another issuer that Entra trusts for this application: on AKS, the
/// service account's
/// ([workload identity](https://learn.microsoft.com/azure/aks/workload-identity-overview)). It lies in a
/// file, which is read for each request, since it is replaced there. The response memory must have room
/// for it, and the request memory for 512 bytes more: those of AKS have about 1,300.
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
    proof: Proof<T>,
    scope: Option<T>,
}

/// What the application proves itself with.
enum Proof<T> {
    Secret(T),
    /// The path of the file with the federated token.
    FederatedToken(T),
}

/// Longer is no federated token. Those of AKS have about 1,300 bytes.
const MAX_FEDERATED_TOKEN: usize = 16 << 10;

/// What the type of an assertion is called (RFC 7523 section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl<T: Text> ServicePrincipal<T> {
    /// The application `client_id` with its client secret.
    pub const fn with_secret(authority: Authority<T>, client_id: T, secret: T) -> Self {
        Self { authority, client_id, proof: Proof::Secret(secret), scope: None }
    }

    /// The application, or the user-assigned managed identity, `client_id` with the federated token in
    /// the file at `path`, which the host must be able to read.
    pub const fn with_federated_token_file(authority: Authority<T>, client_id: T, path: T) -> Self {
        Self { authority, client_id, proof: Proof::FederatedToken(path), scope: None }
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
        let proof = match &self.proof {
            Proof::Secret(secret) => (secret, "the client secret"),
            Proof::FederatedToken(path) => (path, "the path of the federated token"),
        };
        for (value, what) in [(&self.client_id, "the client id"), proof] {
            if value.as_ref().is_empty() {
                return Err(ConfigError::Empty(what));
            }
        }
        Ok(())
    }
}

/// A file that is being replaced may be missing or empty for a moment.
const NO_FILE: SourceError = SourceError::Other {
    kind: ErrorKind::Replication,
    what: "the federated token file was not found",
};

const NO_FEDERATED_TOKEN: SourceError = SourceError::Other {
    kind: ErrorKind::Replication,
    what: "the federated token file contains no JWT",
};

/// Not [`IoFailure::Connect`], for which a [`Chain`](super::Chain) tries another identity: Entra is
/// there for every host.
const UNREACHABLE: SourceError = SourceError::Other {
    kind: ErrorKind::Transient,
    what: "can't connect to Entra: check DNS, routes and firewalls (login.microsoftonline.com:443)",
};

/// The JWT that is all of a file, if it is one: nothing else is sent to Entra.
fn jwt(file: &[u8]) -> Option<&str> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let token = core::str::from_utf8(file.trim_ascii()).ok()?;
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    (token.split('.').count() == 3 && token.split('.').all(part)).then_some(token)
}

impl<T: Text> Source for ServicePrincipal<T> {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        let proof = match (input, &self.proof) {
            (Input::Start(_), Proof::Secret(secret)) => ["", "client_secret", secret.as_ref()],
            (Input::Start(_), Proof::FederatedToken(path)) => {
                self.check()?;
                let mut writer = RequestWriter::new(request);
                writer.plain(path.as_ref());
                return Ok(Step::ReadFile { path: writer.finish()?, max: MAX_FEDERATED_TOKEN });
            }
            (Input::File(token), Proof::FederatedToken(_)) => {
                [JWT_BEARER, "client_assertion", jwt(token).ok_or(NO_FEDERATED_TOKEN)?]
            }
            // The path is configured: in a chain, no other identity takes its place.
            (Input::Failed(IoFailure::NotFound), Proof::FederatedToken(_)) => return Err(NO_FILE),
            (Input::Failed(IoFailure::Connect), _) => return Err(UNREACHABLE),
            (input, _) => return Endpoint::Entra.answered(input),
        };
        self.check()?;
        let [assertion_type, name, proof] = proof;
        let mut writer = RequestWriter::new(request);
        self.authority.token_endpoint(&mut writer);
        let url = writer.part();
        writer
            .field("", "client_id", self.client_id.as_ref())
            .field("&", "grant_type", "client_credentials")
            .field("&", name, proof)
            .field("&", "scope", self.scope.as_ref().map_or(SCOPE, |scope| scope.as_ref()));
        if !assertion_type.is_empty() {
            writer.field("&", "client_assertion_type", assertion_type);
        }
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

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        // Not the proof: another one is of the same identity.
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
            .field("proof", &Hidden)
            .field("scope", &self.scope)
            .finish()
    }
}
