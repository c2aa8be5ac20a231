//! Writes a URL and a form into one buffer.

use crate::storage::{Buffer, CapacityError};

/// Appends text to a buffer. What doesn't fit is counted, so that the error can say how much
/// room was needed.
pub(super) struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// `text` as it is.
    #[inline(never)]
    pub(super) fn plain(&mut self, text: &str) -> &mut Self {
        for byte in text.bytes() {
            self.byte(byte);
        }
        self
    }

    /// `text` percent-encoded: all but the unreserved characters of RFC 3986 section 2.3.
    pub(super) fn encoded(&mut self, text: &str) -> &mut Self {
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

    /// `before`, then `name=value`, the value encoded.
    pub(super) fn field(&mut self, before: &str, name: &str, value: &str) -> &mut Self {
        self.plain(before).plain(name).plain("=").encoded(value)
    }

    fn byte(&mut self, byte: u8) {
        if let Some(slot) = self.buffer.get_mut(self.len) {
            *slot = byte;
        }
        self.len += 1;
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// What was written, up to `middle` and from there on.
    pub(super) fn finish(self, middle: usize) -> Result<(&'a str, &'a [u8]), CapacityError> {
        let capacity = self.buffer.len();
        let too_small = CapacityError::new(Buffer::Request, self.len, capacity);
        let written: &'a [u8] = self.buffer;
        let first = written.get(..middle).ok_or(too_small)?;
        let second = written.get(middle..self.len).ok_or(too_small)?;
        Ok((core::str::from_utf8(first).unwrap_or_default(), second))
    }
}
