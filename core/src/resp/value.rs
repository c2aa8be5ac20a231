//! A view of one reply.

use core::fmt;

use super::frame::{Framer, RespError};
use crate::number::{signed, unsigned};

/// One whole value as it was received: a view, without a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    /// Exactly one value, its attributes taken off.
    raw: &'a [u8],
}

/// The kind of a value, the same for RESP2 and RESP3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ValueKind {
    /// A status, `+OK`.
    Simple,
    /// An error, `-ERR ...` or `!` and a string.
    Error,
    /// A whole number.
    Integer,
    /// A string of any bytes.
    Bulk,
    /// A list of values.
    Array,
    /// Nothing: `_`, or RESP2's `$-1` and `*-1`.
    Null,
    /// A number with a fraction, as text.
    Double,
    /// True or false.
    Boolean,
    /// A whole number of any size, as text.
    BigNumber,
    /// A string with its format.
    Verbatim,
    /// Keys and values in turn.
    Map,
    /// A list of values without order.
    Set,
    /// Something that the server sent unasked, or the confirmation of a subscription.
    Push,
}

/// A value is of another kind than it was asked to be, or an error that the server reported: inside the
/// reply to an `EXEC`, each command has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct TypeError {
    /// What it is.
    pub found: ValueKind,
    /// What was asked for.
    pub wanted: &'static str,
    said: Said,
}

impl TypeError {
    /// The error that the server reported, if that is what the value is: up to 80 bytes of it. `None`
    /// without the feature `error-text`: it costs a device 350 bytes of flash, and [`Value::error`]
    /// nothing.
    pub fn error(&self) -> Option<ErrorReply<'_>> {
        let text = self.said.0.trim_ascii_end();
        (self.found == ValueKind::Error && SAID != 0).then_some(ErrorReply { text })
    }
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error() {
            Some(error) => write!(f, "the server reported an error: {error}"),
            None => write!(f, "the reply is {:?}, not {}", self.found, self.wanted),
        }
    }
}

/// The beginning of what the server said, with spaces behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Said([u8; SAID]);

const SAID: usize = if cfg!(feature = "error-text") { 80 } else { 0 };

impl Said {
    fn of(error: Option<ErrorReply<'_>>) -> Self {
        let mut said = [b' '; SAID];
        for (to, from) in said.iter_mut().zip(error.map_or(&[][..], |error| error.text)) {
            *to = *from;
        }
        Self(said)
    }
}

// A server may quote the command.
impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Said {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "..");
    }
}

impl core::error::Error for TypeError {}

impl<'a> Value<'a> {
    /// A view of `raw`, which must be exactly one value.
    ///
    /// # Errors
    /// [`RespError`] if it is not.
    pub fn new(raw: &'a [u8]) -> Result<Self, RespError> {
        match Framer::new().feed(raw) {
            Ok(framed) if framed.complete && framed.used == raw.len() => Ok(Self::framed(raw)),
            _ => Err(RespError),
        }
    }

    /// A view of what a [`Framer`] found to be one value. Of anything else it may say anything.
    #[inline(never)]
    pub fn framed(raw: &'a [u8]) -> Self {
        let mut raw = raw;
        // Attributes describe the value behind them. They are
        // passed by framing alone, so that none nested in another costs any stack.
        while let [b'|', ..] = raw {
            let (_, mut rest) = split_line(raw);
            for _ in 0..number(raw).unwrap_or(0).saturating_mul(2) {
                match Framer::new().feed(rest) {
                    Ok(framed) if framed.complete => {
                        rest = rest.get(framed.used..).unwrap_or_default();
                    }
                    _ => break,
                }
            }
            raw = rest;
        }
        Self { raw }
    }

    /// The value as it was received, without attributes.
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// What it is.
    pub fn kind(&self) -> ValueKind {
        match self.raw {
            [b'$' | b'*', b'-', ..] | [b'_', ..] | [] => ValueKind::Null,
            [b'+', ..] => ValueKind::Simple,
            [b'-' | b'!', ..] => ValueKind::Error,
            [b':', ..] => ValueKind::Integer,
            [b'$', ..] => ValueKind::Bulk,
            [b'*', ..] => ValueKind::Array,
            [b',', ..] => ValueKind::Double,
            [b'#', ..] => ValueKind::Boolean,
            [b'(', ..] => ValueKind::BigNumber,
            [b'=', ..] => ValueKind::Verbatim,
            [b'%', ..] => ValueKind::Map,
            [b'~', ..] => ValueKind::Set,
            [b'>', ..] => ValueKind::Push,
            [..] => ValueKind::Simple,
        }
    }

    /// Whether it is nothing.
    pub fn is_null(&self) -> bool {
        self.kind() == ValueKind::Null
    }

    /// The bytes of a string, a status, or a number's text.
    ///
    /// # Errors
    /// [`TypeError`] if it is none of these.
    pub fn bytes(&self) -> Result<&'a [u8], TypeError> {
        let (line, rest) = split_line(self.raw);
        match self.kind() {
            ValueKind::Simple | ValueKind::Integer | ValueKind::Double | ValueKind::BigNumber => {
                Ok(line)
            }
            ValueKind::Bulk => Ok(rest.strip_suffix(b"\r\n").unwrap_or_default()),
            ValueKind::Verbatim => {
                let text = rest.strip_suffix(b"\r\n").unwrap_or_default();
                // Three letters for the format, and a colon.
                Ok(text.get(4..).unwrap_or_default())
            }
            _ => Err(self.not("a string")),
        }
    }

    /// The text of a string, a status or a number.
    ///
    /// # Errors
    /// [`TypeError`] if it is none of these, or not UTF-8.
    pub fn str(&self) -> Result<&'a str, TypeError> {
        core::str::from_utf8(self.bytes()?).map_err(|_| self.not("UTF-8"))
    }

    /// A whole number, also one that came as a string.
    ///
    /// # Errors
    /// [`TypeError`] if it is none, or too large.
    pub fn int(&self) -> Result<i64, TypeError> {
        self.bytes().ok().and_then(signed).ok_or_else(|| self.not("an integer"))
    }

    /// True or false: RESP3's own, or 1 or 0, also as a string.
    ///
    /// # Errors
    /// [`TypeError`] if it is neither.
    pub fn bool(&self) -> Result<bool, TypeError> {
        match (self.raw, self.bytes()) {
            (b"#t\r\n", _) | (_, Ok(b"1")) => Ok(true),
            (b"#f\r\n", _) | (_, Ok(b"0")) => Ok(false),
            _ => Err(self.not("a boolean")),
        }
    }

    /// The values of an array, a set or a push; of a map, keys and values in turn. An error that the
    /// server reported instead of them is the only one, so that it is found where they are read (with
    /// the feature `error-text`: see [`TypeError::error`]). Empty if it is none of these.
    pub fn items(&self) -> Items<'a> {
        let count = match self.raw {
            [b'*' | b'~' | b'>', ..] => number(self.raw).unwrap_or(0),
            [b'%', ..] => number(self.raw).unwrap_or(0).saturating_mul(2),
            [b'-' | b'!', ..] if SAID != 0 => return Items { rest: self.raw, left: 1 },
            _ => 0,
        };
        Items { rest: split_line(self.raw).1, left: count }
    }

    /// The value behind `key`, in a map or in an array of keys and values in turn. If it is an error
    /// that the server reported instead of them, that.
    pub fn get(&self, key: &str) -> Option<Self> {
        if self.kind() == ValueKind::Error {
            return Some(*self);
        }
        let mut items = self.items();
        while let (Some(name), Some(value)) = (items.next(), items.next()) {
            if name.bytes().is_ok_and(|name| name == key.as_bytes()) {
                return Some(value);
            }
        }
        None
    }

    /// The error that it is, if it is one.
    pub fn error(&self) -> Option<ErrorReply<'a>> {
        let (line, rest) = split_line(self.raw);
        let text = match self.raw {
            [b'-', ..] => line,
            [b'!', ..] => rest.strip_suffix(b"\r\n").unwrap_or_default(),
            _ => return None,
        };
        Some(ErrorReply { text })
    }

    pub(crate) fn not(&self, wanted: &'static str) -> TypeError {
        let said = if SAID != 0 { Said::of(self.error()) } else { Said([b' '; SAID]) };
        TypeError { found: self.kind(), wanted, said }
    }
}

// A reply may be large: what is long or lies deep is cut.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f, 4)
    }
}

/// So many bytes of a string are shown, and so many values of a list.
const SHOWN: (usize, usize) = (64, 16);

impl Value<'_> {
    /// Shows it, and the values in it down to so many levels.
    fn show(&self, f: &mut fmt::Formatter<'_>, levels: u32) -> fmt::Result {
        match self.kind() {
            ValueKind::Null => f.write_str("nil"),
            ValueKind::Error => write!(f, "{:?}", self.error()),
            ValueKind::Boolean => write!(f, "{}", self.raw == b"#t\r\n"),
            ValueKind::Array | ValueKind::Set | ValueKind::Push | ValueKind::Map => {
                f.write_str("[")?;
                for (at, item) in self.items().enumerate() {
                    f.write_str(if at > 0 { ", " } else { "" })?;
                    if levels == 0 || at == SHOWN.1 {
                        f.write_str("...")?;
                        break;
                    }
                    item.show(f, levels - 1)?;
                }
                f.write_str("]")
            }
            kind => {
                let bytes = self.bytes().unwrap_or_default();
                let shown = bytes.get(..SHOWN.0).unwrap_or(bytes);
                let quote =
                    if matches!(kind, ValueKind::Bulk | ValueKind::Verbatim) { "\"" } else { "" };
                f.write_str(quote)?;
                for chunk in shown.utf8_chunks() {
                    // Only ASCII is shown unescaped; Unicode's tables would cost kilobytes.
                    for letter in chunk.valid().chars() {
                        match letter {
                            '"' | '\\' | '\0'..' ' | '\x7f' => {
                                write!(f, "{}", letter.escape_default())?
                            }
                            letter => fmt::Write::write_char(f, letter)?,
                        }
                    }
                    write!(f, "{}", chunk.invalid().escape_ascii())?;
                }
                f.write_str(quote)?;
                f.write_str(if shown.len() < bytes.len() { "..." } else { "" })
            }
        }
    }
}

/// The values in a value, in order.
#[derive(Clone)]
pub struct Items<'a> {
    rest: &'a [u8],
    left: u64,
}

impl fmt::Debug for Items<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Items({})", self.left)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (item, rest) = next(self.rest)?;
        self.rest = rest;
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (0, Some(left))
    }
}

/// The first value of `bytes`, and what is behind it.
fn next(bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let framed = Framer::new().feed(bytes).ok().filter(|framed| framed.complete)?;
    let (raw, rest) = bytes.split_at_checked(framed.used)?;
    Some((Value::framed(raw), rest))
}

/// The first line behind its type, without its end; and what is behind it.
#[inline(never)]
fn split_line(raw: &[u8]) -> (&[u8], &[u8]) {
    let end = raw.iter().position(|&byte| byte == b'\r').unwrap_or(raw.len());
    (raw.get(1..end).unwrap_or_default(), raw.get(end + 2..).unwrap_or_default())
}

fn number(raw: &[u8]) -> Option<u64> {
    unsigned(split_line(raw).0)
}

/// An error that the server reported: a code, mostly, and a sentence.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ErrorReply<'a> {
    text: &'a [u8],
}

impl<'a> ErrorReply<'a> {
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Self { text }
    }

    /// Its first word, as `WRONGPASS` or `MOVED`.
    pub fn code(&self) -> &'a str {
        let end = self.text.iter().position(|&byte| byte == b' ').unwrap_or(self.text.len());
        core::str::from_utf8(self.text.get(..end).unwrap_or_default()).unwrap_or_default()
    }

    /// All of it. A server may quote the command there.
    pub const fn text(&self) -> &'a [u8] {
        self.text
    }

    /// What is behind the code.
    pub fn message(&self) -> &'a str {
        let rest = self.text.get(self.code().len()..).unwrap_or_default();
        core::str::from_utf8(rest.trim_ascii_start()).unwrap_or_default()
    }
}

impl fmt::Display for ErrorReply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.message())
    }
}

impl fmt::Debug for ErrorReply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({})", self.code())
    }
}
