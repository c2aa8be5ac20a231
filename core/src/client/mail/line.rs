//! One connection of a subscriber.

use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::task::Context;

use super::mailbox::{Mail, Mailbox, Name};
use super::{Delivery, Message};
use crate::client::desk::Ended;
use crate::client::error::ServerError;
use crate::client::share::Share;
use crate::connection::{Output, SubmitError, Tag};
use crate::event::Event;
use crate::pubsub::{Notice, Tell};
use crate::resp::Arg;

/// What the server is to know.
struct Task {
    /// Its number on this connection: they are told one after the other.
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

/// One connection of a subscriber: tells the server what is wanted, and hears it.
///
/// There is one, or two while one takes the place of the other. Who drives them says so when one
/// ends: it was [`lost`](Self::lost), it had [`failed`](Self::failed) to take another's place, or
/// another one [`succeeds`](Self::succeeds) it.
pub struct Line<L: Share<Mail>> {
    mailbox: Arc<Mailbox<L>>,
    /// By number.
    tasks: Vec<Task>,
    /// The number of what it is told next, and of what comes behind all.
    next: u64,
    number: u64,
    /// What is to end.
    ends: VecDeque<Name>,
    /// Up to which change of the mailbox that is all.
    changes: u64,
    confirmed: usize,
    logged_in: bool,
    /// Another connection has the same subscriptions, and ends when this one has them.
    replaces: bool,
    to_be_replaced: bool,
    unknown: bool,
    news: bool,
}

impl<L: Share<Mail>> Line<L> {
    /// A connection over a transport that was just opened.
    pub const fn new(mailbox: Arc<Mailbox<L>>) -> Self {
        Self {
            mailbox,
            tasks: Vec::new(),
            next: 0,
            number: 0,
            ends: VecDeque::new(),
            changes: 0,
            confirmed: 0,
            logged_in: false,
            replaces: false,
            to_be_replaced: false,
            unknown: false,
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

    /// Whether it has all that is wanted.
    pub fn is_settled(&self) -> bool {
        self.logged_in
            && self.ends.is_empty()
            && self.confirmed == self.tasks.len()
            && self.changes == self.mailbox.changes()
    }

    /// Whether the server is silent about a subscription. What it is subscribed to isn't known any
    /// more then: it is to be closed as unresponsive.
    pub const fn is_unknown(&self) -> bool {
        self.unknown
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
        if self.has_subscriptions() {
            self.mailbox.gap_begins();
        }
    }

    /// It has ended before it took the place of another.
    pub fn failed(&self) {
        if self.has_subscriptions() {
            self.mailbox.notice(Delivery::Settled);
        }
    }

    /// `earlier` has ended, and this one takes its place.
    pub fn succeeds(&mut self, earlier: &Self) {
        self.replaces = false;
        if self.has_subscriptions() {
            self.mailbox.notice(Delivery::Settled);
        }
        if !self.is_settled() && earlier.has_subscriptions() {
            self.mailbox.gap_begins();
        }
    }

    /// Finds out what has to be told.
    fn plan(&mut self, changes: u64) {
        let before = core::mem::replace(&mut self.changes, changes);
        let Self { mailbox, tasks, ends, confirmed, number, .. } = self;
        tasks.retain(|Task { id, name, told, .. }| {
            let wanted = mailbox.wants(*id, name);
            if !wanted && *told != Told::NotYet {
                *confirmed -= usize::from(*told == Told::Confirmed);
                ends.push_back(name.clone());
            }
            wanted
        });
        // All others were seen before.
        mailbox.wanted(|wish| {
            if wish.id > before {
                let (id, name) = (wish.id, wish.name.clone());
                tasks.push(Task { number: *number, id, name, told: Told::NotYet });
                *number += 1;
            }
        });
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.tasks.binary_search_by(|task| task.number.cmp(&number)).ok()
    }

    /// What is to be told next, and by which tag it is known.
    fn task(&self) -> Option<(Tag, &Name)> {
        if let Some(name) = self.ends.front() {
            return Some((ENDS, name));
        }
        let next = self.tasks.partition_point(|task| task.number < self.next);
        self.tasks.get(next).map(|task| (task.number, &task.name))
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
                self.ends.pop_front();
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
            Output::Push(Ok(value)) => {
                if let Some(Notice::Message(_)) = Notice::of(value) {
                    self.mailbox.message(Some(Message::new(value)));
                }
            }
            Output::Push(Err(_)) => self.mailbox.message(None),
            Output::Reply { tag, reply } => {
                match reply.ok().and_then(|value| value.error()) {
                    _ if tag == ENDS => {}
                    Some(error) => self.refused(tag, error.into()),
                    None => self.confirmed(tag),
                }
                self.settle();
            }
            Output::Lost { lost, .. } => self.unknown |= lost.reason.is_none(),
            Output::Event(event) => {
                match event {
                    Event::LoggedIn { .. } => (self.logged_in, self.news) = (true, true),
                    Event::ReplacementDue { .. } => {
                        (self.to_be_replaced, self.news) = (true, true);
                    }
                    _ => {}
                }
                return Some(event);
            }
        }
        None
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

    /// Tells if that was all. What comes from here on is complete.
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
