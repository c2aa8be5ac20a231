//! Times and numbers, as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis_entraid::entraid_core::time::UnixTime;

/// A time span in whole seconds: `59m 58s`.
pub(crate) fn span(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

/// Milliseconds, with one digit behind the point.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// A number of things.
pub(crate) fn number(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A moment, in RFC 3339.
pub(crate) fn moment(time: UnixTime) -> String {
    format(UNIX_EPOCH.checked_add(Duration::from_secs(time.0)))
}

/// The moment that is so far from now.
pub(crate) fn from_now(time: Duration) -> String {
    format(SystemTime::now().checked_add(time))
}

fn format(time: Option<SystemTime>) -> String {
    // What has five digits in its year can't be written so.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    match time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()) {
        Some(since) if since <= LAST => {
            humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
        }
        _ => "never".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_and_moments_are_in_utc() {
        assert_eq!(span(Duration::from_millis(3_599_900)), "59m 59s");
        assert_eq!(millis(Duration::from_micros(1_250)), "1.2 ms");
        assert_eq!(moment(UnixTime(1_795_300_358)), "2026-11-21T22:32:38Z");
        assert_eq!(moment(UnixTime(u64::MAX)), "never");
    }
}
