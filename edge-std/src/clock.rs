//! Time by tokio.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use redis_entraid_core::time::{Clock, Instant, Timer, UnixTime};

/// The clock and timer of a tokio runtime. All of a process count from the same origin.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioClock;

fn origin() -> tokio::time::Instant {
    static ORIGIN: OnceLock<tokio::time::Instant> = OnceLock::new();
    *ORIGIN.get_or_init(tokio::time::Instant::now)
}

/// What tokio calls `instant`; a day from now at the latest, so that no timer overflows.
pub(crate) fn tokio_instant(instant: Instant) -> tokio::time::Instant {
    const DAY: core::time::Duration = core::time::Duration::from_secs(86_400);
    tokio::time::Instant::now() + instant.since(TokioClock.now()).min(DAY)
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        Instant::default() + origin().elapsed()
    }

    fn unix_time(&self) -> Option<UnixTime> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        Some(UnixTime(since.as_secs()))
    }
}

impl Timer for TokioClock {
    async fn sleep_until(&self, deadline: Instant) {
        while self.now() < deadline {
            tokio::time::sleep_until(tokio_instant(deadline)).await;
        }
    }
}
