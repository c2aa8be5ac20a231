//! The commands of a client's handles.

use alloc::sync::Arc;
use core::error::Error as StdError;
use core::fmt;
use core::ops::Deref;
use core::task::{Context, Poll};

use super::Reporter;
use crate::command_queue::{CommandQueue, QueueState};
use crate::lock::Lock;
use crate::{CommandDispatcher, ConnectionStatus, Ended, QueueDemand};
use redis_entraid_core::connection::{CloseReason, ConnectionHealth, Output};
use redis_entraid_core::drive::{NotNeeded, Outputs, Submit, Workload};
use redis_entraid_core::event::Event;
use redis_entraid_core::supervisor::{Demand, Handover, HandoverReason, Succession};
use redis_entraid_core::time::Instant;
use redis_entraid_core::transport::ConnectError;

/// Gives the commands of a [`CommandQueue`] to one connection after the other.
pub struct CommandWorkload<L: Lock<QueueState>, R> {
    dispatcher: CommandDispatcher<L>,
    reporter: R,
    /// The place of the connection that has the commands.
    serving: usize,
    places: [Known; 2],
    /// The server refused the last login.
    is_refused: bool,
}

/// What is known of a connection.
#[derive(Clone, Copy, Default)]
struct Known {
    is_logged_in: bool,
    health: Option<ConnectionHealth>,
}

impl<L: Lock<QueueState>, R: Deref<Target: Reporter>> CommandWorkload<L, R> {
    /// For the handles of `queue`.
    pub fn new(queue: Arc<CommandQueue<L>>, reporter: R) -> Self {
        let (dispatcher, places) = (CommandDispatcher::new(queue), Default::default());
        Self { dispatcher, reporter, serving: 0, places, is_refused: false }
    }

    fn known(&mut self, place: usize) -> Option<&mut Known> {
        self.places.get_mut(place)
    }

    /// The status is that of the connection that serves.
    fn report_health(&mut self, now: Instant) {
        if let Some(Known { health: Some(health), .. }) = self.places.get(self.serving)
            && self.reporter.status(|status| status.set_health(now, *health))
        {
            self.reporter.set_connected(true);
        }
    }
}

impl<L: Lock<QueueState>, R: Deref<Target: Reporter>> Workload for CommandWorkload<L, R> {
    fn poll_demand(&mut self, cx: &mut Context<'_>) -> Result<Demand, NotNeeded> {
        if let Poll::Ready(Err(_)) = self.dispatcher.poll_demand(cx, QueueDemand::default()) {
            return Err(NotNeeded);
        }
        let QueueDemand { waits, until } = self.dispatcher.demand();
        Ok(match (waits || self.reporter.is_waited_for(), until) {
            (true, _) => Demand::Waiting,
            (false, Some(_)) => Demand::Lately,
            (false, None) => Demand::None,
        })
    }

    fn deadline(&self) -> Instant {
        self.dispatcher.deadline()
    }

    fn expire(&mut self, now: Instant, serves: bool) {
        let Self { dispatcher, reporter, .. } = self;
        match serves {
            true => dispatcher.expire_behind(now),
            false => dispatcher.expire(now, || reporter.problem()),
        }
    }

    fn set_hopeless(&mut self, is_hopeless: bool) {
        let Self { dispatcher, reporter, is_refused, .. } = self;
        reporter.set_hopeless(is_hopeless);
        if is_hopeless && *is_refused {
            dispatcher.refuse(|| reporter.problem());
        }
    }

    fn dials(&mut self, now: Instant) {
        self.reporter.status(|status| status.dials(now));
    }

    fn dial_given_up(&mut self) {
        self.reporter.status(ConnectionStatus::dial_ended);
    }

    fn dial_failed(&mut self, now: Instant, error: &dyn ConnectError, event: &Event) {
        self.reporter.dial_failed(now, error, event);
    }

    fn begins(&mut self, place: usize, _replaces: bool) {
        self.reporter.status(ConnectionStatus::dial_ended);
        if let Some(known) = self.known(place) {
            *known = Known::default();
        }
    }

    fn serves(&mut self, place: usize) {
        (self.serving, self.is_refused) = (place, false);
        self.reporter.endpoint(|endpoint| self.dispatcher.connected(endpoint));
        self.reporter.set_connected(true);
    }

    fn submit(
        &mut self,
        _place: usize,
        prepares: bool,
        cx: &mut Context<'_>,
        now: Instant,
        connection: &mut dyn Submit,
    ) -> Result<bool, NotNeeded> {
        if prepares {
            return Ok(false);
        }
        let submitted = self
            .dispatcher
            .submit(cx, now, &mut |by, tag, command| connection.submit_encoded(by, tag, command));
        match submitted {
            Ok(progress) => return Ok(progress),
            Err(Ended::NotNeeded) => return Err(NotNeeded),
            Err(Ended::Stale) => connection.retire(),
            Err(Ended::Abandoned) => connection.close(CloseReason::Closed),
        }
        Ok(true)
    }

    fn take_handover(&mut self) -> Option<Handover> {
        self.dispatcher.take_handover().then(|| Handover::new(HandoverReason::Asked))
    }

    fn can_pause(&self) -> bool {
        self.dispatcher.can_pause()
    }

    fn outputs(&mut self, place: usize, now: Instant, outputs: &mut dyn Outputs) {
        let Self { dispatcher, reporter, places, .. } = self;
        let mut deliveries = dispatcher.deliver();
        while let Some(output) = outputs.next_output(now) {
            let Some(output) = deliveries.output(output) else { continue };
            // No code of a user's may be called with the slots locked.
            drop(deliveries);
            match output {
                Output::Push(Ok(push)) => reporter.push(push),
                Output::Event(event) => {
                    if let (Event::LoggedIn { .. }, Some(known)) = (event, places.get_mut(place)) {
                        known.is_logged_in = true;
                    }
                    reporter.observe(now, &event);
                }
                _ => {}
            }
            deliveries = dispatcher.deliver();
        }
    }

    fn is_settled(&self, place: usize) -> bool {
        self.places.get(place).is_some_and(|known| known.is_logged_in)
    }

    fn broke(&mut self, place: usize, error: &dyn StdError) {
        let cause = self.reporter.cause(error);
        self.reporter.status(|status| status.broke(cause.clone()));
        if place == self.serving {
            self.dispatcher.broke(cause);
        }
    }

    fn settle(&mut self, place: usize, now: Instant, health: &ConnectionHealth) {
        if let Some(known) = self.known(place) {
            known.health = Some(*health);
        }
        if place == self.serving {
            self.dispatcher.deliver().settle(health);
            self.report_health(now);
        }
    }

    fn give_back(&mut self) {
        self.dispatcher.deliver().give_back();
    }

    fn ended(&mut self, place: usize, now: Instant, reason: CloseReason, then: Succession) {
        if let Some(known) = self.known(place) {
            *known = Known::default();
        }
        self.is_refused = matches!(reason, CloseReason::Refused(_));
        match then {
            // It had no command yet.
            Succession::Of(_) => {}
            Succession::By(_) | Succession::Nobody => {
                self.dispatcher.disconnected(reason);
                self.reporter.set_connected(false);
                match then {
                    Succession::By(heir) => self.serving = heir,
                    _ => self.reporter.status(ConnectionStatus::gone),
                }
            }
        }
        self.report_health(now);
    }
}

impl<L: Lock<QueueState>, R> fmt::Debug for CommandWorkload<L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandWorkload").finish_non_exhaustive()
    }
}
