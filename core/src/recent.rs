//! How much memory recent uses have needed, so that what others took goes back.

/// Remembers at least this many uses, and at most twice as many: a user that needs much memory now
/// and then doesn't allocate it each time.
const WINDOW: usize = 128;

/// A larger use is an exception: what it took beyond is given back when it is over.
const LARGE: usize = 64 << 10;

/// How much recent uses of some memory have needed at most, in any unit: decides what goes back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recent {
    most: usize,
    /// The same of the window before.
    before: usize,
    uses: usize,
}

impl Recent {
    /// Notes that so many uses needed `len`; none, if it is still under way.
    pub fn used(&mut self, times: usize, len: usize) {
        self.most = self.most.max(len.min(LARGE));
        self.uses = self.uses.saturating_add(times);
        if self.uses >= WINDOW {
            *self = Self { most: 0, before: self.most, uses: 0 };
        }
    }

    /// What they needed at most.
    pub fn most(self) -> usize {
        self.most.max(self.before)
    }

    /// What of `room` is to be kept, if the rest is worth giving back; `least` always is.
    pub fn keep(self, room: usize, least: usize) -> Option<usize> {
        let keep = self.most().max(least);
        (room / 4 > keep).then_some(keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_use_needs_any_more_goes_after_two_windows() {
        let mut recent = Recent::default();
        recent.used(1, 10_000);
        for _ in 1..2 * WINDOW {
            assert_eq!(recent.keep(50_000, 100), Some(10_000));
            assert_eq!(recent.keep(40_000, 100), None, "it is about as much as is needed");
            recent.used(1, 10);
        }
        assert_eq!(recent.keep(40_000, 100), Some(100));
    }

    #[test]
    fn what_is_needed_now_and_then_stays() {
        let mut recent = Recent::default();
        for number in 0..10 * WINDOW {
            let len = if number % WINDOW == 0 { 10_000 } else { 10 };
            recent.used(1, len);
            assert_eq!(recent.keep(16_384, 100), None, "at {number}");
        }
    }

    #[test]
    fn what_a_large_use_took_goes_at_once() {
        let mut recent = Recent::default();
        recent.used(1, 32 << 20);
        assert_eq!(recent.keep(32 << 20, 100), Some(LARGE));
    }
}
