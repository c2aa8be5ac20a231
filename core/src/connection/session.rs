//! What commands have opened on a connection.

use super::ring::Role;
use crate::auth::Protocol;
use crate::command::{Class, Refused, Topic};
use crate::event::LostState;
use crate::pubsub::Confirmation;
use crate::resp::ErrorReply;

/// The state at the server that belongs to this connection alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    /// `MULTI` was sent, and neither `EXEC` nor `DISCARD` behind it.
    pub(super) transaction: bool,
    /// How often `MULTI` was sent, less how often the server said that one is over.
    unclosed: u32,
    /// How often `WATCH` was sent and not refused, since the last time that none was watched.
    watching: u32,
    /// How often that was: replies come late.
    forgotten: u8,
    tracking: bool,
    /// The last command that was sent blocks, and its reply hasn't come.
    pub(super) blocked: bool,
    channels: u32,
    patterns: u32,
    shards: u32,
    /// Commands that subscribe or unsubscribe, whose confirmations haven't all come.
    subscribing: u32,
}

impl Session {
    /// Takes a command in that is about to be sent, and says what to expect of its reply.
    pub(super) fn admit(&mut self, class: Class, protocol: Protocol) -> Result<Role, Refused> {
        let about_subscriptions = matches!(class, Class::Subscribe(..) | Class::Unsubscribe(..));
        if about_subscriptions && self.transaction {
            return Err(Refused::Subscription);
        }
        if !about_subscriptions && self.is_subscriber() && protocol == Protocol::Resp2 {
            return Err(Refused::Subscriber);
        }
        Ok(match class {
            Class::Multi => {
                self.transaction = true;
                self.unclosed = self.unclosed.saturating_add(1);
                Role::Multi
            }
            Class::Exec => {
                self.transaction = false;
                self.forget();
                Role::Exec
            }
            Class::Watch => {
                self.watching = self.watching.saturating_add(1);
                Role::Watch { since: self.forgotten }
            }
            Class::Unwatch => {
                self.forget();
                Role::Plain
            }
            Class::Tracking(on) => {
                self.tracking = on;
                Role::Plain
            }
            Class::Subscribe(topic, count) | Class::Unsubscribe(topic, count) => {
                self.subscribing = self.subscribing.saturating_add(1);
                let began = matches!(class, Class::Subscribe(..));
                Role::Subscription { topic, began, left: count }
            }
            // In a transaction nothing blocks.
            Class::Blocking(_) if !self.transaction => {
                self.blocked = true;
                Role::Blocking
            }
            Class::Blocking(_) | Class::Plain => Role::Plain,
        })
    }

    /// Whether the server may be in a transaction: an `AUTH` would become a part of it.
    pub(super) const fn in_transaction(&self) -> bool {
        self.transaction || self.unclosed > 0
    }

    /// A `MULTI` was refused. It opened no transaction, though another one may be open.
    pub(super) const fn multi_refused(&mut self) {
        self.unclosed = self.unclosed.saturating_sub(1);
        if self.unclosed == 0 {
            self.transaction = false;
        }
    }

    /// A `WATCH` was refused.
    pub(super) const fn watch_refused(&mut self, since: u8) {
        if since == self.forgotten {
            self.watching = self.watching.saturating_sub(1);
        }
    }

    const fn forget(&mut self) {
        self.watching = 0;
        self.forgotten = self.forgotten.wrapping_add(1);
    }

    /// Whether a transaction is open or keys are watched.
    pub(super) const fn is_open(&self) -> bool {
        self.in_transaction() || self.watching > 0
    }

    /// An `EXEC` or `DISCARD` was answered, perhaps with `error`.
    pub(super) fn exec_answered(&mut self, error: Option<ErrorReply<'_>>) {
        match error {
            // There was none.
            Some(error) if error.message().ends_with(" without MULTI") => {}
            // It was thrown away.
            Some(error) if error.code() == "EXECABORT" => {
                self.unclosed = self.unclosed.saturating_sub(1);
            }
            // It wasn't executed: the transaction is still open.
            Some(_) => self.transaction = self.unclosed > 0,
            None => self.unclosed = self.unclosed.saturating_sub(1),
        }
    }

    /// Whether there are subscriptions, or may be by now.
    pub(super) const fn is_subscriber(&self) -> bool {
        self.subscribing > 0 || self.subscriptions() > 0
    }

    /// How many subscriptions were confirmed.
    pub(super) const fn subscriptions(&self) -> u32 {
        self.channels.saturating_add(self.patterns).saturating_add(self.shards)
    }

    const fn count(&mut self, topic: Topic) -> &mut u32 {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Shard => &mut self.shards,
        }
    }

    /// How many confirmations the command gets that ends all subscriptions of `topic`: one for
    /// each, and one if there are none.
    pub(super) fn all_of(&mut self, topic: Topic) -> u32 {
        (*self.count(topic)).max(1)
    }

    /// Takes a confirmation in. The server tells how many subscriptions there are then, channels
    /// and patterns together and shard channels apart.
    pub(super) fn confirm(&mut self, confirmation: &Confirmation<'_>) {
        let Confirmation { topic, began, count: told, .. } = *confirmation;
        let known = match topic {
            Topic::Shard => self.shards,
            Topic::Channel | Topic::Pattern => self.channels.saturating_add(self.patterns),
        };
        let count = self.count(topic);
        match i64::from(known) {
            known if began && told > known => *count = count.saturating_add(1),
            known if !began && told < known => *count = count.saturating_sub(1),
            _ => {}
        }
    }

    /// A command that subscribes or unsubscribes is done.
    pub(super) const fn subscribed(&mut self) {
        self.subscribing = self.subscribing.saturating_sub(1);
    }

    /// What a replacement of the connection would have to do without.
    pub(super) const fn lost(&self) -> Option<LostState> {
        let lost = LostState {
            transaction: self.in_transaction(),
            watch: self.watching > 0,
            tracking: self.tracking,
            subscriptions: self.subscriptions(),
        };
        if lost.transaction || lost.watch || lost.tracking || lost.subscriptions > 0 {
            Some(lost)
        } else {
            None
        }
    }
}
