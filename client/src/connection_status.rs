//! The status of a client's connection, and what went wrong last.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use core::time::Duration;

use super::error::{Cause, ConnectError, Error, FetchError};
use redis_entraid_core::connection::{CloseReason, ConnectionHealth};
use redis_entraid_core::event::Event;
use redis_entraid_core::manager::TokenHealth;
use redis_entraid_core::source::SourceError;
use redis_entraid_core::time::Instant;
use redis_entraid_core::transport::{ConnectError as _, Endpoint};

/// Hears all that happens to the connections of one client, one after the other.
#[derive(Clone, Debug, Default)]
pub struct ConnectionStatus {
    /// How the connection stood, and when that was.
    connection: Option<(Instant, ConnectionHealth)>,
    connects: u32,
    reauths: u32,
    problem: Option<Box<Error>>,
    /// When the dial began that is under way.
    dialing: Option<Instant>,
    /// Why the connection breaks, which is said next.
    cause: Option<Cause>,
}

impl ConnectionStatus {
    /// Before the first connection.
    pub const fn new() -> Self {
        let (connection, problem, dialing, cause) = (None, None, None, None);
        Self { connection, connects: 0, reauths: 0, problem, dialing, cause }
    }

    /// Returns why there is no connection, as far as that is known.
    pub fn problem(&self) -> Option<&Error> {
        self.problem.as_deref()
    }

    /// Returns why there was no connection in time. `has_token` is whether there is a token that lives.
    pub fn too_late(&self, now: Instant, has_token: bool, endpoint: &Endpoint<'_>) -> Error {
        match (&self.problem, self.dialing) {
            (Some(problem), _) => (**problem).clone(),
            // The source has been silent all the time.
            (None, _) if !has_token => Error::Token(Arc::new(SourceError::TimedOut.into())),
            (None, Some(since)) => {
                let unanswered = endpoint.unanswered(now.since(since));
                let to = format!("{}:{}", endpoint.address, endpoint.port);
                let error = ConnectError::new(unanswered.kind(), to, unanswered.to_string());
                Error::Connect(Arc::new(error))
            }
            (None, None) => Error::Unavailable { cause: None },
        }
    }

    /// How the connection stood when it last had something to do, if there is one.
    pub fn connection(&self) -> Option<&ConnectionHealth> {
        self.connection.as_ref().map(|(_, health)| health)
    }

    /// Why a subscription wasn't confirmed for as long as a command may take: there was no
    /// connection, or the server on it did not answer.
    pub fn unconfirmed(&self) -> Error {
        match self.problem() {
            // It was just given up for that.
            Some(Error::Ended { reason: CloseReason::Unresponsive, .. }) => Error::Unconfirmed,
            _ if self.is_logged_in() => Error::Unconfirmed,
            _ => Error::Unavailable { cause: self.problem.clone() },
        }
    }

    /// Logins on new connections.
    pub const fn connects(&self) -> u32 {
        self.connects
    }

    /// Returns whether a login was accepted, and the health of the connection shows it, if there is one.
    pub fn has_logged_in(&self) -> bool {
        self.connects > 0 && (self.connection.is_none() || self.is_logged_in())
    }

    fn is_logged_in(&self) -> bool {
        self.connection().is_some_and(|health| health.generation.is_some())
    }

    /// Logins with a newer token on a live connection.
    pub const fn reauths(&self) -> u32 {
        self.reauths
    }

    /// Notes why there is no token.
    pub fn no_token(&mut self, error: Arc<FetchError>) {
        self.problem = Some(Box::new(Error::Token(error)));
    }

    /// Notes that a dial begins.
    pub const fn dials(&mut self, now: Instant) {
        self.dialing = Some(now);
    }

    /// Notes that a dial has ended: there is a transport, or no caller needs it any more.
    pub const fn dial_ended(&mut self) {
        self.dialing = None;
    }

    /// Notes that dialing failed.
    pub fn dial_failed(&mut self, error: ConnectError) {
        self.dialing = None;
        self.problem = Some(Box::new(Error::Connect(Arc::new(error))));
    }

    /// Takes in how the connection stands. Returns whether it has logged in since the last call.
    pub fn set_health(&mut self, now: Instant, health: ConnectionHealth) -> bool {
        let before = self.is_logged_in();
        self.connection = Some((now, health));
        // It may take commands before it has logged in.
        if health.ready && self.is_logged_in() {
            self.problem = None;
        } else if health.is_overdue() {
            let reason = CloseReason::Unresponsive;
            self.problem = Some(Box::new(Error::Ended { reason, cause: None }));
        }
        self.is_logged_in() && !before
    }

    /// There is no connection any more, nor one that takes its place.
    pub const fn gone(&mut self) {
        self.connection = None;
    }

    /// Notes why the connection breaks, in the words of the network, before it has ended.
    pub fn broke(&mut self, cause: Cause) {
        self.cause = Some(cause);
    }

    /// Takes in what happened to the connection.
    pub fn observe(&mut self, event: &Event) {
        match event {
            Event::LoggedIn { .. } => {
                self.connects = self.connects.saturating_add(1);
                self.problem = None;
            }
            Event::Reauthenticated { .. } => self.reauths = self.reauths.saturating_add(1),
            // Another one has taken its place, or does so now: who looks meanwhile sees one that is ready.
            Event::Disconnected { reason: CloseReason::Replaced } => {}
            Event::Disconnected { reason } => {
                self.connection = None;
                let cause = self.cause.take();
                self.problem = Some(Box::new(match *reason {
                    CloseReason::Refused(error) => Error::Login(error),
                    reason => Error::Ended { reason, cause },
                }));
            }
            _ => {}
        }
    }
}

/// How a client or a subscriber stands. Never shows the token.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Health {
    /// The identity's token.
    pub token: TokenHealth,
    /// The connection, while there is one.
    pub connection: Option<ConnectionHealth>,
    /// Connections that were made after the first.
    pub reconnects: u32,
    /// Logins with a newer token on a live connection.
    pub reauths: u32,
}

impl Health {
    /// As token and connection stand at `now`.
    pub fn new(now: Instant, token: TokenHealth, status: &ConnectionStatus) -> Self {
        let ConnectionStatus { connection, connects, reauths, .. } = *status;
        let connection = connection.map(|(at, health)| health.after(now.since(at)));
        Self { token, connection, reconnects: connects.saturating_sub(1), reauths }
    }

    /// Whether a command that is sent now will be sent: for readiness probes. It stays so while the
    /// connection logs in again, and ends when a reply is overdue.
    pub fn is_ready(&self) -> bool {
        self.connection.is_some_and(|connection| connection.ready)
    }

    /// How old the token is.
    pub const fn token_age(&self) -> Option<Duration> {
        self.token.age
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis_entraid_core::connection::{Config, Connection, Output, Pending};
    use redis_entraid_core::manager::TokenManager;
    use redis_entraid_core::policy::{Jitter, RefreshPolicy};
    use redis_entraid_core::secret::Secret;
    use redis_entraid_core::token::Token;

    #[test]
    fn readiness_begins_with_a_login_and_ends_with_it_while_nothing_happens() {
        let secs = |n: u64| Instant::from_millis(n * 1000);
        let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 64]; 2]);
        let token = Token::new(Secret::new("token")).with_user("oid");
        manager.push(secs(0), &token.with_expires_in(Duration::from_secs(3600))).unwrap();
        let ring = [Pending::default(); 1];
        let mut connection = Connection::new(Config::new(0), [0; 256], [0; 256], ring);
        connection.update(secs(0), &mut manager);
        let len = connection.transmit().len();
        connection.sent(len);
        let mut status = ConnectionStatus::new();
        assert!(!status.set_health(secs(0), connection.health(secs(0))));
        let answer = b"%1\r\n+proto\r\n:3\r\n";
        connection.receive_space()[..answer.len()].copy_from_slice(answer);
        connection.received(secs(0), answer.len());
        while let Some(output) = connection.next(secs(0)) {
            if let Output::Event(event) = output {
                status.observe(&event);
            }
        }
        // Callers that wait for the login go on when it is ready, not before.
        assert!(status.connects() == 1 && !status.has_logged_in());
        assert!(status.set_health(secs(0), connection.health(secs(0))) && status.has_logged_in());
        assert!(!status.set_health(secs(0), connection.health(secs(0))), "it is no news");
        for (passed, ready) in [(0, true), (3599, true), (3600, false), (9999, false)] {
            let now = secs(passed);
            let health = Health::new(now, manager.health(now), &status);
            let ends_in = health.connection.unwrap().login_ends_in;
            assert_eq!((ends_in, health.is_ready()), (health.token.expires_in, ready), "{passed}");
        }
        // The moment in which another connection takes its place is not visible.
        status.observe(&Event::Disconnected { reason: CloseReason::Replaced });
        assert!(status.connection().is_some());
        status.gone();
        assert!(status.connection().is_none());
    }
}
