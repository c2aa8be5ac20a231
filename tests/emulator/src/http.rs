//! The HTTP side: HTTPS for Entra; plain HTTP for managed identities, and for who commands us.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::Shared;
use crate::entra::{Answer, Reaction};
use crate::faults::{Event, Fault};

/// Serves the authority at `listener`, which is `base` to its clients.
pub(crate) async fn serve_authority(shared: Arc<Shared>, listener: TcpListener, base: String) {
    let acceptor = TlsAcceptor::from(shared.pki.server.clone());
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, acceptor, base) = (shared.clone(), acceptor.clone(), base.clone());
        tokio::spawn(async move {
            let acceptor = match shared.faults.event(Event::Https) {
                Some(Fault::LeafOnly) => TlsAcceptor::from(shared.pki.leaf_only[0].clone()),
                _ => acceptor,
            };
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service =
                service_fn(move |request| authority(shared.clone(), base.clone(), request));
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Serves managed identities and commands at `listener`.
pub(crate) async fn serve_plain(shared: Arc<Shared>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| plain(shared.clone(), request));
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn authority(
    shared: Arc<Shared>,
    base: String,
    request: Request<Incoming>,
) -> Result<Response<Content>, Error> {
    let path = request.uri().path().to_owned();
    if request.method() == Method::GET {
        return Ok(if path.ends_with("/v2.0/.well-known/openid-configuration") {
            answer(json(shared.entra.discovery(&base).to_string()))
        } else if path.ends_with("/discovery/v2.0/keys") {
            answer(json(shared.entra.jwks().to_string()))
        } else {
            answer(not_found())
        });
    }
    if !path.ends_with("/oauth2/v2.0/token") {
        return Ok(answer(not_found()));
    }
    let (request, body) = taken(request).await?;
    let request = crate::entra::Request { fields: fields(&body), ..request };
    let reaction = shared.entra.client_credentials(&request, &shared.faults, &shared.counters);
    let mut response = react(reaction).await?;
    for (name, value) in ENTRA_HEAD {
        response.headers_mut().append(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// What Entra's token endpoint says in each answer beside what matters: more than a kilobyte.
const ENTRA_HEAD: [(&str, &str); 15] = [
    ("cache-control", "no-store, no-cache"),
    ("pragma", "no-cache"),
    ("expires", "-1"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("p3p", "CP=\"DSP CUR OTPi IND OTRi ONL FIN\""),
    ("x-ms-request-id", "6b1f8e52-9c0d-4a37-8f4b-0d3a5c7e9a00"),
    ("x-ms-ests-server", "2.1.22140.5 - WEULR1 ProdSlices"),
    ("x-ms-clitelem", "1,0,0,,"),
    ("x-ms-srs", "1.P"),
    ("x-xss-protection", "0"),
    (
        "content-security-policy-report-only",
        "object-src 'none'; base-uri 'self'; script-src 'self' 'nonce-Xn0rrYyJ4Zt7e8bP1aQ2Hg' \
        'unsafe-inline' 'unsafe-eval' https://*.msauth.net https://*.msftauth.net \
        https://*.msftauthimages.net https://*.msauthimages.net https://*.msidentity.com \
        https://*.microsoftonline-p.com https://*.microsoftazuread-sso.com https://*.azureedge.net \
        https://*.outlook.com https://*.office.com https://*.office365.com https://*.microsoft.com \
        https://*.bing.com 'report-sample'; report-uri https://csp.microsoft.com/report/ESTS-UX-All",
    ),
    (
        "set-cookie",
        "fpc=AhV3Zp0c5dBFk7b1m2n3o4p5q6r7AQAAAMCa8dwOAAAA; expires=Sat, 26-Dec-2026 09:00:00 GMT; \
        path=/; secure; HttpOnly; SameSite=None",
    ),
    ("set-cookie", "x-ms-gateway-slice=estsfd; path=/; secure; httponly"),
    ("set-cookie", "stsservicecookie=estsfd; path=/; secure; httponly"),
];

async fn plain(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Content>, Error> {
    let method = request.method().clone();
    let (request, body) = taken(request).await?;
    let (faults, counters) = (&shared.faults, &shared.counters);
    let reaction = match (&method, request.path.as_str()) {
        (&Method::GET, "/metadata/identity/oauth2/token") => {
            shared.entra.imds(&request, faults, counters)
        }
        (&Method::GET, "/msi/token") => shared.entra.app_service(&request, faults, counters),
        (&Method::GET, "/control/counters") => {
            Reaction::Answer(json(shared.counters.json().to_string()))
        }
        (&Method::POST, "/control/arm") => {
            let mut lines = body.lines().filter(|line| !line.trim().is_empty());
            let armed = lines.try_for_each(|line| shared.faults.arm(line));
            Reaction::Answer(match armed {
                Ok(()) => json("{}".into()),
                Err(error) => Answer { status: 400, retry_after: None, body: error.to_string() },
            })
        }
        (&Method::POST, "/control/reset") => {
            shared.reset();
            Reaction::Answer(json("{}".into()))
        }
        (&Method::POST, "/control/cut") => {
            shared.cut();
            Reaction::Answer(json("{}".into()))
        }
        _ => Reaction::Answer(not_found()),
    };
    react(reaction).await
}

/// Takes a request in: what matters of its head, with the fields of the query, and its body.
async fn taken(request: Request<Incoming>) -> Result<(crate::entra::Request, String), Error> {
    let (head, body) = request.into_parts();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
    let body = body.collect().await.map_err(Error::other)?.to_bytes();
    let request = crate::entra::Request {
        path: head.uri.path().to_owned(),
        fields: fields(head.uri.query().unwrap_or_default()),
        headers: headers.collect(),
    };
    Ok((request, String::from_utf8_lossy(&body).into_owned()))
}

/// A body of one piece.
struct Content {
    bytes: Option<Bytes>,
    /// The head says how long it is.
    has_length: bool,
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = self.bytes.take().filter(|bytes| !bytes.is_empty());
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.has_length && self.bytes.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        let len = self.bytes.as_ref().map_or(0, Bytes::len);
        if self.has_length { SizeHint::with_exact(len as u64) } else { SizeHint::default() }
    }
}

async fn react(reaction: Reaction) -> Result<Response<Content>, Error> {
    match reaction {
        Reaction::Answer(content) => Ok(answer(content)),
        Reaction::Later(wait, content) => {
            tokio::time::sleep(wait).await;
            Ok(answer(content))
        }
        Reaction::CutAfter(bytes, mut content) => {
            content.body.truncate(bytes);
            let mut response = answer(content);
            // Who speaks HTTP/1.0 ends a body with the connection.
            *response.version_mut() = Version::HTTP_10;
            response.body_mut().has_length = false;
            Ok(response)
        }
        Reaction::Hang => std::future::pending().await,
        Reaction::Cut => Err(Error::other("cut on command")),
    }
}

fn json(body: String) -> Answer {
    Answer { status: 200, retry_after: None, body }
}

fn not_found() -> Answer {
    Answer { status: 404, retry_after: None, body: String::new() }
}

fn answer(content: Answer) -> Response<Content> {
    let mut response =
        Response::new(Content { bytes: Some(content.body.into()), has_length: true });
    // A fault may ask for a status that HTTP doesn't have: then it is our own fault.
    *response.status_mut() =
        content.status.try_into().unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    if let Some(Ok(wait)) = content.retry_after.map(HeaderValue::try_from) {
        headers.insert(RETRY_AFTER, wait);
    }
    response
}

/// The fields of a form or a query, decoded.
fn fields(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
