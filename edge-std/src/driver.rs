//! The task behind a client: it dials, pumps bytes, and dials again. All rules are the core's.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Context;
use std::sync::Arc;

use redis_entraid_client::{Cause, Demand, Ended};
use redis_entraid_core::connection::{CloseReason, Output};
use redis_entraid_core::event::Event;
use redis_entraid_core::time::{Clock, Instant, Timer};
use tokio::sync::oneshot;

use crate::client::{CommandDispatcher, CommandQueue, PushHook};
use crate::clock::TokioClock;
use crate::connect::Connect;
use crate::dial::{Dialer, Unstartable};
use crate::error::Error;
use crate::identity::Identity;
use crate::pump::{Owner, Pump, Unneeded, Wire};
use crate::standing::{Standing, guarded};

/// What a driver needs.
pub(crate) struct Driver<C> {
    dialer: Arc<Dialer<C>>,
    end: End,
    on_push: Option<PushHook>,
    start: Option<Start>,
    on_demand: bool,
}

/// Who waits for the first connection.
pub(crate) struct Start {
    /// Until when.
    pub(crate) until: Instant,
    pub(crate) waiter: oneshot::Sender<Result<(), Error>>,
}

impl Start {
    pub(crate) fn failed(self, standing: &Standing) {
        let error = standing.problem().unwrap_or(Error::Unavailable { cause: None });
        // Nobody may wait any more.
        let _ = self.waiter.send(Err(error));
    }
}

/// Tells who waits when the task ends in whatever way, as when its runtime is shut down before it
/// has begun.
struct End(Arc<CommandQueue>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end(&Error::Closed);
    }
}

impl<C: Connect> Driver<C> {
    /// Connects for the handles of `exchange`: at once if a caller waits for the `start`, else when
    /// there is something to send.
    pub(crate) fn new(
        dialer: Arc<Dialer<C>>,
        exchange: Arc<CommandQueue>,
        on_push: Option<PushHook>,
        start: Option<Start>,
    ) -> Box<Self> {
        let on_demand = start.is_none();
        Box::new(Self { dialer, end: End(exchange), on_push, start, on_demand })
    }

    /// Keeps a connection for as long as there are handles.
    pub(crate) async fn run(mut self: Box<Self>) {
        // With the last handle, all is over.
        let _ = self.keep().await;
    }

    async fn keep(&mut self) -> Result<(), Unneeded> {
        let Self { dialer, end: End(exchange), on_push, start, on_demand } = self;
        let mut commands = Commands {
            dispatcher: CommandDispatcher::new(exchange.clone()),
            identity: &dialer.identity,
            standing: &dialer.standing,
            on_push: on_push.as_ref(),
            start,
        };
        let mut demanded = *on_demand;
        loop {
            if demanded {
                commands.demand().await?;
            }
            let until = commands.start.as_ref().map(|start| start.until);
            let mut pump = match commands.attend(dialer.open(until), demanded).await? {
                Some(Ok(pump)) => pump,
                Some(Err(Unstartable)) => return commands.give_up(),
                None => continue,
            };
            commands.dispatcher.connected(&dialer.endpoint());
            let reason = commands.serve(&mut pump).await?;
            drop(pump);
            commands.dispatcher.disconnected(reason);
            demanded = *on_demand || reason == CloseReason::Idle;
            if let CloseReason::Refused(error) = reason
                && !error.is_transient()
            {
                // Waiting won't help those who wait.
                commands.dispatcher.refuse(|| dialer.standing.problem());
                if commands.start.is_some() {
                    return commands.give_up();
                }
            }
        }
    }
}

/// The commands of a client's handles, and what they wait for.
struct Commands<'d> {
    dispatcher: CommandDispatcher,
    identity: &'d Identity,
    standing: &'d Standing,
    on_push: Option<&'d PushHook>,
    start: &'d mut Option<Start>,
}

impl Commands<'_> {
    /// Drives a connection to its end. Says why it ended.
    async fn serve<S>(&mut self, pump: &mut Pump<S>) -> Result<CloseReason, Unneeded>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite,
    {
        loop {
            if let Some(reason) = pump.turn(self).await? {
                return Ok(reason);
            }
        }
    }

    /// Waits for `future`, and sees meanwhile to commands that wait for a connection: each has
    /// its time. If it is `demanded`, only as long as there are any.
    async fn attend<F: Future>(
        &mut self,
        future: F,
        demanded: bool,
    ) -> Result<Option<F::Output>, Unneeded> {
        let mut future = pin!(future);
        let mut waiting = None;
        loop {
            let known = self.dispatcher.demand();
            let waits = self.start.is_some() || known.waits;
            self.standing.set_wanted(waits);
            if waits != waiting.is_some() {
                waiting = waits.then(|| self.identity.waiting());
            }
            let until = known.until.unwrap_or(Instant::FAR_FUTURE);
            tokio::select! {
                output = &mut future => return Ok(Some(output)),
                more = poll_fn(|cx| self.dispatcher.poll_demand(cx, known)) => more.map_err(|_| Unneeded)?,
                () = TokioClock.sleep_until(until) => {
                    self.dispatcher.expire(TokioClock.now(), || self.standing.problem());
                }
            }
            if demanded && self.dispatcher.demand().until.is_none() {
                return Ok(None);
            }
        }
    }

    /// Waits for the next command.
    async fn demand(&mut self) -> Result<(), Unneeded> {
        let nothing = Demand::default();
        poll_fn(|cx| self.dispatcher.poll_demand(cx, nothing)).await.map_err(|_| Unneeded)
    }

    fn give_up(&mut self) -> Result<(), Unneeded> {
        if let Some(start) = self.start.take() {
            start.failed(self.standing);
        }
        Ok(())
    }
}

impl Owner for Commands<'_> {
    fn submit(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Result<bool, Unneeded> {
        let now = TokioClock.now();
        let submitted = self.dispatcher.submit(cx, now, &mut |by, tag, class, command| {
            wire.submit_encoded(now, by, tag, class, command)
        });
        match submitted {
            Ok(progress) => Ok(progress),
            Err(Ended::Abandoned) => {
                wire.closed(CloseReason::Closed);
                Ok(true)
            }
            Err(Ended::Stale) => {
                wire.retire();
                Ok(true)
            }
            Err(Ended::Unneeded) => Err(Unneeded),
        }
    }

    fn deadline(&self) -> Instant {
        self.dispatcher.deadline()
    }

    fn broke(&mut self, cause: Cause) {
        self.standing.broke(cause.clone());
        self.dispatcher.broke(cause);
    }

    fn outputs(&mut self, wire: &mut Wire) {
        let now = TokioClock.now();
        let mut deliveries = self.dispatcher.deliver();
        while let Some(output) = wire.next(now) {
            let Some(output) = deliveries.output(output) else { continue };
            // No hook may be called with the slots locked.
            drop(deliveries);
            match output {
                Output::Push(push) => {
                    if let (Some(hook), Ok(push)) = (self.on_push, push) {
                        guarded(|| hook(push));
                    }
                }
                Output::Event(event) => {
                    self.standing.observe(now, &event);
                    if let Event::LoggedIn { .. } = event
                        && let Some(start) = self.start.take()
                    {
                        let _ = start.waiter.send(Ok(()));
                    }
                }
                _ => {}
            }
            deliveries = self.dispatcher.deliver();
        }
        if wire.has_ended() {
            return;
        }
        let health = wire.health(now);
        deliveries.settle(&health);
        if wire.is_quiet(now) {
            deliveries.give_back();
        }
        drop(deliveries);
        self.standing.set_health(health);
    }
}
