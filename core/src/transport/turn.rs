//! Which address of a name is dialed first, for connectors that share a
//! [`Progress`](super::Progress).

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::close::CloseReason;
use crate::event::Event;

/// Rotates the addresses after each connection on which no login succeeded, or that was given up:
/// at an address that the server has given up, another machine may accept connections and never
/// answer.
#[derive(Debug, Default)]
pub(super) struct Turn {
    at: AtomicU8,
    /// A server was reached, and no login has succeeded there yet; or one has, and the connection
    /// was given up.
    in_doubt: AtomicBool,
}

impl Turn {
    pub(super) const fn new() -> Self {
        Self { at: AtomicU8::new(0), in_doubt: AtomicBool::new(false) }
    }

    /// A server was reached.
    pub(super) fn connected(&self) {
        self.in_doubt.store(true, Ordering::Relaxed);
    }

    /// Takes in what happened to the connection.
    pub(super) fn observe(&self, event: &Event) {
        match event {
            Event::LoggedIn { .. } => self.in_doubt.store(false, Ordering::Relaxed),
            Event::Disconnected { reason: CloseReason::Unresponsive } => self.connected(),
            _ => {}
        }
    }

    /// Returns by how many places to rotate the addresses for the next attempt.
    pub(super) fn next(&self) -> u8 {
        let turned = u8::from(self.in_doubt.load(Ordering::Relaxed));
        let at = self.at.load(Ordering::Relaxed).wrapping_add(turned);
        // Small cores have no other atomic operations.
        self.in_doubt.store(false, Ordering::Relaxed);
        self.at.store(at, Ordering::Relaxed);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Protocol;
    use crate::manager::Generation;

    const LOGIN: Event = Event::LoggedIn { generation: Generation(1), protocol: Protocol::Resp3 };

    const fn end(reason: CloseReason) -> Event {
        Event::Disconnected { reason }
    }

    #[test]
    fn the_next_address_has_its_turn_when_nobody_could_log_in() {
        let turn = Turn::new();
        // No server was reached: no address is better than another.
        assert_eq!((turn.next(), turn.next()), (0, 0));
        turn.connected();
        assert_eq!((turn.next(), turn.next()), (1, 1));
        turn.connected();
        turn.observe(&end(CloseReason::LoginTimeout));
        assert_eq!(turn.next(), 2);
        turn.connected();
        turn.observe(&LOGIN);
        turn.observe(&end(CloseReason::ByServer));
        assert_eq!(turn.next(), 2, "it was good, and may be again");
        turn.connected();
        turn.observe(&LOGIN);
        turn.observe(&end(CloseReason::Unresponsive));
        assert_eq!(turn.next(), 3);
    }

    #[test]
    fn there_is_no_last_turn() {
        let turn = Turn::new();
        for at in 1..=300_u16 {
            turn.connected();
            assert_eq!(u16::from(turn.next()), at % 256);
        }
    }
}
