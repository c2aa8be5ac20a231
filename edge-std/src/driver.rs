//! The task behind a client: it dials, pumps bytes, and dials again. All rules are the core's.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use redis_entraid_core::connection::{CloseReason, Lost, Outcome, Output, SubmitError};
use redis_entraid_core::event::Event;
use redis_entraid_core::time::{Clock, Instant, Timer};
use tokio::sync::oneshot;

use crate::client::PushHook;
use crate::clock::TokioClock;
use crate::connect::Connect;
use crate::dial::{Dialer, Unstartable};
use crate::error::Error;
use crate::exchange::{Demand, Exchange, Failure, Outbox};
use crate::pump::{Owner, Pump, Unneeded, Wire};
use crate::standing::{Standing, guarded};

/// What a driver needs.
pub(crate) struct Driver<C> {
    dialer: Dialer<C>,
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
struct End(Arc<Exchange>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end(&Error::Closed);
    }
}

impl<C: Connect> Driver<C> {
    /// Connects for the handles of `exchange`: at once if somebody waits for the `start`, else when
    /// there is something to send.
    pub(crate) const fn new(
        dialer: Dialer<C>,
        exchange: Arc<Exchange>,
        on_push: Option<PushHook>,
        start: Option<Start>,
    ) -> Self {
        let on_demand = start.is_none();
        Self { dialer, end: End(exchange), on_push, start, on_demand }
    }

    /// Keeps a connection for as long as there are handles.
    pub(crate) async fn run(mut self) {
        // With the last handle, all is over.
        let _ = self.keep().await;
    }

    async fn keep(&mut self) -> Result<(), Unneeded> {
        let Self { dialer, end: End(exchange), on_push, start, on_demand } = self;
        let mut commands = Commands {
            exchange,
            standing: &dialer.standing,
            on_push: on_push.as_ref(),
            timeout: dialer.config.command_timeout,
            outbox: Outbox::default(),
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
            let reason = commands.serve(&mut pump).await?;
            drop(pump);
            commands.outbox.disconnected(exchange, Lost::new(Outcome::NotSent, Some(reason)));
            demanded = *on_demand || reason == CloseReason::Idle;
            if let CloseReason::Refused(error) = reason
                && !error.is_transient()
            {
                // Waiting won't help those who wait.
                commands.refuse();
                if commands.start.is_some() {
                    return commands.give_up();
                }
            }
        }
    }
}

/// The commands of a client's handles, and what they wait for.
struct Commands<'d> {
    exchange: &'d Exchange,
    standing: &'d Standing,
    on_push: Option<&'d PushHook>,
    timeout: Duration,
    outbox: Outbox,
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
        loop {
            let until = self.outbox.deadline(self.timeout);
            tokio::select! {
                output = &mut future => return Ok(Some(output)),
                more = poll_fn(|cx| self.poll_more(cx)) => more?,
                () = TokioClock.sleep_until(until) => self.expire_unsent(),
            }
            if demanded && self.outbox.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Waits for the next command.
    async fn demand(&mut self) -> Result<(), Unneeded> {
        while self.outbox.is_empty() {
            poll_fn(|cx| self.poll_more(cx)).await?;
        }
        Ok(())
    }

    /// Ready when there are commands where there were none.
    fn poll_more(&mut self, cx: &Context<'_>) -> Poll<Result<(), Unneeded>> {
        let before = self.outbox.is_empty();
        match self.outbox.poll(self.exchange, cx) {
            Demand::Unneeded => Poll::Ready(Err(Unneeded)),
            _ if before && !self.outbox.is_empty() => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn expire_unsent(&mut self) {
        let unavailable = || Failure::Unavailable(self.standing.problem());
        self.outbox.expire(self.exchange, TokioClock.now(), self.timeout, unavailable);
    }

    fn refuse(&mut self) {
        let unavailable = || Failure::Unavailable(self.standing.problem());
        self.outbox.fail_all(self.exchange, unavailable);
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
        let mut progress = false;
        loop {
            match self.outbox.poll(self.exchange, cx) {
                Demand::Wanted => {}
                Demand::Abandoned => {
                    wire.closed(CloseReason::Closed);
                    return Ok(true);
                }
                Demand::Unneeded => return Err(Unneeded),
            }
            let now = TokioClock.now();
            let too_slow = || Failure::Lost(Lost::new(Outcome::NotSent, None));
            // What fails may take others with it: they are looked at anew.
            if self.outbox.expire(self.exchange, now, self.timeout, too_slow) {
                continue;
            }
            if self.outbox.is_empty() {
                return Ok(progress);
            }
            while let Some((queued, command, by)) = self.outbox.front(now, self.timeout) {
                let (tag, class) = (queued.ticket.tag(), queued.class);
                let failure = match wire.submit_encoded(now, by, tag, class, command) {
                    Ok(()) => None,
                    Err(SubmitError::Refused(refused)) => Some(Failure::Refused(refused)),
                    Err(SubmitError::TooLarge(error)) => Some(Failure::TooLarge(error)),
                    // It waits, for a later turn or for its time to be over.
                    Err(_) => return Ok(progress),
                };
                progress = true;
                if let Some(failure) = failure {
                    self.outbox.fail(self.exchange, failure);
                    break;
                }
                self.outbox.sent();
            }
        }
    }

    fn deadline(&self) -> Instant {
        self.outbox.deadline(self.timeout)
    }

    fn outputs(&mut self, wire: &mut Wire) {
        let now = TokioClock.now();
        let none_waits = self.outbox.is_empty();
        let mut delivery = self.outbox.deliver(self.exchange);
        while let Some(output) = wire.next(now) {
            match output {
                Output::Reply { tag, reply: Ok(value) } => delivery.reply(tag, value.raw()),
                Output::Reply { tag, reply: Err(error) } => {
                    delivery.fail(tag, Failure::ReplyTooLarge(error));
                }
                Output::Lost { tag, lost } => delivery.fail(tag, Failure::Lost(lost)),
                // No hook may be called with the slots locked.
                Output::Push(push) => {
                    drop(delivery);
                    if let (Some(hook), Ok(push)) = (self.on_push, push) {
                        guarded(|| hook(push));
                    }
                    delivery = self.outbox.deliver(self.exchange);
                }
                Output::Event(event) => {
                    drop(delivery);
                    self.standing.observe(now, &event);
                    if let Event::LoggedIn { .. } = event
                        && let Some(start) = self.start.take()
                    {
                        let _ = start.waiter.send(Ok(()));
                    }
                    delivery = self.outbox.deliver(self.exchange);
                }
                _ => {}
            }
        }
        let health = (!wire.has_ended()).then(|| wire.health(now));
        if let Some(health) = health
            && health.waiting == 0
            && none_waits
        {
            delivery.settle(health.session);
        }
        drop(delivery);
        if let Some(health) = health {
            self.standing.set_health(health);
        }
    }
}
