//! The HTTP side: HTTPS for Entra and those whose certificates are their own; plain HTTP for managed
//! identities, and for who commands us.

pub(crate) mod message;

use std::io::Error;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::Shared;
use crate::capture::Captured;
use crate::entra::client_credentials;
use crate::faults::{Event, Fault};
use crate::managed;
use message::{Answer, Content, Reaction, react, taken};

/// Who serves the requests of a port.
#[derive(Clone, Debug)]
pub(crate) enum Service {
    /// Entra, which is this authority to its clients.
    Authority(String),
    /// The proxy in front of the same, which AKS gives to identity bindings: below [`BINDING_PATH`].
    Binding(String),
    /// Service Fabric's endpoint.
    Fabric,
    /// The managed identities of the others, and our commands.
    Plain,
}

/// Where the proxy of identity bindings has what is at the root of an authority.
pub(crate) const BINDING_PATH: &str = "/proxy";

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
            connection(shared, stream, Service::Authority(base)).await;
        });
    }
}

/// Serves by TLS with a certificate of its own.
pub(crate) async fn serve_tls(
    shared: Arc<Shared>,
    listener: TcpListener,
    config: Arc<ServerConfig>,
    service: Service,
) {
    let acceptor = TlsAcceptor::from(config);
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, acceptor, service) = (shared.clone(), acceptor.clone(), service.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            connection(shared, stream, service).await;
        });
    }
}

/// Serves managed identities and commands at `listener`.
pub(crate) async fn serve_plain(shared: Arc<Shared>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(shared.clone(), stream, Service::Plain));
    }
}

async fn connection(
    shared: Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: Service,
) {
    let service = service_fn(|request| answer(&shared, &service, request));
    let http = hyper::server::conn::http1::Builder::new();
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    shared: &Shared,
    service: &Service,
    request: Request<Incoming>,
) -> Result<Response<Content>, Error> {
    let request = taken(request).await?;
    if !request.path.starts_with("/control/") {
        shared.capture.add(&request);
    }
    match service {
        Service::Authority(base) => authority(shared, base, &request).await,
        Service::Binding(base) => {
            let path = request.path.strip_prefix(BINDING_PATH).unwrap_or_default().to_owned();
            authority(shared, base, &Captured { path, ..request }).await
        }
        Service::Fabric => react(fabric(shared, &request)).await,
        Service::Plain => react(plain(shared, &request)).await,
    }
}

async fn authority(
    shared: &Shared,
    base: &str,
    request: &Captured,
) -> Result<Response<Content>, Error> {
    let is = |end: &str| request.path.ends_with(end);
    let document = |document| Reaction::Answer(Answer::json(200, &document));
    let reaction = match request.method.as_str() {
        "GET" if is("/v2.0/.well-known/openid-configuration") => {
            document(shared.entra.discovery(base))
        }
        "GET" if is("/discovery/v2.0/keys") => document(shared.entra.jwks()),
        "POST" if is("/oauth2/v2.0/token") => {
            let mut response = react(client_credentials(shared, request, base)).await?;
            for (name, value) in ENTRA_HEAD {
                response.headers_mut().append(name, HeaderValue::from_static(value));
            }
            return Ok(response);
        }
        _ => Reaction::Answer(Answer::not_found()),
    };
    react(reaction).await
}

fn fabric(shared: &Shared, request: &Captured) -> Reaction {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/sf/token") => managed::service_fabric(shared, request),
        _ => Reaction::Answer(Answer::not_found()),
    }
}

fn plain(shared: &Shared, request: &Captured) -> Reaction {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/metadata/identity/oauth2/token") => managed::imds(shared, request),
        ("GET", "/msi/token") => managed::app_service(shared, request),
        ("GET", "/arc/metadata/identity/oauth2/token") => managed::arc(shared, request),
        ("GET", "/ml/token") => managed::machine_learning(shared, request),
        (_, "/cloudshell/token") => managed::cloud_shell(shared, request),
        (method, path) => Reaction::Answer(match path.strip_prefix("/control/") {
            Some(command) => control(shared, method, command, &request.body),
            None => Answer::not_found(),
        }),
    }
}

/// Does what a command says.
fn control(shared: &Shared, method: &str, command: &str, body: &str) -> Answer {
    let done = || Answer::json(200, &json!({}));
    match (method, command) {
        ("GET", "counters") => Answer::json(200, &shared.counters.json()),
        ("GET", "requests") => Answer::json(200, &shared.capture.json()),
        ("POST", "arm") => {
            let mut lines = body.lines().filter(|line| !line.trim().is_empty());
            match lines.try_for_each(|line| shared.faults.arm(line)) {
                Ok(()) => done(),
                Err(error) => Answer::new(400, error.to_string()),
            }
        }
        ("POST", "reset") => {
            shared.reset();
            done()
        }
        ("POST", "rotate") => {
            shared.entra.rotate_federated_token();
            done()
        }
        ("POST", "cut") => {
            shared.cut();
            done()
        }
        _ => Answer::not_found(),
    }
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
