//! Every public type of the core, printed, with secrets wherever one can be.

#![allow(clippy::unwrap_used)]

mod clients;
mod cluster;
mod command_queue;

use std::path::Path;
use std::time::Duration;

use leaks::{Secrets, Shown};
use redis_entraid_client::Growable;
use redis_entraid_core::args;
use redis_entraid_core::auth::{ErrorCode, Handshake, LoginError, Protocol, Verdict};
use redis_entraid_core::command::{
    CommandClass, CommandRefused, EncodeError, EncodedCommand, Slices, TimeText, Topic,
};
use redis_entraid_core::connection::*;
use redis_entraid_core::drive::{DialError, SharedTokenManager};
use redis_entraid_core::event::{Event, LostState};
use redis_entraid_core::http::*;
use redis_entraid_core::json::JsonError;
use redis_entraid_core::jwt::{Audience, Claim, Claims, Guid, JwtError};
use redis_entraid_core::listener::Listener;
use redis_entraid_core::manager::{
    Action, Fingerprint, Generation, Pull, Reason, Refreshed, TokenManager,
};
use redis_entraid_core::policy::{Backoff, Jitter, Ratio, RefreshPolicy, RetryPolicy};
use redis_entraid_core::pubsub::Notice;
use redis_entraid_core::reconnect::{Dial, Reconnect, ReconnectPolicy};
use redis_entraid_core::resp::{Framer, Redirect, Value, ValueKind};
use redis_entraid_core::schedule::{Can, Due, LoginSchedule};
use redis_entraid_core::secret::Secret;
use redis_entraid_core::source::*;
use redis_entraid_core::storage::{Buffer, CapacityError, Recent};
use redis_entraid_core::time::{Instant, StdClock, UnixTime};
use redis_entraid_core::token::{Token, TokenError};
use redis_entraid_core::transport::{
    ConnectErrorKind, Endpoint, Progress, Stage, TransportFailure, Wearing,
};

/// A token of three parts, whose payload reads `{"oid":"cefb07b7-...","exp":1763687100}`.
const TOKEN: &str = "eyJ0eXAiOiJKV1QifQ.eyJvaWQiOiJjZWZiMDdiNy1lMWI1LTQ4MjctODAzYi00NzgwYzcwZTQyZDUiLCJleHAiOjE3NjM2ODcxMDB9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";
const SECRET: &str = "abC8Q~the-client-secret-of-the-principal";
const HEADER: &str = "853b9a84-5bfa-4b22-a3f3-0b9a43d9ad8a";

#[test]
fn no_public_type_shows_a_secret() {
    let mut secrets = Secrets::default();
    [TOKEN, SECRET, HEADER].into_iter().for_each(|secret| secrets.add(secret));
    let mut shown = Shown::default();
    tokens(&mut shown);
    sources(&mut shown);
    connections(&mut shown);
    plain(&mut shown);
    clients::clients(&mut shown);
    cluster::cluster(&mut shown);
    command_queue::command_queue(&mut shown);
    assert_eq!(secrets.found_in(&shown.text), None);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let missing = shown.missing(&here.join("../../core/src"));
    assert!(missing.is_empty(), "not printed: {missing:?}");
}

const NOW: Instant = Instant::from_millis(1000);

fn token() -> Token<'static> {
    Token::new(Secret::new(TOKEN)).with_expires_in(Duration::from_secs(3600))
}

fn tokens(shown: &mut Shown) {
    shown.value(&Secret::new(TOKEN));
    shown.value(&token());
    shown.value(&Claims::read(TOKEN).unwrap());
    shown.value(&StaticToken::new(token()));
    let principal = || ServicePrincipal::with_secret(Authority::tenant("tenant"), "client", SECRET);
    shown.value(&WorkloadIdentity::new(Authority::tenant("tenant"), "client", "/path"));
    shown.value(&ClientCertificate::new(Authority::tenant("tenant"), "client", [0; 32]));
    shown.value(&ClientAssertion::new(Authority::tenant("tenant"), "client", SECRET));
    shown.value(&AzureArc::new("http://localhost:40342"));
    shown.value(&CloudShell::new("http://localhost:50342"));
    shown.value(&MachineLearning::new("http://localhost:46808", SECRET));
    shown.value(&ServiceFabric::new("https://localhost:2377", SECRET));
    shown.value(&Chain::new(principal(), principal()));
    let mut request = [0; 1024];
    let mut writer = RequestWriter::new(&mut request);
    writer.plain(TOKEN);
    shown.value(&writer);
    shown.value(&Span { start: 0, end: TOKEN.len() });
    shown.value(&Start::new(NOW));
    shown.value(&Algorithm::Es256);
    shown.value(&TooManyHeaders);
    shown.value(&Url::parse("https://login.example/token").unwrap());
    shown.value(&Jitter::new(1));
    shown.value(&Recent::default());
    let progress = Progress::new();
    let endpoint = Endpoint::new("cache", 1).with_progress(&progress);
    endpoint.reached("10.0.0.1");
    shown.value(&endpoint.peer().unwrap());
    let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 2048]; 2]);
    let action = manager.poll(NOW);
    shown.value(&action);
    if let Action::Fetch { request, .. } = action {
        shown.value(&request);
    }
    shown.value(&manager.push(NOW, &token()).unwrap());
    shown.value(&manager);
    shown.value(&manager.health(NOW));
    shown.value(&manager.login(NOW).unwrap());
    let mut schedule = LoginSchedule::new(1);
    shown.value(&Can::Login);
    let Due::Login(attempt) = schedule.poll(NOW, &manager, Can::Login) else { unreachable!() };
    schedule.sent(NOW, attempt);
    shown.value(&attempt);
    shown.value(&schedule);
    schedule.accepted(&mut manager);
    shown.value(&schedule.poll(NOW, &manager, Can::Login));
    manager.unix_time(NOW, UnixTime(1_763_683_000));
    let mut kept = [0; 512];
    let identity = Fingerprint::of(|feed| StaticToken::new(token()).identify(feed));
    shown.value(&identity);
    let kept = manager.snapshot(NOW, identity, &mut kept).unwrap().unwrap();
    let mut restored = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 512]; 2]);
    shown.error(&restored.restore(&kept[..100], identity, NOW, None).unwrap_err());
    shown.error(&restored.restore(kept, Fingerprint::new(), NOW, None).unwrap_err());
    shown.value(&restored.restore(kept, identity, NOW, None).unwrap());
    shown.value(&restored);
    let tokens = SharedTokenManager::<_, 4>::new(manager);
    shown.value(&tokens);
    shown.value(&tokens.waiting());
    // What can't be used is not shown either.
    for (user, text) in [(None, SECRET), (Some("oid"), "white space abC8Q~the-client-secret")] {
        let mut token = Token::new(Secret::new(text)).with_expires_in(Duration::from_secs(60));
        token.user = user;
        let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 16]; 2]);
        shown.error(&manager.push(NOW, &token).unwrap_err());
        shown.value(&manager);
        shown.value(&manager.health(NOW));
    }
    let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 16]; 2]);
    shown.error(&manager.push(NOW, &token()).unwrap_err());
    shown.value(&Growable::<u8>::new(10, 100));
}

/// Shows what becomes of an answer.
fn answered(shown: &mut Shown, source: &mut impl Source, status: u16, body: &str) {
    let (mut request, mut memory) = ([0; 1024], [0; 1024]);
    let start = Input::Start(Start::new(NOW));
    shown.value(&start);
    let step = source.next(start, &mut request).unwrap();
    shown.value(&step);
    let memory_of_request = request;
    if let Step::Http(request) = &step {
        shown.value(request);
        let read = request.read(&memory_of_request, NOW).unwrap();
        shown.value(&read);
        shown.value(&read.headers);
    }
    let mut writer = ResponseWriter::new(&mut memory);
    writer.status(status);
    writer.header("Date", HEADER.as_bytes());
    writer.body_chunk(body.as_bytes()).unwrap();
    shown.value(&writer);
    let response = writer.finish();
    shown.value(&response);
    let input = Input::Response(response);
    shown.value(&input);
    match source.next(input, &mut request) {
        Ok(Step::Done(issued)) => {
            shown.value(&issued);
            match issued.token(&memory) {
                Ok(token) => shown.value(&token),
                Err(error) => shown.error(&error),
            }
        }
        Ok(other) => shown.value(&other),
        Err(error) => {
            shown.error(&error);
            shown.value(&error.kind());
            shown.text += error.advice().unwrap_or_default();
            shown.value(&Event::FetchFailed { error, next_in: Duration::ZERO });
            shown.error(&HttpSourceError::<IoFailure>::from(error));
            shown.value(&ServiceText::EMPTY);
        }
    }
}

fn sources(shown: &mut Shown) {
    let authority = Authority::tenant("c43e2d29-6e94-4661-80a0-77ee4d7c35a5");
    shown.value(&authority);
    shown.value(&Cloud::Public);
    let mut principal = ServicePrincipal::with_secret(authority, "client", SECRET);
    let mut app_service =
        ManagedIdentity::app_service("http://127.0.0.1/x", HEADER, Selector::System);
    shown.value(&Selector::ClientId("client"));
    for (status, body) in [
        (200, format!(r#"{{"access_token":"{TOKEN}","expires_in":3599}}"#)),
        (200, format!(r#"{{"access_token":"{TOKEN}\u00e9","expires_in":3599}}"#)),
        (200, format!(r#"{{"access_token":"{TOKEN}","access_token":"{TOKEN}"}}"#)),
        (200, format!(r#"{{"access_token":"{TOKEN}"#)),
        (200, format!(r#"{{"token":"{TOKEN}"}}"#)),
        (200, TOKEN.into()),
        (
            400,
            format!(
                r#"{{"error":"{SECRET}","error_description":"{SECRET}","error_codes":[7000215]}}"#
            ),
        ),
        (
            401,
            format!(
                r#"{{"error":"invalid_client","error_description":"AADSTS7000215: {SECRET}"}}"#
            ),
        ),
        (429, SECRET.into()),
        (503, format!("<html>{HEADER}</html>")),
    ] {
        answered(shown, &mut principal, status, &body);
        answered(shown, &mut app_service, status, &body);
    }
    shown.value(&principal);
    shown.value(&app_service);
    // A request that doesn't fit.
    let error = principal.next(Input::Start(Start::new(NOW)), &mut [0; 200]).unwrap_err();
    shown.error(&error);
    let mut writer = ResponseWriter::new(&mut []);
    shown.error(&writer.body_chunk(SECRET.as_bytes()).unwrap_err());
    shown.value(&HttpSource::new(principal, NoHttp, [0; 10]));
    shown.error(&Authority::custom("http://plain").check().unwrap_err());
    shown.value(&OAuthError::Other);
    shown.value(&SourceError::TimedOut);
}

#[derive(Debug)]
struct NoHttp;

impl SourceIo for NoHttp {
    type Error = IoFailure;

    async fn http(&mut self, _: &Request<'_>, _: &mut ResponseWriter<'_>) -> Result<(), IoFailure> {
        Ok(())
    }
}

fn connections(shown: &mut Shown) {
    let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 2048]; 2]);
    manager.push(NOW, &token()).unwrap();
    let config = Config { name: ClientName::new("name"), ..Config::new(0) };
    shown.value(&config);
    shown.value(&config.name.unwrap());
    // The login goes out in pieces, and is looked at in each.
    let mut connection = Connection::new(config, [0; 256], [0; 256], [Pending::default(); 4]);
    connection.update(NOW, &mut manager);
    while !connection.transmit().is_empty() {
        shown.value(&connection);
        connection.sent(50);
        if connection.needs_update() {
            connection.update(NOW, &mut manager);
        }
    }
    // A server that gives back what it was sent.
    let echo = format!("-WRONGPASS {TOKEN}\r\n");
    for piece in echo.as_bytes().chunks(100) {
        connection.receive_space()[..piece.len()].copy_from_slice(piece);
        connection.received(NOW, piece.len());
        while let Some(output) = connection.next(NOW) {
            shown.value(&output);
            if let Output::Event(event) = output {
                shown.value(&event);
                shown.text += &format!("{event}\n");
            }
        }
    }
    shown.value(&connection.health(NOW));
    shown.value(&connection);
    let mut handshake = Handshake::first(Protocol::Resp3);
    handshake.write("oid", TOKEN, None, &mut [0; 100]);
    shown.value(&handshake);
    let echo = format!("-{TOKEN} x\r\n");
    let reply = Value::new(echo.as_bytes()).unwrap();
    shown.value(&handshake.reply(reply));
    let echo = format!("-ERR {TOKEN}\r\n");
    let reply = Value::new(echo.as_bytes()).unwrap();
    shown.value(&reply);
    shown.value(&reply.error().unwrap());
    shown.value(&reply.items());
    let echo = format!("*2\r\n${}\r\n{TOKEN}\r\n+OK\r\n", TOKEN.len());
    // What a reply to a command holds is the user's own, and `Debug` of it shows that.
    shown.error(&Value::new(echo.as_bytes()).unwrap().int().unwrap_err());
}

/// What has no room for a secret.
fn plain(shown: &mut Shown) {
    let zero = Duration::ZERO;
    shown.value(&Action::Wait { until: NOW, why: Reason::Floor });
    shown.value(&Reason::Backoff);
    shown.value(&Pull::FetchFirst);
    shown.value(&Refreshed::New(Generation(1)));
    shown.value(&Generation(1));
    shown.value(&Audience::Other);
    shown.error(&TokenError::Expired);
    shown.value(&Claim::Oid);
    shown.error(&JwtError::Duplicate(Claim::Exp));
    shown.value(&Guid::parse("cefb07b7-e1b5-4827-803b-4780c70e42d5").unwrap());
    shown.error(&JsonError::Incomplete);
    shown.value(&RefreshPolicy::default());
    shown.value(&RetryPolicy::default());
    shown.value(&Backoff { initial: zero, max: zero, multiplier: 2 });
    shown.value(&Ratio::percent(70));
    shown.value(&ReconnectPolicy::default());
    shown.value(&Reconnect::new(ReconnectPolicy::default(), Jitter::none()));
    shown.value(&Dial::Now);
    let progress = Progress::new();
    shown.value(&progress);
    let endpoint = Endpoint::new("localhost", 10_000).with_progress(&progress);
    endpoint.begins(Stage::Tls);
    shown.value(&endpoint);
    shown.value(&Stage::Tls);
    let unanswered = endpoint.unanswered(zero);
    shown.error(&unanswered);
    shown.value(&DialError::<CapacityError>::Unanswered(unanswered));
    shown.value(&ConnectErrorKind::Tls);
    let never: fn() -> bool = || false;
    shown.value(&Wearing::new(&mut [0; 8][..], &Endpoint::new("cache", 1), never));
    shown.value(&TransportFailure::Reset);
    shown.value(&IoFailure::Tls);
    shown.value(&Method::Get);
    shown.value(&Route::LinkLocal);
    shown.value(&ErrorKind::Clock);
    shown.value(&Buffer::Token);
    shown.value(&NOW);
    shown.value(&UnixTime(0));
    shown.value(&StdClock::default());
    shown.value(&Protocol::Resp2);
    shown.value(&Verdict::Again);
    shown.error(&LoginError::WrongPass);
    shown.value(&ErrorCode::new("ERR"));
    shown.value(&CommandClass::Plain);
    shown.value(&EncodedCommand::from_parts(CommandClass::Plain, TOKEN.as_bytes()));
    shown.value(&Topic::Channel);
    shown.error(&CommandRefused::Login);
    shown.error(&EncodeError::Refused(CommandRefused::Login));
    let args = args!["BLPOP", "k", "0"];
    shown.value(&args[1]);
    shown.value(&Slices::of(NOW, args).unwrap());
    shown.value(&TimeText::default());
    shown.value(&Pending::default());
    shown.value(&Idle::default());
    shown.value(&Replacement::default());
    shown.error(&CloseReason::Refused(LoginError::WrongPass));
    shown.value(&Outcome::Unknown);
    shown.value(&Lost::new(Outcome::Unknown, None));
    shown.error(&SubmitError::Full);
    shown.value(&LostState::default());
    shown.value(&Framer::new());
    shown.value(&Framer::new().feed(b"+OK\r\n").unwrap());
    shown.error(&Framer::new().feed(b"x").unwrap_err());
    shown.value(&ValueKind::Null);
    let moved = Value::new(b"-MOVED 1 10.0.0.1:8500\r\n").unwrap();
    let redirect = moved.error().unwrap().redirect().unwrap();
    shown.value(&redirect);
    if let Redirect::Moved(node) = redirect {
        shown.value(&node);
    }
    let message = Value::new(b">3\r\n+message\r\n+a\r\n+b\r\n").unwrap();
    let begun = Value::new(b">3\r\n+subscribe\r\n+a\r\n:1\r\n").unwrap();
    for value in [message, begun] {
        let notice = Notice::of(value).unwrap();
        shown.value(&notice);
        match notice {
            Notice::Message(message) => shown.value(&message),
            Notice::Confirmation(confirmation) => shown.value(&confirmation),
        }
    }
    let mut listener = Listener::new(&[(Topic::Channel, "a")]);
    shown.value(&listener);
    listener.output(&Output::Push(Ok(message)), &mut |heard| shown.value(&heard));
    too_large(shown);
}

/// A reply that doesn't fit.
fn too_large(shown: &mut Shown) {
    let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 64]; 2]);
    let token = Token::new(Secret::new("token")).with_user("oid");
    manager.push(NOW, &token.with_expires_in(Duration::from_secs(60))).unwrap();
    let config = Config { set_info: false, ..Config::new(0) };
    let mut connection = Connection::new(config, [0; 34], [0; 34], [Pending::default(); 4]);
    connection.update(NOW, &mut manager);
    while !connection.transmit().is_empty() {
        let len = connection.transmit().len();
        connection.sent(len);
        connection.update(NOW, &mut manager);
    }
    for reply in ["%1\r\n+proto\r\n:3\r\n", "$40\r\n0123456789012345678901234567890123456789\r\n"] {
        for byte in reply.bytes() {
            connection.receive_space()[0] = byte;
            connection.received(NOW, 1);
            while let Some(output) = connection.next(NOW) {
                if let Output::Reply { reply: Err(error), .. } = output {
                    shown.error(&error);
                }
            }
        }
        let _ = connection.submit(NOW, 1, args!["GET", "k"]);
        let len = connection.transmit().len();
        connection.sent(len);
    }
}
