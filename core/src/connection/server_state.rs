//! What commands have opened on a connection.

use super::ring::Role;
use crate::auth::Protocol;
use crate::command::{CommandClass, CommandRefused, Topic};
use crate::event::LostState;
use crate::pubsub::Confirmation;
use crate::resp::ErrorReply;

/// The state at the server that belongs to this connection alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ServerState {
    /// What the server has, by the replies so far. Exact when all are in.
    answered: State,
    /// What it will have if the commands on their way do what they are sent for.
    expected: State,
    channels: u32,
    patterns: u32,
    shards: u32,
    /// Commands that subscribe or unsubscribe, whose confirmations haven't all come.
    subscribing: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    transaction: Transaction,
    watching: bool,
    tracking: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Transaction {
    #[default]
    None,
    /// Between `MULTI` and `EXEC`.
    Open {
        /// What a `CLIENT TRACKING` in it will set.
        tracking: Option<bool>,
    },
    /// An answer doesn't say whether one is open.
    Unknown,
}

/// How a command was answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer<'a> {
    Done,
    /// An `EXEC` whose watched keys have changed: it is over, and nothing was executed.
    Null,
    /// It is a part of a transaction.
    Queued,
    Failed(ErrorReply<'a>),
}

/// What an error says of the transaction that an `EXEC` or `DISCARD` should have ended.
#[derive(Clone, Copy)]
enum TransactionEnd {
    /// It was thrown away.
    Discarded,
    /// There is none.
    WasNone,
    /// The command was refused: a transaction is as open as it was.
    Unchanged,
    Unknown,
}

impl TransactionEnd {
    /// Tried on redis-server 6.2 to 8.2, with cluster mode and without, by the table in
    /// `tests/model`.
    fn of(role: Role, error: ErrorReply<'_>) -> Self {
        const DISCARD: [&str; 6] =
            ["EXECABORT", "CROSSSLOT", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"];
        let (code, exec) = (error.code(), matches!(role, Role::Exec));
        if error.message().ends_with(" without MULTI") {
            Self::WasNone
        } else if exec && DISCARD.contains(&code) {
            Self::Discarded
        } else if error.message().starts_with("wrong number of arguments")
            || !exec && matches!(code, "NOPERM" | "NOAUTH")
        {
            Self::Unchanged
        } else {
            Self::Unknown
        }
    }
}

impl State {
    const fn is_open(&self) -> bool {
        !matches!(self.transaction, Transaction::None)
    }

    /// What a command leaves that was answered like this.
    #[inline(never)]
    fn apply(&mut self, role: Role, answer: Answer<'_>) {
        match (role, answer) {
            (Role::Multi, Answer::Done) => self.transaction = Transaction::Open { tracking: None },
            // One in another proves that there is another.
            (Role::Multi, Answer::Failed(error))
                if matches!(self.transaction, Transaction::Unknown)
                    && error.message().ends_with("nested") =>
            {
                self.transaction = Transaction::Open { tracking: None };
            }
            (Role::Exec | Role::Discard, Answer::Failed(error)) => {
                match TransactionEnd::of(role, error) {
                    TransactionEnd::Discarded => self.end_transaction(false),
                    // Watched keys stay watched: nothing has ended.
                    TransactionEnd::WasNone => self.transaction = Transaction::None,
                    TransactionEnd::Unknown if self.is_open() => {
                        self.transaction = Transaction::Unknown
                    }
                    TransactionEnd::Unknown | TransactionEnd::Unchanged => {}
                }
            }
            (Role::Exec, Answer::Done) => self.end_transaction(true),
            (Role::Exec | Role::Discard, _) => self.end_transaction(false),
            (Role::Watch, Answer::Done) => self.watching = true,
            (Role::Unwatch, Answer::Done) => self.watching = false,
            (Role::Tracking(on), Answer::Done) => self.tracking = on,
            (Role::Tracking(on), Answer::Queued) => {
                if let Transaction::Open { tracking } = &mut self.transaction {
                    *tracking = Some(on);
                }
            }
            _ => {}
        }
    }

    /// What a command leaves that does what it is sent for.
    fn assume(&mut self, role: Role) {
        let ends = matches!(role, Role::Exec | Role::Discard);
        self.apply(role, if self.is_open() && !ends { Answer::Queued } else { Answer::Done });
    }

    fn end_transaction(&mut self, executed: bool) {
        if let Transaction::Open { tracking: Some(on) } = self.transaction
            && executed
        {
            self.tracking = on;
        }
        (self.transaction, self.watching) = (Transaction::None, false);
    }
}

impl ServerState {
    /// Takes a command in that is about to be sent, and says what to expect of its reply.
    pub(super) fn admit(
        &mut self,
        class: CommandClass,
        protocol: Protocol,
    ) -> Result<Role, CommandRefused> {
        let about_subscriptions =
            matches!(class, CommandClass::Subscribe(..) | CommandClass::Unsubscribe(..));
        let in_transaction = self.expects_transaction();
        if about_subscriptions && in_transaction {
            return Err(CommandRefused::Subscription);
        }
        if !about_subscriptions && self.is_subscriber() && protocol == Protocol::Resp2 {
            return Err(CommandRefused::Subscriber);
        }
        let role = match class {
            CommandClass::Multi => Role::Multi,
            CommandClass::Exec => Role::Exec,
            CommandClass::Discard => Role::Discard,
            CommandClass::Watch => Role::Watch,
            CommandClass::Unwatch => Role::Unwatch,
            CommandClass::Tracking(on) => Role::Tracking(on),
            CommandClass::Subscribe(topic, count) | CommandClass::Unsubscribe(topic, count) => {
                self.subscribing = self.subscribing.saturating_add(1);
                let began = matches!(class, CommandClass::Subscribe(..));
                Role::Subscription { topic, began, left: count }
            }
            // In a transaction nothing blocks.
            CommandClass::Blocking(_) if !in_transaction => Role::Blocking,
            CommandClass::Blocking(_) | CommandClass::Plain => Role::Plain,
        };
        self.expected.assume(role);
        Ok(role)
    }

    /// Takes in how a command was answered, which those of `others` have followed.
    pub(super) fn answered(
        &mut self,
        role: Role,
        answer: Answer<'_>,
        others: impl Iterator<Item = Role>,
    ) {
        if role.is_subscription() {
            self.subscribing = self.subscribing.saturating_sub(1);
        }
        self.answered.apply(role, answer);
        // Whether a transaction is open isn't as expected if one wasn't opened, or not ended.
        let is_open = self.answered.is_open() || self.expected.is_open();
        let failed = matches!(answer, Answer::Failed(_)) && role.is_about_transactions();
        let mut others = others.peekable();
        if others.peek().is_none() || is_open && failed {
            self.expected = self.answered;
            others.for_each(|role| self.expected.assume(role));
        }
    }

    /// Whether what is sent next becomes a part of a transaction.
    pub(super) const fn expects_transaction(&self) -> bool {
        self.expected.is_open()
    }

    /// Whether what was sent opens a transaction or watches keys.
    pub(super) const fn expects_any(&self) -> bool {
        self.expected.is_open() || self.expected.watching
    }

    /// Whether the server has a transaction open, as far as replies have come: an `AUTH` would
    /// become a part of it.
    pub(super) const fn in_transaction(&self) -> bool {
        self.answered.is_open()
    }

    /// Whether an answer left it open if there is a transaction.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.answered.transaction, Transaction::Unknown)
    }

    /// Whether a transaction is open or keys are watched, as far as replies have come.
    pub(super) const fn is_open(&self) -> bool {
        self.in_transaction() || self.answered.watching
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

    /// What a replacement of the connection would have to do without.
    pub(super) const fn lost(&self) -> Option<LostState> {
        let State { watching, tracking, .. } = self.expected;
        let (transaction, subscriptions) = (self.expected.is_open(), self.subscriptions());
        let lost = LostState { transaction, watch: watching, tracking, subscriptions };
        if transaction || watching || tracking || subscriptions > 0 { Some(lost) } else { None }
    }
}
