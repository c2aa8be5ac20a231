//! HTTP as an abstract service: a whole request out, a whole response in.
//!
//! A host implements [`SourceIo`](crate::source::SourceIo) over whatever HTTP it has. It feeds a [`ResponseWriter`],
//! which keeps of the head what the core needs and of the body all or nothing.
//!
//! ```
//! use redis_entraid_core::http::ResponseWriter;
//!
//! let mut memory = [0; 64];
//! let mut writer = ResponseWriter::new(&mut memory);
//! writer.status(429);
//! writer.header("retry-after", b"7");
//! writer.body_chunk(b"{}").unwrap();
//! let response = writer.finish();
//! assert_eq!(response.status, 429);
//! assert_eq!(response.retry_after(None), Some(core::time::Duration::from_secs(7)));
//! assert_eq!(response.body, b"{}");
//! ```

mod url;

use core::fmt;
use core::time::Duration;

pub use url::Url;

use crate::date;
use crate::number::unsigned;
use crate::span::Span;
use crate::storage::{Buffer, CapacityError};
use crate::time::{Instant, UnixTime};

/// What is done with the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Method {
    /// `GET`, without a body.
    Get,
    /// `POST`, with a body.
    Post,
}

impl Method {
    /// The word of the request line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// The way that a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Route {
    /// Over the network, by TLS with a verified server; through a proxy if the host has one.
    Internet,
    /// To a metadata endpoint of this machine or its hypervisor: plain HTTP is allowed, a proxy
    /// is not.
    LinkLocal,
}

/// Most header lines that a source sets.
pub const MAX_HEADERS: usize = 4;

/// A request to send, borrowed from a source and its request buffer.
pub struct Request<'a> {
    /// What to do.
    pub method: Method,
    /// Where: an absolute URL, percent-encoded.
    pub url: &'a str,
    /// Header lines to send beside `Host` and `Content-Length`, which are the client's.
    pub headers: Headers<'a>,
    /// The body; empty for `GET`.
    pub body: &'a [u8],
    /// The way that it may take.
    pub route: Route,
    /// The deadline of the answer. The driver of the request abandons it then; a client
    /// may set its own timeouts by it.
    pub deadline: Instant,
}

/// Header lines by the places of their values.
pub type HeaderSpans = [Option<(&'static str, Span)>; MAX_HEADERS];

/// Up to [`MAX_HEADERS`] header lines, name and value.
#[derive(Clone, Copy)]
pub struct Headers<'a> {
    lines: &'a HeaderSpans,
    memory: &'a [u8],
}

impl<'a> Headers<'a> {
    /// These lines, whose values are in `memory`.
    pub const fn new(lines: &'a HeaderSpans, memory: &'a [u8]) -> Self {
        Self { lines, memory }
    }

    /// The lines in order. A value that is no text is empty.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'a str)> + use<'a> {
        let memory = self.memory;
        let value = move |span: Span| span.text(memory).unwrap_or_default();
        self.lines.iter().flatten().map(move |(name, span)| (*name, value(*span)))
    }
}

impl Default for Headers<'_> {
    fn default() -> Self {
        Self::new(&[None; MAX_HEADERS], &[])
    }
}

/// A request has more than [`MAX_HEADERS`] header lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TooManyHeaders;

impl fmt::Display for TooManyHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("more than 4 header lines")
    }
}

impl core::error::Error for TooManyHeaders {}

// The body and the headers hold secrets, the query of an IMDS request doesn't.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &self.headers)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// Takes a response as it comes.
pub struct ResponseWriter<'a> {
    memory: &'a mut [u8],
    /// Bytes of the body that are kept, and that came.
    len: usize,
    size: usize,
    /// Where the value of `WWW-Authenticate` begins, which lies at the end.
    tail: usize,
    status: u16,
    retry_after: Option<RetryAfter>,
    date: Option<UnixTime>,
    has_length: bool,
}

#[derive(Clone, Copy, Debug)]
enum RetryAfter {
    In(Duration),
    At(UnixTime),
}

impl<'a> ResponseWriter<'a> {
    /// Keeps the body in `memory`, which must hold all of one with a token.
    pub fn new(memory: &'a mut [u8]) -> Self {
        Self {
            tail: memory.len(),
            memory,
            len: 0,
            size: 0,
            status: 0,
            retry_after: None,
            date: None,
            has_length: false,
        }
    }

    /// The status code.
    pub const fn status(&mut self, status: u16) {
        self.status = status;
    }

    /// One header line. To be called for each; the core picks.
    pub fn header(&mut self, name: &str, value: &[u8]) {
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case("retry-after") {
            let seconds = unsigned(value).map(|s| RetryAfter::In(Duration::from_secs(s)));
            self.retry_after = seconds.or_else(|| date::read(value).map(RetryAfter::At));
        } else if name.eq_ignore_ascii_case("date") {
            self.date = date::read(value);
        } else if name.eq_ignore_ascii_case("content-length")
            || name.eq_ignore_ascii_case("transfer-encoding")
        {
            self.has_length = true;
        } else if name.eq_ignore_ascii_case("www-authenticate")
            && let Some(tail) = self.memory.len().checked_sub(value.len())
            && tail >= self.len
            && let Some(room) = self.memory.get_mut(tail..)
        {
            room.copy_from_slice(value);
            self.tail = tail;
        }
    }

    /// The next part of the body.
    ///
    /// # Errors
    /// [`CapacityError`] if it doesn't fit; the request should be given up then. What did fit is kept:
    /// it may say why there is no token.
    pub fn body_chunk(&mut self, chunk: &[u8]) -> Result<(), CapacityError> {
        let capacity = self.tail;
        let room = self.memory.get_mut(self.len..capacity).unwrap_or_default();
        let kept = chunk.get(..room.len()).unwrap_or(chunk);
        for (to, from) in room.iter_mut().zip(kept) {
            *to = *from;
        }
        self.len += kept.len();
        self.size = self.size.saturating_add(chunk.len());
        if self.size > capacity {
            return Err(CapacityError::new(Buffer::Response, self.size, capacity));
        }
        Ok(())
    }

    /// Whether the head says that there is no token. That is the verdict, whatever becomes of the
    /// body: it is for a person.
    pub(crate) const fn is_refusal(&self) -> bool {
        self.status >= 300
    }

    /// The response as it has come.
    pub fn finish(&mut self) -> Response<'_> {
        self.finish_cut(false)
    }

    /// The same, of which the rest of the body may be missing.
    pub(crate) fn finish_cut(&mut self, cut: bool) -> Response<'_> {
        let (body, tail) = self.memory.split_at_mut_checked(self.tail).unwrap_or_default();
        Response {
            status: self.status,
            retry_after: self.retry_after,
            date: self.date,
            has_length: self.has_length,
            www_authenticate: tail,
            body_cut: cut || self.size > self.len,
            body: body.get_mut(..self.len).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for ResponseWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseWriter({}, {} bytes)", self.status, self.len)
    }
}

/// A response: what the core keeps of the head, and the body.
#[non_exhaustive]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    retry_after: Option<RetryAfter>,
    /// The server's clock, from `Date` (RFC 9110 section 6.6.1).
    pub date: Option<UnixTime>,
    /// The head says where the body ends. Else it ends with the connection, and it is unknown
    /// whether that was its end.
    pub has_length: bool,
    /// The value of `WWW-Authenticate`, if there was one (RFC 9110 section 11.6.1).
    pub www_authenticate: &'a [u8],
    /// The body is the beginning of a longer one.
    pub body_cut: bool,
    /// The body. Who owns its memory should wipe it in the end.
    pub body: &'a mut [u8],
}

impl Response<'_> {
    /// How long the server asks to be left alone (RFC 9110 section 10.2.3). A date counts from
    /// the response's own `Date`, or else from `unix_time`.
    pub fn retry_after(&self, unix_time: Option<UnixTime>) -> Option<Duration> {
        match self.retry_after? {
            RetryAfter::In(wait) => Some(wait),
            RetryAfter::At(time) => Some(time.since(self.date.or(unix_time)?)),
        }
    }
}

impl fmt::Debug for Response<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_body_that_is_too_large_the_beginning_is_kept() {
        let mut memory = [0; 4];
        let mut writer = ResponseWriter::new(&mut memory);
        writer.body_chunk(b"abc").unwrap();
        assert_eq!(writer.body_chunk(b"de"), Err(CapacityError::new(Buffer::Response, 5, 4)));
        assert_eq!(writer.body_chunk(b"f"), Err(CapacityError::new(Buffer::Response, 6, 4)));
        assert_eq!(writer.finish().body, b"abcd");
        let mut writer = ResponseWriter::new(&mut memory);
        writer.body_chunk(b"abc").unwrap();
        writer.body_chunk(b"d").unwrap();
        assert_eq!(writer.finish().body, b"abcd");
    }

    #[test]
    fn a_challenge_lies_behind_the_body_and_takes_its_room() {
        let mut memory = [0; 12];
        let mut writer = ResponseWriter::new(&mut memory);
        writer.header("WWW-Authenticate", b" Basic r=/x ");
        writer.body_chunk(b"ab").unwrap();
        let error = CapacityError::new(Buffer::Response, 4, 2);
        assert_eq!(writer.body_chunk(b"cd"), Err(error));
        let response = writer.finish();
        assert_eq!((response.www_authenticate, &*response.body), (&b"Basic r=/x"[..], &b"ab"[..]));
        assert!(response.body_cut);
        // One that doesn't fit is left out.
        let mut writer = ResponseWriter::new(&mut memory);
        writer.header("WWW-Authenticate", b"Basic realm=/x");
        writer.body_chunk(b"twelve bytes").unwrap();
        let response = writer.finish();
        assert!(response.www_authenticate.is_empty() && !response.body_cut);
    }

    #[test]
    fn retry_after_may_be_seconds_or_a_date() {
        let mut memory = [];
        let wait = |lines: &[(&str, &[u8])], now| {
            let mut writer = ResponseWriter::new(&mut []);
            for (name, value) in lines {
                writer.header(name, value);
            }
            writer.finish().retry_after(now).map(|wait| wait.as_secs())
        };
        let date: (&str, &[u8]) = ("Date", b"Sun, 06 Nov 1994 08:49:37 GMT");
        let at: (&str, &[u8]) = ("RETRY-AFTER", b"Sun, 06 Nov 1994 08:50:37 GMT");
        assert_eq!(wait(&[("Retry-After", b" 120 ")], None), Some(120));
        assert_eq!(wait(&[at, date], None), Some(60));
        assert_eq!(wait(&[at], Some(UnixTime(784_111_737))), Some(100));
        assert_eq!(wait(&[at], None), None);
        assert_eq!(wait(&[("Retry-After", b"soon")], None), None);
        assert_eq!(wait(&[("Retry-After", b"-1")], None), None);
        assert!(ResponseWriter::new(&mut memory).finish().body.is_empty());
    }

    #[test]
    fn debug_output_shows_no_value() {
        let lines = [Some(("X-IDENTITY-HEADER", Span { start: 0, end: 4 })), None, None, None];
        let request = Request {
            method: Method::Post,
            url: "https://login.microsoftonline.com/t/oauth2/v2.0/token",
            headers: Headers::new(&lines, b"hush"),
            body: b"client_secret=hush",
            route: Route::Internet,
            deadline: Instant::FAR_FUTURE,
        };
        let shown = std::format!("{request:?}");
        assert!(!shown.contains("hush") && shown.contains("X-IDENTITY-HEADER"), "{shown}");
    }
}
