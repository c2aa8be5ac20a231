//! What is to be repeated of a batch when a server says `NOAUTH`.

use redis_entraid_core::command::CommandClass;
use redis_entraid_core::connection::Outcome;
use redis_entraid_core::resp::Value;

use super::super::command_dispatcher::says_noauth;
use super::batch::{Batch, Failure, Replies};
use super::session::Open;

/// What becomes of commands that were not executed for want of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Repeat {
    /// From this one on, all are sent again: none was executed.
    From(usize),
    /// From this one on, they relied on a session that is gone: none, if what relied on it was
    /// executed.
    Lost(usize),
}

/// What was said to a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    /// It was not executed.
    NotExecuted,
    /// Another error.
    Error,
    /// All else.
    Done,
}

impl Said {
    fn of(replies: &Replies, at: usize) -> Self {
        match replies.get(at).map(Value::framed) {
            Ok(value) if says_noauth(value) => Self::NotExecuted,
            Ok(value) if value.error().is_some() => Self::Error,
            Err(Some(Failure::NoLogin)) => Self::NotExecuted,
            Err(Some(Failure::Lost(lost) | Failure::Broke(lost, _)))
                if lost.outcome == Outcome::NotSent =>
            {
                Self::NotExecuted
            }
            _ => Self::Done,
        }
    }
}

impl Repeat {
    /// Decides by the replies to `batch`, before which the `session` was open. Nothing if no command
    /// was refused so, or if one behind it was executed.
    pub(in super::super) fn of(
        batch: &Batch,
        replies: &Replies,
        session: Option<Open>,
    ) -> Option<Self> {
        let refused = (0..replies.len()).find(|at| match replies.get(*at) {
            Ok(raw) => says_noauth(Value::framed(raw)),
            Err(failure) => matches!(failure, Some(Failure::NoLogin)),
        })?;
        // What is open before it, and where its transaction began.
        let (mut open, mut multi) = (session, None);
        let classes = || batch.commands().iter().map(|(class, _)| *class).enumerate();
        for (at, class) in classes().take(refused) {
            match class {
                CommandClass::Multi => multi = Some(at),
                class if Open::is_closed_by(class) => (open, multi) = (None, None),
                _ => open = Open::after(open, 0, class),
            }
        }
        let first = multi.unwrap_or(refused);
        // Whether a transaction has begun, before or behind `first`, and whether the server knows of
        // it.
        let mut begun = open.filter(|open| open.multi).map(|_| true);
        for (at, class) in classes().skip(first) {
            let said = Said::of(replies, at);
            let not_executed = match (class, begun) {
                (CommandClass::Multi, None) => {
                    begun = Some(said == Said::Done);
                    true
                }
                (CommandClass::Discard, Some(_)) => begun.take().is_some(),
                (CommandClass::Exec, Some(_)) => begun.take().is_some() && said != Said::Done,
                (_, Some(true)) => true,
                _ => said == Said::NotExecuted,
            };
            if !not_executed {
                return open.map(|_| Self::Lost(replies.len()));
            }
        }
        // A transaction without its end isn't whole, but where nothing of it has come in.
        let is_torn = begun.is_some() && batch.commands().len() > first + 1;
        Some(if open.is_some() || is_torn { Self::Lost(first) } else { Self::From(first) })
    }
}
