//! The asynchronous shell: small loops that join the state machines to clocks and transports, for hosts
//! with one thread.
//!
//! A host spawns [`refresh`] once for each identity and [`supervise`] for each client or subscriber, or
//! [`supervise_one`] where there is memory for one connection. All of them share one
//! [`SharedTokenManager`]. [`serve`] runs one connection to its end, for hosts that dial themselves.
//! Hosts with threads, or with a poll loop of their own, drive the machines themselves:
//! [`Supervised`] has what they need.
//!
//! ```
//! use core::time::Duration;
//! use redis_entraid_core::drive::SharedTokenManager;
//! use redis_entraid_core::manager::TokenManager;
//! use redis_entraid_core::policy::{Jitter, RefreshPolicy};
//!
//! let manager = TokenManager::new(RefreshPolicy::default(), Jitter::new(7), [[0; 4096]; 2]);
//! let tokens: SharedTokenManager<_> = SharedTokenManager::new(manager);
//! ```

mod dial_error;
mod refresh;
mod serve;
mod shared_token_manager;
mod supervise;
mod supervised;

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

pub use dial_error::DialError;
pub use refresh::{Refresh, refresh};
pub use serve::{Handler, Outputs, Submit, serve};
pub use shared_token_manager::{SharedTokenManager, Waiting};
pub use supervise::{supervise, supervise_one};
pub use supervised::{NotNeeded, Supervised, Workload};

use crate::time::{Instant, Timer};

/// How often who found no room looks for news.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Waits for `future` until `deadline`; `None` if it took longer.
///
/// # Cancel safety
/// That of `future`.
pub async fn timeout_at<C: Timer, F: Future>(
    timer: &C,
    deadline: Instant,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut sleep = pin!(timer.sleep_until(deadline));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Waits for the first of the two.
///
/// # Cancel safety
/// That of both: the other one is dropped where it is.
pub async fn either(first: impl Future<Output = ()>, second: impl Future<Output = ()>) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|cx| match first.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => second.as_mut().poll(cx),
    })
    .await;
}
