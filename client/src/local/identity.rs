//! What the connections of one identity share.

use alloc::rc::{Rc, Weak};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use zeroize::Zeroizing;

use super::settings::{EventHook, PushHook, Settings};
use super::shared::Shared;
use crate::Growable;
use crate::error::FetchError;
use crate::{MAX_COMMAND, NodeAddress};
use redis_entraid_core::connection::{Config, Connection, Pending};
use redis_entraid_core::drive::{Refresh, SharedTokenManager, refresh};
use redis_entraid_core::event::Event;
#[cfg(feature = "postcard")]
use redis_entraid_core::manager::Fingerprint;
use redis_entraid_core::manager::TokenManager;
use redis_entraid_core::policy::Jitter;
use redis_entraid_core::reconnect::ReconnectPolicy;
use redis_entraid_core::source::{SourceFailure, TokenSource};
use redis_entraid_core::time::{Instant, Timer};
use redis_entraid_core::transport::Endpoint;

/// How many connections and others may wait for news of a token.
const WAITERS: usize = 8;

/// What the first room of the buffers is: most commands and replies fit into it.
const BUFFER: usize = 4 << 10;

/// The largest token, with the envelope that it comes in.
pub(super) const RESPONSE: usize = 32 << 10;

/// Where to connect, and how.
pub(super) struct Target {
    host: String,
    address: Option<String>,
    port: u16,
    pub(super) config: Config,
    max_reply: usize,
    pub(super) backlog: usize,
    pub(super) follow_moved: bool,
    pub(super) reconnect: ReconnectPolicy,
    start_timeout: Duration,
    refresh: Refresh,
    seed: u64,
}

impl Target {
    pub(super) fn endpoint(&self) -> Endpoint<'_> {
        let endpoint = Endpoint::new(&self.host, self.port);
        match &self.address {
            Some(address) => endpoint.redirected(address, self.port),
            None => endpoint,
        }
    }

    /// Makes connections that behave by `config`.
    pub(super) fn connections(
        &self,
        config: &Config,
    ) -> impl Fn() -> Connection<Growable<u8>, Growable<Pending>> {
        || {
            let receive = Growable::new(BUFFER, self.max_reply);
            let transmit = Growable::new(BUFFER, MAX_COMMAND);
            Connection::new(config.clone(), receive, transmit, Growable::new(16, 1 << 20))
        }
    }
}

/// What the connections of one identity share: its tokens, and all that was chosen.
pub(super) struct Identity<T> {
    pub(super) tokens: SharedTokenManager<Growable<u8>, WAITERS>,
    /// Why the last request for a token failed, if it did.
    pub(super) failure: RefCell<Option<Arc<FetchError>>>,
    pub(super) timer: T,
    pub(super) place: Target,
    /// When everything is over.
    pub(super) until: Instant,
    on_event: Option<EventHook>,
    pub(super) on_push: Option<PushHook>,
    /// Whose tokens they are.
    #[cfg(feature = "postcard")]
    pub(super) fingerprint: Fingerprint,
    /// The token that the caller has.
    #[cfg(feature = "postcard")]
    pub(super) kept: Cell<redis_entraid_core::manager::Generation>,
    /// How each client and subscriber stands.
    shares: RefCell<Vec<Weak<Shared<T>>>>,
    /// How many there were.
    count: Cell<u64>,
    /// Tokens are not fetched any more.
    is_over: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl<T: Timer> Identity<T> {
    pub(super) fn new(
        settings: Settings,
        timer: T,
        source: &impl TokenSource,
        snapshot: Option<&[u8]>,
    ) -> Rc<Self> {
        let now = timer.now();
        let slot = || Growable::new(BUFFER, 16 << 10);
        let jitter = Jitter::new(settings.seed);
        let manager = TokenManager::new(settings.policy, jitter, [slot(), slot()]);
        #[cfg(feature = "postcard")]
        let mut manager = manager;
        #[cfg(feature = "postcard")]
        let (fingerprint, kept) = {
            let (fingerprint, time) = (Fingerprint::of(|f| source.identify(f)), timer.unix_time());
            // An unusable one counts as none.
            let restore = |bytes| manager.restore(bytes, fingerprint, now, time).ok();
            (fingerprint, Cell::new(snapshot.and_then(restore).unwrap_or_default()))
        };
        #[cfg(not(feature = "postcard"))]
        let _ = (source, snapshot);
        let until = settings.deadline.map_or(Instant::FAR_FUTURE, |after| now.plus(after));
        let place = Target {
            host: settings.host,
            address: settings.address,
            port: settings.port,
            config: settings.config,
            max_reply: settings.max_reply,
            backlog: settings.backlog,
            follow_moved: settings.follow_moved,
            reconnect: settings.reconnect,
            start_timeout: settings.start_timeout,
            refresh: settings.refresh,
            seed: settings.seed,
        };
        Rc::new(Self {
            tokens: SharedTokenManager::new(manager),
            failure: RefCell::default(),
            timer,
            place,
            until,
            on_event: settings.on_event,
            on_push: settings.on_push,
            #[cfg(feature = "postcard")]
            fingerprint,
            #[cfg(feature = "postcard")]
            kept,
            shares: RefCell::default(),
            count: Cell::new(0),
            is_over: Cell::new(false),
            waiting: RefCell::default(),
        })
    }

    /// How another client or subscriber stands, or a client at a `node`, and the configuration of its
    /// connections.
    pub(super) fn share(self: &Rc<Self>, node: Option<NodeAddress>) -> (Rc<Shared<T>>, Config) {
        let number = self.count.replace(self.count.get() + 1);
        // Each connection has a seed and an id of its own.
        let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let start_until = self.until.min(self.timer.now().plus(self.place.start_timeout));
        let shared =
            Rc::new(Shared::new(self.clone(), node, self.place.seed ^ spread, start_until));
        self.shares.borrow_mut().push(Rc::downgrade(&shared));
        let config = self.place.config.clone();
        (shared, Config { id: config.id ^ spread, ..config })
    }

    /// All that there are.
    fn shares(&self) -> Vec<Rc<Shared<T>>> {
        self.shares.borrow_mut().retain(|share| share.strong_count() > 0);
        self.shares.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Waits until there are no others than one.
    pub(super) async fn alone(&self) {
        poll_fn(|cx| {
            if self.shares().len() < 2 {
                return Poll::Ready(());
            }
            self.wait(cx);
            Poll::Pending
        })
        .await;
    }

    /// Fetches tokens, for ever.
    pub(super) async fn fetch<S: TokenSource>(&self, source: &mut S) {
        let mut memory = Zeroizing::new(vec![0; RESPONSE]);
        let report = |event, error| self.fetched::<S::Error>(event, error);
        refresh(&self.tokens, source, &self.timer, &mut memory, self.place.refresh, report).await;
    }

    fn fetched<E: SourceFailure>(&self, event: Event, error: Option<E>) {
        if let Event::FetchFailed { error: reason, .. } = event {
            let details = error.map(|error| match error.service_text() {
                Some(text) => text.to_string(),
                None => error.to_string(),
            });
            let error = match details {
                Some(details) if details != reason.to_string() => FetchError::new(reason, details),
                _ => reason.into(),
            };
            let error = Arc::new(error);
            for share in self.shares() {
                share.status.borrow_mut().no_token(error.clone());
            }
            *self.failure.borrow_mut() = Some(error);
        } else {
            *self.failure.borrow_mut() = None;
        }
        self.report(&event);
    }

    /// Why there is no token, if that is known.
    pub(super) fn no_token(&self) -> Option<Arc<FetchError>> {
        let error = self.failure.borrow().clone()?;
        let has_token = self.tokens.peek(|manager| manager.login(self.timer.now()).is_some());
        (!has_token).then_some(error)
    }

    /// Runs `driving` until it ends, or everything does. Says whether it was everything.
    pub(super) async fn in_time(&self, mut driving: Pin<&mut dyn Future<Output = ()>>) -> bool {
        let mut over = pin!(self.timer.sleep_until(self.until));
        poll_fn(|cx| {
            // When everything is over, nothing is begun any more.
            if self.timer.now() >= self.until {
                return Poll::Ready(());
            }
            match driving.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => over.as_mut().poll(cx),
            }
        })
        .await;
        self.timer.now() >= self.until
    }

    pub(super) fn report(&self, event: &Event) {
        if let Some(hook) = &self.on_event {
            hook(event);
        }
        self.wake();
    }
}

impl<T> Identity<T> {
    /// Has `cx` woken when something happens.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    }

    /// Wakes the tasks that wait for a change.
    pub(super) fn wake(&self) {
        let waiting = core::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Tokens are not fetched any more: connections can't go on.
    pub(super) fn end(&self) {
        self.is_over.set(true);
        self.wake();
    }

    pub(super) const fn is_over(&self) -> bool {
        self.is_over.get()
    }
}
