//! What becomes of a command that a node didn't execute.
//!
//! ```
//! use redis_entraid_core::cluster::{Attempts, Next, RedirectPolicy, To};
//! use redis_entraid_core::command::CommandClass;
//! use redis_entraid_core::policy::Jitter;
//! use redis_entraid_core::resp::Value;
//! use redis_entraid_core::time::Instant;
//!
//! let (now, by) = (Instant::from_millis(0), Instant::from_millis(5_000));
//! let mut attempts = Attempts::new(CommandClass::Plain, by);
//! let reply = Value::new(b"-MOVED 12182 10.0.0.2:8501\r\n").unwrap();
//! let policy = RedirectPolicy::default();
//! match attempts.refused(now, &policy, &mut Jitter::new(7), &reply.error().unwrap()) {
//!     Next::Send { at, to: To::Moved(node) } => assert_eq!((at, node.port), (now, 8501)),
//!     other => panic!("{other:?}"),
//! }
//! ```

use crate::command::CommandClass;
use crate::connection::Outcome;
use crate::policy::{Backoff, Jitter, Ratio};
use crate::resp::{ErrorReply, Node, Redirect};
use crate::time::Instant;
use core::time::Duration;

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

/// What becomes of a command.
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

/// Where a command is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum To<'a> {
    /// To this node, which has the slot from now on: tell the map. If it is the one that said so, its
    /// connection leads to a server that was replaced: dial it anew.
    Moved(Node<'a>),
    /// To this node, behind an `ASKING` in the same pipeline, this time only: the map stays.
    Asking(Node<'a>),
    /// To the node that refused it.
    Same,
    /// Where the map says then: note at the schedule that it may be wrong.
    Map,
}

/// The attempts to have one command executed.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Attempts {
    by: Instant,
    failed: u32,
    /// It depends on nothing else that its connection got.
    is_alone: bool,
}

impl Attempts {
    /// Before the first attempt of a command of this class, which is worth nothing after `by`. What
    /// belongs to a transaction, or to the state of a connection, is not sent again: it means nothing
    /// elsewhere, and nothing alone.
    pub const fn new(class: CommandClass, by: Instant) -> Self {
        let is_alone = matches!(class, CommandClass::Plain | CommandClass::Blocking(_));
        Self { by, failed: 0, is_alone }
    }

    /// Returns what becomes of the command after a reply that is an error.
    ///
    /// | error | sent again |
    /// |---|---|
    /// | `MOVED` | to the node it names, at once the first time |
    /// | `ASK` | to the node it names behind an `ASKING`, at once the first time |
    /// | `TRYAGAIN` | to the same node, later |
    /// | `CLUSTERDOWN`, `LOADING`, `MASTERDOWN`, `READONLY` | where the newest map says, later |
    ///
    /// With any of these, a server has executed nothing; any other error is the command's answer.
    pub fn refused<'a>(
        &mut self,
        now: Instant,
        policy: &RedirectPolicy,
        jitter: &mut Jitter,
        error: &ErrorReply<'a>,
    ) -> Next<'a> {
        let (to, is_elsewhere) = match (error.redirect(), error.code()) {
            (Some(Redirect::Moved(node)), _) => (To::Moved(node), true),
            (Some(Redirect::Ask(node)), _) if policy.asking => (To::Asking(node), true),
            (Some(Redirect::Ask(_) | Redirect::TryAgain), _) => (To::Same, false),
            (Some(Redirect::ClusterDown), _) | (None, "LOADING" | "MASTERDOWN" | "READONLY") => {
                (To::Map, false)
            }
            (None, _) => return Next::Deliver,
        };
        self.again(now, policy, jitter, to, is_elsewhere)
    }

    /// Returns what becomes of the command after its connection has ended, or couldn't be opened. What
    /// may have been executed is never sent again.
    pub fn lost(
        &mut self,
        now: Instant,
        policy: &RedirectPolicy,
        jitter: &mut Jitter,
        outcome: Outcome,
    ) -> Next<'static> {
        match outcome {
            Outcome::NotSent => self.again(now, policy, jitter, To::Map, false),
            Outcome::Unknown => Next::Deliver,
        }
    }

    fn again<'a>(
        &mut self,
        now: Instant,
        policy: &RedirectPolicy,
        jitter: &mut Jitter,
        to: To<'a>,
        is_elsewhere: bool,
    ) -> Next<'a> {
        if !self.is_alone || self.failed >= policy.max_attempts {
            return Next::Deliver;
        }
        self.failed += 1;
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Topic;
    use crate::resp::Value;

    const BY: Instant = Instant::from_millis(60_000);

    fn refused(
        attempts: &mut Attempts,
        now: u64,
        error: &'static str,
        asking: bool,
    ) -> Next<'static> {
        let text = std::format!("-{error}\r\n").leak();
        let error = Value::new(text.as_bytes()).unwrap().error().unwrap();
        let policy = RedirectPolicy { asking, ..RedirectPolicy::default() };
        attempts.refused(Instant::from_millis(now), &policy, &mut Jitter::none(), &error)
    }

    const fn send(at: u64, to: To<'static>) -> Next<'static> {
        Next::Send { at: Instant::from_millis(at), to }
    }

    const NODE: Node<'static> = Node { slot: 7, address: "a", port: 1 };

    #[test]
    fn each_refusal_has_its_own_way_on() {
        for (error, next) in [
            ("MOVED 7 a:1", send(5, To::Moved(NODE))),
            ("ASK 7 a:1", send(5, To::Asking(NODE))),
            ("TRYAGAIN Multiple keys request during rehashing of slot", send(15, To::Same)),
            ("CLUSTERDOWN The cluster is down", send(15, To::Map)),
            ("LOADING Redis is loading the dataset in memory", send(15, To::Map)),
            ("MASTERDOWN Link with MASTER is down", send(15, To::Map)),
            ("READONLY You can't write against a read only replica.", send(15, To::Map)),
            ("MOVED 7 a:0", Next::Deliver),
            ("ERR unknown command", Next::Deliver),
            ("EXECABORT Transaction discarded", Next::Deliver),
            ("CROSSSLOT Keys in request don't hash to the same slot", Next::Deliver),
            ("BUSY Redis is busy running a script", Next::Deliver),
            ("UNBLOCKED force unblock from blocking operation", Next::Deliver),
        ] {
            let mut attempts = Attempts::new(CommandClass::Plain, BY);
            assert_eq!(refused(&mut attempts, 5, error, true), next, "{error}");
        }
        let mut attempts = Attempts::new(CommandClass::Plain, BY);
        assert_eq!(refused(&mut attempts, 5, "ASK 7 a:1", false), send(15, To::Same));
    }

    #[test]
    fn a_loop_of_redirections_gets_slower_and_ends() {
        let mut attempts = Attempts::new(CommandClass::Blocking(None), BY);
        let (mut now, mut sent) = (0, 0);
        while let Next::Send { at, .. } = refused(&mut attempts, now, "MOVED 7 a:1", true) {
            assert!(sent == 0 || at.as_millis() > now);
            (now, sent) = (at.as_millis(), sent + 1);
            assert!(sent <= 10, "it goes on");
        }
        assert_eq!((now, sent), (20 + 40 + 80 + 160 + 320 + 640 + 1_000 + 1_000 + 1_000, 10));
    }

    #[test]
    fn nothing_is_sent_again_at_its_deadline_or_after() {
        let mut attempts = Attempts::new(CommandClass::Plain, Instant::from_millis(16));
        assert_eq!(refused(&mut attempts, 5, "TRYAGAIN", true), send(15, To::Same));
        let mut attempts = Attempts::new(CommandClass::Plain, Instant::from_millis(15));
        assert_eq!(refused(&mut attempts, 5, "TRYAGAIN", true), Next::Deliver);
    }

    #[test]
    fn what_may_have_been_executed_is_not_sent_again() {
        let (policy, mut jitter) = (RedirectPolicy::default(), Jitter::none());
        let now = Instant::from_millis(0);
        let mut attempts = Attempts::new(CommandClass::Plain, BY);
        let unknown = attempts.lost(now, &policy, &mut jitter, Outcome::Unknown);
        assert_eq!(unknown, Next::Deliver);
        let not_sent = attempts.lost(now, &policy, &mut jitter, Outcome::NotSent);
        assert_eq!(not_sent, send(10, To::Map));
    }

    #[test]
    fn what_belongs_to_a_connection_is_not_sent_elsewhere() {
        for class in [
            CommandClass::Multi,
            CommandClass::Exec,
            CommandClass::Discard,
            CommandClass::Watch,
            CommandClass::Unwatch,
            CommandClass::Tracking(true),
            CommandClass::Subscribe(Topic::Shard, 1),
            CommandClass::Unsubscribe(Topic::Shard, 1),
        ] {
            let mut attempts = Attempts::new(class, BY);
            assert_eq!(refused(&mut attempts, 0, "MOVED 7 a:1", true), Next::Deliver, "{class:?}");
        }
    }
}
