mod application;
mod local;
mod steps;

use super::*;
use crate::http::{Method, Request, ResponseWriter, Route};
use crate::json::JsonError;
use crate::source::{IoFailure, Start};
use crate::storage::{Buffer, CapacityError};
use crate::time::{Instant, UnixTime};
use core::future::Future;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const DEADLINE: Instant = Instant::from_millis(30_000);

/// What a request says, in one text.
fn first_request(source: &mut impl Source) -> String {
    let mut out = [0; 1024];
    let start = Input::Start(Start::new(DEADLINE));
    let Step::Http(request) = source.next(start, &mut out).unwrap() else { panic!("no request") };
    let request = request.read(&out, DEADLINE).unwrap();
    assert_eq!(request.deadline, DEADLINE);
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let body = core::str::from_utf8(request.body).unwrap();
    format!(
        "{} {} {:?}\n{}{body}",
        request.method.name(),
        request.url,
        request.route,
        headers.concat()
    )
}

fn answer(
    source: &mut impl Source,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<TokenResponse, SourceError> {
    let (mut out, mut memory) = ([0; 512], [0; 4096]);
    let mut writer = ResponseWriter::new(&mut memory);
    writer.status(status);
    for (name, value) in headers {
        writer.header(name, value.as_bytes());
    }
    writer.body_chunk(body).unwrap();
    match source.next(Input::Response(writer.finish()), &mut out)? {
        Step::Done(issued) => Ok(issued),
        step => panic!("{step:?}"),
    }
}

fn principal() -> ServicePrincipal<&'static str> {
    ServicePrincipal::with_secret(Authority::tenant(TENANT), "my client", "s3cr+t&~/=")
}

fn imds() -> ManagedIdentity<&'static str> {
    ManagedIdentity::imds(Selector::System)
}

fn app_service(selector: Selector<&'static str>) -> ManagedIdentity<&'static str> {
    ManagedIdentity::app_service("http://localhost:42356/msi/token", "hush-hush", selector)
}

#[test]
fn each_authority_has_its_url() {
    let url = |authority| {
        let mut source = ServicePrincipal::with_secret(authority, "id", "secret");
        let request = first_request(&mut source);
        request.split(' ').nth(1).unwrap().to_string()
    };
    let endpoint = |base: &str| format!("{base}/oauth2/v2.0/token");
    assert_eq!(
        url(Authority::in_cloud(Cloud::UsGovernment, "t")),
        endpoint("https://login.microsoftonline.us/t")
    );
    assert_eq!(
        url(Authority::in_cloud(Cloud::China, "t")),
        endpoint("https://login.partner.microsoftonline.cn/t")
    );
    assert_eq!(
        url(Authority::at_host("https://localhost:8443/", "t")),
        endpoint("https://localhost:8443/t")
    );
    assert_eq!(url(Authority::custom("https://host/t/")), endpoint("https://host/t"));
}

#[test]
fn an_authority_that_entra_refuses_is_refused_here() {
    let check = |authority| ServicePrincipal::with_secret(authority, "id", "secret").check();
    for tenant in ["", "common", "consumers"] {
        assert_eq!(check(Authority::tenant(tenant)), Err(ConfigError::TenantRequired), "{tenant}");
    }
    assert_eq!(check(Authority::custom("https://host/common/")), Err(ConfigError::TenantRequired));
    assert_eq!(check(Authority::custom("https://host")), Err(ConfigError::TenantRequired));
    assert_eq!(
        check(Authority::custom("http://host/t")),
        Err(ConfigError::NotHttps("the authority"))
    );
    assert_eq!(
        check(Authority::at_host("https://", "t")),
        Err(ConfigError::NotHttps("the authority"))
    );
    assert_eq!(check(Authority::at_host("HTTPS://host", "t")), Ok(()));
    let no_secret = ServicePrincipal::with_secret(Authority::tenant("t"), "id", "");
    assert_eq!(no_secret.check(), Err(ConfigError::Empty("the client secret")));
}

#[test]
fn each_host_of_managed_identities_is_asked_in_its_own_words() {
    let base = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01\
        &resource=https%3A%2F%2Fredis.azure.com";
    for (selector, query) in [
        (Selector::System, ""),
        (Selector::ClientId("c"), "&client_id=c"),
        (Selector::ObjectId("o"), "&object_id=o"),
        (Selector::ResourceId("/sub/r"), "&msi_res_id=%2Fsub%2Fr"),
    ] {
        assert_eq!(
            first_request(&mut ManagedIdentity::imds(selector)),
            format!("GET {base}{query} LinkLocal\nMetadata: true\n")
        );
    }
    let base = "http://localhost:42356/msi/token?api-version=2019-08-01\
        &resource=https%3A%2F%2Fredis.azure.com";
    for (selector, query) in [
        (Selector::System, ""),
        (Selector::ClientId("c"), "&client_id=c"),
        (Selector::ObjectId("o"), "&principal_id=o"),
        (Selector::ResourceId("/sub/r"), "&mi_res_id=%2Fsub%2Fr"),
    ] {
        assert_eq!(
            first_request(&mut app_service(selector)),
            format!("GET {base}{query} LinkLocal\nX-IDENTITY-HEADER: hush-hush\n")
        );
    }
    let mut elsewhere = ManagedIdentity::imds_at("http://localhost:1/", Selector::System);
    assert!(first_request(&mut elsewhere).starts_with("GET http://localhost:1/metadata/identity"));
    let mut nobody = app_service(Selector::ClientId(""));
    let error = nobody.next(Input::Start(Start::new(DEADLINE)), &mut [0; 512]).unwrap_err();
    assert_eq!(error, SourceError::Config(ConfigError::Empty("the identity's id")));
}

#[test]
fn a_request_buffer_too_small_is_named_with_the_size_it_needs() {
    let start = || Input::Start(Start::new(DEADLINE));
    let error = principal().next(start(), &mut [0; 100]).unwrap_err();
    let SourceError::Capacity(CapacityError { buffer: Buffer::Request, needed, capacity: 100 }) =
        error
    else {
        panic!("{error:?}");
    };
    assert!(principal().next(start(), &mut std::vec![0; needed]).is_ok());
    assert!(principal().next(start(), &mut std::vec![0; needed - 1]).is_err());
}

#[test]
fn every_form_of_token_response_is_read() {
    let life = Duration::from_secs(3599);
    let mut source = principal();
    let mut read = |body: &str, headers: &[(&str, &str)]| {
        let issued = answer(&mut source, 200, headers, body.as_bytes()).unwrap();
        let expires_on = issued.expires_on.map(|time| time.0);
        (issued.expires_in, expires_on, issued.refresh_in)
    };
    let entra = r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"a.b.c","refresh_in":1800}"#;
    assert_eq!(read(entra, &[]), (Some(life), None, Some(Duration::from_secs(1800))));
    let imds = r#"{"access_token":"a","client_id":"x","refresh_token":"","expires_in":"3599","expires_on":"1795300358","not_before":"1795296459","resource":"https://redis.azure.com","token_type":"Bearer"}"#;
    assert_eq!(read(imds, &[]), (Some(life), Some(1_795_300_358), None));
    let app_service = r#"{"access_token":"a","expires_on":"1795300358","resource":"r","token_type":"Bearer","client_id":"c"}"#;
    assert_eq!(read(app_service, &[]), (None, Some(1_795_300_358), None));
    let dated = r#"{"access_token":"a","expires_on":"11/21/2026 22:32:38 +00:00"}"#;
    assert_eq!(read(dated, &[]), (None, Some(1_795_300_358), None));
    let relative = r#"{"access_token":"a","expires_on":"3599"}"#;
    assert_eq!(read(relative, &[]), (Some(life), None, None));
    let strange =
        r#"{"access_token":"a","expires_in":[1],"expires_on":"soon","x":{"access_token":"b"}}"#;
    assert_eq!(read(strange, &[]), (None, None, None));
    let mut source = principal();
    let date = [("date", "Sat, 21 Nov 2026 22:32:38 GMT")];
    let issued = answer(&mut source, 200, &date, entra.as_bytes()).unwrap();
    assert_eq!(issued.server_time, Some(UnixTime(1_795_300_358)));
}

#[test]
fn a_token_with_escapes_is_put_right() {
    let token = |raw: &str| {
        let mut memory = format!(r#"{{"x":1,"access_token":"{raw}","expires_in":1}}"#).into_bytes();
        let mut writer_memory = std::vec![0; memory.len()];
        let mut writer = ResponseWriter::new(&mut writer_memory);
        writer.status(200);
        writer.body_chunk(&memory).unwrap();
        let issued = match principal().next(Input::Response(writer.finish()), &mut []) {
            Ok(Step::Done(issued)) => issued,
            Ok(step) => panic!("{step:?}"),
            Err(error) => return Err(error),
        };
        memory.clear();
        Ok(issued.token(&writer_memory).unwrap().secret.expose().to_string())
    };
    assert_eq!(token("a.b-c_d"), Ok("a.b-c_d".into()));
    assert_eq!(token(r"a\/b\u002Bc\\d\u0022"), Ok(r#"a/b+c\d""#.into()));
    for bad in [r"a\nb", r"a\u0000b", r"a\u00e9", r"a\ud83d\ude00"] {
        assert_eq!(token(bad), Err(SourceError::NoToken), "{bad}");
    }
}

#[test]
fn what_is_no_token_response_is_an_error() {
    for (body, error) in [
        ("", SourceError::Json(JsonError::Incomplete)),
        ("<html>", SourceError::WebPage),
        ("not JSON", SourceError::Json(JsonError::Syntax { at: 0 })),
        ("{}", SourceError::NoToken),
        (r#"{"access_token":null}"#, SourceError::NoToken),
        (r#"{"access_token":17}"#, SourceError::NoToken),
        (r#"{"access_token":"a""#, SourceError::Json(JsonError::Incomplete)),
        (
            r#"{"access_token":"a","access_token":"b"}"#,
            SourceError::Json(JsonError::Syntax { at: 20 }),
        ),
    ] {
        let length = [("Content-Length", &*body.len().to_string())];
        let found = answer(&mut principal(), 200, &length, body.as_bytes()).unwrap_err();
        assert_eq!(found, error, "{body}");
        assert_eq!(found.kind(), ErrorKind::Parse);
    }
}

#[test]
fn half_a_document_whose_length_nobody_said_is_a_connection_that_broke() {
    let whole = r#"{"access_token":"a","expires_in":3599}"#;
    for at in 0..whole.len() {
        let cut = answer(&mut principal(), 200, &[], &whole.as_bytes()[..at]).unwrap_err();
        assert_eq!(cut, SourceError::Io(IoFailure::Io), "{at}");
        assert!(cut.kind().is_retryable());
    }
    assert!(answer(&mut principal(), 200, &[], whole.as_bytes()).is_ok());
    // What is whole and wrong stays that.
    let html = answer(&mut principal(), 200, &[], b"<html>").unwrap_err();
    assert_eq!(html, SourceError::WebPage);
}

#[test]
fn errors_of_entra_keep_their_code_and_say_what_to_do() {
    let body = br#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.\r\nTrace ID: x","error_codes":[7000215],"timestamp":"2026-11-21 22:32:38Z","trace_id":"x","correlation_id":"y","error_uri":"https://login.microsoftonline.com/error?code=7000215"}"#;
    let error = answer(&mut principal(), 401, &[], body).unwrap_err();
    assert_eq!(
        error,
        SourceError::Refused {
            status: 401,
            error: OAuthError::InvalidClient,
            code: Some(7_000_215),
            kind: ErrorKind::Replication,
        }
    );
    assert_eq!(
        error.to_string(),
        "the token endpoint refused: HTTP 401 invalid_client (AADSTS7000215); wrong client secret: \
        give the secret's value, not its id"
    );
    let bare = br#"{"error":"x","error_description":"AADSTS90002: Tenant 'x' not found."}"#;
    let error = answer(&mut principal(), 400, &[], bare).unwrap_err();
    assert!(error.to_string().contains("no such tenant"), "{error}");
}

#[test]
fn a_status_decides_when_to_ask_again_by_whose_it_is() {
    use ErrorKind::{Configuration, Throttled, Transient};
    fn kind(source: &mut impl Source, status: u16, wait: &str) -> ErrorKind {
        let header = [("Retry-After", wait)];
        let headers: &[_] = if wait.is_empty() { &[] } else { &header };
        answer(source, status, headers, b"<html>").unwrap_err().kind()
    }
    let mut entra = principal();
    let secs = |n| Throttled(Some(Duration::from_secs(n)));
    assert_eq!(kind(&mut entra, 429, ""), Throttled(None));
    assert_eq!(kind(&mut entra, 429, "17"), secs(17));
    assert_eq!(kind(&mut entra, 429, "999999"), secs(3600));
    assert_eq!(kind(&mut entra, 503, "5"), secs(5));
    assert_eq!(kind(&mut entra, 500, ""), Transient);
    assert_eq!(kind(&mut entra, 408, ""), Transient);
    for status in [400, 401, 403, 404, 410, 302, 204] {
        assert_eq!(kind(&mut entra, status, ""), Configuration, "{status}");
    }
    let mut metadata = imds();
    assert_eq!(kind(&mut metadata, 404, ""), Transient);
    assert_eq!(kind(&mut metadata, 410, ""), secs(10));
    assert_eq!(kind(&mut metadata, 400, ""), Configuration);
    let mut site = app_service(Selector::System);
    assert_eq!(kind(&mut site, 404, ""), Transient);
    assert_eq!(kind(&mut site, 410, ""), Configuration);
    let busy = br#"{"error":"temporarily_unavailable"}"#;
    assert_eq!(answer(&mut principal(), 400, &[], busy).unwrap_err().kind(), Transient);
}

#[test]
fn no_debug_output_shows_a_secret() {
    let shown = format!("{:?} {:?}", principal(), app_service(Selector::System));
    assert!(!shown.contains("s3cr") && !shown.contains("hush"), "{shown}");
    let mut out = [0; 1024];
    for source in [&mut principal() as &mut dyn Source, &mut app_service(Selector::System)] {
        let step = source.next(Input::Start(Start::new(DEADLINE)), &mut out).unwrap();
        let shown = format!("{step:?}");
        assert!(!shown.contains("s3cr") && !shown.contains("hush"), "{shown}");
    }
}

#[test]
fn requests_say_how_they_may_travel() {
    let mut out = [0; 1024];
    let start = Input::Start(Start::new(DEADLINE));
    let Step::Http(request) = imds().next(start, &mut out).unwrap() else { panic!() };
    assert_eq!((request.method, request.route), (Method::Get, Route::LinkLocal));
}

/// An HTTP client that answers from a script.
struct Script(Vec<(u16, &'static [u8])>);

impl SourceIo for Script {
    type Error = IoFailure;

    async fn http(
        &mut self,
        _request: &Request<'_>,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), IoFailure> {
        let (status, body) = self.0.remove(0);
        response.status(status);
        Ok(response.body_chunk(body)?)
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = core::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

#[test]
fn a_driven_source_yields_a_token_or_says_why_not() {
    let script = Script(std::vec![
        (200, br#"{"access_token":"a.b.c","expires_in":60}"#),
        (500, b""),
        (200, br#"{"access_token":"longer than the whole response buffer"}"#),
    ]);
    let mut driven = HttpSource::new(imds(), script, [0; 512]);
    let mut memory = [0; 50];
    let token = block_on(driven.fetch(&Start::new(DEADLINE), &mut memory)).unwrap();
    assert_eq!((token.secret.expose(), token.expires_in), ("a.b.c", Some(Duration::from_secs(60))));
    let error = block_on(driven.fetch(&Start::new(DEADLINE), &mut memory)).unwrap_err();
    assert_eq!(error.reason().kind(), ErrorKind::Transient);
    let error = block_on(driven.fetch(&Start::new(DEADLINE), &mut memory)).unwrap_err();
    assert_eq!(error.reason().kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("response buffer too small: 56 bytes"), "{error}");
    assert!(driven.request().iter().all(|byte| *byte == 0), "the request is wiped");
}

#[test]
fn an_error_is_one_whatever_the_status_says() {
    let body = br#"{"error":"temporarily_unavailable","error_description":"AADSTS90033: A transient error has occurred. Please try again.","error_codes":[90033]}"#;
    for status in [200, 400] {
        let error = answer(&mut principal(), status, &[], body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.to_string().contains("AADSTS90033"), "{error}");
    }
    let error = answer(&mut principal(), 200, &[], b" <!DOCTYPE html><p>Sign in").unwrap_err();
    assert!(error.to_string().contains("captive portal"), "{error}");
}

#[test]
fn several_identities_are_told_from_none() {
    let body = br#"{"error":"invalid_request","error_description":"Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"}"#;
    let mut source = ManagedIdentity::imds(Selector::<&str>::System);
    let error = answer(&mut source, 400, &[], body).unwrap_err();
    assert!(error.to_string().ends_with("set AZURE_CLIENT_ID"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

/// Answers with a head and a body that is too large, or that breaks off.
struct Page(u16, &'static [u8], Option<IoFailure>);

impl SourceIo for Page {
    type Error = IoFailure;

    async fn http(
        &mut self,
        _: &Request<'_>,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), IoFailure> {
        response.status(self.0);
        response.header("Retry-After", b"7");
        for chunk in self.1.chunks(100) {
            response.body_chunk(chunk)?;
        }
        self.2.map_or(Ok(()), Err)
    }
}

#[test]
fn the_head_of_a_refusal_holds_whatever_becomes_of_its_body() {
    let start = Start::new(DEADLINE);
    let page: &[u8] = std::format!("<html>Service {}", "x".repeat(36_343)).leak().as_bytes();
    let broken = IoFailure::Io;
    let wait = Some(Duration::from_secs(7));
    for (body, fails) in [(page, None), (b"pod list is empty", Some(broken))] {
        for status in [503, 429] {
            let (mut request, mut response) = ([0; 1024], [0; 4096]);
            let mut http = Page(status, body, fails);
            let mut source = principal();
            let fetched = fetch(&mut source, &mut http, &start, &mut request, &mut response);
            let error = block_on(fetched).unwrap_err();
            assert_eq!(error.reason().kind(), ErrorKind::Throttled(wait), "{error}");
            // Devices keep no text.
            let said = error.service_text();
            assert_eq!(said.is_some(), cfg!(feature = "error-text"));
            assert!(said.is_none_or(|said| body.starts_with(&said.as_str().as_bytes()[..10])));
        }
    }
    // Of a token, all is wanted.
    let (mut request, mut response) = ([0; 1024], [0; 4096]);
    let mut http = Page(200, page, None);
    let mut source = principal();
    let fetched = fetch(&mut source, &mut http, &start, &mut request, &mut response);
    assert!(matches!(block_on(fetched), Err(HttpSourceError::Io { .. })));
}
