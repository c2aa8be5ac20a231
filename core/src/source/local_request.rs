//! What the managed-identity endpoints of this machine are asked.

use super::error::SourceError;
use super::writer::RequestWriter;
use super::{HttpRequest, RESOURCE, Step};
use crate::http::Route;

/// A `GET` for a token, as Azure Arc, Azure Machine Learning and Service Fabric have it.
pub(super) struct LocalRequest<'a> {
    pub(super) endpoint: &'a str,
    pub(super) api_version: &'a str,
    pub(super) resource: Option<&'a str>,
    /// Names the identity: the name of the field, and an id.
    pub(super) selector: Option<(&'a str, &'a str)>,
    /// Header lines: the name, and the value in two parts.
    pub(super) headers: &'a [(&'static str, [&'a str; 2])],
}

impl LocalRequest<'_> {
    pub(super) fn write(&self, request: &mut [u8]) -> Result<Step, SourceError> {
        let mut writer = RequestWriter::new(request);
        let joint = if self.endpoint.contains('?') { "&" } else { "?" };
        writer.plain(self.endpoint).field(joint, "api-version", self.api_version);
        writer.field("&", "resource", self.resource.unwrap_or(RESOURCE));
        if let Some((name, id)) = self.selector {
            writer.field("&", name, id);
        }
        let mut request = HttpRequest::get(writer.part(), Route::LinkLocal);
        for (name, [scheme, value]) in self.headers {
            writer.plain(scheme).plain(value);
            request.header(name, writer.part())?;
        }
        writer.finish()?;
        Ok(Step::Http(request))
    }
}
