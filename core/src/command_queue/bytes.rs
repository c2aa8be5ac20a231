//! Byte strings one behind the other in lent memory.

/// Where one lies: its first byte, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    start: u16,
    len: u16,
}

impl Place {
    fn range(self) -> core::ops::Range<usize> {
        let start = usize::from(self.start);
        start..start + usize::from(self.len)
    }
}

/// They lie without gaps: when one is taken out, those behind it move up. That costs a copy, and no byte
/// of the memory is ever out of use, in whatever order they are taken.
pub(super) struct Bytes<'m> {
    memory: &'m mut [u8],
    len: usize,
}

impl<'m> Bytes<'m> {
    pub(super) const fn new(memory: &'m mut [u8]) -> Self {
        Self { memory, len: 0 }
    }

    /// Places are 16 bits.
    pub(super) fn capacity(&self) -> usize {
        self.memory.len().min(usize::from(u16::MAX))
    }

    /// For how many more bytes there is room.
    pub(super) fn free(&self) -> usize {
        self.capacity() - self.len
    }

    /// Room for `len` bytes behind the others, which the caller fills.
    pub(super) fn push(&mut self, len: usize) -> Option<(Place, &mut [u8])> {
        if len > self.free() {
            return None;
        }
        let place = Place { start: self.len.try_into().ok()?, len: len.try_into().ok()? };
        let room = self.memory.get_mut(place.range())?;
        self.len += len;
        Some((place, room))
    }

    pub(super) fn get(&self, place: Place) -> &[u8] {
        self.memory.get(place.range()).unwrap_or_default()
    }

    /// Removes one; `others` get their new places.
    pub(super) fn remove<'p>(&mut self, gone: Place, others: impl Iterator<Item = &'p mut Place>) {
        let range = gone.range();
        self.memory.copy_within(range.end..self.len, range.start);
        self.len -= range.len();
        for other in others.filter(|other| other.start > gone.start) {
            other.start -= gone.len;
        }
    }

    pub(super) const fn clear(&mut self) {
        self.len = 0;
    }
}
