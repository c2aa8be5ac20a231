//! How the connection of a client or a subscriber stands, for several tasks to see.

use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis_entraid_core::connection::ConnectionHealth;
use redis_entraid_core::event::Event;
use redis_entraid_core::reconnect::{Dial, Reconnect, ReconnectPolicy};
use redis_entraid_core::time::{Clock, Instant};
use redis_entraid_core::transport::Progress;

use crate::clock::TokioClock;
use crate::error::{ConnectError, Error};
use crate::identity::Hook;
use crate::source::FetchError;

/// Hears all that happens to the connections of one client.
pub(crate) struct Standing {
    policy: ReconnectPolicy,
    hook: Option<Hook>,
    state: Mutex<redis_entraid_client::ConnectionStatus>,
    /// Whether a command waits for the connection.
    wanted: AtomicBool,
    /// How far the last dial has come, and where.
    pub(crate) progress: Progress,
}

impl Standing {
    pub(crate) fn new(policy: ReconnectPolicy, hook: Option<Hook>) -> Arc<Self> {
        let mut reconnect = Reconnect::new(policy.clone());
        reconnect.seed(crate::random());
        let state = Mutex::new(redis_entraid_client::ConnectionStatus::new(reconnect));
        let (wanted, progress) = (AtomicBool::new(false), Progress::new());
        Arc::new(Self { policy, hook, state, wanted, progress })
    }

    /// The same for the connection to another node.
    pub(crate) fn another(&self) -> Arc<Self> {
        Self::new(self.policy.clone(), self.hook.clone())
    }

    /// What dialing and TLS may take together.
    pub(crate) const fn connect_timeout(&self) -> Duration {
        self.policy.connect_timeout
    }

    fn lock(&self) -> MutexGuard<'_, redis_entraid_client::ConnectionStatus> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> redis_entraid_client::ConnectionStatus {
        self.lock().clone()
    }

    pub(crate) fn problem(&self) -> Option<Error> {
        self.lock().problem().cloned()
    }

    pub(crate) fn is_hopeless(&self) -> bool {
        self.lock().is_hopeless()
    }

    pub(crate) fn no_token(&self, error: Arc<FetchError>, retryable: bool) {
        self.lock().no_token(error, retryable);
    }

    pub(crate) fn set_health(&self, health: ConnectionHealth) {
        self.lock().set_health(TokioClock.now(), health);
    }

    /// Learns whether a command waits for the connection.
    pub(crate) fn set_wanted(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// When to dial.
    pub(crate) fn dial(&self, now: Instant) -> Dial {
        self.lock().dial(now, self.wanted.load(Ordering::Relaxed))
    }

    /// Notes that dialing failed.
    pub(crate) fn dial_failed(&self, error: ConnectError) {
        let event = self.lock().dial_failed(TokioClock.now(), error);
        report(self.hook.as_ref(), &event);
    }

    /// Notes why a connection breaks.
    pub(crate) fn broke(&self, cause: redis_entraid_client::Cause) {
        self.lock().broke(cause);
    }

    /// Takes in what happened to a connection, and tells who wants to hear.
    pub(crate) fn observe(&self, now: Instant, event: &Event) {
        self.progress.observe(event);
        self.lock().observe(now, event);
        report(self.hook.as_ref(), event);
    }
}

/// Tells `event` to who wants to hear.
pub(crate) fn report(hook: Option<&Hook>, event: &Event) {
    #[cfg(feature = "log")]
    match event {
        Event::FetchFailed { .. } | Event::Rejected { .. } | Event::DialFailed { .. } => {
            log::warn!("{event}");
        }
        _ => log::info!("{event}"),
    }
    if let Some(hook) = hook {
        guarded(|| hook(event));
    }
}

/// Calls a hook. Those who are logged in should stay so, even if it panics.
pub(crate) fn guarded(hook: impl FnOnce()) {
    // Whoever panics has been heard already, by the panic hook.
    let _ = catch_unwind(AssertUnwindSafe(hook));
}
