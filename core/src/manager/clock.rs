//! The two clocks, and what it means when they disagree.

use core::time::Duration;

use super::TokenManager;
use crate::storage::Storage;
use crate::time::{Instant, UnixTime};

/// Wall and monotonic clock may differ by less: the one counts whole seconds, and neither is
/// perfect.
const CLOCK_JUMP: Duration = Duration::from_secs(5);

impl<M: Storage<u8>> TokenManager<M> {
    /// Learns what the wall clock says, the more often the better.
    ///
    /// If it went further than the monotonic one, the machine slept and that stood still: what is
    /// due comes forward by the difference. A wall clock that was set, or set back, does no harm.
    pub fn unix_time(&mut self, now: Instant, unix_time: UnixTime) {
        if let Some((then, unix_then)) = self.clocks {
            let passed = now.since(then);
            let slept = unix_time.since(unix_then).saturating_sub(passed);
            if slept >= CLOCK_JUMP {
                let awake = UnixTime(unix_then.0.saturating_add(passed.as_secs()));
                for slot in &mut self.slots {
                    slot.slept(now, slept, awake);
                }
            } else if unix_time.since(unix_then) >= passed {
                return;
            }
        }
        self.clocks = Some((now, unix_time));
    }

    /// The wall clock at `instant`, as far as it is known.
    pub(super) fn unix_time_at(&self, instant: Instant) -> Option<UnixTime> {
        let (then, unix_then) = self.clocks?;
        Some(UnixTime(unix_then.0.saturating_add(instant.since(then).as_secs())))
    }
}
