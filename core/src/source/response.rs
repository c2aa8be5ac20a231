//! What token endpoints answer: a token, or a reason.

use core::time::Duration;

use serde_json_core::str::{EscapedStr, EscapedStringFragment};

use super::error::{ErrorKind, OAuthError, SourceError};
use super::io::IoFailure;
use super::step::{Input, Step, TokenResponse};
use crate::date;
use crate::http::Response;
use crate::json::{self, JsonError, Scanner};
use crate::number::unsigned;
use crate::span::Span;
use crate::time::UnixTime;

/// Whose answer it is: they differ in what a status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Entra,
    Imds,
    /// Another endpoint of managed identities, on this machine.
    Local,
}

/// The longest wait that an endpoint may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Numbers below this (2001-01-01) in `expires_on` are seconds from now, not a date: seen from
/// managed-identity endpoints.
const RELATIVE_BELOW: u64 = 978_307_200;

impl Endpoint {
    /// The outcome of a source whose only step is one request.
    pub(super) fn answered(self, input: Input<'_>) -> Result<Step, SourceError> {
        match input {
            Input::Response(mut response) => self.read(&mut response),
            Input::Failed(why) => Err(SourceError::Io(why)),
            _ => Err(SourceError::ORDER),
        }
    }

    /// Reads a response. A token is put right in place, if it has escapes.
    #[inline(never)]
    fn read(self, response: &mut Response<'_>) -> Result<Step, SourceError> {
        let mut document = Document::new();
        let whole = document.read(response.body);
        let Document { issued, secret, error, code } = &mut document;
        let (secret, error, code) = (*secret, *error, *code);
        if response.status == 200 {
            match whole {
                Err(_) if response.body.trim_ascii_start().starts_with(b"<") => {
                    return Err(SourceError::WebPage);
                }
                // Where the end of the connection is the end of the body, it may have broken before.
                Err(JsonError::Incomplete) if !response.has_length => {
                    return Err(SourceError::Io(IoFailure::Io));
                }
                whole => whole?,
            }
            if let Some(secret) = secret.and_then(|secret| unescape(response.body, secret)) {
                issued.secret = secret;
                issued.server_time = response.date;
                return Ok(Step::Done(*issued));
            }
            // With an error in it, a 200 is none.
            if error == OAuthError::Other && code.is_none() {
                return Err(SourceError::NoToken);
            }
        }
        // A proxy in between may answer in HTML: then there are just the status and the wait.
        let status = response.status;
        let wait = response.retry_after(None).map(|wait| wait.min(MAX_RETRY_AFTER));
        let kind = match status {
            429 => ErrorKind::Throttled(wait),
            // The identity endpoint is being updated, and back within 70 seconds.
            410 if self == Self::Imds => {
                ErrorKind::Throttled(wait.or(Some(Duration::from_secs(10))))
            }
            404 if self != Self::Entra => ErrorKind::Transient,
            408 | 500.. if wait.is_some() => ErrorKind::Throttled(wait),
            408 | 500.. => ErrorKind::Transient,
            _ if error == OAuthError::TemporarilyUnavailable => ErrorKind::Transient,
            _ => match code {
                Some(90_033) => ErrorKind::Transient,
                // What a person has just made isn't known to each of Entra's machines at once.
                Some(700_213 | 70_021 | 700_016 | 7_000_215) => ErrorKind::Replication,
                // An assertion outside the time that it is good for: a clock is wrong.
                Some(500_133 | 700_024) => ErrorKind::Clock,
                _ => ErrorKind::Configuration,
            },
        };
        Err(SourceError::Refused { status, error, code, kind })
    }
}

/// What the members of an answer say: a token, or a reason.
struct Document {
    issued: TokenResponse,
    secret: Option<Span>,
    error: OAuthError,
    code: Option<u32>,
}

impl Document {
    const fn new() -> Self {
        let issued = TokenResponse::new(Span::EMPTY);
        Self { issued, secret: None, error: OAuthError::Other, code: None }
    }

    #[inline(never)]
    /// Takes the members of `body`, up to where it can't be read.
    fn read(&mut self, body: &mut [u8]) -> Result<(), JsonError> {
        let mut scanner = Scanner::new();
        let mut at = 0;
        while let (used, Some(member)) = scanner.feed(body.get(at..).unwrap_or_default())? {
            at += used;
            let value = member.value.of(body);
            let is = |name| json::text_is(member.key.of(body), name);
            let seconds = || json::number(value).map(Duration::from_secs);
            if is("access_token") {
                if self.secret.replace(member.value).is_some() {
                    return Err(JsonError::Syntax { at: member.key.start });
                }
            } else if is("expires_in") {
                self.issued.expires_in = seconds();
            } else if is("refresh_in") {
                self.issued.refresh_in = seconds();
            } else if is("error") {
                let known = OAuthError::ALL.iter().find(|(_, name)| json::text_is(value, name));
                self.error = known.map_or(OAuthError::Other, |(error, _)| *error);
            } else if is("error_codes") || is("error_description") {
                self.code = self.code.or_else(|| code(value));
                if value.starts_with(b"\"Multiple user assigned identities exist") {
                    self.error = OAuthError::SeveralIdentities;
                }
            } else if is("expires_on") {
                match expires_on(body, member.value) {
                    Some(UnixTime(relative)) if relative < RELATIVE_BELOW => {
                        let relative = Some(Duration::from_secs(relative));
                        self.issued.expires_in = self.issued.expires_in.or(relative);
                    }
                    time => self.issued.expires_on = time,
                }
            }
        }
        scanner.finish()
    }
}

/// A number, a number in quotes, or one of the date forms.
fn expires_on(body: &mut [u8], value: Span) -> Option<UnixTime> {
    if let Some(seconds) = json::number(value.of(body)) {
        return Some(UnixTime(seconds));
    }
    unescape(body, value).and_then(|text| date::read(text.of(body)))
}

/// Takes the escapes out of the string at `span`, in place, and says where its text lies then.
/// `None` if it is no string or has something in it that no token has.
fn unescape(body: &mut [u8], span: Span) -> Option<Span> {
    json::raw_text(span.of(body))?;
    let Span { start, end } = Span { start: span.start + 1, end: span.end - 1 };
    let (mut from, mut to) = (start, start);
    while from < end {
        let mut byte = *body.get(from)?;
        let mut used = 1;
        if byte == b'\\' {
            used = if body.get(from + 1) == Some(&b'u') { 6 } else { 2 };
            let escape = core::str::from_utf8(body.get(from..from + used)?).ok()?;
            match EscapedStr(escape).fragments().next()?.ok()? {
                EscapedStringFragment::Escaped(character) if character.is_ascii_graphic() => {
                    byte = u8::try_from(u32::from(character)).ok()?;
                }
                _ => return None,
            }
        }
        *body.get_mut(to)? = byte;
        from += used;
        to += 1;
    }
    Some(Span { start, end: to })
}

/// The number behind `AADSTS` in a description, which starts with it, or the first of an array.
#[inline(never)]
fn code(value: &[u8]) -> Option<u32> {
    let text = value.strip_prefix(b"\"AADSTS").or_else(|| value.strip_prefix(b"["))?;
    let text = text.trim_ascii_start();
    let digits = text.iter().position(|byte| !byte.is_ascii_digit())?;
    unsigned(text.get(..digits)?)?.try_into().ok()
}
