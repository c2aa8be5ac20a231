//! What was served.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

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

/// A login at a port of the Redis side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login {
    /// When it was accepted, or refused.
    pub at: Instant,
    /// What became of it.
    pub kind: LoginKind,
}

/// What became of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginKind {
    /// It was accepted: the first of a connection.
    First,
    /// It was accepted: a later one on the same connection.
    Again,
    /// It was refused.
    Refused,
}

/// What was served at one port of the Redis side, since the start or a reset. Ports are those that
/// clients dial: what came by the endpoint counts there, whichever node it led to.
#[derive(Clone, Debug, Default)]
pub struct NodeCounts {
    /// Connections.
    pub connections: u64,
    /// Logins, in their order.
    pub logins: Vec<Login>,
    /// Commands other than logins, `CLIENT SETINFO` and `CLIENT SETNAME`, by name: in upper case, and
    /// with the second word for `CLUSTER` and `CLIENT`.
    pub commands: BTreeMap<String, u64>,
    /// [`Counts::rounds`] of this port.
    pub rounds: u64,
    /// `MOVED` that it has answered, those in a reply to `EXEC` included.
    pub moved: u64,
    /// `ASK` that it has answered.
    pub asked: u64,
}

impl NodeCounts {
    /// Commands of this name.
    pub fn commands(&self, name: &str) -> u64 {
        self.commands.get(name).copied().unwrap_or_default()
    }

    fn json(&self) -> Value {
        json!({
            "connections": self.connections,
            "logins": self.logins.len(),
            "commands": self.commands,
            "rounds": self.rounds,
            "moved": self.moved,
            "asked": self.asked,
        })
    }

    /// The most logins within any one second.
    pub fn logins_per_second(&self) -> usize {
        let second = Duration::from_secs(1);
        let within = |(at, first): (usize, &Login)| {
            self.logins[at..].iter().take_while(|login| login.at < first.at + second).count()
        };
        self.logins.iter().enumerate().map(within).max().unwrap_or(0)
    }
}

/// Counts that several tasks add to.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    all: Mutex<Counts>,
    ports: Mutex<BTreeMap<u16, NodeCounts>>,
}

impl Counters {
    pub(crate) fn add(&self, field: impl FnOnce(&mut Counts) -> &mut u64) {
        *field(&mut self.all.lock().expect("nobody panics with it")) += 1;
    }

    /// Counts something at a port.
    pub(crate) fn at(&self, port: u16, count: impl FnOnce(&mut NodeCounts)) {
        count(self.ports.lock().expect("nobody panics with it").entry(port).or_default());
    }

    /// Counts a login at a port, and in all.
    pub(crate) fn login(&self, port: u16, kind: LoginKind) {
        self.add(|counts| match kind {
            LoginKind::First => &mut counts.logins,
            LoginKind::Again => &mut counts.reauths,
            LoginKind::Refused => &mut counts.refused,
        });
        self.at(port, |counts| counts.logins.push(Login { at: Instant::now(), kind }));
    }

    /// Counts a command at a port, and in all.
    pub(crate) fn command(&self, port: u16, words: &[&[u8]]) {
        self.add(|counts| &mut counts.commands);
        let text = |word: &&[u8]| String::from_utf8_lossy(word).to_ascii_uppercase();
        let mut name = words.first().map(text).unwrap_or_default();
        if let ("CLUSTER" | "CLIENT", Some(word)) = (name.as_str(), words.get(1)) {
            name = format!("{name} {}", text(word));
        }
        self.at(port, |counts| *counts.commands.entry(name).or_default() += 1);
    }

    /// The counts now.
    pub(crate) fn get(&self) -> Counts {
        *self.all.lock().expect("nobody panics with it")
    }

    /// The counts of a port.
    pub(crate) fn of(&self, port: u16) -> NodeCounts {
        let ports = self.ports.lock().expect("nobody panics with it");
        ports.get(&port).cloned().unwrap_or_default()
    }

    pub(crate) fn reset(&self) {
        *self.all.lock().expect("nobody panics with it") = Counts::default();
        self.ports.lock().expect("nobody panics with it").clear();
    }

    pub(crate) fn json(&self) -> Value {
        let counts = self.get();
        let ports = self.ports.lock().expect("nobody panics with it");
        let ports: Value =
            ports.iter().map(|(port, node)| (port.to_string(), node.json())).collect();
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
            "ports": ports,
        })
    }
}
