use super::*;
use crate::args;
use crate::connection::Config;
use crate::manager::Generation;
use crate::policy::RefreshPolicy;
use crate::resp::{Framer, Value};
use crate::secret::Secret;
use crate::source::ErrorKind;
use crate::time::Clock;
use crate::token::Token;
use crate::transport::ErrorType;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::VecDeque;
use std::format;
use std::string::String;
use std::sync::Arc;
use std::task::Wake;
use std::vec::Vec;

/// A clock that stands still while anything can be done, and then jumps to the next deadline.
#[derive(Default)]
struct World {
    now: Cell<Instant>,
    next: Cell<Option<Instant>>,
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

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl World {
    /// Runs `future` to its end, or until `until` has come.
    fn run<T>(&self, until: Instant, future: impl Future<Output = T>) -> Option<T> {
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
struct Server {
    window: usize,
    input: RefCell<Vec<u8>>,
    replies: RefCell<VecDeque<u8>>,
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
    logins: RefCell<Vec<String>>,
    commands: Cell<u64>,
    closed: Cell<bool>,
    deaf: Cell<bool>,
    refuses: Cell<bool>,
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

fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

struct Half<'s>(&'s Server);

#[derive(Debug)]
struct Never;

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
struct Load {
    total: u64,
    submitted: u64,
    replies: u64,
    value: String,
    events: Vec<Event>,
    lost: u64,
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

fn tokens() -> Tokens<[u8; 64]> {
    Tokens::new(TokenManager::new(RefreshPolicy::default(), [[0; 64]; 2]))
}

fn put(tokens: &Tokens<[u8; 64]>, text: &str, sent: Instant) {
    let token = Token::new(Secret::new(text)).with_user("oid");
    let token = token.with_expires_in(Duration::from_secs(3600));
    tokens.with(|manager| manager.token(sent, &token)).unwrap();
}

fn connection(buffer: usize) -> Connection<std::boxed::Box<[u8]>, [Pending; 64]> {
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

#[test]
fn it_reads_while_it_writes() {
    // 64 MB of commands through buffers of 4 KiB, to a server that stops reading until its
    // replies are taken.
    let world = World::default();
    let tokens = tokens();
    put(&tokens, "token", world.now());
    let server = Server { window: 100, ..Server::default() };
    let value = "x".repeat(1024);
    let total = (64 << 20) / 1024;
    let mut load = Load { total, value, ..Load::default() };
    let mut connection = connection(4096);
    let ended = world.run(Instant::from_millis(1000), async {
        let mut transport = &server;
        serve(&mut connection, &mut transport, &world, &tokens, &mut load).await
    });
    assert_eq!(ended, None);
    assert_eq!((load.replies, server.commands.get()), (total, total));
    assert_eq!(*server.logins.borrow(), ["token"]);
}

/// A source that does what its script says.
struct Script(VecDeque<Act>);

enum Act {
    Token(&'static str, u64),
    Fail(ErrorKind),
    Hang,
}

impl TokenSource for Script {
    type Error = SourceError;

    async fn fetch<'b>(
        &'b mut self,
        _: Instant,
        memory: &'b mut [u8],
    ) -> Result<Token<'b>, SourceError> {
        match self.0.pop_front().expect("no more requests than were foreseen") {
            Act::Token(text, life) => {
                memory[..text.len()].copy_from_slice(text.as_bytes());
                let text = core::str::from_utf8(&memory[..text.len()]).unwrap();
                let token = Token::new(Secret::new(text)).with_user("oid");
                Ok(token.with_expires_in(Duration::from_secs(life)))
            }
            Act::Fail(kind) => Err(SourceError::Other { kind, what: "script" }),
            Act::Hang => core::future::pending().await,
        }
    }
}

#[test]
fn a_connection_stays_logged_in_through_refreshes_and_failures() {
    let world = World::default();
    let tokens = tokens();
    let mut source = Script(VecDeque::from([
        Act::Token("one", 600),
        Act::Fail(ErrorKind::Transient),
        Act::Hang,
        Act::Token("two", 600),
        Act::Token("three", 600),
    ]));
    let server = Server { window: 1 << 20, ..Server::default() };
    let mut load = Load { total: 1, ..Load::default() };
    let mut connection = connection(256);
    let mut memory = [0; 64];
    let mut events = Vec::new();
    let both = async {
        let mut transport = &server;
        let serve = serve(&mut connection, &mut transport, &world, &tokens, &mut load);
        let refresh =
            refresh(&tokens, &mut source, &world, &mut memory, |event| events.push(event));
        either(async { _ = serve.await }, async { _ = refresh.await }).await;
    };
    assert_eq!(world.run(Instant::from_millis(1_000_000), both), None);
    assert_eq!(*server.logins.borrow(), ["one", "two", "three"]);
    let shown: Vec<_> = events.iter().map(|event| format!("{event}")).collect();
    assert_eq!(shown.len(), 5, "{shown:?}");
    assert!(shown[2].contains("timed out"), "{shown:?}");
    assert!(
        matches!(
            load.events[..],
            [
                Event::LoggedIn { generation: Generation(1), .. },
                Event::Reauthenticated { generation: Generation(2) },
                Event::Reauthenticated { generation: Generation(3) },
            ]
        ),
        "{:?}",
        load.events
    );
    assert_eq!(load.replies, 1);
    assert_eq!(memory, [0; 64], "wiped");
}

#[test]
fn a_refused_token_wakes_the_source_before_its_time() {
    let world = World::default();
    let tokens = tokens();
    let mut source = Script(VecDeque::from([Act::Token("one", 3600), Act::Token("two", 3600)]));
    let mut memory = [0; 64];
    let all = async {
        let refresh = refresh(&tokens, &mut source, &world, &mut memory, |_| {});
        let refuse = async {
            world.sleep_until(Instant::from_millis(20_000)).await;
            tokens.with(|manager| manager.rejected(world.now(), Generation(1)));
            core::future::pending::<()>().await;
        };
        either(refuse, async { _ = refresh.await }).await;
    };
    world.run(Instant::from_millis(60_000), all);
    let login = tokens.with(|manager| manager.login(world.now()).map(|login| login.generation()));
    assert_eq!(login, Some(Generation(2)));
}

#[test]
fn a_server_that_goes_or_falls_silent_ends_it_with_the_reason() {
    for silent in [false, true] {
        let world = World::default();
        let tokens = tokens();
        put(&tokens, "token", world.now());
        let server = Server { window: 1000, ..Server::default() };
        let mut load = Load { total: 1, ..Load::default() };
        let mut connection = connection(256);
        let reason = world.run(Instant::from_millis(100_000), async {
            let mut transport = &server;
            let serve = serve(&mut connection, &mut transport, &world, &tokens, &mut load);
            let cut = async {
                world.sleep_until(Instant::from_millis(1000)).await;
                server.closed.set(!silent);
                wake(&server.reader);
                core::future::pending::<()>().await;
            };
            let mut reason = None;
            either(cut, async { reason = Some(serve.await) }).await;
            reason.unwrap()
        });
        // Idle and silent is no reason to end; the ping that is sent then is answered.
        let expected = if silent { None } else { Some(CloseReason::ByServer) };
        assert_eq!(reason, expected);
    }
    let world = World::default();
    let tokens = tokens();
    put(&tokens, "token", world.now());
    let server = Server { window: 1000, ..Server::default() };
    server.deaf.set(true);
    let mut load = Load { total: 1, ..Load::default() };
    let mut connection = connection(256);
    let reason = world.run(Instant::from_millis(100_000), async {
        let mut transport = &server;
        serve(&mut connection, &mut transport, &world, &tokens, &mut load).await
    });
    assert_eq!(reason, Some(CloseReason::LoginTimeout));
    assert_eq!(world.now(), Instant::from_millis(5000));
}

#[test]
fn a_refused_token_wakes_a_source_that_waits_in_another_task() {
    let world = World::default();
    let tokens = tokens();
    put(&tokens, "token", world.now());
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(flag.clone());
    assert!(tokens.register(&Context::from_waker(&waker)));
    // The server refuses the first login.
    let server = Server { window: 1000, refuses: true.into(), ..Server::default() };
    let mut load = Load { total: 1, ..Load::default() };
    let mut connection = connection(256);
    let reason = world.run(Instant::from_millis(100_000), async {
        let mut transport = &server;
        serve(&mut connection, &mut transport, &world, &tokens, &mut load).await
    });
    assert!(matches!(reason, Some(CloseReason::Refused(_))), "{reason:?}");
    assert!(flag.0.load(Ordering::Relaxed), "nobody was woken");
    tokens.with(|manager| {
        assert_eq!(manager.health(world.now()).rejections, 1);
        assert!(manager.next_deadline() <= Instant::from_millis(5000));
    });
}

#[test]
fn more_tasks_than_there_is_room_for_do_not_wake_each_other_for_ever() {
    let world = World::default();
    let tokens: Tokens<[u8; 64], 1> =
        Tokens::new(TokenManager::new(RefreshPolicy::default(), [[0; 64]; 2]));
    let token = Token::new(Secret::new("token")).with_user("oid");
    let token = token.with_expires_in(Duration::from_secs(3600));
    tokens.with(|manager| manager.token(world.now(), &token)).unwrap();
    let other = Waker::from(Arc::new(Flag(AtomicBool::new(false))));
    assert!(tokens.register(&Context::from_waker(&other)));
    let server = Server { window: 1000, ..Server::default() };
    let mut load = Load { total: 1, ..Load::default() };
    let mut connection = connection(256);
    let all = async {
        let mut transport = &server;
        let serve = serve(&mut connection, &mut transport, &world, &tokens, &mut load);
        let push = async {
            world.sleep_until(Instant::from_millis(100_000)).await;
            let token = Token::new(Secret::new("newer")).with_user("oid");
            let token = token.with_expires_in(Duration::from_secs(3600));
            // The one waiter that found room is woken, and isn't us.
            tokens.with(|manager| manager.token(world.now(), &token)).unwrap();
            core::future::pending::<()>().await;
        };
        either(async { _ = serve.await }, push).await;
    };
    assert_eq!(world.run(Instant::from_millis(140_000), all), None);
    assert_eq!(*server.logins.borrow(), ["token", "newer"], "found by looking");
}

#[test]
fn a_refresh_that_is_dropped_can_be_called_again_at_once() {
    let world = World::default();
    let tokens = tokens();
    let mut source = Script(VecDeque::from([Act::Hang, Act::Token("one", 3600)]));
    let mut memory = [0; 64];
    let dropped = async {
        let refresh = refresh(&tokens, &mut source, &world, &mut memory, |_| {});
        let tired = world.sleep_until(Instant::from_millis(2000));
        either(tired, async { _ = refresh.await }).await;
    };
    world.run(Instant::from_millis(10_000), dropped).unwrap();
    let again = refresh(&tokens, &mut source, &world, &mut memory, |_| {});
    world.run(Instant::from_millis(10_000), again);
    tokens.with(|manager| {
        let health = manager.health(world.now());
        assert_eq!((health.failures, health.refreshes), (0, 1));
    });
    // The floor after the request that was dropped, and not its deadline.
    assert_eq!(world.now(), Instant::from_millis(3000));
}
