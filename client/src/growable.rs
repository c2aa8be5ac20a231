//! Storage on the heap.

use alloc::vec::Vec;
use core::fmt;

use redis_entraid_core::storage::Storage;
use redis_entraid_core::zeroize::{DefaultIsZeroes, optimization_barrier};

/// The first room of one that was empty, in bytes.
const LEAST: usize = 160;

/// Storage on the heap that grows by itself, up to a limit, and shrinks on request. It is
/// wiped when it moves or ends.
pub struct Growable<T: DefaultIsZeroes> {
    items: Vec<T>,
    limit: usize,
}

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

impl<T: DefaultIsZeroes> Drop for Growable<T> {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl<T: DefaultIsZeroes> fmt::Debug for Growable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Growable({} of {})", self.items.len(), self.limit)
    }
}

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
            let least = match self.items.len() {
                0 => LEAST / size_of::<T>().max(1),
                before => before.saturating_mul(2),
            };
            self.move_to(len.max(least).min(self.limit));
        }
        true
    }

    fn shrink(&mut self, len: usize) {
        if len < self.items.len() {
            self.move_to(len);
        }
    }
}

#[cfg(test)]
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
}
