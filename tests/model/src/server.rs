//! A small server: what a real one does with the commands of the scripts, in one session after the
//! other. It says which bytes it has answered with, and for what.

mod data;
mod others;
mod session;

use std::collections::VecDeque;

use redis_entraid_core::connection::Tag;
use redis_entraid_core::resp::{Framer, Value};

use crate::real::Real;
use crate::script::{Fault, LoginFault};
pub use data::Data;
pub use session::{Blocked, Session};

/// What differs from version to version.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// It knows `HELLO`.
    pub hello: bool,
    /// It has shard channels.
    pub shards: bool,
    /// A transaction whose watched keys have changed goes on being queued.
    pub queues_in_vain: bool,
    /// A slot on its way answers `TRYAGAIN` where some of the keys have gone.
    pub try_again: bool,
}

impl Dialect {
    /// As Redis 8.
    pub const NEW: Self =
        Self { hello: true, shards: true, queues_in_vain: false, try_again: true };
}

/// What bytes of the server's are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// An answer to `HELLO` or `AUTH`.
    Login,
    /// An answer to something else that the connection has sent by itself.
    Own,
    /// The answer to a command of the user's.
    Reply(Tag),
    /// The last confirmation of a command of the user's, which is its answer.
    Confirmed(Tag),
    /// What was not asked for, and other confirmations.
    Push,
}

/// A whole value that the server has sent.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What for.
    pub what: What,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The server, and one connection to it.
#[derive(Debug)]
pub struct Server {
    /// What it is like.
    pub dialect: Dialect,
    /// What time it is, in milliseconds.
    pub now: u64,
    /// Until when it does nothing.
    pub silent_until: u64,
    /// The session of the connection.
    pub session: Session,
    /// What it keeps.
    pub data: Data,
    /// The tokens that are good, with their ends.
    pub tokens: Vec<(String, u64)>,
    /// What the next command is answered with.
    pub fault: Option<Fault>,
    /// What the next login is answered with.
    pub login_fault: Option<LoginFault>,
    /// Commands of the user's that haven't been read yet, oldest first.
    pub submitted: VecDeque<(Tag, Vec<u8>)>,
    /// Bytes that were received and not read yet.
    pub inbox: Vec<u8>,
    /// Bytes that are on their way to the client.
    pub out: VecDeque<u8>,
    /// What the client is still to make of the bytes that were sent.
    pub sent: VecDeque<Frame>,
    /// A real server that does the same.
    pub real: Option<Box<Real>>,
    fresh: Vec<Frame>,
}

/// A rule that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which rule.
    pub rule: &'static str,
    /// What was seen.
    pub how: String,
}

impl Broken {
    pub(crate) fn new<T>(rule: &'static str, how: impl Into<String>) -> Result<T, Self> {
        Err(Self { rule, how: how.into() })
    }
}

impl Server {
    /// One that nobody is connected to.
    pub fn new(dialect: Dialect, cluster: bool) -> Self {
        Self {
            dialect,
            now: 0,
            silent_until: 0,
            session: Session::default(),
            data: Data::new(cluster, dialect.try_again),
            tokens: Vec::new(),
            fault: None,
            login_fault: None,
            submitted: VecDeque::new(),
            inbox: Vec::new(),
            out: VecDeque::new(),
            sent: VecDeque::new(),
            real: None,
            fresh: Vec::new(),
        }
    }

    /// A new connection comes in place of the one before.
    pub fn accept(&mut self) -> Result<(), Broken> {
        self.session = Session::default();
        self.inbox.clear();
        self.out.clear();
        self.sent.clear();
        self.submitted.clear();
        self.fault = None;
        self.real.as_mut().map_or(Ok(()), |real| real.accept())
    }

    /// Whether it does nothing at the moment.
    pub const fn is_silent(&self) -> bool {
        self.now < self.silent_until
    }

    /// A token is good from here on, until `ends`.
    pub fn allow(&mut self, token: String, ends: u64) -> Result<(), Broken> {
        self.real.as_mut().map_or(Ok(()), |real| real.allow(&token))?;
        self.tokens.push((token, ends));
        Ok(())
    }

    /// Takes bytes in.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.inbox.extend_from_slice(bytes);
        self.run()
    }

    /// Does what there is to do.
    pub fn run(&mut self) -> Result<(), Broken> {
        while !self.is_silent() {
            if let Some(blocked) = &self.session.blocked {
                if self.now < blocked.until {
                    return Ok(());
                }
                let tag = blocked.tag;
                self.session.blocked = None;
                if let Some(real) = &mut self.real {
                    real.time_out()?;
                }
                let null = self.session.null_array();
                self.answer(What::Reply(tag), null);
                self.settle(None)?;
                continue;
            }
            let framed = Framer::new().feed(&self.inbox);
            let Ok(framed) = framed else { return Broken::new("commands are RESP", "they aren't") };
            if !framed.complete {
                return Ok(());
            }
            let raw: Vec<u8> = self.inbox.drain(..framed.used).collect();
            let words: Vec<String> = Value::framed(&raw)
                .items()
                .map(|word| word.str().unwrap_or_default().to_owned())
                .collect();
            self.command(&words, &raw)?;
            self.settle(Some(&raw))?;
        }
        Ok(())
    }

    pub(crate) fn answer(&mut self, what: What, bytes: impl Into<Vec<u8>>) {
        self.fresh.push(Frame { what, bytes: bytes.into() });
    }

    /// Sends what is to be said; a real server does the same, in its own words.
    pub(crate) fn settle(&mut self, raw: Option<&[u8]>) -> Result<(), Broken> {
        if let Some(real) = &mut self.real {
            real.queue(raw, &mut self.fresh)?;
        }
        for frame in self.fresh.drain(..) {
            self.out.extend(&frame.bytes);
            self.sent.push_back(frame);
        }
        Ok(())
    }

    /// The next of what was sent that the user gets to see: but for the replies to `gone`.
    pub(crate) fn next_visible(&mut self, gone: &[Tag]) -> Option<Frame> {
        loop {
            let frame = self.sent.pop_front()?;
            match frame.what {
                What::Login | What::Own => {}
                What::Reply(tag) if gone.contains(&tag) => {}
                _ => return Some(frame),
            }
        }
    }

    /// Whether there are replies that the client hasn't got to the end.
    fn owes(&self) -> bool {
        let undelivered = self.out.len();
        let mut bytes = 0;
        // Messages may come at any time.
        for frame in self.sent.iter().rev() {
            if bytes >= undelivered {
                return false;
            }
            if frame.what != What::Push {
                return true;
            }
            bytes += frame.bytes.len();
        }
        false
    }
}
