//! What drives a client's connection.

use alloc::rc::Rc;
use core::cell::RefCell;
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

use super::nodes::Nodes;
use super::shared::Shared;
use crate::{CommandDispatcher, Demand, Ended, State};
use redis_entraid_core::connection::{CloseReason, Config, ConnectionHealth, Output};
use redis_entraid_core::drive::{DialError, Handler, Owner, Submit, Wanted, either};
use redis_entraid_core::reconnect::Dial;
use redis_entraid_core::source::TokenSource;
use redis_entraid_core::time::{Instant, Timer};
use redis_entraid_core::transport::{ConnectError, Connector};

/// Drives a client for as long as it has handles, and its identity for as long as it has
/// subscribers.
pub(super) async fn run<T: Timer, K: Connector + Clone, S: TokenSource>(
    config: Config,
    mut keeper: Keeper<T>,
    nodes: Rc<Nodes>,
    mut connector: K,
    mut source: S,
) {
    let shared = keeper.shared.clone();
    let identity = &shared.identity;
    let another = connector.clone();
    let keeping = async {
        let own = pin!(shared.keep(&mut connector, &config, &mut keeper));
        nodes.keep(own, identity, &another).await;
        identity.alone().await;
    };
    // Pinned here: a future that is handed over has its room twice.
    let driving = pin!(either(identity.fetch(&mut source), keeping));
    identity.in_time(driving).await;
}

/// Whose connection it is.
pub(super) struct Keeper<T: Timer> {
    pub(super) dispatcher: CommandDispatcher<RefCell<State>>,
    pub(super) shared: Rc<Shared<T>>,
    /// There need only be a connection when there is something to send.
    pub(super) is_idle: bool,
    /// The nodes that redirections lead to. The connection to a node has none, and is dialed for a
    /// command only.
    pub(super) nodes: Option<Rc<Nodes>>,
}

impl<T: Timer> Drop for Keeper<T> {
    fn drop(&mut self) {
        let error = self.shared.over();
        self.dispatcher.end(&error);
        if let Some(nodes) = &self.nodes {
            nodes.end(&error);
            self.shared.identity.end();
        }
    }
}

impl<T: Timer> Handler for Keeper<T> {
    fn poll_commands(&mut self, cx: &mut Context<'_>, connection: &mut dyn Submit) {
        if self.shared.progress.is_worn() {
            connection.retire();
        }
        let now = self.shared.now();
        let submitted = self.dispatcher.submit(cx, now, &mut |by, tag, class, command| {
            connection.submit_encoded(by, tag, class, command)
        });
        match submitted {
            Ok(_) => {}
            Err(Ended::Stale) => connection.retire(),
            Err(Ended::Abandoned | Ended::Unneeded) => connection.close(CloseReason::Closed),
        }
    }

    fn output(&mut self, output: Output<'_>) {
        let more = self.dispatcher.deliver().output(output);
        match more {
            Some(Output::Event(event)) => {
                self.shared.observe(&event);
            }
            Some(Output::Push(Ok(push))) => {
                if let Some(hook) = &self.shared.identity.on_push {
                    hook(push);
                }
            }
            _ => {}
        }
    }

    fn broke(&mut self, error: &dyn core::error::Error) {
        let cause = self.shared.broke(error);
        self.dispatcher.broke(cause);
    }

    fn deadline(&self) -> Instant {
        self.dispatcher.deadline()
    }

    fn expire(&mut self, now: Instant) {
        self.dispatcher.expire_behind(now);
    }

    fn settle(&mut self, health: &ConnectionHealth) {
        self.dispatcher.deliver().settle(health);
        self.shared.status.borrow_mut().set_health(self.shared.now(), *health);
    }

    fn give_back(&mut self) {
        self.dispatcher.deliver().give_back();
    }
}

impl<T: Timer, E: ConnectError> Owner<E> for Keeper<T> {
    fn poll_wanted(&mut self, cx: &mut Context<'_>, now: Instant) -> Wanted {
        if let Poll::Ready(Err(_)) = self.dispatcher.poll_demand(cx, Demand::default()) {
            return Wanted::NeverAgain;
        }
        let Self { dispatcher, shared, .. } = self;
        dispatcher.expire(now, || shared.problem());
        if self.is_idle && self.dispatcher.demand().until.is_none() {
            Wanted::Later
        } else {
            Wanted::Now
        }
    }

    fn is_waited_for(&self) -> bool {
        self.dispatcher.demand().waits
    }

    fn dial(&self, now: Instant) -> Dial {
        self.shared.dial(now, self.dispatcher.demand().waits)
    }

    fn connect_timeout(&self) -> Duration {
        self.shared.status.borrow().connect_timeout()
    }

    fn connected(&mut self) {
        self.shared.dialed();
        self.dispatcher.connected(&self.shared.endpoint());
        self.shared.connected.set(true);
        self.shared.identity.wake();
    }

    fn dial_failed(&mut self, now: Instant, error: DialError<E>) {
        self.shared.dial_failed(now, error);
    }

    fn disconnected(&mut self, _: Instant, reason: CloseReason) {
        self.dispatcher.disconnected(reason);
        self.shared.connected.set(false);
        self.is_idle = self.nodes.is_none() || reason == CloseReason::Idle;
        if matches!(reason, CloseReason::Refused(_)) && self.shared.is_hopeless() {
            // Waiting won't help those who wait.
            self.dispatcher.refuse(|| self.shared.problem());
        }
    }
}
