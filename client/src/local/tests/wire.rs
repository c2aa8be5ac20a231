//! A server that answers each command by a rule, and may stop taking bytes.

use std::collections::VecDeque;
use std::string::String;

use super::*;
use crate::world::Never;
use redis_entraid_core::resp::Framer;
use redis_entraid_core::transport::{Endpoint, ErrorType, Read, TransportUser, Write};

/// What the server says to a command.
pub(super) type Rule = fn(&Wire, &[String]) -> &'static [u8];

#[derive(Default)]
pub(super) struct Wire {
    input: RefCell<Vec<u8>>,
    pub(super) output: RefCell<VecDeque<u8>>,
    pub(super) closed: Cell<bool>,
    pub(super) connects: Cell<u32>,
    /// The number of the connection and the first word of each command.
    pub(super) log: RefCell<Vec<(u32, String)>>,
    /// The words of each command.
    pub(super) said: RefCell<Vec<String>>,
    /// It takes no more than so many bytes.
    pub(super) most: Cell<Option<usize>>,
    taken: Cell<usize>,
    /// How long a connection takes.
    pub(super) far: Cell<Duration>,
}

impl Wire {
    pub(super) fn count(&self, word: &str) -> usize {
        self.log.borrow().iter().filter(|(_, known)| known == word).count()
    }
}

#[derive(Clone)]
struct Script(Rc<Wire>, Rule, Rc<World>);

impl ErrorType for Script {
    type Error = Never;
}

impl Read for Script {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, Never> {
        poll_fn(|_| {
            let mut output = self.0.output.borrow_mut();
            if output.is_empty() && !self.0.closed.get() {
                return Poll::Pending;
            }
            let len = room.len().min(output.len());
            for (to, from) in room.iter_mut().zip(output.drain(..len)) {
                *to = from;
            }
            Poll::Ready(Ok(len))
        })
        .await
    }
}

impl Write for Script {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Never> {
        let wire = &*self.0;
        if wire.most.get().is_some_and(|most| wire.taken.get() >= most) {
            core::future::pending::<()>().await;
        }
        let len = bytes.len().min(1000);
        wire.taken.set(wire.taken.get() + len);
        wire.input.borrow_mut().extend_from_slice(&bytes[..len]);
        loop {
            let mut input = wire.input.borrow_mut();
            let Some(framed) = Framer::new().feed(&input).ok().filter(|framed| framed.complete)
            else {
                return Ok(len);
            };
            let command = Value::new(&input[..framed.used]).unwrap();
            let words: Vec<_> =
                command.items().map(|word| word.str().unwrap().to_string()).collect();
            input.drain(..framed.used);
            drop(input);
            wire.log.borrow_mut().push((wire.connects.get(), words[0].clone()));
            wire.said.borrow_mut().push(words.join(" "));
            wire.output.borrow_mut().extend(self.1(wire, &words));
        }
    }

    async fn flush(&mut self) -> Result<(), Never> {
        Ok(())
    }
}

impl Connector for Script {
    type Error = Never;

    async fn connect<S: TransportUser>(
        &mut self,
        _: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, Never> {
        let wire = self.0.clone();
        self.2.sleep_until(self.2.now().plus(wire.far.get())).await;
        wire.connects.set(wire.connects.get() + 1);
        wire.input.borrow_mut().clear();
        wire.output.borrow_mut().clear();
        wire.closed.set(false);
        Ok(session.run(self.clone(), self.clone()).await)
    }
}

pub(super) const HELLO: &[u8] = b"%1\r\n+proto\r\n:3\r\n";

pub(super) fn usual(_: &Wire, words: &[String]) -> &'static [u8] {
    if words[0] == "HELLO" { HELLO } else { b"+OK\r\n" }
}

/// A client of a [`Script`], and what it is set up with.
pub(super) struct Bench {
    world: Rc<World>,
    pub(super) wire: Rc<Wire>,
    rule: Rule,
    pub(super) settings: Settings,
    source: Tokens,
    snapshot: Option<Vec<u8>>,
}

impl Bench {
    pub(super) fn new(world: Rc<World>, rule: Rule) -> Self {
        let mut settings = Settings::new("cache", 0);
        settings.config.set_info = false;
        let source = Tokens(Rc::default(), Duration::ZERO, None, world.clone());
        Self { world, wire: Rc::default(), rule, settings, source, snapshot: None }
    }

    pub(super) fn run<R>(
        self,
        f: impl AsyncFnOnce(LocalClient<Calendar>, &Wire, &World) -> R,
    ) -> R {
        let Self { world, wire, rule, settings, source, snapshot } = self;
        let script = Script(wire.clone(), rule, world.clone());
        let timer = Calendar(world.clone());
        let (client, driver) =
            LocalClient::new(settings, timer, script, source, snapshot.as_deref());
        let mut result = None;
        let using = async { result = Some(f(client, &wire, &world).await) };
        let both = redis_entraid_core::drive::either(using, async {
            driver.await;
            core::future::pending::<()>().await;
        });
        assert!(world.run(Instant::from_millis(86_400_000), both).is_some(), "it hangs");
        result.unwrap()
    }
}

#[test]
fn a_command_behind_a_stuck_write_has_its_time_and_no_more() {
    Bench::new(Rc::default(), usual).run(async |mut client, wire, world| {
        client.logged_in().await.unwrap();
        wire.most.set(Some(wire.taken.get() + 3000));
        let large = "x".repeat(100_000);
        let mut other = client.clone();
        let stuck = async {
            let _ = client.command(args!["SET", "k", large.as_str()]).await.map(|_| ());
            core::future::pending::<()>().await;
        };
        let mut outcome = None;
        let behind = async {
            outcome = other.command(args!["GET", "k"]).await.map(|_| ()).err().map(|e| e.outcome());
        };
        redis_entraid_core::drive::either(stuck, behind).await;
        assert_eq!(outcome, Some(Outcome::NotSent));
        assert_eq!(world.now(), Instant::from_millis(5000));
    });
}

#[cfg(feature = "postcard")]
#[test]
fn who_waits_for_the_login_gets_past_a_kept_token_that_is_refused() {
    let world = Rc::default();
    let snapshot = snapshot(&world);
    let mut bench = Bench::new(world, |_, words| match &*words[0] {
        "HELLO" if words.last().unwrap() == "one" => b"-WRONGPASS no\r\n",
        "HELLO" => HELLO,
        _ => b"+OK\r\n",
    });
    bench.snapshot = Some(snapshot);
    bench.source.0.set(1);
    // The fresh token may come before or after the next dial.
    bench.source.1 = Duration::from_millis(100);
    bench.run(async |client, wire, _| {
        client.connected().await.unwrap();
        client.logged_in().await.unwrap();
        assert_eq!(wire.connects.get(), 2);
    });
}

#[test]
fn what_is_said_not_to_be_sent_at_the_deadline_is_not_sent_later() {
    let mut bench = Bench::new(Rc::default(), usual);
    bench.source.1 = Duration::from_secs(3);
    bench.settings.deadline = Some(Duration::from_secs(2));
    bench.run(async |mut client, wire, world| {
        let error = client.command(args!["INCR", "k"]).await.map(|_| ()).unwrap_err();
        assert_eq!((error.outcome(), world.now().as_millis()), (Outcome::NotSent, 2000));
        world.sleep_until(Instant::from_millis(10_000)).await;
        assert_eq!(wire.count("INCR"), 0);
        assert!(client.command(args!["INCR", "k"]).await.is_err());
    });
}

#[cfg(feature = "postcard")]
#[test]
fn a_source_that_fails_doesnt_matter_while_a_kept_token_serves() {
    let world: Rc<World> = Rc::default();
    let snapshot = snapshot(&world);
    // The next one is due.
    world.now.set(Instant::from_millis(3_000_000));
    let mut bench = Bench::new(world, usual);
    bench.source = Tokens(
        Rc::new(Cell::new(1)),
        Duration::from_millis(100),
        Some(ErrorKind::Configuration),
        bench.world.clone(),
    );
    bench.wire.far.set(Duration::from_millis(150));
    bench.snapshot = Some(snapshot);
    bench.run(async |mut client, _, _| {
        client.connected().await.unwrap();
        client.command(args!["GET", "k"]).await.unwrap();
    });
}

#[test]
fn what_a_server_that_forgot_the_login_refuses_is_sent_again_once() {
    let rule: Rule = |wire, words| match (&*words[0], wire.count("EVAL")) {
        ("HELLO", _) => HELLO,
        ("EVAL", 1) => b"-NOAUTH a script says\r\n",
        _ => b"+OK\r\n",
    };
    Bench::new(Rc::default(), rule).run(async |mut client, wire, _| {
        client.logged_in().await.unwrap();
        client.command(args!["EVAL", "...", 0]).await.map(|_| ()).unwrap();
        assert_eq!(wire.count("EVAL"), 2);
    });
    let rule: Rule = |_, words| match &*words[0] {
        "HELLO" => HELLO,
        _ => b"-NOAUTH a script says\r\n",
    };
    Bench::new(Rc::default(), rule).run(async |mut client, wire, _| {
        client.logged_in().await.unwrap();
        let error = client.command(args!["EVAL", "...", 0]).await.map(|_| ()).unwrap_err();
        assert_eq!((error.code(), wire.count("EVAL")), (Some("NOAUTH"), 2));
    });
}

#[test]
fn a_transaction_whose_watch_was_on_a_connection_that_forgot_the_login_is_not_sent_again() {
    let rule: Rule = |_, words| match &*words[0] {
        "HELLO" => HELLO,
        "MULTI" | "SET" | "EXEC" => b"-NOAUTH no\r\n",
        _ => b"+OK\r\n",
    };
    Bench::new(Rc::default(), rule).run(async |mut client, wire, _| {
        client.logged_in().await.unwrap();
        client.command(args!["WATCH", "k"]).await.unwrap();
        let all: [&[Arg<'_>]; 3] = [args!["MULTI"], args!["SET", "k", "v"], args!["EXEC"]];
        client.pipeline(all).await.unwrap();
        assert!(matches!(client.reply(0), Err(Error::StateLost)));
        assert_eq!(wire.count("EXEC"), 1);
    });
}

/// Has one token, and then none; just then a reply comes.
struct Failing(Rc<Wire>, Rc<World>, bool);

impl TokenSource for Failing {
    type Error = SourceError;

    async fn fetch<'b>(&'b mut self, _: &Start, _: &'b mut [u8]) -> Result<Token<'b>, SourceError> {
        if core::mem::replace(&mut self.2, true) {
            self.1.sleep_until(self.1.now().plus(Duration::from_millis(100))).await;
            self.0.output.borrow_mut().extend(b"+OK\r\n");
            return Err(SourceError::Other { kind: ErrorKind::Transient, what: "script" });
        }
        let token = Token::new(Secret::new("one")).with_user("oid");
        Ok(token.with_expires_in(Duration::from_secs(3600)))
    }
}

#[test]
fn a_refresh_that_failed_is_told_whatever_else_happens() {
    let rule: Rule = |_, words| match &*words[0] {
        "HELLO" => HELLO,
        "SLOW" => b"",
        _ => b"+OK\r\n",
    };
    let mut bench = Bench::new(Rc::default(), rule);
    bench.settings.refresh = Refresh::OnDemand;
    let Bench { world, wire, settings, .. } = bench;
    let script = Script(wire.clone(), rule, world.clone());
    let source = Failing(wire, world.clone(), false);
    let (client, driver) =
        LocalClient::new(settings, Calendar(world.clone()), script, source, None);
    let mut told = None;
    let using = async {
        client.logged_in().await.unwrap();
        world.sleep_until(Instant::from_millis(3_000_000)).await;
        assert_eq!(client.pull(), Pull::UseThenRefresh);
        let mut other = client.clone();
        let slow = async {
            other.command(args!["SLOW"]).await.map(|_| ()).unwrap();
            core::future::pending::<()>().await;
        };
        redis_entraid_core::drive::either(slow, async {
            told = Some(client.refresh_if_due().await)
        })
        .await;
    };
    world.run(Instant::from_millis(86_400_000), redis_entraid_core::drive::either(using, driver));
    assert!(matches!(told, Some(Err(Error::Token(_)))), "{told:?}");
}
