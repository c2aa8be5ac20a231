//! Where replies end.

use core::fmt;

/// Finds the end of one reply after the other in a stream of bytes.
///
/// Nesting needs no stack, of its own or of ours: all that counts is how many values are still
/// to come. Streamed strings and aggregates (`$?`, `*?`), which no Redis sends, are refused.
#[derive(Clone, Debug)]
pub struct Framer {
    state: State,
    /// What the value is that is being read: its first byte.
    kind: u8,
    /// The number in its line has a minus.
    negative: bool,
    /// The reply's first byte, behind attributes.
    first: Option<u8>,
    /// The number in its line; then the bytes to come of a string, with the two behind it.
    number: u64,
    /// Values to come until the reply is complete.
    missing: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before the byte that says the type.
    Type,
    /// In a line whose text doesn't concern us.
    Line,
    /// Before the digits of a number.
    Number,
    /// Behind one of them.
    Digits,
    /// Behind the carriage return of a line.
    LineFeed,
    /// In a string.
    Bytes,
}

/// How far a [`Framer`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed {
    /// Bytes used. All of them, unless a reply is complete.
    pub used: usize,
    /// Whether the last of them completed a reply.
    pub complete: bool,
}

/// The bytes are not RESP: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct RespError;

impl fmt::Display for RespError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server sent invalid RESP")
    }
}

impl core::error::Error for RespError {}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

impl Framer {
    /// Before the first byte of a reply.
    pub const fn new() -> Self {
        Self { state: State::Type, kind: 0, negative: false, first: None, number: 0, missing: 1 }
    }

    /// The byte that says what the reply is (`+ - : $ * _ # , ( ! = % ~ >`), once it has come.
    pub const fn first(&self) -> Option<u8> {
        self.first
    }

    /// Reads on, up to the end of a reply. Behind one, the next call begins the next.
    ///
    /// # Errors
    /// [`RespError`] if the bytes are not RESP; drop the framer then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Framed, RespError> {
        if self.missing == 0 {
            *self = Self::new();
        }
        let mut used = 0;
        while let Some(&byte) = bytes.get(used) {
            match self.state {
                State::Type => self.begin(byte)?,
                State::Line => {
                    let rest = bytes.get(used..).unwrap_or_default();
                    match rest.iter().position(|b| matches!(b, b'\r' | b'\n')) {
                        Some(end) if rest.get(end) == Some(&b'\r') => {
                            self.state = State::LineFeed;
                            used += end;
                        }
                        Some(_) => return Err(RespError),
                        None => {
                            used = bytes.len();
                            break;
                        }
                    }
                }
                State::Number | State::Digits => self.number(byte)?,
                State::LineFeed if byte == b'\n' => {
                    if self.line_ends()? {
                        return Ok(Framed { used: used + 1, complete: true });
                    }
                }
                State::LineFeed => return Err(RespError),
                State::Bytes if self.number > 2 => {
                    let text = usize::try_from(self.number - 2).unwrap_or(usize::MAX);
                    let take = text.min(bytes.len() - used);
                    self.number -= take as u64;
                    used += take;
                    continue;
                }
                State::Bytes => {
                    if byte != if self.number == 2 { b'\r' } else { b'\n' } {
                        return Err(RespError);
                    }
                    self.number -= 1;
                    if self.number == 0 && self.value_ends() {
                        return Ok(Framed { used: used + 1, complete: true });
                    }
                }
            }
            used += 1;
        }
        Ok(Framed { used, complete: false })
    }

    fn begin(&mut self, byte: u8) -> Result<(), RespError> {
        self.state = match byte {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => State::Line,
            b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|' => State::Number,
            _ => return Err(RespError),
        };
        (self.kind, self.number, self.negative) = (byte, 0, false);
        if byte != b'|' && self.first.is_none() && self.missing == 1 {
            self.first = Some(byte);
        }
        Ok(())
    }

    fn number(&mut self, byte: u8) -> Result<(), RespError> {
        match (byte, self.state) {
            (b'0'..=b'9', _) => {
                self.number = self.number * 10 + u64::from(byte - b'0');
                self.state = State::Digits;
            }
            (b'-', State::Number) if !self.negative => self.negative = true,
            (b'\r', State::Digits) => self.state = State::LineFeed,
            _ => return Err(RespError),
        }
        if self.number > MAX_LEN { Err(RespError) } else { Ok(()) }
    }

    /// Says whether the reply is complete.
    fn line_ends(&mut self) -> Result<bool, RespError> {
        let more = match (self.kind, self.number) {
            // Null, in RESP2.
            (b'$' | b'*', 1) if self.negative => return Ok(self.value_ends()),
            _ if self.negative => return Err(RespError),
            (b'$' | b'!' | b'=', _) => {
                self.number += 2;
                self.state = State::Bytes;
                return Ok(false);
            }
            // So many values follow, and then still the one.
            (b'|', pairs) => pairs * 2,
            // So many values follow instead of one.
            (b'%', pairs @ 1..) => pairs * 2 - 1,
            (b'*' | b'~' | b'>', count @ 1..) => count - 1,
            _ => return Ok(self.value_ends()),
        };
        self.missing = self.missing.checked_add(more).ok_or(RespError)?;
        self.state = State::Type;
        Ok(false)
    }

    const fn value_ends(&mut self) -> bool {
        self.state = State::Type;
        self.missing -= 1;
        self.missing == 0
    }
}

/// More than any server sends, and so little that sums don't overflow.
const MAX_LEN: u64 = 1 << 48;
