//! What the managed-identity endpoints of this machine are asked.

use super::error::SourceError;
use super::writer::RequestWriter;
use super::{HttpRequest, RESOURCE, Step};
use crate::http::Route;

/// A `GET` for a token.
pub(super) struct LocalRequest<'a> {
    /// In two parts.
    pub(super) endpoint: [&'a str; 2],
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
        let [base, rest] = self.endpoint;
        let joint = if rest.bytes().any(|byte| byte == b'?') { "&" } else { "?" };
        writer.plain(base).plain(rest).field(joint, "api-version", self.api_version);
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
