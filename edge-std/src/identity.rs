//! An identity: one token, kept fresh, for any number of connections.

use core::fmt;
use core::future::{Future, poll_fn};
use core::panic::AssertUnwindSafe;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use redis_entraid_client::Growable;
use redis_entraid_core::event::Event;
use redis_entraid_core::manager::{Action, TokenHealth, TokenManager};
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::source::{SourceError, Start};
use redis_entraid_core::time::{Clock, Timer};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::clock::TokioClock;
use crate::source::{FetchError, Request, TokenSource};

/// Is told what happens.
pub(crate) type EventHook = Arc<dyn Fn(&Event) + Send + Sync>;

/// One identity and its token, shared by all who log in with it.
///
/// A task fetches the token, and each next one before it expires, as long as a clone of this lives.
///
/// ```no_run
/// # async fn example() -> Result<(), redis_entraid::Error> {
/// use redis_entraid::source::{ManagedIdentity, Selector};
/// use redis_entraid::{Client, Identity};
///
/// let identity = Identity::new(ManagedIdentity::imds(Selector::<String>::System)).start();
/// let one = Client::builder("one.westeurope.redis.azure.net").identity(&identity).connect().await?;
/// let two = Client::builder("two.westeurope.redis.azure.net").identity(&identity).connect().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Identity {
    shared: Arc<Shared>,
    /// Ends the task with the last clone.
    _task: Arc<Task>,
}

struct Shared {
    manager: Mutex<Manager>,
    /// Changes whenever there is news for the connections.
    news: watch::Sender<()>,
    /// Changes when the source should be asked before its time.
    wanted: watch::Sender<()>,
    /// How many wait for a token. Only changed while the manager is locked.
    waiting: AtomicUsize,
    /// Why the last request failed, in full.
    problem: Mutex<Option<Arc<FetchError>>>,
}

pub(crate) type Manager = TokenManager<Growable<u8>>;

struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An [`Identity`] that is being set up.
pub struct IdentityBuilder<S> {
    source: S,
    policy: RefreshPolicy,
    hook: Option<EventHook>,
    #[cfg(feature = "http")]
    http: Option<crate::http::Http>,
    #[cfg(all(feature = "http", feature = "tls"))]
    roots: crate::tls::Roots,
}

impl Identity {
    /// An identity whose tokens come from `source`.
    // It is the builder that is new: an identity begins with `start`.
    #[allow(clippy::new_ret_no_self)]
    pub fn new<S: TokenSource>(source: S) -> IdentityBuilder<S> {
        IdentityBuilder {
            source,
            policy: RefreshPolicy::default(),
            hook: None,
            #[cfg(feature = "http")]
            http: None,
            #[cfg(all(feature = "http", feature = "tls"))]
            roots: crate::tls::Roots::default(),
        }
    }

    /// How its token stands. Never shows it.
    pub fn health(&self) -> TokenHealth {
        self.manager().health(TokioClock.now())
    }

    /// Wants a fresh token, as soon as the policy's floors allow.
    pub fn refresh_now(&self) {
        self.manager().refresh_now();
        self.shared.wanted.send_replace(());
    }

    pub(crate) fn manager(&self) -> MutexGuard<'_, Manager> {
        self.shared.manager()
    }

    /// Tells the task to look whether something became due.
    pub(crate) fn nudge(&self) {
        self.shared.wanted.send_replace(());
    }

    /// Says that a caller waits for a token, until what this gives is dropped.
    pub(crate) fn waiting(&self) -> Waiting {
        let mut manager = self.manager();
        let is_first = self.shared.waiting.fetch_add(1, Ordering::Relaxed) == 0;
        manager.set_demand(true);
        drop(manager);
        if is_first {
            self.nudge();
        }
        Waiting(self.shared.clone())
    }

    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.shared.news.subscribe()
    }

    pub(crate) fn problem(&self) -> Option<Arc<FetchError>> {
        self.shared.problem().clone()
    }
}

/// A caller waits for a token, until this is dropped.
pub(crate) struct Waiting(Arc<Shared>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut manager = self.0.manager();
        let is_last = self.0.waiting.fetch_sub(1, Ordering::Relaxed) == 1;
        manager.set_demand(!is_last);
    }
}

impl Shared {
    fn manager(&self) -> MutexGuard<'_, Manager> {
        // The manager is a state machine: a panic happened outside it.
        self.manager.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn problem(&self) -> MutexGuard<'_, Option<Arc<FetchError>>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.health()).finish()
    }
}

impl<S: TokenSource> IdentityBuilder<S> {
    /// How tokens are renewed.
    #[must_use]
    pub fn policy(mut self, policy: RefreshPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Is told what comes of each request.
    #[must_use]
    pub fn on_event(mut self, hook: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    pub(crate) fn hook(mut self, hook: Option<EventHook>) -> Self {
        self.hook = hook;
        self
    }

    /// Whom to trust when tokens are fetched by HTTPS.
    #[cfg(all(feature = "http", feature = "tls"))]
    #[must_use]
    pub fn roots(mut self, roots: crate::tls::Roots) -> Self {
        self.roots = roots;
        self
    }

    /// How tokens are requested, if not by a client that trusts the [roots](Self::roots).
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http(mut self, http: crate::http::Http) -> Self {
        self.http = Some(http);
        self
    }

    /// Begins to fetch. Needs a tokio runtime.
    pub fn start(self) -> Identity {
        // Room for a token of the usual size, and for the largest that a server takes.
        let slot = || Growable::new(2560, 64 << 10);
        let jitter = Jitter::new(crate::random());
        let manager = TokenManager::new(self.policy, jitter, [slot(), slot()]);
        let shared = Arc::new(Shared {
            manager: Mutex::new(manager),
            news: watch::Sender::new(()),
            wanted: watch::Sender::new(()),
            waiting: AtomicUsize::new(0),
            problem: Mutex::default(),
        });
        let fetcher = Fetcher {
            wanted: shared.wanted.subscribe(),
            shared: Arc::downgrade(&shared),
            source: self.source,
            hook: self.hook,
            #[cfg(all(feature = "http", feature = "tls"))]
            http: self.http.unwrap_or_else(|| crate::http::Http::new(self.roots)),
            #[cfg(all(feature = "http", not(feature = "tls")))]
            http: self.http.unwrap_or_default(),
        };
        let task = Arc::new(Task(tokio::spawn(fetcher.run()).abort_handle()));
        Identity { shared, _task: task }
    }
}

impl<S> fmt::Debug for IdentityBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityBuilder").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// How often the wall clock is looked at.
const CLOCK_EVERY: Duration = Duration::from_secs(60);

/// Fetches, and takes a panic of the source's for an error: those who are logged in should stay so.
async fn caught<T>(fetch: impl Future<Output = Result<T, FetchError>>) -> Result<T, FetchError> {
    let mut fetch = pin!(fetch);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| fetch.as_mut().poll(cx)))
            .unwrap_or_else(|_| Poll::Ready(Err(FetchError::transient("it panicked"))))
    })
    .await
}

struct Fetcher<S> {
    shared: Weak<Shared>,
    wanted: watch::Receiver<()>,
    source: S,
    hook: Option<EventHook>,
    #[cfg(feature = "http")]
    http: crate::http::Http,
}

impl<S: TokenSource> Fetcher<S> {
    /// Does what the manager says, until the last clone of the identity is gone.
    async fn run(mut self) {
        let clock = TokioClock;
        while let Some(shared) = self.shared.upgrade() {
            let now = clock.now();
            let action = {
                let mut manager = shared.manager();
                if let Some(unix_time) = clock.unix_time() {
                    manager.unix_time(now, unix_time);
                }
                manager.poll(now)
            };
            drop(shared);
            match action {
                Action::Wait { until, .. } => {
                    // From time to time it looks at the wall clock: the machine may have slept.
                    tokio::select! {
                        () = clock.sleep_until(until.min(now.plus(CLOCK_EVERY))) => {}
                        changed = self.wanted.changed() => if changed.is_err() { return }
                    }
                }
                Action::Fetch { request: asked, deadline, fresh } => {
                    let request = Request {
                        start: Start::new(deadline)
                            .with_unix_time(clock.unix_time())
                            .with_fresh(fresh),
                        #[cfg(feature = "http")]
                        http: &mut self.http,
                        #[cfg(not(feature = "http"))]
                        nothing: core::marker::PhantomData,
                    };
                    let timeout = crate::clock::tokio_instant(deadline);
                    let fetch = caught(self.source.fetch(request));
                    let answer = tokio::time::timeout_at(timeout, fetch).await;
                    let answer = answer.unwrap_or_else(|_| Err(SourceError::TimedOut.into()));
                    let Some(shared) = self.shared.upgrade() else { return };
                    let token = match &answer {
                        Ok(token) => Ok(token.as_token()),
                        Err(error) => Err(error.reason()),
                    };
                    let event = shared.manager().answered(clock.now(), asked, token);
                    *shared.problem() = match (&event, answer) {
                        (Event::FetchFailed { .. }, Err(error)) => Some(Arc::new(error)),
                        (Event::FetchFailed { error, .. }, Ok(_)) => {
                            Some(Arc::new((*error).into()))
                        }
                        _ => None,
                    };
                    shared.news.send_replace(());
                    crate::status::report(self.hook.as_ref(), &event);
                }
                // The core knows no other action today.
                _ => return,
            }
        }
    }
}
