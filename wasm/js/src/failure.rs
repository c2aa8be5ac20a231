//! Errors as JavaScript's own.

use alloc::string::ToString;

use redis_entraid_client::{Error, ErrorKind};
use redis_entraid_core::command::CommandRefused;
use redis_entraid_core::connection::Outcome;
use wasm_bindgen::JsValue;

use crate::host::Host;

/// The exception that `error` is.
pub(crate) fn thrown(host: &Host, error: &Error) -> JsValue {
    let kind = match error.kind() {
        ErrorKind::Usage => "usage",
        ErrorKind::Token => "token",
        ErrorKind::Connect => "connect",
        ErrorKind::Tls => "tls",
        ErrorKind::Rejected => "rejected",
        ErrorKind::Server => "server",
        _ => "lost",
    };
    let outcome = match error.outcome() {
        Outcome::NotSent => "NotSent",
        _ => "Unknown",
    };
    let mut message = error.to_string();
    if matches!(error, Error::Refused(CommandRefused::Shared)) {
        message.push_str(": connect({ dedicated: true })");
    }
    host.error(&message, error.code(), kind, outcome)
}
