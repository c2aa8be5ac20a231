//! Faults on command, keyed to the number of a protocol event and never to time.
//!
//! A fault is a line: the event, which one of its kind, and what happens then.
//!
//! ```text
//! token#2 status 503 retry-after 7      the second token request is answered like this
//! token#2+ same                         from the second on, the same token is given out
//! token#1 refuse invalid_client 7000215 401
//! token#1 refuse invalid_client 700213 401   as now and then for a federated token that is good
//! token#1 status 400 body {"error":"invalid_request","error_description":"Identity not found"}
//! token#2 status 400 body {"error":"invalid_request","error_description":"Multiple user assigned identities exist"}
//! token#1 status 404 body no azure identity found for request clientID
//! token#1 status 410                    the instance metadata service is updated
//! token#1 status 302 location https://login.microsoftonline.com/
//! token#1 status 403 reason connecting to 169.254.169.254:80   HTTP/1.0, which says it in the status line
//! token#1 chunked 7                     the body comes in chunks of 7 bytes
//! token#1 expires-on us-12              when a managed identity's token ends, in another form
//! token#1 opaque                        the token is no JWT
//! token#1 ignore-selector               an old agent of Azure Arc: the system-assigned identity, whatever is asked for
//! challenge#1 www-authenticate Basic realm=/etc/passwd   what Azure Arc says before it gives a token out
//! challenge#1 key-size 4097             the size of the file that it names
//! auth#1 wrongpass                      the first login is refused
//! cmd#5 cut-after 3                     3 bytes of the fifth command's reply, then the end
//! cmd#5 deaf                            nothing is read behind the fifth command
//! cmd#5 noauth                          from the fifth command on, nobody is logged in: until the next login
//! connect#2 lag 2500                    all that is said on the second connection comes so much later
//! connect#1 swapped localhost            the slots are elsewhere, it says, at this name and the same port
//! connect#1 leaf-only                    the first TLS handshake there has no more than the leaf
//! https#1 leaf-only                      the same for the token service
//! slots#1 null-host                      what is odd about the first reply to CLUSTER SLOTS
//! connect#* error ERR max number of clients reached
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

pub use crate::cluster::slots::Oddity;

/// What can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A request for a token, of whatever kind.
    Token,
    /// A request to Azure Arc without a key, which is answered with the name of the key's file.
    Challenge,
    /// A TLS connection to the token service.
    Https,
    /// A connection to the Redis port.
    Connect,
    /// An `AUTH`, or a `HELLO` with one.
    Auth,
    /// Any other command, but for `CLIENT SETINFO` and `CLIENT SETNAME`.
    Command,
    /// A `CLUSTER SLOTS`, which is a command too.
    Slots,
}

impl Event {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Https, "https"),
        (Self::Token, "token"),
        (Self::Challenge, "challenge"),
        (Self::Connect, "connect"),
        (Self::Auth, "auth"),
        (Self::Command, "cmd"),
        (Self::Slots, "slots"),
    ];
}

/// What happens instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An HTTP status, with what it says of trying again and a web page.
    Status {
        /// The status code.
        status: u16,
        /// `Retry-After`, as it is sent.
        retry_after: Option<String>,
    },
    /// An HTTP status with this body: a document or a web page, if it begins like one, or else text.
    Body {
        /// The status code.
        status: u16,
        /// The body.
        body: String,
    },
    /// A redirect.
    Location {
        /// The status code.
        status: u16,
        /// Where to.
        location: String,
    },
    /// An answer of HTTP/1.0 without a body.
    Reason {
        /// The status code.
        status: u16,
        /// The text behind it.
        reason: String,
    },
    /// An error document of Entra's, by the `error` and the number behind `AADSTS`, with the status
    /// 400 if no other one is given.
    Refuse {
        /// `invalid_client`, say.
        error: String,
        /// 7000215, say.
        code: u32,
        /// The status.
        status: u16,
    },
    /// A byte order mark before the document.
    Bom,
    /// The token that was given out last, again.
    Same,
    /// A token that lives for so many seconds.
    Life(u64),
    /// Something that is no JSON.
    Garbage,
    /// The body comes in chunks of so many bytes, without a length.
    Chunked(usize),
    /// `expires_on` of a managed identity's token has this form.
    ExpiresOn(ExpiresOn),
    /// A token that says nothing of itself. The server refuses it.
    Opaque,
    /// The system-assigned identity's token, whatever identity is asked for.
    IgnoreSelector,
    /// The whole of `WWW-Authenticate` in Azure Arc's challenge.
    WwwAuthenticate(String),
    /// The size of the key's file in Azure Arc's challenge.
    KeySize(usize),
    /// No answer at all, for this long or for ever.
    Hang(Option<Duration>),
    /// All that the server says on this connection comes so much later, in its order.
    Lag(Duration),
    /// The command is the last thing that is read from this connection.
    Deaf,
    /// The connection is cut.
    Cut,
    /// The connection is cut when so many bytes of the reply have been sent. The head of a token's has
    /// no length then: the end of the connection is the end of the body.
    CutAfter(usize),
    /// The password is changed on its way, so that the server refuses it.
    WrongPass,
    /// This error instead of a reply.
    Error(String),
    /// The connection isn't logged in any more, until it logs in again.
    NoAuth,
    /// Each key of this connection has moved to this name, at the same port: where a server was
    /// swapped behind its address, the old one says so.
    Swapped(String),
    /// The certificates between the leaf and the root are left out.
    LeafOnly,
    /// The reply to `CLUSTER SLOTS` is odd.
    Odd(Oddity),
}

/// The forms in which `expires_on` was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiresOn {
    /// Seconds since 1970, in quotes.
    Seconds,
    /// Seconds since 1970.
    Number,
    /// Seconds from now, in quotes.
    Relative,
    /// `06/20/2019 02:57:58 +00:00`
    Us,
    /// `6/20/2019 2:57:58 AM +00:00`
    Us12,
    /// `2019-06-20 02:57:58`
    Iso,
    /// `2019-06-20T02:57:58.4470000+00:00`
    Rfc3339,
}

impl ExpiresOn {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 7] = [
        ("seconds", Self::Seconds),
        ("number", Self::Number),
        ("relative", Self::Relative),
        ("us", Self::Us),
        ("us-12", Self::Us12),
        ("iso", Self::Iso),
        ("rfc3339", Self::Rfc3339),
    ];
}

/// A line that can't be read, and why.
#[derive(Clone, Debug)]
pub struct BadFault(String);

impl fmt::Display for BadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadFault {}

#[derive(Clone, Copy, Debug)]
enum Which {
    Exactly(u64),
    From(u64),
}

/// The faults that wait for their event, and how many events there were.
#[derive(Debug, Default)]
pub struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    armed: Vec<(Event, Which, Fault)>,
    seen: HashMap<Event, u64>,
}

impl Faults {
    /// Arms the fault of a line.
    ///
    /// # Errors
    /// [`BadFault`] if it is none.
    pub fn arm(&self, line: &str) -> Result<(), BadFault> {
        let fault = parse(line).ok_or_else(|| BadFault(format!("not a fault: {line}")))?;
        self.0.lock().expect("nobody panics with it").armed.push(fault);
        Ok(())
    }

    /// Forgets all faults, and counts on.
    pub fn disarm(&self) {
        self.0.lock().expect("nobody panics with it").armed.clear();
    }

    /// Forgets all faults and counts from zero.
    pub fn reset(&self) {
        *self.0.lock().expect("nobody panics with it") = State::default();
    }

    /// Counts an event and says what is to happen, if it is not the usual.
    pub fn event(&self, event: Event) -> Option<Fault> {
        let mut state = self.0.lock().expect("nobody panics with it");
        let seen = state.seen.entry(event).or_default();
        *seen += 1;
        let seen = *seen;
        let hit = |(of, which, _): &&(Event, Which, Fault)| {
            *of == event
                && match which {
                    Which::Exactly(number) => seen == *number,
                    Which::From(number) => seen >= *number,
                }
        };
        state.armed.iter().find(hit).map(|(_, _, fault)| fault.clone())
    }
}

fn parse(line: &str) -> Option<(Event, Which, Fault)> {
    let (event, what) = line.trim().split_once(' ')?;
    let (event, which) = event.split_once('#')?;
    let event = Event::ALL.iter().find(|(_, name)| *name == event)?.0;
    let which = match which.strip_suffix('+') {
        Some(from) => Which::From(from.parse().ok()?),
        None if which == "*" => Which::From(1),
        None => Which::Exactly(which.parse().ok()?),
    };
    let words: Vec<&str> = what.split_whitespace().collect();
    let fault = match words.as_slice() {
        ["status", status] => Fault::Status { status: status.parse().ok()?, retry_after: None },
        ["status", status, "retry-after", ..] => {
            let retry_after = Some(behind(what, "retry-after")?);
            Fault::Status { status: status.parse().ok()?, retry_after }
        }
        ["status", status, how @ ("body" | "location" | "reason"), ..] => {
            let (status, text) = (status.parse().ok()?, behind(what, how)?);
            match *how {
                "body" => Fault::Body { status, body: text },
                "location" => Fault::Location { status, location: text },
                _ => Fault::Reason { status, reason: text },
            }
        }
        ["refuse", error, code, status @ ..] => Fault::Refuse {
            error: (*error).to_owned(),
            code: code.parse().ok()?,
            status: status.first().map_or(Some(400), |status| status.parse().ok())?,
        },
        ["bom"] => Fault::Bom,
        ["same"] => Fault::Same,
        ["life", seconds] => Fault::Life(seconds.parse().ok()?),
        ["garbage"] => Fault::Garbage,
        ["hang"] => Fault::Hang(None),
        ["hang", millis] => Fault::Hang(Some(Duration::from_millis(millis.parse().ok()?))),
        ["lag", millis] => Fault::Lag(Duration::from_millis(millis.parse().ok()?)),
        ["deaf"] => Fault::Deaf,
        ["cut"] => Fault::Cut,
        ["cut-after", bytes] => Fault::CutAfter(bytes.parse().ok()?),
        ["wrongpass"] => Fault::WrongPass,
        ["noauth"] => Fault::NoAuth,
        ["leaf-only"] => Fault::LeafOnly,
        ["swapped", name] => Fault::Swapped((*name).to_owned()),
        ["chunked", bytes] => Fault::Chunked(bytes.parse().ok()?),
        ["expires-on", form] => {
            Fault::ExpiresOn(ExpiresOn::ALL.iter().find(|(name, _)| name == form)?.1)
        }
        ["opaque"] => Fault::Opaque,
        ["ignore-selector"] => Fault::IgnoreSelector,
        ["www-authenticate", ..] => Fault::WwwAuthenticate(behind(what, "www-authenticate")?),
        ["key-size", bytes] => Fault::KeySize(bytes.parse().ok()?),
        ["error", ..] => Fault::Error(behind(what, "error")?),
        [name] => Fault::Odd(Oddity::named(name)?),
        _ => return None,
    };
    Some((event, which, fault))
}

/// What is behind `word`, as it is.
fn behind(what: &str, word: &str) -> Option<String> {
    what.split_once(&format!("{word} ")).map(|(_, text)| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_as_it_is() {
        let faults = Faults::default();
        let body = r#"{"error":"body  of  an error"}"#;
        faults.arm(&format!("token#1 status 400 body {body}")).unwrap();
        let body = body.to_owned();
        assert_eq!(faults.event(Event::Token), Some(Fault::Body { status: 400, body }));
        faults.arm("challenge#1 www-authenticate Basic realm=/a b").unwrap();
        let header = "Basic realm=/a b".to_owned();
        assert_eq!(faults.event(Event::Challenge), Some(Fault::WwwAuthenticate(header)));
    }

    #[test]
    fn faults_hit_the_event_that_they_are_armed_for() {
        let faults = Faults::default();
        faults.arm("token#2 status 503 retry-after Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        faults.arm("auth#2+ wrongpass").unwrap();
        faults.arm("connect#* error ERR max number of clients reached").unwrap();
        assert_eq!(faults.event(Event::Token), None);
        let retry_after = Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned());
        assert_eq!(faults.event(Event::Token), Some(Fault::Status { status: 503, retry_after }));
        assert_eq!(faults.event(Event::Token), None);
        assert_eq!(faults.event(Event::Auth), None);
        assert_eq!(faults.event(Event::Auth), Some(Fault::WrongPass));
        assert_eq!(faults.event(Event::Auth), Some(Fault::WrongPass));
        let error = "ERR max number of clients reached".to_owned();
        assert_eq!(faults.event(Event::Connect), Some(Fault::Error(error)));
        faults.reset();
        assert_eq!(faults.event(Event::Connect), None);
        for bad in [
            "",
            "token",
            "token#x cut",
            "tokens#1 cut",
            "token#1 fly",
            "cmd#1 cut-after x",
            "connect#1 lag",
            "token#1 expires-on tomorrow",
            "slots#1 upside-down",
            "token#1 status 400 body",
        ] {
            assert!(faults.arm(bad).is_err(), "{bad}");
        }
    }
}
