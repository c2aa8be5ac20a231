//! What drives a client's connection.

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

use zeroize::Zeroizing;

use super::super::error::{ConnectError, Error};
use super::super::{Desk, MAX_COMMAND, State};
use super::{BUFFER, RESPONSE, Shared};
use crate::connection::{CloseReason, Config, Connection, ConnectionHealth, Output};
use crate::drive::{Handler, Owner, Refresh, Submit, Wanted, either, keep, refresh};
use crate::event::Event;
use crate::reconnect::Dial;
use crate::source::TokenSource;
use crate::storage::Growable;
use crate::time::{Instant, Timer};
use crate::transport::{self, ConnectErrorKind, Connector, Endpoint};

/// Where to connect.
pub(super) struct Place {
    pub(super) host: String,
    pub(super) address: Option<String>,
    pub(super) port: u16,
    pub(super) max_reply: usize,
    pub(super) refresh: Refresh,
}

impl Place {
    fn endpoint(&self) -> Endpoint<'_> {
        let endpoint = Endpoint::new(&self.host, self.port);
        match &self.address {
            Some(address) => endpoint.redirected(address, self.port),
            None => endpoint,
        }
    }

    pub(super) fn to(&self) -> String {
        let Endpoint { address, port, .. } = self.endpoint();
        alloc::format!("{address}:{port}")
    }
}

/// Drives a client for as long as it has handles.
pub(super) async fn run<T: Timer, K: Connector, S: TokenSource>(
    place: Place,
    config: Config,
    mut keeper: Keeper<T>,
    mut connector: K,
    mut source: S,
) {
    let shared = keeper.shared.clone();
    let (tokens, timer) = (&shared.tokens, &shared.timer);
    let mut memory = Zeroizing::new(vec![0; RESPONSE]);
    let connection = || {
        let receive = Growable::new(BUFFER, place.max_reply);
        let transmit = Growable::new(BUFFER, MAX_COMMAND);
        Connection::new(config.clone(), receive, transmit, Growable::new(16, 1 << 20))
    };
    let report = |event, error| shared.fetched::<S::Error>(event, error);
    let fetching = refresh(tokens, &mut source, timer, &mut memory, place.refresh, report);
    let endpoint = place.endpoint();
    let keeping = keep(&mut connector, &endpoint, connection, timer, tokens, &mut keeper);
    {
        let mut driving = pin!(either(async { _ = fetching.await }, keeping));
        let mut over = pin!(timer.sleep_until(shared.until));
        poll_fn(|cx| {
            // When everything is over, nothing is begun any more.
            if timer.now() >= shared.until {
                return Poll::Ready(());
            }
            match driving.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => over.as_mut().poll(cx),
            }
        })
        .await;
    }
    if timer.now() >= shared.until {
        keeper.desk.end(&shared.too_late());
    }
}

/// Whose connection it is.
pub(super) struct Keeper<T> {
    pub(super) desk: Desk<RefCell<State>>,
    pub(super) shared: Rc<Shared<T>>,
    /// There need only be a connection when there is something to send.
    pub(super) on_demand: bool,
    pub(super) to: String,
}

impl<T> Drop for Keeper<T> {
    fn drop(&mut self) {
        self.desk.end(&Error::Closed);
    }
}

impl<T: Timer> Handler for Keeper<T> {
    fn poll_commands(&mut self, cx: &mut Context<'_>, connection: &mut dyn Submit) {
        let now = self.shared.timer.now();
        let submitted = self.desk.submit(cx, now, &mut |by, tag, class, command| {
            connection.submit_encoded(by, tag, class, command)
        });
        if submitted.is_err() {
            connection.close();
        }
    }

    fn output(&mut self, output: Output<'_>) {
        let more = self.desk.deliver().output(output);
        if let Some(Output::Event(event)) = more {
            if let Event::Rejected { serving: false, .. } = event {
                self.desk.login_refused();
            }
            self.shared.standing.borrow_mut().observe(self.shared.timer.now(), &event);
            self.shared.report(&event);
        }
    }

    fn deadline(&self) -> Instant {
        self.desk.deadline()
    }

    fn expire(&mut self, now: Instant) {
        self.desk.expire_behind(now);
    }

    fn settle(&mut self, health: &ConnectionHealth) {
        self.desk.deliver().settle(health);
        self.shared.standing.borrow_mut().set_health(*health);
    }
}

impl<T: Timer, E: transport::ConnectError> Owner<E> for Keeper<T> {
    fn poll_wanted(&mut self, cx: &mut Context<'_>, now: Instant) -> Wanted {
        if let Poll::Ready(Err(_)) = self.desk.poll_more(cx) {
            return Wanted::NeverAgain;
        }
        let Self { desk, shared, .. } = self;
        desk.expire(now, || shared.standing.borrow().problem().cloned());
        if self.on_demand && self.desk.is_empty() { Wanted::Later } else { Wanted::Now }
    }

    fn dial(&self, now: Instant) -> Dial {
        self.shared.standing.borrow().dial(now)
    }

    fn connect_timeout(&self) -> Duration {
        self.shared.standing.borrow().connect_timeout()
    }

    fn connected(&mut self) {
        self.shared.connected.set(true);
        self.shared.wake();
    }

    fn dial_failed(&mut self, now: Instant, error: Option<E>) {
        let error = match error {
            Some(error) => ConnectError::new(error.kind(), self.to.as_str(), error.to_string()),
            None => ConnectError::new(
                ConnectErrorKind::Unreachable,
                self.to.as_str(),
                "nobody answers in time",
            ),
        };
        let event = self.shared.standing.borrow_mut().dial_failed(now, error);
        self.shared.report(&event);
    }

    fn disconnected(&mut self, _: Instant, reason: CloseReason) {
        self.desk.disconnected(reason);
        self.shared.connected.set(false);
        self.on_demand = reason == CloseReason::Idle;
        if matches!(reason, CloseReason::Refused(_)) && self.shared.is_hopeless() {
            // Waiting won't help those who wait.
            let standing = &self.shared.standing;
            self.desk.refuse(|| standing.borrow().problem().cloned());
        }
    }
}
