//! Memory that the caller owns and lends.
//!
//! Whatever needs room takes it as a [`Storage`]: a borrowed slice, an array (for a `static` on
//! a device), or with the feature `alloc` a `Vec` that may grow. What doesn't fit is an error
//! that names the buffer and the size that it wanted, never a truncation.
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

#[cfg(feature = "alloc")]
use zeroize::{DefaultIsZeroes, optimization_barrier};

/// Room for a number of `T`.
pub trait Storage<T> {
    /// Whether it can grow, and then has something to give back.
    const GROWS: bool = false;

    /// All of the room there is.
    fn room(&self) -> &[T];

    /// All of the room there is, to write to.
    fn room_mut(&mut self) -> &mut [T];

    /// Makes room for at least `len`, keeping what is there; says whether there is that much now.
    fn reserve(&mut self, len: usize) -> bool {
        self.room().len() >= len
    }

    /// Gives back what room there is behind the first `len`, if it can; those stay as they are.
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

/// Storage on the heap that grows by itself, up to a limit, and shrinks when it is told to. It is
/// wiped when it moves or ends.
#[cfg(feature = "alloc")]
pub struct Growable<T: DefaultIsZeroes> {
    items: alloc::vec::Vec<T>,
    limit: usize,
}

#[cfg(feature = "alloc")]
impl<T: DefaultIsZeroes> Growable<T> {
    /// Starts with room for `start` and never takes more than `limit`.
    pub fn new(start: usize, limit: usize) -> Self {
        Self { items: alloc::vec![T::default(); start.min(limit)], limit }
    }

    /// Moves to a new block, with room for `len`. Not by `resize`: that may leave a copy of a
    /// secret behind, unwiped.
    fn move_to(&mut self, len: usize) {
        let mut items = alloc::vec![T::default(); len];
        let kept = len.min(self.items.len());
        if let (Some(new), Some(old)) = (items.get_mut(..kept), self.items.get(..kept)) {
            new.copy_from_slice(old);
        }
        self.wipe();
        self.items = items;
    }

    /// A buffer may be large, and so this is not done item by item.
    fn wipe(&mut self) {
        self.items.fill(T::default());
        optimization_barrier(self.items.as_slice());
    }
}

#[cfg(feature = "alloc")]
impl<T: DefaultIsZeroes> Drop for Growable<T> {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(feature = "alloc")]
impl<T: DefaultIsZeroes> fmt::Debug for Growable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Growable({} of {})", self.items.len(), self.limit)
    }
}

#[cfg(feature = "alloc")]
impl<T: DefaultIsZeroes> Storage<T> for Growable<T> {
    const GROWS: bool = true;

    fn room(&self) -> &[T] {
        &self.items
    }

    fn room_mut(&mut self) -> &mut [T] {
        &mut self.items
    }

    fn reserve(&mut self, len: usize) -> bool {
        if len > self.limit {
            return false;
        }
        if len > self.items.len() {
            // By doubling, so that growing byte by byte costs linear time.
            self.move_to(len.max(self.items.len().saturating_mul(2)).min(self.limit));
        }
        true
    }

    fn shrink(&mut self, len: usize) {
        if len < self.items.len() {
            self.move_to(len);
        }
    }
}

/// Something doesn't fit where it should go.
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
        write!(f, "{} buffer too small: {needed} bytes needed, {capacity} there", buffer.name())
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
        }
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;

    #[test]
    fn what_grew_shrinks_and_keeps_what_is_in_front() {
        let mut memory = Growable::<u8>::new(4, 100);
        memory.room_mut().copy_from_slice(b"abcd");
        assert!(memory.reserve(50));
        assert_eq!(memory.room().len(), 50);
        memory.shrink(60);
        assert_eq!(memory.room().len(), 50, "it has no more");
        memory.shrink(3);
        assert_eq!(memory.room(), b"abc");
        assert!(memory.reserve(100) && !memory.reserve(101), "the limit is the same");
        assert_eq!(memory.room()[..4], *b"abc\0");
    }

    #[test]
    fn what_is_fixed_stays() {
        let mut memory = [0_u8; 4];
        memory.shrink(1);
        assert_eq!(memory.room().len(), 4);
    }
}
