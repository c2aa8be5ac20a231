//! Clients for HTTP that a user brings.

use core::error::Error as StdError;
use core::future::Future;
use core::pin::Pin;

use bytes::Bytes;
use hyper::{Request, Response};
use redis_entraid_core::http::ResponseWriter;

use super::Error;

type Failure = Box<dyn StdError + Send + Sync>;

/// A client for HTTP, for a service that has one already: with proxies, roots and metrics of its own.
///
/// The types are those of the crate `http`. An implementation verifies the server, does not follow
/// redirects, and gives up when it is dropped.
///
/// ```
/// use bytes::Bytes;
/// use hyper::http;
/// use redis_entraid::Identity;
/// use redis_entraid::http::{Http, HttpClient};
/// use redis_entraid::source::{Authority, ServicePrincipal};
///
/// struct Mine;
///
/// impl HttpClient for Mine {
///     async fn send(
///         &self,
///         request: http::Request<Bytes>,
///     ) -> Result<http::Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
///         // With reqwest: `client.execute(request.try_into()?).await?`, then its status, its headers,
///         // and `bytes().await?`.
///         assert_eq!(request.method(), "POST");
///         Ok(http::Response::new(Bytes::from_static(br#"{"access_token":"eyJ.e30.x"}"#)))
///     }
/// }
///
/// # fn example() {
/// let tenant = Authority::tenant("72f988bf-86f1-41af-91ab-2d7cd011db47");
/// let identity = Identity::new(ServicePrincipal::with_secret(tenant, "client", "secret"))
///     .http(Http::default().with_client(Mine))
///     .start();
/// # }
/// ```
pub trait HttpClient: Send + Sync + 'static {
    /// Sends `request` to its absolute URL, and returns the answer, whatever its status.
    ///
    /// # Errors
    /// Any error: that there was no answer.
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> impl Future<Output = Result<Response<Bytes>, Failure>> + Send;
}

type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Failure>> + Send + 'a>>;

/// A client of any type.
pub(super) trait DynHttpClient: Send + Sync {
    fn send_dyn(&self, request: Request<Bytes>) -> Sending<'_>;
}

impl<C: HttpClient> DynHttpClient for C {
    fn send_dyn(&self, request: Request<Bytes>) -> Sending<'_> {
        Box::pin(self.send(request))
    }
}

impl core::fmt::Debug for dyn DynHttpClient {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("HttpClient")
    }
}

/// Sends `request`, and writes the answer to `response`.
pub(super) async fn answered(
    client: &dyn DynHttpClient,
    request: Request<Bytes>,
    response: &mut ResponseWriter<'_>,
) -> Result<(), Error> {
    let answer = client.send_dyn(request).await.map_err(Error::Client)?;
    response.status(answer.status().as_u16());
    for (name, value) in answer.headers() {
        response.header(name.as_str(), value.as_bytes());
    }
    // It is all here.
    response.header("content-length", b"");
    response.body_chunk(answer.body()).map_err(Error::TooLarge)
}
