//! What Prometheus reads.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use redis_entraid::{Event, Health};

/// What is counted as it happens. The rest is in [`Health`].
#[derive(Default)]
pub(crate) struct Metrics {
    logins: AtomicU64,
    disconnects: AtomicU64,
}

impl Metrics {
    pub(crate) fn count(&self, event: &Event) {
        let counter = match event {
            Event::LoggedIn { .. } => &self.logins,
            Event::Disconnected { .. } => &self.disconnects,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn text(&self, health: &Health) -> String {
        let mut text = String::new();
        let mut line = |name: &str, kind: &str, value: u64| {
            // Writing to a string doesn't fail.
            let _ = writeln!(text, "# TYPE redis_{name} {kind}\nredis_{name} {value}");
        };
        line("ready", "gauge", u64::from(health.is_ready()));
        let expires_in = health.token.expires_in.unwrap_or_default();
        line("token_expires_in_seconds", "gauge", expires_in.as_secs());
        line("token_requests_total", "counter", health.token.requests.into());
        line("token_request_failures_total", "counter", health.token.failures.into());
        line("reauths_total", "counter", health.reauths.into());
        line("logins_total", "counter", self.logins.load(Ordering::Relaxed));
        line("disconnects_total", "counter", self.disconnects.load(Ordering::Relaxed));
        text
    }
}
