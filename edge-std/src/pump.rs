//! Moves bytes between a connection and its stream. It holds no rule.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{Error, ErrorKind};
use std::sync::Arc;

use redis_entraid_client::Growable;
use redis_entraid_client::{Cause, MAX_COMMAND};
use redis_entraid_core::connection::{CloseReason, Config, Connection, ConnectionHealth, Pending};
use redis_entraid_core::time::{Clock, Instant};
use redis_entraid_core::transport::Break;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use crate::clock::{TokioClock, tokio_instant};
use crate::identity::Identity;

/// A connection of this host.
pub(crate) type Wire = Connection<Growable<u8>, Growable<Pending>>;

/// Whose connection it is.
pub(crate) trait Owner {
    /// Gives commands to the connection, as many as it takes, and has `cx` woken for more. Says
    /// whether it did, or that nobody needs the connection any more.
    fn submit(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Result<bool, Unneeded>;

    /// When something of its own is due, that [`submit`](Self::submit) sees to.
    fn deadline(&self) -> Instant;

    /// Is told why the connection breaks, before its last outputs.
    fn broke(&mut self, cause: Cause);

    /// Is told what came, until there is nothing more.
    fn outputs(&mut self, wire: &mut Wire);
}

/// Nobody needs us any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unneeded;

/// A connection and its stream.
pub(crate) struct Pump<S> {
    stream: Pin<Box<S>>,
    wire: Wire,
    identity: Identity,
    news: watch::Receiver<()>,
    unflushed: bool,
}

/// The first room of the buffers, which grow: a small reply, and half a login.
const RECEIVE: usize = 512;
const TRANSMIT: usize = 1 << 10;

impl<S: AsyncRead + AsyncWrite> Pump<S> {
    pub(crate) fn new(stream: S, config: Config, max_reply: usize, identity: Identity) -> Self {
        let receive = Growable::new(RECEIVE, max_reply);
        let transmit = Growable::new(TRANSMIT, MAX_COMMAND);
        let wire = Connection::new(config, receive, transmit, Growable::new(8, 1 << 24));
        let news = identity.news();
        Self { stream: Box::pin(stream), wire, identity, news, unflushed: false }
    }

    /// Drives the connection until something has changed. Answers with why it ended, if it has,
    /// and when its last word was heard.
    pub(crate) async fn turn(
        &mut self,
        owner: &mut impl Owner,
    ) -> Result<Option<CloseReason>, Unneeded> {
        self.update(owner);
        if let Some(reason) = self.wire.close_reason() {
            return Ok(Some(reason));
        }
        let deadline = self.deadline(owner);
        let Self { stream, wire, news, unflushed, .. } = self;
        let mut io = Io { stream: stream.as_mut(), wire, unflushed };
        tokio::select! {
            // What has come is heard before anybody looks what has taken too long.
            biased;
            moved = poll_fn(|cx| io.poll(cx, owner, deadline)) => moved?,
            _ = news.changed() => {}
            () = tokio::time::sleep_until(tokio_instant(deadline)) => {}
        }
        Ok(None)
    }

    /// How its connection stands.
    pub(crate) fn health(&self) -> ConnectionHealth {
        self.wire.health(TokioClock.now())
    }

    /// Ends it when all replies are in.
    pub(crate) fn retire(&mut self) {
        self.wire.retire();
    }

    fn deadline(&self, owner: &impl Owner) -> Instant {
        self.wire.next_deadline().min(owner.deadline())
    }

    /// Lets the connection look at the time and the tokens.
    fn update(&mut self, owner: &mut impl Owner) {
        let earlier = {
            let mut manager = self.identity.manager();
            let before = manager.next_deadline();
            self.wire.update(TokioClock.now(), &mut manager);
            manager.next_deadline() < before
        };
        if earlier {
            // A token was refused: the source should be asked before its time.
            self.identity.nudge();
        }
        owner.outputs(&mut self.wire);
    }
}

/// How often it is read and written before anybody looks around.
const ROUNDS: u32 = 64;

/// What is polled.
struct Io<'p, S> {
    stream: Pin<&'p mut S>,
    wire: &'p mut Wire,
    unflushed: &'p mut bool,
}

impl<S: AsyncRead + AsyncWrite> Io<'_, S> {
    /// Moves what can be moved. Ready when the connection should look around before `deadline`,
    /// or has ended. After some rounds others have a turn, so that a flood holds neither a login up
    /// nor the task that waits for what came: not every stream takes part in the runtime's budget.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        owner: &mut impl Owner,
        deadline: Instant,
    ) -> Poll<Result<(), Unneeded>> {
        for _ in 0..ROUNDS {
            let mut progress = match owner.submit(cx, self.wire) {
                Ok(progress) => progress,
                Err(unneeded) => return Poll::Ready(Err(unneeded)),
            };
            progress |= self.write(cx, owner);
            progress |= self.read(cx, owner);
            let due = self.wire.next_deadline().min(owner.deadline()) < deadline;
            if self.wire.has_ended() || self.wire.needs_update() || due {
                return Poll::Ready(Ok(()));
            }
            if !progress {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn write(&mut self, cx: &mut Context<'_>, owner: &mut impl Owner) -> bool {
        let mut progress = false;
        while let bytes @ [_, ..] = self.wire.transmit() {
            match self.stream.as_mut().poll_write(cx, bytes) {
                Poll::Ready(Ok(len @ 1..)) => {
                    self.wire.sent(len);
                    *self.unflushed = true;
                    progress = true;
                }
                Poll::Ready(Ok(0)) => {
                    self.broke(owner, ErrorKind::WriteZero.into());
                    return true;
                }
                Poll::Ready(Err(error)) => {
                    self.broke(owner, error);
                    return true;
                }
                Poll::Pending => return progress,
            }
        }
        if *self.unflushed {
            match self.stream.as_mut().poll_flush(cx) {
                Poll::Ready(Ok(())) => *self.unflushed = false,
                Poll::Ready(Err(error)) => self.broke(owner, error),
                Poll::Pending => {}
            }
        }
        progress
    }

    fn read(&mut self, cx: &mut Context<'_>, owner: &mut impl Owner) -> bool {
        let mut buffer = ReadBuf::new(self.wire.receive_space());
        match self.stream.as_mut().poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => match buffer.filled().len() {
                0 => self.wire.end_of_stream(),
                len => self.wire.received(TokioClock.now(), len),
            },
            Poll::Ready(Err(error)) => self.broke(owner, error),
            Poll::Pending => return false,
        }
        owner.outputs(self.wire);
        true
    }

    fn broke(&mut self, owner: &mut impl Owner, error: Error) {
        let how = how(&error);
        owner.broke(Arc::new(error));
        self.wire.closed(CloseReason::Broken(how));
    }
}

/// How a stream broke that fails like this.
fn how(error: &Error) -> Break {
    #[cfg(feature = "tls")]
    if crate::tls::is_alert(error) {
        return Break::Alert;
    }
    error.kind().into()
}

#[cfg(test)]
mod tests;
