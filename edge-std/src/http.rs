//! HTTP by hyper, for token endpoints: one request a connection, no redirects, no proxy.

use std::io::{self, Read};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Uri;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use redis_entraid_core::http::{Request, ResponseWriter, Route};
use redis_entraid_core::source::{IoError, IoFailure, SourceIo};
use redis_entraid_core::storage::{Buffer, CapacityError};
#[cfg(feature = "tls")]
use redis_entraid_core::transport::ConnectErrorKind;
use redis_entraid_core::transport::Endpoint;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use crate::net::tcp;

/// A client for HTTP and HTTPS.
#[derive(Clone, Debug)]
pub struct Http {
    #[cfg(feature = "tls")]
    tls: crate::tls::Tls,
}

impl Http {
    /// A client that trusts `roots`.
    #[cfg(feature = "tls")]
    pub fn new(roots: crate::tls::Roots) -> Self {
        Self { tls: crate::tls::Tls::new(roots) }
    }

    /// A client for HTTP alone.
    #[cfg(not(feature = "tls"))]
    pub fn new() -> Self {
        Self {}
    }

    async fn https(
        &self,
        endpoint: &Endpoint<'_>,
        request: hyper::Request<Full<Bytes>>,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), Error> {
        #[cfg(feature = "tls")]
        {
            let stream = crate::net::tls(endpoint, &self.tls).await;
            let stream = stream.map_err(|(kind, error)| match kind {
                ConnectErrorKind::Tls => Error::Tls(error),
                _ => Error::Connect(error),
            })?;
            exchange(stream, request, response).await
        }
        #[cfg(not(feature = "tls"))]
        {
            let _ = (endpoint, request, response);
            Err(Error::Request("https needs the feature `tls`"))
        }
    }
}

#[cfg(not(feature = "tls"))]
impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl SourceIo for Http {
    type Error = Error;

    async fn http(
        &mut self,
        request: &Request<'_>,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), Error> {
        let uri: Uri = request.url.parse().map_err(|_| Error::Request("the URL is invalid"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let mut builder = hyper::Request::builder()
            .method(request.method.name())
            .uri(target)
            .header(HOST, authority);
        for (name, value) in request.headers.iter() {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| Error::Request("a header of the request is invalid"))?;
            // It may be the secret of a managed identity's endpoint.
            value.set_sensitive(true);
            builder = builder.header(name, value);
        }
        if !request.body.is_empty() {
            builder = builder.header(CONTENT_LENGTH, request.body.len());
        }
        // The client's secret is in it.
        let body = Full::new(Bytes::from_owner(Zeroizing::new(request.body.to_vec())));
        let built =
            builder.body(body).map_err(|_| Error::Request("a header of the request is invalid"))?;
        let endpoint = Endpoint::new(&host, port).with_deadline(request.deadline);
        match (secure, request.route) {
            (true, _) => self.https(&endpoint, built, response).await,
            (false, Route::LinkLocal) => {
                let stream = tcp(&endpoint).await.map_err(|(_, error)| Error::Connect(error))?;
                exchange(stream, built, response).await
            }
            (false, _) => Err(Error::Request("only https is allowed over the network")),
        }
    }

    async fn read_file(&mut self, path: &str, memory: &mut [u8]) -> Result<usize, Error> {
        let (path, max) = (path.to_owned(), memory.len());
        let read = move || {
            let content = || {
                // Opening a FIFO would wait for a writer.
                if !std::fs::metadata(&path)?.is_file() {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
                }
                let mut content = Zeroizing::new(Vec::with_capacity(max + 1));
                std::fs::File::open(&path)?.take(max as u64 + 1).read_to_end(&mut content)?;
                Ok(content)
            };
            content().map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
        };
        let read = tokio::task::spawn_blocking(read).await;
        let content = read.unwrap_or_else(|error| Err(error.into())).map_err(Error::File)?;
        let room = memory.get_mut(..content.len()).ok_or_else(|| {
            Error::TooLarge(CapacityError::new(Buffer::Response, content.len(), max))
        })?;
        room.copy_from_slice(&content);
        Ok(content.len())
    }

    fn nonce(&mut self) -> Option<[u8; 16]> {
        let halves = [crate::random(), crate::random()].map(u64::to_le_bytes);
        halves.concat().try_into().ok()
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: hyper::Request<Full<Bytes>>,
    response: &mut ResponseWriter<'_>,
) -> Result<(), Error> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Error::Io)?;
    let talk = async {
        let mut answer = sender.send_request(request).await.map_err(Error::Io)?;
        response.status(answer.status().as_u16());
        for (name, value) in answer.headers() {
            response.header(name.as_str(), value.as_bytes());
        }
        while let Some(frame) = answer.frame().await {
            if let Some(chunk) = frame.map_err(Error::Io)?.data_ref() {
                response.body_chunk(chunk).map_err(Error::TooLarge)?;
            }
        }
        Ok(())
    };
    // Dropping this future drops both: no task outlives the request.
    let drive = async {
        let _ = connection.await;
        core::future::pending::<()>().await;
    };
    tokio::select! {
        result = talk => result,
        () = drive => Ok(()),
    }
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name has no address, or no address accepts the connection.
    #[error("{0}")]
    Connect(#[source] io::Error),
    /// The TLS handshake failed.
    #[error("{0}")]
    Tls(#[source] io::Error),
    /// The connection broke, or the response is not HTTP/1.1.
    #[error("{0}")]
    Io(#[source] hyper::Error),
    /// The request can't be sent: its URL or its headers are invalid.
    #[error("{0}")]
    Request(&'static str),
    /// The response, or the file, is too large.
    #[error("{0}")]
    TooLarge(#[source] CapacityError),
    /// The file can't be read.
    #[error("{0}")]
    File(#[source] io::Error),
    /// This host can't sign. To sign, implement [`SourceIo`] around this.
    #[error("this host can't sign for a token source")]
    Unsupported,
}

impl IoError for Error {
    fn failure(&self) -> IoFailure {
        match self {
            Self::Connect(_) => IoFailure::Connect,
            Self::Tls(_) => IoFailure::Tls,
            Self::Io(_) => IoFailure::Io,
            Self::Request(_) => IoFailure::Request,
            Self::TooLarge(error) => IoFailure::TooLarge(*error),
            Self::File(error) if error.kind() == io::ErrorKind::NotFound => IoFailure::NotFound,
            Self::File(_) => IoFailure::File,
            Self::Unsupported => IoFailure::Unsupported,
        }
    }

    fn unsupported() -> Self {
        Self::Unsupported
    }
}
