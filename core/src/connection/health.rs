//! How a connection stands.

use core::time::Duration;

use super::machine::{Machine, Phase, Then};
use super::ring::Pending;
use crate::auth::Protocol;
use crate::manager::Generation;
use crate::storage::Storage;
use crate::time::Instant;

/// How a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ConnectionHealth {
    /// Whether a command that is sent now will be sent: it is logged in, and no reply is overdue.
    /// It stays so while it logs in again, and while the server holds a blocking command back.
    pub ready: bool,
    /// Whether a login is under way, or waits for replies.
    pub logging_in: bool,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its number at the server, if the server said so.
    pub client_id: Option<i64>,
    /// The token that it is logged in with.
    pub generation: Option<Generation>,
    /// Until that token ends. A newer one may be there, which it logs in with in time: then the
    /// [manager's](crate::manager::TokenHealth::expires_in) is later.
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
    /// Whether it is logged in, but a reply is overdue: it is given up soon if none comes.
    pub const fn is_overdue(&self) -> bool {
        !self.ready && self.generation.is_some() && self.waiting > 0
    }

    /// The same after `passed` in which nothing happened.
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
        is_open && is_logged_in && !is_overdue && !self.session.is_unknown()
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
            session: self.session.is_open(),
            subscriptions: self.session.subscriptions(),
            commands: self.counts.commands,
            reauths: self.counts.reauths,
            rejections: self.counts.rejections,
        }
    }
}
