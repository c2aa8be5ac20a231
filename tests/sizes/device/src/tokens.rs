//! The token manager alone, for a device with a client of its own: tokens come from wherever, as
//! the JSON of a token endpoint with a JWT in it.

use core::hint::black_box;
use core::time::Duration;

use redis_entraid_core::json;
use redis_entraid_core::manager::{Action, Refreshed, TokenManager};
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::secret::Secret;
use redis_entraid_core::source::SourceError;
use redis_entraid_core::time::{Instant, UnixTime};
use redis_entraid_core::token::Token;

/// A manager whose memory is elsewhere.
pub type Manager = TokenManager<&'static mut [u8]>;

/// Where tokens come from: makes the request that is due, and gives the token with this number, of
/// three.
pub type Tokens<'a> = &'a mut dyn FnMut(&mut Manager, Instant, usize) -> bool;

/// Bytes of a slot.
pub const SLOT: usize = 512;

/// Whose tokens they are.
pub const OID: &str = "11111111-2222-3333-4444-555555555555";

/// Three tokens of an hour, issued an hour apart.
pub const RESPONSES: [&str; 3] = [
    r#"{"token_type":"Bearer","expires_in":3599,"access_token":"eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL3JlZGlzLmF6dXJlLmNvbSIsImlhdCI6MTc5NTMwMDAwMCwibmJmIjoxNzk1MzAwMDAwLCJleHAiOjE3OTUzMDM2MDAsIm9pZCI6IjExMTExMTExLTIyMjItMzMzMy00NDQ0LTU1NTU1NTU1NTU1NSIsInRpZCI6Ijk5OTk5OTk5LTg4ODgtNzc3Ny02NjY2LTU1NTU1NTU1NTU1NSIsInZlciI6IjEuMCJ9.AAAAAAAAAAAA"}"#,
    r#"{"token_type":"Bearer","expires_in":3599,"access_token":"eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL3JlZGlzLmF6dXJlLmNvbSIsImlhdCI6MTc5NTMwMjUyMCwibmJmIjoxNzk1MzAyNTIwLCJleHAiOjE3OTUzMDYxMjAsIm9pZCI6IjExMTExMTExLTIyMjItMzMzMy00NDQ0LTU1NTU1NTU1NTU1NSIsInRpZCI6Ijk5OTk5OTk5LTg4ODgtNzc3Ny02NjY2LTU1NTU1NTU1NTU1NSIsInZlciI6IjEuMCJ9.AQEBAQEBAQEB"}"#,
    r#"{"token_type":"Bearer","expires_in":3599,"access_token":"eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL3JlZGlzLmF6dXJlLmNvbSIsImlhdCI6MTc5NTMwNTA0MCwibmJmIjoxNzk1MzA1MDQwLCJleHAiOjE3OTUzMDg2NDAsIm9pZCI6IjExMTExMTExLTIyMjItMzMzMy00NDQ0LTU1NTU1NTU1NTU1NSIsInRpZCI6Ijk5OTk5OTk5LTg4ODgtNzc3Ny02NjY2LTU1NTU1NTU1NTU1NSIsInZlciI6IjEuMCJ9.AgICAgICAgIC"}"#,
];

/// Bytes of all of them.
pub const fn texts() -> usize {
    let [first, second, third] = RESPONSES;
    first.len() + second.len() + third.len()
}

/// The time of day at which everything begins.
pub const BOOT: UnixTime = UnixTime(1_795_300_000);

/// A manager that was told the time.
pub fn manager(slots: [&'static mut [u8]; 2]) -> Manager {
    let jitter = Jitter::new(black_box(7));
    let mut manager = TokenManager::new(RefreshPolicy::default(), jitter, slots);
    manager.unix_time(Instant::default(), black_box(BOOT));
    manager
}

/// Makes the request that is due, and takes a token in from the text of its response.
pub fn take(manager: &mut Manager, now: Instant, number: usize) -> bool {
    let Action::Fetch { request, .. } = manager.poll(now) else { return false };
    let text = RESPONSES.get(black_box(number)).map_or("", |text| text);
    let mut token = Token::new(Secret::new(""));
    for (name, value) in json::members(text.as_bytes()).map_while(Result::ok) {
        if json::text_is(name, "access_token") {
            token.secret = Secret::new(json::raw_text(value).unwrap_or_default());
        } else if json::text_is(name, "expires_in") {
            token.expires_in = json::number(value).map(Duration::from_secs);
        }
    }
    matches!(manager.token(now, request, &token), Ok(Refreshed::New(_)))
}

/// A few hours of a schedule. Says whether all went as it should.
pub fn hours(manager: &mut Manager, tokens: Tokens<'_>) -> bool {
    first(manager, tokens).and_then(|now| later(manager, tokens, now)).is_some()
}

/// Gets the first token.
pub fn first(manager: &mut Manager, tokens: Tokens<'_>) -> Option<Instant> {
    let now = black_box(Instant::from_millis(1));
    tokens(manager, now, 0).then_some(now)
}

fn later(manager: &mut Manager, tokens: Tokens<'_>, now: Instant) -> Option<()> {
    let login = manager.login(now).filter(|login| login.user() == OID)?;
    let have = login.generation();
    manager.accepted(have);
    // The next one is due, and doesn't come at once.
    let now = due(manager, now);
    let Action::Fetch { request, .. } = manager.poll(now) else { return None };
    manager.failed(now, request, SourceError::TimedOut);
    let Action::Wait { until, .. } = manager.poll(now) else { return None };
    tokens(manager, until, 1).then_some(())?;
    let newer = manager.newer_than(have, until)?.generation();
    // A server doesn't like it: another one is fetched, and until then the old one serves.
    manager.rejected(until, newer);
    (manager.login(until)?.generation() == have).then_some(())?;
    let now = due(manager, until);
    tokens(manager, now, 2).then_some(())?;
    let health = manager.health(now);
    (health.refreshes == 3 && health.rejections == 1 && health.failures == 1).then_some(())
}

/// When the next token is due, from `now` on.
pub fn due(manager: &Manager, now: Instant) -> Instant {
    manager.next_deadline().max(now)
}
