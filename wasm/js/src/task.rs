//! Background tasks, and how their end is reported.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::Cell;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Poll, Waker};

use js_sys::Promise;
use redis_entraid_core::event::Event;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use crate::host::Host;

/// Something to be driven.
pub(crate) type Driver = Pin<Box<dyn Future<Output = ()>>>;

#[wasm_bindgen(raw_module = "../lib/broken.js")]
extern "C" {
    /// Tells that the module fails.
    #[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
    pub(crate) fn failed();

    type Deferred;
    fn deferred() -> Deferred;
    #[wasm_bindgen(method, getter)]
    fn promise(this: &Deferred) -> Promise;
    #[wasm_bindgen(method)]
    fn resolve(this: &Deferred, value: JsValue);
    #[wasm_bindgen(method)]
    fn reject(this: &Deferred, reason: JsValue);
}

/// A promise for the result of `future`. The code around each of them is the same.
pub(crate) fn promised(
    future: impl Future<Output = Result<JsValue, JsValue>> + 'static,
) -> Promise {
    let future: Pin<Box<dyn Future<Output = Result<JsValue, JsValue>>>> = Box::pin(future);
    let deferred = deferred();
    let promise = deferred.promise();
    spawn_local(async move {
        match future.await {
            Ok(value) => deferred.resolve(value),
            Err(reason) => deferred.reject(reason),
        }
    });
    promise
}

/// Waits for `future`, or until `aborted` is settled: then it fails with that result.
pub(crate) async fn unless(
    aborted: Option<Promise>,
    future: impl Future<Output = Result<JsValue, JsValue>>,
) -> Result<JsValue, JsValue> {
    let mut aborted = aborted.map(JsFuture::from);
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Some(aborted) = &mut aborted
            && let Poll::Ready(Ok(reason) | Err(reason)) = Pin::new(aborted).poll(cx)
        {
            return Poll::Ready(Err(reason));
        }
        future.as_mut().poll(cx)
    })
    .await
}

/// Tells who wants to hear.
pub(crate) fn report(host: &Host, event: &Event) {
    let name = match event {
        Event::Refreshed { .. } => "refreshed",
        Event::SameToken { .. } => "same-token",
        Event::FetchFailed { .. } => "fetch-failed",
        Event::LoggedIn { .. } => "logged-in",
        Event::Reauthenticated { .. } => "reauthenticated",
        Event::Rejected { .. } => "rejected",
        Event::StateLost(_) => "state-lost",
        Event::Disconnected { .. } => "disconnected",
        Event::DialFailed { .. } => "dial-failed",
        _ => "other",
    };
    host.event(name, &alloc::format!("{event}"));
}

/// Whether something was ended from outside.
#[derive(Default)]
pub(crate) struct Ending {
    is_over: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Ending {
    pub(crate) fn end(&self) {
        self.is_over.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.get()
    }
}

/// Runs `driver` until it ends, or is ended.
pub(crate) async fn until(ending: Rc<Ending>, mut driver: Driver) {
    poll_fn(|cx| {
        if ending.is_over() {
            return Poll::Ready(());
        }
        ending.waker.set(Some(cx.waker().clone()));
        driver.as_mut().poll(cx)
    })
    .await;
}
