//! Handles that share a connection, whose callers give up at any time.
//!
//! The connection, the network and the server are those of the other model. Checked is:
//!
//! - who has gone has withdrawn: what was not given to the connection by then is never sent, but for
//!   the rest of a transaction that has begun;
//! - nothing is executed twice, whatever is repeated;
//! - what is said not to have been sent wasn't executed, and what has a reply was, once;
//! - everybody who waits is answered in time.

mod script;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use redis_entraid_client::Growable;
use redis_entraid_client::{CommandDispatcher, CommandQueue, Ended, Error, Handle, QueueState};
use redis_entraid_core::connection::{
    CloseReason, Config, Connection, Outcome, Output, Pending, SubmitError,
};
use redis_entraid_core::event::Event;
use redis_entraid_core::manager::TokenManager;
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::secret::Secret;
use redis_entraid_core::time::{Clock, Instant, UnixTime};
use redis_entraid_core::token::Token;

use crate::server::{Broken, Dialect, Server};
pub use script::{Step, draw, shrink};

/// How many callers there are.
const CALLERS: usize = 3;

/// The time, which stands still until it is set.
#[derive(Clone, Debug, Default)]
struct Stopped(Rc<Cell<u64>>);

impl Clock for Stopped {
    fn now(&self) -> Instant {
        Instant::from_millis(self.0.get())
    }

    fn unix_time(&self) -> Option<UnixTime> {
        None
    }
}

type Shared = RefCell<QueueState>;

/// A caller and what it waits for.
struct Caller {
    handle: Rc<RefCell<Handle<Shared>>>,
    waiting: Option<Waiting>,
}

struct Waiting {
    future: Pin<Box<dyn Future<Output = Result<(), Error>>>>,
    /// The texts of its commands, in order; those that have none are the server's own words.
    texts: Vec<Option<String>>,
    /// Until when it has to be answered.
    by: u64,
}

struct World {
    clock: Stopped,
    config: Config,
    manager: TokenManager<[u8; 64]>,
    tokens: u64,
    connection: Connection<Growable<u8>, Growable<Pending>>,
    dispatcher: CommandDispatcher<Shared>,
    callers: Vec<Caller>,
    server: Server,
    /// Texts whose callers have gone, of commands that were not sent by then.
    withdrawn: BTreeMap<String, ()>,
    /// How often a command with this text was given to the connection.
    given: BTreeMap<String, u32>,
    /// A `MULTI` was given to the connection, and what ends it not yet.
    in_transaction: bool,
    texts: u64,
    ended: bool,
}

fn connection(config: &Config) -> Connection<Growable<u8>, Growable<Pending>> {
    let memory = || Growable::new(256, 256);
    Connection::new(config.clone(), memory(), memory(), Growable::new(4, 4))
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Plays `steps`.
///
/// # Errors
/// What was broken.
pub fn play(steps: &[Step]) -> Result<usize, Broken> {
    let config = Config { set_info: false, ..Config::new(0) }.for_commands();
    #[allow(clippy::arc_with_non_send_sync, reason = "handles are the same type with threads")]
    let queue = Arc::new(CommandQueue::new(&config, None));
    let caller =
        |_| Caller { handle: Rc::new(RefCell::new(Handle::new(queue.clone()))), waiting: None };
    let mut world = World {
        clock: Stopped(Rc::new(Cell::new(1))),
        manager: TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 64]; 2]),
        tokens: 0,
        connection: connection(&config),
        callers: (0..CALLERS).map(caller).collect(),
        dispatcher: CommandDispatcher::new(queue),
        server: Server::new(Dialect::NEW, false),
        withdrawn: BTreeMap::new(),
        given: BTreeMap::new(),
        in_transaction: false,
        texts: 0,
        ended: false,
        config,
    };
    world.server.accept()?;
    world.token()?;
    for step in steps {
        world.step(*step)?;
        world.settle()?;
    }
    world.server.silent_until = 0;
    world.pass(120_000)?;
    match world.callers.iter().any(|caller| caller.waiting.is_some()) {
        true => Broken::new("who waits is answered", "somebody still waits"),
        false => Ok(steps.len()),
    }
}

impl World {
    fn now(&self) -> u64 {
        self.clock.0.get()
    }

    fn token(&mut self) -> Result<(), Broken> {
        self.tokens += 1;
        let text = format!("token-{}", self.tokens);
        let token = Token::new(Secret::new(&text)).with_user("oid");
        let token = token.with_expires_in(Duration::from_secs(86_400));
        self.manager.push(self.clock.now(), &token).expect("it is a good one");
        self.server.allow(text, self.now() + 86_400_000)
    }

    fn step(&mut self, step: Step) -> Result<(), Broken> {
        match step {
            Step::Send(caller, letters, limit) => self.send(caller, letters, limit),
            Step::Drop(caller) => self.give_up(caller),
            Step::Flow(out, back) => self.flow(out, back).map(drop)?,
            Step::Pass(millis) => self.pass(millis)?,
            Step::Silence(millis) => self.server.silent_until = self.now() + millis,
            Step::Logout => self.server.session.login = None,
            Step::Cut => self.connection.closed(CloseReason::ByServer),
        }
        Ok(())
    }

    fn send(&mut self, caller: usize, letters: &'static str, limit: Option<u64>) {
        if self.callers[caller].waiting.is_some() {
            return;
        }
        let (mut commands, mut texts) = (Vec::new(), Vec::new());
        for letter in letters.bytes() {
            self.texts += 1;
            let text = format!("t{}", self.texts);
            let (words, text): (Vec<String>, _) = match letter {
                b'p' => (vec!["PING".into(), text.clone()], Some(text)),
                b's' => (vec!["SET".into(), "k".into(), text.clone()], Some(text)),
                b'm' => (vec!["MULTI".into()], None),
                b'e' => (vec!["EXEC".into()], None),
                _ => (vec!["DISCARD".into()], None),
            };
            commands.push(words);
            texts.push(text);
        }
        let handle = self.callers[caller].handle.clone();
        let clock = self.clock.clone();
        let within = limit.map(Duration::from_millis);
        #[allow(clippy::await_holding_refcell_ref, reason = "nobody else has it meanwhile")]
        let future = Box::pin(async move {
            let args = |words: &Vec<String>| -> Vec<Arg<'static>> {
                words.iter().map(|word| Arg::Bytes(word.clone().leak().as_bytes())).collect()
            };
            let commands: Vec<_> = commands.iter().map(args).collect();
            let commands = commands.iter().map(Vec::as_slice);
            handle.borrow_mut().execute_all(&clock, within, commands).await
        });
        // Without a limit each has its own, from when its turn comes; what is repeated has it twice.
        let usual = self.config.command_timeout.as_millis() as u64 * 2 * (texts.len() as u64 + 1);
        let by = self.now() + limit.map_or(usual + 60_000, |limit| limit + 1);
        self.callers[caller].waiting = Some(Waiting { future, texts, by });
    }

    fn give_up(&mut self, caller: usize) {
        let Some(waiting) = self.callers[caller].waiting.take() else { return };
        // Between MULTI and EXEC it goes whole.
        let begun = self.in_transaction;
        for text in waiting.texts.iter().flatten() {
            if !self.given.contains_key(text) && !begun {
                self.withdrawn.insert(text.clone(), ());
            }
        }
    }

    fn flow(&mut self, out: usize, back: usize) -> Result<bool, Broken> {
        self.settle()?;
        let bytes = self.connection.transmit();
        let len = bytes.len().min(out);
        let taken = bytes[..len].to_vec();
        self.connection.sent(len);
        self.server.now = self.now();
        self.server.receive(&taken)?;
        let mut left = back.min(self.server.out.len());
        let came = left > 0;
        while left > 0 && !self.connection.has_ended() {
            let space = self.connection.receive_space();
            let len = space.len().min(left);
            let bytes: Vec<u8> = self.server.out.drain(..len).collect();
            space[..len].copy_from_slice(&bytes);
            self.connection.received(Instant::from_millis(self.now()), len);
            left -= len;
            self.hear();
        }
        self.settle()?;
        Ok(len > 0 || came)
    }

    fn pass(&mut self, millis: u64) -> Result<(), Broken> {
        let until = self.now() + millis;
        loop {
            while self.flow(usize::MAX, usize::MAX)? {}
            if self.now() >= until {
                return Ok(());
            }
            let mut next = until.min(self.connection.next_deadline().as_millis());
            next = next.min(self.dispatcher.deadline().as_millis());
            if self.server.silent_until > self.now() {
                next = next.min(self.server.silent_until);
            }
            self.clock.0.set(next.max(self.now() + 1).min(until));
        }
    }

    /// Does all that a driver does, and has everybody look who waits.
    fn settle(&mut self) -> Result<(), Broken> {
        for _ in 0..200 {
            self.hear();
            self.connection.update(self.clock.now(), &mut self.manager);
            self.hear();
            if std::mem::take(&mut self.ended) {
                self.connection = connection(&self.config);
                self.server.silent_until = 0;
                self.in_transaction = false;
                self.server.accept()?;
                continue;
            }
            let gave = self.submit()?;
            self.dispatcher.expire_behind(self.clock.now());
            let heard = self.poll()?;
            if !gave && !heard && !self.connection.needs_update() && !self.connection.has_ended() {
                return Ok(());
            }
        }
        Broken::new("no hot loop", "it can't be satisfied")
    }

    fn submit(&mut self) -> Result<bool, Broken> {
        let Self { dispatcher, connection, server, withdrawn, given, in_transaction, .. } = self;
        let (mut broken, now) = (None, self.clock.now());
        let given = dispatcher.submit(&cx(), now, &mut |by, tag, command| {
            connection.submit_encoded(now, by, tag, command)?;
            let bytes = command.bytes();
            server.submitted.push_back((tag, bytes.to_vec()));
            let words = Value::framed(bytes).items().filter_map(|word| word.str().ok());
            let words: Vec<&str> = words.collect();
            match words[0] {
                "MULTI" => *in_transaction = true,
                "EXEC" | "DISCARD" => *in_transaction = false,
                _ => {
                    let text = (*words.last().expect("it has words")).to_owned();
                    if withdrawn.contains_key(&text) {
                        broken = Some(text.clone());
                    }
                    *given.entry(text).or_default() += 1;
                }
            }
            Ok::<_, SubmitError>(())
        });
        if let Some(text) = broken {
            return Broken::new("who has gone has withdrawn", text);
        }
        match given {
            Ok(given) => Ok(given),
            Err(Ended::Abandoned) => {
                self.connection.closed(CloseReason::Closed);
                Ok(true)
            }
            Err(Ended::Stale) => Broken::new("nobody was redirected", "it says that it was"),
            Err(Ended::NotNeeded) => Broken::new("handles are needed", "it says they aren't"),
        }
    }

    /// Has everybody look who waits. Says whether somebody has been answered.
    fn poll(&mut self) -> Result<bool, Broken> {
        let mut heard = false;
        for at in 0..self.callers.len() {
            let Some(waiting) = &mut self.callers[at].waiting else { continue };
            match waiting.future.as_mut().poll(&mut cx()) {
                Poll::Pending if self.clock.0.get() > waiting.by => {
                    return Broken::new("who waits is answered", format!("{:?}", waiting.texts));
                }
                Poll::Pending => {}
                Poll::Ready(result) => {
                    heard = true;
                    let waiting = self.callers[at].waiting.take().expect("it waited");
                    self.answered(at, result, &waiting.texts)?;
                }
            }
        }
        Ok(heard)
    }

    fn answered(
        &self,
        at: usize,
        result: Result<(), Error>,
        texts: &[Option<String>],
    ) -> Result<(), Broken> {
        let handle = self.callers[at].handle.borrow();
        for (number, text) in texts.iter().enumerate() {
            let Some(text) = text else { continue };
            let executed = self.server.data.executed.get(text).copied().unwrap_or(0);
            let reply = match &result {
                Ok(()) => handle.pick(number),
                Err(error) => Err(error.clone()),
            };
            let shown = || format!("{text}, executed {executed} times: {reply:?}");
            if executed > 1 {
                return Broken::new("nothing is executed twice", shown());
            }
            let wrong = match &reply {
                Ok(value) if value.str() == Ok("QUEUED") => false,
                Ok(value) => {
                    executed != 1
                        || !matches!(value.str(), Ok(word) if word == "OK" || word == text)
                }
                Err(error) => executed == 1 && error.outcome() == Outcome::NotSent,
            };
            if wrong {
                return Broken::new("who is answered hears what happened", shown());
            }
        }
        Ok(())
    }

    fn hear(&mut self) {
        let now = self.clock.now();
        let mut deliveries = self.dispatcher.deliver();
        let mut end = None;
        while let Some(output) = self.connection.next(now) {
            if let Some(Output::Event(Event::Disconnected { reason })) = deliveries.output(output) {
                end = Some(reason);
            }
        }
        deliveries.settle(&self.connection.health(now));
        drop(deliveries);
        if let Some(reason) = end {
            self.dispatcher.disconnected(reason);
            self.ended = true;
        }
    }
}
