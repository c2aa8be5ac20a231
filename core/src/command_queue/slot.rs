//! Where a command waits and is under way.

use core::fmt;
use core::task::Waker;

use super::bytes::Place;
use super::error::CommandError;
use crate::command::CommandClass;
use crate::connection::{Lost, Outcome};
use crate::time::Instant;

/// Room for a command that waits or is under way. What is in it is the queue's business; a caller only
/// lends some: 56 bytes each on a 32-bit machine.
pub struct CommandSlot {
    /// Which command it is: those that were entered earlier have lower ones.
    pub(super) number: u64,
    /// Until when it waits for its turn and a connection; for its reply too, if it has a limit of its own.
    pub(super) by: Instant,
    pub(super) waker: Option<Waker>,
    pub(super) state: State,
    pub(super) is_limited: bool,
    /// It had its turn before: what it waits for is a connection.
    pub(super) is_back: bool,
    /// A server has refused it for want of a login.
    pub(super) is_refused: bool,
    /// Its waker is to be woken.
    pub(super) wakes: bool,
}

#[derive(Clone, Copy)]
pub(super) enum State {
    Free,
    /// Its bytes are still with its task.
    Entering,
    /// It can be submitted.
    Waiting(Place, CommandClass),
    /// A connection has it, and its reply is waited for until then.
    Submitted(Instant),
    Replied(Place),
    Failed(CommandError),
    /// It was refused for want of a login, and may not be repeated.
    NoLogin,
}

impl State {
    pub(super) const fn command_mut(&mut self) -> Option<&mut Place> {
        match self {
            Self::Waiting(bytes, _) => Some(bytes),
            _ => None,
        }
    }

    pub(super) const fn reply_mut(&mut self) -> Option<&mut Place> {
        match self {
            Self::Replied(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl CommandSlot {
    /// Creates a free slot.
    pub const fn new() -> Self {
        Self {
            number: 0,
            by: Instant::from_millis(0),
            waker: None,
            state: State::Free,
            is_limited: false,
            is_back: false,
            is_refused: false,
            wakes: false,
        }
    }

    pub(super) fn enter(&mut self, number: u64, by: Instant, is_limited: bool) {
        *self = Self { number, by, is_limited, state: State::Entering, ..Self::new() };
    }

    /// Whether it has the command of that number.
    pub(super) const fn is(&self, number: u64) -> bool {
        self.number == number && !self.is_free()
    }

    pub(super) const fn is_free(&self) -> bool {
        matches!(self.state, State::Free)
    }

    pub(super) const fn is_entering(&self) -> bool {
        matches!(self.state, State::Entering)
    }

    pub(super) const fn is_submitted(&self) -> bool {
        matches!(self.state, State::Submitted(_))
    }

    /// Whether its bytes wait to be submitted.
    pub(super) const fn is_complete(&self) -> bool {
        matches!(self.state, State::Waiting(..))
    }

    /// Whether it is still to be submitted.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.state, State::Entering | State::Waiting(..))
    }

    /// Until when its task waits.
    pub(super) const fn deadline(&self) -> Instant {
        match self.state {
            State::Submitted(until) => until,
            _ => self.by,
        }
    }

    /// The error of its task when that time is over.
    pub(super) const fn late(&self) -> CommandError {
        match self.state {
            State::Submitted(_) => CommandError::Lost(Lost::new(Outcome::Unknown, None)),
            State::Entering if !self.is_back => CommandError::Busy,
            _ => CommandError::Unavailable,
        }
    }

    /// Tells its task what came of it.
    pub(super) const fn end(&mut self, state: State) {
        self.state = state;
        self.wakes = true;
    }

    /// Gives it back. Returns what it was.
    pub(super) fn free(&mut self) -> State {
        core::mem::take(self).state
    }
}

/// The slot that has the command of that number.
#[inline(never)]
pub(super) fn find(slots: &mut [CommandSlot], number: u64) -> Option<&mut CommandSlot> {
    slots.iter_mut().find(|slot| slot.is(number))
}

/// The slot with the oldest command of which that is so.
#[inline(never)]
pub(super) fn oldest(
    slots: &mut [CommandSlot],
    is_so: fn(&CommandSlot) -> bool,
) -> Option<&mut CommandSlot> {
    slots.iter_mut().filter(|slot| is_so(slot)).min_by_key(|slot| slot.number)
}

impl Default for CommandSlot {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CommandSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_free() { "free" } else { "taken" };
        write!(f, "CommandSlot({what})")
    }
}
