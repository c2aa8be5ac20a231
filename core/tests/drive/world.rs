//! A clock, a server and a transport, on one thread and without sleeps.

use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use embedded_io_async::{Read, Write};
use redis_entraid_core::resp::{Framer, Value};
use redis_entraid_core::time::{Clock, Instant, Timer};
use redis_entraid_core::transport::{
    ConnectError, ConnectErrorKind, Connector, Endpoint, ErrorType, TransportUser,
};
use std::collections::VecDeque;
use std::string::String;
use std::sync::Arc;
use std::task::Wake;
use std::vec::Vec;

/// A clock that stands still while anything can be done, and then jumps to the next deadline.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) now: Cell<Instant>,
    pub(crate) next: Cell<Option<Instant>>,
}

impl Clock for World {
    fn now(&self) -> Instant {
        self.now.get()
    }
}

impl Timer for World {
    async fn sleep_until(&self, deadline: Instant) {
        poll_fn(|_| {
            if self.now.get() >= deadline {
                return Poll::Ready(());
            }
            self.next.set(Some(self.next.get().map_or(deadline, |next| next.min(deadline))));
            Poll::Pending
        })
        .await;
    }
}

pub(crate) struct Flag(pub(crate) AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl World {
    /// Runs `future` to its end, or until `until` has come.
    pub(crate) fn run<T>(&self, until: Instant, future: impl Future<Output = T>) -> Option<T> {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(flag.clone());
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            self.next.set(None);
            flag.0.store(false, Ordering::Relaxed);
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Some(output);
            }
            if flag.0.load(Ordering::Relaxed) {
                continue;
            }
            let next = self.next.get().expect("it waits for nothing");
            if next > until {
                return None;
            }
            self.now.set(next);
        }
    }
}

/// A server in memory. It stops reading while it has more than `window` bytes of replies that
/// nobody has taken.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) window: usize,
    pub(crate) input: RefCell<Vec<u8>>,
    pub(crate) replies: RefCell<VecDeque<u8>>,
    pub(crate) reader: Cell<Option<Waker>>,
    pub(crate) writer: Cell<Option<Waker>>,
    pub(crate) logins: RefCell<Vec<String>>,
    pub(crate) commands: Cell<u64>,
    pub(crate) closed: Cell<bool>,
    pub(crate) deaf: Cell<bool>,
    pub(crate) refuses: Cell<bool>,
    /// A token that it refuses.
    pub(crate) stale: Cell<&'static str>,
    /// Who is connected has no login.
    pub(crate) shut: Cell<bool>,
    /// Writes that came so far.
    pub(crate) writes: Cell<u32>,
    /// Connections so far.
    pub(crate) connects: Cell<u32>,
    /// The first so many commands of a connection are only executed together.
    pub(crate) together: usize,
    pub(crate) begun: Cell<bool>,
}

impl Server {
    fn execute(&self) {
        let mut input = self.input.borrow_mut();
        let mut at = 0;
        if !self.begun.get() {
            let mut frames = 0;
            while let Ok(framed) = Framer::new().feed(&input[at..])
                && framed.complete
            {
                at += framed.used;
                frames += 1;
            }
            if frames < self.together {
                return;
            }
            self.begun.set(true);
            at = 0;
        }
        while let Ok(framed) = Framer::new().feed(&input[at..])
            && framed.complete
        {
            let words: Vec<_> = Value::new(&input[at..at + framed.used]).unwrap().items().collect();
            let last = words.last().unwrap().str().unwrap();
            let reply: &[u8] = match words[0].str().unwrap() {
                "HELLO" => {
                    self.shut.set(self.refuses.get() || last == self.stale.get());
                    if self.shut.get() { b"-WRONGPASS no\r\n" } else { b"%1\r\n+proto\r\n:3\r\n" }
                }
                "AUTH" => b"+OK\r\n",
                _ if self.shut.get() => b"-NOAUTH Authentication required.\r\n",
                _ => b"$5\r\nhello\r\n",
            };
            if reply.starts_with(b"$") {
                self.commands.set(self.commands.get() + 1);
            } else if !reply.starts_with(b"-NOAUTH") {
                self.logins.borrow_mut().push(last.into());
            }
            if !self.deaf.get() {
                self.replies.borrow_mut().extend(reply);
            }
            at += framed.used;
        }
        input.drain(..at);
        wake(&self.reader);
    }
}

pub(crate) fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

pub(crate) struct Half<'s>(&'s Server);

#[derive(Debug)]
pub(crate) struct Never;

impl core::fmt::Display for Never {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Ok(())
    }
}

impl core::error::Error for Never {}

impl redis_entraid_core::transport::Error for Never {
    fn kind(&self) -> embedded_io_async::ErrorKind {
        embedded_io_async::ErrorKind::Other
    }
}

impl ErrorType for Half<'_> {
    type Error = Never;
}

impl Read for Half<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Never> {
        poll_fn(|cx| {
            let mut replies = self.0.replies.borrow_mut();
            if replies.is_empty() && !self.0.closed.get() {
                self.0.reader.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            let len = buffer.len().min(replies.len());
            for (to, from) in buffer.iter_mut().zip(replies.drain(..len)) {
                *to = from;
            }
            wake(&self.0.writer);
            Poll::Ready(Ok(len))
        })
        .await
    }
}

impl Write for Half<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Never> {
        poll_fn(|cx| {
            if self.0.replies.borrow().len() > self.0.window {
                self.0.writer.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            let len = bytes.len().min(1500);
            self.0.writes.set(self.0.writes.get() + 1);
            self.0.input.borrow_mut().extend_from_slice(&bytes[..len]);
            self.0.execute();
            Poll::Ready(Ok(len))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), Never> {
        Ok(())
    }
}

impl Connector for &Server {
    type Error = Never;

    async fn connect<S: TransportUser>(
        &mut self,
        _: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, Never> {
        self.connects.set(self.connects.get() + 1);
        self.begun.set(false);
        self.closed.set(false);
        self.input.borrow_mut().clear();
        self.replies.borrow_mut().clear();
        let (reader, writer) = self.halves();
        Ok(session.run(reader, writer).await)
    }
}

impl ConnectError for Never {
    fn kind(&self) -> ConnectErrorKind {
        ConnectErrorKind::Unreachable
    }
}

impl Server {
    pub(crate) fn halves(&self) -> (Half<'_>, Half<'_>) {
        (Half(self), Half(self))
    }
}
