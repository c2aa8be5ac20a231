//! Where something lies in a text.

/// Where something lies in lent memory: bytes from `start` up to, not with, `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One behind the last byte.
    pub end: usize,
}

impl Span {
    /// Nothing, at the start.
    pub const EMPTY: Self = Self { start: 0, end: 0 };

    /// The bytes that it covers in `memory`; empty if it lies outside.
    #[inline(never)]
    pub fn of(self, memory: &[u8]) -> &[u8] {
        memory.get(self.start..self.end).unwrap_or_default()
    }

    /// The text that it covers in `memory`; `None` if it is no UTF-8.
    pub fn text(self, memory: &[u8]) -> Option<&str> {
        core::str::from_utf8(self.of(memory)).ok()
    }
}
