//! The mailbox: one command, and its reply.

use redis_entraid_core::command::{CommandClass, CommandRefused, classify};
use redis_entraid_core::connection::{Outcome, Output, SubmitError, Tag};
use redis_entraid_core::drive::Submit;
use redis_entraid_core::resp::{Arg, encode, encoded_len};
use redis_entraid_core::storage::{Buffer, CapacityError};
use redis_entraid_core::time::Instant;

use crate::error::Error;

/// One command at a time. Each has a number, so that a reply that comes after its caller has gone is
/// nobody else's.
pub(super) struct Mail {
    command: &'static mut [u8],
    reply: &'static mut [u8],
    ticket: Tag,
    letter: Letter,
    phase: Phase,
    closed: bool,
}

/// A command, as it lies in its buffer.
#[derive(Clone, Copy)]
struct Letter {
    len: usize,
    class: CommandClass,
    /// Until when its reply is waited for, if its caller said so.
    by: Option<Instant>,
    /// How long the reply is by which the server refused it for want of a login. It is sent again
    /// then, once.
    refused: Option<usize>,
}

#[derive(Clone, Copy)]
enum Phase {
    Empty,
    Waiting,
    Sent,
    Done(Result<usize, Error>),
}

impl Mail {
    pub(super) const fn new(command: &'static mut [u8], reply: &'static mut [u8]) -> Self {
        let letter = Letter { len: 0, class: CommandClass::Plain, by: None, refused: None };
        Self { command, reply, ticket: 0, letter, phase: Phase::Empty, closed: false }
    }

    /// Puts a command in, whose reply is waited for until `by`, if that is said.
    pub(super) fn put(&mut self, args: &[Arg<'_>], by: Option<Instant>) -> Result<(), Error> {
        let class = classify(args).map_err(Error::Refused)?;
        match class {
            // Each command may be another task's.
            CommandClass::Multi | CommandClass::Watch => {
                return Err(Error::Refused(CommandRefused::Shared));
            }
            // They are the runner's.
            CommandClass::Subscribe(..) | CommandClass::Unsubscribe(..) => {
                return Err(Error::Refused(CommandRefused::Subscription));
            }
            _ => {}
        }
        if self.closed {
            return Err(Error::Closed);
        }
        let (len, capacity) = (encoded_len(args), self.command.len());
        if len > capacity {
            return Err(Error::TooLarge(CapacityError::new(Buffer::Transmit, len, capacity)));
        }
        let mut end = 0;
        encode(args, &mut |piece| {
            let start = end;
            end += piece.len();
            if let Some(room) = self.command.get_mut(start..end) {
                room.copy_from_slice(piece);
            }
        });
        self.ticket += 1;
        self.letter = Letter { len, class, by, refused: None };
        self.phase = Phase::Waiting;
        Ok(())
    }

    pub(super) const fn is_empty(&self) -> bool {
        matches!(self.phase, Phase::Empty)
    }

    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting)
    }

    const fn is_sent(&self) -> bool {
        matches!(self.phase, Phase::Sent)
    }

    /// Takes the command back. If it was sent, nobody hears its reply.
    pub(super) const fn withdraw(&mut self) {
        self.phase = Phase::Empty;
    }

    /// Gives the command to `connection`, if there is one that waits. Its reply is waited for until
    /// `usual`, if nothing else was said. Returns whether there is an answer already.
    pub(super) fn submit(&mut self, usual: Instant, connection: &mut dyn Submit) -> bool {
        if !self.is_waiting() {
            return false;
        }
        let Letter { len, class, by, .. } = self.letter;
        let command = self.command.get(..len).unwrap_or_default();
        let by = by.unwrap_or(usual);
        self.phase = match connection.submit_encoded(by, self.ticket, class, command) {
            Ok(()) => Phase::Sent,
            Err(SubmitError::Refused(refused)) => Phase::Done(Err(Error::Refused(refused))),
            Err(SubmitError::TooLarge(error)) => Phase::Done(Err(Error::TooLarge(error))),
            Err(_) => return false,
        };
        !self.is_sent()
    }

    /// Is told what came of a command. Says whether somebody has waited for that.
    pub(super) fn output(&mut self, output: &Output<'_>) -> bool {
        let (Output::Reply { tag, .. } | Output::Lost { tag, .. }) = output else { return false };
        if *tag != self.ticket || !self.is_sent() {
            return false;
        }
        self.phase = match output {
            Output::Reply { reply: Ok(value), .. } => {
                let refused = value.error().is_some_and(|error| error.code() == "NOAUTH");
                match copy(value.raw(), self.reply) {
                    Ok(len) if refused && self.letter.refused.is_none() => {
                        self.letter.refused = Some(len);
                        Phase::Waiting
                    }
                    answer => Phase::Done(answer),
                }
            }
            Output::Reply { reply: Err(error), .. } => Phase::Done(Err(Error::ReplyTooLarge {
                size: error.size,
                capacity: error.capacity,
            })),
            // The next connection may have it.
            Output::Lost { lost, .. }
                if lost.outcome == Outcome::NotSent && lost.reason.is_some() =>
            {
                Phase::Waiting
            }
            Output::Lost { lost, .. } => {
                Phase::Done(Err(Error::Lost { outcome: lost.outcome, reason: lost.reason }))
            }
            _ => return false,
        };
        true
    }

    /// Takes the answer out, if it is there. A reply goes to `room`, and its length is said.
    pub(super) fn take(&mut self, room: &mut [u8]) -> Option<Result<usize, Error>> {
        let Phase::Done(answer) = self.phase else { return None };
        self.phase = Phase::Empty;
        Some(answer.and_then(|len| copy(self.reply.get(..len).unwrap_or_default(), room)))
    }

    /// What the server said to the command that waits, if it was sent before.
    pub(super) fn refused(&self, room: &mut [u8]) -> Option<Result<usize, Error>> {
        let refused = self.reply.get(..self.letter.refused?).unwrap_or_default();
        Some(copy(refused, room))
    }

    /// Nothing is taken any more, and what is there gets no reply.
    pub(super) const fn close(&mut self) {
        self.closed = true;
        match self.phase {
            Phase::Waiting => self.phase = Phase::Done(Err(Error::Closed)),
            Phase::Sent => {
                let (outcome, reason) = (Outcome::Unknown, None);
                self.phase = Phase::Done(Err(Error::Lost { outcome, reason }));
            }
            Phase::Empty | Phase::Done(_) => {}
        }
    }
}

/// Copies a reply. Says how long it is.
fn copy(from: &[u8], to: &mut [u8]) -> Result<usize, Error> {
    let (len, capacity) = (from.len(), to.len());
    match to.get_mut(..len) {
        Some(room) => {
            room.copy_from_slice(from);
            Ok(len)
        }
        None => Err(Error::TooLarge(CapacityError::new(Buffer::Receive, len, capacity))),
    }
}

#[cfg(test)]
mod tests {
    use redis_entraid_core::args;
    use redis_entraid_core::connection::{CloseReason, Lost};
    use redis_entraid_core::resp::Value;
    use redis_entraid_core::transport::Break;
    use std::boxed::Box;
    use std::vec::Vec;

    use super::*;

    /// A connection that takes all, or nothing.
    struct Line {
        open: bool,
        taken: Vec<(Tag, Vec<u8>)>,
    }

    impl Submit for Line {
        fn submit(&mut self, _: Tag, _: &[Arg<'_>]) -> Result<(), SubmitError> {
            Err(SubmitError::Ended)
        }

        fn submit_encoded(
            &mut self,
            _: Instant,
            tag: Tag,
            _: CommandClass,
            command: &[u8],
        ) -> Result<(), SubmitError> {
            if !self.open {
                return Err(SubmitError::Full);
            }
            self.taken.push((tag, command.to_vec()));
            Ok(())
        }

        fn retire(&mut self) {}

        fn close(&mut self, _: CloseReason) {}
    }

    fn mail() -> Mail {
        Mail::new(Box::leak(Box::new([0; 64])), Box::leak(Box::new([0; 16])))
    }

    const BY: Instant = Instant::from_millis(5000);

    fn reply(tag: Tag, raw: &[u8]) -> Output<'_> {
        Output::Reply { tag, reply: Ok(Value::framed(raw)) }
    }

    #[test]
    fn a_command_waits_for_a_connection_and_then_for_its_reply() {
        let (mut mail, mut line) = (mail(), Line { open: false, taken: Vec::new() });
        mail.put(args!["GET", "k"], None).unwrap();
        assert!(!mail.submit(BY, &mut line) && mail.is_waiting());
        line.open = true;
        assert!(!mail.submit(BY, &mut line) && mail.is_sent());
        assert_eq!(line.taken, [(1, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_vec())]);
        let mut room = [0; 16];
        assert_eq!(mail.take(&mut room), None);
        assert!(mail.output(&reply(1, b"$1\r\nv\r\n")));
        assert_eq!(mail.take(&mut room), Some(Ok(7)));
        assert!(room.starts_with(b"$1\r\nv\r\n") && mail.is_empty());
    }

    #[test]
    fn the_reply_of_who_gave_up_is_nobody_elses() {
        let (mut mail, mut line) = (mail(), Line { open: true, taken: Vec::new() });
        mail.put(args!["GET", "first"], None).unwrap();
        mail.submit(BY, &mut line);
        mail.withdraw();
        mail.put(args!["GET", "second"], None).unwrap();
        assert!(!mail.output(&reply(1, b"+early\r\n")));
        mail.submit(BY, &mut line);
        assert!(!mail.output(&reply(1, b"+first\r\n")));
        assert!(mail.output(&reply(2, b"+second\r\n")));
        let mut room = [0; 16];
        let len = mail.take(&mut room).unwrap().unwrap();
        assert_eq!(&room[..len], b"+second\r\n");
    }

    #[test]
    fn what_was_not_sent_waits_for_the_next_connection() {
        let (mut mail, mut line) = (mail(), Line { open: true, taken: Vec::new() });
        mail.put(args!["GET", "k"], None).unwrap();
        mail.submit(BY, &mut line);
        let lost = |outcome| Lost::new(outcome, Some(CloseReason::Broken(Break::Reset)));
        assert!(mail.output(&Output::Lost { tag: 1, lost: lost(Outcome::NotSent) }));
        assert!(mail.is_waiting() && mail.take(&mut []).is_none());
        assert!(!mail.submit(BY, &mut line) && line.taken.len() == 2);
        assert!(mail.output(&Output::Lost { tag: 1, lost: lost(Outcome::Unknown) }));
        let error = mail.take(&mut []).unwrap().unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown);
    }

    #[test]
    fn what_a_server_that_forgot_the_login_refuses_is_sent_again_once() {
        let (mut mail, mut line) = (mail(), Line { open: true, taken: Vec::new() });
        mail.put(args!["GET", "k"], None).unwrap();
        mail.submit(BY, &mut line);
        let mut room = [0; 16];
        assert!(mail.output(&reply(1, b"-NOAUTH no\r\n")));
        assert!(mail.is_waiting() && mail.take(&mut room).is_none());
        // What the server said, should it never be sent.
        assert_eq!(mail.refused(&mut room), Some(Ok(12)));
        mail.submit(BY, &mut line);
        assert!(mail.output(&reply(1, b"-NOAUTH no\r\n")));
        assert_eq!((mail.take(&mut room), line.taken.len()), (Some(Ok(12)), 2));
        assert!(room.starts_with(b"-NOAUTH no\r\n"));
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_names_the_buffer() {
        let mut mail = mail();
        let large = mail.put(args!["SET", "k", &[b'v'; 64]], None).unwrap_err();
        let error = CapacityError::new(Buffer::Transmit, 91, 64);
        assert_eq!((large, large.outcome()), (Error::TooLarge(error), Outcome::NotSent));
        let mut line = Line { open: true, taken: Vec::new() };
        for (room, long) in [(64, "+a reply of 23 bytes..\r\n"), (4, "+hello\r\n")] {
            mail.put(args!["GET", "k"], None).unwrap();
            mail.submit(BY, &mut line);
            let tag = line.taken.last().unwrap().0;
            mail.output(&reply(tag, long.as_bytes()));
            let error = mail.take(&mut [0; 64][..room]).unwrap().unwrap_err();
            assert!(matches!(error, Error::TooLarge(error) if error.buffer == Buffer::Receive));
            // It was executed.
            assert_eq!(error.outcome(), Outcome::Unknown);
        }
    }

    #[test]
    fn what_needs_a_connection_of_its_own_is_refused() {
        let mut mail = mail();
        for (command, refused) in [
            (args!["MULTI"], CommandRefused::Shared),
            (args!["WATCH", "k"], CommandRefused::Shared),
            (args!["SUBSCRIBE", "c"], CommandRefused::Subscription),
            (args!["UNSUBSCRIBE"], CommandRefused::Subscription),
            (args!["AUTH", "me", "token"], CommandRefused::Login),
        ] {
            assert_eq!(mail.put(command, None), Err(Error::Refused(refused)));
            assert!(mail.is_empty());
        }
    }

    #[test]
    fn nothing_waits_for_a_runner_that_has_ended() {
        let mut mail = mail();
        mail.put(args!["PING"], None).unwrap();
        mail.close();
        assert_eq!(mail.take(&mut []), Some(Err(Error::Closed)));
        assert_eq!(mail.put(args!["PING"], None), Err(Error::Closed));
    }
}
