//! How a client stands, and how long there is nothing to do for it.

use core::time::Duration;

use redis_entraid_core::connection::ConnectionHealth;
use redis_entraid_core::event::Event;
use redis_entraid_core::manager::TokenHealth;
use redis_entraid_core::time::Instant;

use crate::error::Problem;

/// How a client stood when something last happened. Never shows a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Health {
    /// When that was.
    pub at: Instant,
    /// The token.
    pub token: Option<TokenHealth>,
    /// The connection, if there is one that is logged in.
    pub connection: Option<ConnectionHealth>,
    /// Logins on new connections.
    pub connects: u32,
    /// Logins with a newer token on a live connection.
    pub reauths: u32,
    /// Why there is no connection, as far as that is known.
    pub problem: Option<Problem>,
}

impl Health {
    /// Whether a command that is sent now will be sent. It stays so while the connection logs in again,
    /// and ends when a reply is overdue.
    pub fn is_ready(&self) -> bool {
        self.connection.is_some_and(|connection| connection.ready)
    }

    /// Time goes on to `now`.
    pub(crate) fn pass(&mut self, now: Instant) {
        let passed = now.since(self.at);
        self.connection = self.connection.map(|connection| connection.after(passed));
        self.at = now;
    }

    /// Takes in how the connection stands. One that serves is no problem any more.
    pub(crate) fn settle(&mut self, connection: &ConnectionHealth) {
        self.connection = Some(*connection);
        if connection.ready && connection.generation.is_some() {
            self.problem = None;
        } else if connection.is_overdue() {
            let reason = redis_entraid_core::connection::CloseReason::Unresponsive;
            self.problem = Some(Problem::Ended(reason));
        }
    }

    /// Why there is no valid token, if that is known.
    fn no_token(&self) -> Option<Problem> {
        let token = self.token?;
        let lives = token.expires_in.is_some_and(|left| !left.is_zero());
        token.last_error.filter(|_| !lives).map(Problem::Token)
    }

    pub(crate) fn observe(&mut self, event: &Event) {
        match event {
            Event::FetchFailed { error, .. } => self.problem = Some(Problem::Token(*error)),
            Event::LoggedIn { .. } => {
                self.connects = self.connects.saturating_add(1);
                self.problem = None;
            }
            Event::Reauthenticated { .. } => self.reauths = self.reauths.saturating_add(1),
            Event::Disconnected { reason } => {
                self.connection = None;
                self.problem = Some(match reason {
                    redis_entraid_core::connection::CloseReason::Refused(error) => {
                        Problem::Login(*error)
                    }
                    reason => self.no_token().unwrap_or(Problem::Ended(*reason)),
                });
            }
            _ => {}
        }
    }
}

/// What there is to do without being asked, and when.
#[derive(Debug)]
pub(crate) struct Agenda {
    /// What is waited for; those that are free never come.
    alarms: [Instant; 6],
    /// A token is being fetched.
    pub(crate) fetching: bool,
    /// A connection is being made, or has something to send or to hear.
    pub(crate) talking: bool,
    /// A message may come at any time.
    pub(crate) listening: bool,
}

impl Agenda {
    pub(crate) const fn new() -> Self {
        // It begins by fetching.
        let alarms = [Instant::FAR_FUTURE; 6];
        Self { alarms, fetching: true, talking: false, listening: false }
    }

    /// Notes an alarm. Says where, if there is a place. One that never comes needs none.
    pub(crate) fn note(&mut self, at: Instant) -> Option<usize> {
        if at == Instant::FAR_FUTURE {
            return None;
        }
        let (place, alarm) =
            self.alarms.iter_mut().enumerate().find(|(_, alarm)| **alarm == Instant::FAR_FUTURE)?;
        *alarm = at;
        Some(place)
    }

    /// Forgets the alarm at `place`.
    pub(crate) fn forget(&mut self, place: usize) {
        if let Some(alarm) = self.alarms.get_mut(place) {
            *alarm = Instant::FAR_FUTURE;
        }
    }

    /// For how long there is nothing to do.
    pub(crate) fn rest(&self, now: Instant) -> Duration {
        if self.fetching || self.talking || self.listening {
            return Duration::ZERO;
        }
        self.alarms.iter().min().map_or(Duration::ZERO, |next| next.since(now))
    }
}

#[cfg(test)]
mod tests {
    use redis_entraid_core::connection::CloseReason;
    use redis_entraid_core::manager::{Action, TokenManager};
    use redis_entraid_core::policy::{Jitter, RefreshPolicy};
    use redis_entraid_core::secret::Secret;
    use redis_entraid_core::source::SourceError;
    use redis_entraid_core::token::Token;

    use super::*;

    #[test]
    fn a_connection_that_ended_for_want_of_a_token_has_a_problem_with_that() {
        let secs = |n: u64| Instant::from_millis(n * 1000);
        let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 64]; 2]);
        let token = Token::new(Secret::new("token")).with_user("oid");
        manager.push(secs(0), &token.with_expires_in(Duration::from_secs(60))).unwrap();
        let Action::Fetch { request, .. } = manager.poll(secs(50)) else { panic!("it is due") };
        manager.failed(secs(50), request, SourceError::TimedOut);
        let ended = |at, reason| {
            let mut health = Health { token: Some(manager.health(secs(at))), ..Health::default() };
            health.observe(&Event::Disconnected { reason });
            health.problem
        };
        let by_server = Some(Problem::Ended(CloseReason::ByServer));
        assert_eq!(ended(59, CloseReason::ByServer), by_server);
        let no_token = Some(Problem::Token(SourceError::TimedOut));
        assert_eq!(ended(60, CloseReason::LoginExpired), no_token);
    }

    #[test]
    fn who_has_something_under_way_may_not_sleep() {
        let (now, minute) = (Instant::from_millis(0), Duration::from_secs(60));
        let mut agenda = Agenda::new();
        assert_eq!(agenda.rest(now), Duration::ZERO);
        agenda.fetching = false;
        let late = agenda.note(now + minute * 2).unwrap();
        let early = agenda.note(now + minute).unwrap();
        assert_eq!(agenda.rest(now), minute);
        agenda.forget(early);
        assert_eq!(agenda.rest(now), minute * 2);
        agenda.talking = true;
        assert_eq!(agenda.rest(now), Duration::ZERO);
        (agenda.talking, agenda.fetching) = (false, true);
        assert_eq!(agenda.rest(now), Duration::ZERO);
        agenda.fetching = false;
        agenda.forget(late);
        assert!(agenda.rest(now) > minute * 1_000_000);
    }

    #[test]
    fn who_waits_for_ever_takes_nobodys_place() {
        let (now, minute) = (Instant::from_millis(0), Duration::from_secs(60));
        let mut agenda = Agenda { fetching: false, ..Agenda::new() };
        let never = agenda.note(Instant::FAR_FUTURE);
        agenda.note(now + minute).unwrap();
        if let Some(place) = never {
            agenda.forget(place);
        }
        assert_eq!(agenda.rest(now), minute);
    }
}
