//! The rules of a connection.

use core::fmt;
use core::time::Duration;

use super::buffers::{Receiver, Transmitter};
use super::config::Config;
use super::output::{CloseReason, Lost, Outcome, Output, ReplyTooLarge, SubmitError};
use super::ring::{Owner, Pending, Ring, Tag};
use crate::args;
use crate::auth::{Handshake, Protocol, Verdict};
use crate::command::{Class, classify};
use crate::event::Event;
use crate::manager::{Generation, TokenManager};
use crate::policy::Backoff;
use crate::resp::{Arg, ErrorReply, Value, encode, encoded_len};
use crate::storage::{Buffer, CapacityError, Storage};
use crate::time::Instant;

/// The state of a connection, apart from its bytes.
///
/// ```text
///   fresh ──▶ logging in ──▶ ready ◀──────────────────────────────┐
///                              │ newer token                      │ +OK, or refused: the
///                              ▼                                  │ earlier login stays
///                           draining ──▶ logging in again ────────┘
///              no commands are taken,    AUTH alone: nothing before it
///              replies come in           unanswered, nothing behind it
///                         any state ──▶ ended
/// ```
///
/// A transaction is not interrupted: between `MULTI` and `EXEC` or `DISCARD` draining waits.
pub struct Machine<R> {
    config: Config,
    phase: Phase,
    ring: Ring<R>,
    login: Option<Login>,
    protocol: Protocol,
    client_id: Option<i64>,
    /// `MULTI` was sent, and neither `EXEC` nor `DISCARD` behind it.
    in_transaction: bool,
    set_info_due: bool,
    /// The name is still to be told, since the login was an `AUTH`.
    set_name_due: bool,
    /// What the manager is still to be told: a token was accepted or not.
    verdict: Option<(Generation, bool)>,
    /// When the last byte came.
    heard: Instant,
    /// When it was last spoken to, having been idle.
    spoke: Instant,
    /// The earliest deadline of a command, or earlier.
    command_deadline: Instant,
    look_at: Instant,
    /// Entries of the ring whose owner is still to be told that they took too long.
    late: usize,
    /// No other login before then, after one that was refused.
    login_not_before: Instant,
    refusals_in_a_row: u32,
    /// Bytes that were given to the transmitter so far.
    appended: u64,
    /// Bytes that it has sent of them.
    sent: u64,
    counts: Counts,
}

#[derive(Clone, Debug)]
enum Phase {
    Fresh,
    LoggingIn { handshake: Handshake, login: Login, deadline: Instant },
    Ready,
    Draining,
    Ended { reason: CloseReason, reported: bool },
}

/// The login that a connection has.
#[derive(Clone, Copy, Debug)]
struct Login {
    generation: Generation,
    ends: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    reauths: u32,
    rejections: u32,
    commands: u64,
}

/// What `CLIENT SETINFO` calls this library.
const LIB_NAME: &str = "redis-entraid";

impl<R: Storage<Pending>> Machine<R> {
    pub(super) fn new(config: Config, ring: R) -> Self {
        Self {
            set_info_due: config.set_info,
            set_name_due: false,
            protocol: config.protocol,
            config,
            phase: Phase::Fresh,
            ring: Ring::new(ring),
            login: None,
            client_id: None,
            in_transaction: false,
            verdict: None,
            heard: Instant::default(),
            spoke: Instant::default(),
            command_deadline: Instant::FAR_FUTURE,
            look_at: Instant::default(),
            late: 0,
            login_not_before: Instant::default(),
            refusals_in_a_row: 0,
            appended: 0,
            sent: 0,
            counts: Counts::default(),
        }
    }

    /// See [`Connection::look`](super::Connection::look).
    pub fn look<B: Storage<u8>, M: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        manager: &mut TokenManager<M>,
    ) {
        match self.verdict.take() {
            Some((generation, true)) => manager.accepted(generation),
            Some((generation, false)) => manager.rejected(now, generation),
            None => {}
        }
        self.tick(now);
        let next = match &self.phase {
            Phase::Fresh => self.start(now, out, manager, Handshake::first(self.config.protocol)),
            Phase::LoggingIn { .. } => self.write_login(out, manager),
            Phase::Ready | Phase::Draining => self.look_at_tokens(now, out, manager),
            Phase::Ended { .. } => Instant::FAR_FUTURE,
        };
        self.look_at = next.min(self.limit());
    }

    /// Sees to what needs neither tokens nor room to write: what has taken too long. A part of
    /// [`look`](Self::look), for pumps whose writer is busy.
    pub fn tick(&mut self, now: Instant) {
        match &self.phase {
            Phase::LoggingIn { deadline, .. } if now >= *deadline => {
                self.close(CloseReason::LoginTimeout);
            }
            Phase::Ready | Phase::Draining => {
                if self.login.is_some_and(|login| now >= login.ends) {
                    self.close(CloseReason::LoginExpired);
                } else if !self.ring.is_empty() && now >= self.silent_until() {
                    self.close(CloseReason::Unresponsive);
                } else if now >= self.command_deadline {
                    self.expire_commands(now);
                }
            }
            _ => {}
        }
        self.look_at = self.limit();
    }

    /// When [`tick`](Self::tick) has something to do.
    fn limit(&self) -> Instant {
        match &self.phase {
            Phase::Fresh | Phase::Ended { .. } => Instant::FAR_FUTURE,
            Phase::LoggingIn { deadline, .. } => *deadline,
            Phase::Ready | Phase::Draining => {
                let ends = self.login.map_or(Instant::FAR_FUTURE, |login| login.ends);
                let silent = match self.ring.is_empty() {
                    true => Instant::FAR_FUTURE,
                    false => self.silent_until(),
                };
                ends.min(self.command_deadline).min(silent)
            }
        }
    }

    fn silent_until(&self) -> Instant {
        self.heard.plus(self.config.unresponsive_after)
    }

    /// Begins a login, if there is something to log in with. Answers when to look again.
    fn start<B: Storage<u8>, M: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        manager: &TokenManager<M>,
        handshake: Handshake,
    ) -> Instant {
        let login = match self.login {
            None => manager.login(now),
            Some(have) => manager.newer_than(have.generation, now),
        };
        if let Some(login) = login {
            let login = Login { generation: login.generation(), ends: login.expires_at() };
            let deadline = now.plus(self.config.login_timeout);
            self.phase = Phase::LoggingIn { handshake, login, deadline };
            self.write_login(out, manager);
        }
        Instant::FAR_FUTURE
    }

    /// Writes the next piece of a login. Answers when to look again.
    fn write_login<B: Storage<u8>, M: Storage<u8>>(
        &mut self,
        out: &mut Transmitter<B>,
        manager: &TokenManager<M>,
    ) -> Instant {
        if let Phase::LoggingIn { handshake, login, .. } = &mut self.phase
            && !handshake.is_written()
            && out.is_empty()
        {
            let Some(login) = manager.get(login.generation) else {
                self.close(CloseReason::TokenReplaced);
                return Instant::default();
            };
            let name = self.config.name.as_ref().map(|name| name.as_str());
            self.appended +=
                out.fill_secret(|room| handshake.write(login.user(), login.expose(), name, room));
        }
        Instant::FAR_FUTURE
    }

    fn look_at_tokens<B: Storage<u8>, M: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        manager: &TokenManager<M>,
    ) -> Instant {
        let Some(login) = &mut self.login else { return Instant::FAR_FUTURE };
        if let Some(known) = manager.get(login.generation) {
            // It may end earlier than was thought.
            login.ends = login.ends.min(known.expires_at());
        }
        let login = *login;
        if manager.newer_than(login.generation, now).is_some() {
            let due = manager.reauth_at(self.config.id, login.ends).max(self.login_not_before);
            if now < due {
                return due;
            }
            self.phase = Phase::Draining;
            if self.is_drained() {
                return self.start(now, out, manager, Handshake::again(self.protocol));
            }
            return Instant::FAR_FUTURE;
        }
        // A newer token may have gone again, by being refused on another connection.
        self.phase = Phase::Ready;
        if !self.ring.is_empty() {
            return Instant::FAR_FUTURE;
        }
        let ping_at = self.heard.max(self.spoke).plus(self.config.ping_after);
        if now >= ping_at {
            self.spoke = now;
            self.send_own(now, out, args!["PING"]);
        }
        ping_at
    }

    /// Whether an `AUTH` would be alone on the wire.
    fn is_drained(&self) -> bool {
        self.ring.is_empty() && self.sent == self.appended && !self.in_transaction
    }

    /// Sends a command of the connection's own, if there is room. Nobody waits for its reply.
    fn send_own<B: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        args: &[Arg<'_>],
    ) {
        let len = encoded_len(args);
        if self.ring.reserve(1) && out.reserve(len) {
            self.push(now, len, 0, Owner::Connection, Class::Plain);
            encode(args, &mut |piece| out.append(piece));
        }
    }

    /// Notes a command of `len` bytes, which are appended next.
    fn push(&mut self, now: Instant, len: usize, tag: Tag, owner: Owner, class: Class) {
        if self.ring.is_empty() {
            // Silence counts from when there is something to answer.
            self.heard = now;
            self.look_at = self.look_at.min(self.silent_until());
        }
        let start = self.appended;
        self.appended += len as u64;
        let deadline = match owner {
            Owner::Host => now.plus(self.config.command_timeout),
            _ => Instant::FAR_FUTURE,
        };
        self.command_deadline = self.command_deadline.min(deadline);
        self.look_at = self.look_at.min(deadline);
        self.ring.push(Pending { tag, start, deadline, owner, class });
    }

    /// See [`Connection::wants_look`](super::Connection::wants_look).
    pub fn wants_look(&self) -> bool {
        self.verdict.is_some()
            || match &self.phase {
                Phase::Fresh | Phase::Ready | Phase::Ended { .. } => false,
                Phase::LoggingIn { handshake, .. } => {
                    !handshake.is_written() && self.sent == self.appended
                }
                Phase::Draining => self.is_drained(),
            }
    }

    /// See [`Connection::next_deadline`](super::Connection::next_deadline).
    pub const fn next_deadline(&self) -> Instant {
        self.look_at
    }

    /// See [`Connection::is_ready`](super::Connection::is_ready).
    pub fn is_ready(&self) -> bool {
        match self.phase {
            Phase::Ready => true,
            Phase::Draining => self.in_transaction,
            _ => false,
        }
    }

    /// See [`Connection::submit`](super::Connection::submit).
    ///
    /// # Errors
    /// [`SubmitError`]; nothing is sent of it then.
    pub fn submit<B: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        tag: Tag,
        args: &[Arg<'_>],
    ) -> Result<(), SubmitError> {
        let class = classify(args).map_err(SubmitError::Refused)?;
        self.admit(now, out, tag, class, encoded_len(args))?;
        encode(args, &mut |piece| out.append(piece));
        self.introduce(now, out, class);
        Ok(())
    }

    /// See [`Connection::submit_encoded`](super::Connection::submit_encoded).
    ///
    /// # Errors
    /// [`SubmitError`]; nothing is sent of it then.
    pub fn submit_encoded<B: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        tag: Tag,
        class: Class,
        command: &[u8],
    ) -> Result<(), SubmitError> {
        self.admit(now, out, tag, class, command.len())?;
        out.append(command);
        self.introduce(now, out, class);
        Ok(())
    }

    /// Lets a command of `len` bytes in, for which there is room then.
    fn admit<B: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        tag: Tag,
        class: Class,
        len: usize,
    ) -> Result<(), SubmitError> {
        if let Phase::Ended { .. } = self.phase {
            return Err(SubmitError::Ended);
        }
        // A login that has ended is never written to, even if nobody has looked yet.
        if !self.is_ready() || self.login.is_none_or(|login| now >= login.ends) {
            return Err(SubmitError::Full);
        }
        if !out.reserve(len) {
            return Err(if out.is_empty() {
                let error = CapacityError::new(Buffer::Transmit, len, out.capacity());
                SubmitError::TooLarge(error)
            } else {
                SubmitError::Full
            });
        }
        if !self.ring.reserve(1) {
            return Err(SubmitError::Full);
        }
        match class {
            Class::Multi => self.in_transaction = true,
            Class::Exec => self.in_transaction = false,
            Class::Plain => {}
        }
        self.counts.commands = self.counts.commands.saturating_add(1);
        self.push(now, len, tag, Owner::Host, class);
        Ok(())
    }

    /// Tells the server who this is, behind the first command.
    fn introduce<B: Storage<u8>>(&mut self, now: Instant, out: &mut Transmitter<B>, class: Class) {
        if !(self.set_info_due || self.set_name_due) || class != Class::Plain || self.in_transaction
        {
            return;
        }
        if core::mem::take(&mut self.set_name_due)
            && let Some(name) = self.config.name
        {
            self.send_own(now, out, args!["CLIENT", "SETNAME", name.as_str()]);
        }
        if core::mem::take(&mut self.set_info_due) {
            let version = env!("CARGO_PKG_VERSION");
            self.send_own(now, out, args!["CLIENT", "SETINFO", "LIB-NAME", LIB_NAME]);
            self.send_own(now, out, args!["CLIENT", "SETINFO", "LIB-VER", version]);
        }
    }

    /// Notes that bytes have come.
    pub const fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Notes that `len` bytes of the transmitter's were sent.
    pub const fn sent(&mut self, len: usize) {
        self.sent += len as u64;
    }

    /// See [`Connection::closed`](super::Connection::closed).
    pub const fn close(&mut self, reason: CloseReason) {
        if !self.has_ended() {
            self.phase = Phase::Ended { reason, reported: false };
        }
    }

    /// Whether it has ended.
    pub const fn has_ended(&self) -> bool {
        self.close_reason().is_some()
    }

    /// Why it has ended, if it has.
    pub const fn close_reason(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Ended { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// See [`Connection::next`](super::Connection::next).
    pub fn next<'r, B: Storage<u8>>(
        &mut self,
        now: Instant,
        receiver: &'r mut Receiver<B>,
    ) -> Option<Output<'r>> {
        loop {
            if let Some(output) = self.next_loss() {
                return Some(output);
            }
            if self.has_ended() {
                return None;
            }
            let Ok(frame) = receiver.next() else {
                self.close(CloseReason::Protocol);
                continue;
            };
            let frame = frame?;
            let whole = frame
                .too_large
                .map_or(Ok(()), |size| Err(ReplyTooLarge { size, capacity: receiver.capacity() }));
            if frame.first == b'>' {
                if whole.is_ok() {
                    return Some(Output::Push(Value::framed(receiver.frame())));
                }
                continue;
            }
            if let Phase::LoggingIn { .. } = self.phase {
                let reply = match whole {
                    Ok(()) => Value::framed(receiver.frame()),
                    Err(_) => outline(frame.first),
                };
                if let Some(event) = self.login_reply(now, reply) {
                    return Some(Output::Event(event));
                }
                continue;
            }
            let Some(entry) = self.ring.pop() else {
                self.close(CloseReason::Protocol);
                continue;
            };
            if entry.class == Class::Multi && matches!(frame.first, b'-' | b'!') {
                self.multi_failed(Value::framed(receiver.frame()));
            }
            match entry.owner {
                Owner::Host => {
                    let reply = whole.map(|()| Value::framed(receiver.frame()));
                    return Some(Output::Reply { tag: entry.tag, reply });
                }
                Owner::Late => self.late = self.late.saturating_sub(1),
                Owner::Nobody | Owner::Connection => {}
            }
        }
    }

    /// A `MULTI` that was refused opened no transaction, unless one was open already.
    fn multi_failed(&mut self, reply: Value<'_>) {
        let nested = |error: ErrorReply<'_>| error.message().starts_with("MULTI calls");
        if !reply.error().is_some_and(nested) {
            self.in_transaction = false;
        }
    }

    fn login_reply(&mut self, now: Instant, reply: Value<'_>) -> Option<Event> {
        let Phase::LoggingIn { handshake, login, deadline } = &mut self.phase else {
            return None;
        };
        let login = *login;
        let generation = login.generation;
        match handshake.reply(reply) {
            Verdict::Again => {
                *deadline = now.plus(self.config.login_timeout);
                None
            }
            Verdict::LoggedIn { protocol, client_id } => {
                self.verdict = Some((generation, true));
                self.protocol = protocol;
                self.client_id = client_id.or(self.client_id);
                self.phase = Phase::Ready;
                self.refusals_in_a_row = 0;
                if self.login.replace(login).is_none() {
                    self.set_name_due = protocol == Protocol::Resp2;
                    return Some(Event::LoggedIn { generation, protocol });
                }
                self.counts.reauths = self.counts.reauths.saturating_add(1);
                Some(Event::Reauthenticated { generation })
            }
            Verdict::Refused(error) => {
                self.counts.rejections = self.counts.rejections.saturating_add(1);
                if error.is_rejection() {
                    self.verdict = Some((generation, false));
                }
                let serving = self.login.is_some();
                if serving {
                    self.phase = Phase::Ready;
                    self.refusals_in_a_row = self.refusals_in_a_row.saturating_add(1);
                    self.login_not_before = now.plus(RETRY.delay(self.refusals_in_a_row));
                } else {
                    self.close(CloseReason::Refused(error));
                }
                Some(Event::Rejected { generation, error, serving })
            }
        }
    }

    fn expire_commands(&mut self, now: Instant) {
        let mut next = Instant::FAR_FUTURE;
        for entry in self.ring.iter_mut().filter(|entry| entry.owner == Owner::Host) {
            if now >= entry.deadline {
                entry.owner = Owner::Late;
                self.late += 1;
            } else {
                next = next.min(entry.deadline);
            }
        }
        self.command_deadline = next;
    }

    /// What happened apart from the bytes that came: commands that took too long, and the end.
    /// A part of [`next`](Self::next), for pumps whose reader is busy.
    pub fn next_loss(&mut self) -> Option<Output<'static>> {
        if self.late > 0
            && let Some(output) = self.next_late()
        {
            return Some(output);
        }
        match self.phase {
            Phase::Ended { reason, reported } => self.next_of_the_end(reason, reported),
            _ => None,
        }
    }

    /// Reports a command that took too long. Its reply will be dropped when it comes.
    fn next_late(&mut self) -> Option<Output<'static>> {
        let Some(entry) = self.ring.iter_mut().find(|entry| entry.owner == Owner::Late) else {
            self.late = 0;
            return None;
        };
        entry.owner = Owner::Nobody;
        let entry = *entry;
        self.late -= 1;
        let lost = Lost { outcome: self.outcome(&entry), reason: None };
        Some(Output::Lost { tag: entry.tag, lost })
    }

    fn next_of_the_end(&mut self, reason: CloseReason, reported: bool) -> Option<Output<'static>> {
        while let Some(entry) = self.ring.pop() {
            if entry.owner == Owner::Host {
                let lost = Lost { outcome: self.outcome(&entry), reason: Some(reason) };
                return Some(Output::Lost { tag: entry.tag, lost });
            }
        }
        self.phase = Phase::Ended { reason, reported: true };
        (!reported).then_some(Output::Event(Event::Disconnected { reason }))
    }

    const fn outcome(&self, entry: &Pending) -> Outcome {
        if entry.start >= self.sent { Outcome::NotSent } else { Outcome::Unknown }
    }

    /// See [`Connection::health`](super::Connection::health).
    pub fn health(&self, now: Instant) -> ConnectionHealth {
        ConnectionHealth {
            ready: self.is_ready(),
            protocol: self.protocol,
            client_id: self.client_id,
            generation: self.login.map(|login| login.generation),
            login_ends_in: self.login.map(|login| login.ends.since(now)),
            waiting: self.ring.len(),
            commands: self.counts.commands,
            reauths: self.counts.reauths,
            rejections: self.counts.rejections,
        }
    }
}

/// The waits after logins that were refused, while an earlier one serves.
const RETRY: Backoff =
    Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(30), multiplier: 2 };

/// Stands for a reply to a login that was larger than the receive buffer.
fn outline(first: u8) -> Value<'static> {
    Value::framed(match first {
        b'%' => b"%0\r\n",
        b'*' => b"*0\r\n",
        _ => b"-\r\n",
    })
}

impl<R: Storage<Pending>> fmt::Debug for Machine<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("phase", &self.phase)
            .field("ring", &self.ring)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

/// How a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ConnectionHealth {
    /// Whether it is logged in and takes commands.
    pub ready: bool,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its number at the server, if the server said so.
    pub client_id: Option<i64>,
    /// The token that it is logged in with.
    pub generation: Option<Generation>,
    /// Until that ends.
    pub login_ends_in: Option<Duration>,
    /// Commands that wait for a reply.
    pub waiting: usize,
    /// Commands taken so far.
    pub commands: u64,
    /// Logins with a newer token so far.
    pub reauths: u32,
    /// Logins that were refused.
    pub rejections: u32,
}
