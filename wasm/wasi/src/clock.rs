//! Time, as the host of a component tells it.

use redis_entraid_core::time::{Clock, Instant, Timer, UnixTime};
use wasip2::clocks::{monotonic_clock, wall_clock};

use crate::reactor::Reactor;

/// The host's clocks.
#[derive(Clone, Debug)]
pub struct WasiClock(Reactor);

/// Nanoseconds in a millisecond.
const MILLI: u64 = 1_000_000;

impl WasiClock {
    /// A clock whose futures wait at `reactor`.
    pub const fn new(reactor: Reactor) -> Self {
        Self(reactor)
    }
}

impl Clock for WasiClock {
    fn now(&self) -> Instant {
        Instant::from_millis(monotonic_clock::now() / MILLI)
    }

    fn unix_time(&self) -> Option<UnixTime> {
        // A host without a clock says 1970.
        Some(wall_clock::now().seconds).filter(|seconds| *seconds > 0).map(UnixTime)
    }
}

impl Timer for WasiClock {
    async fn sleep_until(&self, deadline: Instant) {
        match deadline.as_millis().checked_mul(MILLI) {
            Some(nanos) if self.now() < deadline => {
                self.0.wait(monotonic_clock::subscribe_instant(nanos)).await;
            }
            Some(_) => {}
            None => core::future::pending().await,
        }
    }
}
