//! Time, as the host tells it.

use redis_entraid_core::time::{Clock, Instant, Timer, UnixTime};

use crate::host::Host;

/// The host's clocks and timers.
#[derive(Clone)]
pub(crate) struct JsClock(pub(crate) Host);

/// The longest that a timer can take: its milliseconds have 31 bits.
const LONGEST: u64 = i32::MAX as u64;

impl Clock for JsClock {
    fn now(&self) -> Instant {
        Instant::from_millis(self.0.now() as u64)
    }

    fn unix_time(&self) -> Option<UnixTime> {
        Some(UnixTime(self.0.unix_time() as u64))
    }
}

impl Timer for JsClock {
    async fn sleep_until(&self, deadline: Instant) {
        if deadline == Instant::FAR_FUTURE {
            core::future::pending::<()>().await;
        }
        loop {
            let left = deadline.as_millis().saturating_sub(self.now().as_millis());
            if left == 0 {
                return;
            }
            // A timer can't fail, and one that fires too early is set again.
            let _ = self.0.sleep(left.min(LONGEST) as f64).done().await;
        }
    }

    async fn yield_now(&self) {
        let _ = self.0.turn().done().await;
    }
}
