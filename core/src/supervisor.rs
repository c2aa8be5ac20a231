//! When to dial, which connection serves, and when another one takes its place.
//!
//! A [`Supervisor`] decides; a host dials and moves bytes. It compares what is wanted with what there
//! is at each [`update`](Supervisor::update), so that the next one makes up for a lost event.
//! With two places it opens a connection before it closes the old one; with one place, where there is
//! memory for one connection, it closes the old one first, and commands wait.
//!
//! ```
//! use redis_entraid_core::policy::Jitter;
//! use redis_entraid_core::connection::CloseReason;
//! use redis_entraid_core::reconnect::ReconnectPolicy;
//! use redis_entraid_core::supervisor::{Demand, Handover, HandoverReason, Role, Succession, Supervisor};
//! use redis_entraid_core::time::Instant;
//!
//! let now = Instant::from_millis(0);
//! let mut supervisor: Supervisor<2> = Supervisor::new(ReconnectPolicy::default(), Jitter::new(7));
//! supervisor.update(now, true, Demand::Waiting);
//! assert!(matches!(supervisor.role(0, now), Role::Dial(_)));
//! supervisor.dialed(0);
//! assert_eq!(supervisor.role(0, now), Role::Serve);
//!
//! // TLS needs new keys: another connection is made, and takes commands when the old one has ended.
//! supervisor.hand_over(Handover::new(HandoverReason::Rekey));
//! supervisor.update(now, true, Demand::None);
//! assert!(matches!(supervisor.role(1, now), Role::Dial(_)));
//! supervisor.dialed(1);
//! supervisor.settled(1);
//! assert_eq!((supervisor.role(0, now), supervisor.role(1, now)), (Role::Pause, Role::Prepare));
//! supervisor.paused(0);
//! assert_eq!((supervisor.role(0, now), supervisor.role(1, now)), (Role::Retire, Role::Prepare));
//! let succession = supervisor.ended(0, CloseReason::Replaced);
//! assert_eq!((succession, supervisor.role(1, now)), (Succession::By(1), Role::Serve));
//! ```

mod role;

use crate::auth::LoginError;
use crate::connection::CloseReason;
use crate::event::Event;
use crate::manager::{Pull, TokenManager};
use crate::policy::Jitter;
use crate::reconnect::{Dial, Reconnect, ReconnectPolicy};
use crate::storage::Storage;
use crate::time::Instant;
use crate::transport::ConnectErrorKind;

pub use role::{Demand, DialAttempt, Handover, HandoverReason, Role, Succession};

/// A place for a connection.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum Place {
    Empty,
    Dialing(DialAttempt),
    /// Another one serves.
    Preparing {
        is_settled: bool,
    },
    Serving,
    /// It answers what it has, until then.
    Retiring {
        by: Instant,
    },
}

impl Place {
    /// Whether it has commands or takes some.
    const fn is_in_use(&self) -> bool {
        matches!(self, Self::Serving | Self::Retiring { .. })
    }

    const fn is_coming(&self) -> bool {
        matches!(self, Self::Dialing(_) | Self::Preparing { .. })
    }
}

/// What went wrong last, as far as it decides whether waiting can help.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum Trouble {
    None,
    /// `again`: the attempt before failed in the same way.
    Dial {
        kind: ConnectErrorKind,
        again: bool,
    },
    Login(LoginError),
}

/// Supervises the connections to one endpoint: `N` of them while one takes the place of another.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Supervisor<const N: usize> {
    places: [Place; N],
    reconnect: Reconnect,
    handover: Option<Handover>,
    trouble: Trouble,
    /// A connection is made for a caller only, always or this time.
    on_demand: bool,
    is_dormant: bool,
    attempts: u32,
    /// When to dial, if it is too early.
    dial_at: Instant,
}

impl<const N: usize> Supervisor<N> {
    /// Before the first connection, which is dialed as soon as there is a token. `jitter` spreads the
    /// attempts of many processes.
    pub const fn new(policy: ReconnectPolicy, jitter: Jitter) -> Self {
        Self {
            places: [Place::Empty; N],
            reconnect: Reconnect::new(policy, jitter),
            handover: None,
            trouble: Trouble::None,
            on_demand: false,
            is_dormant: false,
            attempts: 0,
            dial_at: Instant::FAR_FUTURE,
        }
    }

    /// Dials only when a caller needs a connection: the nodes of a cluster come and go.
    #[must_use]
    pub const fn on_demand(mut self) -> Self {
        (self.on_demand, self.is_dormant) = (true, true);
        self
    }

    /// Compares the wanted state with the actual one. Call it when `demand` or the tokens have changed,
    /// after each other call that changes something, and at [`next_deadline`](Self::next_deadline).
    /// More often is harmless. `has_token` is
    /// [`is_worth_a_login`](TokenManager::is_worth_a_login).
    pub fn update(&mut self, now: Instant, has_token: bool, demand: Demand) {
        self.dial_at = Instant::FAR_FUTURE;
        let in_use = self.places.iter().any(Place::is_in_use);
        if !in_use {
            self.handover = None;
        }
        let is_wanted = match (in_use, self.handover) {
            (true, handover) => N > 1 && handover.is_some(),
            (false, _) => !self.is_dormant || demand > Demand::None,
        };
        if !is_wanted && !in_use {
            // No caller waits for the dial any more.
            for place in self.places.iter_mut().filter(|place| place.is_coming()) {
                *place = Place::Empty;
            }
        }
        if is_wanted && has_token && !self.is_coming() {
            self.dial(now, in_use || demand == Demand::Waiting);
        }
        if let Some(Handover { by, .. }) = self.handover
            && now >= by
            && self.is_replaceable()
        {
            for place in self.places.iter_mut().filter(|place| matches!(place, Place::Serving)) {
                *place = Place::Retiring { by };
            }
        }
    }

    /// Whether a connection is dialed, or prepares to take over.
    pub(crate) fn is_coming(&self) -> bool {
        self.places.iter().any(Place::is_coming)
    }

    fn dial(&mut self, now: Instant, is_waited_for: bool) {
        match self.reconnect.poll(now, is_waited_for) {
            Dial::Now => {
                if let Some(place) = self.places.iter_mut().find(|it| matches!(it, Place::Empty)) {
                    self.attempts = self.attempts.wrapping_add(1);
                    let until = now.plus(self.reconnect.connect_timeout());
                    *place = Place::Dialing(DialAttempt { number: self.attempts, until });
                }
            }
            Dial::Wait { until } => self.dial_at = until,
        }
    }

    /// Whether what takes the place of the connection that serves is there, or nothing does before.
    fn is_replaceable(&self) -> bool {
        let is_ready = |place: &Place| matches!(place, Place::Preparing { is_settled: true });
        N == 1 || self.places.iter().any(is_ready)
    }

    /// Returns what to do at the place of that number, from 0 on.
    pub fn role(&self, place: usize, now: Instant) -> Role {
        match self.places.get(place) {
            None | Some(Place::Empty) => Role::Empty,
            Some(Place::Dialing(attempt)) => Role::Dial(*attempt),
            Some(Place::Preparing { .. }) => Role::Prepare,
            Some(Place::Serving) if self.handover.is_some() && self.is_replaceable() => Role::Pause,
            Some(Place::Serving) => Role::Serve,
            Some(Place::Retiring { by }) if now >= *by => Role::Close,
            Some(Place::Retiring { .. }) => Role::Retire,
        }
    }

    /// Returns the place of the connection that takes commands, or answers the last ones.
    pub fn serving(&self) -> Option<usize> {
        self.places.iter().position(Place::is_in_use)
    }

    /// Returns when to call [`update`](Self::update) at the latest, and to look at each
    /// [`role`](Self::role) again. Changes with each call that changes something.
    pub fn next_deadline(&self) -> Instant {
        let handover = match self.handover {
            Some(Handover { by, .. }) if self.is_replaceable() => by,
            _ => Instant::FAR_FUTURE,
        };
        let places = self.places.iter().map(|place| match place {
            Place::Dialing(DialAttempt { until, .. }) => *until,
            Place::Retiring { by } => *by,
            _ => Instant::FAR_FUTURE,
        });
        places.fold(self.dial_at.min(handover), Instant::min)
    }

    /// There is a transport: the connection at `place` begins. Does nothing if none was dialed there.
    pub fn dialed(&mut self, place: usize) {
        let in_use = self.places.iter().any(Place::is_in_use);
        if let Some(place @ Place::Dialing(_)) = self.places.get_mut(place) {
            *place = if in_use { Place::Preparing { is_settled: false } } else { Place::Serving };
        }
    }

    /// No transport could be made. Returns the event to report; `None` if none was dialed there.
    pub fn dial_failed(
        &mut self,
        place: usize,
        now: Instant,
        kind: ConnectErrorKind,
    ) -> Option<Event> {
        let place = self.places.get_mut(place)?;
        let Place::Dialing(_) = place else { return None };
        *place = Place::Empty;
        let again = matches!(self.trouble, Trouble::Dial { kind: before, .. } if before == kind);
        self.trouble = Trouble::Dial { kind, again };
        Some(Event::DialFailed { next_in: self.reconnect.failed(now) })
    }

    /// The connection at `place` has logged in, and has what it needs to take over: its subscriptions,
    /// for example. Returns whether that is new.
    pub fn settled(&mut self, place: usize) -> bool {
        match self.places.get_mut(place) {
            Some(Place::Preparing { is_settled }) => !core::mem::replace(is_settled, true),
            _ => false,
        }
    }

    /// The connection at `place` takes no more commands from now on.
    pub fn paused(&mut self, place: usize) {
        let by = self.handover.map_or(Instant::FAR_FUTURE, |handover| handover.by);
        if let Some(place @ Place::Serving) = self.places.get_mut(place) {
            *place = Place::Retiring { by };
        }
    }

    /// Takes in what happened to a connection. Hand it each [`Event`] of each connection.
    pub fn observe(&mut self, now: Instant, event: &Event) {
        self.reconnect.observe(now, event);
        match event {
            Event::LoggedIn { .. } => self.trouble = Trouble::None,
            Event::ReplacementDue { ends_in } => {
                self.hand_over(Handover {
                    by: now.plus(*ends_in),
                    reason: HandoverReason::LoginEnds,
                });
            }
            Event::Disconnected { reason } => {
                self.trouble = match reason {
                    CloseReason::Refused(error) => Trouble::Login(*error),
                    _ => Trouble::None,
                };
            }
            _ => {}
        }
    }

    /// Asks for another connection in place of the one that serves. If none serves, it does
    /// nothing. Of two requests, the one with the earlier deadline holds. Returns whether this one does.
    pub fn hand_over(&mut self, handover: Handover) -> bool {
        let is_sooner = self.handover.is_none_or(|known| handover.by < known.by);
        let holds = is_sooner && self.places.iter().any(|place| matches!(place, Place::Serving));
        if holds {
            self.handover = Some(handover);
        }
        holds
    }

    /// The connection at `place` has ended.
    pub fn ended(&mut self, place: usize, reason: CloseReason) -> Succession {
        let Some(ended) = self.places.get_mut(place) else { return Succession::Nobody };
        let was_in_use = core::mem::replace(ended, Place::Empty).is_in_use();
        if !was_in_use {
            return self.serving().map_or(Succession::Nobody, Succession::Of);
        }
        self.handover = None;
        self.is_dormant = self.on_demand || reason == CloseReason::Idle;
        let heir = self.places.iter().position(|place| matches!(place, Place::Preparing { .. }));
        match heir.and_then(|at| Some((at, self.places.get_mut(at)?))) {
            Some((at, heir)) => {
                *heir = Place::Serving;
                Succession::By(at)
            }
            None => Succession::Nobody,
        }
    }

    /// Returns whether it is useless to wait for the first connection: a waiting caller must be
    /// told at once. May change whenever something fails or a token comes.
    pub fn is_hopeless<M: Storage<u8>>(&self, now: Instant, manager: &TokenManager<M>) -> bool {
        let no_better_token = || {
            // A token that nobody has refused yet may be better than the one that was, and so may one
            // that is on its way.
            let is_coming = manager.login(now).is_some() && !manager.is_worth_a_login(now);
            manager.pull(now) == Pull::FetchFirst && !is_coming
        };
        let is_refused = match self.trouble {
            // One front end of many may have left a part of its chain out: the next one is tried.
            Trouble::Dial { kind: ConnectErrorKind::Tls, again } => return again,
            Trouble::Dial { kind: ConnectErrorKind::Host, .. } => return true,
            Trouble::Login(error) => !error.is_transient(),
            _ => false,
        };
        let no_token = || {
            let error = manager.health(now).last_error;
            error.is_some_and(|error| !manager.is_retryable(&error))
        };
        (is_refused || no_token()) && no_better_token()
    }
}

#[cfg(test)]
mod tests;
