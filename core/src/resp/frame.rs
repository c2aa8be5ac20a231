//! Where replies end.

use core::fmt;

/// Finds the end of one reply after the other in a stream of bytes.
///
/// Nesting needs no stack, of its own or of ours: all that counts is how many values are still
/// to come. Streamed strings and aggregates (`$?`, `*?`), which no Redis sends, are refused.
#[derive(Clone, Debug)]
pub struct Framer {
    state: State,
    /// Values to come until the reply is complete.
    missing: u64,
    /// The reply's first byte, behind attributes.
    first: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before the byte that says the type.
    Type,
    /// In a line whose text doesn't concern us.
    Line,
    /// In the number behind the byte `of`.
    Number { of: u8, value: Option<u64>, negative: bool },
    /// Behind the carriage return of a line or number; then this.
    LineFeed { then: After },
    /// In a string, of which so many bytes are to come, with the two behind it.
    Bytes { left: u64 },
}

#[derive(Clone, Copy, Debug)]
enum After {
    /// A value ends.
    Value,
    /// So many values follow instead of one.
    Values(u64),
    /// So many values follow, and then still the one.
    Attribute(u64),
    /// A string of this length follows.
    Bytes(u64),
}

/// How far a [`Framer`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed {
    /// Bytes used. All of them, unless a reply is complete.
    pub used: usize,
    /// Whether the last of them completed a reply.
    pub complete: bool,
}

/// The bytes are not RESP: the connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct RespError;

impl fmt::Display for RespError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the server sent is not RESP")
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
        Self { state: State::Type, missing: 1, first: None }
    }

    /// The byte that says what the reply is (`+ - : $ * _ # , ( ! = % ~ >`), once it has come.
    pub const fn first(&self) -> Option<u8> {
        self.first
    }

    /// Reads on, up to the end of a reply. Behind one, the next call begins the next.
    ///
    /// # Errors
    /// [`RespError`] if the bytes are not RESP; the framer is of no use then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Framed, RespError> {
        if self.missing == 0 {
            *self = Self::new();
        }
        let mut used = 0;
        while let Some(&byte) = bytes.get(used) {
            match &mut self.state {
                State::Type => {
                    self.begin(byte)?;
                    used += 1;
                }
                State::Line => {
                    let rest = bytes.get(used..).unwrap_or_default();
                    match rest.iter().position(|b| matches!(b, b'\r' | b'\n')) {
                        Some(end) if rest.get(end) == Some(&b'\r') => {
                            self.state = State::LineFeed { then: After::Value };
                            used += end + 1;
                        }
                        Some(_) => return Err(RespError),
                        None => used = bytes.len(),
                    }
                }
                State::Number { of, value, negative } => {
                    match (byte, *value) {
                        (b'0'..=b'9', _) => {
                            let tens = value.unwrap_or(0).checked_mul(10).ok_or(RespError)?;
                            let sum = tens.checked_add(u64::from(byte - b'0'));
                            *value = Some(sum.filter(|sum| *sum <= MAX_LEN).ok_or(RespError)?);
                        }
                        (b'-', None) if !*negative => *negative = true,
                        (b'\r', Some(value)) => {
                            let then = after(*of, value, *negative)?;
                            self.state = State::LineFeed { then };
                        }
                        _ => return Err(RespError),
                    }
                    used += 1;
                }
                State::LineFeed { then } => {
                    let then = *then;
                    if byte != b'\n' {
                        return Err(RespError);
                    }
                    used += 1;
                    if self.line_ends(then)? {
                        return Ok(Framed { used, complete: true });
                    }
                }
                State::Bytes { left: left @ 3.. } => {
                    let text = usize::try_from(*left - 2).unwrap_or(usize::MAX);
                    let take = text.min(bytes.len() - used);
                    used += take;
                    *left -= take as u64;
                }
                State::Bytes { left } => {
                    if byte != if *left == 2 { b'\r' } else { b'\n' } {
                        return Err(RespError);
                    }
                    used += 1;
                    *left -= 1;
                    if *left == 0 && self.value_ends() {
                        return Ok(Framed { used, complete: true });
                    }
                }
            }
        }
        Ok(Framed { used, complete: false })
    }

    fn begin(&mut self, byte: u8) -> Result<(), RespError> {
        self.state = match byte {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => State::Line,
            b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|' => {
                State::Number { of: byte, value: None, negative: false }
            }
            _ => return Err(RespError),
        };
        if byte != b'|' && self.first.is_none() && self.missing == 1 {
            self.first = Some(byte);
        }
        Ok(())
    }

    /// Says whether the reply is complete.
    fn line_ends(&mut self, then: After) -> Result<bool, RespError> {
        let more = match then {
            After::Value => return Ok(self.value_ends()),
            After::Bytes(len) => {
                self.state = State::Bytes { left: len + 2 };
                return Ok(false);
            }
            After::Values(0) => return Ok(self.value_ends()),
            After::Values(count) => count - 1,
            After::Attribute(count) => count,
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

fn after(of: u8, value: u64, negative: bool) -> Result<After, RespError> {
    match (of, value, negative) {
        // Null, in RESP2.
        (b'$' | b'*', 1, true) => Ok(After::Value),
        (_, _, true) => Err(RespError),
        (b'$' | b'!' | b'=', len, _) => Ok(After::Bytes(len)),
        (b'%', pairs, _) => Ok(After::Values(pairs * 2)),
        (b'|', pairs, _) => Ok(After::Attribute(pairs * 2)),
        (_, count, _) => Ok(After::Values(count)),
    }
}
