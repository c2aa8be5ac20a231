//! Where a command goes next that a node didn't execute.

use core::time::Duration;

use super::{Last, RoutingHandle, suspect};
use crate::command_queue::{Failure, QueueState};
use crate::error::Error;
use crate::lock::Lock;
use crate::router::{Place, RouterHost, named};
use redis_entraid_core::cluster::{Attempts, Next, RedirectPolicy, To};
use redis_entraid_core::connection::Outcome;
use redis_entraid_core::policy::{Backoff, Jitter};
use redis_entraid_core::resp::{Arg, ErrorReply, Redirect, Value};
use redis_entraid_core::time::Instant;

/// Where a command goes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Goal {
    pub(super) place: Place,
    /// Behind an `ASKING`.
    pub(super) is_asking: bool,
    /// When another connection has taken the place of the one that there is.
    pub(super) renews: bool,
}

impl Goal {
    pub(super) const fn at(place: Place) -> Self {
        Self { place, is_asking: false, renews: false }
    }
}

/// The longest wait from one attempt to the next: so long is a command late when a cluster has changed.
const MAX_WAIT: Duration = Duration::from_millis(200);

/// Mostly the time limit of a command ends its attempts.
const MAX_ATTEMPTS: u32 = 60;

/// How often a command was sent.
#[derive(Clone, Debug)]
pub(super) struct Tries {
    pub(super) attempts: Attempts,
    /// It waits for a connection until then.
    by: Instant,
    policy: RedirectPolicy,
    jitter: Jitter,
}

impl Tries {
    /// Before the first one.
    pub(super) fn new(attempts: Attempts, by: Instant, seed: u64) -> Self {
        let policy = RedirectPolicy { max_attempts: MAX_ATTEMPTS, ..RedirectPolicy::default() };
        let policy =
            RedirectPolicy { backoff: Backoff { max: MAX_WAIT, ..policy.backoff }, ..policy };
        Self { attempts, by, policy, jitter: Jitter::new(seed) }
    }

    /// What becomes of a command that got `error`.
    pub(super) fn refused<'a>(&mut self, now: Instant, error: &ErrorReply<'a>) -> Next<'a> {
        let Self { attempts, policy, jitter, .. } = self;
        attempts.refused(now, policy, jitter, error)
    }

    /// What becomes of a transaction.
    pub(super) fn aborted<'a>(
        &mut self,
        now: Instant,
        replies: impl Iterator<Item = Value<'a>>,
    ) -> Next<'a> {
        let Self { attempts, policy, jitter, .. } = self;
        attempts.aborted(now, policy, jitter, replies)
    }

    /// What becomes of what was lost before it was sent.
    pub(super) fn lost(&mut self, now: Instant) -> Next<'static> {
        let Self { attempts, policy, jitter, .. } = self;
        attempts.lost(now, policy, jitter, Outcome::NotSent)
    }
}

/// Whether a reply may say that the command is to be sent again.
pub(super) fn is_error(raw: &[u8]) -> bool {
    matches!(raw.first(), Some(b'-' | b'!'))
}

/// Whether an error sends the command to another node.
pub(super) fn is_elsewhere(error: &ErrorReply<'_>) -> bool {
    matches!(error.redirect(), Some(Redirect::Moved(_) | Redirect::Ask(_)))
}

/// Whether a node of a cluster says by `error` that it hasn't executed a command, for a reason that may pass.
pub(super) fn is_refusal(error: &ErrorReply<'_>) -> bool {
    error.redirect().is_some() || matches!(error.code(), "LOADING" | "MASTERDOWN" | "READONLY")
}

/// What may be sent again: it wasn't sent, and the connection doesn't say that it never will be.
pub(super) fn may_be_sent(failure: &Failure) -> bool {
    match failure {
        Failure::Lost(lost) | Failure::Broke(lost, _) => lost.outcome == Outcome::NotSent,
        Failure::Unavailable(Some(Error::Closed)) => true,
        _ => false,
    }
}

impl<L: Lock<QueueState>> RoutingHandle<L> {
    /// Whether the last reply is not the command's answer, or may not be.
    pub(super) fn is_refused(&self) -> bool {
        let Last::Handle(place, first) = self.last else { return false };
        match self.at(place).raw(first) {
            Ok(raw) => is_error(raw),
            Err(failure) => place != Place::Home && failure.is_some_and(may_be_sent),
        }
    }

    /// When and where a command goes whose last reply may not be its answer.
    pub(super) fn next(
        &mut self,
        now: Instant,
        host: &impl RouterHost<L>,
        goal: Goal,
        args: &[Arg<'_>],
        tries: &mut Tries,
    ) -> Option<(Instant, Goal)> {
        let handle = self.at(goal.place);
        let next = match handle.reply(usize::from(goal.is_asking)) {
            Some(reply) => {
                let error = reply.error()?;
                if !self.concerns(&error) {
                    return None;
                }
                tries.refused(now, &error)
            }
            None => tries.lost(now),
        };
        let (at, goal) = self.way(now, host, goal, next, tries.by)?;
        match goal {
            Some(goal) => Some((at, goal)),
            None => Some((at, Goal::at(self.place(now, host, args)?))),
        }
    }

    /// The same for one that couldn't be queued.
    pub(super) fn next_after(
        &mut self,
        now: Instant,
        host: &impl RouterHost<L>,
        goal: Goal,
        args: &[Arg<'_>],
        error: &Error,
        tries: &mut Tries,
    ) -> Option<(Instant, Goal)> {
        if !matches!(error, Error::Closed) {
            return None;
        }
        host.router().lock().forget(goal.place);
        let (at, _) = self.way(now, host, goal, tries.lost(now), tries.by)?;
        Some((at, Goal::at(self.place(now, host, args)?)))
    }

    /// Whether an error is one of a cluster's: if none is known, only a redirection is.
    pub(super) fn concerns(&self, error: &ErrorReply<'_>) -> bool {
        self.home.queue().is_cluster() || is_elsewhere(error)
    }

    /// Has the own connection made anew if the last reply says that another server is behind its address by now: for who
    /// sends the command again.
    pub(super) fn renew_home(&self, now: Instant) {
        let all = 0..self.home.replies();
        let moved = all.filter_map(|at| match self.home.reply(at)?.error()?.redirect()? {
            Redirect::Moved(node) => Some(node),
            _ => None,
        });
        let is_here = moved
            .into_iter()
            .any(|node| self.home.queue().is_at(named(node.address), node.port, true));
        if is_here {
            // If it is too early, there was one lately.
            let _ = self.home.renew(now);
        }
    }

    /// When and where a command goes that was refused at `goal`, by what is `next`: without a goal, where the map says
    /// then. Nowhere if it isn't sent again, or not before its time is over.
    pub(super) fn way(
        &self,
        now: Instant,
        host: &impl RouterHost<L>,
        goal: Goal,
        next: Next<'_>,
        by: Instant,
    ) -> Option<(Instant, Option<Goal>)> {
        let Next::Send { at, to } = next else { return None };
        let redirected = |node, is_moved| {
            let (place, todo) = host.router().lock().redirected(now, goal.place, node, is_moved);
            todo.done(host);
            place
        };
        let goal = match to {
            To::Moved(node) => match redirected(&node, true)? {
                place if place == goal.place => match self.at(place).renew(now) {
                    Ok(()) => Goal::at(place),
                    Err(early) if early < by => {
                        return Some((
                            at.max(early),
                            Some(Goal { renews: true, ..Goal::at(place) }),
                        ));
                    }
                    Err(_) => return None,
                },
                place => Goal::at(place),
            },
            To::Asking(node) => Goal { is_asking: true, ..Goal::at(redirected(&node, false)?) },
            To::Same { asking } => Goal { is_asking: asking, ..goal },
            To::Map => {
                suspect(host, now);
                return Some((at, None));
            }
        };
        Some((at, Some(goal)))
    }
}
