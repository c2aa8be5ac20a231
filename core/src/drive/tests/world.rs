//! A clock, a server and a transport, on one thread and without sleeps.

use super::*;
use crate::args;
use crate::connection::Config;
use crate::policy::RefreshPolicy;
use crate::resp::{Framer, Value};
use crate::secret::Secret;
use crate::time::Clock;
use crate::token::Token;
use crate::transport::ErrorType;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::VecDeque;
use std::string::String;
use std::sync::Arc;
use std::task::Wake;
use std::vec::Vec;

/// A clock that stands still while anything can be done, and then jumps to the next deadline.
#[derive(Default)]
pub(super) struct World {
    pub(super) now: Cell<Instant>,
    pub(super) next: Cell<Option<Instant>>,
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

pub(super) struct Flag(pub(super) AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl World {
    /// Runs `future` to its end, or until `until` has come.
    pub(super) fn run<T>(&self, until: Instant, future: impl Future<Output = T>) -> Option<T> {
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
pub(super) struct Server {
    pub(super) window: usize,
    pub(super) input: RefCell<Vec<u8>>,
    pub(super) replies: RefCell<VecDeque<u8>>,
    pub(super) reader: Cell<Option<Waker>>,
    pub(super) writer: Cell<Option<Waker>>,
    pub(super) logins: RefCell<Vec<String>>,
    pub(super) commands: Cell<u64>,
    pub(super) closed: Cell<bool>,
    pub(super) deaf: Cell<bool>,
    pub(super) refuses: Cell<bool>,
}

impl Server {
    fn execute(&self) {
        let mut input = self.input.borrow_mut();
        let mut at = 0;
        while let Ok(framed) = Framer::new().feed(&input[at..])
            && framed.complete
        {
            let words: Vec<_> = Value::new(&input[at..at + framed.used]).unwrap().items().collect();
            let reply: &[u8] = match words[0].str().unwrap() {
                "HELLO" if self.refuses.get() => b"-WRONGPASS no\r\n",
                "HELLO" => b"%1\r\n+proto\r\n:3\r\n",
                "AUTH" => b"+OK\r\n",
                _ => b"$5\r\nhello\r\n",
            };
            if reply[0] == b'$' {
                self.commands.set(self.commands.get() + 1);
            } else {
                self.logins.borrow_mut().push(words.last().unwrap().str().unwrap().into());
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

pub(super) fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

pub(super) struct Half<'s>(&'s Server);

#[derive(Debug)]
pub(super) struct Never;

impl core::fmt::Display for Never {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Ok(())
    }
}

impl core::error::Error for Never {}

impl crate::transport::Error for Never {
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

impl Transport for &Server {
    type Read<'t>
        = Half<'t>
    where
        Self: 't;
    type Write<'t>
        = Half<'t>
    where
        Self: 't;

    fn split(&mut self) -> (Half<'_>, Half<'_>) {
        (Half(self), Half(self))
    }
}

/// Submits `total` commands as fast as they are taken, and counts what came of them.
#[derive(Default)]
pub(super) struct Load {
    pub(super) total: u64,
    pub(super) submitted: u64,
    pub(super) replies: u64,
    pub(super) value: String,
    pub(super) events: Vec<Event>,
    pub(super) lost: u64,
}

impl Handler for Load {
    fn poll_commands(&mut self, _: &mut Context<'_>, submit: &mut Submit<'_>) {
        while self.submitted < self.total {
            match submit(self.submitted, args!["SET", "k", &*self.value]) {
                Ok(()) => self.submitted += 1,
                Err(SubmitError::Full) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn output(&mut self, output: Output<'_>) {
        match output {
            Output::Reply { tag, reply } => {
                assert_eq!(tag, self.replies, "in order");
                assert_eq!(reply.unwrap().str().unwrap(), "hello");
                self.replies += 1;
            }
            Output::Lost { .. } => self.lost += 1,
            Output::Event(event) => self.events.push(event),
            _ => panic!("nobody pushes"),
        }
    }
}

pub(super) fn tokens() -> Tokens<[u8; 64]> {
    Tokens::new(TokenManager::new(RefreshPolicy::default(), [[0; 64]; 2]))
}

pub(super) fn put(tokens: &Tokens<[u8; 64]>, text: &str, sent: Instant) {
    let token = Token::new(Secret::new(text)).with_user("oid");
    let token = token.with_expires_in(Duration::from_secs(3600));
    tokens.with(|manager| manager.token(sent, &token)).unwrap();
}

pub(super) fn connection(buffer: usize) -> Connection<std::boxed::Box<[u8]>, [Pending; 64]> {
    let config = Config { set_info: false, ..Config::default() };
    let memory = || std::vec![0; buffer].into_boxed_slice();
    Connection::new(config, memory(), memory(), [Pending::default(); 64])
}

impl Storage<u8> for std::boxed::Box<[u8]> {
    fn room(&self) -> &[u8] {
        self
    }
    fn room_mut(&mut self) -> &mut [u8] {
        self
    }
}
