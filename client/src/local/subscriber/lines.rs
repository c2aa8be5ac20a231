//! What drives a subscriber: one connection, and a second one while that takes the first one's
//! place.

use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

use super::Shared;
use crate::error::Error;
use crate::{Mail, SubscriberConnection, SubscriptionHub};
use redis_entraid_core::connection::{CloseReason, Config, ConnectionHealth, Output};
use redis_entraid_core::drive::{DialError, Handler, Owner, Submit, Wanted};
use redis_entraid_core::reconnect::Dial;
use redis_entraid_core::time::{Instant, Timer};
use redis_entraid_core::transport::{ConnectError, Connector};

/// See the [module](self).
pub(super) struct Lines<T> {
    shared: Rc<Shared<T>>,
    hub: Arc<SubscriptionHub<RefCell<Mail>>>,
    config: Config,
    slots: [RefCell<Option<Slot>>; 2],
    /// Which of them is the one that there has to be.
    current: Cell<usize>,
    /// One of them has changed in a way that the other one should see.
    news: Cell<bool>,
}

struct Slot {
    line: SubscriberConnection<RefCell<Mail>>,
    health: Option<ConnectionHealth>,
}

impl<T> Drop for Lines<T> {
    fn drop(&mut self) {
        self.hub.end(&Error::Closed);
    }
}

impl<T: Timer> Lines<T> {
    pub(super) fn new(
        shared: Rc<Shared<T>>,
        hub: Arc<SubscriptionHub<RefCell<Mail>>>,
        config: Config,
    ) -> Self {
        let (slots, current, news) = Default::default();
        Self { shared, hub, config, slots, current, news }
    }

    /// Everything is over.
    pub(super) fn too_late(&self) {
        self.hub.end(&self.shared.too_late());
    }

    /// Keeps them for as long as somebody reads, and tokens are fetched.
    pub(super) async fn keep<K: Connector + Clone>(&self, connector: K) {
        let identity = &*self.shared.identity;
        let (mut one, mut other) = (connector.clone(), connector);
        let (mut first, mut second) = (self.keeper(0), self.keeper(1));
        let mut first = pin!(self.shared.keep(&mut one, &self.config, &mut first));
        let mut second = pin!(self.shared.keep(&mut other, &self.config, &mut second));
        poll_fn(|cx| {
            loop {
                self.news.set(false);
                // Both end when nobody reads any more.
                if identity.is_over()
                    || first.as_mut().poll(cx).is_ready()
                    || second.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(());
                }
                if !self.news.get() {
                    identity.wait(cx);
                    return Poll::Pending;
                }
            }
        })
        .await;
    }

    const fn keeper(&self, at: usize) -> Keeper<'_, T> {
        let [first, second] = &self.slots;
        let (slot, other) = if at == 0 { (first, second) } else { (second, first) };
        Keeper { lines: self, at, slot, other }
    }
}

/// Whose connection it is.
struct Keeper<'l, T> {
    lines: &'l Lines<T>,
    at: usize,
    slot: &'l RefCell<Option<Slot>>,
    other: &'l RefCell<Option<Slot>>,
}

impl<T> Keeper<'_, T> {
    const fn is_current(&self) -> bool {
        self.lines.current.get() == self.at
    }

    /// What the other one says of itself, if there is one.
    fn other(&self, says: impl FnOnce(&SubscriberConnection<RefCell<Mail>>) -> bool) -> bool {
        self.other.borrow().as_ref().is_some_and(|slot| says(&slot.line))
    }

    /// Has the other one look, if there is something to see.
    fn tell(&self, line: &mut SubscriberConnection<RefCell<Mail>>) {
        if line.has_news() {
            line.seen();
            self.lines.news.set(true);
        }
    }
}

impl<T: Timer> Handler for Keeper<'_, T> {
    fn broke(&mut self, error: &dyn core::error::Error) {
        self.lines.shared.broke(error);
    }

    fn poll_commands(&mut self, cx: &mut Context<'_>, connection: &mut dyn Submit) {
        if self.is_current() && self.other(SubscriberConnection::is_settled) {
            connection.retire();
        }
        let mut slot = self.slot.borrow_mut();
        let Some(Slot { line, .. }) = &mut *slot else { return };
        let told = line.submit(cx, &mut |tag, args| connection.submit(tag, args));
        if told.is_err() {
            connection.close(CloseReason::Closed);
        } else if line.is_unknown() {
            connection.close(CloseReason::Unresponsive);
        }
        self.tell(line);
    }

    fn output(&mut self, output: Output<'_>) {
        let event = self.slot.borrow_mut().as_mut().and_then(|slot| {
            let event = slot.line.output(output);
            self.tell(&mut slot.line);
            event
        });
        if let Some(event) = event {
            self.lines.shared.observe(&event);
        }
    }

    fn settle(&mut self, health: &ConnectionHealth) {
        if let Some(slot) = &mut *self.slot.borrow_mut() {
            slot.health = Some(*health);
        }
        if !self.is_current() {
            return;
        }
        self.lines.shared.status.borrow_mut().set_health(self.lines.shared.now(), *health);
    }
}

impl<T: Timer, E: ConnectError> Owner<E> for Keeper<'_, T> {
    fn poll_wanted(&mut self, cx: &mut Context<'_>, _: Instant) -> Wanted {
        if self.lines.hub.poll_changes(cx).is_none() {
            return Wanted::NeverAgain;
        }
        let wanted = self.is_current() || self.other(SubscriberConnection::is_to_be_replaced);
        if wanted { Wanted::Now } else { Wanted::Later }
    }

    fn is_waited_for(&self) -> bool {
        // What is published meanwhile is missed.
        true
    }

    fn dial(&self, now: Instant) -> Dial {
        // Messages are missed meanwhile.
        self.lines.shared.dial(now, true)
    }

    fn connect_timeout(&self) -> Duration {
        self.lines.shared.status.borrow().connect_timeout()
    }

    fn connected(&mut self) {
        self.lines.shared.dialed();
        let hub = self.lines.hub.clone();
        let line = if self.other.borrow().is_some() {
            SubscriberConnection::replacing(hub)
        } else {
            // Both may have been dialing: now there is one.
            self.lines.current.set(self.at);
            SubscriberConnection::new(hub)
        };
        *self.slot.borrow_mut() = Some(Slot { line, health: None });
        self.lines.news.set(true);
    }

    fn dial_failed(&mut self, now: Instant, error: DialError<E>) {
        self.lines.shared.dial_failed(now, error);
    }

    fn disconnected(&mut self, _: Instant, reason: CloseReason) {
        let Some(ended) = self.slot.take() else { return };
        match &mut *self.other.borrow_mut() {
            Some(Slot { line, health }) => {
                if self.is_current() {
                    line.succeeds(&ended.line, reason);
                    self.lines.current.set(1 - self.at);
                } else {
                    line.outlives(&ended.line);
                }
                if let Some(health) = *health {
                    self.lines
                        .shared
                        .status
                        .borrow_mut()
                        .set_health(self.lines.shared.now(), health);
                }
            }
            None => ended.line.lost(),
        }
        self.lines.news.set(true);
    }
}
