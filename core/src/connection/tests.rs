//! A connection with a person at the other end, who types the answers.

mod found;
mod large;
mod login;
mod memory;
mod noauth;
mod prelude;
mod replies;
mod server_state;
mod stalls;
mod transactions;

use super::*;
use crate::args;
use crate::auth::{LoginError, Protocol};
use crate::command::{CommandClass, CommandRefused, EncodedCommand};
use crate::event::{Event, LostState};
use crate::manager::Generation;
use crate::policy::{Jitter, RefreshPolicy};
use crate::resp::{Framer, Value};
use crate::secret::Secret;
use crate::storage::{Buffer, CapacityError};
use crate::token::Token;
use core::time::Duration;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

const fn secs(secs: u64) -> Instant {
    Instant::from_millis(secs * 1000)
}

type Manager = TokenManager<[u8; 64]>;

/// A connection, a token manager, and a person at the other end who types the answers.
struct Bench {
    now: Instant,
    manager: Manager,
    connection: Connection<Vec<u8>, Vec<Pending>>,
    /// Commands that came through, a line each, and those of which the end is still to come.
    heard: Vec<String>,
    partial: Vec<u8>,
}

// Memory that doesn't grow, of a size that each test chooses.
impl Storage<u8> for Vec<u8> {
    fn room(&self) -> &[u8] {
        self
    }
    fn room_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Storage<Pending> for Vec<Pending> {
    fn room(&self) -> &[Pending] {
        self
    }
    fn room_mut(&mut self) -> &mut [Pending] {
        self
    }
}

const HELLO: &str = "%2\r\n+proto\r\n:3\r\n+id\r\n:9\r\n";

impl Bench {
    fn with(config: Config, receive: usize, transmit: usize, ring: usize) -> Self {
        let ring = std::vec![Pending::default(); ring];
        let (receive, transmit) = (std::vec![0; receive], std::vec![0; transmit]);
        let mut bench = Self {
            now: secs(0),
            manager: TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 64]; 2]),
            connection: Connection::new(config, receive, transmit, ring),
            heard: Vec::new(),
            partial: Vec::new(),
        };
        bench.token("token-1");
        bench
    }

    fn new() -> Self {
        Self::with(Config { set_info: false, ..Config::new(0) }, 256, 256, 8)
    }

    /// Logged in already.
    fn ready() -> Self {
        let mut bench = Self::new();
        bench.update();
        bench.flush();
        bench.answer(HELLO);
        bench.heard.clear();
        bench
    }

    fn token(&mut self, text: &str) {
        let token = Token::new(Secret::new(text)).with_user("oid");
        let token = token.with_expires_in(Duration::from_secs(3600));
        self.manager.push(self.now, &token).unwrap();
    }

    fn update(&mut self) {
        self.connection.update(self.now, &mut self.manager);
    }

    /// Takes all that is to be sent, and looks when that is wanted.
    fn flush(&mut self) {
        loop {
            while let bytes @ [_, ..] = self.connection.transmit() {
                let len = bytes.len();
                self.partial.extend_from_slice(bytes);
                self.connection.sent(len);
            }
            if !self.connection.needs_update() {
                break;
            }
            self.update();
        }
        while let Ok(framed) = Framer::new().feed(&self.partial)
            && framed.complete
        {
            let command: Vec<u8> = self.partial.drain(..framed.used).collect();
            let words = Value::new(&command).unwrap().items();
            let words: Vec<_> = words.map(|word| word.str().unwrap().to_string()).collect();
            self.heard.push(words.join(" "));
        }
    }

    /// Lets `reply` come in, and says what came of it.
    fn answer(&mut self, reply: &str) -> Vec<String> {
        let mut outputs = self.answer_unsent(reply);
        self.flush();
        outputs.extend(self.outputs());
        outputs
    }

    /// The same, while nothing is sent.
    fn answer_unsent(&mut self, reply: &str) -> Vec<String> {
        let mut outputs = Vec::new();
        let mut rest = reply.as_bytes();
        while !rest.is_empty() {
            let space = self.connection.receive_space();
            let len = space.len().min(rest.len());
            space[..len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            self.connection.received(self.now, len);
            outputs.extend(self.outputs());
        }
        outputs
    }

    fn outputs(&mut self) -> Vec<String> {
        let mut outputs = Vec::new();
        while let Some(output) = self.connection.next(self.now) {
            outputs.push(match output {
                Output::Reply { tag, reply: Ok(value) } => match value.error() {
                    Some(error) => format!("{tag} error {}", error.code()),
                    None => format!("{tag} {}", value.str().unwrap_or("?")),
                },
                Output::Reply { tag, reply: Err(error) } => format!("{tag} {error}"),
                Output::Lost { tag, lost } => format!("{tag} {:?} {:?}", lost.outcome, lost.reason),
                Output::Push(Ok(value)) => {
                    let items = value.items().map(|item| item.str().unwrap_or("?").to_string());
                    format!("push {}", items.collect::<Vec<_>>().join(" "))
                }
                Output::Push(Err(error)) => format!("push {error}"),
                Output::Event(event) => format!("{event:?}"),
            });
        }
        outputs
    }

    fn submit(&mut self, tag: Tag, args: &[Arg<'_>]) {
        self.connection.submit(self.now, tag, args).unwrap();
        self.flush();
    }

    #[track_caller]
    fn hears(&mut self, commands: &[&str]) {
        assert_eq!(self.heard, commands);
        self.heard.clear();
    }
}

fn event(event: Event) -> String {
    format!("{event:?}")
}

fn ended(reason: CloseReason) -> String {
    event(Event::Disconnected { reason })
}

const ONE: Generation = Generation(1);

const TWO: Generation = Generation(2);

/// Has a newer token and is past the time at which it should be used.
fn due(bench: &mut Bench, text: &str) {
    bench.now = bench.now.plus(Duration::from_secs(40));
    bench.token(text);
    bench.now = bench.now.plus(Duration::from_secs(40));
    bench.update();
    bench.flush();
}
