//! The subscriptions of a subscriber.

use alloc::sync::Arc;
use core::error::Error as StdError;
use core::fmt;
use core::ops::Deref;
use core::task::Context;

use super::Reporter;
use crate::lock::Lock;
use crate::{
    ConnectionStatus, SubscriberConnection, SubscriberNode, SubscriptionHub, SubscriptionState,
};
use redis_entraid_core::connection::{CloseReason, ConnectionHealth};
use redis_entraid_core::drive::{NotNeeded, Outputs, Submit, Workload};
use redis_entraid_core::event::Event;
use redis_entraid_core::supervisor::{Demand, Succession};
use redis_entraid_core::time::Instant;
use redis_entraid_core::transport::ConnectError;

/// Keeps what is wanted at a [`SubscriptionHub`] subscribed to, on one connection after the other.
pub struct SubscriberWorkload<L: Lock<SubscriptionState>, R> {
    hub: Arc<SubscriptionHub<L>>,
    /// What its connections lead to.
    node: SubscriberNode,
    reporter: R,
    /// When something is due about a cluster.
    deadline: Instant,
    serving: usize,
    places: [Option<Known<L>>; 2],
}

/// What is known of a connection.
struct Known<L: Lock<SubscriptionState>> {
    connection: SubscriberConnection<L>,
    health: Option<ConnectionHealth>,
}

impl<L: Lock<SubscriptionState>, R: Deref<Target: Reporter>> SubscriberWorkload<L, R> {
    /// For the reader of `hub`.
    pub fn new(hub: Arc<SubscriptionHub<L>>, reporter: R) -> Self {
        Self::at(hub, SubscriberNode::HOME, reporter)
    }

    /// For the shard channels of `node`.
    pub fn at(hub: Arc<SubscriptionHub<L>>, node: SubscriberNode, reporter: R) -> Self {
        let deadline = Instant::FAR_FUTURE;
        Self { hub, node, reporter, deadline, serving: 0, places: [None, None] }
    }

    fn known(&mut self, place: usize) -> Option<&mut Known<L>> {
        self.places.get_mut(place)?.as_mut()
    }

    /// The status is that of the connection that serves.
    fn report_health(&mut self, now: Instant) {
        let health = self.known(self.serving).and_then(|known| known.health);
        if let Some(health) = health
            && self.reporter.status(|status| status.set_health(now, health))
        {
            self.reporter.set_connected(true);
        }
    }
}

impl<L: Lock<SubscriptionState>, R: Deref<Target: Reporter>> Workload for SubscriberWorkload<L, R> {
    fn poll_demand(&mut self, cx: &mut Context<'_>) -> Result<Demand, NotNeeded> {
        (_, self.deadline) = self.hub.poll_changes(&self.node, cx).ok_or(NotNeeded)?;
        // What is published without a connection is missed.
        let is_needed = self.hub.is_needed(&self.node);
        Ok(if is_needed { Demand::Waiting } else { Demand::None })
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn expire(&mut self, now: Instant, _serves: bool) {
        if now >= self.deadline {
            self.deadline = self.hub.tick(now);
        }
    }

    fn set_hopeless(&mut self, is_hopeless: bool) {
        self.reporter.set_hopeless(is_hopeless);
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

    fn begins(&mut self, place: usize, replaces: bool) {
        self.reporter.status(ConnectionStatus::dial_ended);
        let hub = self.hub.clone();
        let connection = match replaces {
            true => SubscriberConnection::replacing(hub),
            false => SubscriberConnection::new(hub),
        };
        let connection = connection.at(self.node.clone());
        if let Some(known) = self.places.get_mut(place) {
            *known = Some(Known { connection, health: None });
        }
    }

    fn serves(&mut self, place: usize) {
        self.serving = place;
        self.reporter.set_connected(true);
    }

    fn submit(
        &mut self,
        place: usize,
        _prepares: bool,
        cx: &mut Context<'_>,
        now: Instant,
        connection: &mut dyn Submit,
    ) -> Result<bool, NotNeeded> {
        let known = self.places.get_mut(place).and_then(Option::as_mut);
        let Some(Known { connection: names, .. }) = known else { return Ok(false) };
        let told = names.submit(now, cx, &mut |tag, args| connection.submit(tag, args));
        if names.is_stale() {
            connection.close(CloseReason::Replaced);
            return Ok(true);
        }
        if names.is_unknown() {
            connection.close(CloseReason::Unresponsive);
            return Ok(true);
        }
        self.deadline = names.deadline();
        told.map_err(|_| NotNeeded)
    }

    fn outputs(&mut self, place: usize, now: Instant, outputs: &mut dyn Outputs) {
        let Self { reporter, places, .. } = self;
        let Some(Some(Known { connection, .. })) = places.get_mut(place) else { return };
        while let Some(output) = outputs.next_output(now) {
            if let Some(event) = connection.output(now, output) {
                reporter.observe(now, &event);
            }
        }
    }

    fn is_settled(&self, place: usize) -> bool {
        let known = self.places.get(place).and_then(Option::as_ref);
        known.is_some_and(|known| known.connection.is_settled())
    }

    fn broke(&mut self, _place: usize, error: &dyn StdError) {
        let cause = self.reporter.cause(error);
        self.reporter.status(|status| status.broke(cause));
    }

    fn settle(&mut self, place: usize, now: Instant, health: &ConnectionHealth) {
        if let Some(known) = self.known(place) {
            known.health = Some(*health);
        }
        if place == self.serving {
            self.report_health(now);
        }
    }

    fn ended(&mut self, place: usize, now: Instant, reason: CloseReason, then: Succession) {
        let Some(Known { connection: ended, .. }) =
            self.places.get_mut(place).and_then(Option::take)
        else {
            return;
        };
        match then {
            Succession::Nobody => {
                ended.lost();
                self.hub.goes(now, &self.node);
                self.reporter.set_connected(false);
                self.reporter.status(ConnectionStatus::gone);
            }
            Succession::By(heir) => {
                self.serving = heir;
                if let Some(known) = self.known(heir) {
                    known.connection.succeeds(&ended, reason);
                }
            }
            Succession::Of(other) => {
                if let Some(known) = self.known(other) {
                    known.connection.outlives(&ended);
                }
            }
        }
        self.report_health(now);
    }
}

impl<L: Lock<SubscriptionState>, R> fmt::Debug for SubscriberWorkload<L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SubscriberWorkload").field(&self.hub).finish()
    }
}
