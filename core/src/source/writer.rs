//! Writes the parts of a request into one buffer.

use core::fmt;

use super::error::SourceError;
use crate::resp::Digits;
use crate::span::Span;
use crate::storage::{Buffer, CapacityError};

/// Appends text to the request memory of a [`Source`](super::Source). What doesn't fit is counted, so
/// that the error can say how much room was needed.
pub struct RequestWriter<'a> {
    buffer: &'a mut [u8],
    start: usize,
    len: usize,
}

impl<'a> RequestWriter<'a> {
    /// Writes from the start of `buffer`.
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, start: 0, len: 0 }
    }

    /// Goes on behind what lies at `span`, which stays.
    pub const fn behind(buffer: &'a mut [u8], span: Span) -> Self {
        Self { buffer, start: span.start, len: span.end }
    }

    /// Writes `text` as it is.
    #[inline(never)]
    pub fn plain(&mut self, text: &str) -> &mut Self {
        for byte in text.bytes() {
            self.byte(byte);
        }
        self
    }

    /// Writes `text` percent-encoded: all but the unreserved characters of RFC 3986 section 2.3.
    pub fn encoded(&mut self, text: &str) -> &mut Self {
        let digit = |n: u8| if n < 10 { b'0' + n } else { b'A' + n - 10 };
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.byte(byte);
            } else {
                self.byte(b'%');
                self.byte(digit(byte >> 4));
                self.byte(digit(byte & 15));
            }
        }
        self
    }

    /// Writes `number` in decimal.
    pub fn number(&mut self, number: u64) -> &mut Self {
        for byte in Digits::default().write(number, false) {
            self.byte(*byte);
        }
        self
    }

    /// Writes `bytes` in base64url, without padding (RFC 4648 section 5).
    pub fn base64url(&mut self, bytes: &[u8]) -> &mut Self {
        for group in bytes.chunks(3) {
            for digit in digits(group).iter().take(group.len() + 1) {
                self.byte(*digit);
            }
        }
        self
    }

    /// Writes `text` as what stands between the quotes of a JSON string.
    pub(super) fn json_text(&mut self, text: &str) -> &mut Self {
        for byte in text.bytes() {
            if matches!(byte, b'"' | b'\\') {
                self.byte(b'\\');
            }
            self.byte(byte);
        }
        self
    }

    /// Returns how much is written.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Puts what was written from `start` on into base64url, in its place.
    pub(super) fn base64url_from(&mut self, start: usize) {
        let bytes = self.len - start;
        self.len = start + (bytes * 4).div_ceil(3);
        let Some(room) = self.buffer.get_mut(start..self.len) else { return };
        // From the end: each group is written behind those that are still to be read.
        for at in (0..bytes.div_ceil(3)).rev() {
            let group = room.get(at * 3..bytes.min(at * 3 + 3)).unwrap_or_default();
            let (digits, count) = (digits(group), group.len() + 1);
            let to = room.get_mut(at * 4..).unwrap_or_default();
            to.iter_mut().zip(digits).take(count).for_each(|(to, digit)| *to = digit);
        }
    }

    /// Writes `before`, then `name=value`, the value encoded.
    pub fn field(&mut self, before: &str, name: &str, value: &str) -> &mut Self {
        self.plain(before).plain(name).plain("=").encoded(value)
    }

    fn byte(&mut self, byte: u8) {
        if let Some(slot) = self.buffer.get_mut(self.len) {
            *slot = byte;
        }
        self.len += 1;
    }

    /// Ends a part: returns where what was written since the last one is, and begins the next.
    pub const fn part(&mut self) -> Span {
        let part = Span { start: self.start, end: self.len };
        self.start = self.len;
        part
    }

    /// Returns where the last part is.
    ///
    /// # Errors
    /// [`SourceError::Capacity`] if not all of the parts have found room.
    pub fn finish(mut self) -> Result<Span, SourceError> {
        let capacity = self.buffer.len();
        if self.len > capacity {
            let error = CapacityError::new(Buffer::Request, self.len, capacity);
            return Err(SourceError::Capacity(error));
        }
        Ok(self.part())
    }
}

/// The digits of up to three bytes; one more than there are bytes counts.
fn digits(group: &[u8]) -> [u8; 4] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let [a, b, c] = [0, 1, 2].map(|at| u32::from(group.get(at).copied().unwrap_or(0)));
    let bits = a << 16 | b << 8 | c;
    [18, 12, 6, 0].map(|shift| {
        let index = bits >> shift & 63;
        ALPHABET.get(index as usize).copied().unwrap_or_default()
    })
}

// What is written may be secret.
impl fmt::Debug for RequestWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestWriter({} of {} bytes)", self.len, self.buffer.len())
    }
}
