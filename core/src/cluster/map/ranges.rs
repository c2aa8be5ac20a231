//! Ranges of slots, in order and apart from each other.

use crate::storage::Storage;
use crate::zeroize::DefaultIsZeroes;

/// Memory for a range of slots and the primary that serves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SlotRange {
    pub(super) first: u16,
    pub(super) last: u16,
    /// The index of its primary.
    pub(super) primary: u16,
}

impl DefaultIsZeroes for SlotRange {}

#[derive(Debug)]
pub(super) struct Ranges<R> {
    memory: R,
    len: usize,
}

impl<R: Storage<SlotRange>> Ranges<R> {
    pub(super) const fn new(memory: R) -> Self {
        Self { memory, len: 0 }
    }

    pub(super) fn get(&self) -> &[SlotRange] {
        self.memory.room().get(..self.len).unwrap_or_default()
    }

    /// The range that has this slot.
    pub(super) fn find(&self, slot: u16) -> Option<SlotRange> {
        let ranges = self.get();
        let behind = ranges.partition_point(|range| range.first <= slot);
        ranges.get(behind.checked_sub(1)?).copied().filter(|range| slot <= range.last)
    }

    /// Returns whether there is room for so many.
    pub(super) fn reserve(&mut self, len: usize) -> bool {
        self.memory.reserve(len)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bytes that there are.
    pub(super) fn room(&self) -> usize {
        size_of_val(self.memory.room())
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) fn shrink(&mut self) {
        self.memory.shrink(self.len);
    }

    /// Gives the slots of `new` to its primary. There is one range more at most. Of a range that goes
    /// on behind it, that part is lost.
    pub(super) fn paint(&mut self, mut new: SlotRange) {
        let ranges = self.memory.room_mut();
        let known = ranges.get_mut(..self.len).unwrap_or_default();
        let mut at = known.partition_point(|range| range.first < new.first);
        if let Some(before) = at.checked_sub(1).and_then(|before| known.get_mut(before)) {
            if before.primary == new.primary && new.first <= before.last.saturating_add(1) {
                // The new one takes its place.
                (new.first, new.last) = (before.first, new.last.max(before.last));
                at -= 1;
            } else if before.last >= new.first {
                before.last = new.first - 1;
            }
        }
        let mut end = at;
        while let Some(range) = known.get_mut(end) {
            if range.primary == new.primary && range.first <= new.last.saturating_add(1) {
                new.last = new.last.max(range.last);
            } else if range.last > new.last {
                range.first = range.first.max(new.last.saturating_add(1));
                break;
            }
            end += 1;
        }
        let moved = self.len - end;
        if let Some(room) = ranges.get_mut(at..).filter(|room| room.len() > moved) {
            // What is behind it goes behind it.
            room.copy_within(end - at..end - at + moved, 1);
            if let Some(first) = room.first_mut() {
                *first = new;
            }
            self.len = at + 1 + moved;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Jitter;
    use std::vec::Vec;

    fn range(first: u16, last: u16, primary: u16) -> SlotRange {
        SlotRange { first, last, primary }
    }

    fn painted(all: &[SlotRange]) -> Vec<SlotRange> {
        let mut ranges = Ranges::new([SlotRange::default(); 64]);
        for range in all {
            ranges.paint(*range);
        }
        ranges.get().to_vec()
    }

    #[test]
    fn a_range_takes_its_slots_from_the_others() {
        for (all, expected) in [
            (&[range(0, 9, 1), range(20, 29, 2)][..], &[range(0, 9, 1), range(20, 29, 2)][..]),
            (&[range(20, 29, 2), range(0, 9, 1)], &[range(0, 9, 1), range(20, 29, 2)]),
            (&[range(0, 9, 1), range(10, 19, 1)], &[range(0, 19, 1)]),
            (&[range(10, 19, 1), range(0, 9, 1)], &[range(0, 19, 1)]),
            (&[range(0, 9, 1), range(5, 14, 2)], &[range(0, 4, 1), range(5, 14, 2)]),
            (&[range(5, 14, 2), range(0, 9, 1)], &[range(0, 9, 1), range(10, 14, 2)]),
            (&[range(5, 6, 1), range(0, 9, 2)], &[range(0, 9, 2)]),
            (&[range(0, 9, 1), range(5, 5, 1)], &[range(0, 9, 1)]),
            (&[range(0, 9, 1), range(5, 5, 2)], &[range(0, 4, 1), range(5, 5, 2)]),
            (&[range(0, 4, 1), range(6, 9, 1), range(5, 5, 1)], &[range(0, 9, 1)]),
            (&[range(16_383, 16_383, 1), range(0, 16_383, 2)], &[range(0, 16_383, 2)]),
        ] {
            assert_eq!(painted(all), expected, "{all:?}");
        }
    }

    #[test]
    fn ranges_stay_in_order_and_apart_and_the_last_one_painted_is_there() {
        for seed in 0..2000_u64 {
            let number = |at: u64| Jitter::mix(seed * 100 + at);
            let mut ranges = Ranges::new([SlotRange::default(); 12]);
            for at in 0..12 {
                let (first, len) = ((number(at * 3) % 60) as u16, (number(at * 3 + 1) % 20) as u16);
                let new = range(first, first + len, (number(at * 3 + 2) % 3) as u16);
                ranges.paint(new);
                for slot in new.first..=new.last {
                    assert_eq!(ranges.find(slot).map(|range| range.primary), Some(new.primary));
                }
                for pair in ranges.get().windows(2) {
                    assert!(pair[0].first <= pair[0].last && pair[0].last < pair[1].first);
                    let adjacent = pair[0].last + 1 == pair[1].first;
                    assert!(!(adjacent && pair[0].primary == pair[1].primary), "{pair:?}");
                }
            }
        }
    }
}
