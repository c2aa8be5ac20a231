//! A server that says what it is told to, with the real key schedule but without encryption.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::vec::Vec;

use aes_gcm::aead::generic_array::GenericArray;
use aes_gcm::aead::generic_array::typenum::{U0, U12, U16, U54};
use aes_gcm::aead::{AeadCore, AeadInPlace, Buffer, KeyInit, KeySizeUser, Nonce, Tag};
use core::convert::Infallible;
use embedded_io_async::{ErrorType, Read, Write};
use embedded_tls::TlsCipherSuite;
use hmac::{Hmac, Mac};
use p256::elliptic_curve::sec1::ToEncodedPoint;
use rand_core::OsRng;
use rcgen::{CertificateParams, Issuer, KeyPair, KeyUsagePurpose, SigningKey};
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};

use crate::suite::{Checked, Suite, sealed::Sealed};
use crate::{Buffers, Config, Error, Halves, RECORDS_IN, Tls, anchor};

/// A cipher that does nothing: records are their content and a tag of 16 bytes.
#[derive(Debug)]
pub(super) struct NoCipher;

impl KeySizeUser for NoCipher {
    type KeySize = U16;
}

impl KeyInit for NoCipher {
    fn new(_: &GenericArray<u8, U16>) -> Self {
        Self
    }
}

impl AeadCore for NoCipher {
    type NonceSize = U12;
    type TagSize = U16;
    type CiphertextOverhead = U0;
}

impl AeadInPlace for NoCipher {
    fn encrypt_in_place_detached(
        &self,
        _: &Nonce<Self>,
        _: &[u8],
        _: &mut [u8],
    ) -> aes_gcm::aead::Result<Tag<Self>> {
        Ok(GenericArray::default())
    }

    fn decrypt_in_place(
        &self,
        _: &Nonce<Self>,
        _: &[u8],
        buffer: &mut dyn Buffer,
    ) -> aes_gcm::aead::Result<()> {
        buffer.truncate(buffer.len().checked_sub(16).ok_or(aes_gcm::aead::Error)?);
        Ok(())
    }

    fn decrypt_in_place_detached(
        &self,
        _: &Nonce<Self>,
        _: &[u8],
        _: &mut [u8],
        _: &Tag<Self>,
    ) -> aes_gcm::aead::Result<()> {
        Ok(())
    }
}

macro_rules! suite {
    ($name:ident, $cipher:ty) => {
        #[derive(Debug)]
        pub(super) struct $name;

        impl TlsCipherSuite for $name {
            const CODE_POINT: u16 = 0x1301;
            type Cipher = $cipher;
            type KeyLen = U16;
            type IvLen = U12;
            type Hash = Sha256;
            type LabelBufferSize = U54;
        }

        impl Sealed for $name {}
        impl Suite for $name {}
    };
}

// As the real ones, but in the clear.
suite!(Clear, Checked<NoCipher>);
// The same, without a look at what is inside.
suite!(Careless, NoCipher);

/// What went to the server, and what comes from it.
pub(super) struct Wire<F> {
    sent: Rc<RefCell<Vec<u8>>>,
    answer: Option<F>,
    received: Vec<u8>,
    at: usize,
    /// The most bytes that are read at once.
    chunk: usize,
}

struct Sent(Rc<RefCell<Vec<u8>>>);

impl<F> ErrorType for Wire<F> {
    type Error = Infallible;
}

impl ErrorType for Sent {
    type Error = Infallible;
}

impl<F: FnOnce(&[u8]) -> Vec<u8>> Read for Wire<F> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        if let Some(answer) = self.answer.take() {
            self.received = answer(&self.sent.borrow());
        }
        let rest = &self.received[self.at..];
        let len = rest.len().min(buf.len()).min(self.chunk);
        buf[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}

impl Write for Sent {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        self.0.borrow_mut().extend_from_slice(buf);
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    /// The handshake succeeded.
    pub(super) opened: bool,
    /// All that was read afterwards.
    pub(super) data: Vec<u8>,
    /// Why it ended, if not with close_notify.
    pub(super) error: Option<Error>,
    /// The bytes sent after the hello.
    pub(super) answered: usize,
}

/// Connects to a server that answers the hello with `answer`, and reads all it says.
pub(super) fn converse<S: Suite>(chunk: usize, answer: impl FnOnce(&[u8]) -> Vec<u8>) -> Outcome {
    let sent = Rc::new(RefCell::new(Vec::new()));
    let (pki, hello) = (pki(), Rc::new(RefCell::new(0)));
    let length = hello.clone();
    let answer = move |sent: &[u8]| {
        *length.borrow_mut() = sent.len();
        answer(sent)
    };
    let wire =
        Wire { sent: sent.clone(), answer: Some(answer), received: Vec::new(), at: 0, chunk };
    let halves = Halves::new(wire, Sent(sent.clone()));
    let roots = [anchor(&pki.root).unwrap()];
    let config = Config::new("cache.example", &roots, UnixTime::now());
    let (mut records_in, mut records_out) = (std::vec![0; RECORDS_IN], [0; 1024]);
    let buffers = Buffers { records_in: &mut records_in, records_out: &mut records_out };
    let mut outcome = Outcome { opened: false, data: Vec::new(), error: None, answered: 0 };
    let talk = async {
        let mut tls = Tls::<_, _, S>::open(&halves, buffers, &config, &mut OsRng).await?;
        outcome.opened = true;
        let (mut reader, _) = tls.split();
        let mut chunk = [0; 100];
        loop {
            match reader.read(&mut chunk).await? {
                0 => return Ok(()),
                len => outcome.data.extend_from_slice(&chunk[..len]),
            }
        }
    };
    outcome.error = now(talk).err();
    outcome.answered = sent.borrow().len() - *hello.borrow();
    outcome
}

/// What never has to wait.
pub(super) fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it hangs"),
    }
}

/// The certificates and the key of the server.
pub(super) struct Pki {
    pub(super) root: CertificateDer<'static>,
    pub(super) leaf: CertificateDer<'static>,
    key: KeyPair,
}

pub(super) fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let (root, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = std::vec![KeyUsagePurpose::KeyCertSign];
        let der = params.self_signed(&root).unwrap().der().clone();
        let issuer = Issuer::new(params, root);
        let leaf = CertificateParams::new(["cache.example".into()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap().der().clone();
        Pki { root: der, leaf, key }
    })
}

/// The server's side of a handshake.
pub(super) struct Server {
    transcript: Vec<u8>,
    finished_key: Vec<u8>,
    /// What goes to the client.
    pub(super) out: Vec<u8>,
}

impl Server {
    /// Answers a hello. The server's private key is 1, so that what both share is the client's
    /// public key.
    pub(super) fn new(sent: &[u8]) -> Self {
        let share = sent.windows(5).position(|w| w == [0, 0x17, 0, 0x41, 4]).unwrap() + 5;
        let shared = &sent[share..][..32];
        let mut body = std::vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0x13, 0x01, 0]);
        let mut extensions = std::vec![0, 43, 0, 2, 3, 4, 0, 51, 0, 69, 0, 0x17, 0, 65];
        extensions
            .extend_from_slice(p256::AffinePoint::GENERATOR.to_encoded_point(false).as_bytes());
        body.extend_from_slice(&vector(2, &extensions));
        let hello = message(2, &body);
        let transcript = [&sent[5..], &hello].concat();
        let out = record(22, &hello);
        let early = extract(&[0; 32], &[0; 32]);
        let derived = expand(&early, "derived", &Sha256::digest([]));
        let secret = extract(&derived, shared);
        let traffic = expand(&secret, "s hs traffic", &Sha256::digest(&transcript));
        Self { transcript, finished_key: expand(&traffic, "finished", &[]), out }
    }

    /// Says a message of the handshake, which counts.
    fn say(&mut self, message: Vec<u8>) -> Vec<u8> {
        self.transcript.extend_from_slice(&message);
        message
    }

    pub(super) fn extensions(&mut self) -> Vec<u8> {
        self.say(message(8, &[0, 0]))
    }

    pub(super) fn certificate(&mut self) -> Vec<u8> {
        let entry = [vector(3, &pki().leaf), std::vec![0, 0]].concat();
        self.say(message(11, &[std::vec![0], vector(3, &entry)].concat()))
    }

    pub(super) fn proof(&mut self) -> Vec<u8> {
        let mut signed = [0x20; 64].to_vec();
        signed.extend_from_slice(b"TLS 1.3, server CertificateVerify\0");
        signed.extend_from_slice(&Sha256::digest(&self.transcript));
        let signature = pki().key.sign(&signed).unwrap();
        self.say(message(15, &[std::vec![4, 3], vector(2, &signature)].concat()))
    }

    pub(super) fn finished(&mut self) -> Vec<u8> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.finished_key).unwrap();
        mac.update(&Sha256::digest(&self.transcript));
        let mac = mac.finalize().into_bytes();
        self.say(message(20, &mac))
    }

    /// All that a server has to say before it is the client's turn.
    pub(super) fn handshake(&mut self) -> Vec<u8> {
        [self.extensions(), self.certificate(), self.proof(), self.finished()].concat()
    }

    /// Sends a record that is as good as encrypted.
    pub(super) fn send(&mut self, kind: u8, content: &[u8]) {
        self.out.extend_from_slice(&encrypted(kind, content));
    }
}

pub(super) fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [std::vec![kind, 3, 3], vector(2, content)].concat()
}

pub(super) fn encrypted(kind: u8, content: &[u8]) -> Vec<u8> {
    record(23, &[content, &[kind], &[0; 16]].concat())
}

pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [std::vec![kind], vector(3, body)].concat()
}

pub(super) fn vector(width: usize, content: &[u8]) -> Vec<u8> {
    [&content.len().to_be_bytes()[8 - width..], content].concat()
}

fn extract(salt: &[u8], input: &[u8]) -> Vec<u8> {
    hkdf::Hkdf::<Sha256>::extract(Some(salt), input).0.to_vec()
}

/// HKDF-Expand-Label of RFC 8446 section 7.1.
fn expand(secret: &[u8], label: &str, context: &[u8]) -> Vec<u8> {
    let label = vector(1, [b"tls13 ", label.as_bytes()].concat().as_slice());
    let info = [std::vec![0, 32], label, vector(1, context)].concat();
    let mut output = [0; 32];
    hkdf::Hkdf::<Sha256>::from_prk(secret).unwrap().expand(&info, &mut output).unwrap();
    output.to_vec()
}
