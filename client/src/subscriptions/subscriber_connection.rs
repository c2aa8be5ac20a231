//! One connection of a subscriber.

use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::sync::Arc;
use core::fmt;
use core::task::Context;

use super::Message;
use super::shards::{Refused, SubscriberNode};
use super::subscription_hub::SubscriptionHub;
use super::subscription_state::{Name, SubscriptionState};
use super::tasks::{Task, Tasks};
use crate::command_dispatcher::Ended;
use crate::error::ServerError;
use crate::lock::Lock;
use redis_entraid_core::args;
use redis_entraid_core::connection::{CloseReason, Lost, Outcome, Output, SubmitError, Tag};
use redis_entraid_core::event::Event;
use redis_entraid_core::listener::Tell;
use redis_entraid_core::pubsub::{Confirmation, Notice};
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::time::Instant;

/// The tag of what ends: no caller waits for the answer.
const ENDS: Tag = Tag::MAX;

/// The tag of a subscription that is sent a second time, to know what was published before its answer.
const BARRIER: Tag = Tag::MAX - 1;

/// The tag of the request for the map of a cluster.
const MAP: Tag = Tag::MAX - 2;

/// What it is beside another connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// There is no other one, or one that is to take its place.
    First,
    /// It takes the place of another, which ends when this one has its subscriptions. That they
    /// overlap was said, or not yet.
    Replaces { said: bool },
    /// The other one has ended, and this one has stayed. What both were sent may still be under way
    /// here: the server is asked something whose answer comes behind it.
    Settles { asked: bool },
}

/// Whether it is known what the server has granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Granted {
    Known,
    /// The server has forgotten the login, and perhaps all else: with the next one it is told again.
    Forgotten,
    /// The server is silent about a subscription.
    Unknown,
}

/// One connection of a subscriber: sends subscriptions, and receives messages.
///
/// There is one, or two while one takes the place of the other. Who drives them says so when one
/// ends: it was [`lost`](Self::lost), another one [`outlives`](Self::outlives) it, whose place it
/// was to take, or another one [`succeeds`](Self::succeeds) it.
pub struct SubscriberConnection<L: Lock<SubscriptionState>> {
    hub: Arc<SubscriptionHub<L>>,
    /// What it leads to.
    node: SubscriberNode,
    tasks: Tasks,
    /// What is to end, and how much of that was told and not yet answered.
    ends: VecDeque<Name>,
    ending: usize,
    /// Up to which change of the hub all was seen, and up to which wish there are tasks.
    changes: u64,
    wishes: u64,
    granted: Granted,
    place: Place,
    logged_in: bool,
    to_be_replaced: bool,
    news: bool,
    /// When there is something to do for all nodes.
    deadline: Instant,
    /// What had ended is granted again, and that wasn't told yet.
    gap: bool,
    /// The map of the cluster is to be asked for.
    asks: bool,
    is_stale: bool,
}

impl<L: Lock<SubscriptionState>> SubscriberConnection<L> {
    /// A connection over a transport that was just opened.
    pub const fn new(hub: Arc<SubscriptionHub<L>>) -> Self {
        Self {
            hub,
            node: SubscriberNode::HOME,
            tasks: Tasks::new(),
            ends: VecDeque::new(),
            ending: 0,
            changes: 0,
            wishes: 0,
            granted: Granted::Known,
            place: Place::First,
            logged_in: false,
            to_be_replaced: false,
            news: false,
            deadline: Instant::FAR_FUTURE,
            gap: false,
            asks: false,
            is_stale: false,
        }
    }

    /// The same for the connection to `node`, for its shard channels.
    #[must_use]
    pub fn at(self, node: SubscriberNode) -> Self {
        Self { node, ..self }
    }

    /// The same, to take the place of one that is [to be replaced](Self::is_to_be_replaced). That
    /// one is to [retire](redis_entraid_core::connection::Connection::retire) when this one
    /// [is settled](Self::is_settled).
    pub fn replacing(hub: Arc<SubscriptionHub<L>>) -> Self {
        Self { place: Place::Replaces { said: false }, ..Self::new(hub) }
    }

    /// Whether the server has accepted the login.
    pub const fn is_logged_in(&self) -> bool {
        self.logged_in
    }

    /// Whether another connection should take its place: it can't log in again.
    pub const fn is_to_be_replaced(&self) -> bool {
        self.to_be_replaced
    }

    /// Whether another one still serves, whose place it is to take.
    pub const fn replaces(&self) -> bool {
        matches!(self.place, Place::Replaces { .. })
    }

    /// Whether it has all that was wanted when it logged in.
    pub fn is_settled(&self) -> bool {
        self.logged_in && self.granted == Granted::Known && self.tasks.is_complete()
    }

    /// Whether the server is silent about a subscription. What it is subscribed to isn't known any
    /// more then: it is to be closed as unresponsive.
    pub fn is_unknown(&self) -> bool {
        self.granted == Granted::Unknown
    }

    /// Whether it leads to another server than it should: it is to be made anew.
    pub const fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// When there is something to do about a cluster, by what it [submitted](Self::submit) last.
    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether something has changed that who drives it should see.
    pub const fn has_news(&self) -> bool {
        self.news
    }

    /// Notes that who drives it has looked.
    pub const fn seen(&mut self) {
        self.news = false;
    }

    /// It has ended, and there is no other one.
    pub fn lost(&self) {
        if let Place::Settles { .. } = self.place {
            self.hub.overlap_ends();
        }
        self.begin_gap();
    }

    /// `later` has ended before it took the place of this one.
    pub fn outlives(&mut self, later: &Self) {
        self.stays(later.place);
    }

    /// `earlier` has ended for `reason`, and this one takes its place.
    pub fn succeeds(&mut self, earlier: &Self, reason: CloseReason) {
        if let Place::Settles { .. } = earlier.place {
            self.hub.overlap_ends();
        }
        let place = core::mem::replace(&mut self.place, Place::First);
        self.stays(place);
        // If it has retired, all that was under way was heard.
        if reason != CloseReason::Replaced {
            earlier.begin_gap();
            for (placed, name) in self.tasks.held() {
                self.gap |= self.hub.confirmed(placed, name);
            }
            self.settle();
        }
    }

    /// There is no other connection any more, of which the later one had this `place`.
    fn stays(&mut self, place: Place) {
        self.hub.set_heir(self.node.number, false);
        if place == (Place::Replaces { said: true }) {
            if let Place::Settles { .. } = self.place {
                self.hub.overlap_ends();
            }
            self.place = Place::Settles { asked: false };
        }
    }

    /// Finds the subscriptions that the server doesn't have yet.
    fn plan(&mut self, changes: u64) {
        let before = core::mem::replace(&mut self.changes, changes);
        let Self { hub, node, tasks, ends, wishes, .. } = self;
        if self.logged_in && hub.take_question(node.number) {
            self.asks = true;
        }
        if hub.has_removed(before) {
            tasks.keep(|id, name| hub.wants(id, name), |name| ends.push_back(name.clone()));
        }
        if hub.has_heir(node.number) && !matches!(self.place, Place::Replaces { .. }) {
            return;
        }
        // All others were seen before.
        let seen = core::mem::replace(wishes, changes);
        let mut regains = false;
        hub.wanted(|wish| {
            if wish.node != node.number {
            } else if wish.placed > seen {
                tasks.add(wish.placed, wish.name.clone());
                regains |= wish.lost;
            } else if wish.checked > seen {
                tasks.check(wish.placed);
            }
        });
        if regains {
            tasks.complete_here();
        }
    }

    /// The server has accepted a login.
    fn logged_in(&mut self, now: Instant) {
        self.news = true;
        if self.granted == Granted::Forgotten {
            self.granted = Granted::Known;
            self.begin_gap();
            self.ending = 0;
            self.tasks.again();
        }
        if !core::mem::replace(&mut self.logged_in, true) {
            self.hub.comes(now, self.node.number);
            if self.replaces() {
                self.hub.set_heir(self.node.number, true);
            }
            self.plan(self.hub.changes());
            self.tasks.complete_here();
        }
    }

    /// What it was subscribed to has ended.
    fn begin_gap(&self) {
        self.hub.lost(self.tasks.held());
    }

    /// The next subscription to send, and its tag.
    fn task(&self) -> Option<(Tag, Option<&Name>)> {
        if self.granted != Granted::Known {
            return None;
        }
        if let Some(name) = self.ends.get(self.ending) {
            return Some((ENDS, Some(name)));
        }
        if self.asks {
            return Some((MAP, None));
        }
        if let Place::Settles { asked: false } = self.place
            && let Some(name) = self.tasks.granted()
        {
            return Some((BARRIER, Some(name)));
        }
        self.tasks.next().map(|task| (task.number, Some(&task.name)))
    }

    /// Sends the changes to the server, as many as the connection takes, and has `cx` woken
    /// for more. Says whether it did.
    ///
    /// # Errors
    /// [`Ended::NotNeeded`] if the reader has gone.
    pub fn submit(
        &mut self,
        now: Instant,
        cx: &Context<'_>,
        tell: &mut Tell<'_>,
    ) -> Result<bool, Ended> {
        let (changes, deadline) = self.hub.poll_changes(&self.node, cx).ok_or(Ended::NotNeeded)?;
        self.deadline = deadline;
        let planned = changes != self.changes;
        if planned {
            self.plan(changes);
        }
        let mut progress = false;
        while let Some((tag, name)) = self.task() {
            let told = match name {
                None => tell(tag, args!["CLUSTER", "SLOTS"]),
                Some(Name { topic, name }) => {
                    let begins = tag != ENDS;
                    let command = if begins { topic.subscribes() } else { topic.unsubscribes() };
                    tell(tag, &[Arg::from(command), Arg::Bytes(name)])
                }
            };
            let refused = match told {
                Ok(()) => None,
                Err(SubmitError::Full | SubmitError::Ended) => break,
                Err(error) => {
                    Some(ServerError { code: "ERR".to_owned(), message: error.to_string() })
                }
            };
            progress = true;
            match (tag, refused) {
                (ENDS, None) => self.ending += 1,
                (ENDS, Some(_)) => drop(self.ends.remove(self.ending)),
                (MAP, refused) => {
                    self.asks = false;
                    if refused.is_some() {
                        self.hub.cannot_ask(now, self.node.number);
                    }
                }
                (BARRIER, _) => self.place = Place::Settles { asked: true },
                (_, refused) => {
                    self.tasks.told(tag);
                    if let Some(error) = refused {
                        self.refused(tag, error);
                    }
                }
            }
        }
        if self.place == (Place::Settles { asked: false }) && self.tasks.granted().is_none() {
            // A subscription that is not wanted gets no message at all.
            self.overlap_ends();
        }
        if planned || progress {
            // It may be that nothing is to be waited for any more.
            self.settle();
        }
        Ok(progress)
    }

    /// Hears `output`, and gives events back, which others may want to hear too.
    pub fn output(&mut self, now: Instant, output: Output<'_>) -> Option<Event> {
        match output {
            Output::Push(Ok(value)) => match Notice::of(value) {
                Some(Notice::Message(_)) => self.hub.message(Some(Message::new(value))),
                Some(Notice::Confirmation(confirmation)) => self.confirmation(&confirmation),
                None => {}
            },
            Output::Push(Err(_)) => self.hub.message(None),
            Output::Reply { tag, reply } => {
                self.reply(now, tag, reply.ok());
                self.settle();
            }
            // The login is gone: the next one brings it back.
            Output::Lost { lost: Lost { reason: None, outcome: Outcome::NotSent, .. }, .. } => {
                self.forgotten();
            }
            Output::Lost { lost: Lost { reason: None, .. }, .. } => {
                self.granted = Granted::Unknown;
            }
            Output::Event(event) => {
                match event {
                    Event::LoggedIn { .. } | Event::Reauthenticated { .. } => self.logged_in(now),
                    Event::ReplacementDue { .. } => {
                        (self.to_be_replaced, self.news) = (true, true);
                    }
                    // The other one has the same.
                    Event::StateLost(_) if matches!(self.place, Place::Replaces { .. }) => {
                        return None;
                    }
                    Event::StateLost(_) => self.forgotten(),
                    _ => {}
                }
                return Some(event);
            }
            _ => {}
        }
        None
    }

    fn reply(&mut self, now: Instant, tag: Tag, reply: Option<Value<'_>>) {
        if tag == MAP {
            match reply.and_then(|value| value.error()) {
                Some(error) if error.code() == "NOPERM" => {
                    self.hub.cannot_ask(now, self.node.number);
                }
                _ => self.hub.answered(now, self.node.number, reply),
            }
        }
        let error = reply.and_then(|value| value.error());
        if let Some(error) = error
            && error.code() == "NOAUTH"
        {
            return self.forgotten();
        }
        if tag == MAP {
            return;
        }
        if tag == BARRIER {
            return self.overlap_ends();
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
        self.tasks.answered(tag);
        match error {
            Some(error) => {
                let Some(Task { placed, name, .. }) = self.tasks.get(tag) else { return };
                match self.hub.refused_by(now, *placed, name, &error) {
                    Refused::Ends => self.refused(tag, error.into()),
                    refused => {
                        self.is_stale |= refused == Refused::Stale;
                        self.tasks.refuse(tag);
                    }
                }
            }
            None => self.confirmed(tag),
        }
    }

    fn confirmation(&mut self, confirmation: &Confirmation<'_>) {
        if let Confirmation { topic, began: false, name: Some(name), .. } = *confirmation
            && let Some((placed, name)) = self.tasks.ended(topic, name)
        {
            self.hub.lost([(placed, &name)].into_iter());
        }
    }

    fn overlap_ends(&mut self) {
        if let Place::Settles { .. } = self.place {
            self.place = Place::First;
            self.hub.overlap_ends();
        }
    }

    /// The server knows nothing of the login any more.
    fn forgotten(&mut self) {
        if self.granted == Granted::Known {
            self.granted = Granted::Forgotten;
        }
        if let Place::Settles { asked } = &mut self.place {
            *asked = false;
        }
    }

    fn refused(&mut self, number: u64, error: ServerError) {
        if let Some(Task { placed, name, .. }) = self.tasks.refuse(number) {
            self.gap |= self.hub.refused(placed, &name, error);
        }
    }

    fn confirmed(&mut self, number: u64) {
        let Some(Task { placed, name, .. }) = self.tasks.confirm(number) else { return };
        self.gap |= self.hub.confirmed(*placed, name);
        if self.place == (Place::Replaces { said: false }) {
            self.place = Place::Replaces { said: true };
            self.hub.overlap_begins();
        }
    }

    /// Tells if that is all. What comes from here on is complete.
    fn settle(&mut self) {
        if self.is_settled() {
            if core::mem::take(&mut self.gap) {
                self.hub.gap_ends();
            }
            self.news = true;
        }
    }
}

impl<L: Lock<SubscriptionState>> fmt::Debug for SubscriberConnection<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriberConnection")
            .field("subscriptions", &self.tasks.confirmed())
            .field("to_be_replaced", &self.to_be_replaced)
            .finish_non_exhaustive()
    }
}
