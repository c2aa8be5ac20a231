//! Where tokens come from.
//!
//! A [`Source`] is a small state machine that says what it needs next - an HTTP exchange, say - and
//! ends with a token. It does no IO, so that one description of each identity serves every host.
//! [`fetch`] drives one asynchronously, over what a host has: a [`SourceIo`]. A blocking or
//! hand-written driver is a loop over [`Source::next`]. A [`TokenSource`] is the other end: any
//! asynchronous function that yields a token, be it an [`HttpSource`], a [`StaticToken`], or code of
//! your own.
//!
//! ```
//! use redis_entraid_core::http::ResponseWriter;
//! use redis_entraid_core::source::{Input, ManagedIdentity, Selector, Source, Start, Step};
//! use redis_entraid_core::time::Instant;
//!
//! let mut source = ManagedIdentity::imds(Selector::<&str>::System);
//! let (mut memory, mut response) = ([0; 512], [0; 512]);
//!
//! let start = Start::new(Instant::FAR_FUTURE);
//! let Ok(Step::Http(http)) = source.next(Input::Start(start), &mut memory) else { unreachable!() };
//! let request = http.read(&memory, start.deadline).unwrap();
//! assert!(request.url.starts_with("http://169.254.169.254/metadata/identity/oauth2/token?"));
//!
//! // ... send it, and give back what came:
//! let mut writer = ResponseWriter::new(&mut response);
//! writer.status(200);
//! writer.body_chunk(br#"{"access_token":"eyJ.e30.x","expires_in":"86399"}"#).unwrap();
//! let input = Input::Response(writer.finish());
//! let Ok(Step::Done(token)) = source.next(input, &mut memory) else { unreachable!() };
//! assert_eq!(token.token(&response).unwrap().secret.expose(), "eyJ.e30.x");
//! ```
//!
//! A source of your own has as many steps as it needs. This one proves itself to a gateway by a
//! signature, with a key that only the host knows:
//!
//! ```
//! use redis_entraid_core::http::Route;
//! use redis_entraid_core::source::{
//!     Algorithm, ConfigError, HttpRequest, Input, RequestWriter, Source, SourceError, Span, Start, Step,
//!     TokenResponse,
//! };
//! use redis_entraid_core::time::{Instant, UnixTime};
//!
//! /// `GET /token?at=1767225600&sig=...`, whose answer is a token and nothing else.
//! struct Gateway {
//!     signed: Span,
//! }
//!
//! impl Source for Gateway {
//!     fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
//!         match input {
//!             Input::Start(start) => {
//!                 let now = start.unix_time.ok_or(ConfigError::Missing("a clock"))?;
//!                 let mut writer = RequestWriter::new(request);
//!                 writer.plain("https://gateway.local/token?at=").number(now.0);
//!                 self.signed = writer.finish()?;
//!                 let (algorithm, key) = (Algorithm::Es256, 0);
//!                 Ok(Step::Sign { algorithm, key, data: self.signed })
//!             }
//!             Input::Signature(signature) => {
//!                 // What was signed is still there.
//!                 let mut writer = RequestWriter::behind(request, self.signed);
//!                 writer.plain("&sig=").base64url(signature);
//!                 Ok(Step::Http(HttpRequest::get(writer.finish()?, Route::Internet)))
//!             }
//!             Input::Response(answer) if answer.status == 200 => {
//!                 let secret = Span { start: 0, end: answer.body.len() };
//!                 Ok(Step::Done(TokenResponse::new(secret)))
//!             }
//!             Input::Failed(why) => Err(SourceError::Io(why)),
//!             _ => Err(SourceError::NoToken),
//!         }
//!     }
//!
//!     fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
//!         feed(b"gateway.local");
//!     }
//! }
//!
//! let (mut source, mut memory) = (Gateway { signed: Span::EMPTY }, [0; 256]);
//! let start = Start::new(Instant::FAR_FUTURE).with_unix_time(Some(UnixTime(1_767_225_600)));
//! let Ok(Step::Sign { data, .. }) = source.next(Input::Start(start), &mut memory) else {
//!     unreachable!()
//! };
//! assert_eq!(data.of(&memory), b"https://gateway.local/token?at=1767225600");
//! let signature = [0xff; 6]; // ... of the host's
//! let Ok(Step::Http(http)) = source.next(Input::Signature(&signature), &mut memory) else {
//!     unreachable!()
//! };
//! let url = http.url.text(&memory);
//! assert_eq!(url, Some("https://gateway.local/token?at=1767225600&sig=________"));
//! ```

mod application;
mod authority;
mod azure_arc;
mod chain;
mod client_assertion;
mod client_certificate;
mod cloud_shell;
mod error;
mod io;
mod local_request;
mod machine_learning;
mod managed_identity;
mod response;
mod said;
mod service_fabric;
mod service_principal;
mod step;
mod workload_identity;
mod writer;

pub use authority::{Authority, Cloud};
pub use azure_arc::{AZURE_ARC_ENDPOINT, AzureArc};
pub use chain::Chain;
pub use client_assertion::ClientAssertion;
pub use client_certificate::ClientCertificate;
pub use cloud_shell::CloudShell;
use core::fmt;
pub use error::{ConfigError, ErrorKind, HttpSourceError, OAuthError, SourceError, SourceFailure};
pub use io::{HttpSource, IoError, IoFailure, SourceIo, fetch};
pub use machine_learning::MachineLearning;
pub use managed_identity::{ManagedIdentity, Selector};
pub use said::ServiceText;
pub use service_fabric::ServiceFabric;
pub use service_principal::ServicePrincipal;
pub use step::{Algorithm, HttpRequest, Input, Start, Step, TokenResponse};
pub use workload_identity::WorkloadIdentity;
pub use writer::RequestWriter;

pub use crate::span::Span;

use crate::token::Token;

/// The scope of Azure Managed Redis, the same in every cloud.
pub const SCOPE: &str = "https://redis.azure.com/.default";

/// The resource of Azure Managed Redis, as managed-identity endpoints call it.
pub const RESOURCE: &str = "https://redis.azure.com";

/// An identity as a state machine: what it needs next, until it has a token.
pub trait Source {
    /// Takes what the last step asked for, or [`Input::Start`], and returns what is next. `request`
    /// is this source's from `Start` to [`Step::Done`]: what it has written there stays.
    ///
    /// # Errors
    /// [`SourceError`] if there will be no token this time. [`ORDER`](SourceError::ORDER) if `input` is
    /// none that the last step asked for.
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError>;

    /// Feeds what says whose tokens these are, part by part: see [`TokenSource::identify`].
    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        _ = feed;
    }
}

impl<T: Source + ?Sized> Source for &mut T {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        (**self).next(input, request)
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        (**self).identify(feed);
    }
}

/// Anything that yields a token when asked.
pub trait TokenSource {
    /// Why there was none.
    type Error: SourceFailure;

    /// Gets one token, putting it into `memory` if it has no memory of its own.
    ///
    /// It is given up after the deadline of `start`.
    ///
    /// # Errors
    /// Whatever it is, [`SourceFailure::reason`] decides when it is tried again.
    ///
    /// # Cancel safety
    /// May be dropped at any await, and must then be callable again.
    async fn fetch<'b>(
        &'b mut self,
        start: &Start,
        memory: &'b mut [u8],
    ) -> Result<Token<'b>, Self::Error>;

    /// Feeds what says whose tokens these are, part by part: the kind of the source, the authority,
    /// the ids. Nothing secret, and nothing that changes from one start to the next. A
    /// snapshot of a token is only used by a source that feeds the same.
    ///
    /// A source that feeds nothing, as it is without this, has all that feed nothing for its equals.
    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        _ = feed;
    }
}

impl<T: TokenSource + ?Sized> TokenSource for &mut T {
    type Error = T::Error;

    async fn fetch<'b>(
        &'b mut self,
        start: &Start,
        memory: &'b mut [u8],
    ) -> Result<Token<'b>, Self::Error> {
        (**self).fetch(start, memory).await
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        (**self).identify(feed);
    }
}

/// A token that is there already: from provisioning, from a gateway, or for a test.
///
/// It is handed out again and again; when it ends, so does the login.
#[derive(Clone, Copy, Debug)]
pub struct StaticToken<'a>(Token<'a>);

impl<'a> StaticToken<'a> {
    /// Hands out `token`.
    pub const fn new(token: Token<'a>) -> Self {
        Self(token)
    }
}

impl TokenSource for StaticToken<'_> {
    type Error = SourceError;

    async fn fetch<'b>(
        &'b mut self,
        _start: &Start,
        _memory: &'b mut [u8],
    ) -> Result<Token<'b>, SourceError> {
        Ok(self.0)
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        // Another token is another source, and a token is as secret as a snapshot of it.
        feed(b"fixed");
        feed(self.0.user.unwrap_or_default().as_bytes());
        feed(self.0.secret.expose().as_bytes());
    }
}

/// A text in a source's configuration: borrowed on a device, owned on a host.
pub trait Text: AsRef<str> {}

impl<T: AsRef<str>> Text for T {}

/// Prints a secret text as such.
struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests;
