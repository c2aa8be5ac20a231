//! Certificates of all kinds, and a real server that shows them.

#![allow(dead_code, reason = "each test file uses another part")]

use std::future::Future;
use std::sync::Arc;

use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read, Write};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SignatureAlgorithm,
};
use redis_entraid_tls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use redis_entraid_tls::rand_core::OsRng;
use redis_entraid_tls::{Buffers, Config, Error, Halves, RECORDS_IN, Tls, anchor};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) const NAME: &str = "cache.region.example";

/// A certificate, who may issue others with it, and what is between it and the root.
pub(crate) struct Node {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) issuer: Issuer<'static, KeyPair>,
    /// From the one that has issued it up to the one below the root.
    above: Vec<CertificateDer<'static>>,
    is_root: bool,
}

pub(crate) fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

/// A root named `name`.
pub(crate) fn root(name: &str, key: KeyPair) -> Node {
    let params = authority(name);
    let der = params.self_signed(&key).unwrap().der().clone();
    Node { der, issuer: Issuer::new(params, key), above: Vec::new(), is_root: true }
}

impl Node {
    /// Issues a certificate.
    pub(crate) fn issue(&self, params: CertificateParams, key: KeyPair) -> Self {
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let mut above = self.above.clone();
        if !self.is_root {
            above.insert(0, self.der.clone());
        }
        Self { der, issuer: Issuer::new(params, key), above, is_root: false }
    }

    /// What a server sends.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        [vec![self.der.clone()], self.above.clone()].concat()
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.issuer.key().serialize_der()))
    }

    /// The configuration of a server with this certificate.
    pub(crate) fn server(&self) -> ServerConfig {
        self.server_with(self.private_key())
    }

    /// The same, but it leaves out what is between it and the root.
    pub(crate) fn alone(mut self) -> ServerConfig {
        self.above.clear();
        self.server()
    }

    /// The same, but with a key that may not be the certificate's.
    pub(crate) fn server_with(&self, key: PrivateKeyDer<'static>) -> ServerConfig {
        #[derive(Debug)]
        struct Always(Arc<CertifiedKey>);
        impl ResolvesServerCert for Always {
            fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
                Some(self.0.clone())
            }
        }
        let key = CertifiedKey::new(self.chain(), any_supported_type(&key).unwrap());
        ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Always(Arc::new(key))))
    }
}

pub(crate) fn authority(name: &str) -> CertificateParams {
    let mut params = dated(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(crate) fn leaf(names: &[&str]) -> CertificateParams {
    let mut params = dated("leaf");
    for name in names {
        params.subject_alt_names.push(SanType::DnsName((*name).try_into().unwrap()));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn dated(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::now_utc() - Duration::days(1);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(30);
    params
}

pub(crate) type Half<T> = FromTokio<T>;
pub(crate) type ClientHalves = Halves<Half<ReadHalf<DuplexStream>>, Half<WriteHalf<DuplexStream>>>;
pub(crate) type ServerStream = TlsStream<DuplexStream>;

/// Both ends of a transport that holds `capacity` bytes.
pub(crate) fn transport(capacity: usize) -> (ClientHalves, DuplexStream) {
    let (client, server) = tokio::io::duplex(capacity);
    let (reader, writer) = tokio::io::split(client);
    (Halves::new(FromTokio::new(reader), FromTokio::new(writer)), server)
}

/// Runs a server's side and a client's to their ends.
pub(crate) fn run<S, C: Future>(server: S, client: C) -> C::Output
where
    S: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let both = async { tokio::join!(server, client).1 };
        tokio::time::timeout(std::time::Duration::from_secs(30), both).await.expect("it hangs")
    })
}

/// Connects as `name`, trusting `roots`, and says PING, which the server answers.
pub(crate) fn ping(server: ServerConfig, roots: &[&Node], name: &str) -> Result<(), Error> {
    ping_at(server, roots, name, UnixTime::now())
}

pub(crate) fn ping_at(
    server: ServerConfig,
    roots: &[&Node],
    name: &str,
    now: UnixTime,
) -> Result<(), Error> {
    let (halves, transport) = transport(16_384);
    let serve = async move {
        let acceptor = TlsAcceptor::from(Arc::new(server));
        // A client that refuses just goes away.
        if let Ok(mut stream) = acceptor.accept(transport).await {
            let mut ping = [0; 4];
            if stream.read_exact(&mut ping).await.is_ok() {
                stream.write_all(b"PONG").await.unwrap();
            }
        }
    };
    let client = async {
        let halves = halves;
        let roots: Vec<_> = roots.iter().map(|root| anchor(&root.der).unwrap()).collect();
        let config = Config::new(name, &roots, now);
        let (mut records_in, mut records_out) = ([0; RECORDS_IN], [0; 1024]);
        let buffers = Buffers { records_in: &mut records_in, records_out: &mut records_out };
        let mut tls = Tls::connect(&halves, buffers, &config, &mut OsRng).await?;
        let (mut reader, mut writer) = tls.split();
        writer.write_all(b"PING").await?;
        writer.flush().await?;
        let mut pong = [0; 4];
        reader.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"PONG");
        Ok(())
    };
    run(serve, client)
}
