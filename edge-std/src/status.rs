//! The status of a client's or a subscriber's connection, for several tasks to see.

use core::error::Error as StdError;
use core::pin::pin;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis_entraid_client::{Cause, ConnectionStatus, Reporter};
use redis_entraid_core::event::Event;
use redis_entraid_core::resp::Value;
use redis_entraid_core::time::{Clock, Instant};
use redis_entraid_core::transport::{ConnectError as _, Endpoint, Progress};
use tokio::sync::Notify;

use crate::client::PushHook;
use crate::clock::{TokioClock, tokio_instant};
use crate::error::{ConnectError, Error};
use crate::identity::{EventHook, Identity};

/// See the [module](self).
pub(crate) struct Status {
    pub(crate) identity: Identity,
    pub(crate) address: Address,
    hook: Option<EventHook>,
    on_push: Option<PushHook>,
    status: Mutex<ConnectionStatus>,
    /// How far the last dial has come, and where.
    progress: Progress,
    /// Changes when callers that wait for the first connection have to look.
    changed: Notify,
    /// How many wait for it, and whether that can't help.
    starting: AtomicU32,
    is_hopeless: AtomicBool,
    is_over: AtomicBool,
    /// Why the connection broke, until it is reported.
    cause: Mutex<Option<Cause>>,
}

/// What is dialed.
#[derive(Clone)]
pub(crate) struct Address {
    /// The name that the server's certificate is for.
    pub(crate) host: Arc<str>,
    /// What is dialed, unless it is the host.
    pub(crate) address: Option<Arc<str>>,
    pub(crate) port: u16,
}

impl Status {
    pub(crate) fn new(
        identity: Identity,
        address: Address,
        hook: Option<EventHook>,
        on_push: Option<PushHook>,
    ) -> Arc<Self> {
        Arc::new(Self {
            identity,
            address,
            hook,
            on_push,
            status: Mutex::default(),
            progress: Progress::new(),
            changed: Notify::new(),
            starting: AtomicU32::new(0),
            is_hopeless: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            cause: Mutex::default(),
        })
    }

    /// The same for the connection to another node, whose certificate is for the same name.
    pub(crate) fn at(&self, address: Option<Arc<str>>, port: u16) -> Arc<Self> {
        let address = address.or_else(|| self.address.address.clone());
        let address = Address { host: self.address.host.clone(), address, port };
        Self::new(self.identity.clone(), address, self.hook.clone(), self.on_push.clone())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ConnectionStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn problem(&self) -> Option<Error> {
        self.lock().problem().cloned()
    }

    /// What is dialed.
    pub(crate) fn endpoint(&self) -> Endpoint<'_> {
        let Address { host, address, port } = &self.address;
        let endpoint = Endpoint::new(host, *port).with_progress(&self.progress);
        match address {
            Some(address) => endpoint.redirected(address, *port),
            None => endpoint,
        }
    }

    /// Waits for the first login.
    pub(crate) async fn started(&self, until: Instant) -> Result<(), Error> {
        let _waiting = self.identity.waiting();
        let _starting = Starting::new(&self.starting);
        loop {
            let mut changed = pin!(self.changed.notified());
            // What happens from here on is not missed.
            changed.as_mut().enable();
            if self.lock().has_logged_in() {
                return Ok(());
            }
            if self.is_hopeless.load(Ordering::Relaxed)
                && let Some(problem) = self.problem()
            {
                return Err(problem);
            }
            if self.is_over.load(Ordering::Relaxed) {
                return Err(Error::Closed);
            }
            if tokio::time::timeout_at(tokio_instant(until), changed).await.is_err() {
                let now = TokioClock.now();
                let has_token = self.identity.manager().login(now).is_some();
                return Err(self.lock().too_late(now, has_token, &self.endpoint()));
            }
        }
    }

    /// Waits until dialing has ended.
    pub(crate) async fn ended(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            changed.await;
        }
    }

    /// Dialing has ended.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Records why there is no token, if that is known.
    pub(crate) fn note_missing_token(&self) {
        if self.identity.manager().login(TokioClock.now()).is_none()
            && let Some(error) = self.identity.problem()
        {
            self.lock().no_token(error);
        }
    }

    /// Keeps why the connection breaks, which is reported next.
    pub(crate) fn keep_cause(&self, cause: Cause) {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
    }

    /// Notes that dialing failed.
    pub(crate) fn failed(&self, error: ConnectError, event: &Event) {
        self.lock().dial_failed(error);
        self.tell(event);
    }

    /// Why a dial failed that began at `since` and got no answer.
    pub(crate) fn unanswered(&self, since: Instant) -> ConnectError {
        let unanswered = self.endpoint().unanswered(TokioClock.now().since(since));
        ConnectError::new(unanswered.kind(), self.dialed_as(), unanswered)
    }

    fn dialed_as(&self) -> String {
        let Endpoint { address, port, .. } = self.endpoint();
        format!("{address}:{port}")
    }

    fn tell(&self, event: &Event) {
        report(self.hook.as_ref(), event);
        self.changed.notify_waiters();
    }
}

impl Reporter for Status {
    fn status<T>(&self, change: impl FnOnce(&mut ConnectionStatus) -> T) -> T {
        change(&mut self.lock())
    }

    fn endpoint<T>(&self, use_it: impl FnOnce(&Endpoint<'_>) -> T) -> T {
        use_it(&Self::endpoint(self))
    }

    fn observe(&self, _: Instant, event: &Event) {
        self.progress.observe(event);
        self.lock().observe(event);
        if let Event::Disconnected { .. } = event {
            // It may have ended for want of a token: then the reason is why there is none.
            self.note_missing_token();
        }
        self.tell(event);
    }

    fn push(&self, push: Value<'_>) {
        if let Some(hook) = &self.on_push {
            guarded(|| hook(push));
        }
    }

    fn dial_failed(
        &self,
        _: Instant,
        error: &dyn redis_entraid_core::transport::ConnectError,
        event: &Event,
    ) {
        self.failed(ConnectError::new(error.kind(), self.dialed_as(), error.to_string()), event);
    }

    fn cause(&self, error: &dyn StdError) -> Cause {
        let cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner).take();
        cause.unwrap_or_else(|| {
            let words: Box<dyn StdError + Send + Sync> = error.to_string().into();
            Cause::from(words)
        })
    }

    fn is_waited_for(&self) -> bool {
        self.starting.load(Ordering::Relaxed) > 0
    }

    fn set_connected(&self, _: bool) {
        self.changed.notify_waiters();
    }

    fn set_hopeless(&self, is_hopeless: bool) {
        self.is_hopeless.store(is_hopeless, Ordering::Relaxed);
        self.changed.notify_waiters();
    }
}

/// A caller waits for the first connection, until this is dropped.
struct Starting<'s>(&'s AtomicU32);

impl<'s> Starting<'s> {
    fn new(count: &'s AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells `event` to who wants to hear.
pub(crate) fn report(hook: Option<&EventHook>, event: &Event) {
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
fn guarded(hook: impl FnOnce()) {
    // The panic hook has reported the panic.
    let _ = catch_unwind(AssertUnwindSafe(hook));
}
