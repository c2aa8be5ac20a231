//! Time as the core knows it: told, never asked.
//!
//! Two clocks that must not be mixed have two types. [`Instant`] counts milliseconds on a clock
//! that never goes back; every schedule is made on it. [`UnixTime`] is the wall clock, which a
//! device may lack and which people may set; it can only bring a deadline forward.
//!
//! ```
//! use core::time::Duration;
//! use redis_entraid_core::time::Instant;
//!
//! let sent = Instant::from_millis(1_000);
//! let due = sent + Duration::from_secs(3_599);
//! assert_eq!(due.since(sent), Duration::from_secs(3_599));
//! assert_eq!(sent.since(due), Duration::ZERO);
//! ```

use core::future::poll_fn;
use core::mem::replace;
use core::ops::Add;
use core::task::Poll;
use core::time::Duration;

/// Milliseconds since an arbitrary origin, on a clock that never goes back.
///
/// All arithmetic saturates: no input makes it panic or wrap. A host should take a clock that
/// goes on while the machine sleeps, where it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant {
    millis: u64,
}

impl Instant {
    /// The end of time: a deadline that never comes.
    pub const FAR_FUTURE: Self = Self { millis: u64::MAX };

    /// The instant `millis` milliseconds after the clock's origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// Milliseconds since the clock's origin.
    pub const fn as_millis(self) -> u64 {
        self.millis
    }

    /// The time from `earlier` to `self`; zero if `earlier` is not earlier.
    #[inline(never)]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.millis_since(earlier))
    }

    /// The same in milliseconds. A `Duration` is twice as large, and to make and to compare one
    /// takes a device far more.
    pub(crate) const fn millis_since(self, earlier: Self) -> u64 {
        self.millis.saturating_sub(earlier.millis)
    }

    /// `self` and so many milliseconds, no later than [`Instant::FAR_FUTURE`].
    pub(crate) const fn after(self, millis: u64) -> Self {
        Self { millis: self.millis.saturating_add(millis) }
    }

    /// `self` less so many milliseconds, no earlier than the origin.
    pub(crate) const fn before(self, millis: u64) -> Self {
        Self { millis: self.millis.saturating_sub(millis) }
    }

    /// `self` less `by`, no earlier than the origin.
    #[must_use]
    #[inline(never)]
    pub const fn minus(self, by: Duration) -> Self {
        self.before(millis(by))
    }

    /// `self` and `by`, no later than [`Instant::FAR_FUTURE`].
    #[must_use]
    #[inline(never)]
    pub const fn plus(self, by: Duration) -> Self {
        self.after(millis(by))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        self.plus(by)
    }
}

/// Whole milliseconds of `duration`, saturating.
#[inline(never)]
pub(crate) const fn millis(duration: Duration) -> u64 {
    // Not `as_millis`: its u128 costs a device hundreds of bytes.
    duration.as_secs().saturating_mul(1000).saturating_add(duration.subsec_millis() as u64)
}

/// Seconds since the Unix epoch (a JWT's NumericDate, RFC 7519 section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The time from `earlier` to `self`; zero if `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// The same in milliseconds.
    pub(crate) const fn millis_since(self, earlier: Self) -> u64 {
        millis(self.since(earlier))
    }
}

/// What a host knows of the time.
pub trait Clock {
    /// Now, on the clock that never goes back.
    fn now(&self) -> Instant;

    /// Now, on the wall clock; `None` where there is none or it isn't set yet.
    fn unix_time(&self) -> Option<UnixTime> {
        None
    }
}

/// A clock that one can wait on.
pub trait Timer: Clock {
    /// Resolves at or after `deadline`, at once if it has passed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn sleep_until(&self, deadline: Instant);

    /// Lets everything have a turn that is ready. A host where what was woken takes several turns to
    /// act, as chained promises do, waits for all of them.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn yield_now(&self) {
        let mut had_a_turn = false;
        poll_fn(|cx| {
            if replace(&mut had_a_turn, true) {
                return Poll::Ready(());
            }
            // Behind those who were just woken.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl<T: Clock + ?Sized> Clock for &T {
    fn now(&self) -> Instant {
        (**self).now()
    }

    fn unix_time(&self) -> Option<UnixTime> {
        (**self).unix_time()
    }
}

impl<T: Timer + ?Sized> Timer for &T {
    async fn sleep_until(&self, deadline: Instant) {
        (**self).sleep_until(deadline).await;
    }

    async fn yield_now(&self) {
        (**self).yield_now().await;
    }
}

/// The clock of `std`. Its origin is when it was made.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug)]
pub struct StdClock {
    origin: std::time::Instant,
}

#[cfg(feature = "std")]
impl StdClock {
    /// Starts at zero.
    pub fn new() -> Self {
        Self { origin: std::time::Instant::now() }
    }
}

#[cfg(feature = "std")]
impl Default for StdClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "std")]
impl Clock for StdClock {
    fn now(&self) -> Instant {
        Instant::default() + self.origin.elapsed()
    }

    fn unix_time(&self) -> Option<UnixTime> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.ok().map(|since| UnixTime(since.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let long = Duration::MAX;
        assert_eq!(Instant::from_millis(5) + long, Instant::FAR_FUTURE);
        assert_eq!(Instant::from_millis(5).minus(long), Instant::default());
        assert_eq!(UnixTime(3).since(UnixTime(u64::MAX)), Duration::ZERO);
    }
}
