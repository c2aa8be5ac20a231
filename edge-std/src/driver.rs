//! The task behind a client: it dials, pumps bytes, and dials again. All rules are the core's.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use std::collections::VecDeque;
use std::sync::Arc;

use redis_entraid_core::connection::{
    CloseReason, Config, Connection, Lost, Output, Pending, SubmitError,
};
use redis_entraid_core::event::Event;
use redis_entraid_core::reconnect::{Dial, Reconnect};
use redis_entraid_core::storage::Growable;
use redis_entraid_core::time::{Clock, Instant, Timer};
use redis_entraid_core::transport::{ConnectErrorKind, Endpoint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use crate::clock::{TokioClock, tokio_instant};
use crate::connect::Connect;
use crate::error::{ConnectError, Error};
use crate::exchange::{Exchange, Failure, NOT_SENT, Queued};
use crate::identity::{Hook, Identity};

/// What a driver needs.
pub(crate) struct Driver<C> {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) identity: Identity,
    pub(crate) connector: C,
    pub(crate) host: String,
    pub(crate) address: Option<String>,
    pub(crate) port: u16,
    pub(crate) config: Config,
    pub(crate) reconnect: Reconnect,
    pub(crate) max_reply: usize,
    pub(crate) hook: Option<Hook>,
    /// Until then the first connection must stand, or the client doesn't start.
    pub(crate) start_until: Instant,
    pub(crate) outbox: Outbox,
}

/// Commands that were taken from the handles and not given to the connection yet.
#[derive(Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// How much of `bytes` is gone.
    used: usize,
    queue: VecDeque<Queued>,
}

/// All handles are gone: nobody needs us any more.
struct Unneeded;

type Buffers = Connection<Growable<u8>, Growable<Pending>>;

impl<C: Connect> Driver<C> {
    /// Keeps a connection for as long as there are handles.
    pub(crate) async fn run(mut self) {
        let mut news = self.identity.news();
        let mut started = false;
        let mut problem = None;
        loop {
            let stream = match self.open(&mut news, &mut problem, started).await {
                Ok(Some(stream)) => stream,
                Ok(None) => {
                    let error = problem.unwrap_or(Error::Unavailable { cause: None });
                    return self.exchange.end(&error);
                }
                Err(Unneeded) => return,
            };
            let (reason, logged_in) = match self.serve(stream, &mut news).await {
                Ok(end) => end,
                Err(Unneeded) => return,
            };
            started |= logged_in;
            problem = Some(match reason {
                CloseReason::Refused(error) => Error::Login(error),
                reason => Error::from(Lost::new(NOT_SENT, Some(reason))),
            });
            // The first login must work, as far as it isn't just bad luck.
            let final_word = match reason {
                CloseReason::Refused(error) => !error.is_transient(),
                _ => TokioClock.now() >= self.start_until,
            };
            if !started && final_word {
                let error = problem.unwrap_or(Error::Unavailable { cause: None });
                return self.exchange.end(&error);
            }
            if let CloseReason::Refused(error) = reason
                && !error.is_transient()
            {
                // Waiting won't help those who wait.
                self.fail_queued(|_| true, problem.as_ref());
            }
        }
    }

    /// Waits for a token and opens a stream. `None` if the client can't start.
    async fn open(
        &mut self,
        news: &mut watch::Receiver<()>,
        problem: &mut Option<Error>,
        started: bool,
    ) -> Result<Option<C::Stream>, Unneeded> {
        loop {
            let now = TokioClock.now();
            if !started && now >= self.start_until {
                return Ok(None);
            }
            news.mark_unchanged();
            if self.identity.manager().login(now).is_none() {
                if let Some(error) = self.identity.problem() {
                    let kind = error.reason().kind();
                    *problem = Some(Error::Token(error));
                    if !started && !kind.is_retryable() {
                        return Ok(None);
                    }
                }
                let until = if started { Instant::FAR_FUTURE } else { self.start_until };
                let wait = async {
                    tokio::select! {
                        _ = news.changed() => {}
                        () = TokioClock.sleep_until(until) => {}
                    }
                };
                attend(&self.exchange, &mut self.outbox, &self.config, problem.as_ref(), wait)
                    .await?;
                continue;
            }
            if let Dial::Wait { until } = self.reconnect.poll(now) {
                let wait = TokioClock.sleep_until(until);
                attend(&self.exchange, &mut self.outbox, &self.config, problem.as_ref(), wait)
                    .await?;
                continue;
            }
            let mut endpoint = Endpoint::new(&self.host, self.port);
            if let Some(address) = &self.address {
                endpoint = endpoint.redirected(address, self.port);
            }
            let until = now.plus(self.reconnect.connect_timeout());
            let dial =
                tokio::time::timeout_at(tokio_instant(until), self.connector.connect(endpoint));
            let dialed =
                attend(&self.exchange, &mut self.outbox, &self.config, problem.as_ref(), dial)
                    .await?;
            let error = match dialed {
                Ok(Ok(stream)) => return Ok(Some(stream)),
                Ok(Err(error)) => error,
                Err(elapsed) => ConnectError::new(
                    ConnectErrorKind::Unreachable,
                    format!("{}:{}", self.host, self.port),
                    elapsed.into(),
                ),
            };
            let kind = error.kind();
            *problem = Some(Error::Connect(Arc::new(error)));
            let now = TokioClock.now();
            self.reconnect.failed(now);
            let next_in = match self.reconnect.poll(now) {
                Dial::Wait { until } => until.since(now),
                Dial::Now => core::time::Duration::ZERO,
            };
            crate::report(self.hook.as_ref(), &Event::DialFailed { next_in });
            if !started && kind != ConnectErrorKind::Unreachable {
                return Ok(None);
            }
        }
    }

    /// Drives a connection over `stream` to its end. Says why it ended, and whether it was ever
    /// logged in.
    async fn serve(
        &mut self,
        stream: C::Stream,
        news: &mut watch::Receiver<()>,
    ) -> Result<(CloseReason, bool), Unneeded> {
        let buffer = || Growable::new(16 << 10, self.max_reply);
        let ring = Growable::new(64, 1 << 24);
        let connection = Connection::new(self.config.clone(), buffer(), buffer(), ring);
        let mut pump = Pump {
            stream: pin!(stream),
            connection,
            exchange: &self.exchange,
            identity: &self.identity,
            hook: self.hook.as_ref(),
            outbox: &mut self.outbox,
            reconnect: &mut self.reconnect,
            unflushed: false,
            logged_in: false,
        };
        loop {
            pump.look();
            let deadline = tokio_instant(pump.connection.next_deadline());
            let ended = tokio::select! {
                ended = poll_fn(|cx| pump.poll(cx, deadline)) => ended,
                _ = news.changed() => None,
                () = tokio::time::sleep_until(deadline) => None,
            };
            match ended {
                Some(Ok(reason)) => {
                    let logged_in = pump.logged_in;
                    self.exchange.set_health(TokioClock.now(), None);
                    return Ok((reason, logged_in));
                }
                Some(Err(Unneeded)) => return Err(Unneeded),
                None => {}
            }
        }
    }

    fn fail_queued(&mut self, which: impl Fn(&Queued) -> bool, cause: Option<&Error>) {
        let outbox = &mut self.outbox;
        outbox.used += self.exchange.deliver().expire(&mut outbox.queue, which, cause);
    }
}

/// Waits for `future`, and sees meanwhile to commands that wait for a connection: each has its
/// time.
async fn attend<F: Future>(
    exchange: &Exchange,
    outbox: &mut Outbox,
    config: &Config,
    problem: Option<&Error>,
    future: F,
) -> Result<F::Output, Unneeded> {
    let mut future = pin!(future);
    loop {
        let oldest = outbox.queue.front().map(|queued| queued.since.plus(config.command_timeout));
        let until = oldest.unwrap_or(Instant::FAR_FUTURE);
        let more = poll_fn(|cx| {
            let before = outbox.queue.len();
            if !outbox.poll(exchange, cx) {
                return Poll::Ready(Err(Unneeded));
            }
            if before == 0 && !outbox.queue.is_empty() {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        });
        tokio::select! {
            output = &mut future => return Ok(output),
            more = more => more?,
            () = TokioClock.sleep_until(until) => {
                let now = TokioClock.now();
                let late = |queued: &Queued| now >= queued.since.plus(config.command_timeout);
                outbox.used += exchange.deliver().expire(&mut outbox.queue, late, problem);
            }
        }
    }
}

impl Outbox {
    /// Takes more commands when there are none left. Says whether anybody could send some.
    fn poll(&mut self, exchange: &Exchange, cx: &mut Context<'_>) -> bool {
        if self.queue.is_empty() {
            self.used = 0;
        }
        exchange.poll_outbox(cx, &mut self.bytes, &mut self.queue)
    }
}

/// A connection and its stream.
struct Pump<'p, S> {
    stream: Pin<&'p mut S>,
    connection: Buffers,
    exchange: &'p Exchange,
    identity: &'p Identity,
    hook: Option<&'p Hook>,
    outbox: &'p mut Outbox,
    reconnect: &'p mut Reconnect,
    unflushed: bool,
    logged_in: bool,
}

impl<S: AsyncRead + AsyncWrite> Pump<'_, S> {
    fn look(&mut self) {
        let now = TokioClock.now();
        let deadline = {
            let mut manager = self.identity.manager();
            let before = manager.next_deadline();
            self.connection.look(now, &mut manager);
            (before, manager.next_deadline())
        };
        if deadline.1 < deadline.0 {
            // A token was refused: the source should be asked before its time.
            self.identity.nudge();
        }
        self.take_outputs();
        self.exchange.set_health(now, Some(self.connection.health(now)));
    }

    /// Moves what can be moved. Ends when the connection does, or with `None` when
    /// [`look`](Self::look) is due.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        deadline: tokio::time::Instant,
    ) -> Poll<Option<Result<CloseReason, Unneeded>>> {
        loop {
            let mut progress = match self.submit(cx) {
                Ok(progress) => progress,
                Err(Unneeded) => return Poll::Ready(Some(Err(Unneeded))),
            };
            progress |= self.write(cx);
            progress |= self.read(cx);
            let (machine, ..) = self.connection.parts();
            if let Some(reason) = machine.close_reason() {
                self.take_outputs();
                return Poll::Ready(Some(Ok(reason)));
            }
            if self.connection.wants_look()
                || tokio_instant(self.connection.next_deadline()) < deadline
            {
                return Poll::Ready(None);
            }
            if !progress {
                return Poll::Pending;
            }
        }
    }

    /// Gives commands to the connection, as many as it takes.
    fn submit(&mut self, cx: &mut Context<'_>) -> Result<bool, Unneeded> {
        let mut progress = false;
        loop {
            let needed = self.outbox.poll(self.exchange, cx);
            let Some(queued) = self.outbox.queue.front().copied() else {
                return if needed { Ok(progress) } else { Err(Unneeded) };
            };
            let Outbox { bytes, used, queue } = &mut *self.outbox;
            let command = &bytes[*used..*used + queued.len];
            let tag = queued.ticket.tag();
            let now = TokioClock.now();
            match self.connection.submit_encoded(now, tag, queued.class, command) {
                Ok(()) => {}
                Err(SubmitError::TooLarge(error)) => {
                    self.exchange.deliver().fail(tag, Failure::TooLarge(error));
                }
                // It waits; `attend` or a later turn sees to its time.
                Err(_) => return Ok(progress),
            }
            *used += queued.len;
            queue.pop_front();
            progress = true;
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        while !self.connection.transmit().is_empty() {
            match self.stream.as_mut().poll_write(cx, self.connection.transmit()) {
                Poll::Ready(Ok(len @ 1..)) => {
                    self.connection.sent(len);
                    self.unflushed = true;
                    progress = true;
                }
                Poll::Ready(_) => {
                    self.connection.closed(CloseReason::Broken);
                    return true;
                }
                Poll::Pending => return progress,
            }
        }
        if self.unflushed {
            match self.stream.as_mut().poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => self.connection.closed(CloseReason::Broken),
                Poll::Pending => {}
            }
        }
        progress
    }

    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut buffer = ReadBuf::new(self.connection.receive_space());
        match self.stream.as_mut().poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => match buffer.filled().len() {
                0 => self.connection.closed(CloseReason::ByServer),
                len => self.connection.received(TokioClock.now(), len),
            },
            Poll::Ready(Err(_)) => self.connection.closed(CloseReason::Broken),
            Poll::Pending => return false,
        }
        self.take_outputs();
        true
    }

    /// Hands out what came.
    fn take_outputs(&mut self) {
        let now = TokioClock.now();
        let mut delivery = self.exchange.deliver();
        while let Some(output) = self.connection.next(now) {
            match output {
                Output::Reply { tag, reply: Ok(value) } => delivery.reply(tag, value.raw()),
                Output::Reply { tag, reply: Err(error) } => {
                    delivery.fail(tag, Failure::ReplyTooLarge(error));
                }
                Output::Lost { tag, lost } => delivery.fail(tag, Failure::Lost(lost)),
                Output::Event(event) => {
                    drop(delivery);
                    self.reconnect.observe(now, &event);
                    match event {
                        Event::LoggedIn { .. } => {
                            self.logged_in = true;
                            self.exchange.connected();
                        }
                        Event::Reauthenticated { .. } => self.exchange.reauthenticated(),
                        _ => {}
                    }
                    crate::report(self.hook, &event);
                    delivery = self.exchange.deliver();
                }
                // There is nobody to hear pushes yet.
                _ => {}
            }
        }
    }
}
