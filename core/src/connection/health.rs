//! The state of a connection.

use core::time::Duration;

use super::machine::{Machine, Phase, Then};
use super::ring::Pending;
use crate::auth::Protocol;
use crate::manager::Generation;
use crate::storage::Storage;
use crate::time::Instant;

/// The state of a connection at one moment: see [`Connection::health`](super::Connection::health).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ConnectionHealth {
    /// Whether a command submitted now is sent: the connection is logged in, and no reply is
    /// overdue. Stays `true` during a re-AUTH, and while a command blocks at the server.
    pub ready: bool,
    /// Whether a login is in flight, or waits for replies to come in first.
    pub logging_in: bool,
    /// The protocol in use.
    pub protocol: Protocol,
    /// The server's id for it (`CLIENT ID`), if the server has told it.
    pub client_id: Option<i64>,
    /// The token that it is logged in with.
    pub generation: Option<Generation>,
    /// The time until that token ends. A newer token may be there already, with a re-AUTH due: then
    /// the [manager's](crate::manager::TokenHealth::expires_in) is later.
    pub login_ends_in: Option<Duration>,
    /// Commands that wait for a reply.
    pub waiting: usize,
    /// Whether a transaction is open or keys are watched, as far as replies have come.
    pub session: bool,
    /// Subscriptions that were confirmed.
    pub subscriptions: u32,
    /// Commands taken so far.
    pub commands: u64,
    /// Logins with a newer token so far.
    pub reauths: u32,
    /// Logins that were refused.
    pub rejections: u32,
}

impl ConnectionHealth {
    /// Returns whether it is logged in, but a reply is overdue: it is closed soon if none comes.
    pub const fn is_overdue(&self) -> bool {
        !self.ready && self.generation.is_some() && self.waiting > 0
    }

    /// Returns the same state `passed` later, if nothing happens meanwhile.
    #[must_use]
    pub fn after(self, passed: Duration) -> Self {
        let login_ends_in = self.login_ends_in.map(|left| left.saturating_sub(passed));
        let ready = self.ready && login_ends_in != Some(Duration::ZERO);
        Self { ready, login_ends_in, ..self }
    }
}

impl<R: Storage<Pending>> Machine<R> {
    /// Whether a command would be sent, now or when a login is over, and answered as far as is known.
    fn is_serving(&self, now: Instant) -> bool {
        let is_open = match self.phase {
            Phase::Fresh | Phase::Ended { .. } | Phase::Draining { then: Then::End(_) } => false,
            Phase::LoggingIn { .. } | Phase::Ready | Phase::Draining { .. } => true,
        };
        let is_logged_in = self.schedule.have().is_some_and(|have| now < have.ends && !have.lost);
        let is_overdue = self.ring.front().is_some_and(|oldest| now >= oldest.deadline);
        is_open && is_logged_in && !is_overdue && !self.server_state.is_unknown()
    }

    const fn is_logging_in(&self) -> bool {
        matches!(
            self.phase,
            Phase::Fresh | Phase::LoggingIn { .. } | Phase::Draining { then: Then::LogIn }
        )
    }

    /// See [`Connection::health`](super::Connection::health).
    pub(crate) fn health(&self, now: Instant) -> ConnectionHealth {
        ConnectionHealth {
            ready: self.is_serving(now),
            logging_in: self.is_logging_in(),
            protocol: self.protocol,
            client_id: self.client_id,
            generation: self.schedule.have().map(|have| have.generation),
            login_ends_in: self.schedule.have().map(|have| have.ends.since(now)),
            waiting: self.ring.len(),
            session: self.server_state.is_open(),
            subscriptions: self.server_state.subscriptions(),
            commands: self.counts.commands,
            reauths: self.counts.reauths,
            rejections: self.counts.rejections,
        }
    }
}
