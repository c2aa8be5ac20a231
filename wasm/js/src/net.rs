//! Connections, as the host makes them: TLS is its business.

use alloc::vec::Vec;
use core::fmt;
use core::future::{Future, pending, poll_fn};
use core::pin::pin;

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use js_sys::Uint8Array;
use redis_entraid_core::transport::{
    self, ConnectErrorKind, Connector, Endpoint, Stage, TransportUser,
};
use wasm_bindgen::JsCast;

use crate::host::{Host, Problem, Transport, settled};

/// Opens what the host calls a connection.
#[derive(Clone)]
pub(crate) struct Dialer(pub(crate) Host);

impl Connector for Dialer {
    type Error = Problem;

    async fn connect<S: TransportUser>(
        &mut self,
        endpoint: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, Problem> {
        let Endpoint { address, port, server_name, .. } = *endpoint;
        let dial = self.0.dial(address, port, server_name, endpoint.next_turn());
        match dial.stage().as_deref() {
            Some("name") => endpoint.begins(Stage::Name),
            Some("tcp") => endpoint.begins(Stage::Tcp),
            _ => {}
        }
        let securing = settled(dial.securing());
        let mut securing = pin!(async {
            if securing.await.is_ok() {
                endpoint.begins(Stage::Tls);
            }
            pending::<()>().await;
        });
        let mut done = pin!(dial.done());
        let dialed = poll_fn(|cx| {
            _ = securing.as_mut().poll(cx);
            done.as_mut().poll(cx)
        });
        let transport = dialed.await?;
        // Dropped with the session: a read that is pending then gets no bytes that it could lose.
        let open = Open(transport.unchecked_into());
        if let Some(ip) = open.0.address() {
            endpoint.reached(&ip);
        }
        let reader = Reader { transport: &open.0, left: Vec::new(), taken: 0 };
        Ok(session.run(reader, Writer(&open.0)).await)
    }
}

impl transport::ConnectError for Problem {
    fn kind(&self) -> ConnectErrorKind {
        match self.kind.as_str() {
            "name" => ConnectErrorKind::Name,
            "tls" => ConnectErrorKind::Tls,
            "host" => ConnectErrorKind::Host,
            _ => ConnectErrorKind::Unreachable,
        }
    }
}

struct Open(Transport);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Reader<'t> {
    transport: &'t Transport,
    /// What came, as far as there was no room for it yet.
    left: Vec<u8>,
    taken: usize,
}

struct Writer<'t>(&'t Transport);

/// The connection broke, in the host's words.
struct TransportError(Problem);

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::error::Error for TransportError {}

// What is derived takes two kilobytes.
impl fmt::Debug for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl embedded_io_async::Error for TransportError {
    fn kind(&self) -> ErrorKind {
        match self.0.kind.as_str() {
            "reset" => ErrorKind::ConnectionReset,
            "timed out" => ErrorKind::TimedOut,
            "truncated" => ErrorKind::ConnectionAborted,
            "alert" => ErrorKind::ConnectionRefused,
            "bad record" => ErrorKind::InvalidData,
            _ => ErrorKind::Other,
        }
    }
}

impl ErrorType for Reader<'_> {
    type Error = TransportError;
}

impl ErrorType for Writer<'_> {
    type Error = TransportError;
}

impl Read for Reader<'_> {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, TransportError> {
        while self.taken >= self.left.len() && !room.is_empty() {
            let read = settled(self.transport.read()).await.map_err(TransportError)?;
            if read.is_undefined() {
                return Ok(0);
            }
            let chunk: Uint8Array = read.unchecked_into();
            let len = chunk.length() as usize;
            if len > 0 && len <= room.len() {
                // As it mostly is: without a stop in between.
                if let Some(room) = room.get_mut(..len) {
                    chunk.copy_to(room);
                }
                return Ok(len);
            }
            (self.left, self.taken) = (chunk.to_vec(), 0);
        }
        let left = self.left.get(self.taken..).unwrap_or_default();
        let len = left.len().min(room.len());
        if let (Some(room), Some(left)) = (room.get_mut(..len), left.get(..len)) {
            room.copy_from_slice(left);
        }
        self.taken += len;
        Ok(len)
    }
}

impl Write for Writer<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, TransportError> {
        // The host keeps it for longer than our memory stands still.
        let copy = Uint8Array::from(bytes);
        settled(self.0.write(copy)).await.map_err(TransportError)?;
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), TransportError> {
        Ok(())
    }
}
