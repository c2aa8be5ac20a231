//! What goes wrong with any of them.

use super::*;
use redis_entraid::entraid_core::source::{ErrorKind, IoFailure, SourceError};

fn is_entra(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Secret | Kind::Certificate | Kind::WorkloadIdentity | Kind::IdentityBinding
    )
}

/// What comes of the first request with `fault`, and whether there is a token in the end.
async fn with_fault(emulator: &Emulator, kind: Kind, fault: &str) -> (Event, usize) {
    emulator.reset();
    emulator.arm(fault).expect("it is a fault");
    let (_client, mut events) = events(client(emulator, kind));
    let event = fetched(&mut events).await;
    if let Event::FetchFailed { error, .. } = event
        && error.kind().is_retryable()
        && !fault.contains('*')
    {
        let healed = fetched(&mut events).await;
        assert!(matches!(healed, Event::Refreshed { .. }), "{kind:?} {fault}: {healed}");
    }
    // Longer than the first quick attempt waits.
    tokio::time::sleep(Duration::from_millis(50)).await;
    (event, emulator.requests().len())
}

/// Whether that is what is expected.
type Expected = fn(Kind, &Event) -> bool;

fn kind_of(event: &Event) -> Option<ErrorKind> {
    match event {
        Event::FetchFailed { error, .. } => Some(error.kind()),
        _ => None,
    }
}

fn throttled(event: &Event, seconds: u64) -> bool {
    kind_of(event) == Some(ErrorKind::Throttled(Some(Duration::from_secs(seconds))))
}

const FAULTS: [(&str, Expected); 14] = [
    ("token#1 status 429 retry-after 1", |_, event| throttled(event, 1)),
    ("token#1 status 503 retry-after 1", |_, event| throttled(event, 1)),
    ("token#1 status 500", |_, event| kind_of(event) == Some(ErrorKind::Transient)),
    // While it is updated; elsewhere there is no such thing.
    ("token#1 status 410 retry-after 1", |kind, event| match kind {
        Kind::Imds => throttled(event, 1),
        _ => kind_of(event) == Some(ErrorKind::Configuration),
    }),
    ("token#1 status 404", |kind, event| match is_entra(kind) {
        true => kind_of(event) == Some(ErrorKind::Configuration),
        false => kind_of(event) == Some(ErrorKind::Transient),
    }),
    ("token#1 refuse invalid_client 700213 401", |_, event| {
        kind_of(event) == Some(ErrorKind::Replication)
    }),
    ("token#1 refuse invalid_client 7000222 401", |_, event| {
        kind_of(event) == Some(ErrorKind::Configuration)
    }),
    ("token#1 garbage", |_, event| {
        matches!(event, Event::FetchFailed { error: SourceError::WebPage, .. })
    }),
    (r#"token#1 status 200 body {"access_token":"#, |_, event| {
        kind_of(event) == Some(ErrorKind::Parse)
    }),
    (r#"token#1 status 200 body {"expires_in":3600}"#, |_, event| {
        matches!(event, Event::FetchFailed { error: SourceError::NoToken, .. })
    }),
    ("token#1 status 302 location https://localhost:1/", |_, event| {
        matches!(event, Event::FetchFailed { error: SourceError::Refused { status: 302, .. }, .. })
    }),
    ("token#1 cut", |_, event| kind_of(event) == Some(ErrorKind::Transient)),
    ("token#1 chunked 7", |_, event| matches!(event, Event::Refreshed { .. })),
    ("token#1 bom", |_, event| matches!(event, Event::Refreshed { .. })),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_endpoint_is_told_and_heals_whatever_the_identity() {
    let mut all = JoinSet::new();
    for (name, kind) in Kind::ALL {
        all.spawn(async move {
            let emulator = emulator(3600);
            for (fault, expected) in FAULTS {
                let (event, requests) = with_fault(&emulator, kind, fault).await;
                assert!(expected(kind, &event), "{name}, {fault}: {event}");
                // Arc asks twice. A redirect is not followed, and a refusal not repeated at once.
                let once = if kind == Kind::Arc { 2 } else { 1 };
                let retried = kind_of(&event).is_some_and(ErrorKind::is_retryable);
                assert!(retried || requests == once, "{name}, {fault}: {requests} requests");
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_larger_than_any_token_is_an_error_that_names_the_size() {
    let body = format!(r#"token#1 status 200 body {{"access_token":"{}"}}"#, "x".repeat(40_000));
    let emulator = emulator(3600);
    for (name, kind) in Kind::ALL {
        let (event, _) = with_fault(&emulator, kind, &body).await;
        let Event::FetchFailed { error: SourceError::Io(IoFailure::TooLarge(error)), .. } = event
        else {
            panic!("{name}: {event}")
        };
        assert!(error.to_string().contains("32768"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_second_identity_that_is_assigned_is_told_from_none() {
    let several = "Multiple user assigned identities exist, please specify the clientId";
    for (description, said) in
        [(several, "set AZURE_CLIENT_ID"), ("Identity not found", "assigned")]
    {
        let body = format!(r#"{{"error":"invalid_request","error_description":"{description}"}}"#);
        let fault = format!("token#* status 400 body {body}");
        let (event, _) = with_fault(&emulator(3600), Kind::Imds, &fault).await;
        assert!(event.to_string().contains(said), "{event}");
    }
}
