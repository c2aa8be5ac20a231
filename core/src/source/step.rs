//! The inputs and steps of a source: plain data, with spans of lent memory instead of
//! borrows, so that sources can be composed.

use core::time::Duration;

use super::error::SourceError;
use super::io::IoFailure;
use crate::http::{
    HeaderSpans, Headers, MAX_HEADERS, Method, Request, Response, Route, TooManyHeaders,
};
use crate::secret::Secret;
use crate::span::Span;
use crate::time::{Instant, UnixTime};
use crate::token::{Token, TokenError};

/// What a host gives for one fetch. `Copy`: a chain hands it on.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Start {
    /// The deadline of the request. A later token is ignored.
    pub deadline: Instant,
    /// The wall clock, where the host has one.
    pub unix_time: Option<UnixTime>,
    /// 16 random bytes, where the host has some. A source that needs them says so as an error.
    pub nonce: Option<[u8; 16]>,
    /// The server has refused the token that there is: the next one must not come from a cache.
    pub fresh: bool,
}

impl Start {
    /// A token is wanted by `deadline`, by a host without a clock and without random bytes.
    pub const fn new(deadline: Instant) -> Self {
        Self { deadline, unix_time: None, nonce: None, fresh: false }
    }

    /// Says what the wall clock shows.
    #[must_use]
    pub const fn with_unix_time(mut self, unix_time: Option<UnixTime>) -> Self {
        self.unix_time = unix_time;
        self
    }

    /// Returns random bytes, different for each call.
    #[must_use]
    pub const fn with_nonce(mut self, nonce: Option<[u8; 16]>) -> Self {
        self.nonce = nonce;
        self
    }

    /// The same, with `nonce` if it has none.
    pub(crate) fn or_nonce(self, nonce: Option<[u8; 16]>) -> Self {
        Self { nonce: self.nonce.or(nonce), ..self }
    }

    /// Says whether the token must not come from a cache.
    #[must_use]
    pub const fn with_fresh(mut self, fresh: bool) -> Self {
        self.fresh = fresh;
        self
    }
}

/// An input of a [`Source`](super::Source).
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// A token is wanted. May come at any time, and restarts the source.
    Start(Start),
    /// The answer to [`Step::Http`].
    Response(Response<'a>),
    /// The content of the file of [`Step::ReadFile`].
    File(&'a [u8]),
    /// The signature of [`Step::Sign`].
    Signature(&'a [u8]),
    /// The last step couldn't be done.
    Failed(IoFailure),
}

/// What a [`Source`](super::Source) wants. All places are in the request memory, but for those of
/// [`Done`](Self::Done).
#[derive(Clone, Copy, Debug)]
#[must_use]
#[non_exhaustive]
pub enum Step {
    /// An HTTP exchange; then [`Input::Response`].
    Http(HttpRequest),
    /// The content of a file; then [`Input::File`].
    ReadFile {
        /// The file's path.
        path: Span,
        /// The most bytes that it may have.
        max: usize,
    },
    /// A signature; then [`Input::Signature`].
    Sign {
        /// How to sign.
        algorithm: Algorithm,
        /// With which of the host's keys: a chain may have two.
        key: u8,
        /// What to sign, before it is hashed.
        data: Span,
    },
    /// Nothing more: the last response holds a token.
    Done(TokenResponse),
}

/// How to sign (RFC 7518 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
}

/// An HTTP request, by its places in the request memory.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HttpRequest {
    /// What to do.
    pub method: Method,
    /// Where: an absolute URL, percent-encoded.
    pub url: Span,
    /// Header lines, name and value.
    pub headers: HeaderSpans,
    /// The body; empty for `GET`.
    pub body: Span,
    /// The way that it may take.
    pub route: Route,
}

impl HttpRequest {
    /// Asks for what is at `url`.
    pub const fn get(url: Span, route: Route) -> Self {
        let headers = [None; MAX_HEADERS];
        Self { method: Method::Get, url, headers, body: Span::EMPTY, route }
    }

    /// Sends `body` to `url`.
    pub const fn post(url: Span, body: Span, route: Route) -> Self {
        let headers = [None; MAX_HEADERS];
        Self { method: Method::Post, url, headers, body, route }
    }

    /// Adds a header line.
    ///
    /// # Errors
    /// [`TooManyHeaders`] behind the [`MAX_HEADERS`]th.
    #[inline]
    pub fn header(&mut self, name: &'static str, value: Span) -> Result<(), TooManyHeaders> {
        let free = self.headers.iter_mut().find(|line| line.is_none());
        *free.ok_or(TooManyHeaders)? = Some((name, value));
        Ok(())
    }

    /// The same request with its texts, for who sends it. `memory` is the request memory.
    ///
    /// # Errors
    /// [`SourceError::ORDER`] if its URL isn't in `memory`.
    pub fn read<'m>(
        &'m self,
        memory: &'m [u8],
        deadline: Instant,
    ) -> Result<Request<'m>, SourceError> {
        let Self { method, url, ref headers, body, route } = *self;
        let url = url.text(memory).ok_or(SourceError::ORDER)?;
        let headers = Headers::new(headers, memory);
        Ok(Request { method, url, headers, body: body.of(memory), route, deadline })
    }
}

/// A token that was issued, by its place in the response.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TokenResponse {
    /// Where the token is.
    pub secret: Span,
    /// Where the user is to log in as, if the response says it. Without it, the token does.
    pub user: Option<Span>,
    /// How long it lives, from when it was asked for.
    pub expires_in: Option<Duration>,
    /// When it ends.
    pub expires_on: Option<UnixTime>,
    /// When the next one should be asked for.
    pub refresh_in: Option<Duration>,
    /// The service's clock, when it answered.
    pub server_time: Option<UnixTime>,
}

impl TokenResponse {
    /// The token is at `secret`, and says itself whose it is and when it ends, unless more is known.
    pub const fn new(secret: Span) -> Self {
        Self {
            secret,
            user: None,
            expires_in: None,
            expires_on: None,
            refresh_in: None,
            server_time: None,
        }
    }

    /// The token, from the `body` of the response that it came in.
    ///
    /// # Errors
    /// [`TokenError::NotText`] if `body` is not that response's.
    pub fn token<'b>(&self, body: &'b [u8]) -> Result<Token<'b>, TokenError> {
        let text = |span: Span| span.text(body).ok_or(TokenError::NotText);
        Ok(Token {
            secret: Secret::new(text(self.secret)?),
            user: self.user.map(text).transpose()?,
            expires_in: self.expires_in,
            expires_on: self.expires_on,
            refresh_in: self.refresh_in,
            server_time: self.server_time,
        })
    }
}
