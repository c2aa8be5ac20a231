//! HTTP, over a function like `fetch`.

use js_sys::{Array, Uint8Array};
use redis_entraid_core::http::{Request, ResponseWriter, Route};
use redis_entraid_core::source::{IoError, IoFailure, SourceIo};
use wasm_bindgen::{JsCast, JsValue};
use zeroize::Zeroizing;

use crate::host::{Answer, Host, Problem};

/// Sends requests through the host.
pub(crate) struct Fetch(pub(crate) Host);

impl SourceIo for Fetch {
    type Error = Problem;

    async fn http(
        &mut self,
        request: &Request<'_>,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), Problem> {
        let Request { method, url, headers, body, route, .. } = *request;
        if !url.starts_with("https://") && route != Route::LinkLocal {
            return Err(Problem::new("request", "only https is allowed over the network"));
        }
        let lines = Array::new();
        for (name, value) in headers.iter() {
            lines.push(&JsValue::from_str(name));
            lines.push(&JsValue::from_str(value));
        }
        let task = self.0.fetch(method.name(), url, lines, Uint8Array::from(body));
        let answer: Answer = task.done().await?.unchecked_into();
        response.status(answer.status());
        for (name, value) in [("retry-after", answer.retry_after()), ("date", answer.date())] {
            if let Some(value) = value {
                response.header(name, value.as_bytes());
            }
        }
        // There is a token in it.
        let body = Zeroizing::new(answer.body().to_vec());
        response.body_chunk(&body).map_err(|_| Problem::new("large", "the response is too large"))
    }
}

impl IoError for Problem {
    fn failure(&self) -> IoFailure {
        match self.kind.as_str() {
            "tls" => IoFailure::Tls,
            "request" | "large" => IoFailure::Request,
            "unsupported" => IoFailure::Unsupported,
            _ => IoFailure::Connect,
        }
    }

    fn unsupported() -> Self {
        Self::new("unsupported", "this host can't read files or sign")
    }
}
