//! What replies do to a connection.

use super::buffers::Receiver;
use super::deadlines::QUIET;
use super::machine::{Machine, Phase, Then};
use super::output::{Lost, Outcome, Output, ReplyTooLarge};
use super::prelude::Prelude;
use super::ring::{Pending, ReplyTo, Role, Tag};
use super::server_state::Answer;
use crate::auth::{LoginError, Protocol, Verdict};
use crate::close::CloseReason;
use crate::event::{Event, LostState};
use crate::number::unsigned;
use crate::pubsub::{Confirmation, Notice};
use crate::resp::{ErrorReply, Value};
use crate::storage::Storage;
use crate::time::Instant;

/// An invalidation of all that was cached: Redis sends it after a `FLUSHALL`.
const ALL_STALE: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";

/// The reply to what becomes a part of a transaction.
const QUEUED: &[u8] = b"+QUEUED\r\n";

/// What came that may be no reply to anything.
enum Pushed<'a> {
    Message,
    Confirmation(Confirmation<'a>),
    /// What was cached is stale.
    Invalidation,
    /// The head doesn't say what it is.
    Illegible,
    /// Something else, or a reply.
    Other,
}

impl<'a> Pushed<'a> {
    /// What `value` is, of which only the head may be there.
    fn of(value: Value<'a>, cut: bool) -> Self {
        let word = || value.items().next().and_then(|word| word.bytes().ok());
        match Notice::of(value) {
            Some(Notice::Message(_)) => Self::Message,
            Some(Notice::Confirmation(confirmation)) => Self::Confirmation(confirmation),
            None if !cut => Self::Other,
            None => match word() {
                Some(b"message" | b"pmessage" | b"smessage") => Self::Message,
                Some(b"invalidate") => Self::Invalidation,
                Some(_) => Self::Other,
                None => Self::Illegible,
            },
        }
    }
}

/// The number that a value ends with, of which only the tail is there.
fn last_number(tail: &[u8]) -> i64 {
    let line = tail.strip_suffix(b"\r\n").unwrap_or_default();
    let digits = line.rsplit(|byte| *byte == b':').next().unwrap_or_default();
    unsigned(digits).and_then(|number| i64::try_from(number).ok()).unwrap_or_default()
}

/// Stands for a reply that was larger than the receive buffer: nothing of that kind, but for an
/// error's head, which says what it is. The head may be one of attributes alone.
fn outline<'a>(first: u8, head: Value<'a>) -> Value<'a> {
    match first {
        b'-' if head.raw().first() == Some(&first) => head,
        b'-' | b'!' => Value::framed(b"-\r\n"),
        b'%' => Value::framed(b"%0\r\n"),
        b'*' => Value::framed(b"*0\r\n"),
        _ => Value::framed(b"+\r\n"),
    }
}

impl<R: Storage<Pending>> Machine<R> {
    /// See [`Connection::next`](super::Connection::next).
    pub(crate) fn next<'r, B: Storage<u8>>(
        &mut self,
        now: Instant,
        receiver: &'r mut Receiver<B>,
    ) -> Option<Output<'r>> {
        loop {
            // What came before the transport went is heard to its end.
            let frame = match self.phase {
                Phase::Ended { heard: true, .. } => return self.next_loss(),
                _ => match self.next_due() {
                    None => receiver.next(),
                    due => return due,
                },
            };
            let frame = match frame {
                Ok(Some(frame)) => frame,
                Ok(None) => match &mut self.phase {
                    Phase::Ended { heard, .. } => {
                        *heard = true;
                        continue;
                    }
                    _ => return None,
                },
                Err(_) => {
                    self.end(CloseReason::Protocol, true);
                    continue;
                }
            };
            let whole = frame
                .too_large
                .map_or(Ok(()), |size| Err(ReplyTooLarge { size, capacity: receiver.capacity() }));
            let head = Value::framed(receiver.frame());
            let known = if whole.is_ok() { head } else { outline(frame.first, head) };
            // An AUTH that is still to be written has to wait for what followed a HELLO.
            if let Phase::LoggingIn { handshake, .. } = &self.phase
                && frame.first != b'>'
                && (handshake.is_written() || self.ring.is_empty())
            {
                if let Some(event) = self.login_reply(now, known) {
                    return Some(Output::Event(event));
                }
                continue;
            }
            let mut pushed = match self.may_be_push(frame.first) {
                true => Pushed::of(head, whole.is_err()),
                false => Pushed::Other,
            };
            if let Pushed::Confirmation(confirmation) = &mut pushed
                && whole.is_err()
            {
                confirmation.count = last_number(receiver.tail());
            }
            if let Pushed::Confirmation(confirmation) = &pushed
                && let Some(tag) = self.confirmed(confirmation)
            {
                let reply = whole.map(|()| Value::framed(receiver.frame()));
                return Some(Output::Reply { tag, reply });
            }
            // What was cached and isn't named here can't be told from what still holds.
            if let Pushed::Invalidation = pushed {
                return Some(Output::Push(Ok(Value::framed(ALL_STALE))));
            }
            let is_push =
                frame.first == b'>' || matches!(pushed, Pushed::Message | Pushed::Confirmation(_));
            let entry = self.answered().copied();
            // Where a confirmation is due, a push that can't be read may be it, and a reply is none to
            // that, unless it is an error or says that a transaction is open after all.
            let fits = match entry {
                Some(entry) if entry.role.is_subscription() => match is_push {
                    true => !matches!(pushed, Pushed::Illegible),
                    false => known.error().is_some() || known.raw() == QUEUED,
                },
                // An answer to nothing, or to what isn't even sent.
                entry => is_push || entry.is_some(),
            };
            if !fits {
                self.close(CloseReason::Protocol);
                continue;
            }
            if is_push {
                return Some(Output::Push(whole.map(|()| Value::framed(receiver.frame()))));
            }
            let Some(entry) = self.ring.pop() else { continue };
            self.replied(now, &entry, known);
            if R::GROWS && self.ring.is_empty() {
                self.update_by(now.plus(QUIET));
            }
            // A host is told of its late commands before a reply is processed: none is late here.
            if entry.owner == ReplyTo::Host {
                let reply = whole.map(|()| Value::framed(receiver.frame()));
                return Some(Output::Reply { tag: entry.tag, reply });
            }
        }
    }

    /// Whether a value that begins with `first` may be about subscriptions: with RESP3 those are
    /// pushes, with RESP2 arrays that only a subscriber gets.
    fn may_be_push(&self, first: u8) -> bool {
        match self.protocol {
            Protocol::Resp3 => first == b'>',
            // Behind a command that subscribes, but not before it.
            Protocol::Resp2 => {
                let subscribes = |entry: &Pending| entry.role.is_subscription();
                first == b'*'
                    && (self.server_state.subscriptions() > 0
                        || self.ring.front().is_some_and(subscribes))
            }
        }
    }

    /// Takes the confirmation of a subscription in. Answers with the tag of the command that
    /// thereby is done.
    fn confirmed(&mut self, confirmation: &Confirmation<'_>) -> Option<Tag> {
        let Confirmation { topic, began, .. } = *confirmation;
        let all = self.server_state.all_of(topic);
        self.server_state.confirm(confirmation);
        let entry = self.answered()?;
        let Role::Subscription { topic: of, began: begins, left } = &mut entry.role else {
            return None;
        };
        if (*of, *begins) != (topic, began) {
            return None;
        }
        *left = match *left {
            0 => all,
            left => left,
        } - 1;
        if *left > 0 {
            return None;
        }
        let entry = self.ring.pop()?;
        self.settle(&entry, Answer::Done);
        (entry.owner == ReplyTo::Host).then_some(entry.tag)
    }

    /// Notes that a command, which the ring has no more, is answered.
    fn settle(&mut self, entry: &Pending, answer: Answer<'_>) {
        let others = self.ring.iter_mut().map(|entry| entry.role);
        self.server_state.answered(entry.role, answer, others);
        if self.ring.is_empty() {
            // It may be idle from now on.
            self.update_by(self.heard.plus(self.config.idle.after()));
        }
    }

    /// What the next reply is for: the oldest command, if any of it may have been sent.
    fn answered(&mut self) -> Option<&mut Pending> {
        let offered = self.offered;
        self.ring.front_mut().filter(|entry| entry.start < offered)
    }

    /// Notes what a reply means for the state of the connection.
    fn replied(&mut self, now: Instant, entry: &Pending, reply: Value<'_>) {
        let failed = reply.error();
        let answer = match failed {
            Some(error) => Answer::Failed(error),
            None if matches!(entry.role, Role::Plain) => Answer::Done,
            None if reply.is_null() => Answer::Null,
            None if reply.raw() == QUEUED => Answer::Queued,
            None => Answer::Done,
        };
        // Of a transaction, a part is still to be sent.
        let cut = !self.ring.is_empty() && self.server_state.expects_transaction();
        self.settle(entry, answer);
        // An `EXEC` is answered by `EXECABORT`, which says why.
        let no_login = |error: ErrorReply<'_>| {
            error.code() == "NOAUTH" || error.message().ends_with("NOAUTH Authentication required.")
        };
        if failed.is_some_and(no_login) {
            self.login_lost(now, cut);
        }
    }

    fn login_reply(&mut self, now: Instant, reply: Value<'_>) -> Option<Event> {
        let Phase::LoggingIn { handshake, deadline, .. } = &mut self.phase else {
            return None;
        };
        let whole = handshake.is_written();
        let verdict = handshake.reply(reply);
        // The server would take what is sent next for the rest of the login. A first login that is
        // refused still says why.
        let first = self.schedule.have().is_none();
        if !whole && (!first || !matches!(verdict, Verdict::Refused(_))) {
            self.close(CloseReason::Protocol);
            return None;
        }
        if let Verdict::Again = verdict {
            *deadline = now.plus(self.config.login_timeout);
            self.prelude = Prelude::of(handshake);
            return None;
        }
        // What is due now isn't what was due before.
        self.update_by(Instant::default());
        match verdict {
            Verdict::Again => None,
            Verdict::LoggedIn { protocol, client_id } => {
                let generation = self.schedule.assumed()?;
                self.verdict = Some((generation, true));
                self.protocol = protocol;
                self.client_id = client_id.or(self.client_id);
                self.phase = self.serving();
                if first {
                    self.logged_in = now;
                    return Some(Event::LoggedIn { generation, protocol });
                }
                self.counts.reauths = self.counts.reauths.saturating_add(1);
                Some(Event::Reauthenticated { generation })
            }
            Verdict::Refused(error) => {
                let (generation, error) = self.schedule.take_refusal(now, error)?;
                self.counts.rejections = self.counts.rejections.saturating_add(1);
                if error.is_rejection() {
                    self.verdict = Some((generation, false));
                }
                let serving = self.schedule.have().is_some();
                if error == LoginError::Unexpected {
                    // Whose answer was that? Replies would be taken for each other's.
                    self.close(CloseReason::Protocol);
                    return None;
                }
                if serving {
                    self.phase = self.serving();
                } else if !self.ring.has_commands_of_host() {
                    self.close(CloseReason::Refused(error));
                } else {
                    // What followed at once is answered too, and who asked wants to know how.
                    self.phase = Phase::Draining { then: Then::End(CloseReason::Refused(error)) };
                }
                Some(Event::Rejected { generation, error, serving })
            }
        }
    }

    /// What happened apart from the bytes that came: commands that took too long, and the end.
    /// A part of [`next`](Self::next), for pumps whose reader is busy.
    pub(crate) fn next_loss(&mut self) -> Option<Output<'static>> {
        self.next_due().or_else(|| match self.phase {
            Phase::Ended { reason, reported, .. } => self.next_of_the_end(reason, reported),
            _ => None,
        })
    }

    /// Reports a command that took too long, whose reply will be dropped when it comes; or that the
    /// connection should be replaced.
    #[inline(never)]
    fn next_due(&mut self) -> Option<Output<'static>> {
        if let Some(entry) = self.ring.next_late() {
            // Even if nothing of it is out yet, it will be: it stands in line.
            let lost = Lost { outcome: Outcome::Unknown, reason: None };
            return Some(Output::Lost { tag: entry.tag, lost });
        }
        let ends_in = self.replaced_within.take()?;
        Some(Output::Event(Event::ReplacementDue { ends_in }))
    }

    fn next_of_the_end(&mut self, reason: CloseReason, reported: bool) -> Option<Output<'static>> {
        while let Some(entry) = self.ring.pop() {
            if entry.owner == ReplyTo::Host {
                let lost = Lost { outcome: self.outcome(&entry), reason: Some(reason) };
                return Some(Output::Lost { tag: entry.tag, lost });
            }
        }
        if let Some(mut lost) = core::mem::take(&mut self.server_state).lost() {
            if self.retired {
                // The other connection has them.
                lost.subscriptions = 0;
            }
            if lost != LostState::default() {
                return Some(Output::Event(Event::StateLost(lost)));
            }
        }
        if self.verdict.is_some() {
            // The manager has to hear of it first: see `needs_update`.
            return None;
        }
        self.phase = Phase::Ended { reason, reported: true, heard: true };
        (!reported).then_some(Output::Event(Event::Disconnected { reason }))
    }

    const fn outcome(&self, entry: &Pending) -> Outcome {
        if entry.start >= self.offered { Outcome::NotSent } else { Outcome::Unknown }
    }
}
