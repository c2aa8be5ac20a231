//! The fetching of tokens.

use core::convert::Infallible;
use core::pin::pin;
use core::time::Duration;

use super::{SharedTokenManager, timeout_at};
use crate::event::Event;
use crate::manager::{Action, Pull, Reason, RequestId};
use crate::secret::Wiped;
use crate::source::{SourceError, SourceFailure, Start, TokenSource};
use crate::storage::Storage;
use crate::time::Timer;

/// How often the wall clock is looked at, so that a sleep of the machine is noticed.
const CLOCK_EVERY: Duration = Duration::from_secs(60);

/// When tokens are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refresh {
    /// When the policy says so, for as long as the future lives.
    #[default]
    Background,
    /// When no usable token is held, and when a caller [asks](SharedTokenManager::ask): for functions
    /// that live for one request, which must not begin what they won't end.
    OnDemand,
}

/// Keeps an identity's token fresh, for ever.
///
/// `memory` must hold a response of the source; it is wiped after each. `report` gets what came
/// of each request, and the source's own error.
///
/// # Cancel safety
/// May be dropped at any await, and called again.
pub async fn refresh<M: Storage<u8>, S: TokenSource, C: Timer, const WAITERS: usize>(
    tokens: &SharedTokenManager<M, WAITERS>,
    source: &mut S,
    timer: &C,
    memory: &mut [u8],
    when: Refresh,
    mut report: impl FnMut(Event, Option<S::Error>),
) -> Infallible {
    loop {
        let now = timer.now();
        let wanted = || {
            when == Refresh::Background
                || tokens.is_asked()
                || tokens.manager.borrow().pull(timer.now()) == Pull::FetchFirst
        };
        let idle = !wanted();
        let action = {
            let mut manager = tokens.manager.borrow_mut();
            if let Some(unix_time) = timer.unix_time() {
                manager.unix_time(now, unix_time);
            }
            if idle {
                let until = manager.login(now).map_or(now, |login| login.expires_at());
                Action::Wait { until, why: Reason::Refresh }
            } else {
                manager.poll(now)
            }
        };
        match action {
            Action::Wait { until, .. } => {
                let clock = timer.unix_time().is_some();
                let most = if clock { CLOCK_EVERY } else { Duration::MAX };
                // A refused token makes the next fetch due at once.
                tokens
                    .wait(timer, until.min(now.plus(most)), |manager| {
                        if idle { wanted() } else { manager.next_deadline() < until }
                    })
                    .await;
            }
            Action::Fetch { request, deadline, fresh } => {
                let memory = Wiped(&mut *memory);
                let abandoned = Abandoned { tokens, timer, request };
                // Pinned here: a future that is handed over has its room twice.
                let start =
                    Start::new(deadline).with_unix_time(timer.unix_time()).with_fresh(fresh);
                let fetch = pin!(source.fetch(&start, memory.0));
                let (answer, error) = match timeout_at(timer, deadline, fetch).await {
                    Some(Ok(token)) => (Ok(token), None),
                    Some(Err(error)) => (Err(error.reason()), Some(error)),
                    None => (Err(SourceError::TimedOut), None),
                };
                core::mem::forget(abandoned);
                let done = timer.now();
                let event = {
                    let mut manager = tokens.manager.borrow_mut();
                    manager.answered(done, request, answer)
                };
                report(event, error);
                // Callers that wait for the answer should find it reported.
                tokens.answered();
            }
        }
    }
}

/// Tells the manager if a request is dropped before its answer.
struct Abandoned<'t, M: Storage<u8>, C: Timer, const WAITERS: usize> {
    tokens: &'t SharedTokenManager<M, WAITERS>,
    timer: &'t C,
    request: RequestId,
}

impl<M: Storage<u8>, C: Timer, const WAITERS: usize> Drop for Abandoned<'_, M, C, WAITERS> {
    fn drop(&mut self) {
        self.tokens.with(|manager| manager.abandoned(self.timer.now(), self.request));
    }
}
