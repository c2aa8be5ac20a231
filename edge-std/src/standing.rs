//! How the connection of a client or a subscriber stands, and when the next one may be made.

use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis_entraid_core::connection::{CloseReason, ConnectionHealth, Lost, Outcome};
use redis_entraid_core::event::Event;
use redis_entraid_core::reconnect::{Dial, Reconnect, ReconnectPolicy};
use redis_entraid_core::time::{Clock, Instant};

use crate::clock::TokioClock;
use crate::error::Error;
use crate::identity::Hook;

/// Hears all that happens to the connections of one client.
pub(crate) struct Standing {
    policy: ReconnectPolicy,
    hook: Option<Hook>,
    state: Mutex<State>,
}

struct State {
    reconnect: Reconnect,
    now: Now,
}

/// How things stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Now {
    pub(crate) connection: Option<ConnectionHealth>,
    pub(crate) connects: u32,
    pub(crate) reauths: u32,
    /// Why there is no connection.
    pub(crate) problem: Option<Error>,
}

impl Standing {
    pub(crate) fn new(policy: ReconnectPolicy, hook: Option<Hook>) -> Arc<Self> {
        let mut reconnect = Reconnect::new(policy.clone());
        reconnect.seed(crate::random());
        let state = Mutex::new(State { reconnect, now: Now::default() });
        Arc::new(Self { policy, hook, state })
    }

    /// The same for the connection to another node.
    pub(crate) fn another(&self) -> Arc<Self> {
        Self::new(self.policy.clone(), self.hook.clone())
    }

    /// What dialing and TLS may take together.
    pub(crate) const fn connect_timeout(&self) -> Duration {
        self.policy.connect_timeout
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Now {
        self.lock().now.clone()
    }

    pub(crate) fn problem(&self) -> Option<Error> {
        self.lock().now.problem.clone()
    }

    pub(crate) fn has_problem(&self, problem: Error) {
        self.lock().now.problem = Some(problem);
    }

    pub(crate) fn set_health(&self, health: ConnectionHealth) {
        let now = &mut self.lock().now;
        now.connection = Some(health);
        if health.ready {
            now.problem = None;
        }
    }

    /// When to dial.
    pub(crate) fn dial(&self) -> Dial {
        self.lock().reconnect.poll(TokioClock.now())
    }

    /// Learns that dialing failed.
    pub(crate) fn dial_failed(&self, problem: Error) {
        let next_in = {
            let mut state = self.lock();
            let now = TokioClock.now();
            state.now.problem = Some(problem);
            state.reconnect.failed(now);
            match state.reconnect.poll(now) {
                Dial::Wait { until } => until.since(now),
                Dial::Now => Duration::ZERO,
            }
        };
        report(self.hook.as_ref(), &Event::DialFailed { next_in });
    }

    /// Learns what happened to a connection, and tells who wants to hear.
    pub(crate) fn observe(&self, now: Instant, event: &Event) {
        {
            let mut state = self.lock();
            state.reconnect.observe(now, event);
            match event {
                Event::LoggedIn { .. } => {
                    state.now.connects += 1;
                    state.now.problem = None;
                }
                Event::Reauthenticated { .. } => state.now.reauths += 1,
                // Another one has taken its place, or does so now.
                Event::Disconnected { reason: CloseReason::Replaced } => {
                    state.now.connection = None;
                }
                Event::Disconnected { reason } => {
                    state.now.connection = None;
                    state.now.problem = Some(match reason {
                        CloseReason::Refused(error) => Error::Login(*error),
                        reason => Lost::new(Outcome::NotSent, Some(*reason)).into(),
                    });
                }
                _ => {}
            }
        }
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
