//! One connection of a subscriber, and its stream.

use core::task::Context;
use std::sync::{Arc, Mutex};

use redis_entraid_client::{Cause, Mail};
use redis_entraid_core::connection::CloseReason;
use redis_entraid_core::time::{Clock, Instant};
use tokio::io::{AsyncRead, AsyncWrite};

use super::SubscriptionHub;
use crate::clock::TokioClock;
use crate::pump::{Owner, Pump, Unneeded, Wire};
use crate::standing::Standing;

/// See the [module](self).
pub(super) struct Line<'s, S> {
    pump: Box<Pump<S>>,
    owned: Owned<'s>,
}

impl<'s, S: AsyncRead + AsyncWrite> Line<'s, S> {
    pub(super) fn new(
        pump: Box<Pump<S>>,
        hub: &Arc<SubscriptionHub>,
        standing: &'s Standing,
    ) -> Self {
        let line = redis_entraid_client::SubscriberConnection::new(hub.clone());
        Self { pump, owned: Owned { line, standing } }
    }

    /// One that takes the place of another.
    pub(super) fn replacing(
        pump: Box<Pump<S>>,
        hub: &Arc<SubscriptionHub>,
        standing: &'s Standing,
    ) -> Self {
        let line = redis_entraid_client::SubscriberConnection::replacing(hub.clone());
        Self { pump, owned: Owned { line, standing } }
    }

    /// What it is subscribed to.
    pub(super) const fn names(&self) -> &redis_entraid_client::SubscriberConnection<Mutex<Mail>> {
        &self.owned.line
    }

    /// See [`Pump::turn`].
    pub(super) async fn turn(&mut self) -> Result<Option<CloseReason>, Unneeded> {
        let ended = self.pump.turn(&mut self.owned).await;
        self.owned.line.seen();
        ended
    }

    pub(super) fn retire(&mut self) {
        self.pump.retire();
    }

    /// It stays: `later` has ended before it took its place.
    pub(super) fn outlives(&mut self, later: &Self) {
        self.owned.line.outlives(&later.owned.line);
        self.owned.standing.set_health(self.pump.health());
    }

    /// It is the one connection now: its health is the subscriber's.
    pub(super) fn succeeds(&mut self, earlier: &Self, reason: CloseReason) {
        self.owned.line.succeeds(&earlier.owned.line, reason);
        self.owned.standing.set_health(self.pump.health());
    }
}

/// Whose connection it is.
struct Owned<'s> {
    line: redis_entraid_client::SubscriberConnection<Mutex<Mail>>,
    standing: &'s Standing,
}

impl Owner for Owned<'_> {
    fn submit(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Result<bool, Unneeded> {
        let now = TokioClock.now();
        let told = self.line.submit(cx, &mut |tag, args| wire.submit(now, tag, args));
        told.map_err(|_| Unneeded)
    }

    fn deadline(&self) -> Instant {
        if self.line.has_news() { Instant::default() } else { Instant::FAR_FUTURE }
    }

    fn broke(&mut self, cause: Cause) {
        self.standing.broke(cause);
    }

    fn outputs(&mut self, wire: &mut Wire) {
        let now = TokioClock.now();
        self.hear(now, wire);
        if self.line.is_unknown() && !wire.has_ended() {
            wire.closed(CloseReason::Unresponsive);
            self.hear(now, wire);
        }
        if !wire.has_ended() && !self.line.replaces() {
            self.standing.set_health(wire.health(now));
        }
    }
}

impl Owned<'_> {
    fn hear(&mut self, now: Instant, wire: &mut Wire) {
        while let Some(output) = wire.next(now) {
            if let Some(event) = self.line.output(output) {
                self.standing.observe(now, &event);
            }
        }
    }
}
