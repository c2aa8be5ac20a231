//! Streams that break, each in its way, when the first command has come.

use core::error::Error as _;
use std::sync::{Arc, Mutex};

use redis_entraid_core::connection::CloseReason;
use redis_entraid_core::transport::Endpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::connect::Connect;
use crate::error::{ConnectError, Outcome};
use crate::source::StaticToken;
use crate::{Client, Error as Failure, args};

/// A stream whose end is an error.
struct Stream(DuplexStream, Option<Error>);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), Error>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.0).poll_read(cx, buffer)?;
        match read.is_ready() && buffer.filled().len() == before {
            true => Poll::Ready(self.1.take().map_or(Ok(()), Err)),
            false => read.map(Ok),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What there is of a reply before the stream ends, and how.
struct Breaks(&'static str, fn() -> Option<Error>);

impl Connect for Breaks {
    type Stream = Stream;

    async fn connect(&self, _: Endpoint<'_>) -> Result<Stream, ConnectError> {
        let (near, mut far) = tokio::io::duplex(4096);
        let part = self.0;
        tokio::spawn(async move {
            let mut room = [0; 4096];
            for reply in ["%1\r\n+proto\r\n:3\r\n", part] {
                // What is not read in time ends with the stream.
                let _ = far.read(&mut room).await;
                let _ = far.write_all(reply.as_bytes()).await;
            }
        });
        Ok(Stream(near, self.1()))
    }
}

/// What a command hears on a stream that breaks so, and what the hook of events.
async fn broken(part: &'static str, how: fn() -> Option<Error>) -> (Failure, String) {
    let events = Arc::new(Mutex::new(String::new()));
    let heard = events.clone();
    let mut redis = Client::builder("here")
        .source(StaticToken::new("token").user("oid"))
        .connector(Breaks(part, how))
        .on_event(move |event| heard.lock().unwrap().push_str(&format!("{event}\n")))
        .connect()
        .await
        .unwrap();
    let error = redis.command(args!["GET", "k"]).await.unwrap_err();
    let said = events.lock().unwrap().clone();
    (error, said)
}

fn reason(error: &Failure) -> Option<CloseReason> {
    match error {
        Failure::Lost { outcome: Outcome::Unknown, reason, .. } => *reason,
        _ => None,
    }
}

/// Says that a stream that ends so breaks like that, in these words of the network's.
async fn breaks(
    part: &'static str,
    how: fn() -> Option<Error>,
    expected: TransportFailure,
    words: &str,
) {
    let (error, events) = broken(part, how).await;
    assert_eq!(reason(&error), Some(CloseReason::Broken(expected)), "{error}");
    let network = if words.is_empty() { String::new() } else { format!(" ({words})") };
    let text = format!("the connection broke: {expected}{network}");
    assert_eq!(error.to_string(), text + "; the command may have been executed");
    assert!(
        events.contains(&format!("disconnected: the connection broke: {expected}")),
        "{events}"
    );
    let cause = error.source().and_then(|cause| cause.downcast_ref::<Error>());
    assert_eq!(cause.map(Error::kind), how().map(|error| error.kind()));
}

#[tokio::test]
async fn the_connection_broke_says_how() {
    let reset = || Some(Error::from(ErrorKind::ConnectionReset));
    breaks("", reset, TransportFailure::Reset, "connection reset").await;
    let silent = || Some(Error::from(ErrorKind::TimedOut));
    breaks("", silent, TransportFailure::TimedOut, "timed out").await;
    let eof = || Some(Error::new(ErrorKind::UnexpectedEof, "no close_notify"));
    breaks("", eof, TransportFailure::Truncated, "no close_notify").await;
    breaks("$5\r\nhel", || None, TransportFailure::Truncated, "").await;
    let other = || Some(Error::other("a tunnel is gone"));
    let (error, _) = broken("", other).await;
    let expected = "the connection broke (a tunnel is gone); the command may have been executed";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_server_that_closes_the_connection_between_replies_breaks_nothing() {
    let (error, _) = broken("", || None).await;
    assert_eq!(reason(&error), Some(CloseReason::ByServer));
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_says_which_alert_and_whether_a_record_was_bad() {
    use rustls::{AlertDescription, Error as Tls};
    let alert = || {
        let error = Tls::AlertReceived(AlertDescription::InternalError);
        Some(Error::new(ErrorKind::InvalidData, error))
    };
    breaks("", alert, TransportFailure::Alert, "received fatal alert: InternalError").await;
    let record = || Some(Error::new(ErrorKind::InvalidData, Tls::DecryptError));
    breaks("", record, TransportFailure::BadRecord, "cannot decrypt peer's message").await;
}
