//! Memory that is lent to one connection after the other, and memory that has held a secret.

use core::cell::Cell;
use core::mem::take;

use redis_entraid_core::secret::wipe;
use redis_entraid_core::storage::Storage;

/// The memory, while it is not lent.
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

/// Memory that is wiped when its user is done, or gave up: a token may have passed through it.
pub(crate) struct Wiped<'b>(pub(crate) &'b mut [u8]);

impl Drop for Wiped<'_> {
    fn drop(&mut self) {
        wipe(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_held_a_secret_is_wiped() {
        let mut memory = *b"a token";
        drop(Wiped(&mut memory));
        assert_eq!(memory, [0; 7]);
    }

    #[test]
    fn what_is_lent_is_there_again_for_the_next() {
        let home: &'static Home<u8> =
            std::boxed::Box::leak(std::boxed::Box::new(Cell::new(std::vec![0; 5].leak())));
        let mut first = Lent::from(home);
        assert!(first.room_mut().len() == 5 && Lent::from(home).room().is_empty());
        drop(first);
        assert_eq!(Lent::from(home).room().len(), 5);
    }
}
