//! The identities of the core, over `fetch`. What an application proves itself with comes from the host, anew for
//! each token: it may have been replaced.

use alloc::boxed::Box;

use js_sys::Uint8Array;
use redis_entraid_client::{
    EnvSource, EnvironmentText, FileSource, Growable, ProofFile, REQUEST_MEMORY,
};
use redis_entraid_core::http::{Request, ResponseWriter};
use redis_entraid_core::source::{
    self, Algorithm, ClientAssertion, ClientCertificate, Input, IoError, Source, SourceError,
    SourceIo, Start, Step,
};
use redis_entraid_core::storage::Storage;
use redis_entraid_core::token::Token;
use wasm_bindgen::JsCast;

use crate::host::{Host, Problem, Proof};
use crate::http::Fetch;
use crate::source::Error;

/// An identity of the core's.
pub(crate) struct Identity {
    host: Host,
    kind: Kind,
    /// Where the variables say that the proof of an application is.
    path: EnvironmentText,
}

enum Kind {
    Common(EnvSource),
    Assertion(ClientAssertion<EnvironmentText>),
    Certificate(ClientCertificate<EnvironmentText>),
}

impl Identity {
    /// `scope` is another one than usual, for an application with a proof.
    pub(crate) fn new(host: Host, source: FileSource, scope: Option<EnvironmentText>) -> Self {
        let (kind, path) = match source {
            FileSource::Common(source) => (Kind::Common(source), EnvironmentText::default()),
            FileSource::FederatedToken(ProofFile { authority, client_id, path }) => {
                let nothing = EnvironmentText::default();
                let mut source = ClientAssertion::new(authority, client_id, nothing);
                if let Some(scope) = scope {
                    source = source.with_scope(scope);
                }
                (Kind::Assertion(source), path)
            }
            FileSource::Certificate(ProofFile { authority, client_id, path }) => {
                let mut source = ClientCertificate::new(authority, client_id, [0; 32]);
                if let Some(scope) = scope {
                    source = source.with_scope(scope);
                }
                (Kind::Certificate(source), path)
            }
        };
        Self { host, kind, path }
    }

    pub(crate) async fn fetch<'b>(
        &mut self,
        start: &Start,
        memory: &'b mut [u8],
    ) -> Result<Token<'b>, Error> {
        let Self { host, kind, path } = self;
        let mut io = Proving { fetch: Fetch(host.clone()), key: None, failed: None };
        let mut proved = Proved(kind);
        if !matches!(proved.0, Kind::Common(_)) {
            let is_certificate = matches!(proved.0, Kind::Certificate(_));
            let proof = host.prove(is_certificate, path).done().await.map_err(Error::Function)?;
            let proof: Proof = proof.unchecked_into();
            match &mut proved.0 {
                Kind::Common(_) => {}
                Kind::Assertion(source) => source.set_assertion(proof.assertion().into()),
                Kind::Certificate(source) => {
                    source.set_thumbprint(bytes(&proof.thumbprint()));
                    io.key = Some(proof);
                }
            }
        }
        let mut request = Growable::new(REQUEST_MEMORY, REQUEST_MEMORY);
        let fetched = source::fetch(proved.0, &mut io, start, request.room_mut(), memory).await;
        match io.failed {
            Some(problem) => Err(Error::Function(problem)),
            None => fetched.map_err(|error| Error::Driven(Box::new(error))),
        }
    }

    pub(crate) fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        self.kind.identify(feed);
    }
}

/// An identity while it asks: then its assertion is wiped, whatever came of that.
struct Proved<'k>(&'k mut Kind);

impl Drop for Proved<'_> {
    fn drop(&mut self) {
        if let Kind::Assertion(source) = self.0 {
            source.set_assertion(EnvironmentText::default());
        }
    }
}

impl Source for Kind {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        match self {
            Self::Common(source) => source.next(input, request),
            Self::Assertion(source) => source.next(input, request),
            Self::Certificate(source) => source.next(input, request),
        }
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Common(source) => source.identify(feed),
            Self::Assertion(source) => source.identify(feed),
            Self::Certificate(source) => source.identify(feed),
        }
    }
}

/// Sends requests through the host, and signs with the key that it has.
struct Proving {
    fetch: Fetch,
    key: Option<Proof>,
    /// Why the host did not sign.
    failed: Option<Problem>,
}

impl SourceIo for Proving {
    type Error = Problem;

    async fn http(
        &mut self,
        request: &Request<'_>,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), Problem> {
        self.fetch.http(request, response).await
    }

    async fn sign(
        &mut self,
        _: Algorithm,
        _: u8,
        data: &[u8],
        memory: &mut [u8],
    ) -> Result<usize, Problem> {
        let key = self.key.as_ref().ok_or_else(Problem::unsupported)?;
        match key.sign(data.into()).done().await {
            Ok(signature) => {
                let signature = signature.unchecked_into::<Uint8Array>().to_vec();
                let room = memory.get_mut(..signature.len());
                let room =
                    room.ok_or_else(|| Problem::new("large", "the signature is too large"))?;
                room.copy_from_slice(&signature);
                Ok(signature.len())
            }
            Err(problem) => {
                self.failed = Some(problem);
                Err(Problem::unsupported())
            }
        }
    }

    fn nonce(&mut self) -> Option<[u8; 16]> {
        self.key.as_ref().map(|key| bytes(&key.nonce()))
    }
}

/// As many bytes as they are, by the host's promise.
fn bytes<const N: usize>(given: &Uint8Array) -> [u8; N] {
    given.to_vec().try_into().unwrap_or([0; N])
}
