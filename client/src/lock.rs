//! Sharing, with threads and without.

use core::cell::{RefCell, RefMut};
use core::ops::DerefMut;

/// Lends something to one at a time: a `RefCell` where there is one thread, a `Mutex` where there
/// are several.
pub trait Lock<T> {
    /// Exclusive access, as long as it lives.
    type Guard<'g>: DerefMut<Target = T>
    where
        Self: 'g;

    /// Makes `value` sharable.
    fn new(value: T) -> Self;

    /// Borrows it. Nothing waits while it is borrowed.
    fn lock(&self) -> Self::Guard<'_>;
}

impl<T> Lock<T> for RefCell<T> {
    type Guard<'g>
        = RefMut<'g, T>
    where
        Self: 'g;

    fn new(value: T) -> Self {
        Self::new(value)
    }

    fn lock(&self) -> RefMut<'_, T> {
        self.borrow_mut()
    }
}

#[cfg(feature = "std")]
impl<T> Lock<T> for std::sync::Mutex<T> {
    type Guard<'g>
        = std::sync::MutexGuard<'g, T>
    where
        Self: 'g;

    fn new(value: T) -> Self {
        Self::new(value)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, T> {
        // Who panicked did so in code that leaves the value whole.
        Self::lock(self).unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
