//! The token manager alone, for people who have a client already.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::time::Duration;

use js_sys::{Array, Promise};
use redis_entraid_client::Growable;
use redis_entraid_client::{Error, FetchError};
use redis_entraid_core::drive::{Refresh, SharedTokenManager, refresh};
use redis_entraid_core::event::Event;
use redis_entraid_core::manager::{Generation, TokenManager};
use redis_entraid_core::policy::Jitter;
use redis_entraid_core::source::SourceFailure;
use redis_entraid_core::time::{Clock, Instant};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use zeroize::Zeroizing;

use crate::clock::JsClock;
use crate::failure::thrown;
use crate::host::Host;
use crate::settings::Options;
use crate::task::{Ending, promised, report, until};

/// The largest token, with the envelope that it comes in.
const RESPONSE: usize = 32 << 10;

/// How many may wait for a token at the same time without a delay.
const WAITERS: usize = 8;

/// Keeps an identity's token fresh.
#[wasm_bindgen]
pub struct RawManager {
    host: Host,
    owned: Rc<Owned>,
    patience: Duration,
}

/// What ends with the last pending call, and not before: JavaScript may have dropped the
/// manager.
struct Owned {
    shared: Rc<Shared>,
    ending: Rc<Ending>,
}

struct Shared {
    tokens: SharedTokenManager<Growable<u8>, WAITERS>,
    /// Why there is no first token, and whether asking again soon can't help.
    failure: RefCell<Option<(Error, bool)>>,
    is_over: Cell<bool>,
}

#[wasm_bindgen]
impl RawManager {
    /// Begins to fetch.
    #[wasm_bindgen(constructor)]
    pub fn new(host: Host, options: Options) -> Result<Self, JsValue> {
        let mut source = options.source(&host).map_err(|error| thrown(&host, &error))?;
        let slot = || Growable::new(4 << 10, 16 << 10);
        let jitter = Jitter::new(options.seed());
        let manager = TokenManager::new(options.policy(), jitter, [slot(), slot()]);
        let (failure, is_over) = Default::default();
        let shared = Rc::new(Shared { tokens: SharedTokenManager::new(manager), failure, is_over });
        let (ours, clock, hears) = (shared.clone(), JsClock(host.clone()), host.clone());
        let driver = async move {
            let mut memory = Zeroizing::new(vec![0; RESPONSE]);
            let told = |event: Event, error: Option<crate::source::Error>| {
                ours.hear(&event, error);
                report(&hears, &event);
            };
            let tokens = &ours.tokens;
            let when = Refresh::Background;
            _ = refresh(tokens, &mut source, &clock, &mut memory, when, told).await;
        };
        let ending = Rc::new(Ending::default());
        spawn_local(until(ending.clone(), Box::pin(driver)));
        let owned = Rc::new(Owned { shared, ending });
        Ok(Self { host, owned, patience: options.patience() })
    }

    /// Comes to the next token behind number `have`: its number, user and text, for how many
    /// milliseconds it lives, and in how many another one is due. The first one is waited for as
    /// long as a start may take.
    pub fn next(&self, have: u32) -> Promise {
        let (host, owned) = (self.host.clone(), self.owned.clone());
        let patience = self.patience;
        promised(async move {
            let shared = &owned.shared;
            let clock = JsClock(host.clone());
            let first = have == 0;
            let until = if first { clock.now().plus(patience) } else { Instant::FAR_FUTURE };
            let have = Generation(have);
            let ready = |manager: &TokenManager<_>| {
                manager.newer_than(have, clock.now()).is_some()
                    || shared.is_over.get()
                    || (first && shared.is_hopeless())
            };
            let waiting = shared.tokens.waiting();
            shared.tokens.wait(&clock, until, ready).await;
            drop(waiting);
            let now = clock.now();
            let next = shared.tokens.with(|manager| {
                let login = manager.newer_than(have, now)?;
                let next = Array::new();
                next.push(&JsValue::from(login.generation().0));
                next.push(&JsValue::from_str(login.user()));
                next.push(&JsValue::from_str(login.expose()));
                for then in [login.expires_at(), manager.next_deadline()] {
                    next.push(&JsValue::from_f64(then.since(now).as_millis() as f64));
                }
                Some(next.into())
            });
            next.ok_or_else(|| {
                let failure = shared.failure.borrow().clone().map(|(error, _)| error);
                let why = if shared.is_over.get() { Some(Error::Closed) } else { failure };
                thrown(&host, &why.unwrap_or(Error::Unavailable { cause: None }))
            })
        })
    }

    /// Notes that a server refused token number `have`: another one is fetched.
    pub fn rejected(&self, have: u32) {
        let now = JsClock(self.host.clone()).now();
        self.owned.shared.tokens.with(|manager| manager.rejected(now, Generation(have)));
    }

    /// Notes that a server accepted token number `have`.
    pub fn accepted(&self, have: u32) {
        self.owned.shared.tokens.with(|manager| manager.accepted(Generation(have)));
    }

    /// Ends it. Calls that wait for a token fail.
    pub fn close(&self) {
        self.owned.close();
    }
}

impl Owned {
    fn close(&self) {
        self.shared.is_over.set(true);
        self.ending.end();
        self.shared.tokens.with(|_| ());
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for RawManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawManager")
    }
}

impl Shared {
    fn hear(&self, event: &Event, error: Option<crate::source::Error>) {
        let Event::FetchFailed { error: reason, .. } = *event else {
            *self.failure.borrow_mut() = None;
            return;
        };
        let is_hopeless = !self.tokens.with(|manager| manager.is_retryable(&reason));
        let error = match error {
            Some(error) => match error.service_text() {
                Some(text) => FetchError::new(reason, text.to_string()),
                None => FetchError::new(reason, error.to_string()),
            },
            None => reason.into(),
        };
        *self.failure.borrow_mut() = Some((Error::Token(Arc::new(error)), is_hopeless));
    }

    fn is_hopeless(&self) -> bool {
        matches!(*self.failure.borrow(), Some((_, true)))
    }
}
