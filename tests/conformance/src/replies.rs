//! Answers of clients whose errors are the core's.

use core::fmt::{self, Write};

use redis_entraid_client::{Delivery, Error, ErrorKind};
use redis_entraid_core::connection::Outcome;
use redis_entraid_core::resp::Value;

use crate::{write_error, write_value};

/// Writes the replies to commands as transcripts have them.
///
/// # Errors
/// If `out` is full.
pub fn write_replies<'r>(
    replies: impl Iterator<Item = Result<Value<'r>, Error>>,
    out: &mut dyn Write,
) -> fmt::Result {
    for (at, reply) in replies.enumerate() {
        out.write_str(if at == 0 { "" } else { " | " })?;
        match reply {
            Ok(value) => {
                out.write_str(if at == 0 { "ok " } else { "" })?;
                write_value(value, out)?;
            }
            Err(error) => write_failure(&error, out)?,
        }
    }
    Ok(())
}

/// Writes an error as transcripts have it.
///
/// # Errors
/// If `out` is full.
pub fn write_failure(error: &Error, out: &mut dyn Write) -> fmt::Result {
    let kind = match error.kind() {
        ErrorKind::Usage => "usage",
        ErrorKind::Token => "token",
        ErrorKind::Tls => "tls",
        ErrorKind::Connect => "connect",
        ErrorKind::Rejected => "rejected",
        ErrorKind::Server => "server",
        ErrorKind::Lost => "lost",
        _ => "other",
    };
    let outcome = match error.outcome() {
        Outcome::NotSent => "NotSent",
        _ => "Unknown",
    };
    write_error(error.code(), kind, outcome, out)
}

/// Writes what a subscriber hears.
///
/// # Errors
/// If `out` is full.
pub fn write_delivery(heard: Result<Delivery, Error>, out: &mut dyn Write) -> fmt::Result {
    match heard {
        Ok(Delivery::Message(message)) => {
            let payload = core::str::from_utf8(message.payload()).unwrap_or("(bytes)");
            write!(out, "message {payload}")
        }
        Ok(Delivery::Gap) => out.write_str("gap"),
        Ok(Delivery::Overlap) => out.write_str("overlap"),
        Ok(Delivery::Settled) => out.write_str("settled"),
        Ok(other) => write!(out, "{other:?}"),
        Err(error) => write_failure(&error, out),
    }
}
