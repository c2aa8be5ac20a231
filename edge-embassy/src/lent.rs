//! Memory that is lent to one connection after the other.

use core::cell::Cell;
use core::mem::take;

use redis_entraid_core::storage::Storage;

/// Where the memory is while nobody has it.
pub(crate) type Home<T> = Cell<&'static mut [T]>;

/// Memory that goes home when it is dropped.
pub(crate) struct Lent<T: 'static> {
    memory: &'static mut [T],
    home: &'static Home<T>,
}

impl<T> Lent<T> {
    /// What is at `home`; nothing, if it is lent already.
    pub(crate) fn from(home: &'static Home<T>) -> Self {
        Self { memory: home.take(), home }
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        self.home.set(take(&mut self.memory));
    }
}

impl<T> Storage<T> for Lent<T> {
    fn room(&self) -> &[T] {
        self.memory
    }

    fn room_mut(&mut self) -> &mut [T] {
        self.memory
    }
}
