//! Keeps a client of your own logged in: plain blocking sockets, no async, no runtime. It takes the token
//! manager and the login schedule from `redis-entraid-core`; its pipeline, its time limits and its loop
//! are its own. Commands come from standard input, a line each; replies go to standard
//! output, all else to standard error. The sockets are without TLS, to keep this short: put yours into
//! `dial`.
#![allow(clippy::print_stdout)]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use redis_entraid_core::args;
use redis_entraid_core::auth::{Handshake, Protocol, Verdict};
use redis_entraid_core::command::{CommandClass, classify};
use redis_entraid_core::connection::CloseReason;
use redis_entraid_core::event::Event;
use redis_entraid_core::http::ResponseWriter;
use redis_entraid_core::manager::{Action, TokenManager};
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::reconnect::{Dial, Reconnect, ReconnectPolicy};
use redis_entraid_core::resp::{Arg, Framer, Value, ValueKind, encode};
use redis_entraid_core::schedule::{Attempt, Can, Due, LoginSchedule};
use redis_entraid_core::source::{
    Input, IoFailure, ManagedIdentity, Selector, Source, SourceError, Start, Step, TokenResponse,
};
use redis_entraid_core::time::{Clock, Instant, StdClock};

/// How long a reply may take, beyond what its command may block.
const LIMIT: Duration = Duration::from_secs(5);

type Tokens = TokenManager<[u8; 4096]>;

fn main() {
    let clock = StdClock::new();
    let jitter = || Jitter::new(std::process::id().into());
    let mut tokens: Tokens = TokenManager::new(RefreshPolicy::default(), jitter(), [[0; 4096]; 2]);
    let mut reconnect = Reconnect::new(ReconnectPolicy::default(), jitter());

    let imds = var(("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://169.254.169.254"));
    let mut source = ManagedIdentity::imds_at(imds, Selector::System);
    let (lines, mut link) = (input(), None);
    loop {
        let now = clock.now();
        // The token, in good time.
        if let Action::Fetch { request, deadline, .. } = tokens.poll(now) {
            let mut body = [0; 8192];
            let issued = fetch(&mut source, deadline, &mut body);
            let token = issued.and_then(|it| it.token(&body).map_err(SourceError::Token));
            eprintln!("{}", tokens.answered(clock.now(), request, token));
        }
        // The connection, if there is a token for it.
        let Some(open) = &mut link else {
            if tokens.is_worth_a_login(now) && reconnect.poll(now, true) == Dial::Now {
                link = dial().inspect_err(|_| _ = reconnect.failed(now)).ok().map(Link::new);
            } else {
                std::thread::sleep(Duration::from_millis(50));
            }
            continue;
        };
        let mut tell = |event: Event| {
            eprintln!("{event}");
            reconnect.observe(now, &event);
        };
        match open.turn(&clock, &mut tokens, &lines, &mut tell) {
            Ok(true) => {}
            Ok(false) => return,
            Err(reason) => {
                // Nobody knows whether these were executed.
                let lost = open.waiting.iter().filter(|(class, _)| class.is_some());
                lost.for_each(|_| println!("(lost) Unknown"));
                tell(Event::Disconnected { reason });
                link = None;
            }
        }
    }
}

/// A connection with its pipeline.
struct Link {
    stream: TcpStream,
    /// When to log in, with which token, and what a refusal means.
    schedule: LoginSchedule,
    /// The login that was sent, and until when its answer is waited for.
    login: Option<(Handshake, Attempt, Instant)>,
    /// The commands that were sent, and until when their replies are waited for. What the client itself
    /// has sent has no class.
    waiting: VecDeque<(Option<CommandClass>, Instant)>,
    in_transaction: bool,
    received: Vec<u8>,
}

impl Link {
    fn new(stream: TcpStream) -> Self {
        let schedule = LoginSchedule::new(std::process::id().into());
        let (login, waiting, received) = Default::default();
        Self { stream, schedule, login, waiting, in_transaction: false, received }
    }

    /// Sends what is due and takes what has come. Says whether to go on.
    fn turn(
        &mut self,
        clock: &StdClock,
        tokens: &mut Tokens,
        lines: &Receiver<String>,
        tell: &mut impl FnMut(Event),
    ) -> Result<bool, CloseReason> {
        let now = clock.now();
        let login_is_due = match self.schedule.poll(now, tokens, Can::Login) {
            // No command is in its way: none is under way, and none of ours goes into a transaction.
            Due::Login(attempt) if self.waiting.is_empty() && !self.in_transaction => {
                let handshake = match attempt.first {
                    true => Handshake::first(Protocol::Resp3),
                    false => Handshake::again(Protocol::Resp3),
                };
                self.schedule.sent(now, attempt);
                self.log_in(now, handshake, attempt, tokens)?;
                true
            }
            Due::Login(_) => true,
            Due::Wait { .. } => false,
            // It can't log in again, or was refused too often: another one can.
            _ => return Err(CloseReason::LoginExpired),
        };
        while self.login.is_none() && (!login_is_due || self.in_transaction) {
            match lines.try_recv() {
                Ok(line) => self.send(now, &line)?,
                Err(TryRecvError::Disconnected) if self.waiting.is_empty() => return Ok(false),
                Err(_) => break,
            }
        }
        self.receive()?;
        let now = clock.now();
        let mut framer = Framer::new();
        while let framed = framer.feed(&self.received).map_err(|_| CloseReason::Protocol)?
            && framed.complete
        {
            let reply: Vec<u8> = self.received.drain(..framed.used).collect();
            self.take(now, Value::framed(&reply), tokens, tell)?;
        }
        match (&self.login, self.waiting.front()) {
            (Some((.., by)), _) if now >= *by => Err(CloseReason::LoginTimeout),
            (_, Some((_, by))) if now >= *by => Err(CloseReason::Unresponsive),
            _ => Ok(true),
        }
    }

    /// Sends a login, whose answer comes before all others: nothing else is under way.
    fn log_in(
        &mut self,
        now: Instant,
        mut handshake: Handshake,
        attempt: Attempt,
        tokens: &Tokens,
    ) -> Result<(), CloseReason> {
        let login = tokens.get(attempt.generation).ok_or(CloseReason::TokenReplaced)?;
        let mut frame = [0; 8192];
        let len = handshake.write(login.user(), login.expose(), None, &mut frame);
        self.login = Some((handshake, attempt, now + LIMIT));
        self.stream.write_all(&frame[..len]).map_err(broke)
    }

    fn send(&mut self, now: Instant, line: &str) -> Result<(), CloseReason> {
        let words: Vec<Arg<'_>> = line.split_whitespace().map(Arg::from).collect();
        let class = match classify(&words) {
            Ok(class) => class,
            // Logging in is not for users, and what takes the replies away is for nobody.
            Err(error) => {
                println!("(refused) {error}");
                return Ok(());
            }
        };
        let blocks = match class {
            CommandClass::Blocking(time) => time.unwrap_or(Duration::from_secs(3600)),
            _ => Duration::ZERO,
        };
        self.in_transaction |= class == CommandClass::Multi;
        self.write(&words, Some(class), now + blocks + LIMIT)
    }

    fn write(
        &mut self,
        words: &[Arg<'_>],
        class: Option<CommandClass>,
        by: Instant,
    ) -> Result<(), CloseReason> {
        self.waiting.push_back((class, by));
        let mut frame = Vec::new();
        encode(words, &mut |piece| frame.extend_from_slice(piece));
        self.stream.write_all(&frame).map_err(broke)
    }

    /// Waits for bytes, but not for long. A pause of the process is no news.
    fn receive(&mut self) -> Result<(), CloseReason> {
        let mut room = [0; 4096];
        match self.stream.read(&mut room) {
            Ok(0) => return Err(CloseReason::ByServer),
            Ok(len) => self.received.extend_from_slice(&room[..len]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(broke(error)),
        }
        Ok(())
    }

    /// Takes a reply: to the login, or else to the oldest command.
    fn take(
        &mut self,
        now: Instant,
        reply: Value<'_>,
        tokens: &mut Tokens,
        tell: &mut impl FnMut(Event),
    ) -> Result<(), CloseReason> {
        if let Some((mut handshake, attempt, _)) = self.login.take() {
            return match handshake.reply(reply) {
                // An old server doesn't know HELLO.
                Verdict::Again => self.log_in(now, handshake, attempt, tokens),
                verdict => self.answered(now, attempt, verdict, tokens, tell),
            };
        }
        let (class, _) = self.waiting.pop_front().ok_or(CloseReason::Protocol)?;
        let Some(class) = class else { return Ok(()) };
        // Whatever the answer is, the transaction is over; and none is open if MULTI was refused.
        let ends = matches!(class, CommandClass::Exec | CommandClass::Discard);
        self.in_transaction &= !(ends || class == CommandClass::Multi && reply.error().is_some());
        if reply.error().is_some_and(|error| error.code() == "NOAUTH") {
            self.schedule.lost(now);
        }
        println!("{}", shown(reply));
        Ok(())
    }

    /// The server has answered a login: the schedule is told, and through it the token manager.
    fn answered(
        &mut self,
        now: Instant,
        attempt: Attempt,
        verdict: Verdict,
        tokens: &mut Tokens,
        tell: &mut impl FnMut(Event),
    ) -> Result<(), CloseReason> {
        let Attempt { generation, first, .. } = attempt;
        match verdict {
            Verdict::LoggedIn { protocol, .. } => {
                self.schedule.accepted(tokens);
                if !first {
                    tell(Event::Reauthenticated { generation });
                    return Ok(());
                }
                tell(Event::LoggedIn { generation, protocol });
                // No caller waits for the replies.
                for (what, value) in [("LIB-NAME", "byo-loop"), ("LIB-VER", "1")] {
                    self.write(args!["CLIENT", "SETINFO", what, value], None, now + LIMIT)?;
                }
                Ok(())
            }
            Verdict::Refused(error) => {
                // A refused token is fetched anew. The login before serves on, if there is one.
                self.schedule.refused(now, error, tokens);
                tell(Event::Rejected { generation, error, serving: !first });
                if first { Err(CloseReason::Refused(error)) } else { Ok(()) }
            }
            _ => Err(CloseReason::Protocol),
        }
    }
}

fn broke(error: std::io::Error) -> CloseReason {
    CloseReason::Broken(error.kind().into())
}

fn var((name, otherwise): (&str, &str)) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

/// The lines of standard input, from a thread that may wait for them.
fn input() -> Receiver<String> {
    let (sender, receiver) = channel();
    let read =
        move || std::io::stdin().lines().try_for_each(|l| sender.send(l.unwrap_or_default()));
    std::thread::spawn(read);
    receiver
}

fn dial() -> std::io::Result<TcpStream> {
    let at = [("REDIS_HOSTNAME", "localhost"), ("REDIS_PORT", "10000")].map(var).join(":");
    let stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    Ok(stream)
}

/// One HTTP exchange with the metadata service, and no more of HTTP than that needs.
fn fetch(
    source: &mut impl Source,
    by: Instant,
    body: &mut [u8],
) -> Result<TokenResponse, SourceError> {
    let failed = |_| SourceError::Io(IoFailure::Connect);
    let mut memory = [0; 1024];
    let step = source.next(Input::Start(Start::new(by)), &mut memory)?;
    let Step::Http(ask) = step else { return Err(SourceError::ORDER) };
    let url = ask.url.text(&memory).unwrap_or_default();
    let (host, path) = url.trim_start_matches("http://").split_once('/').unwrap_or_default();
    let mut stream = TcpStream::connect(host).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(failed)?;
    let head = format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\nMetadata: true\r\n\r\n");
    stream.write_all(head.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    let (head, content) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let mut response = ResponseWriter::new(body);
    response.status(if head.contains(" 200 ") { 200 } else { 500 });
    let _ = response.body_chunk(content.as_bytes()); // an error page may be cut
    match source.next(Input::Response(response.finish()), &mut memory)? {
        Step::Done(issued) => Ok(issued),
        _ => Err(SourceError::NoToken),
    }
}

fn shown(value: Value<'_>) -> String {
    match value.kind() {
        ValueKind::Integer => format!("(int) {}", value.str().unwrap_or("?")),
        ValueKind::Null => "(nil)".into(),
        ValueKind::Error => format!("(err) {}", value.error().map_or("", |error| error.code())),
        ValueKind::Array => {
            format!("[{}]", value.items().map(shown).collect::<Vec<_>>().join(", "))
        }
        _ => format!("{:?}", value.str().unwrap_or("?")),
    }
}
