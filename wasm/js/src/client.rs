//! The client.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::task::{Poll, Waker};
use core::time::Duration;

use js_sys::{Array, Promise, Uint8Array};
use redis_entraid_client::{ConnectionStatus, Error, Health, LocalClient, WeakClient};
use redis_entraid_core::connection::Outcome;
use redis_entraid_core::drive::timeout_at;
use redis_entraid_core::manager::Pull;
use redis_entraid_core::resp::Arg;
use redis_entraid_core::time::{Clock, Instant};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;

use crate::clock::JsClock;
use crate::commands::unpack;
use crate::failure::thrown;
use crate::gate::Gate;
use crate::host::Host;
use crate::net::Dialer;
use crate::settings::Options;
use crate::subscriber::RawSubscriber;
use crate::task::{Driver, Ending, promised, report, unless, until};
use crate::value::value;

/// A client, whose calls may come at any time: each is answered on its own.
#[wasm_bindgen]
pub struct RawClient {
    host: Host,
    handles: Rc<Handles>,
}

#[wasm_bindgen]
impl RawClient {
    /// Makes a client, and has it connect.
    #[wasm_bindgen(constructor)]
    pub fn new(host: Host, options: Options, snapshot: Option<Vec<u8>>) -> Result<Self, JsValue> {
        let (client, driver) = made(&host, &options, snapshot.as_deref())?;
        let ending = Rc::new(Ending::default());
        spawn_local(until(ending.clone(), driver));
        let weak = client.downgrade();
        let other = (!options.dedicated()).then(|| weak.enter());
        let (first, waiting) = (RefCell::new(Some(client)), RefCell::default());
        let (gate, patience) = (Gate::default(), options.command_patience());
        let handles = Handles { weak, first, waiting, ending, gate, patience, _other: other };
        let handles = Rc::new(handles);
        Ok(Self { host, handles })
    }

    /// Waits for a connection, on which nothing was heard yet.
    pub fn connected(&self) -> Promise {
        self.until(Goal::Connected)
    }

    /// Waits for the answer to the login.
    #[wasm_bindgen(js_name = loggedIn)]
    pub fn logged_in(&self) -> Promise {
        self.until(Goal::LoggedIn)
    }

    /// Fetches the next token if it is due.
    #[wasm_bindgen(js_name = refreshIfDue)]
    pub fn refresh_if_due(&self) -> Promise {
        self.until(Goal::Refreshed)
    }

    /// Takes no more commands, and ends when those that were taken are answered.
    pub fn close(&self) -> Promise {
        self.until(Goal::Closed)
    }

    fn until(&self, goal: Goal) -> Promise {
        let (host, handles) = (self.host.clone(), self.handles.clone());
        promised(async move {
            if let Goal::Closed = goal {
                // Commands that were given before are let in before.
                handles.gate.come().entered().await;
            }
            let client = handles.weak.enter();
            let done = match goal {
                Goal::Connected => client.connected().await,
                Goal::LoggedIn => client.logged_in().await,
                Goal::Refreshed => client.refresh_if_due().await,
                Goal::Closed => {
                    client.close();
                    client.closed().await;
                    handles.ending.end();
                    Ok(())
                }
            };
            done.map(|()| JsValue::UNDEFINED).map_err(|error| thrown(&host, &error))
        })
    }

    /// Sends the [packed](unpack) commands and resolves to their replies; to one that is `single` as it
    /// is, else to an array where an error is a value. They have so many milliseconds, if that is
    /// said. When `aborted` is settled before, they are withdrawn.
    pub fn execute(
        &self,
        packed: Vec<u8>,
        single: bool,
        bytes: bool,
        limit: Option<f64>,
        aborted: Option<Promise>,
    ) -> Promise {
        let (host, handles) = (self.host.clone(), self.handles.clone());
        let limit = limit.map(|limit| Duration::from_millis(limit as u64));
        promised(unless(aborted, execute(host, handles, packed, single, bytes, limit)))
    }

    /// What a host without a background task should do: 0 use the token, 1 fetch another one
    /// in the background, 2 fetch one first.
    pub fn pull(&self) -> u8 {
        match self.handles.weak.enter().pull() {
            Pull::Use => 0,
            Pull::UseThenRefresh => 1,
            _ => 2,
        }
    }

    /// The token as bytes, if it isn't the one that was given before.
    #[wasm_bindgen(js_name = changedSnapshot)]
    pub fn changed_snapshot(&self) -> Option<Uint8Array> {
        self.handles.weak.enter().changed_snapshot().map(|bytes| Uint8Array::from(&bytes[..]))
    }

    /// See [`health`].
    pub fn health(&self) -> Box<[f64]> {
        let client = self.handles.weak.enter();
        health(&client.status(), &client.health())
    }

    /// A subscriber with the same tokens.
    pub fn subscriber(&self) -> RawSubscriber {
        RawSubscriber::beside(&self.host, self.handles.clone())
    }

    /// Ends it at once, and the connection with it.
    pub fn destroy(&self) {
        self.handles.ending.end();
    }
}

/// What is waited for. One future for all of them keeps the module small.
#[derive(Clone, Copy)]
enum Goal {
    Connected,
    LoggedIn,
    Refreshed,
    Closed,
}

/// The core knows better what became of a command that has had its time.
const GRACE: Duration = Duration::from_millis(50);

/// See [`RawClient::execute`].
async fn execute(
    host: Host,
    handles: Rc<Handles>,
    packed: Vec<u8>,
    single: bool,
    bytes: bool,
    limit: Option<Duration>,
) -> Result<JsValue, JsValue> {
    let clock = JsClock(host.clone());
    let came = clock.now();
    let by = limit.map_or(Instant::FAR_FUTURE, |limit| came.plus(limit));
    let visit = handles.gate.come();
    let late = came.plus(limit.unwrap_or(handles.patience));
    if timeout_at(&clock, by, visit.entered()).await.is_none() || clock.now() >= late {
        return Err(thrown(&host, &NOT_SENT));
    }
    // It is large: what waits before is not.
    let entered = Box::pin(enter(host.clone(), handles.clone(), packed, single, bytes, limit, by));
    let entered: Pin<Box<dyn Future<Output = Result<JsValue, JsValue>>>> = entered;
    // The core lets a command block for as long as it says by itself. Whoever says how long they
    // wait mean that, too.
    let done = timeout_at(&clock, by.plus(GRACE), entered).await;
    let late = || Error::Lost { outcome: Outcome::Unknown, reason: None, cause: None };
    done.unwrap_or_else(|| Err(thrown(&host, &late())))
}

const NOT_SENT: Error = Error::Lost { outcome: Outcome::NotSent, reason: None, cause: None };

/// Executes what was let in.
async fn enter(
    host: Host,
    handles: Rc<Handles>,
    packed: Vec<u8>,
    single: bool,
    bytes: bool,
    limit: Option<Duration>,
    by: Instant,
) -> Result<JsValue, JsValue> {
    let clock = JsClock(host.clone());
    let Some(mut client) = timeout_at(&clock, by, handles.take()).await else {
        return Err(thrown(&host, &NOT_SENT));
    };
    let left = limit.map(|_| by.since(clock.now()));
    let commands = unpack(&packed);
    let commands: Vec<&[Arg<'_>]> = commands.iter().map(Vec::as_slice).collect();
    let executed = match &commands[..] {
        // One command is sent as one: that may be sliced.
        [args] => client.command_within(left, args).await.map(|reply| single.then_some(reply)),
        all => client.pipeline_within(left, all.iter().copied()).await.map(|_| None),
    };
    match executed {
        Ok(Some(reply)) => return Ok(value(&host, reply, bytes)),
        Err(error) if single || commands.len() > 1 => return Err(thrown(&host, &error)),
        _ => {}
    }
    let replies = Array::new();
    for at in 0..commands.len() {
        let reply = client.reply(at);
        replies.push(&match reply {
            Ok(reply) => value(&host, reply, bytes),
            Err(error) => thrown(&host, &error),
        });
    }
    Ok(replies.into())
}

impl fmt::Debug for RawClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handles.weak.fmt(f)
    }
}

/// A client, and what drives it.
pub(crate) fn made(
    host: &Host,
    options: &Options,
    snapshot: Option<&[u8]>,
) -> Result<(LocalClient<JsClock>, Driver), JsValue> {
    let made = || {
        let mut settings = options.settings()?;
        let source = options.source(host)?;
        let hears = host.clone();
        settings.on_event = Some(Box::new(move |event| report(&hears, event)));
        if options.hears_pushes() {
            let hears = host.clone();
            settings.on_push = Some(Box::new(move |push| hears.push(value(&hears, push, false))));
        }
        let (clock, dialer) = (JsClock(host.clone()), Dialer(host.clone()));
        let (client, driver) = LocalClient::new(settings, clock, dialer, source, snapshot);
        Ok((client, Box::pin(driver) as Driver))
    };
    made().map_err(|error| thrown(host, &error))
}

/// Whether there is a connection, and whether it is ready; logins on new ones and on live ones; token
/// requests, new tokens, failures and refusals; the token's age and what is left of it in milliseconds.
pub(crate) fn health(standing: &ConnectionStatus, health: &Health) -> Box<[f64]> {
    let millis = |time: Option<Duration>| time.map_or(f64::NAN, |time| time.as_millis() as f64);
    let token = &health.token;
    Box::new([
        f64::from(u8::from(health.connection.is_some())),
        f64::from(u8::from(health.is_ready())),
        f64::from(standing.connects()),
        f64::from(health.reauths),
        f64::from(token.requests),
        f64::from(token.refreshes),
        f64::from(token.failures),
        f64::from(token.rejections),
        millis(token.age),
        millis(token.expires_in),
    ])
}

/// The handles of one client: the first, and others for calls that come while it is in use. It ends
/// with the last call, and not before: JavaScript may have dropped the client and still wait.
pub(crate) struct Handles {
    weak: WeakClient<JsClock>,
    first: RefCell<Option<LocalClient<JsClock>>>,
    waiting: RefCell<Vec<Waker>>,
    ending: Rc<Ending>,
    gate: Gate,
    /// What a command may take.
    patience: Duration,
    /// One is there as long as the client, so that it counts as shared, unless it is dedicated.
    _other: Option<LocalClient<JsClock>>,
}

impl Drop for Handles {
    fn drop(&mut self) {
        self.ending.end();
    }
}

impl Handles {
    /// One more handle.
    pub(crate) fn enter(&self) -> LocalClient<JsClock> {
        self.weak.enter()
    }

    /// A handle for one call. Within a transaction there is only the one that began it, for one
    /// call after the other.
    async fn take(self: Rc<Self>) -> HandleInUse {
        let client = poll_fn(|cx| {
            if let Some(first) = self.first.borrow_mut().take() {
                return Poll::Ready((first, true));
            }
            if !self.weak.has_session() {
                return Poll::Ready((self.weak.enter(), false));
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        });
        let (client, is_first) = client.await;
        HandleInUse { client: Some(client), is_first, handles: self }
    }
}

/// A handle in use.
struct HandleInUse {
    client: Option<LocalClient<JsClock>>,
    is_first: bool,
    handles: Rc<Handles>,
}

impl Deref for HandleInUse {
    type Target = LocalClient<JsClock>;

    fn deref(&self) -> &LocalClient<JsClock> {
        self.client.as_ref().unwrap_or_else(|| unreachable!())
    }
}

impl DerefMut for HandleInUse {
    fn deref_mut(&mut self) -> &mut LocalClient<JsClock> {
        self.client.as_mut().unwrap_or_else(|| unreachable!())
    }
}

impl Drop for HandleInUse {
    fn drop(&mut self) {
        let client = self.client.take();
        if self.is_first {
            *self.handles.first.borrow_mut() = client;
        } else {
            drop(client);
        }
        let waiting = core::mem::take(&mut *self.handles.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }
}
