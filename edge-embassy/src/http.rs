//! HTTP/1.1 over any connector: for the managed-identity endpoints of a gateway or a hypervisor,
//! and with TLS for those of Entra.

mod answer;

use core::fmt;

use answer::Answer;
use embedded_io_async::{Read, Write};
use redis_entraid_core::http::{Request, ResponseWriter, Route, Url};
use redis_entraid_core::source::{IoError, IoFailure, SourceIo};
use redis_entraid_core::storage::CapacityError;
use redis_entraid_core::transport::{
    ConnectError, ConnectErrorKind, Connector, Endpoint, TransportUser,
};

#[cfg(feature = "tls-p256")]
use redis_entraid_tls::rand_core::CryptoRngCore;

use crate::clock::EmbassyClock;
use crate::lent::Wiped;

/// Sends requests, each over a connection of its own.
pub struct Http<K> {
    connector: K,
    head: &'static mut [u8],
    secure: bool,
    clock: Option<&'static EmbassyClock>,
}

impl<K: Connector> Http<K> {
    /// HTTP without TLS, over `connector`: for endpoints of this machine, or of a gateway that is
    /// trusted, and for nothing else. `head` is what the head of a response is read through, line by
    /// line: 256 bytes are enough.
    pub const fn plain(connector: K, head: &'static mut [u8]) -> Self {
        Self { connector, head, secure: false, clock: None }
    }

    /// Sets `clock` by the `Date` of each response. Who can answer the requests can set the
    /// clock then, but not to before the program was built.
    #[must_use]
    pub const fn setting(mut self, clock: &'static EmbassyClock) -> Self {
        self.clock = Some(clock);
        self
    }
}

#[cfg(feature = "tls-p256")]
impl<K: Connector, R: CryptoRngCore> Http<crate::Tls<K, R>> {
    /// HTTPS. It needs buffers of its own for TLS, since a token may be fetched while a connection
    /// is open.
    pub const fn secure(connector: crate::Tls<K, R>, head: &'static mut [u8]) -> Self {
        Self { connector, head, secure: true, clock: None }
    }
}

impl<K> fmt::Debug for Http<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("secure", &self.secure).finish_non_exhaustive()
    }
}

impl<K: Connector> SourceIo for Http<K>
where
    K::Error: 'static,
{
    type Error = Error<K::Error>;

    async fn http(
        &mut self,
        request: &Request<'_>,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), Self::Error> {
        let url = Url::parse(request.url).ok_or(Error::Request("the URL is invalid"))?;
        if url.secure != self.secure {
            return Err(Error::Request("the URL's scheme (http or https) is not this client's"));
        }
        if !url.secure && request.route != Route::LinkLocal {
            return Err(Error::Request("only https is allowed over the network"));
        }
        let endpoint = Endpoint::new(url.host, url.port);
        // Whatever ends a line begins another one.
        let is_line = |text: &str| text.bytes().all(|byte| !byte.is_ascii_control());
        if !request.headers.iter().all(|(name, value)| is_line(name) && is_line(value)) {
            return Err(Error::Request(
                "a header value has a control character: a secret that ends in a line feed?",
            ));
        }
        let exchange = HttpExchange { request, url, head: self.head, response };
        let exchanged = self.connector.connect(&endpoint, exchange).await;
        exchanged.map_err(Error::Connect)?.map_err(Error::from)?;
        if let (Some(clock), Some(date)) = (self.clock, response.finish().date) {
            // One that is too early is not believed: then the clock stays as it was.
            let _ = clock.set(date);
        }
        Ok(())
    }
}

/// One request and its response.
struct HttpExchange<'e, 'w> {
    request: &'e Request<'e>,
    url: Url<'e>,
    head: &'e mut [u8],
    response: &'e mut ResponseWriter<'w>,
}

impl TransportUser for HttpExchange<'_, '_> {
    type Output = Result<(), ResponseError>;

    async fn run<R: Read, W: Write>(self, reader: R, mut writer: W) -> Self::Output {
        let Self { request, url, head, response } = self;
        let mut digits = [0; 20];
        let length = decimal(request.body.len(), &mut digits);
        let fixed = [
            request.method.name(),
            " ",
            url.path,
            " HTTP/1.1\r\nhost: ",
            url.authority,
            "\r\nconnection: close\r\ncontent-length: ",
            length,
            "\r\n",
        ];
        let lines = request.headers.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]);
        let pieces = fixed.into_iter().chain(lines).chain(["\r\n"]).map(str::as_bytes);
        for piece in pieces.chain([request.body]) {
            writer.write_all(piece).await.map_err(|_| ResponseError::Io)?;
        }
        writer.flush().await.map_err(|_| ResponseError::Io)?;
        let head = Wiped(head);
        Answer::new(reader, head.0).read(response).await
    }
}

/// Writes `number` to the end of `digits`.
fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &str {
    let mut start = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        start = at;
        if number == 0 {
            break;
        }
    }
    core::str::from_utf8(digits.get(start..).unwrap_or_default()).unwrap_or_default()
}

/// What can become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseError {
    Io,
    NoHttp,
    Head,
    TooLarge(CapacityError),
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error<E> {
    /// There is no connection.
    Connect(E),
    /// The connection broke.
    Io,
    /// What came is no HTTP.
    NoHttp,
    /// The buffer for the head of the response is too small.
    Head,
    /// The request can't be sent.
    Request(&'static str),
    /// The response is too large.
    TooLarge(CapacityError),
    /// This host has neither files nor keys. Implement [`SourceIo`] yourself around this, if yours has.
    Unsupported,
}

impl<E> From<ResponseError> for Error<E> {
    fn from(broken: ResponseError) -> Self {
        match broken {
            ResponseError::Io => Self::Io,
            ResponseError::NoHttp => Self::NoHttp,
            ResponseError::Head => Self::Head,
            ResponseError::TooLarge(error) => Self::TooLarge(error),
        }
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Io => f.write_str("the connection broke"),
            Self::NoHttp => f.write_str("the response is not HTTP/1.1"),
            Self::Head => f.write_str("the buffer for response headers is too small"),
            Self::Request(what) => f.write_str(what),
            Self::TooLarge(error) => error.fmt(f),
            Self::Unsupported => IoFailure::Unsupported.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for Error<E> {}

impl<E: ConnectError + 'static> IoError for Error<E> {
    fn failure(&self) -> IoFailure {
        match self {
            Self::Connect(error) => match error.kind() {
                ConnectErrorKind::Tls => IoFailure::Tls,
                _ => IoFailure::Connect,
            },
            Self::Io | Self::NoHttp => IoFailure::Io,
            Self::Head | Self::Request(_) => IoFailure::Request,
            Self::TooLarge(error) => IoFailure::TooLarge(*error),
            Self::Unsupported => IoFailure::Unsupported,
        }
    }

    fn unsupported() -> Self {
        Self::Unsupported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_decimal() {
        for number in [0, 7, 10, 4096, usize::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), std::format!("{number}"));
        }
    }
}
