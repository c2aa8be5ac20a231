//! What token endpoints answer, from its status line to the token.

use arbitrary::{Arbitrary, Unstructured};
use redis_entraid_core::http::ResponseWriter;
use redis_entraid_core::manager::{Action, TokenManager};
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::source::{
    Authority, Input, ManagedIdentity, Selector, ServicePrincipal, Source, SourceError, Start, Step,
};
use redis_entraid_core::time::{Instant, UnixTime};
use serde_json::Value;

#[derive(Arbitrary, Debug)]
struct Answer<'a> {
    endpoint: Endpoint,
    status: Status,
    headers: Vec<Header<'a>>,
    unix_time: Option<u64>,
    memory: u8,
    pieces: u8,
    body: &'a [u8],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Endpoint {
    Entra,
    Imds,
    AppService,
}

#[derive(Arbitrary, Debug)]
enum Status {
    Ok,
    Any(u16),
}

#[derive(Arbitrary, Debug)]
enum Header<'a> {
    Date(&'a [u8]),
    RetryAfter(&'a [u8]),
    Any(&'a str, &'a [u8]),
}

/// The bytes are an [`Arbitrary`] answer.
pub fn check(data: &[u8]) {
    let Ok(answer) = Answer::arbitrary_take_rest(Unstructured::new(data)) else { return };
    match answer.endpoint {
        Endpoint::Entra => {
            let authority = Authority::tenant("c43e2d29-6e94-4661-80a0-77ee4d7c35a5");
            read(ServicePrincipal::with_secret(authority, "client", "hush"), &answer);
        }
        Endpoint::Imds => read(ManagedIdentity::imds(Selector::<&str>::System), &answer),
        Endpoint::AppService => {
            let url = "http://127.0.0.1:4000/token";
            read(ManagedIdentity::app_service(url, "hush", Selector::System), &answer);
        }
    }
}

fn read(mut source: impl Source, answer: &Answer<'_>) {
    let mut request = [0; 512];
    let start = Input::Start(Start::new(Instant::FAR_FUTURE));
    assert!(matches!(source.next(start, &mut request), Ok(Step::Http(_))));

    let mut memory = vec![0; usize::from(answer.memory) * 16];
    let mut writer = ResponseWriter::new(&mut memory);
    let status = if let Status::Any(status) = answer.status { status } else { 200 };
    writer.status(status);
    for header in &answer.headers {
        match header {
            Header::Date(value) => writer.header("Date", value),
            Header::RetryAfter(value) => writer.header("Retry-After", value),
            Header::Any(name, value) => writer.header(name, value),
        }
    }
    let room = usize::from(answer.memory) * 16 - writer.finish().www_authenticate.len();
    for piece in answer.body.chunks(usize::from(answer.pieces).max(1)) {
        if writer.body_chunk(piece).is_err() {
            assert!(answer.body.len() > room);
            let kept = writer.finish();
            return assert!(answer.body.starts_with(kept.body));
        }
    }
    let response = writer.finish();
    assert_eq!(response.body, answer.body);
    let _ = (response.retry_after(answer.unix_time.map(UnixTime)), response.date);

    let token = source.next(Input::Response(response), &mut request).map(|step| match step {
        Step::Done(issued) => issued.token(&memory).map_err(SourceError::Token),
        other => panic!("{other:?} after a response"),
    });
    let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 256]; 2]);
    let now = Instant::from_millis(0);
    if let Some(unix_time) = answer.unix_time {
        manager.unix_time(now, UnixTime(unix_time));
    }
    let Action::Fetch { request: asked, .. } = manager.poll(now) else { panic!("it is the first") };
    match token {
        Ok(Ok(token)) => {
            assert_eq!(status, 200);
            if let Ok(oracle) = serde_json::from_slice::<Value>(answer.body) {
                assert_eq!(oracle["access_token"], token.secret.expose());
            }
            let _ = manager.token(now, asked, &token.with_user("oid"));
        }
        Ok(Err(error)) | Err(error) => {
            let shown = format!("{error} {:?} {error:?}", error.advice());
            assert!(!shown.contains("hush"), "{shown}");
            manager.failed(now, asked, error);
        }
    }
    assert!(manager.next_deadline() > Instant::from_millis(0), "it would ask again at once");
    let _ = format!("{manager:?}");
}
