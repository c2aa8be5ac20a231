//! The way to Entra through a proxy (RFC 9110 section 9.3.6, `CONNECT`).

use std::io;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{HOST, PROXY_AUTHORIZATION};
use hyper::upgrade::Upgraded;
use hyper::{Method, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use redis_entraid_core::transport::{ConnectErrorKind, Endpoint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Error;
use crate::net;
use crate::tls::Tls;

/// Which hosts are reached through which proxy.
#[derive(Debug)]
pub(super) struct Proxies(Matcher);

impl Proxies {
    /// Reads `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not.
    pub(super) fn from_env() -> Self {
        Self(Matcher::from_env())
    }

    #[cfg(test)]
    pub(super) fn by(matcher: Matcher) -> Self {
        Self(matcher)
    }

    /// The proxy that `uri` is reached through.
    pub(super) fn of(&self, uri: &Uri) -> Option<Proxy> {
        self.0.intercept(uri).map(Proxy)
    }
}

/// One proxy. It may have a password.
pub(super) struct Proxy(Intercept);

impl Proxy {
    /// Opens a way to `endpoint`.
    pub(super) async fn reach(
        &self,
        endpoint: &Endpoint<'_>,
        tls: &Tls,
    ) -> Result<TokioIo<Upgraded>, Error> {
        let uri = self.0.uri();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let secure = match uri.scheme_str() {
            Some("http") | None => false,
            Some("https") => true,
            Some(_) => {
                return Err(Error::Request(
                    "HTTPS_PROXY or ALL_PROXY names a proxy that is not one of http or https: name another one, or \
                except the host with NO_PROXY",
                ));
            }
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let by = endpoint.redirected(host, port);
        let failed = |(kind, error): net::Failed| {
            let error = io::Error::new(error.kind(), format!("the proxy {host}:{port}: {error}"));
            match kind {
                ConnectErrorKind::Tls => Error::Tls(error),
                _ => Error::Connect(error),
            }
        };
        if secure {
            // The proxy is verified by its own name.
            let mut by = by;
            by.server_name = host;
            let stream = net::tls(&by, tls).await.map_err(failed)?;
            return self.tunnel(stream, endpoint).await;
        }
        let stream = net::tcp(&by).await.map_err(failed)?;
        self.tunnel(stream, endpoint).await
    }

    async fn tunnel(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        endpoint: &Endpoint<'_>,
    ) -> Result<TokioIo<Upgraded>, Error> {
        let target = match endpoint.address {
            ip if ip.contains(':') => format!("[{ip}]:{}", endpoint.port),
            name => format!("{name}:{}", endpoint.port),
        };
        let mut request =
            hyper::Request::builder().method(Method::CONNECT).uri(&target).header(HOST, &target);
        if let Some(login) = self.0.basic_auth() {
            let mut login = login.clone();
            login.set_sensitive(true);
            request = request.header(PROXY_AUTHORIZATION, login);
        }
        let request = request.body(Empty::<Bytes>::new());
        let request = request.map_err(|_| Error::Request("the URL is invalid"))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Error::Io)?;
        let talk = async {
            let answer = sender.send_request(request).await.map_err(Error::Io)?;
            if !answer.status().is_success() {
                return Err(Error::Proxy(answer.status().as_u16()));
            }
            hyper::upgrade::on(answer).await.map(TokioIo::new).map_err(Error::Io)
        };
        super::beside(talk, connection.with_upgrades()).await
    }
}
