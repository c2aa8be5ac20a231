//! One connection of a subscriber.

use core::task::Context;
use std::collections::{BTreeMap, VecDeque};

use redis_entraid_core::command::Topic;
use redis_entraid_core::connection::{CloseReason, Output, SubmitError};
use redis_entraid_core::event::Event;
use redis_entraid_core::pubsub::Notice;
use redis_entraid_core::resp::Arg;
use redis_entraid_core::time::{Clock, Instant};
use tokio::io::{AsyncRead, AsyncWrite};

use super::mailbox::{Mailbox, Name};
use super::{Delivery, Message};
use crate::clock::TokioClock;
use crate::error::ServerError;
use crate::pump::{Owner, Pump, Unneeded, Wire};
use crate::standing::Standing;

/// See the [module](self).
pub(super) struct Line<'s, S> {
    pump: Pump<S>,
    pub(super) names: Names<'s>,
}

impl<'s, S: AsyncRead + AsyncWrite> Line<'s, S> {
    pub(super) const fn new(pump: Pump<S>, mailbox: &'s Mailbox, standing: &'s Standing) -> Self {
        let names = Names {
            mailbox,
            standing,
            told: BTreeMap::new(),
            tasks: VecDeque::new(),
            changes: 0,
            confirmed: 0,
            logged_in: false,
            replaces: false,
            to_be_replaced: false,
            news: false,
        };
        Self { pump, names }
    }

    /// See [`Pump::turn`].
    pub(super) async fn turn(&mut self) -> Result<Option<CloseReason>, Unneeded> {
        let ended = self.pump.turn(&mut self.names).await;
        self.names.news = false;
        ended
    }

    pub(super) fn retire(&mut self) {
        self.pump.retire();
    }

    /// It is the one connection now: its health is the subscriber's.
    pub(super) fn stand_alone(&mut self) {
        self.names.replaces = false;
        self.names.standing.set_health(self.pump.health());
    }
}

/// What a connection is subscribed to.
pub(super) struct Names<'s> {
    mailbox: &'s Mailbox,
    standing: &'s Standing,
    /// What the server was told, and whether it has confirmed that.
    told: BTreeMap<u64, (Name, bool)>,
    /// What it is still to be told: what ends, and what begins.
    tasks: VecDeque<(u64, Name, bool)>,
    /// Up to which change of the mailbox that is all.
    changes: u64,
    confirmed: usize,
    pub(super) logged_in: bool,
    /// Another connection has the same subscriptions, and ends when this one has them.
    pub(super) replaces: bool,
    /// It can't log in again.
    pub(super) to_be_replaced: bool,
    /// Something has changed that who drives it should see.
    news: bool,
}

impl Names<'_> {
    /// Whether it has all that is wanted.
    pub(super) fn is_settled(&self) -> bool {
        self.logged_in
            && self.tasks.is_empty()
            && self.confirmed == self.told.len()
            && self.changes == self.mailbox.changes()
    }

    pub(super) const fn has_subscriptions(&self) -> bool {
        self.confirmed > 0
    }

    /// Finds out what has to be told.
    fn plan(&mut self, changes: u64) {
        self.changes = changes;
        let wanted = self.mailbox.wanted();
        // What was to begin is planned anew; what was to end still is.
        self.tasks.retain(|(_, _, begins)| !begins);
        let gone: Vec<_> =
            self.told.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        for id in gone {
            if let Some((name, confirmed)) = self.told.remove(&id) {
                self.confirmed -= usize::from(confirmed);
                self.tasks.push_back((id, name, false));
            }
        }
        let new = wanted.into_iter().filter(|(id, _)| !self.told.contains_key(id));
        self.tasks.extend(new.map(|(id, name)| (id, name, true)));
    }

    fn confirmed(&mut self, id: u64) {
        let Some((name, confirmed @ false)) = self.told.get_mut(&id) else { return };
        *confirmed = true;
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

impl Owner for Names<'_> {
    fn submit(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Result<bool, Unneeded> {
        let changes = self.mailbox.poll_changes(cx).ok_or(Unneeded)?;
        let planned = changes != self.changes;
        if planned {
            self.plan(changes);
        }
        let mut progress = false;
        while let Some((id, name, begins)) = self.tasks.front() {
            let command = match (name.topic(), begins) {
                (Topic::Channel, true) => "SUBSCRIBE",
                (Topic::Pattern, true) => "PSUBSCRIBE",
                (Topic::Shard, true) => "SSUBSCRIBE",
                (Topic::Channel, false) => "UNSUBSCRIBE",
                (Topic::Pattern, false) => "PUNSUBSCRIBE",
                (Topic::Shard, false) => "SUNSUBSCRIBE",
            };
            let args = [Arg::from(command), Arg::Bytes(&name.name)];
            match wire.submit(TokioClock.now(), id << 1 | u64::from(*begins), &args) {
                Err(SubmitError::Full | SubmitError::Ended) => break,
                Err(error) => {
                    let error = ServerError { code: "ERR".to_owned(), message: error.to_string() };
                    self.mailbox.refused(name, error);
                    self.tasks.pop_front();
                }
                Ok(()) => {
                    if let Some((id, name, true)) = self.tasks.pop_front() {
                        self.told.insert(id, (name, false));
                    }
                }
            }
            progress = true;
        }
        if planned || progress {
            // It may be that nothing is to be waited for any more.
            self.settle();
        }
        Ok(progress)
    }

    fn deadline(&self) -> Instant {
        if self.news { Instant::default() } else { Instant::FAR_FUTURE }
    }

    fn outputs(&mut self, wire: &mut Wire) {
        let now = TokioClock.now();
        if self.hear(now, wire) {
            // Its subscriptions are not known any more: another connection has to do.
            wire.closed(CloseReason::Unresponsive);
            self.hear(now, wire);
        }
        if !wire.has_ended() {
            self.standing.set_health(wire.health(now));
        }
    }
}

impl Names<'_> {
    /// Hears what came. Says whether the server is silent about a subscription.
    fn hear(&mut self, now: Instant, wire: &mut Wire) -> bool {
        let mut silent = false;
        while let Some(output) = wire.next(now) {
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
                            if let Some((name, _)) = self.told.remove(&id) {
                                self.mailbox.refused(&name, error.into());
                                self.settle();
                            }
                        }
                        _ if began => self.confirmed(id),
                        _ => self.settle(),
                    }
                }
                Output::Lost { lost, .. } => silent |= lost.reason.is_none(),
                Output::Event(event) => {
                    match event {
                        Event::LoggedIn { .. } => (self.logged_in, self.news) = (true, true),
                        Event::ReplacementDue { .. } => {
                            (self.to_be_replaced, self.news) = (true, true);
                        }
                        _ => {}
                    }
                    self.standing.observe(now, &event);
                }
                _ => {}
            }
        }
        silent
    }
}
