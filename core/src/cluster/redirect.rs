//! What becomes of a command that a node didn't execute.
//!
//! ```
//! use redis_entraid_core::args;
//! use redis_entraid_core::cluster::{Attempts, Next, RedirectPolicy, To, route};
//! use redis_entraid_core::command::CommandClass;
//! use redis_entraid_core::policy::Jitter;
//! use redis_entraid_core::resp::Value;
//! use redis_entraid_core::time::Instant;
//!
//! let (now, by) = (Instant::from_millis(0), Instant::from_millis(5_000));
//! let command = args!["GET", "foo"];
//! let mut attempts = Attempts::new(command, CommandClass::Plain, route(command), by);
//! let reply = Value::new(b"-MOVED 12182 10.0.0.2:8501\r\n").unwrap();
//! let policy = RedirectPolicy::default();
//! match attempts.refused(now, &policy, &mut Jitter::new(7), &reply.error().unwrap()) {
//!     Next::Send { at, to: To::Moved(node) } => assert_eq!((at, node.port), (now, 8501)),
//!     other => panic!("{other:?}"),
//! }
//! ```

use core::time::Duration;

use super::route::Route;
use super::words::Words;
use crate::command::CommandClass;
use crate::connection::Outcome;
use crate::policy::{Backoff, Jitter, Ratio};
use crate::resp::{Arg, ErrorReply, Node, Redirect, Value};
use crate::time::Instant;

/// How often a command is sent again that a node didn't execute.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RedirectPolicy {
    /// No command is sent more often than that after it was refused. By default 10 times, which takes
    /// three seconds.
    pub max_attempts: u32,
    /// The waits. By default from 10 ms to 1 s. After the first `MOVED` or `ASK` there is none.
    pub backoff: Backoff,
    /// The largest share of a wait that is added to or taken from it at random.
    pub jitter: Ratio,
    /// Whether the servers have `ASKING`. By default they do; Azure Managed Redis doesn't, and shouldn't
    /// say `ASK`: such a command is sent again to the same node.
    pub asking: bool,
}

impl Default for RedirectPolicy {
    fn default() -> Self {
        let (initial, max) = (Duration::from_millis(10), Duration::from_secs(1));
        Self {
            max_attempts: 10,
            backoff: Backoff { initial, max, multiplier: 2 },
            jitter: Ratio::percent(30),
            asking: true,
        }
    }
}

/// What becomes of a command, or of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub enum Next<'a> {
    /// The reply or the loss is its answer.
    Deliver,
    /// Send it again.
    Send {
        /// Not before then.
        at: Instant,
        /// Where.
        to: To<'a>,
    },
}

/// Where a command is sent again. An `ASKING` comes right before it in the same pipeline; before a
/// transaction, right before its `MULTI`, and holds until its `EXEC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum To<'a> {
    /// To this node, which has the slot from now on: tell the map. If it is the one that said so, its
    /// connection leads to a server that was replaced: dial it anew.
    Moved(Node<'a>),
    /// To this node, behind an `ASKING`, this time only: the map stays.
    Asking(Node<'a>),
    /// To the node that refused it. If the map has forgotten that node by then, the refusal is the
    /// answer.
    Same {
        /// Behind an `ASKING` once more.
        asking: bool,
    },
    /// Where its route and the map lead then, as if it was new: note at the schedule that the map may be
    /// wrong. A command without keys goes to the primary whose turn it is.
    Map,
}

/// The attempts to have a command executed, or a transaction.
///
/// A command that is [divided](super::Keys::divides) is a command for each slot: each part has attempts
/// of its own. So has each of those that go to [all primaries](Route::AllPrimaries).
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Attempts {
    by: Instant,
    failed: u32,
    unit: Unit,
    route: Route,
    /// The last attempt was behind an `ASKING`.
    is_asking: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum Unit {
    Command,
    /// A command that runs a user's code, which can answer what a server does.
    Code,
    Transaction,
    /// It means nothing on another connection.
    State,
}

impl Attempts {
    /// Before the first attempt of a command of this class and route, which is worth nothing after `by`.
    /// It is sent alone: nothing between `MULTI` and `EXEC`, nor behind a `WATCH`. What changes the state of
    /// a connection is not sent again.
    pub fn new<'a>(
        command: impl Into<Words<'a>>,
        class: CommandClass,
        route: Route,
        by: Instant,
    ) -> Self {
        let unit = match class {
            CommandClass::Plain | CommandClass::Blocking(_) => Unit::of(&command.into(), route),
            _ => Unit::State,
        };
        Self { by, failed: 0, unit, route, is_asking: false }
    }

    /// Before the first attempt of a transaction, from `MULTI` to `EXEC` in one pipeline, whose
    /// [route](Route::and) is that of its commands together. Not for one that depends on a `WATCH`: that
    /// was on the connection.
    pub const fn transaction(route: Route, by: Instant) -> Self {
        Self { by, failed: 0, unit: Unit::Transaction, route, is_asking: false }
    }

    /// Returns what becomes of a command after a reply that is an error.
    ///
    /// | error | sent again |
    /// |---|---|
    /// | `MOVED` | to the node it names, at once the first time |
    /// | `ASK` | to the node it names behind an `ASKING`, at once the first time |
    /// | `TRYAGAIN` | to the same node, later; if it went there behind an `ASKING`, behind another one |
    /// | `CLUSTERDOWN`, `LOADING`, `MASTERDOWN`, `READONLY` | where the map says, later |
    ///
    /// With any of these, a server has executed nothing; any other error is the command's answer. What is
    /// about one node ([`Route::OneNode`], [`Route::AllPrimaries`]) is sent to that node again while it is
    /// loading, and never to another one.
    ///
    /// A script can answer with any of these and be executed all the same. `EVAL` and its kind, and
    /// commands that aren't known, are sent again only if the words are the server's own: a `MOVED` or
    /// `ASK` names the slot of the command's keys, and the others have exactly the server's text. A script
    /// of which that is true, since it makes such a text itself, is executed again. After `READONLY`
    /// and `MASTERDOWN`, they are never sent again: a script is stopped by these when it has begun.
    ///
    /// Of a transaction, each such reply is an answer: what counts is
    /// [all its replies together](Self::aborted).
    pub fn refused<'a>(
        &mut self,
        now: Instant,
        policy: &RedirectPolicy,
        jitter: &mut Jitter,
        error: &ErrorReply<'a>,
    ) -> Next<'a> {
        match self.unit {
            Unit::Command => self.after(now, policy, jitter, error),
            Unit::Code if self.is_servers(error) => self.after(now, policy, jitter, error),
            _ => Next::Deliver,
        }
    }

    /// Returns what becomes of a transaction by its replies, from that to `MULTI` to that to `EXEC`.
    ///
    /// It is sent again as a whole, and only if the server says that it has executed nothing of it:
    /// `MULTI` was taken, and `EXEC` is refused. The first error before that says why, or `EXEC` itself;
    /// then [the rules for commands](Self::refused) hold.
    pub fn aborted<'a>(
        &mut self,
        now: Instant,
        policy: &RedirectPolicy,
        jitter: &mut Jitter,
        replies: impl IntoIterator<Item = Value<'a>>,
    ) -> Next<'a> {
        match cause(&mut replies.into_iter()) {
            Some(cause) if self.unit == Unit::Transaction && !self.is_of_other_keys(&cause) => {
                self.after(now, policy, jitter, &cause)
            }
            _ => Next::Deliver,
        }
    }

    /// Returns what becomes of it after its connection has ended, or couldn't be opened. What may have been
    /// executed is never sent again.
    pub fn lost(
        &mut self,
        now: Instant,
        policy: &RedirectPolicy,
        jitter: &mut Jitter,
        outcome: Outcome,
    ) -> Next<'static> {
        let to = if self.is_about_a_node() { To::Same { asking: false } } else { To::Map };
        match outcome {
            Outcome::NotSent if self.unit != Unit::State => {
                self.again(now, policy, jitter, to, false)
            }
            _ => Next::Deliver,
        }
    }

    fn after<'a>(
        &mut self,
        now: Instant,
        policy: &RedirectPolicy,
        jitter: &mut Jitter,
        error: &ErrorReply<'a>,
    ) -> Next<'a> {
        let same = To::Same { asking: false };
        let (to, is_elsewhere) = match (error.redirect(), error.code()) {
            (None, "LOADING") if self.is_about_a_node() => (same, false),
            _ if self.is_about_a_node() => return Next::Deliver,
            (Some(Redirect::Moved(node)), _) => (To::Moved(node), true),
            (Some(Redirect::Ask(node)), _) if policy.asking => (To::Asking(node), true),
            (Some(Redirect::Ask(_)), _) => (same, false),
            (Some(Redirect::TryAgain), _) => (To::Same { asking: self.is_asking }, false),
            (Some(Redirect::ClusterDown), _) | (None, "LOADING" | "MASTERDOWN" | "READONLY") => {
                (To::Map, false)
            }
            (None, _) => return Next::Deliver,
        };
        self.again(now, policy, jitter, to, is_elsewhere)
    }

    fn again<'a>(
        &mut self,
        now: Instant,
        policy: &RedirectPolicy,
        jitter: &mut Jitter,
        to: To<'a>,
        is_elsewhere: bool,
    ) -> Next<'a> {
        if self.failed >= policy.max_attempts {
            return Next::Deliver;
        }
        self.failed += 1;
        self.is_asking = matches!(to, To::Asking(_) | To::Same { asking: true });
        let at = match is_elsewhere && self.failed == 1 {
            true => now,
            false => {
                let wait = policy.backoff.delay_millis(self.failed);
                now.after(jitter.around_millis(wait, policy.jitter))
            }
        };
        // A wait that ends too late would hide the reason.
        if at < self.by { Next::Send { at, to } } else { Next::Deliver }
    }

    /// Another node would be another question.
    const fn is_about_a_node(&self) -> bool {
        matches!(self.route, Route::OneNode | Route::AllPrimaries(_))
    }

    /// Whether it names another slot than that of the keys.
    fn is_of_other_keys(&self, error: &ErrorReply<'_>) -> bool {
        match (error.redirect(), self.route) {
            (Some(Redirect::Moved(node) | Redirect::Ask(node)), Route::Slot(slot)) => {
                node.slot != slot.number()
            }
            _ => false,
        }
    }

    /// Whether a server says exactly this before it executes a script.
    fn is_servers(&self, error: &ErrorReply<'_>) -> bool {
        match error.redirect() {
            Some(Redirect::Moved(_) | Redirect::Ask(_)) => {
                self.route != Route::AnyPrimary && !self.is_of_other_keys(error)
            }
            _ => TEXTS.contains(&error.text()),
        }
    }
}

/// What servers say to a script that they don't execute, word by word: Redis from 6.2 to 8.2, and Valkey.
const TEXTS: [&[u8]; 6] = [
    b"TRYAGAIN Multiple keys request during rehashing of slot",
    b"CLUSTERDOWN The cluster is down",
    b"CLUSTERDOWN The cluster is down and only accepts read commands",
    b"CLUSTERDOWN Hash slot not served",
    b"LOADING Redis is loading the dataset in memory",
    b"LOADING Valkey is loading the dataset in memory",
];

impl Unit {
    fn of(words: &Words<'_>, route: Route) -> Self {
        let names = ["EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"];
        let is_code = match words.clone().next() {
            Some(Arg::Bytes(word)) => {
                names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
            }
            _ => false,
        };
        if is_code || route == Route::Unknown { Self::Code } else { Self::Command }
    }
}

/// Why a server has discarded a transaction. `None` if it hasn't, or if that isn't certain.
fn cause<'a>(replies: &mut dyn Iterator<Item = Value<'a>>) -> Option<ErrorReply<'a>> {
    // Without it, the commands behind it were executed one by one.
    if replies.next()?.error().is_some() {
        return None;
    }
    let (mut first, mut exec) = (None, replies.next()?);
    for next in replies {
        first = first.or_else(|| exec.error());
        exec = next;
    }
    let exec = exec.error()?;
    match exec.code() {
        "EXECABORT" => first.or_else(|| {
            let because = exec.message().strip_prefix("Transaction discarded because of: ")?;
            Some(ErrorReply::new(because.as_bytes()))
        }),
        _ => exec.redirect().map(|_| exec),
    }
}

#[cfg(test)]
mod tests;
