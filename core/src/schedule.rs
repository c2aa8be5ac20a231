//! When a connection logs in, and with which token: the login schedule, without a socket.
//!
//! One [`LoginSchedule`] for each connection, beside the one [`TokenManager`] of its identity. It says
//! when the next `AUTH` is due, so that the logins of many connections are spread and each is made
//! long before the last one ends; what to do when the server refuses one; and when nothing helps but
//! another connection. The [`connection`](crate::connection) of this crate uses it, and so can any
//! other client:
//!
//! ```
//! use core::time::Duration;
//! use redis_entraid_core::auth::LoginError;
//! use redis_entraid_core::manager::TokenManager;
//! use redis_entraid_core::policy::{Jitter, RefreshPolicy};
//! use redis_entraid_core::schedule::{Can, Due, LoginSchedule};
//! use redis_entraid_core::secret::Secret;
//! use redis_entraid_core::time::Instant;
//! use redis_entraid_core::token::Token;
//!
//! let minutes = |n: u64| Instant::from_millis(n * 60_000);
//! let hour = |text| Token::new(Secret::new(text)).with_user("oid")
//!     .with_expires_in(Duration::from_secs(3600));
//! let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::new(7), [[0; 64]; 2]);
//! manager.push(minutes(0), &hour("first")).unwrap();
//! # let mut my_client = |user: &str, token: &str| -> Result<(), LoginError> {
//! #     if token == "second" { Err(LoginError::Unavailable) } else { Ok(()) }
//! # };
//!
//! // The first login of a connection is due at once.
//! let mut schedule = LoginSchedule::new(7);
//! let Due::Login(attempt) = schedule.poll(minutes(0), &manager, Can::Login) else { unreachable!() };
//! let login = manager.get(attempt.generation).unwrap();
//! schedule.sent(minutes(0), attempt);
//! my_client(login.user(), login.expose()).unwrap();
//! schedule.accepted(&mut manager);
//!
//! // The next one is due a little after the next token is there, at a time of this connection's own.
//! manager.push(minutes(42), &hour("second")).unwrap();
//! let Due::Wait { until } = schedule.poll(minutes(42), &manager, Can::Login) else { unreachable!() };
//! assert!(until <= minutes(45));
//! let Due::Login(attempt) = schedule.poll(until, &manager, Can::Login) else { unreachable!() };
//! schedule.sent(until, attempt);
//!
//! // The server can't check logins now: the first login stays valid, and the next attempt follows later.
//! let login = manager.get(attempt.generation).unwrap();
//! if let Err(error) = my_client(login.user(), login.expose()) {
//!     schedule.refused(until, error, &mut manager);
//! }
//! let Due::Wait { until: again } = schedule.poll(until, &manager, Can::Login) else { unreachable!() };
//! assert_eq!(again, until + Duration::from_secs(1));
//! ```

use core::time::Duration;

use crate::auth::LoginError;
use crate::jwt::Audience;
use crate::manager::{Credentials, Generation, TokenManager};
use crate::policy::Backoff;
use crate::storage::Storage;
use crate::time::Instant;

/// The waits after logins that were refused, while an earlier one serves.
const RETRY: Backoff =
    Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(30), multiplier: 2 };

/// How long a login has to last until another one is sent for it.
const LOGIN_LASTS: Duration = Duration::from_secs(1);

/// When one connection logs in, and with which token.
///
/// ```text
///           poll: Login             accepted
///   ┌─────┐ ──────────▶ ┌──────┐ ──────────────▶ ┌────┐
///   │ out │    sent     │ sent │                 │ in │ ──▶ poll: Replace, Close
///   └─────┘             └──────┘ ◀────────────── └────┘
///                           │      poll: Login      ▲
///                           ▼ refused               │ refused: the earlier login serves on
///                          over, without an earlier one
/// ```
///
/// A new connection has a new schedule.
#[derive(Clone, Debug)]
pub struct LoginSchedule {
    id: u64,
    state: State,
    /// The login that was sent, and isn't answered.
    sent: Option<Held>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Not logged in yet.
    Out,
    In {
        have: Held,
        /// Newer logins that were refused since.
        refusals: Option<Refusals>,
    },
    /// There is no login any more, and there comes none.
    Over,
}

/// A login that a connection has, or is about to have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) generation: Generation,
    pub(crate) ends: Instant,
    audience: Audience,
    /// When the server was asked for it.
    since: Instant,
    /// The server has forgotten it.
    pub(crate) lost: bool,
}

#[derive(Clone, Copy, Debug)]
struct Refusals {
    count: u32,
    last: LoginError,
    /// No other login before then.
    not_before: Instant,
}

/// Whether a login can be sent on a connection that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Can {
    /// It can, now or when what is under way is answered.
    Login,
    /// It can't: a RESP2 connection with subscriptions takes no `AUTH`.
    Never,
}

/// A login to send.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Attempt {
    /// With which token: see [`TokenManager::get`].
    pub generation: Generation,
    /// When the token ends: later, the login is worth nothing.
    pub by: Instant,
    /// Whether it is the first login of the connection.
    pub first: bool,
    #[cfg_attr(feature = "defmt", defmt(Debug2Format))]
    audience: Audience,
}

impl Attempt {
    const fn with(login: &Credentials<'_>, first: bool) -> Self {
        let (generation, by) = (login.generation(), login.expires_at());
        Self { generation, by, first, audience: login.audience() }
    }
}

/// What a connection has to do about its login.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
#[non_exhaustive]
pub enum Due {
    /// Nothing before then, unless the manager has news.
    Wait {
        /// When to poll again.
        until: Instant,
    },
    /// Send this login, as soon as no command is in its way, and then call [`LoginSchedule::sent`].
    Login(Attempt),
    /// Open another connection and move over to it: this one can't log in again.
    Replace {
        /// When its login ends.
        by: Instant,
        /// The token that the other one logs in with.
        generation: Generation,
    },
    /// Close the connection: it has no login any more, and gets none.
    Close,
}

impl LoginSchedule {
    /// For a new connection. `id` differs from connection to connection: it decides when, within the
    /// spread of the policy, this one logs in again.
    pub const fn new(id: u64) -> Self {
        Self { id, state: State::Out, sent: None }
    }

    /// What is due at `now`. The answer is the same until the time that it names, unless something is
    /// told to the schedule or to the manager.
    pub fn poll<M: Storage<u8>>(
        &mut self,
        now: Instant,
        manager: &TokenManager<M>,
        can: Can,
    ) -> Due {
        if let Some(sent) = &self.sent {
            return if now < sent.ends { Due::Wait { until: sent.ends } } else { Due::Close };
        }
        let (have, refusals) = match &mut self.state {
            State::In { have, refusals } => (have, refusals),
            State::Out => {
                let first = |login| Due::Login(Attempt::with(&login, true));
                return manager.login(now).map_or(Due::Wait { until: Instant::FAR_FUTURE }, first);
            }
            State::Over => return Due::Close,
        };
        if let Some(known) = manager.get(have.generation) {
            // It may end earlier than was thought.
            have.ends = have.ends.min(known.expires_at());
        }
        if now >= have.ends {
            return Due::Close;
        }
        if have.lost {
            let again = manager.login(now).filter(|_| can == Can::Login);
            return again.map_or(Due::Close, |login| Due::Login(Attempt::with(&login, false)));
        }
        let Some(newer) = manager.newer_than(have.generation, now) else {
            return Due::Wait { until: have.ends };
        };
        let due = manager.reauth_at(self.id, have.ends);
        // Refused again and again, it is given up in the middle of what time is left.
        let last = have.ends.before(manager.lead_millis(have.ends.millis_since(due)) / 2);
        let refused = refusals.filter(|refusals| refusals.count > 1).is_some();
        if now >= due && (can == Can::Never || refused && now >= last) {
            let generation = newer.generation();
            return Due::Replace { by: have.ends, generation };
        }
        let due = refusals.map_or(due, |refusals| due.max(refusals.not_before));
        if now >= due {
            return Due::Login(Attempt::with(&newer, false));
        }
        Due::Wait { until: if refused { due.min(last) } else { due } }
    }

    /// Notes that a login was sent: the one that [`poll`](Self::poll) answered with.
    pub fn sent(&mut self, now: Instant, attempt: Attempt) {
        let Attempt { generation, by: ends, audience, .. } = attempt;
        self.sent = Some(Held { generation, ends, audience, since: now, lost: false });
    }

    /// Takes in that the server said `+OK`, and tells `manager`.
    pub fn accepted<M: Storage<u8>>(&mut self, manager: &mut TokenManager<M>) {
        if let Some(generation) = self.assumed() {
            manager.accepted(generation);
        }
    }

    /// Treats the login that was sent as accepted, for clients that give no feedback. Returns its
    /// token.
    pub fn assumed(&mut self) -> Option<Generation> {
        let have = self.sent.take()?;
        self.state = State::In { have, refusals: None };
        Some(have.generation)
    }

    /// Notes that the server refused the login, and tells `manager` if the token was the reason.
    /// An earlier login serves on.
    pub fn refused<M: Storage<u8>>(
        &mut self,
        now: Instant,
        error: LoginError,
        manager: &mut TokenManager<M>,
    ) {
        if let Some((generation, error)) = self.take_refusal(now, error)
            && error.is_rejection()
        {
            manager.rejected(now, generation);
        }
    }

    /// The same, without the manager. Answers with the token, and a reason that may be better known
    /// than to the server.
    pub(crate) fn take_refusal(
        &mut self,
        now: Instant,
        error: LoginError,
    ) -> Option<(Generation, LoginError)> {
        let Held { generation, audience, .. } = self.sent.take()?;
        let error = match (error, audience) {
            (LoginError::WrongPass, Audience::Other) => LoginError::WrongAudience,
            (error, _) => error,
        };
        match &mut self.state {
            State::In { have, refusals } if !have.lost => {
                let count = refusals.map_or(0, |refusals| refusals.count).saturating_add(1);
                let not_before = now.plus(RETRY.delay(count));
                *refusals = Some(Refusals { count, last: error, not_before });
            }
            state => *state = State::Over,
        }
        Some((generation, error))
    }

    /// Takes in that the server has forgotten the login (`NOAUTH`): another one is due at once, unless
    /// this one didn't last for a second. Then close the connection: the next one's first
    /// login waits as long as the reconnect policy says, so there is no hot loop.
    pub fn lost(&mut self, now: Instant) {
        let State::In { have, .. } = &mut self.state else { return };
        if now >= have.since.plus(LOGIN_LASTS) {
            have.lost = true;
        } else {
            self.state = State::Over;
        }
    }

    /// The token of the login that was sent, and isn't answered.
    pub(crate) fn sent_token(&self) -> Option<Generation> {
        self.sent.map(|sent| sent.generation)
    }

    /// The login that serves: not one that is still to be answered.
    pub(crate) const fn have(&self) -> Option<&Held> {
        match &self.state {
            State::In { have, .. } => Some(have),
            _ => None,
        }
    }

    /// How the newest login was refused, if an earlier one serves.
    pub(crate) fn refusal(&self) -> Option<LoginError> {
        match &self.state {
            State::In { refusals, .. } => refusals.map(|refusals| refusals.last),
            _ => None,
        }
    }

    /// When the login ends that serves, or if there is none, the one that was sent.
    pub fn ends(&self) -> Instant {
        self.have().or(self.sent.as_ref()).map_or(Instant::FAR_FUTURE, |held| held.ends)
    }
}

#[cfg(test)]
mod tests;
