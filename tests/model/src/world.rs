//! Plays a script with a connection, a token manager, a network and a server.

mod network;
mod rules;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use redis_entraid_client::Growable;
use redis_entraid_core::command::{CommandClass, EncodedCommand, classify};
use redis_entraid_core::connection::{Connection, Outcome, Output, Pending, SubmitError, Tag};
use redis_entraid_core::manager::{Generation, TokenManager};
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::resp::{Arg, encode};
use redis_entraid_core::secret::Secret;
use redis_entraid_core::time::Instant;
use redis_entraid_core::token::Token;

use crate::script::{Command, Settings, Step};
use crate::server::{Broken, Server};

type Subject = Connection<Growable<u8>, Growable<Pending>>;

/// A client and a server, and what is between them.
pub struct World {
    settings: Settings,
    now: u64,
    manager: TokenManager<[u8; 64]>,
    tokens: u64,
    connection: Subject,
    server: Server,
    /// The commands without an answer, with the time by which there has to be one.
    open: BTreeMap<Tag, u64>,
    /// Commands that were reported lost, and may still be answered.
    gone: Vec<Tag>,
    next_tag: Tag,
    operations: usize,
    /// Commands whose replies the client hasn't got, with the time by which they have to come.
    unanswered: VecDeque<(Tag, u64)>,
    /// A `MULTI` was sent on this connection.
    multi: bool,
    /// Another connection is to take its place.
    replaces: bool,
    /// The network takes nothing until then.
    stalled_until: u64,
    /// The newest token that the client has logged in with, and when a newer one came.
    generation: Generation,
    token_came: u64,
    /// When the next one comes.
    fresh_at: u64,
    /// When the last byte came.
    heard: u64,
    /// Since when it isn't ready, and since when it waits for a reply.
    unready: Option<u64>,
    waiting: Option<u64>,
    /// When the last login was refused.
    refused: Option<u64>,
    retired: bool,
    /// Somebody said that it has ended.
    ended: bool,
    /// What the server had when it cut the connection, if all replies were in.
    left: Option<Left>,
    /// What happened, to be shown.
    log: Vec<String>,
    verbose: bool,
}

/// What a server had of a connection when it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Left {
    transaction: bool,
    watch: bool,
    tracking: bool,
    subscriptions: u32,
}

fn connection(settings: &Settings) -> Subject {
    let memory = |len| Growable::new(len, len);
    let ring = Growable::new(settings.ring, settings.ring);
    Connection::new(settings.config(), memory(settings.receive), memory(settings.transmit), ring)
}

impl World {
    /// A client before its first login.
    pub fn new(settings: Settings, server: Server) -> Self {
        let policy = RefreshPolicy::default();
        Self {
            settings,
            now: 1,
            manager: TokenManager::new(policy, Jitter::none(), [[0; 64]; 2]),
            tokens: 0,
            connection: connection(&settings),
            server,
            open: BTreeMap::new(),
            gone: Vec::new(),
            next_tag: 0,
            operations: 0,
            unanswered: VecDeque::new(),
            multi: false,
            replaces: false,
            stalled_until: 0,
            generation: Generation(0),
            token_came: 0,
            fresh_at: 0,
            heard: 0,
            unready: None,
            waiting: None,
            refused: None,
            retired: false,
            ended: false,
            left: None,
            log: Vec::new(),
            verbose: std::env::var_os("MODEL_LOG").is_some(),
        }
    }

    const fn time(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    /// Plays it to the end. Also answers with the server, whom somebody may want to ask more.
    pub fn play(mut self, steps: &[Step]) -> (Result<usize, Broken>, Server) {
        let played = self.play_all(steps);
        if self.verbose {
            self.log.iter().for_each(|line| println!("{line}"));
        }
        (played.map(|()| self.operations), self.server)
    }

    fn play_all(&mut self, steps: &[Step]) -> Result<(), Broken> {
        self.server.accept()?;
        self.token()?;
        self.drain()?;
        for step in steps {
            self.note(|| format!("{step:?}"));
            self.step(*step)?;
            self.update()?;
            self.check()?;
        }
        (self.server.silent_until, self.stalled_until) = (0, 0);
        self.drain()?;
        // Whatever is still open ends by itself.
        self.pass(120_000)?;
        self.check_drained()
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.verbose {
            let line = format!("{:>9} {}", self.now, what());
            self.log.push(line);
        }
    }

    fn step(&mut self, step: Step) -> Result<(), Broken> {
        self.operations += 1;
        match step {
            Step::User(command) => self.submit(command, None)?,
            Step::Within(limit, command) => self.submit(command, Some(limit))?,
            Step::Other(other) => self.server.other(other, self.operations)?,
            Step::Flow(out, back) => self.flow(out, back).map(drop)?,
            Step::Drain => {
                self.drain()?;
                self.check_drained()?;
            }
            Step::Pass(millis) => self.pass(millis)?,
            Step::Next(limit) => {
                let next = self.connection.next_deadline().as_millis().saturating_sub(self.now);
                self.pass(next.min(limit))?;
            }
            Step::Token => self.token()?,
            Step::Silence(millis) => self.server.silent_until = self.now + millis,
            Step::Stall(millis) => self.stalled_until = self.now + millis,
            Step::Death => self.server.silent_until = u64::MAX,
            Step::Fault(fault) => self.server.fault = Some(fault),
            Step::LoginFault(fault) => self.server.login_fault = Some(fault),
            Step::Logout => self.server.session.login = None,
            Step::Cut => self.cut()?,
            Step::Retire => {
                self.connection.retire();
                self.retired = true;
            }
        }
        Ok(())
    }

    fn token(&mut self) -> Result<(), Broken> {
        self.tokens += 1;
        let text = format!("token-{}", self.tokens);
        let life = Duration::from_secs(self.settings.life);
        let token = Token::new(Secret::new(&text)).with_user("oid").with_expires_in(life);
        self.manager.push(self.time(), &token).expect("it is a good one");
        self.token_came = self.now;
        // A host has the next token in time.
        self.fresh_at = self.now + self.settings.life * 700;
        self.server.allow(text, self.now + self.settings.life * 1000)
    }

    fn submit(&mut self, command: Command, limit: Option<u64>) -> Result<(), Broken> {
        let tag = self.next_tag + 1;
        let words = command.words(tag);
        let args: Vec<Arg<'_>> = words.iter().map(|word| Arg::from(word.as_str())).collect();
        let mut bytes = Vec::new();
        encode(&args, &mut |piece| bytes.extend_from_slice(piece));
        let Ok(class) = classify(&args) else { return Ok(()) };
        let block = match class {
            CommandClass::Blocking(Some(time)) => time.as_millis() as u64,
            _ => 0,
        };
        let usual = self.settings.config().command_timeout.as_millis() as u64;
        let by = self.now + limit.unwrap_or(usual);
        let now = self.time();
        let taken = match limit {
            None => self.connection.submit(now, tag, &args),
            Some(_) => {
                let by = Instant::from_millis(by);
                self.connection.submit_encoded(
                    now,
                    by,
                    tag,
                    EncodedCommand::from_parts(class, &bytes),
                )
            }
        };
        match taken {
            Ok(()) => {
                self.next_tag = tag;
                self.open.insert(tag, by + block);
                self.multi |= class == CommandClass::Multi;
                // In a transaction nothing blocks.
                let blocks = if self.multi { 0 } else { block };
                self.unanswered.push_back((tag, by + blocks));
                self.server.submitted.push_back((tag, bytes));
                self.note(|| format!("  {tag}: {}", words.join(" ")));
                Ok(())
            }
            Err(SubmitError::Full | SubmitError::Refused(_) | SubmitError::TooLarge(_)) => {
                self.note(|| format!("  not taken: {}", words.join(" ")));
                Ok(())
            }
            Err(SubmitError::Ended) => Broken::new("a connection's end is told", "it wasn't"),
            Err(other) => Broken::new("an error is known", format!("{other:?}")),
        }
    }

    fn update(&mut self) -> Result<(), Broken> {
        for _ in 0..50 {
            self.hear()?;
            self.connection.update(self.time(), &mut self.manager);
            self.hear()?;
            if std::mem::take(&mut self.replaces) {
                self.connection.retire();
                self.retired = true;
                continue;
            }
            if self.ended {
                // Another one takes its place.
                self.ended = false;
                self.replace()?;
                continue;
            }
            if !self.connection.needs_update() {
                if self.connection.next_deadline() <= self.time() && !self.connection.has_ended() {
                    return Broken::new("no hot loop", "it would be looked at again at once");
                }
                return Ok(());
            }
        }
        Broken::new("no hot loop", "it can't be satisfied")
    }

    fn replace(&mut self) -> Result<(), Broken> {
        self.note(|| "  a new connection".into());
        self.connection = connection(&self.settings);
        self.gone.clear();
        self.unanswered.clear();
        (self.stalled_until, self.generation) = (0, Generation(0));
        (self.unready, self.waiting, self.refused) = (None, None, None);
        (self.retired, self.left, self.multi) = (false, None, false);
        self.heard = self.now;
        // Nobody waits for a dead server: another one takes its place.
        self.server.silent_until = self.server.silent_until.min(self.now);
        self.server.accept()
    }

    fn hear(&mut self) -> Result<(), Broken> {
        let now = self.time();
        while let Some(output) = self.connection.next(now) {
            if self.verbose {
                self.log.push(format!("{:>9}   = {}", self.now, rules::output(&output)));
            }
            if self.ended {
                return Broken::new("a connection's end is the last of it", format!("{output:?}"));
            }
            let frame = match output {
                Output::Reply { .. } | Output::Push(_) => self.server.next_visible(&self.gone),
                _ => None,
            };
            match output {
                Output::Reply { tag, reply } => {
                    if self.open.remove(&tag).is_none() {
                        return Broken::new("a command is answered once", format!("{tag} again"));
                    }
                    rules::is_reply(frame.as_ref(), tag, reply, self.settings.receive)?;
                    self.unanswered.retain(|(known, _)| *known > tag);
                }
                Output::Push(push) => rules::is_push(frame.as_ref(), push, &self.gone)?,
                Output::Lost { tag, lost } => {
                    if self.open.remove(&tag).is_none() {
                        return Broken::new("a command is answered once", format!("{tag} again"));
                    }
                    self.gone.push(tag);
                    let unseen = self.server.submitted.iter().any(|(known, _)| *known == tag);
                    if lost.outcome == Outcome::NotSent && !unseen {
                        return Broken::new("what is said not to be sent wasn't", format!("{tag}"));
                    }
                }
                Output::Event(event) => self.event(event)?,
                other => return Broken::new("an output is known", format!("{other:?}")),
            }
        }
        Ok(())
    }

    /// Whether all is at rest: nothing on its way, and nothing waited for.
    fn is_drained(&self) -> bool {
        !self.connection.has_ended()
            && !self.server.is_silent()
            && self.now >= self.stalled_until
            && self.server.inbox.is_empty()
            && self.server.submitted.is_empty()
            && self.server.out.is_empty()
            && self.server.session.blocked.is_none()
            && self.connection.health(self.time()).waiting == 0
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World at {}", self.now)
    }
}
