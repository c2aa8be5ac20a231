//! An application in Entra, which gets tokens by client credentials (RFC 6749 section 4.4).

use super::authority::Authority;
use super::error::{ConfigError, ErrorKind, SourceError};
use super::response::Endpoint;
use super::writer::RequestWriter;
use super::{HttpRequest, Input, IoFailure, SCOPE, Span, Step, Text};
use crate::http::Route;

/// Which application, and for what. Its source has the proof.
#[derive(Debug)]
pub(super) struct Application<T> {
    pub(super) authority: Authority<T>,
    pub(super) client_id: T,
    pub(super) scope: Option<T>,
}

/// The type of an assertion (RFC 7523 section 2.2).
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Not [`IoFailure::Connect`], for which a [`Chain`](super::Chain) tries another identity: Entra is
/// there for every host.
const UNREACHABLE: SourceError = SourceError::Other {
    kind: ErrorKind::Transient,
    what: "can't connect to Entra: check DNS, routes and firewalls \
        (login.microsoftonline.com:443)",
};

impl<T: Text> Application<T> {
    pub(super) const fn new(authority: Authority<T>, client_id: T) -> Self {
        Self { authority, client_id, scope: None }
    }

    /// Looks for what can't work; `proof` is another value that must not be empty, and its name.
    pub(super) fn check(&self, proof: Option<(&T, &'static str)>) -> Result<(), ConfigError> {
        self.authority.check()?;
        let scope = self.scope.as_ref().map(|scope| (scope, "the scope"));
        let values = [Some((&self.client_id, "the client id")), proof, scope];
        match values.iter().flatten().find(|(value, _)| value.as_ref().is_empty()) {
            Some((_, what)) => Err(ConfigError::Empty(what)),
            None => Ok(()),
        }
    }

    /// The request for a token, with the names and values of the form fields of a `proof`.
    pub(super) fn request(
        &self,
        proof: &[(&str, &str)],
        request: &mut [u8],
    ) -> Result<Step, SourceError> {
        let mut writer = RequestWriter::new(request);
        self.authority.token_endpoint(&mut writer);
        let url = writer.part();
        self.begin_form(&mut writer);
        for (name, value) in proof {
            writer.field("&", name, value);
        }
        self.end_form(writer, url, Route::Internet)
    }

    /// Writes what stands before the proof in the form.
    pub(super) fn begin_form(&self, writer: &mut RequestWriter<'_>) {
        writer.field("", "client_id", self.client_id.as_ref());
        writer.field("&", "grant_type", "client_credentials");
    }

    /// Writes what stands behind it, and makes it a request for the token endpoint at `url`.
    pub(super) fn end_form(
        &self,
        mut writer: RequestWriter<'_>,
        url: Span,
        route: Route,
    ) -> Result<Step, SourceError> {
        writer.field("&", "scope", self.scope());
        let body = writer.part();
        writer.plain("application/x-www-form-urlencoded");
        let form = writer.part();
        writer.plain("application/json");
        let json = writer.finish()?;
        let mut request = HttpRequest::post(url, body, route);
        request.header("Content-Type", form)?;
        request.header("Accept", json)?;
        Ok(Step::Http(request))
    }

    /// The outcome of that request.
    pub(super) fn answered(input: Input<'_>) -> Result<Step, SourceError> {
        match input {
            Input::Failed(IoFailure::Connect) => Err(UNREACHABLE),
            input => Endpoint::Entra.answered(input),
        }
    }

    pub(super) fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        self.authority.identify(feed);
        feed(self.client_id.as_ref().as_bytes());
        feed(self.scope().as_bytes());
    }

    fn scope(&self) -> &str {
        self.scope.as_ref().map_or(SCOPE, |scope| scope.as_ref())
    }
}

/// The JWT that is all of `text`, if it is one: nothing else is sent to Entra.
pub(super) fn jwt(text: &[u8]) -> Option<&str> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let token = core::str::from_utf8(text.trim_ascii()).ok()?;
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    (token.split('.').count() == 3 && token.split('.').all(part)).then_some(token)
}
