//! Transactions, and what else belongs to one handle and to one connection.

use redis_entraid_core::command::CommandClass;

/// What commands have opened on a connection: a transaction, a `WATCH`, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Open {
    /// Whose it is.
    pub(super) slot: u32,
    /// There is a `MULTI`: what follows is executed with the `EXEC`, or not at all.
    pub(super) multi: bool,
    /// There are watched keys.
    pub(super) watch: bool,
}

impl Open {
    /// What is open behind a command of `slot`, if something is.
    pub(in super::super) fn after(
        open: Option<Self>,
        slot: u32,
        class: CommandClass,
    ) -> Option<Self> {
        let (multi, watch) = open.map_or((false, false), |open| (open.multi, open.watch));
        let (multi, watch) = match class {
            CommandClass::Multi => (true, watch),
            CommandClass::Watch => (multi, true),
            CommandClass::Exec | CommandClass::Discard => (false, false),
            CommandClass::Unwatch => (multi, false),
            _ => return open,
        };
        (multi || watch).then_some(Self { slot, multi, watch })
    }

    /// Whether a command of this class ends a transaction.
    pub(super) const fn is_closed_by(class: CommandClass) -> bool {
        matches!(class, CommandClass::Exec | CommandClass::Discard)
    }

    /// Whether a command of this class opens or closes something.
    pub(super) const fn is_changed_by(class: CommandClass) -> bool {
        Self::is_closed_by(class)
            || matches!(class, CommandClass::Multi | CommandClass::Watch | CommandClass::Unwatch)
    }
}

/// What is open on a connection by the commands that it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing.
    #[default]
    Nothing,
    /// This.
    Open(Open),
    /// Something that no handle will close: the connection must not serve others.
    Abandoned,
}

impl Held {
    pub(super) const fn open(self) -> Option<Open> {
        match self {
            Self::Open(open) => Some(open),
            Self::Nothing | Self::Abandoned => None,
        }
    }

    /// What it is behind a command of `slot`.
    pub(super) fn after(self, slot: u32, class: CommandClass) -> Self {
        match self {
            Self::Abandoned => self,
            _ => Open::after(self.open(), slot, class).map_or(Self::Nothing, Self::Open),
        }
    }
}
