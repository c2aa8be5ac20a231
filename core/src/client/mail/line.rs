//! One connection of a subscriber.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::ToString;
use alloc::sync::Arc;
use core::fmt;
use core::task::Context;

use super::mailbox::{Mail, Mailbox, Name};
use super::{Delivery, Message};
use crate::client::desk::Ended;
use crate::client::error::ServerError;
use crate::client::share::Share;
use crate::command::Topic;
use crate::connection::{Output, SubmitError, Tag};
use crate::event::Event;
use crate::pubsub::Notice;
use crate::resp::Arg;

/// How it stands with a name on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    NotYet,
    Sent,
    Confirmed,
}

/// One connection of a subscriber: tells the server what is wanted, and hears it.
///
/// There is one, or two while one takes the place of the other. Who drives them says so when one
/// ends: it was [`lost`](Self::lost), it had [`failed`](Self::failed) to take another's place, or
/// another one [`succeeds`](Self::succeeds) it.
pub struct Line<L: Share<Mail>> {
    mailbox: Arc<Mailbox<L>>,
    /// What the server is to know, by the number of the wish.
    names: BTreeMap<u64, (Name, Told)>,
    /// What of that it is told next: later wishes have higher numbers.
    next: u64,
    /// What is to end.
    ends: VecDeque<(u64, Name)>,
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

/// Gives a command to the connection: see
/// [`Connection::submit`](crate::connection::Connection::submit).
pub type Tell<'s> = dyn FnMut(Tag, &[Arg<'_>]) -> Result<(), SubmitError> + 's;

impl<L: Share<Mail>> Line<L> {
    /// A connection over a transport that was just opened.
    pub const fn new(mailbox: Arc<Mailbox<L>>) -> Self {
        Self {
            mailbox,
            names: BTreeMap::new(),
            next: 0,
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
            && self.confirmed == self.names.len()
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
        self.changes = changes;
        let Self { mailbox, names, ends, confirmed, .. } = self;
        names.retain(|id, (name, told)| {
            let wanted = mailbox.wants(*id, name);
            if !wanted && *told != Told::NotYet {
                *confirmed -= usize::from(*told == Told::Confirmed);
                ends.push_back((*id, name.clone()));
            }
            wanted
        });
        mailbox.wanted(|id, name| {
            names.entry(id).or_insert_with(|| (name.clone(), Told::NotYet));
        });
    }

    /// What is to be told next, and whether it begins.
    fn task(&self) -> Option<(u64, &Name, bool)> {
        if let Some((id, name)) = self.ends.front() {
            return Some((*id, name, false));
        }
        let (id, (name, _)) = self.names.range(self.next..).next()?;
        Some((*id, name, true))
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
        while let Some((id, name, begins)) = self.task() {
            let command = match (name.topic, begins) {
                (Topic::Channel, true) => "SUBSCRIBE",
                (Topic::Pattern, true) => "PSUBSCRIBE",
                (Topic::Shard, true) => "SSUBSCRIBE",
                (Topic::Channel, false) => "UNSUBSCRIBE",
                (Topic::Pattern, false) => "PUNSUBSCRIBE",
                (Topic::Shard, false) => "SUNSUBSCRIBE",
            };
            let args = [Arg::from(command), Arg::Bytes(&name.name)];
            let refused = match tell(id << 1 | u64::from(begins), &args) {
                Ok(()) => None,
                Err(SubmitError::Full | SubmitError::Ended) => break,
                Err(error) => {
                    Some(ServerError { code: "ERR".to_owned(), message: error.to_string() })
                }
            };
            progress = true;
            if let Some(error) = refused {
                self.mailbox.refused(name, error);
                self.names.remove(&id);
            } else if let Some((_, told)) = self.names.get_mut(&id) {
                *told = Told::Sent;
            }
            if begins {
                self.next = id + 1;
            } else {
                self.ends.pop_front();
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
                let (id, began) = (tag >> 1, tag & 1 == 1);
                match reply.ok().and_then(|value| value.error()) {
                    Some(error) if began => {
                        if let Some((name, _)) = self.names.remove(&id) {
                            self.mailbox.refused(&name, error.into());
                            self.settle();
                        }
                    }
                    _ if began => self.confirmed(id),
                    _ => self.settle(),
                }
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

    fn confirmed(&mut self, id: u64) {
        let Some((name, told @ Told::Sent)) = self.names.get_mut(&id) else { return };
        *told = Told::Confirmed;
        if self.confirmed == 0 && self.replaces {
            self.mailbox.notice(Delivery::Overlap);
        }
        self.confirmed += 1;
        self.mailbox.confirmed(name);
        self.settle();
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
