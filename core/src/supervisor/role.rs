//! The inputs and outputs of a supervisor.

use crate::time::Instant;

/// Whether a connection is needed. Each variant is a stronger demand than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Demand {
    /// No caller needs one. It is kept all the same, unless the last one was closed as
    /// [idle](crate::connection::Idle::Close) or it is made [on demand](super::Supervisor::on_demand).
    #[default]
    None,
    /// A caller needed one lately, and may come back.
    Lately,
    /// A caller waits for it: it is dialed sooner after failures.
    Waiting,
}

/// What to do at a place. May change with each call that changes the supervisor, and with the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Role {
    /// Nothing: drop what is dialed here.
    Empty,
    /// Dial. Drop an attempt of another number.
    Dial(DialAttempt),
    /// The connection logs in and gets what it needs to take over, but no commands.
    Prepare,
    /// The connection takes commands.
    Serve,
    /// As [`Serve`](Self::Serve), until it can pause: no transaction, `WATCH` or blocking command is
    /// open. Then call [`paused`](super::Supervisor::paused).
    Pause,
    /// The connection takes no more commands and ends when those that it has are answered: see
    /// [`Connection::retire`](crate::connection::Connection::retire).
    Retire,
    /// The time for the handover is over: close the connection.
    Close,
}

/// An attempt to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DialAttempt {
    /// Differs from attempt to attempt.
    pub number: u32,
    /// Until when: report [`dial_failed`](super::Supervisor::dial_failed) then.
    pub until: Instant,
}

/// Why one connection takes the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HandoverReason {
    /// Its login ends and it can't log in again: a RESP2 subscriber, or its logins are refused.
    LoginEnds,
    /// TLS allows no more records with these keys.
    Rekey,
    /// The caller asked for it.
    Asked,
}

/// A request to replace the connection that serves with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Handover {
    /// Why.
    pub reason: HandoverReason,
    /// The old one's deadline to finish, once the new one is there. What is still open then is lost.
    pub by: Instant,
}

impl Handover {
    /// For `reason`, and the old connection may take as long as it needs.
    pub const fn new(reason: HandoverReason) -> Self {
        Self { reason, by: Instant::FAR_FUTURE }
    }
}

/// What a connection that has ended leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Succession {
    /// There is no other connection.
    Nobody,
    /// The connection at this place serves from now on.
    By(usize),
    /// It was to take the place of the one there, which stays.
    Of(usize),
}
