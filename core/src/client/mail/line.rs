//! One connection of a subscriber.

use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::task::Context;

use super::mailbox::{Mail, Mailbox, Name, give_back};
use super::{Delivery, Message};
use crate::client::desk::Ended;
use crate::client::error::ServerError;
use crate::client::share::Share;
use crate::command::Topic;
use crate::connection::{CloseReason, Lost, Outcome, Output, SubmitError, Tag};
use crate::event::Event;
use crate::pubsub::{Confirmation, Notice, Tell};
use crate::resp::{Arg, Value};

/// What the server is to know.
struct Task {
    /// Its number on this connection: they are told, and answered, one after the other.
    number: u64,
    /// That of the wish.
    id: u64,
    name: Name,
    told: Told,
}

/// How it stands with a name on a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    NotYet,
    Sent,
    Confirmed,
}

/// The tag of what ends: nobody waits for the answer.
const ENDS: Tag = Tag::MAX;

/// Whether it is known what the server has granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Granted {
    Known,
    /// The server has forgotten the login, and perhaps all else: with the next one it is told again.
    Forgotten,
    /// The server is silent about a subscription.
    Unknown,
}

/// One connection of a subscriber: tells the server what is wanted, and hears it.
///
/// There is one, or two while one takes the place of the other. Who drives them says so when one
/// ends: it was [`lost`](Self::lost), it had [`failed`](Self::failed) to take another's place, or
/// another one [`succeeds`](Self::succeeds) it.
pub struct Line<L: Share<Mail>> {
    mailbox: Arc<Mailbox<L>>,
    /// By number.
    tasks: Vec<Task>,
    /// The number of what it is told next, of what is answered next, and of what comes behind all.
    next: u64,
    answered: u64,
    number: u64,
    /// What comes before this number makes it complete: later wishes must not put that off.
    complete_at: u64,
    /// What is to end, and how much of that was told and not yet answered.
    ends: VecDeque<Name>,
    ending: usize,
    /// Up to which change of the mailbox all was seen, and up to which wish there are tasks.
    changes: u64,
    wishes: u64,
    confirmed: usize,
    granted: Granted,
    logged_in: bool,
    /// Another connection has the same subscriptions, and ends when this one has them.
    replaces: bool,
    to_be_replaced: bool,
    news: bool,
}

impl<L: Share<Mail>> Line<L> {
    /// A connection over a transport that was just opened.
    pub const fn new(mailbox: Arc<Mailbox<L>>) -> Self {
        Self {
            mailbox,
            tasks: Vec::new(),
            next: 0,
            answered: 0,
            number: 0,
            complete_at: 0,
            ends: VecDeque::new(),
            ending: 0,
            changes: 0,
            wishes: 0,
            confirmed: 0,
            granted: Granted::Known,
            logged_in: false,
            replaces: false,
            to_be_replaced: false,
            news: false,
        }
    }

    /// The same, to take the place of one that is [to be replaced](Self::is_to_be_replaced). That
    /// one is to [retire](crate::connection::Connection::retire) when this one
    /// [is settled](Self::is_settled).
    pub fn replacing(mailbox: Arc<Mailbox<L>>) -> Self {
        Self { replaces: true, ..Self::new(mailbox) }
    }

    /// Whether the server has accepted the login.
    pub const fn is_logged_in(&self) -> bool {
        self.logged_in
    }

    /// Whether another connection should take its place: it can't log in again.
    pub const fn is_to_be_replaced(&self) -> bool {
        self.to_be_replaced
    }

    /// Whether it has all that was wanted when it logged in.
    pub fn is_settled(&self) -> bool {
        let waits_for = self.task_at(self.answered);
        self.logged_in
            && self.granted == Granted::Known
            && waits_for.is_none_or(|task| task.number >= self.complete_at)
    }

    /// Whether the server is silent about a subscription. What it is subscribed to isn't known any
    /// more then: it is to be closed as unresponsive.
    pub fn is_unknown(&self) -> bool {
        self.granted == Granted::Unknown
    }

    /// Whether something has changed that who drives it should see.
    pub const fn has_news(&self) -> bool {
        self.news
    }

    /// Notes that who drives it has looked.
    pub const fn seen(&mut self) {
        self.news = false;
    }

    const fn has_subscriptions(&self) -> bool {
        self.confirmed > 0
    }

    /// It has ended, and there is no other one.
    pub fn lost(&self) {
        self.begin_gap();
    }

    /// It has ended before it took the place of another.
    pub fn failed(&self) {
        self.mailbox.set_heir(false);
        if self.has_subscriptions() {
            self.mailbox.notice(Delivery::Settled);
        }
    }

    /// `earlier` has ended for `reason`, and this one takes its place.
    pub fn succeeds(&mut self, earlier: &Self, reason: CloseReason) {
        self.replaces = false;
        self.mailbox.set_heir(false);
        if self.has_subscriptions() {
            self.mailbox.notice(Delivery::Settled);
        }
        // If it has retired, all that was under way was heard.
        if reason != CloseReason::Replaced {
            earlier.begin_gap();
            self.settle();
        }
    }

    /// Finds out what has to be told.
    fn plan(&mut self, changes: u64) {
        self.changes = changes;
        let Self { mailbox, tasks, ends, confirmed, number, wishes, .. } = self;
        tasks.retain(|Task { id, name, told, .. }| {
            let wanted = mailbox.wants(*id, name);
            if !wanted && *told != Told::NotYet {
                *confirmed -= usize::from(*told == Told::Confirmed);
                ends.push_back(name.clone());
            }
            wanted
        });
        give_back(tasks);
        if !self.replaces && mailbox.has_heir() {
            return;
        }
        // All others were seen before.
        let seen = core::mem::replace(wishes, changes);
        mailbox.wanted(|wish| {
            if wish.id > seen {
                let (id, name) = (wish.id, wish.name.clone());
                tasks.push(Task { number: *number, id, name, told: Told::NotYet });
                *number += 1;
            }
        });
    }

    /// The server has accepted a login.
    fn logged_in(&mut self) {
        self.news = true;
        if self.granted == Granted::Forgotten {
            self.granted = Granted::Known;
            self.begin_gap();
            self.ending = 0;
            for task in &mut self.tasks {
                (task.number, task.told) = (self.number, Told::NotYet);
                self.number += 1;
            }
            (self.confirmed, self.complete_at) = (0, self.number);
        }
        if !core::mem::replace(&mut self.logged_in, true) {
            if self.replaces {
                self.mailbox.set_heir(true);
            }
            self.plan(self.mailbox.changes());
            self.complete_at = self.number;
        }
    }

    /// What it was subscribed to has ended.
    fn begin_gap(&self) {
        if self.has_subscriptions() {
            self.mailbox.gap_begins();
        }
    }

    /// The server has ended a subscription that nobody asked it to end, as when a slot of a cluster
    /// moves: it is told again.
    fn ended(&mut self, topic: Topic, name: &[u8]) {
        let is_it = |task: &Task| {
            task.told == Told::Confirmed && task.name.topic == topic && *task.name.name == *name
        };
        let Some(at) = self.tasks.iter().position(is_it) else { return };
        self.mailbox.gap_begins();
        let task = self.tasks.remove(at);
        self.confirmed -= 1;
        self.tasks.push(Task { number: self.number, told: Told::NotYet, ..task });
        self.number += 1;
        self.complete_at = self.number;
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.tasks.binary_search_by(|task| task.number.cmp(&number)).ok()
    }

    /// The first task that has this number or a higher one.
    fn task_at(&self, number: u64) -> Option<&Task> {
        self.tasks.get(self.tasks.partition_point(|task| task.number < number))
    }

    /// What is to be told next, and by which tag it is known.
    fn task(&self) -> Option<(Tag, &Name)> {
        if self.granted != Granted::Known {
            return None;
        }
        if let Some(name) = self.ends.get(self.ending) {
            return Some((ENDS, name));
        }
        self.task_at(self.next).map(|task| (task.number, &task.name))
    }

    /// Tells the server what there is to tell, as much as the connection takes, and has `cx` woken
    /// for more. Says whether it did.
    ///
    /// # Errors
    /// [`Ended::Unneeded`] if nobody reads any more.
    pub fn submit(&mut self, cx: &Context<'_>, tell: &mut Tell<'_>) -> Result<bool, Ended> {
        let changes = self.mailbox.poll_changes(cx).ok_or(Ended::Unneeded)?;
        let planned = changes != self.changes;
        if planned {
            self.plan(changes);
        }
        let mut progress = false;
        while let Some((tag, name)) = self.task() {
            let begins = tag != ENDS;
            let topic = name.topic;
            let command = if begins { topic.subscribes() } else { topic.unsubscribes() };
            let args = [Arg::from(command), Arg::Bytes(&name.name)];
            let refused = match tell(tag, &args) {
                Ok(()) => None,
                Err(SubmitError::Full | SubmitError::Ended) => break,
                Err(error) => {
                    Some(ServerError { code: "ERR".to_owned(), message: error.to_string() })
                }
            };
            progress = true;
            if !begins {
                match refused {
                    None => self.ending += 1,
                    Some(_) => drop(self.ends.remove(self.ending)),
                }
                continue;
            }
            self.next = tag + 1;
            match refused {
                Some(error) => self.refused(tag, error),
                None => {
                    if let Some(task) = self.find(tag).and_then(|at| self.tasks.get_mut(at)) {
                        task.told = Told::Sent;
                    }
                }
            }
        }
        if planned || progress {
            // It may be that nothing is to be waited for any more.
            self.settle();
        }
        Ok(progress)
    }

    /// Hears `output`, and gives events back, which others may want to hear too.
    pub fn output(&mut self, output: Output<'_>) -> Option<Event> {
        match output {
            Output::Push(Ok(value)) => match Notice::of(value) {
                Some(Notice::Message(_)) => self.mailbox.message(Some(Message::new(value))),
                Some(Notice::Confirmation(confirmation)) => self.confirmation(&confirmation),
                None => {}
            },
            Output::Push(Err(_)) => self.mailbox.message(None),
            Output::Reply { tag, reply } => {
                self.reply(tag, reply.ok());
                self.settle();
            }
            // The login is gone: the next one brings it back.
            Output::Lost { lost: Lost { reason: None, outcome: Outcome::NotSent }, .. } => {
                self.forgotten();
            }
            Output::Lost { lost: Lost { reason: None, .. }, .. } => {
                self.granted = Granted::Unknown;
            }
            Output::Lost { .. } => {}
            Output::Event(event) => {
                match event {
                    Event::LoggedIn { .. } | Event::Reauthenticated { .. } => self.logged_in(),
                    Event::ReplacementDue { .. } => {
                        (self.to_be_replaced, self.news) = (true, true);
                    }
                    // The other one has the same.
                    Event::StateLost(_) if self.replaces => return None,
                    Event::StateLost(_) => self.forgotten(),
                    _ => {}
                }
                return Some(event);
            }
        }
        None
    }

    fn reply(&mut self, tag: Tag, reply: Option<Value<'_>>) {
        let error = reply.and_then(|value| value.error());
        if let Some(error) = error
            && error.code() == "NOAUTH"
        {
            return self.forgotten();
        }
        if tag == ENDS {
            if self.ending > 0 {
                self.ending -= 1;
                self.ends.pop_front();
            }
            // It may be another one that has ended, just then.
            if let Some(Notice::Confirmation(confirmation)) = reply.and_then(Notice::of) {
                self.confirmation(&confirmation);
            }
            return;
        }
        self.answered = tag + 1;
        match error {
            Some(error) => self.refused(tag, error.into()),
            None => self.confirmed(tag),
        }
    }

    fn confirmation(&mut self, confirmation: &Confirmation<'_>) {
        if let Confirmation { topic, began: false, name: Some(name), .. } = *confirmation {
            self.ended(topic, name);
        }
    }

    /// The server knows nothing of the login any more.
    fn forgotten(&mut self) {
        if self.granted == Granted::Known {
            self.granted = Granted::Forgotten;
        }
    }

    fn refused(&mut self, number: u64, error: ServerError) {
        if let Some(at) = self.find(number) {
            let Task { id, name, .. } = self.tasks.remove(at);
            self.mailbox.refused(id, &name, error);
        }
    }

    fn confirmed(&mut self, number: u64) {
        let Some(task) = self.find(number).and_then(|at| self.tasks.get_mut(at)) else { return };
        if task.told != Told::Sent {
            return;
        }
        task.told = Told::Confirmed;
        if self.confirmed == 0 && self.replaces {
            self.mailbox.notice(Delivery::Overlap);
        }
        self.confirmed += 1;
        self.mailbox.confirmed(task.id, &task.name);
    }

    /// Tells if that is all. What comes from here on is complete.
    fn settle(&mut self) {
        if self.is_settled() {
            self.mailbox.settled();
            self.news = true;
        }
    }
}

impl<L: Share<Mail>> fmt::Debug for Line<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("subscriptions", &self.confirmed)
            .field("to_be_replaced", &self.to_be_replaced)
            .finish_non_exhaustive()
    }
}
