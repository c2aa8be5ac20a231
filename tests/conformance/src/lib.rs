//! The driver of the conformance cases: reads a line of a script, has a [`Subject`] do it, and
//! writes the answer. It needs neither std nor an allocator, so that it runs wherever a host does.
//!
//! | line | what the subject does |
//! |---|---|
//! | `connect NAME [resp=2] [source=SOURCE]` | makes a client; `ok`, or why not |
//! | `send NAME COMMAND \| COMMAND ...` | sends the commands at once and answers with all replies |
//! | `wait NAME reauth\|reconnect\|refresh COUNT SECONDSs` | waits until that has happened so often |
//! | `close NAME` | lets the client go |
//!
//! Errors read `err CODE kind=KIND outcome=OUTCOME`, with a dash where the server said nothing.
#![no_std]
#![allow(async_fn_in_trait)]

#[cfg(feature = "host")]
extern crate std;

#[cfg(feature = "host")]
pub mod byo;
#[cfg(feature = "host")]
pub mod case;
#[cfg(feature = "host")]
pub mod client;

use core::fmt::{self, Write};
use core::time::Duration;

use redis_entraid_core::resp::{Arg, Kind, Value};

/// A host under test.
pub trait Subject {
    /// Makes a client called `name`, and answers `ok` or why not.
    async fn connect(
        &mut self,
        name: &str,
        options: Options<'_>,
        answer: &mut dyn Write,
    ) -> fmt::Result;

    /// Sends `commands` at once, and answers `ok` with all replies, or why not.
    async fn send(&mut self, name: &str, commands: &str, answer: &mut dyn Write) -> fmt::Result;

    /// Waits until `what` has happened `count` times, and answers `ok`, or `err timeout`.
    async fn wait(
        &mut self,
        name: &str,
        what: &str,
        count: u32,
        patience: Duration,
        answer: &mut dyn Write,
    ) -> fmt::Result;

    /// Lets a client go, and answers `ok`.
    async fn close(&mut self, name: &str, answer: &mut dyn Write) -> fmt::Result;
}

/// The options of a line: words like `resp=2`.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a>(&'a str);

impl<'a> Options<'a> {
    /// All of them, as in the line.
    pub const fn as_str(&self) -> &'a str {
        self.0
    }

    /// The value of the option `name`.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let options = self.0.split_whitespace().filter_map(|word| word.split_once('='));
        options.filter(|(known, _)| *known == name).map(|(_, value)| value).next()
    }
}

/// Does a line, and writes the answer to `out`.
///
/// # Errors
/// If `out` is full.
pub async fn answer(subject: &mut impl Subject, line: &str, out: &mut dyn Write) -> fmt::Result {
    let mut words = line.splitn(3, ' ');
    let (verb, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let rest = words.next().unwrap_or_default();
    match verb {
        "connect" => subject.connect(name, Options(rest), out).await,
        "send" => subject.send(name, rest, out).await,
        "close" => subject.close(name, out).await,
        "wait" => {
            let mut words = rest.split_whitespace();
            let what = words.next().unwrap_or_default();
            let count = words.next().and_then(|count| count.parse().ok());
            let seconds = words.next().and_then(|time| time.strip_suffix('s')?.parse().ok());
            match (count, seconds) {
                (Some(count), Some(seconds)) => {
                    let patience = Duration::from_secs(seconds);
                    subject.wait(name, what, count, patience, out).await
                }
                _ => out.write_str("err not a line"),
            }
        }
        _ => out.write_str("err not a line"),
    }
}

/// The commands of a `send`.
pub fn commands(text: &str) -> impl Iterator<Item = &str> {
    text.split(" | ")
}

/// The words of a command. More than `N` are left away.
pub fn words<const N: usize>(command: &str) -> ([Arg<'_>; N], usize) {
    let mut args = [Arg::Int(0); N];
    let mut len = 0;
    for (slot, word) in args.iter_mut().zip(command.split_whitespace()) {
        *slot = Arg::from(word);
        len += 1;
    }
    (args, len)
}

/// Writes a reply as transcripts have it.
///
/// # Errors
/// If `out` is full.
pub fn write_value(value: Value<'_>, out: &mut dyn Write) -> fmt::Result {
    let list = |open, close, out: &mut dyn Write| {
        out.write_char(open)?;
        for (at, item) in value.items().enumerate() {
            if at > 0 {
                out.write_str(", ")?;
            }
            write_value(item, out)?;
        }
        out.write_char(close)
    };
    match value.kind() {
        Kind::Integer => write!(out, "(int) {}", value.str().unwrap_or("?")),
        Kind::Double => write!(out, "(double) {}", value.str().unwrap_or("?")),
        Kind::Boolean => write!(out, "({})", value.bool().unwrap_or_default()),
        Kind::Null => out.write_str("(nil)"),
        Kind::Error => {
            let code = value.error().map_or("-", |error| error.code());
            write_error(Some(code), "server", "Unknown", out)
        }
        Kind::Array | Kind::Push => list('[', ']', out),
        Kind::Set => list('<', '>', out),
        Kind::Map => list('{', '}', out),
        _ => write!(out, "{:?}", value.str().unwrap_or("?")),
    }
}

/// Writes an error as transcripts have it.
///
/// # Errors
/// If `out` is full.
pub fn write_error(
    code: Option<&str>,
    kind: &str,
    outcome: &str,
    out: &mut dyn Write,
) -> fmt::Result {
    write!(out, "err {} kind={kind} outcome={outcome}", code.unwrap_or("-"))
}
