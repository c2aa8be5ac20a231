//! The managed identity of an application on Service Fabric.

use core::fmt;

use super::authority::behind_https;
use super::error::{ConfigError, ErrorKind, SourceError};
use super::local_request::LocalRequest;
use super::response::Endpoint;
use super::{Hidden, Input, IoFailure, RESOURCE, Source, Step, Text};

/// The identity that the manifest of an application on
/// [Service Fabric](https://learn.microsoft.com/azure/service-fabric/how-to-managed-identity-service-fabric-app-code)
/// gives to it. The manifest alone selects it.
///
/// The endpoint has a certificate that nobody has signed: a host must accept it by its thumbprint
/// (`IDENTITY_SERVER_THUMBPRINT`), and no other one.
///
/// ```
/// use redis_entraid_core::source::ServiceFabric;
///
/// let endpoint = "https://localhost:2377/metadata/identity/oauth2/token"; // IDENTITY_ENDPOINT
/// let application = ServiceFabric::new(endpoint, "my-secret"); // IDENTITY_HEADER
/// assert!(!format!("{application:?}").contains("my-secret"));
/// ```
pub struct ServiceFabric<T> {
    endpoint: T,
    secret: T,
    resource: Option<T>,
}

/// The node may have been replaced, and the variable not read again.
const OTHER_CERTIFICATE: SourceError = SourceError::Other {
    kind: ErrorKind::Configuration,
    what: "the endpoint of Service Fabric shows another certificate than the one whose thumbprint is in \
        IDENTITY_SERVER_THUMBPRINT: restart the application, whose variables are set at its start",
};

impl<T: Text> ServiceFabric<T> {
    /// The identity whose tokens `endpoint` gives out (`IDENTITY_ENDPOINT`), which demands `secret`
    /// (`IDENTITY_HEADER`).
    pub const fn new(endpoint: T, secret: T) -> Self {
        Self { endpoint, secret, resource: None }
    }

    /// Asks for another resource than [`RESOURCE`].
    #[must_use]
    pub fn with_resource(mut self, resource: T) -> Self {
        self.resource = Some(resource);
        self
    }
}

impl<T: Text> Source for ServiceFabric<T> {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        match input {
            Input::Start(_) => {}
            Input::Failed(IoFailure::Tls) => return Err(OTHER_CERTIFICATE),
            input => return Endpoint::Local.answered(input),
        }
        // The secret must not go out in clear.
        let endpoint = self.endpoint.as_ref();
        if behind_https(endpoint).is_none() {
            return Err(ConfigError::NotHttps("the endpoint of Service Fabric").into());
        }
        if self.secret.as_ref().is_empty() {
            return Err(ConfigError::Empty("the secret of the endpoint").into());
        }
        let ask = LocalRequest {
            endpoint: ["", endpoint],
            api_version: "2019-07-01-preview",
            resource: self.resource.as_ref().map(AsRef::as_ref),
            selector: None,
            headers: &[("Secret", ["", self.secret.as_ref()])],
        };
        ask.write(request)
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        feed(b"service fabric");
        feed(self.resource.as_ref().map_or(RESOURCE, AsRef::as_ref).as_bytes());
    }
}

impl<T: fmt::Debug> fmt::Debug for ServiceFabric<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceFabric")
            .field("endpoint", &self.endpoint)
            .field("secret", &Hidden)
            .field("resource", &self.resource)
            .finish()
    }
}
