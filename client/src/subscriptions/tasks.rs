//! What a server is to know on one connection, and how far that is.

use alloc::vec::Vec;

use super::subscription_state::{Name, give_back};
use redis_entraid_core::command::Topic;

/// What the server is to know.
pub(super) struct Task {
    /// Its number on this connection: they are sent, and answered, in order.
    pub(super) number: u64,
    /// The number under which it was given to the connection's node.
    pub(super) placed: u64,
    pub(super) name: Name,
    pub(super) told: Told,
    /// The server has granted it, and hasn't ended it.
    held: bool,
}

/// How it stands with a name on a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    NotYet,
    Sent,
    Confirmed,
}

/// The tasks of a connection.
#[derive(Default)]
pub(super) struct Tasks {
    /// By number.
    list: Vec<Task>,
    /// The numbers of the next one to send, of the next one to be answered, and of the next new one.
    next: u64,
    answered: u64,
    number: u64,
    /// What comes before this number makes it complete: later wishes must not put that off.
    complete_at: u64,
    confirmed: usize,
}

impl Tasks {
    pub(super) const fn new() -> Self {
        let list = Vec::new();
        Self { list, next: 0, answered: 0, number: 0, complete_at: 0, confirmed: 0 }
    }

    /// How many are confirmed.
    pub(super) const fn confirmed(&self) -> usize {
        self.confirmed
    }

    pub(super) fn add(&mut self, placed: u64, name: Name) {
        self.push(placed, name, false);
    }

    fn push(&mut self, placed: u64, name: Name, held: bool) {
        self.list.push(Task { number: self.number, placed, name, told: Told::NotYet, held });
        self.number += 1;
    }

    /// The server is asked once more for one that it has granted: it may have ended it and say nothing.
    pub(super) fn check(&mut self, placed: u64) {
        let is_it = |task: &Task| task.placed == placed && task.told == Told::Confirmed;
        if let Some(at) = self.list.iter().position(is_it) {
            let Task { placed, name, held, .. } = self.list.remove(at);
            self.push(placed, name, held);
        }
    }

    /// What the server has granted.
    pub(super) fn held(&self) -> impl Iterator<Item = (u64, &Name)> {
        self.list.iter().filter(|task| task.held).map(|task| (task.placed, &task.name))
    }

    /// Forgets what isn't `wanted` any more. What was told of it is to `end`.
    pub(super) fn keep(&mut self, wanted: impl Fn(u64, &Name) -> bool, mut end: impl FnMut(&Name)) {
        let confirmed = &mut self.confirmed;
        self.list.retain(|Task { placed, name, told, held, .. }| {
            let wanted = wanted(*placed, name);
            *confirmed -= usize::from(!wanted && *held);
            if !wanted && (*held || *told != Told::NotYet) {
                end(name);
            }
            wanted
        });
        give_back(&mut self.list);
    }

    /// What there is by now makes it complete.
    pub(super) const fn complete_here(&mut self) {
        self.complete_at = self.number;
    }

    /// Whether all is answered that makes it complete.
    pub(super) fn is_complete(&self) -> bool {
        self.at(self.answered).is_none_or(|task| task.number >= self.complete_at)
    }

    /// The first task that has this number or a higher one.
    fn at(&self, number: u64) -> Option<&Task> {
        self.list.get(self.list.partition_point(|task| task.number < number))
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.list.binary_search_by(|task| task.number.cmp(&number)).ok()
    }

    /// The one with this number.
    pub(super) fn get(&self, number: u64) -> Option<&Task> {
        self.find(number).and_then(|at| self.list.get(at))
    }

    /// The next one to send.
    pub(super) fn next(&self) -> Option<&Task> {
        self.at(self.next)
    }

    /// Something that the server has granted.
    pub(super) fn granted(&self) -> Option<&Name> {
        self.held().next().map(|(_, name)| name)
    }

    /// This one was told, or can't be.
    pub(super) fn told(&mut self, number: u64) {
        self.next = number + 1;
        if let Some(task) = self.find(number).and_then(|at| self.list.get_mut(at)) {
            task.told = Told::Sent;
        }
    }

    /// This one is answered.
    pub(super) const fn answered(&mut self, number: u64) {
        self.answered = number + 1;
    }

    pub(super) fn confirm(&mut self, number: u64) -> Option<&Task> {
        let at = self.find(number)?;
        let task = self.list.get_mut(at).filter(|task| task.told == Told::Sent)?;
        task.told = Told::Confirmed;
        self.confirmed += usize::from(!core::mem::replace(&mut task.held, true));
        Some(task)
    }

    /// Takes one out that was refused.
    pub(super) fn refuse(&mut self, number: u64) -> Option<Task> {
        let task = self.find(number).map(|at| self.list.remove(at))?;
        self.confirmed -= usize::from(task.held);
        Some(task)
    }

    /// All are sent again.
    pub(super) fn again(&mut self) {
        for task in &mut self.list {
            (task.number, task.told, task.held) = (self.number, Told::NotYet, false);
            self.number += 1;
        }
        self.confirmed = 0;
        self.complete_here();
    }

    /// The server has ended this one. If that was not requested, as when a slot of a cluster moves, it is
    /// told again. Returns the number under which it was given to the node.
    pub(super) fn ended(&mut self, topic: Topic, name: &[u8]) -> Option<(u64, Name)> {
        let is_it = |task: &Task| task.held && task.name.topic == topic && *task.name.name == *name;
        let at = self.list.iter().position(is_it)?;
        let task = self.list.get_mut(at)?;
        task.held = false;
        self.confirmed -= 1;
        let (placed, name) = (task.placed, task.name.clone());
        // One that it is being asked for again, it will be asked for.
        if task.told == Told::Confirmed {
            self.list.remove(at);
            self.add(placed, name.clone());
        }
        self.complete_here();
        Some((placed, name))
    }
}
