//! The two clocks, and what it means when they disagree.

use super::TokenManager;
use crate::storage::Storage;
use crate::time::{Instant, UnixTime};

/// Wall and monotonic clock may differ by fewer milliseconds: the one counts whole seconds, and neither is
/// perfect.
const CLOCK_JUMP: u64 = 5_000;

impl<M: Storage<u8>> TokenManager<M> {
    /// Notes the wall clock's time. Call it often.
    ///
    /// If it advanced further than the monotonic clock, the machine slept: what is due comes
    /// forward by the difference. A wall clock that was set, or set back, does no harm. When it
    /// becomes known, a token that was restored without it is judged by it.
    #[inline(never)]
    pub fn unix_time(&mut self, now: Instant, unix_time: UnixTime) {
        if let Some((then, unix_then)) = self.clocks {
            let passed = now.millis_since(then);
            let by_wall = unix_time.millis_since(unix_then);
            let slept = by_wall.saturating_sub(passed);
            if slept >= CLOCK_JUMP {
                let awake = UnixTime(unix_then.0.saturating_add(passed / 1000));
                for slot in &mut self.slots {
                    slot.slept(now, slept, awake);
                }
            } else if by_wall >= passed {
                return;
            }
        } else {
            #[cfg(feature = "postcard")]
            self.date(now, unix_time);
        }
        self.clocks = Some((now, unix_time));
    }

    /// The wall clock at `instant`, as far as it is known.
    pub(super) fn unix_time_at(&self, instant: Instant) -> Option<UnixTime> {
        let (then, unix_then) = self.clocks?;
        Some(UnixTime(unix_then.0.saturating_add(instant.millis_since(then) / 1000)))
    }
}
