//! As much of an HTTP client as the tests need: one connection for each request.

use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned,
};

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status line.
    pub(crate) line: String,
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    /// The header `name`, which is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What a form says of itself.
pub(crate) const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

pub(crate) fn get(url: &str, headers: &[&str]) -> Reply {
    let (stream, path) = plain(url);
    send(stream, "GET", &path, headers, "")
}

pub(crate) fn post(url: &str, headers: &[&str], form: &str) -> Reply {
    let (stream, path) = plain(url);
    send(stream, "POST", &path, &[headers, &[FORM]].concat(), form)
}

fn plain(url: &str) -> (TcpStream, String) {
    let (server, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    (dial(server.split(':').nth(1).unwrap()), format!("/{path}"))
}

fn dial(port: &str) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends a request, and reads the answer to the end of the connection.
pub(crate) fn send(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> Reply {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    headers.iter().for_each(|line| request.push_str(&format!("{line}\r\n")));
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let (line, head) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut reply =
        Reply { line: line.to_owned(), status, head: head.to_owned(), body: body.to_owned() };
    if reply.header("transfer-encoding").is_some() {
        reply.body = joined(body);
    }
    reply
}

/// What is in chunks.
fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, rest) = chunks.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        body.push_str(&rest[..size]);
        chunks = rest[size..].strip_prefix("\r\n").unwrap();
    }
}

/// Does TLS with the server `name` at a port, which has a certificate of the root.
pub(crate) fn trusting(port: &str, name: &str, root: &[u8]) -> Result<impl Read + Write> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root).unwrap()).unwrap();
    let config = builder().with_root_certificates(roots).with_no_client_auth();
    handshake(port, name, config)
}

/// Does TLS without verifying the server, and returns its thumbprint.
pub(crate) fn anyone(port: &str, name: &str) -> Result<(impl Read + Write, String)> {
    let verifier = Arc::new(Anyone);
    let config = builder().dangerous().with_custom_certificate_verifier(verifier);
    let stream = handshake(port, name, config.with_no_client_auth())?;
    let certificate = &stream.conn.peer_certificates().unwrap()[0];
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate);
    let thumbprint = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    Ok((stream, thumbprint))
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap()
}

fn handshake(
    port: &str,
    name: &str,
    config: ClientConfig,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream =
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), dial(port));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> core::result::Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> core::result::Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> core::result::Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
