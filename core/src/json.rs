//! The members of one JSON object (RFC 8259), in constant memory.
//!
//! [`members`] finds each member of the *top-level* object. It doesn't recurse, keeps no copy, and
//! refuses what is nested deeper than [`MAX_DEPTH`]. What it finds is read a scalar at a time, strings
//! with `serde-json-core`: see [`text`] and [`number`].
//!
//! ```
//! use redis_entraid_core::json;
//!
//! let document = br#"{"token_type":"Bearer","expires_in":"3599","nested":{"expires_in":1}}"#;
//! let mut found = None;
//! for member in json::members(document) {
//!     let (key, value) = member.unwrap();
//!     if json::text_is(key, "expires_in") {
//!         found = json::number(value);
//!     }
//! }
//! assert_eq!(found, Some(3599));
//! ```

use core::fmt;

use serde_json_core::str::{EscapedStr, EscapedStringFragment};

use crate::number::unsigned;
use crate::span::Span;

/// How deep objects and arrays may lie in each other.
pub const MAX_DEPTH: u32 = 32;

/// A member of the top-level object, as written: strings with their quotes and escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Where its name is.
    pub key: Span,
    /// Where its value is.
    pub value: Span,
}

/// The text is not a JSON object that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON, or not an object.
    Syntax {
        /// Where, in bytes from the start of the text.
        at: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// It ends before the object does.
    Incomplete,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { at } => write!(f, "not a JSON object, at byte {at}"),
            Self::TooDeep => write!(f, "JSON nested deeper than {MAX_DEPTH}"),
            Self::Incomplete => f.write_str("JSON is truncated"),
        }
    }
}

impl core::error::Error for JsonError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the object.
    Start,
    /// In a byte order mark.
    Mark,
    /// Before a key; a `}` may come instead if the object is empty so far.
    Key {
        first: bool,
    },
    Colon,
    /// Before a value; a `]` may come instead if the array is empty so far.
    Value {
        first: bool,
    },
    /// In a string, which is a key or a value.
    String {
        key: bool,
    },
    Escape {
        key: bool,
    },
    /// In `\uXXXX`, with so many digits to come.
    Unicode {
        key: bool,
        digits: u8,
    },
    /// In a number, `true`, `false` or `null`.
    Scalar,
    /// Behind a value: a comma or a closing bracket comes.
    After,
    /// Behind the object.
    End,
}

/// Finds the members of a JSON object in a text that comes in pieces.
#[derive(Clone, Debug)]
pub(crate) struct Scanner {
    state: State,
    /// Bytes seen so far.
    at: usize,
    depth: u32,
    /// For each level a bit: 1 for an object, 0 for an array.
    objects: u32,
    start: usize,
    key: Span,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// Before the first byte.
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Start,
            at: 0,
            depth: 0,
            objects: 0,
            start: 0,
            key: Span { start: 0, end: 0 },
        }
    }

    /// Reads on in `piece` until a member is complete. Answers with the number of bytes used,
    /// which is all of them if there is no member.
    ///
    /// # Errors
    /// [`JsonError`] if the text is not a JSON object; drop the scanner then.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<(usize, Option<Member>), JsonError> {
        let mut used = 0;
        while let Some(&byte) = piece.get(used) {
            if let State::String { .. } = self.state {
                let rest = piece.get(used..).unwrap_or_default();
                let plain = rest.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20);
                let plain = plain.unwrap_or(rest.len());
                if plain > 0 {
                    used += plain;
                    self.at += plain;
                    continue;
                }
            }
            let (member, consumed) = self.step(byte)?;
            if consumed {
                used += 1;
                self.at += 1;
            }
            if member.is_some() {
                return Ok((used, member));
            }
        }
        Ok((used, None))
    }

    /// Says whether the text was a whole object.
    ///
    /// # Errors
    /// [`JsonError::Incomplete`] if not.
    pub(crate) fn finish(&self) -> Result<(), JsonError> {
        if self.state == State::End { Ok(()) } else { Err(JsonError::Incomplete) }
    }

    /// One byte. Answers with a member that it completed, and whether the byte is used up: the
    /// one that ends a number is looked at twice.
    fn step(&mut self, byte: u8) -> Result<(Option<Member>, bool), JsonError> {
        let space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match self.state {
            State::Start if byte == b'{' => self.open(true)?,
            // A byte order mark may stand in front (RFC 8259 section 8.1).
            State::Start if self.at == 0 && byte == 0xef => self.state = State::Mark,
            State::Mark if self.at == 1 && byte == 0xbb => {}
            State::Mark if self.at == 2 && byte == 0xbf => self.state = State::Start,
            State::Key { first: true } | State::After if byte == b'}' => return self.close(true),
            State::Value { first: true } | State::After if byte == b']' => {
                return self.close(false);
            }
            State::Key { .. } if byte == b'"' => self.begin(State::String { key: true }),
            State::Colon if byte == b':' => self.state = State::Value { first: false },
            State::After if byte == b',' => {
                self.state = if self.in_object() {
                    State::Key { first: false }
                } else {
                    State::Value { first: false }
                };
            }
            State::Value { .. } => match byte {
                b'"' => self.begin(State::String { key: false }),
                b'{' => self.open(true)?,
                b'[' => self.open(false)?,
                b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => self.begin(State::Scalar),
                _ if space => {}
                _ => return Err(self.syntax()),
            },
            State::Scalar => match byte {
                b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.' => {}
                _ => return Ok((self.value_ends(self.at), false)),
            },
            State::String { key } => match byte {
                b'"' if key => {
                    if self.depth == 1 {
                        self.key = Span { start: self.start, end: self.at + 1 };
                    }
                    self.state = State::Colon;
                }
                b'"' => return Ok((self.value_ends(self.at + 1), true)),
                b'\\' => self.state = State::Escape { key },
                0..0x20 => return Err(self.syntax()),
                _ => {}
            },
            State::Escape { key } => match byte {
                b'u' => self.state = State::Unicode { key, digits: 4 },
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                    self.state = State::String { key };
                }
                _ => return Err(self.syntax()),
            },
            State::Unicode { key, digits } if byte.is_ascii_hexdigit() => {
                self.state = match digits {
                    ..=1 => State::String { key },
                    _ => State::Unicode { key, digits: digits - 1 },
                };
            }
            State::Unicode { .. } => return Err(self.syntax()),
            _ if space => {}
            _ => return Err(self.syntax()),
        }
        Ok((None, true))
    }

    const fn syntax(&self) -> JsonError {
        JsonError::Syntax { at: self.at }
    }

    const fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    const fn begin(&mut self, state: State) {
        if self.depth == 1 {
            self.start = self.at;
        }
        self.state = state;
    }

    fn open(&mut self, object: bool) -> Result<(), JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.begin(if object { State::Key { first: true } } else { State::Value { first: true } });
        self.depth += 1;
        self.objects = self.objects << 1 | u32::from(object);
        Ok(())
    }

    fn close(&mut self, object: bool) -> Result<(Option<Member>, bool), JsonError> {
        if object != self.in_object() {
            return Err(self.syntax());
        }
        self.depth -= 1;
        self.objects >>= 1;
        Ok((self.value_ends(self.at + 1), true))
    }

    fn value_ends(&mut self, end: usize) -> Option<Member> {
        self.state = if self.depth == 0 { State::End } else { State::After };
        (self.depth == 1)
            .then_some(Member { key: self.key, value: Span { start: self.start, end } })
    }
}

/// The members of the object that `text` is, name and value as written.
///
/// Ends behind the first error.
pub fn members(text: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), JsonError>> {
    let mut scanner = Scanner::new();
    let mut at = 0;
    let mut ended = false;
    core::iter::from_fn(move || {
        if ended {
            return None;
        }
        match scanner.feed(text.get(at..).unwrap_or_default()) {
            Ok((used, Some(member))) => {
                at += used;
                Some(Ok((member.key.of(text), member.value.of(text))))
            }
            Ok((_, None)) => {
                ended = true;
                scanner.finish().err().map(Err)
            }
            Err(error) => {
                ended = true;
                Some(Err(error))
            }
        }
    })
}

/// What stands between the quotes of a string, with its escapes; `None` if it is no string.
pub fn raw_text(value: &[u8]) -> Option<&str> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    core::str::from_utf8(inner).ok()
}

/// Gives the text of a string to `take`, piece by piece, for as long as it says yes. Says whether it
/// did to the end, and this is a string.
#[inline(never)]
fn read(value: &[u8], take: &mut dyn FnMut(&str) -> bool) -> bool {
    let Some(raw) = raw_text(value) else { return false };
    EscapedStr(raw).fragments().all(|fragment| match fragment {
        Ok(EscapedStringFragment::NotEscaped(piece)) => take(piece),
        Ok(EscapedStringFragment::Escaped(character)) => take(character.encode_utf8(&mut [0; 4])),
        Err(_) => false,
    })
}

/// Reads a string into `out`; `None` if it is no string or longer.
pub fn text<'o>(value: &[u8], out: &'o mut [u8]) -> Option<&'o str> {
    let mut len = 0;
    let whole = read(value, &mut |piece| {
        let room = out.get_mut(len..len + piece.len());
        len += piece.len();
        room.map(|room| room.copy_from_slice(piece.as_bytes())).is_some()
    });
    core::str::from_utf8(out.get(..len).filter(|_| whole)?).ok()
}

/// Whether `value` is a string that reads `wanted`, however it is escaped.
#[inline(never)]
pub fn text_is(value: &[u8], wanted: &str) -> bool {
    let mut rest = wanted;
    let same = read(value, &mut |piece| {
        let after = rest.strip_prefix(piece);
        rest = after.unwrap_or(rest);
        after.is_some()
    });
    same && rest.is_empty()
}

/// A number that is not negative, or a string of one, as managed-identity endpoints write them;
/// a fraction is cut off.
pub fn number(value: &[u8]) -> Option<u64> {
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    let digits = quoted.unwrap_or(value);
    let whole = match digits.iter().position(|&b| b == b'.') {
        Some(dot) if digits.get(dot + 1..)?.iter().all(u8::is_ascii_digit) => digits.get(..dot)?,
        Some(_) => return None,
        None => digits,
    };
    match whole {
        // None of these is a number in JSON.
        [b'+', ..] | [b'0', _, ..] => None,
        whole => unsigned(whole),
    }
}

#[cfg(test)]
mod tests;
