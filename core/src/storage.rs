//! Memory that the caller owns and lends.
//!
//! Whatever needs room takes it as a [`Storage`]: a borrowed slice, an array (for a `static` on
//! a device), or the `Growable` of `redis-entraid-client`. What doesn't fit is an error that names the buffer and the size that it wanted, never a truncation.
//!
//! ```
//! use redis_entraid_core::storage::Storage;
//!
//! let mut memory = [0_u8; 64];
//! let mut lent: &mut [u8] = &mut memory;
//! assert!(lent.reserve(64));
//! assert!(!lent.reserve(65));   // a slice can't grow
//! ```

use core::fmt;

pub use crate::recent::Recent;

/// Room for a number of `T`.
pub trait Storage<T> {
    /// Whether it can grow, and then has something to give back.
    const GROWS: bool = false;

    /// Returns all of the memory.
    fn room(&self) -> &[T];

    /// Returns all of the memory, to write to.
    fn room_mut(&mut self) -> &mut [T];

    /// Makes room for at least `len`, keeping the content. Returns whether there is room for `len`
    /// now.
    fn reserve(&mut self, len: usize) -> bool {
        self.room().len() >= len
    }

    /// Releases memory behind the first `len` elements, if it can. These keep their values.
    fn shrink(&mut self, len: usize) {
        let _ = len;
    }
}

impl<T> Storage<T> for &mut [T] {
    fn room(&self) -> &[T] {
        self
    }

    fn room_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T, const N: usize> Storage<T> for [T; N] {
    fn room(&self) -> &[T] {
        self
    }

    fn room_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T, const N: usize> Storage<T> for &mut [T; N] {
    fn room(&self) -> &[T] {
        *self
    }

    fn room_mut(&mut self) -> &mut [T] {
        *self
    }
}

/// A buffer is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct CapacityError {
    /// The buffer that is too small.
    pub buffer: Buffer,
    /// Bytes that it would have to hold.
    pub needed: usize,
    /// Bytes that it holds.
    pub capacity: usize,
}

impl CapacityError {
    /// `buffer` has room for `capacity`, and `needed` were needed.
    pub const fn new(buffer: Buffer, needed: usize, capacity: usize) -> Self {
        Self { buffer, needed, capacity }
    }
}

impl fmt::Display for CapacityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { buffer, needed, capacity } = self;
        write!(f, "{} buffer too small: {needed} bytes needed, {capacity} available", buffer.name())
    }
}

impl core::error::Error for CapacityError {}

/// The buffers that a caller sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Buffer {
    /// One of the token manager's two slots: a user name and a token.
    Token,
    /// What a source writes its request to.
    Request,
    /// What an HTTP response is read to.
    Response,
    /// What a connection receives to: must hold the largest reply that is wanted whole.
    Receive,
    /// What a connection sends from: must hold the largest command.
    Transmit,
    /// What a snapshot of a token is written to.
    Snapshot,
    /// The ring of commands that wait for their replies.
    Ring,
    /// The ranges of slots in a cluster's map, or its primaries, or the host of one of them.
    SlotMap,
}

impl Buffer {
    const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Request => "request",
            Self::Response => "response",
            Self::Receive => "receive",
            Self::Transmit => "transmit",
            Self::Snapshot => "snapshot",
            Self::Ring => "ring",
            Self::SlotMap => "slots",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::vec::Vec;

    /// Storage that grows up to a limit, and shrinks.
    pub(crate) struct Grows<T>(Vec<T>, usize);

    impl<T: Clone + Default> Grows<T> {
        pub(crate) fn new(start: usize, limit: usize) -> Self {
            Self(std::vec![T::default(); start.min(limit)], limit)
        }
    }

    impl<T: Clone + Default> Storage<T> for Grows<T> {
        const GROWS: bool = true;

        fn room(&self) -> &[T] {
            &self.0
        }

        fn room_mut(&mut self) -> &mut [T] {
            &mut self.0
        }

        fn reserve(&mut self, len: usize) -> bool {
            if len <= self.1 && len > self.0.len() {
                self.0.resize((2 * self.0.len()).max(len).min(self.1), T::default());
            }
            len <= self.1
        }

        fn shrink(&mut self, len: usize) {
            self.0.truncate(len);
        }
    }

    #[test]
    fn what_is_fixed_stays() {
        let mut memory = [0_u8; 4];
        memory.shrink(1);
        assert_eq!(memory.room().len(), 4);
    }
}
