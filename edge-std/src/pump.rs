//! Moves bytes between a connection and its stream. It holds no rule.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{Error, ErrorKind};

use redis_entraid_client::{Growable, MAX_COMMAND};
use redis_entraid_core::connection::{Config, Connection, Pending};
use redis_entraid_core::time::Clock;
use redis_entraid_core::transport::TransportFailure;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::TokioClock;

/// A connection of this host.
type Wire = Connection<Growable<u8>, Growable<Pending>>;

/// A connection and its stream.
pub(crate) struct Pump<S> {
    stream: S,
    pub(crate) connection: Wire,
    unflushed: bool,
}

/// The first room for replies, which grows.
const RECEIVE: usize = 512;

impl<S: AsyncRead + AsyncWrite + Unpin> Pump<S> {
    pub(crate) fn new(stream: S, config: Config, max_reply: usize) -> Self {
        let receive = Growable::new(RECEIVE, max_reply);
        let transmit = Growable::new(0, MAX_COMMAND);
        let connection = Connection::new(config, receive, transmit, Growable::new(0, 1 << 24));
        Self { stream, connection, unflushed: false }
    }

    /// Writes what is queued. Returns whether it wrote anything.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        let mut progress = false;
        while let bytes @ [_, ..] = self.connection.transmit() {
            match Pin::new(&mut self.stream).poll_write(cx, bytes)? {
                Poll::Ready(0) => return Err(ErrorKind::WriteZero.into()),
                Poll::Ready(len) => {
                    self.connection.sent(len);
                    (self.unflushed, progress) = (true, true);
                }
                Poll::Pending => return Ok(progress),
            }
        }
        if self.unflushed && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(progress)
    }

    /// Reads what has come. Says whether anything has.
    pub(crate) fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        let mut buffer = ReadBuf::new(self.connection.receive_space());
        if Pin::new(&mut self.stream).poll_read(cx, &mut buffer)?.is_pending() {
            return Ok(false);
        }
        match buffer.filled().len() {
            0 => self.connection.end_of_stream(),
            len => self.connection.received(TokioClock.now(), len),
        }
        Ok(true)
    }
}

/// How a stream broke that fails like this.
pub(crate) fn how(error: &Error) -> TransportFailure {
    #[cfg(feature = "tls")]
    if crate::tls::is_alert(error) {
        return TransportFailure::Alert;
    }
    error.kind().into()
}

#[cfg(test)]
mod tests;
