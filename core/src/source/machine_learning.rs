//! The managed identity of a compute of Azure Machine Learning.

use core::fmt;

use super::error::{ConfigError, SourceError};
use super::local_request::LocalRequest;
use super::response::Endpoint;
use super::{Hidden, Input, RESOURCE, Source, Step, Text};

/// The managed identity of a job or an online endpoint in Azure Machine Learning, which has the endpoint that
/// App Service had before (API version 2017-09-01).
///
/// ```
/// use redis_entraid_core::source::MachineLearning;
///
/// let endpoint = "http://localhost:46808/MSI/auth"; // MSI_ENDPOINT
/// let job = MachineLearning::new(endpoint, "my-secret"); // MSI_SECRET
/// assert!(!format!("{job:?}").contains("my-secret"));
/// ```
pub struct MachineLearning<T> {
    endpoint: T,
    secret: T,
    client_id: Option<T>,
    resource: Option<T>,
}

impl<T: Text> MachineLearning<T> {
    /// The identity whose tokens `endpoint` gives out (`MSI_ENDPOINT`), which demands `secret`
    /// (`MSI_SECRET`).
    pub const fn new(endpoint: T, secret: T) -> Self {
        Self { endpoint, secret, client_id: None, resource: None }
    }

    /// The user-assigned identity with this client id. On a compute cluster there is one that is meant if
    /// none is named: `DEFAULT_IDENTITY_CLIENT_ID`.
    #[must_use]
    pub fn with_client_id(mut self, client_id: T) -> Self {
        self.client_id = Some(client_id);
        self
    }

    /// Asks for another resource than [`RESOURCE`].
    #[must_use]
    pub fn with_resource(mut self, resource: T) -> Self {
        self.resource = Some(resource);
        self
    }

    fn check(&self) -> Result<(), ConfigError> {
        let texts = [
            (&self.endpoint, "the endpoint of Azure Machine Learning"),
            (&self.secret, "the secret of the endpoint"),
            (self.client_id.as_ref().unwrap_or(&self.secret), "the identity's id"),
        ];
        match texts.iter().find(|(text, _)| text.as_ref().is_empty()) {
            Some((_, what)) => Err(ConfigError::Empty(what)),
            None => Ok(()),
        }
    }
}

impl<T: Text> Source for MachineLearning<T> {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        if !matches!(input, Input::Start(_)) {
            return Endpoint::Local.answered(input);
        }
        self.check()?;
        let ask = LocalRequest {
            endpoint: ["", self.endpoint.as_ref()],
            api_version: "2017-09-01",
            resource: self.resource.as_ref().map(AsRef::as_ref),
            // Without the underscore that it has elsewhere.
            selector: self.client_id.as_ref().map(|id| ("clientid", id.as_ref())),
            headers: &[("secret", ["", self.secret.as_ref()])],
        };
        ask.write(request)
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        feed(b"machine learning");
        feed(self.client_id.as_ref().map_or("", AsRef::as_ref).as_bytes());
        feed(self.resource.as_ref().map_or(RESOURCE, AsRef::as_ref).as_bytes());
    }
}

impl<T: fmt::Debug> fmt::Debug for MachineLearning<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineLearning")
            .field("endpoint", &self.endpoint)
            .field("secret", &Hidden)
            .field("client_id", &self.client_id)
            .field("resource", &self.resource)
            .finish()
    }
}
