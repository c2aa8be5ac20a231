//! The time: embassy's for schedules, and a wall clock that is set from outside.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::{Future, pending, poll_fn};
use core::task::Poll;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::waitqueue::MultiWakerRegistration;
use embassy_time::{Duration, Timer};
use redis_entraid_core::time::{self, Clock, Instant, UnixTime};

/// embassy's clock, and a wall clock beside it: for a `static`.
///
/// The wall clock is unknown until it is [set](Self::set): from SNTP, from a clock chip, or
/// from the `Date` of a token endpoint that is trusted (see [`Http`](crate::Http)). Schedules do
/// without it; TLS can't. Up to four clients may share it.
pub struct EmbassyClock {
    not_before: UnixTime,
    /// What to add to embassy's milliseconds for those since 1970.
    ahead: Mutex<CriticalSectionRawMutex, Cell<Option<u64>>>,
    /// The runners to tell.
    news: Mutex<CriticalSectionRawMutex, RefCell<MultiWakerRegistration<4>>>,
}

/// A time before the program was built: it is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct TooEarly;

impl fmt::Display for TooEarly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this time is before the program was built: check its source")
    }
}

impl core::error::Error for TooEarly {}

impl EmbassyClock {
    /// A clock that is not set. A time before `built_at` is not believed: who can set a device's
    /// clock back can show it certificates that have expired.
    pub const fn new(built_at: UnixTime) -> Self {
        let news = Mutex::new(RefCell::new(MultiWakerRegistration::new()));
        Self { not_before: built_at, ahead: Mutex::new(Cell::new(None)), news }
    }

    /// Sets the wall clock. It may be set again, at any time.
    ///
    /// # Errors
    /// [`TooEarly`] if that can't be. The clock goes on as it was.
    pub fn set(&self, now: UnixTime) -> Result<(), TooEarly> {
        if now < self.not_before {
            return Err(TooEarly);
        }
        let millis = now.0.saturating_mul(1000).saturating_sub(self.now().as_millis());
        self.ahead.lock(|ahead| ahead.set(Some(millis)));
        self.news.lock(|news| news.borrow_mut().wake());
        Ok(())
    }

    /// Waits until the clock was set, since it was last seen at `seen`.
    pub(crate) fn changed(&self, seen: &mut Option<u64>) -> impl Future<Output = ()> {
        poll_fn(move |cx| {
            self.news.lock(|news| news.borrow_mut().register(cx.waker()));
            let ahead = self.ahead.lock(Cell::get);
            let changed = ahead != *seen;
            *seen = ahead;
            if changed { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}

impl fmt::Debug for EmbassyClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbassyClock").field("unix_time", &self.unix_time()).finish_non_exhaustive()
    }
}

impl Clock for EmbassyClock {
    fn now(&self) -> Instant {
        Instant::from_millis(embassy_time::Instant::now().as_millis())
    }

    fn unix_time(&self) -> Option<UnixTime> {
        let ahead = self.ahead.lock(Cell::get)?;
        Some(UnixTime(self.now().as_millis().saturating_add(ahead) / 1000))
    }
}

/// Ten years, in milliseconds. Nothing that comes later is waited for: not all drivers can count
/// to the end of time.
const LONG: u64 = 315_360_000_000;

impl time::Timer for EmbassyClock {
    async fn sleep_until(&self, deadline: Instant) {
        let millis = deadline.as_millis();
        if millis > LONG {
            return pending().await;
        }
        let mut at = embassy_time::Instant::from_millis(millis);
        // Ticks that are longer than a millisecond, or don't divide it, are rounded down.
        if at.as_millis() < millis {
            at += Duration::from_ticks(1);
        }
        Timer::at(at).await;
    }
}

#[cfg(test)]
mod tests {
    use core::pin::pin;
    use core::task::{Context, Waker};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    #[test]
    fn everybody_hears_of_a_new_time() {
        struct Count(AtomicU32);

        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let clock = EmbassyClock::new(UnixTime(0));
        let woken = [(); 3].map(|()| Arc::new(Count(AtomicU32::new(0))));
        for count in &woken {
            let waker = Waker::from(count.clone());
            let mut seen = None;
            let changed = pin!(clock.changed(&mut seen));
            assert!(changed.poll(&mut Context::from_waker(&waker)).is_pending());
        }
        clock.set(UnixTime(1_760_000_000)).unwrap();
        assert_eq!(woken.map(|count| count.0.load(Ordering::Relaxed)), [1; 3]);
    }

    #[test]
    fn a_time_before_the_build_is_not_believed() {
        let clock = EmbassyClock::new(UnixTime(1_760_000_000));
        assert_eq!(clock.unix_time(), None);
        assert_eq!(clock.set(UnixTime(1_759_999_999)), Err(TooEarly));
        assert_eq!(clock.unix_time(), None);
        clock.set(UnixTime(1_760_000_100)).unwrap();
        assert_eq!(clock.set(UnixTime(0)), Err(TooEarly));
        let since = clock.unix_time().unwrap().0 - 1_760_000_100;
        assert!(since < 10, "{since}");
    }
}
