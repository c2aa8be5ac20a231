//! HTTP by hyper, for token endpoints: one request a connection, no redirects.

mod client;
#[cfg(feature = "proxy")]
mod proxy;

use core::future::Future;
use core::time::Duration;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Uri;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use redis_entraid_core::http::{Request, ResponseWriter, Route};
use redis_entraid_core::source::{IoError, IoFailure, SourceError, SourceIo};
use redis_entraid_core::storage::{Buffer, CapacityError};
use redis_entraid_core::time::Clock;
#[cfg(feature = "tls")]
use redis_entraid_core::transport::ConnectErrorKind;
use redis_entraid_core::transport::Endpoint;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

pub use client::HttpClient;

use crate::clock::TokioClock;
use crate::net::tcp;
use crate::source::FetchError;

/// What a TCP connection to a link-local endpoint may take.
const LINK_LOCAL_CONNECT: Duration = Duration::from_secs(3);

/// A client for HTTP and HTTPS.
///
/// With the feature `proxy`, requests for Entra go through the proxy that `HTTPS_PROXY` or `ALL_PROXY` names,
/// unless `NO_PROXY` excepts the host. Requests for a managed identity never go through a proxy.
#[derive(Clone, Debug)]
pub struct Http {
    #[cfg(feature = "tls")]
    tls: crate::tls::Tls,
    /// The name that certificates are verified for, if it isn't the URL's.
    server_name: Option<String>,
    #[cfg(feature = "proxy")]
    proxy: Arc<proxy::Proxies>,
    /// Sends what goes to Entra in our place.
    client: Option<Arc<dyn client::DynHttpClient>>,
}

impl Http {
    /// A client that trusts `roots`.
    #[cfg(feature = "tls")]
    pub fn new(roots: crate::tls::Roots) -> Self {
        Self {
            tls: crate::tls::Tls::new(roots),
            server_name: None,
            #[cfg(feature = "proxy")]
            proxy: Arc::new(proxy::Proxies::from_env()),
            client: None,
        }
    }

    /// A client that accepts the certificate with the SHA-1 `thumbprint`, and no other one.
    #[cfg(feature = "tls")]
    pub(crate) fn pinned(thumbprint: [u8; 20]) -> io::Result<Self> {
        crate::tls::pinned(thumbprint).map(|tls| Self::new(crate::tls::Roots::Custom(tls)))
    }

    /// A client for HTTP alone.
    #[cfg(not(feature = "tls"))]
    pub fn new() -> Self {
        Self {
            server_name: None,
            #[cfg(feature = "proxy")]
            proxy: Arc::new(proxy::Proxies::from_env()),
            client: None,
        }
    }

    /// Requests for Entra are sent by `client`: reqwest, say. Those for a managed identity and for the token
    /// proxy of AKS identity bindings are not.
    #[must_use]
    pub fn with_client(self, client: impl HttpClient) -> Self {
        Self { client: Some(Arc::new(client)), ..self }
    }

    /// Certificates are for `name`, if there is one, and not for the URL's name.
    #[cfg(feature = "tls")]
    pub(crate) fn with_server_name(self, name: Option<String>) -> Self {
        Self { server_name: name, ..self }
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

impl Default for Http {
    fn default() -> Self {
        #[cfg(feature = "tls")]
        let default = Self::new(crate::tls::Roots::default());
        #[cfg(not(feature = "tls"))]
        let default = Self::new();
        default
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
        let mut builder = hyper::Request::builder().method(request.method.name());
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
        let body = Bytes::from_owner(Zeroizing::new(request.body.to_vec()));
        let invalid = |_| Error::Request("a header of the request is invalid");
        if let (Route::Internet, Some(client)) = (request.route, &self.client) {
            let request = builder.uri(uri).body(body).map_err(invalid)?;
            return client::answered(&**client, request, response).await;
        }
        #[cfg(feature = "proxy")]
        let proxy = self.proxy.of(&uri);
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let built = builder.uri(target).header(HOST, authority).body(Full::new(body));
        let built = built.map_err(invalid)?;
        let mut endpoint = Endpoint::new(&host, port).with_deadline(request.deadline);
        if let Some(name) = &self.server_name {
            endpoint.server_name = name;
        }
        #[cfg(feature = "proxy")]
        if let (true, Route::Internet, Some(proxy)) = (secure, request.route, proxy) {
            let stream = proxy.reach(&endpoint, &self.tls).await?;
            let stream = self.tls.connect(endpoint.server_name, stream).await;
            let stream = stream.map_err(|error| match crate::tls::is_about_tls(&error) {
                true => Error::Tls(error),
                false => Error::Connect(error),
            })?;
            return exchange(stream, built, response).await;
        }
        match (secure, request.route) {
            (true, _) => self.https(&endpoint, built, response).await,
            (false, Route::LinkLocal) => {
                // It is on this machine or its host, or nowhere: in some networks nothing comes back then.
                let soon = TokioClock.now().plus(LINK_LOCAL_CONNECT);
                let endpoint = endpoint.with_deadline(request.deadline.min(soon));
                let stream = tcp(&endpoint).await.map_err(|(_, error)| Error::Connect(error))?;
                exchange(stream, built, response).await
            }
            (false, _) => Err(Error::Request("only https is allowed over the network")),
        }
    }

    async fn read_file(&mut self, path: &str, memory: &mut [u8]) -> Result<usize, Error> {
        let content = read(path.as_ref(), memory.len()).await?;
        let room = memory.get_mut(..content.len()).unwrap_or_default();
        room.copy_from_slice(&content);
        Ok(content.len())
    }

    fn nonce(&mut self) -> Option<[u8; 16]> {
        let halves = [crate::random(), crate::random()].map(u64::to_le_bytes);
        halves.concat().try_into().ok()
    }
}

/// Reads the file at `path`, of up to `max` bytes.
pub(crate) async fn read(path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
    let path = path.to_owned();
    let read = move || {
        let content = || {
            // Opening a FIFO would wait for a writer.
            if !std::fs::metadata(&path)?.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
            }
            let file = std::fs::File::open(&path)?;
            // As much as it has, so that no copy is left behind by growing.
            let size = usize::try_from(file.metadata()?.len()).unwrap_or(max).min(max);
            let mut content = Zeroizing::new(Vec::with_capacity(size + 1));
            file.take(max as u64 + 1).read_to_end(&mut content)?;
            Ok(content)
        };
        content()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    };
    let read = tokio::task::spawn_blocking(read).await;
    let content = read.unwrap_or_else(|error| Err(error.into())).map_err(Error::File)?;
    match content.len() > max {
        true => Err(Error::TooLarge(CapacityError::new(Buffer::Response, content.len(), max))),
        false => Ok(content),
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
    beside(talk, connection).await
}

/// Talks while the connection is driven. Dropping this drops both: no task outlives the request.
async fn beside<T>(
    talk: impl Future<Output = Result<T, Error>>,
    connection: impl Future,
) -> Result<T, Error> {
    let drive = async {
        let _ = connection.await;
        core::future::pending::<core::convert::Infallible>().await
    };
    tokio::select! {
        result = talk => result,
        never = drive => match never {},
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
    /// The proxy refused to reach the server, with this status.
    #[error(
        "the proxy answered HTTP {0} to CONNECT: check HTTPS_PROXY and its login, or except the host \
        with NO_PROXY"
    )]
    Proxy(u16),
    /// The request can't be sent: its URL or its headers are invalid.
    #[error("{0}")]
    Request(&'static str),
    /// The response, or the file, is too large.
    #[error("{0}")]
    TooLarge(#[source] CapacityError),
    /// The file can't be read.
    #[error("{0}")]
    File(#[source] io::Error),
    /// The client that was brought sent nothing, or nothing came. Contains its error.
    #[error("{0}")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// This host can't sign. To sign, implement [`SourceIo`] around this.
    #[error("this host can't sign for a token source")]
    Unsupported,
}

impl From<Error> for FetchError {
    fn from(error: Error) -> Self {
        Self::new(SourceError::Io(error.failure()), error)
    }
}

impl IoError for Error {
    fn failure(&self) -> IoFailure {
        match self {
            Self::Connect(_) => IoFailure::Connect,
            Self::Tls(_) => IoFailure::Tls,
            Self::Io(_) => IoFailure::Io,
            // The proxy could not reach it either.
            Self::Proxy(500..) | Self::Client(_) => IoFailure::Connect,
            Self::Proxy(_) | Self::Request(_) => IoFailure::Request,
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

#[cfg(all(test, feature = "proxy"))]
mod tests;
