//! The driver of the conformance cases: reads a line of a script, has a [`Subject`] do it, and
//! writes the answer. It needs neither std nor an allocator, so that it runs wherever a host does.
//!
//! | line | what the subject does |
//! |---|---|
//! | `connect NAME [resp=2] [source=SOURCE] [idle=SECONDS] [records=COUNT]` | makes a client; `ok`, or why not |
//! | `send NAME COMMAND \| COMMAND ...` | sends the commands at once and answers with all replies |
//! | `leave NAME MILLIS COMMAND \| COMMAND ...` | sends them, and doesn't wait for longer; `gone`, or what came |
//! | `begin NAME COMMAND` | sends the command and doesn't wait; `ok` |
//! | `end NAME` | waits for what was begun, and answers with the reply |
//! | `flow NAME COUNT reauth\|reconnect TIMES` | counts a key up so often, and until that has happened so often, and answers `ok` if no reply was lost or out of order |
//! | `wait NAME reauth\|reconnect\|refresh\|down\|unready COUNT SECONDSs` | waits until that has happened so often |
//! | `subscribe NAME CHANNEL [resp=2] [replacement=overlap]` | makes a subscriber; `ok`, or why not |
//! | `hear NAME` | answers with what the subscriber hears next |
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
#[cfg(feature = "device")]
pub mod device;
#[cfg(feature = "host")]
pub mod guest;
#[cfg(feature = "client")]
pub mod replies;
#[cfg(feature = "host")]
pub mod workerd;

use core::fmt::{self, Write};
use core::time::Duration;

use redis_entraid_core::resp::{Arg, Value, ValueKind};

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

    /// Waits until `what` has happened `count` times, and answers `ok`, or `err timeout`. Without
    /// any patience it looks once.
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

    /// Sends `commands`, and gives them up after so long: answers `gone` then, else as `send` does.
    /// For subjects that have `leave`.
    async fn leave(
        &mut self,
        _name: &str,
        _patience: Duration,
        _commands: &str,
        answer: &mut dyn Write,
    ) -> fmt::Result {
        answer.write_str("err not here")
    }

    /// Sends a command without waiting, and answers `ok`. For subjects that have `begin`.
    async fn begin(&mut self, _name: &str, _command: &str, answer: &mut dyn Write) -> fmt::Result {
        answer.write_str("err not here")
    }

    /// Waits for what was begun, and answers as `send` does.
    async fn end(&mut self, _name: &str, answer: &mut dyn Write) -> fmt::Result {
        answer.write_str("err not here")
    }

    /// Makes a subscriber of `channel`, and answers `ok` or why not. For subjects that have
    /// `subscribe`.
    async fn subscribe(
        &mut self,
        _name: &str,
        _channel: &str,
        _options: Options<'_>,
        answer: &mut dyn Write,
    ) -> fmt::Result {
        answer.write_str("err not here")
    }

    /// Answers with what a subscriber hears next.
    async fn hear(&mut self, _name: &str, answer: &mut dyn Write) -> fmt::Result {
        answer.write_str("err not here")
    }
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
        "leave" => {
            let (millis, commands) = rest.split_once(' ').unwrap_or_default();
            let patience = Duration::from_millis(millis.parse().unwrap_or_default());
            subject.leave(name, patience, commands, out).await
        }
        "begin" => subject.begin(name, rest, out).await,
        "end" => subject.end(name, out).await,
        "hear" => subject.hear(name, out).await,
        "subscribe" => {
            let (channel, options) = rest.split_once(' ').unwrap_or((rest, ""));
            subject.subscribe(name, channel, Options(options), out).await
        }
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
        "flow" => {
            let mut words = rest.split_whitespace();
            let count = words.next().and_then(|count| count.parse().ok());
            let what = words.next().unwrap_or_default();
            let times = words.next().and_then(|times| times.parse().ok());
            match (count, times) {
                (Some(count), Some(times)) => flow(subject, name, count, what, times, out).await,
                _ => out.write_str("err not a line"),
            }
        }
        _ => out.write_str("err not a line"),
    }
}

/// Counts a key up, ten commands at a time.
async fn flow(
    subject: &mut impl Subject,
    name: &str,
    count: u64,
    what: &str,
    times: u32,
    out: &mut dyn Write,
) -> fmt::Result {
    const TEN: &str = "INCR flow | INCR flow | INCR flow | INCR flow | INCR flow | INCR flow | \
        INCR flow | INCR flow | INCR flow | INCR flow";
    let mut counter = Counter::default();
    loop {
        subject.send(name, TEN, &mut counter).await?;
        counter.end_of_line();
        if counter.failed || counter.seen % 10 != 0 {
            return write!(out, "err after {} replies", counter.seen);
        }
        if counter.seen >= count {
            let mut said = Said::default();
            subject.wait(name, what, times, Duration::ZERO, &mut said).await?;
            if said.ok {
                return out.write_str("ok");
            }
        }
    }
}

/// Whether an answer is `ok`.
#[derive(Default)]
struct Said {
    ok: bool,
}

impl Write for Said {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.ok = text == "ok";
        Ok(())
    }
}

/// Reads answers like `ok (int) 1 | (int) 2`, and sees whether a number is missing.
#[derive(Default)]
struct Counter {
    /// How many numbers there were.
    seen: u64,
    number: Option<u64>,
    failed: bool,
}

impl Counter {
    fn end_of_line(&mut self) {
        if let Some(number) = self.number.take() {
            self.seen += 1;
            self.failed |= number != self.seen;
        }
    }
}

impl Write for Counter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.failed |= text.starts_with("err");
        for byte in text.bytes() {
            if byte.is_ascii_digit() {
                let digit = u64::from(byte - b'0');
                self.number = Some(self.number.unwrap_or(0) * 10 + digit);
            } else {
                self.end_of_line();
            }
        }
        Ok(())
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
        ValueKind::Integer => write!(out, "(int) {}", value.str().unwrap_or("?")),
        ValueKind::Double => write!(out, "(double) {}", value.str().unwrap_or("?")),
        ValueKind::Boolean => write!(out, "({})", value.bool().unwrap_or_default()),
        ValueKind::Null => out.write_str("(nil)"),
        ValueKind::Error => {
            let code = value.error().map_or("-", |error| error.code());
            write_error(Some(code), "server", "Unknown", out)
        }
        ValueKind::Array | ValueKind::Push => list('[', ']', out),
        ValueKind::Set => list('<', '>', out),
        ValueKind::Map => list('{', '}', out),
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
