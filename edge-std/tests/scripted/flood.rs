//! A stream that always has something to read, and no part in the runtime's budget.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use redis_entraid::entraid_core::resp::{Framer, Value};
use redis_entraid::entraid_core::transport::Endpoint;
use redis_entraid::error::ConnectError;
use redis_entraid::source::StaticToken;
use redis_entraid::{Client, Connect, Delivery, Topic};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As soon as somebody subscribes, so many messages come without a pause.
const MESSAGES: u32 = 200_000;

#[derive(Clone, Default)]
struct Flood {
    published: Arc<AtomicU32>,
}

struct Stream {
    flood: Flood,
    subscribed: bool,
    answers: Vec<u8>,
}

impl Connect for Flood {
    type Stream = Stream;

    async fn connect(&self, _: Endpoint<'_>) -> Result<Stream, ConnectError> {
        Ok(Stream { flood: self.clone(), subscribed: false, answers: Vec::new() })
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let framed = Framer::new().feed(bytes).unwrap();
        // It is written to before it is read, or again when it was.
        if framed.complete {
            let command = Value::new(&bytes[..framed.used]).unwrap();
            match command.items().next().unwrap().str().unwrap() {
                "HELLO" => self.answers.extend_from_slice(b"%1\r\n+proto\r\n:3\r\n"),
                "SUBSCRIBE" => {
                    self.subscribed = true;
                    let confirmed = b">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n";
                    self.answers.extend_from_slice(confirmed);
                }
                _ => self.answers.extend_from_slice(b"+OK\r\n"),
            }
            return Poll::Ready(Ok(framed.used));
        }
        panic!("a command in pieces");
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.answers.is_empty() && self.subscribed {
            let published = self.flood.published.fetch_add(1, Ordering::Relaxed);
            if published < MESSAGES {
                let message = b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n";
                self.answers.extend_from_slice(message);
            }
        }
        if self.answers.is_empty() {
            // The writer comes back.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let len = buffer.remaining().min(self.answers.len());
        buffer.put_slice(&self.answers[..len]);
        self.answers.drain(..len);
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_stream_that_is_always_ready_leaves_who_reads_a_turn() {
    let flood = Flood::default();
    let builder = Client::builder("here").source(StaticToken::new("token").user("oid"));
    // There is room for some, but not for all of them.
    let builder = builder.connector(flood.clone()).backlog(1 << 20);
    let mut news = builder.subscriber().await.unwrap();
    news.subscribe(Topic::Channel, ["news"]).await.unwrap();
    for number in 0..MESSAGES {
        match news.next().await.unwrap() {
            Delivery::Message(_) => {}
            other => panic!("{other:?} instead of message {number}"),
        }
        let published = flood.published.load(Ordering::Relaxed);
        // This runtime has 61 turns of tasks between two of ours.
        assert!(published <= number + 10_000, "{published} were published before number {number}");
    }
}
