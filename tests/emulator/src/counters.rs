//! What was served.

use std::sync::Mutex;

use serde_json::{Value, json};

/// Counts since the start, or since a reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests for a token.
    pub token_requests: u64,
    /// Tokens that were given out.
    pub tokens: u64,
    /// Of these, tokens that had been given out before.
    pub same_tokens: u64,
    /// Connections to the Redis port.
    pub connections: u64,
    /// Logins that were accepted: the first of a connection.
    pub logins: u64,
    /// Logins that were accepted: later ones on the same connection.
    pub reauths: u64,
    /// Logins that were refused.
    pub refused: u64,
    /// Commands other than logins, `CLIENT SETINFO` and `CLIENT SETNAME`.
    pub commands: u64,
    /// Times that a client said something after it had heard all, the first time included: what it
    /// has waited for, in round trips. Exact with some latency.
    pub rounds: u64,
    /// Connections that were closed because their token ended.
    pub expired: u64,
}

/// Counts that several tasks add to.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Counts>);

impl Counters {
    pub(crate) fn add(&self, field: impl FnOnce(&mut Counts) -> &mut u64) {
        *field(&mut self.0.lock().expect("nobody panics with it")) += 1;
    }

    /// The counts now.
    pub(crate) fn get(&self) -> Counts {
        *self.0.lock().expect("nobody panics with it")
    }

    pub(crate) fn reset(&self) {
        *self.0.lock().expect("nobody panics with it") = Counts::default();
    }

    pub(crate) fn json(&self) -> Value {
        let counts = self.get();
        json!({
            "token_requests": counts.token_requests,
            "tokens": counts.tokens,
            "same_tokens": counts.same_tokens,
            "connections": counts.connections,
            "logins": counts.logins,
            "reauths": counts.reauths,
            "refused": counts.refused,
            "commands": counts.commands,
            "rounds": counts.rounds,
            "expired": counts.expired,
        })
    }
}
