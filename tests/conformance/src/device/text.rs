//! Lines and answers, without an allocator.

use core::fmt;

use redis_entraid_core::transport::Read;

/// A text of up to `N` bytes.
#[derive(Clone, Copy)]
pub(super) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> Text<N> {
    pub(super) fn as_str(&self) -> &str {
        core::str::from_utf8(self.bytes.get(..self.len).unwrap_or_default()).unwrap_or_default()
    }
}

impl<const N: usize> From<&str> for Text<N> {
    /// What doesn't fit is left away.
    fn from(text: &str) -> Self {
        let mut whole = Self::default();
        let _ = fmt::Write::write_str(&mut whole, text);
        whole
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Reads lines.
pub(super) struct LineReader<I> {
    input: I,
    buffer: &'static mut [u8],
    /// Where the line begins that comes next, and where what was read ends.
    start: usize,
    end: usize,
}

impl<I: Read> LineReader<I> {
    pub(super) const fn new(input: I, buffer: &'static mut [u8]) -> Self {
        Self { input, buffer, start: 0, end: 0 }
    }

    /// The next line, without its end. `None` if there are no more, or it is too long.
    pub(super) async fn next(&mut self) -> Option<&str> {
        loop {
            let rest = self.buffer.get(self.start..self.end)?;
            if let Some(len) = rest.iter().position(|byte| *byte == b'\n') {
                let start = self.start;
                self.start += len + 1;
                return core::str::from_utf8(self.buffer.get(start..start + len)?).ok();
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let len = self.input.read(self.buffer.get_mut(self.end..)?).await.ok()?;
            if len == 0 {
                return None;
            }
            self.end += len;
        }
    }
}
