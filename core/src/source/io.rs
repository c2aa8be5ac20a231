//! What a source needs of its host, and what drives it.

use core::fmt;

use super::error::{HttpSourceError, SourceError};
use super::said::ServiceText;
use super::step::{Algorithm, Input, Start, Step};
use super::{Source, TokenSource};
use crate::http::{Request, ResponseWriter};
use crate::secret::Wiped;
use crate::storage::{CapacityError, Storage};
use crate::token::Token;

/// What a host does for a source: HTTP, and files and signatures where it has them.
///
/// An implementation promises: an `https` URL means authenticated TLS; redirects are not
/// followed; a proxy is used for [`Route::Internet`](crate::http::Route::Internet) only; what doesn't
/// fit is an error.
///
/// # Cancel safety
/// Each future may be dropped at any await. A half-read connection must not be used again then.
pub trait SourceIo {
    /// What can go wrong.
    type Error: IoError;

    /// Sends `request` and feeds the answer to `response`, whatever its status.
    async fn http(
        &mut self,
        request: &Request<'_>,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), Self::Error>;

    /// Reads the file at `path` into `memory`. Returns how many bytes it has.
    async fn read_file(&mut self, path: &str, memory: &mut [u8]) -> Result<usize, Self::Error> {
        let _ = (path, memory);
        Err(Self::Error::unsupported())
    }

    /// Signs `data` with the host's key of the number `key`. Returns the length of the signature, which
    /// is in `memory` then: for [`Algorithm::Es256`] the two numbers, 64 bytes (RFC 7518 section 3.4).
    async fn sign(
        &mut self,
        algorithm: Algorithm,
        key: u8,
        data: &[u8],
        memory: &mut [u8],
    ) -> Result<usize, Self::Error> {
        let _ = (algorithm, key, data, memory);
        Err(Self::Error::unsupported())
    }

    /// 16 random bytes for the [nonce](Start::nonce) of a fetch, where the host has some.
    fn nonce(&mut self) -> Option<[u8; 16]> {
        None
    }
}

impl<T: SourceIo + ?Sized> SourceIo for &mut T {
    type Error = T::Error;

    async fn http(
        &mut self,
        request: &Request<'_>,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), Self::Error> {
        (**self).http(request, response).await
    }

    async fn read_file(&mut self, path: &str, memory: &mut [u8]) -> Result<usize, Self::Error> {
        (**self).read_file(path, memory).await
    }

    async fn sign(
        &mut self,
        algorithm: Algorithm,
        key: u8,
        data: &[u8],
        memory: &mut [u8],
    ) -> Result<usize, Self::Error> {
        (**self).sign(algorithm, key, data, memory).await
    }

    fn nonce(&mut self) -> Option<[u8; 16]> {
        (**self).nonce()
    }
}

/// Why a step couldn't be done, as far as it decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum IoFailure {
    /// The name was not found, or there was no answer.
    Connect,
    /// TLS failed: a certificate that is not trusted, or not for this name, or no common version.
    Tls,
    /// The connection broke, or what came was no HTTP.
    Io,
    /// The URL or the route can't be used with this host.
    Request,
    /// There is no such file, or no such key.
    NotFound,
    /// The file can't be read: a missing permission, or it is a directory.
    File,
    /// This host can't do that: it has no files, say.
    Unsupported,
    /// The answer is larger than the response memory.
    TooLarge(CapacityError),
}

impl fmt::Display for IoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "can't connect to the token endpoint",
            Self::Tls => "TLS to the token endpoint failed",
            Self::Io => "the connection to the token endpoint broke",
            Self::Request => "the request to the token endpoint can't be sent",
            Self::NotFound => "the file or the key was not found",
            Self::File => "the file can't be read",
            Self::Unsupported => "this host can't read files or sign",
            Self::TooLarge(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for IoFailure {}

impl From<CapacityError> for IoFailure {
    fn from(error: CapacityError) -> Self {
        Self::TooLarge(error)
    }
}

/// For hosts that know no more than that.
impl IoError for IoFailure {
    fn failure(&self) -> IoFailure {
        *self
    }

    fn unsupported() -> Self {
        Self::Unsupported
    }
}

/// The error of a [`SourceIo`].
pub trait IoError: core::error::Error + 'static {
    /// What decides the schedule. The error itself keeps the details, for a person.
    fn failure(&self) -> IoFailure;

    /// The host doesn't do what was asked: its [failure](Self::failure) is
    /// [`IoFailure::Unsupported`].
    fn unsupported() -> Self;
}

/// Gets a token from `source` over `io`: the driver for asynchronous hosts.
///
/// `request` and `response` are its memory. The token lies in `response`; wipe both when it is
/// stored.
///
/// # Errors
/// [`HttpSourceError`] if there is no token this time.
///
/// # Cancel safety
/// May be dropped at any await, and called again.
pub async fn fetch<'b, S: Source, I: SourceIo>(
    source: &mut S,
    io: &mut I,
    start: &Start,
    request: &mut [u8],
    response: &'b mut [u8],
) -> Result<Token<'b>, HttpSourceError<I::Error>> {
    let mut step = source.next(Input::Start(start.or_nonce(io.nonce())), request)?;
    loop {
        // What the service says of a refusal, and the host's own error.
        let (mut answer, mut cause) = (0, None);
        let next = match step {
            Step::Done(token) => return Ok(token.token(response).map_err(SourceError::Token)?),
            Step::Http(http) => {
                let mut writer = ResponseWriter::new(response);
                let sent = io.http(&http.read(request, start.deadline)?, &mut writer).await;
                // What the head says holds, even if the body is too large, or broke off.
                let input = match sent {
                    Err(error) if !writer.is_refusal() => {
                        Input::Failed(cause.insert(error).failure())
                    }
                    sent => {
                        let response = writer.finish_cut(sent.is_err());
                        answer = response.body.len();
                        Input::Response(response)
                    }
                };
                source.next(input, request)
            }
            Step::ReadFile { path, max } => {
                let path = path.text(request).ok_or(SourceError::ORDER)?;
                let room = response.len().min(max);
                let room = response.get_mut(..room).unwrap_or_default();
                match io.read_file(path, room).await {
                    Ok(len) => {
                        let file = response.get(..len).unwrap_or_default();
                        source.next(Input::File(file), request)
                    }
                    Err(error) => {
                        source.next(Input::Failed(cause.insert(error).failure()), request)
                    }
                }
            }
            Step::Sign { algorithm, key, data } => {
                match io.sign(algorithm, key, data.of(request), response).await {
                    Ok(len) => {
                        let signature = response.get(..len).unwrap_or_default();
                        source.next(Input::Signature(signature), request)
                    }
                    Err(error) => {
                        source.next(Input::Failed(cause.insert(error).failure()), request)
                    }
                }
            }
        };
        step = match (next, cause) {
            (Ok(step), _) => step,
            (Err(reason), Some(error)) => return Err(HttpSourceError::Io { reason, error }),
            (Err(reason), None) => {
                let text = ServiceText::of(response.get(..answer).unwrap_or_default());
                return Err(HttpSourceError::Refused { reason, text });
            }
        };
    }
}

/// A [`Source`] with a host's [`SourceIo`] to drive it: a [`TokenSource`].
#[derive(Debug)]
pub struct HttpSource<S, I, M: Storage<u8>> {
    source: S,
    io: I,
    request: M,
}

impl<S: Source, I: SourceIo, M: Storage<u8>> HttpSource<S, I, M> {
    /// Drives `source` over `io`. Requests are written to `request`: a few hundred bytes, and
    /// three times the length of the secret.
    pub const fn new(source: S, io: I, request: M) -> Self {
        Self { source, io, request }
    }

    #[cfg(test)]
    pub(super) fn request(&self) -> &[u8] {
        self.request.room()
    }
}

impl<S: Source, I: SourceIo, M: Storage<u8>> TokenSource for HttpSource<S, I, M> {
    type Error = HttpSourceError<I::Error>;

    async fn fetch<'b>(
        &'b mut self,
        start: &Start,
        memory: &'b mut [u8],
    ) -> Result<Token<'b>, Self::Error> {
        let Self { source, io, request } = self;
        let request = Wiped(request.room_mut());
        fetch(source, io, start, request.0, memory).await
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        self.source.identify(feed);
    }
}
