//! Where tokens come from.
//!
//! A [`Source`] is a small state machine that says what it needs next - an HTTP exchange, say -
//! and ends with a token. It does no IO, so that one description of each identity serves every
//! host. [`fetch`] drives one asynchronously; a blocking or hand-written driver is a loop over
//! [`Source::next`]. A [`TokenSource`] is the other end: any asynchronous function that yields a
//! token, be it a driven [`Source`], a [`Fixed`] one, or code of your own.
//!
//! ```
//! use redis_entraid_core::http::ResponseWriter;
//! use redis_entraid_core::source::{Input, ManagedIdentity, Selector, Source, Step};
//! use redis_entraid_core::time::Instant;
//!
//! let mut source = ManagedIdentity::imds(Selector::<&str>::System);
//! let (mut request, mut response) = ([0; 512], [0; 512]);
//!
//! let start = Input::Start { deadline: Instant::FAR_FUTURE };
//! let Step::Http(http) = source.next(start, &mut request).unwrap() else { unreachable!() };
//! assert!(http.url.starts_with("http://169.254.169.254/metadata/identity/oauth2/token?"));
//!
//! // ... send it, and give back what came:
//! let mut writer = ResponseWriter::new(&mut response);
//! writer.status(200);
//! writer.body_chunk(br#"{"access_token":"eyJ.e30.x","expires_in":"86399"}"#).unwrap();
//! let input = Input::Response(writer.finish());
//! let Step::Done(issued) = source.next(input, &mut request).unwrap() else { unreachable!() };
//! assert_eq!(issued.token(&response).unwrap().secret.expose(), "eyJ.e30.x");
//! ```

mod authority;
mod error;
mod managed_identity;
mod response;
mod said;
mod service_principal;
mod writer;

use core::fmt;
use core::time::Duration;

pub use authority::{Authority, Cloud};
pub use error::{ConfigError, DrivenError, ErrorKind, OAuthError, SourceError, SourceFailure};
pub use managed_identity::{ManagedIdentity, Selector};
pub use said::ServiceText;
pub use service_principal::ServicePrincipal;

use crate::http::{HttpClient, Request, Response, ResponseWriter};
use crate::json::Span;
use crate::secret::{Secret, Wiped};
use crate::storage::Storage;
use crate::time::{Instant, UnixTime};
use crate::token::{Token, TokenError};

/// The scope of Azure Managed Redis, the same in every cloud.
pub const SCOPE: &str = "https://redis.azure.com/.default";

/// The resource of Azure Managed Redis, as managed-identity endpoints call it.
pub const RESOURCE: &str = "https://redis.azure.com";

/// An identity as a state machine: what it needs next, until it has a token.
pub trait Source {
    /// Takes what the last step asked for, or [`Input::Start`], and says what is next. A request
    /// is written to `out`. `Start` may come at any time and begins anew.
    ///
    /// # Errors
    /// [`SourceError`] if there will be no token this time.
    fn next<'q>(&mut self, input: Input<'_>, out: &'q mut [u8]) -> Result<Step<'q>, SourceError>;

    /// Feeds what says whose tokens these are, part by part: see [`TokenSource::identify`].
    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        _ = feed;
    }
}

/// What a [`Source`] is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// A token is wanted.
    Start {
        /// By when.
        deadline: Instant,
    },
    /// The answer to the request of the last step.
    Response(Response<'a>),
}

/// What a [`Source`] wants.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'q> {
    /// An HTTP exchange; then [`Input::Response`].
    Http(Request<'q>),
    /// Nothing more: the last response holds a token.
    Done(Issued),
}

/// A token that was issued, by its place in the response.
#[derive(Clone, Copy, Debug)]
pub struct Issued {
    secret: Span,
    expires_in: Option<Duration>,
    expires_on: Option<UnixTime>,
    refresh_in: Option<Duration>,
    server_time: Option<UnixTime>,
}

impl Issued {
    /// The token, from the `body` of the response that it came in.
    ///
    /// # Errors
    /// [`TokenError::NotText`] if `body` is not that response's.
    pub fn token<'b>(&self, body: &'b [u8]) -> Result<Token<'b>, TokenError> {
        let text = core::str::from_utf8(self.secret.of(body)).map_err(|_| TokenError::NotText)?;
        Ok(Token {
            secret: Secret::new(text),
            user: None,
            expires_in: self.expires_in,
            expires_on: self.expires_on,
            refresh_in: self.refresh_in,
            server_time: self.server_time,
        })
    }
}

/// Gets a token from `source` over `http`: the driver for asynchronous hosts.
///
/// `request` and `response` are its memory. The token lies in `response`; wipe both when it is
/// stored.
///
/// # Errors
/// [`DrivenError`] if there is no token this time.
///
/// # Cancel safety
/// May be dropped at any await, and called again.
pub async fn fetch<'b, S: Source, H: HttpClient>(
    source: &mut S,
    http: &mut H,
    deadline: Instant,
    request: &mut [u8],
    response: &'b mut [u8],
) -> Result<Token<'b>, DrivenError<H::Error>> {
    let mut step = source.next(Input::Start { deadline }, request)?;
    loop {
        step = match step {
            Step::Http(http_request) => {
                let mut writer = ResponseWriter::new(response);
                match http.send(&http_request, &mut writer).await {
                    // What the head says holds, even if the body is too large, or broke off.
                    Err(error) if !writer.is_refusal() => return Err(DrivenError::Http(error)),
                    _ => {}
                }
                let answer = writer.finish();
                let len = answer.body.len();
                match source.next(Input::Response(answer), request) {
                    Ok(step) => step,
                    Err(reason) => {
                        let text = ServiceText::of(response.get(..len).unwrap_or_default());
                        return Err(DrivenError::Refused { reason, text });
                    }
                }
            }
            Step::Done(issued) => return Ok(issued.token(response).map_err(SourceError::Token)?),
        }
    }
}

/// Anything that yields a token when asked.
pub trait TokenSource {
    /// Why there was none.
    type Error: SourceFailure;

    /// Gets one token, putting it into `memory` if it has no memory of its own.
    ///
    /// It is given up after `deadline`.
    ///
    /// # Errors
    /// Whatever it is, [`SourceFailure::reason`] decides when it is tried again.
    ///
    /// # Cancel safety
    /// May be dropped at any await, and must then be callable again.
    async fn fetch<'b>(
        &'b mut self,
        deadline: Instant,
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
        deadline: Instant,
        memory: &'b mut [u8],
    ) -> Result<Token<'b>, Self::Error> {
        (**self).fetch(deadline, memory).await
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        (**self).identify(feed);
    }
}

/// A [`Source`] with an HTTP client to drive it: a [`TokenSource`].
#[derive(Debug)]
pub struct Driven<S, H, M: Storage<u8>> {
    source: S,
    http: H,
    request: M,
}

impl<S: Source, H: HttpClient, M: Storage<u8>> Driven<S, H, M> {
    /// Drives `source` over `http`. Requests are written to `request`: a few hundred bytes, and
    /// three times the length of the secret.
    pub const fn new(source: S, http: H, request: M) -> Self {
        Self { source, http, request }
    }
}

impl<S: Source, H: HttpClient, M: Storage<u8>> TokenSource for Driven<S, H, M> {
    type Error = DrivenError<H::Error>;

    async fn fetch<'b>(
        &'b mut self,
        deadline: Instant,
        memory: &'b mut [u8],
    ) -> Result<Token<'b>, Self::Error> {
        let request = Wiped(self.request.room_mut());
        fetch(&mut self.source, &mut self.http, deadline, request.0, memory).await
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        self.source.identify(feed);
    }
}

/// A token that is there already: from provisioning, from a gateway, or for a test.
///
/// It is handed out again and again; when it ends, so does the login.
#[derive(Clone, Copy, Debug)]
pub struct Fixed<'a>(Token<'a>);

impl<'a> Fixed<'a> {
    /// Hands out `token`.
    pub const fn new(token: Token<'a>) -> Self {
        Self(token)
    }
}

impl TokenSource for Fixed<'_> {
    type Error = SourceError;

    async fn fetch<'b>(
        &'b mut self,
        _deadline: Instant,
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
