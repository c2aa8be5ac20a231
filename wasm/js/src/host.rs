//! What JavaScript does for us: `npm/lib/host.js`. Nothing of it throws; what fails rejects
//! its promise.

use alloc::string::{String, ToString};
use core::fmt;

use js_sys::{Array, Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    /// One program's clocks, timers, streams and tokens.
    #[derive(Clone)]
    pub type Host;

    /// Milliseconds, on a clock that never goes back.
    #[wasm_bindgen(method)]
    pub(crate) fn now(this: &Host) -> f64;

    /// Seconds since 1970.
    #[wasm_bindgen(method, js_name = unixTime)]
    pub(crate) fn unix_time(this: &Host) -> f64;

    #[wasm_bindgen(method)]
    pub(crate) fn sleep(this: &Host, millis: f64) -> Task;

    /// Waits until all promises that can go on have done so.
    #[wasm_bindgen(method)]
    pub(crate) fn turn(this: &Host) -> Task;

    /// Resolves to a [`Transport`].
    #[wasm_bindgen(method)]
    pub(crate) fn dial(
        this: &Host,
        address: &str,
        port: u16,
        server_name: &str,
        turn: usize,
    ) -> Task;

    /// Resolves to an [`ProvidedToken`].
    #[wasm_bindgen(method)]
    pub(crate) fn token(this: &Host) -> Task;

    /// Resolves to a [`Proof`], which the file at `path` would have.
    #[wasm_bindgen(method)]
    pub(crate) fn prove(this: &Host, is_certificate: bool, path: &str) -> Task;

    /// Resolves to an [`Answer`]. `headers` has names and values in turn.
    #[wasm_bindgen(method)]
    pub(crate) fn fetch(
        this: &Host,
        method: &str,
        url: &str,
        headers: Array,
        body: Uint8Array,
    ) -> Task;

    /// An error for people.
    #[wasm_bindgen(method)]
    pub(crate) fn error(
        this: &Host,
        message: &str,
        code: Option<&str>,
        kind: &str,
        outcome: &str,
    ) -> JsValue;

    /// The number that `text` says; a `BigInt` if it is whole and large.
    #[wasm_bindgen(method)]
    pub(crate) fn number(this: &Host, text: &str, whole: bool) -> JsValue;

    #[wasm_bindgen(method)]
    pub(crate) fn event(this: &Host, name: &str, text: &str);

    #[wasm_bindgen(method)]
    pub(crate) fn push(this: &Host, push: JsValue);

    /// Something that was begun.
    pub(crate) type Task;

    /// The first stage of a dial: `name` or `tcp`, if its function reports it.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn stage(this: &Task) -> Option<String>;

    /// Comes when a dial's function says that TCP is up and TLS begins.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn securing(this: &Task) -> Promise;

    #[wasm_bindgen(method, getter)]
    fn promise(this: &Task) -> Promise;

    /// Gives it up. The promise is settled then.
    #[wasm_bindgen(method)]
    fn cancel(this: &Task);

    /// A connection.
    pub(crate) type Transport;

    /// Comes to bytes, or to none at the end.
    #[wasm_bindgen(method)]
    pub(crate) fn read(this: &Transport) -> Promise;

    #[wasm_bindgen(method)]
    pub(crate) fn write(this: &Transport, bytes: Uint8Array) -> Promise;

    #[wasm_bindgen(method)]
    pub(crate) fn close(this: &Transport);

    /// The address that was reached, if that is known.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn address(this: &Transport) -> Option<String>;

    /// A token.
    pub(crate) type ProvidedToken;

    #[wasm_bindgen(method, getter)]
    pub(crate) fn token(this: &ProvidedToken) -> String;

    #[wasm_bindgen(method, getter)]
    pub(crate) fn user(this: &ProvidedToken) -> Option<String>;

    #[wasm_bindgen(method, getter, js_name = expiresIn)]
    pub(crate) fn expires_in(this: &ProvidedToken) -> Option<f64>;

    #[wasm_bindgen(method, getter, js_name = expiresOn)]
    pub(crate) fn expires_on(this: &ProvidedToken) -> Option<f64>;

    #[wasm_bindgen(method, getter, js_name = refreshIn)]
    pub(crate) fn refresh_in(this: &ProvidedToken) -> Option<f64>;

    /// What an application proves itself with: an assertion, or the key of a certificate.
    pub(crate) type Proof;

    #[wasm_bindgen(method, getter)]
    pub(crate) fn assertion(this: &Proof) -> String;

    /// The SHA-256 of the certificate.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn thumbprint(this: &Proof) -> Uint8Array;

    /// 16 random bytes.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn nonce(this: &Proof) -> Uint8Array;

    /// Resolves to the bytes of the signature.
    #[wasm_bindgen(method)]
    pub(crate) fn sign(this: &Proof, data: Uint8Array) -> Task;

    /// What a server answered.
    pub(crate) type Answer;

    #[wasm_bindgen(method, getter)]
    pub(crate) fn status(this: &Answer) -> u16;

    #[wasm_bindgen(method, getter, js_name = retryAfter)]
    pub(crate) fn retry_after(this: &Answer) -> Option<String>;

    #[wasm_bindgen(method, getter)]
    pub(crate) fn date(this: &Answer) -> Option<String>;

    #[wasm_bindgen(method, getter)]
    pub(crate) fn body(this: &Answer) -> Uint8Array;

    /// Why something failed.
    type Reason;

    #[wasm_bindgen(method, getter)]
    fn message(this: &Reason) -> String;

    #[wasm_bindgen(method, getter)]
    fn kind(this: &Reason) -> String;
}

impl Task {
    /// Waits for what was begun, and aborts it if its caller has gone.
    pub(crate) async fn done(self) -> Result<JsValue, Problem> {
        let promise = self.promise();
        let begun = Begun(Some(self));
        let done = settled(promise).await;
        begun.forget();
        done
    }
}

struct Begun(Option<Task>);

impl Begun {
    /// It is over.
    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.cancel();
        }
    }
}

/// Waits for `promise`.
pub(crate) async fn settled(promise: Promise) -> Result<JsValue, Problem> {
    JsFuture::from(promise).await.map_err(|reason| {
        let reason: Reason = reason.unchecked_into();
        Problem { kind: reason.kind(), message: reason.message() }
    })
}

/// Why something of the host's failed, in its own words.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) kind: String,
    message: String,
}

impl Problem {
    /// Something that the host did which it should not do.
    pub(crate) fn new(kind: &str, message: &str) -> Self {
        Self { kind: kind.to_string(), message: message.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for Problem {}
