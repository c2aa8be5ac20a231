//! Sources that a user writes: files, signatures, chains.

use super::*;
use crate::http::{MAX_HEADERS, TooManyHeaders};

/// A token that lies in a file.
#[derive(Debug)]
struct InFile(&'static str);

impl Source for InFile {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        match input {
            Input::Start(_) => {
                let mut writer = RequestWriter::new(request);
                writer.plain(self.0);
                Ok(Step::ReadFile { path: writer.finish()?, max: 32 })
            }
            Input::File(token) => {
                Ok(Step::Done(TokenResponse::new(Span { start: 0, end: token.len() })))
            }
            Input::Failed(why) => Err(SourceError::Io(why)),
            _ => Err(SourceError::ORDER),
        }
    }
}

/// Proves itself by a signature over the nonce, which it sends together with it.
#[derive(Debug)]
struct Signs(Span);

impl Source for Signs {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        match input {
            Input::Start(start) => {
                let nonce = start.nonce.ok_or(ConfigError::Missing("random bytes"))?;
                let mut writer = RequestWriter::new(request);
                writer.base64url(&nonce);
                self.0 = writer.finish()?;
                Ok(Step::Sign { algorithm: Algorithm::Ps256, key: 7, data: self.0 })
            }
            Input::Signature(signature) => {
                let mut writer = RequestWriter::behind(request, self.0);
                writer.plain(".").base64url(signature);
                let body = writer.part();
                writer.plain("https://login.example/token");
                Ok(Step::Http(HttpRequest::post(writer.finish()?, body, Route::Internet)))
            }
            Input::Response(answer) => {
                Ok(Step::Done(TokenResponse::new(Span { start: 0, end: answer.body.len() })))
            }
            Input::Failed(why) => Err(SourceError::Io(why)),
            _ => Err(SourceError::ORDER),
        }
    }
}

/// A host with a file, a key, and a server that says back what it was sent.
#[derive(Debug)]
struct Host;

impl SourceIo for Host {
    type Error = IoFailure;

    async fn http(
        &mut self,
        request: &Request<'_>,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), IoFailure> {
        if request.route == Route::LinkLocal {
            return Err(IoFailure::Connect);
        }
        response.status(200);
        Ok(response.body_chunk(request.body)?)
    }

    async fn read_file(&mut self, path: &str, memory: &mut [u8]) -> Result<usize, IoFailure> {
        assert_eq!(memory.len(), 32, "no more than the source takes");
        let content: &[u8] = if path == "/token" { b"file.token" } else { b"" };
        let room = memory.get_mut(..content.len()).filter(|room| !room.is_empty());
        room.ok_or(IoFailure::NotFound)?.copy_from_slice(content);
        Ok(content.len())
    }

    async fn sign(
        &mut self,
        algorithm: Algorithm,
        key: u8,
        data: &[u8],
        memory: &mut [u8],
    ) -> Result<usize, IoFailure> {
        assert_eq!((algorithm, key), (Algorithm::Ps256, 7));
        memory[0] = data.len() as u8;
        Ok(1)
    }

    fn nonce(&mut self) -> Option<[u8; 16]> {
        Some([0xff; 16])
    }
}

/// What comes of `source`: a token, or why there is none.
fn fetched(source: &mut impl Source, io: &mut impl SourceIo<Error = IoFailure>) -> String {
    let mut driven = HttpSource::new(source, io, [0; 512]);
    let mut memory = [0; 512];
    match block_on(driven.fetch(&Start::new(DEADLINE), &mut memory)) {
        Ok(token) => token.secret.expose().to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_source_reads_files_and_has_its_hosts_key_sign() {
    assert_eq!(fetched(&mut InFile("/token"), &mut Host), "file.token");
    // 16 bytes are 22 characters, and that is what was signed.
    let signed = format!("{}.Fg", "_".repeat(21) + "w");
    assert_eq!(fetched(&mut Signs(Span::EMPTY), &mut Host), signed);
    let error = fetched(&mut InFile("/none"), &mut Host);
    assert!(error.contains("the file or the key was not found"), "{error}");
}

#[test]
fn what_a_host_does_not_have_is_an_error_of_its_configuration() {
    let mut nothing = Script(Vec::new());
    let error = fetched(&mut InFile("/token"), &mut nothing);
    assert!(error.contains("this host can't read files or sign"), "{error}");
    let error = fetched(&mut Signs(Span::EMPTY), &mut nothing);
    assert!(error.contains("the identity needs random bytes"), "{error}");
}

#[test]
fn a_chain_passes_over_what_is_not_there_and_nothing_else() {
    let mut chain = Chain::new(imds(), Chain::new(InFile("/none"), InFile("/token")));
    for _ in 0..2 {
        assert_eq!(fetched(&mut chain, &mut Host), "file.token");
        assert_eq!(chain.passed_over(), Some(SourceError::Io(IoFailure::Connect)));
    }
    // Somebody is there, and says no.
    let mut chain = Chain::new(imds(), InFile("/token"));
    let mut refuses = Script(std::vec![(400, br#"{"error":"invalid_request"}"#)]);
    let error = fetched(&mut chain, &mut refuses);
    assert!(error.contains("invalid_request") && chain.passed_over().is_none(), "{error}");
}

#[test]
fn what_a_chain_has_found_it_keeps_even_if_it_fails_later() {
    let mut chain = Chain::new(InFile("/token"), Signs(Span::EMPTY));
    assert_eq!(fetched(&mut chain, &mut Host), "file.token");
    // The other one is another identity: nobody changes who he is for a moment's failure.
    let error = fetched(&mut chain, &mut Script(Vec::new()));
    assert!(error.contains("this host can't read files or sign"), "{error}");
}

#[test]
fn too_many_header_lines_are_an_error() {
    let mut request = HttpRequest::get(Span::EMPTY, Route::Internet);
    for _ in 0..MAX_HEADERS {
        assert_eq!(request.header("X", Span::EMPTY), Ok(()));
    }
    assert_eq!(request.header("X", Span::EMPTY), Err(TooManyHeaders));
}

#[test]
fn an_answer_that_no_step_asked_for_is_an_error() {
    let mut request = [0; 512];
    for input in [Input::File(b"x"), Input::Signature(b"x")] {
        assert_eq!(imds().next(input, &mut request).unwrap_err(), SourceError::ORDER);
    }
    let failed = Input::Failed(IoFailure::Tls);
    let error = principal().next(failed, &mut request).unwrap_err();
    assert_eq!(error, SourceError::Io(IoFailure::Tls));
}
