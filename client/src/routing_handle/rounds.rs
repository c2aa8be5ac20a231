//! What a pipeline consists of, and where its replies are.

use alloc::vec::Vec;
use core::ops::Range;

use super::goal::{Goal, is_error, may_be_sent};
use crate::command_queue::{Batch, Failure, Replies};
use crate::error::Error;
use crate::recent::clear;
use crate::router::{Place, slot_of};
use redis_entraid_core::cluster::{Attempts, Route, Slot};
use redis_entraid_core::command::CommandClass;
use redis_entraid_core::resp::{ErrorReply, Value};
use redis_entraid_core::storage::Recent;

/// A pipeline, and where its replies are.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    pub(super) commands: Vec<Command>,
    /// What came, each time that something was sent to a place.
    pub(super) replies: Vec<Replies>,
    /// Kept for their room.
    pub(super) spare: Vec<Replies>,
    /// Those that are sent in this round, by their numbers.
    pub(super) current: Vec<usize>,
    /// Where to.
    pub(super) places: Vec<Place>,
    /// A transaction that isn't whole, and commands that are sent again.
    pub(super) aside: Batch,
    pub(super) recent: Recent,
    /// So many commands that are no pipeline are to come until its memory is given back. None if that is done.
    pub(super) left: u8,
}

/// A command of a pipeline.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) class: CommandClass,
    /// The number of the first command of its unit: what lies between `WATCH` or `MULTI` and the end of that, or it
    /// alone.
    pub(super) unit: usize,
    /// That of its unit.
    pub(super) route: Route,
    /// Where it was sent last.
    pub(super) goal: Goal,
    /// Its number in what was sent there, and where its bytes begin.
    pub(super) at: (usize, usize),
    /// Where its reply is.
    pub(super) reply: (usize, usize),
    /// How often it was sent, of the first one of a unit, if that is more than once.
    pub(super) attempts: Option<Attempts>,
}

impl Command {
    pub(super) const fn new(class: CommandClass, unit: usize, goal: Goal) -> Self {
        let nowhere = (0, 0);
        Self {
            class,
            unit,
            route: Route::AnyPrimary,
            goal,
            at: nowhere,
            reply: nowhere,
            attempts: None,
        }
    }
}

/// After so many commands that are no pipeline, no memory is kept for one.
const IDLE: u8 = 16;

impl Rounds {
    pub(super) const fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn pick(&self, at: usize) -> Result<Value<'_>, Error> {
        let command = self.commands.get(at).ok_or(Error::Closed)?;
        let replies = self.replies.get(command.reply.0).ok_or(Error::Closed)?;
        replies.pick(command.reply.1)
    }

    pub(super) fn clear(&mut self) {
        let Self { commands, replies, spare, current, places, aside, recent, left } = self;
        *left = IDLE;
        recent.used(commands.len(), size_of_val(&**commands));
        clear(*recent, commands);
        clear(*recent, current);
        places.clear();
        aside.clear();
        for mut replies in replies.drain(..) {
            replies.clear();
            spare.push(replies);
        }
    }

    /// There is one reply in the place of all.
    pub(super) fn become_one(&mut self, reply: Replies) {
        self.clear();
        self.replies.push(reply);
        self.commands.push(Command::new(CommandClass::Plain, 0, Goal::at(Place::Home)));
    }

    /// Another command came, which is no pipeline: after some, memory is given back.
    pub(super) fn rest(&mut self) {
        match self.left {
            0 => return,
            IDLE => self.clear(),
            _ => {}
        }
        self.left -= 1;
        if self.left == 0 {
            *self = Self::default();
        }
    }

    /// For how many bytes there is memory.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        let all = self.replies.iter().chain(&self.spare);
        self.commands.capacity() * size_of::<Command>()
            + all.map(|replies| replies.bytes.capacity()).sum::<usize>()
    }

    pub(super) fn raw(&self, at: usize) -> Result<&[u8], Option<&Failure>> {
        let (number, at) = self.commands.get(at).map(|command| command.reply).ok_or(None)?;
        self.replies.get(number).ok_or(None)?.get(at)
    }

    /// The commands of the unit that begins with the number `at`.
    pub(super) fn unit(&self, at: usize) -> Range<usize> {
        let all = self.commands.get(at..).unwrap_or_default();
        at..at + all.iter().take_while(|command| command.unit == at).count()
    }

    /// Whether nothing that was open before, or stays open, belongs to a unit: it means the same on another connection.
    pub(super) fn is_whole(&self, unit: &Range<usize>) -> bool {
        let [first, last] = [Some(unit.start), unit.end.checked_sub(1)]
            .map(|at| at.and_then(|at| self.commands.get(at)).map(|command| command.class));
        unit.len() == 1 || (first, last) == (Some(CommandClass::Multi), Some(CommandClass::Exec))
    }

    /// The slots whose commands have to be executed in order, by the route of a unit; none is that of what has no key.
    pub(super) fn order(&self, unit: &Range<usize>) -> Option<Option<Slot>> {
        match self.commands.get(unit.start)?.route {
            Route::Unknown => None,
            route => slot_of(route).ok(),
        }
    }

    /// What a unit waits for that may be sent again. Nothing if it has its answer.
    pub(super) fn unanswered(&self, unit: Range<usize>) -> Option<Unanswered> {
        let last = unit.end.checked_sub(1)?;
        // What waits at home has waited as long as it may.
        let is_home = self.commands.get(last)?.goal.place == Place::Home;
        // If it was never sent, nothing of its transaction was executed.
        match self.raw(last) {
            Err(failure) => {
                (!is_home && failure.is_some_and(may_be_sent)).then_some(Unanswered::Lost)
            }
            Ok(raw) if !is_error(raw) => None,
            Ok(_) => unit.into_iter().all(|at| self.raw(at).is_ok()).then_some(Unanswered::Refused),
        }
    }

    /// The error that a command got.
    pub(super) fn error(&self, at: usize) -> Option<ErrorReply<'_>> {
        Value::framed(self.raw(at).ok()?).error()
    }

    /// The replies to a unit.
    pub(super) fn values(&self, unit: Range<usize>) -> impl Iterator<Item = Value<'_>> {
        unit.filter_map(|at| self.raw(at).ok().map(Value::framed))
    }
}

/// Why a command or a transaction may be sent again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    Refused,
    Lost,
}
