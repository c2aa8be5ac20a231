//! Commands with keys in several slots that mean the same in parts: `DEL`, `EXISTS`, `MGET`, `MSET`, `TOUCH`, `UNLINK`.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Last, RoutingHandle};
use crate::command_queue::{Failure, QueueState, Replies};
use crate::error::Error;
use crate::lock::Lock;
use crate::router::RouterHost;
use redis_entraid_core::cluster::{Merge, Slot, keys};
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::time::Timer;

/// A part of a command, and the numbers of its keys in the whole.
#[derive(Default)]
struct Part<'c> {
    words: Vec<Arg<'c>>,
    keys: Vec<usize>,
}

impl<L: Lock<QueueState>> RoutingHandle<L> {
    /// Executes a command whose keys may be in several slots in a part for each of them, side by side. Its reply is
    /// number 0. A command that can't be divided is executed as it is.
    ///
    /// # Errors
    /// [`Error`] if nothing was sent.
    pub async fn execute_divided(
        &mut self,
        timer: &impl Timer,
        slice: impl Fn() -> Duration,
        limit: Option<Duration>,
        args: &[Arg<'_>],
        host: &impl RouterHost<L>,
    ) -> Result<(), Error> {
        let Some((merge, parts)) = divided(args).filter(|(_, parts)| parts.len() > 1) else {
            return self.execute(timer, slice, limit, args, Some(host)).await;
        };
        let commands = parts.iter().map(|part| &part.words);
        self.execute_all(timer, limit, commands, Some(host)).await?;
        let replies = (0..parts.len()).map(|at| self.pick_or_fail(at));
        let merged = merged(merge, &parts, replies);
        let mut whole = Replies::default();
        match merged {
            Ok(reply) => whole.reply(&reply),
            Err(failure) => whole.fail(failure),
        }
        self.rounds.become_one(whole);
        self.last = Last::Rounds;
        Ok(())
    }

    /// The reply number `at`, be it an error of the server.
    fn pick_or_fail(&self, at: usize) -> Result<Value<'_>, Failure> {
        let raw = match self.last {
            Last::Rounds => self.rounds.raw(at),
            Last::Handle(place, first) => self.at(place).raw(first + at),
            Last::CrossSlot => return Err(Failure::CrossSlot),
        };
        match raw {
            Ok(raw) => Ok(Value::framed(raw)),
            Err(failure) => Err(failure.cloned().unwrap_or(Failure::Unavailable(None))),
        }
    }
}

/// The parts of a command, one for each slot, and how their replies become one.
fn divided<'c>(args: &'c [Arg<'c>]) -> Option<(Merge, Vec<Part<'c>>)> {
    let keys = keys(args)?;
    let merge = keys.divides()?;
    let name = args.first()?;
    let mut parts = BTreeMap::<Slot, Part<'c>>::new();
    let mut keys = keys.enumerate().peekable();
    while let Some((number, (at, key))) = keys.next() {
        let end = keys.peek().map_or(args.len(), |(_, (next, _))| *next);
        let part = parts.entry(Slot::of_arg(&key)).or_default();
        if part.words.is_empty() {
            part.words.push(*name);
        }
        part.words.extend_from_slice(args.get(at..end)?);
        part.keys.push(number);
    }
    Some((merge, parts.into_values().collect()))
}

/// The reply to the whole: the first one that is an error, or all of them.
fn merged<'r>(
    merge: Merge,
    parts: &[Part<'_>],
    replies: impl Iterator<Item = Result<Value<'r>, Failure>>,
) -> Result<Vec<u8>, Failure> {
    let replies = replies.collect::<Result<Vec<_>, _>>()?;
    if let Some(error) = replies.iter().find(|reply| reply.error().is_some()) {
        return Ok(error.raw().to_vec());
    }
    let mut whole = Vec::new();
    match merge {
        Merge::Sum => {
            let sum = replies.iter().map(|reply| reply.int().unwrap_or_default());
            let sum = sum.fold(0_i64, i64::saturating_add);
            whole.extend_from_slice(alloc::format!(":{sum}\r\n").as_bytes());
        }
        Merge::InPlace => {
            let mut items = BTreeMap::new();
            for (part, reply) in parts.iter().zip(&replies) {
                items.extend(part.keys.iter().zip(reply.items()));
            }
            whole.extend_from_slice(alloc::format!("*{}\r\n", items.len()).as_bytes());
            items.values().for_each(|item| whole.extend_from_slice(item.raw()));
        }
        _ => whole.extend_from_slice(replies.first().map(Value::raw).unwrap_or_default()),
    }
    Ok(whole)
}
