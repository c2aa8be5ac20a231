//! An application that proves itself by the key of a certificate.

use super::application::{Application, JWT_BEARER};
use super::authority::Authority;
use super::error::{ConfigError, ErrorKind, SourceError};
use super::step::Start;
use super::writer::RequestWriter;
use super::{Algorithm, Input, IoFailure, Source, Span, Step, Text};
use crate::http::Route;

/// An application that proves itself to Entra with a
/// [certificate](https://learn.microsoft.com/entra/identity-platform/certificate-credentials): it signs a
/// statement of ten minutes with the certificate's RSA key.
///
/// The host signs ([`Step::Sign`]), so that the key may be in a TPM or a secure element. It must know the time
/// and have random bytes. The request memory needs 1,800 bytes and the length of the client id and of the
/// authority, twice each.
///
/// ```
/// use redis_entraid_core::source::{
///     Algorithm, Authority, ClientCertificate, Input, Source, Start, Step,
/// };
/// use redis_entraid_core::time::{Instant, UnixTime};
///
/// let tenant = Authority::tenant("72f988bf-86f1-41af-91ab-2d7cd011db47");
/// let sha256_of_the_certificate = [0x5e; 32]; // of its DER form
/// let mut source = ClientCertificate::new(tenant, "my-client-id", sha256_of_the_certificate);
///
/// let start = Start::new(Instant::FAR_FUTURE)
///     .with_unix_time(Some(UnixTime(1_767_225_600)))
///     .with_nonce(Some([7; 16]));
/// let mut memory = [0; 2048];
/// let Ok(Step::Sign { algorithm, data, .. }) = source.next(Input::Start(start), &mut memory) else {
///     unreachable!()
/// };
/// assert_eq!(algorithm, Algorithm::Ps256);
/// assert!(data.of(&memory).starts_with(b"eyJ"));
/// let signature = [0; 256]; // ... of the host's
/// assert!(matches!(source.next(Input::Signature(&signature), &mut memory), Ok(Step::Http(_))));
/// ```
#[derive(Debug)]
pub struct ClientCertificate<T> {
    application: Application<T>,
    thumbprint: [u8; 32],
    key: u8,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The request's URL, and its body up to what is being signed.
    Signing {
        url: Span,
        body: Span,
    },
    Asked,
}

/// How long a statement is good for: the longest that Entra takes.
const LIFE: u64 = 600;

/// It may not be set yet.
const NO_CLOCK: SourceError = SourceError::Other {
    kind: ErrorKind::Clock,
    what: "a client certificate needs the wall clock, and this host doesn't know the time",
};

const NO_KEY: SourceError = SourceError::Other {
    kind: ErrorKind::Configuration,
    what: "the private key of the client certificate was not found",
};

impl<T: Text> ClientCertificate<T> {
    /// The application `client_id` with the certificate whose DER form has the SHA-256 `thumbprint`.
    pub const fn new(authority: Authority<T>, client_id: T, thumbprint: [u8; 32]) -> Self {
        let application = Application::new(authority, client_id);
        Self { application, thumbprint, key: 0, state: State::Asked }
    }

    /// Signs with the host's key of this number instead of 0.
    #[must_use]
    pub const fn with_key(mut self, key: u8) -> Self {
        self.key = key;
        self
    }

    /// Takes the certificate with this thumbprint from now on: the old one was replaced.
    pub const fn set_thumbprint(&mut self, thumbprint: [u8; 32]) {
        self.thumbprint = thumbprint;
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
    /// [`ConfigError`] if the authority is none for client credentials or the client id is empty.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.application.check(None)
    }

    /// Writes the statement, header and claims (RFC 7519 section 7.1), behind the beginning of the request.
    fn statement(&mut self, start: &Start, request: &mut [u8]) -> Result<Step, SourceError> {
        self.check()?;
        let now = start.unix_time.ok_or(NO_CLOCK)?.0;
        let nonce = start.nonce.ok_or(ConfigError::Missing("random bytes"))?;
        let Application { authority, client_id, .. } = &self.application;
        let client_id = client_id.as_ref();
        let mut writer = RequestWriter::new(request);
        authority.token_endpoint(&mut writer);
        let url = writer.part();
        self.application.begin_form(&mut writer);
        writer.field("&", "client_assertion_type", JWT_BEARER).plain("&client_assertion=");
        let signed = writer.len();
        writer.plain(r#"{"alg":"PS256","typ":"JWT","x5t#S256":""#);
        writer.base64url(&self.thumbprint).plain("\"}");
        writer.base64url_from(signed);
        writer.plain(".");
        let claims = writer.len();
        writer.plain(r#"{"aud":""#);
        authority.token_endpoint(&mut writer);
        writer.plain(r#"","iss":""#).json_text(client_id);
        writer.plain(r#"","sub":""#).json_text(client_id);
        writer.plain(r#"","jti":""#).base64url(&nonce);
        writer.plain(r#"","nbf":"#).number(now).plain(r#","iat":"#).number(now);
        writer.plain(r#","exp":"#).number(now.saturating_add(LIFE)).plain("}");
        writer.base64url_from(claims);
        let body = writer.finish()?;
        self.state = State::Signing { url, body };
        let data = Span { start: signed, end: body.end };
        Ok(Step::Sign { algorithm: Algorithm::Ps256, key: self.key, data })
    }
}

impl<T: Text> Source for ClientCertificate<T> {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        match (self.state, input) {
            (_, Input::Start(start)) => self.statement(&start, request),
            (State::Signing { url, body }, Input::Signature(signature)) => {
                self.state = State::Asked;
                let mut writer = RequestWriter::behind(request, body);
                writer.plain(".").base64url(signature);
                self.application.end_form(writer, url, Route::Internet)
            }
            // A key is configured: in a chain, no other identity takes its place.
            (State::Signing { .. }, Input::Failed(IoFailure::NotFound)) => Err(NO_KEY),
            (State::Signing { .. }, Input::Failed(why)) => Err(SourceError::Io(why)),
            (State::Signing { .. }, _) => Err(SourceError::ORDER),
            (State::Asked, input) => Application::<T>::answered(input),
        }
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        // Not the certificate: another one is of the same identity.
        feed(b"client certificate");
        self.application.identify(feed);
    }
}
