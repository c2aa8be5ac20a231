//! The identity of a person in Azure Cloud Shell.

use super::error::{ConfigError, SourceError};
use super::response::Endpoint;
use super::writer::RequestWriter;
use super::{HttpRequest, Input, RESOURCE, Source, Step, Text};
use crate::http::Route;

/// The person who is signed in to [Azure Cloud Shell](https://learn.microsoft.com/azure/cloud-shell/overview).
///
/// ```
/// use redis_entraid_core::source::{CloudShell, Input, Source, Start, Step};
/// use redis_entraid_core::time::Instant;
///
/// let mut person = CloudShell::new("http://localhost:50342/oauth2/token"); // MSI_ENDPOINT
/// let (start, mut memory) = (Input::Start(Start::new(Instant::FAR_FUTURE)), [0; 256]);
/// let Ok(Step::Http(http)) = person.next(start, &mut memory) else { unreachable!() };
/// assert_eq!(http.body.of(&memory), b"resource=https%3A%2F%2Fredis.azure.com");
/// ```
#[derive(Debug)]
pub struct CloudShell<T> {
    endpoint: T,
    resource: Option<T>,
}

impl<T: Text> CloudShell<T> {
    /// The person whose tokens `endpoint` gives out, which is in `MSI_ENDPOINT`.
    pub const fn new(endpoint: T) -> Self {
        Self { endpoint, resource: None }
    }

    /// Asks for another resource than [`RESOURCE`].
    #[must_use]
    pub fn with_resource(mut self, resource: T) -> Self {
        self.resource = Some(resource);
        self
    }

    fn resource(&self) -> &str {
        self.resource.as_ref().map_or(RESOURCE, AsRef::as_ref)
    }
}

impl<T: Text> Source for CloudShell<T> {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        if !matches!(input, Input::Start(_)) {
            return Endpoint::Local.answered(input);
        }
        if self.endpoint.as_ref().is_empty() {
            return Err(ConfigError::Empty("the endpoint of Cloud Shell").into());
        }
        let mut writer = RequestWriter::new(request);
        writer.plain(self.endpoint.as_ref());
        let url = writer.part();
        writer.field("", "resource", self.resource());
        let mut request = HttpRequest::post(url, writer.part(), Route::LinkLocal);
        for (name, value) in
            [("Metadata", "true"), ("Content-Type", "application/x-www-form-urlencoded")]
        {
            writer.plain(value);
            request.header(name, writer.part())?;
        }
        writer.finish()?;
        Ok(Step::Http(request))
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        feed(b"cloud shell");
        feed(self.resource().as_bytes());
    }
}
