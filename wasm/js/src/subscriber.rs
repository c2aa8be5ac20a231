//! The subscriber.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::task::Poll;

use js_sys::{Array, Promise};
use redis_entraid_client::{Delivery, Error, Subscriber};
use redis_entraid_core::command::Topic;
use redis_entraid_core::resp::Arg;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;

use crate::client::{Handles, health, made};
use crate::clock::JsClock;
use crate::commands::unpack;
use crate::failure::thrown;
use crate::host::Host;
use crate::net::Dialer;
use crate::settings::Options;
use crate::task::{Driver, Ending, promised, until};
use crate::value::string;

/// A subscriber, whose calls may come at any time.
#[wasm_bindgen]
pub struct RawSubscriber {
    host: Host,
    owned: Rc<Owned>,
}

/// What ends with the last pending call, and not before: JavaScript may have dropped the
/// subscriber.
struct Owned {
    subscriber: Subscriber<JsClock>,
    ending: Rc<Ending>,
    /// JavaScript may have dropped the client as well.
    _client: Option<Rc<Handles>>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.ending.end();
    }
}

impl RawSubscriber {
    /// One that has the tokens of `client`, whose handles it keeps.
    pub(crate) fn beside(host: &Host, client: Rc<Handles>) -> Self {
        let (subscriber, driver) = client.enter().subscriber(Dialer(host.clone()));
        Self::new(host, subscriber, Box::pin(driver), Some(client))
    }

    fn new(
        host: &Host,
        subscriber: Subscriber<JsClock>,
        driver: Driver,
        client: Option<Rc<Handles>>,
    ) -> Self {
        let ending = Rc::new(Ending::default());
        spawn_local(until(ending.clone(), driver));
        let owned = Rc::new(Owned { subscriber, ending, _client: client });
        Self { host: host.clone(), owned }
    }
}

/// Drives both until one ends.
async fn either(mut first: Driver, mut second: Driver) {
    poll_fn(|cx| match first.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => second.as_mut().poll(cx),
    })
    .await;
}

fn topic(number: u8) -> Topic {
    match number {
        0 => Topic::Channel,
        1 => Topic::Pattern,
        _ => Topic::Shard,
    }
}

/// The names in `packed`, which are packed as a command's arguments are.
fn names(packed: &[u8]) -> impl Iterator<Item = &[u8]> {
    unpack(packed).into_iter().flatten().map(|arg| match arg {
        Arg::Bytes(name) => name,
        _ => &[],
    })
}

#[wasm_bindgen]
impl RawSubscriber {
    /// Makes one without a client, and has it connect.
    #[wasm_bindgen(constructor)]
    pub fn alone(host: Host, options: Options, snapshot: Option<Vec<u8>>) -> Result<Self, JsValue> {
        let (client, driver) = made(&host, &options, snapshot.as_deref())?;
        let (subscriber, listening) = client.subscriber(Dialer(host.clone()));
        // Without its client, the other driver only fetches tokens.
        let both = Box::pin(either(Box::pin(listening), driver));
        Ok(Self::new(&host, subscriber, both, None))
    }

    /// Waits for the answer to the login.
    #[wasm_bindgen(js_name = loggedIn)]
    pub fn logged_in(&self) -> Promise {
        self.done(async |subscriber| subscriber.logged_in().await)
    }

    /// Subscribes, and waits until that is confirmed. The kinds are channels, patterns and shard
    /// channels.
    pub fn subscribe(&self, kind: u8, packed: Vec<u8>) -> Promise {
        self.done(async move |subscriber| subscriber.subscribe(topic(kind), names(&packed)).await)
    }

    fn done(
        &self,
        waiting: impl AsyncFnOnce(&Subscriber<JsClock>) -> Result<(), Error> + 'static,
    ) -> Promise {
        let (host, owned) = (self.host.clone(), self.owned.clone());
        promised(async move {
            let done = waiting(&owned.subscriber).await;
            done.map(|()| JsValue::UNDEFINED).map_err(|error| thrown(&host, &error))
        })
    }

    /// Ends subscriptions.
    pub fn unsubscribe(&self, kind: u8, packed: Vec<u8>) {
        self.owned.subscriber.unsubscribe(topic(kind), names(&packed));
    }

    /// Comes to what is heard next, as an array that begins with what it is; or to nothing, when it
    /// was closed.
    pub fn next(&self, bytes: bool) -> Promise {
        let (host, owned) = (self.host.clone(), self.owned.clone());
        promised(async move {
            match owned.subscriber.next().await {
                Ok(delivery) => Ok(told(&host, &delivery, bytes)),
                Err(Error::Closed) => Ok(JsValue::UNDEFINED),
                Err(error) => Err(thrown(&host, &error)),
            }
        })
    }

    /// As that of a client.
    pub fn health(&self) -> Box<[f64]> {
        let subscriber = &self.owned.subscriber;
        health(&subscriber.status(), &subscriber.health())
    }

    /// Ends it, and its connection with it.
    pub fn close(&self) {
        self.owned.ending.end();
    }
}

impl fmt::Debug for RawSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.owned.subscriber.fmt(f)
    }
}

fn told(host: &Host, delivery: &Delivery, bytes: bool) -> JsValue {
    let array = Array::new();
    let say = |value: JsValue| {
        array.push(&value);
    };
    match delivery {
        Delivery::Message(message) => {
            say("message".into());
            say(string(message.channel(), bytes));
            say(string(message.payload(), bytes));
            if let Some(pattern) = message.pattern() {
                say(string(pattern, bytes));
            }
        }
        Delivery::Gap => say("gap".into()),
        Delivery::Overlap => say("overlap".into()),
        Delivery::Settled => say("settled".into()),
        Delivery::Missed(count) => {
            say("missed".into());
            say((*count as f64).into());
        }
        Delivery::Refused { name, error, .. } => {
            say("refused".into());
            say(string(name, bytes));
            say(thrown(host, &Error::Server(error.clone())));
        }
        _ => say("other".into()),
    }
    array.into()
}
