//! Commands on their way out, and replies on their way back.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::recent::clear;
use redis_entraid_core::command::{CommandClass, CommandRefused, classify};
use redis_entraid_core::connection::{Lost, ReplyTooLarge};
use redis_entraid_core::resp::{Arg, Value, encode, encoded_len};
use redis_entraid_core::storage::Recent;
use redis_entraid_core::storage::{Buffer, CapacityError};

use super::super::error::{Cause, Error, ServerError};

/// Which command it is: of which slot, of which of its batches, and which one of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Ticket {
    pub(super) slot: u32,
    pub(super) batch: u32,
    pub(super) index: u32,
}

/// How many handles one connection can have.
pub(super) const MAX_SLOTS: u32 = 1 << 18;

/// After so many batches a handle counts from zero: no more commands can be in flight.
pub(super) const MAX_BATCHES: u32 = 1 << 24;

/// The largest command, and the largest string that Redis takes.
pub const MAX_COMMAND: usize = 512 << 20;

/// How many commands can be sent together.
pub(in super::super) const MAX_BATCH: usize = 1 << 22;

impl Ticket {
    /// As a tag of the core's.
    pub(in super::super) const fn tag(self) -> u64 {
        (self.slot as u64) << 46 | (self.batch as u64) << 22 | self.index as u64
    }

    pub(super) const fn from_tag(tag: u64) -> Self {
        let index = (tag & (MAX_BATCH as u64 - 1)) as u32;
        let batch = (tag >> 22) as u32 % MAX_BATCHES;
        Self { slot: (tag >> 46) as u32, batch, index }
    }

    /// Which batch it is of, by slot and number.
    pub(super) const fn batch(self) -> (u32, u32) {
        (self.slot, self.batch)
    }
}

/// Commands that are sent together, encoded.
#[derive(Debug, Default)]
pub(in super::super) struct Batch {
    bytes: Vec<u8>,
    commands: Vec<(CommandClass, usize)>,
    /// So many commands, and their bytes, are not sent again.
    done: (usize, usize),
    recent: Recent,
}

impl Batch {
    pub(in super::super) fn clear(&mut self) {
        let Self { bytes, commands, done, recent } = self;
        *done = (0, 0);
        recent.used(commands.len(), bytes.len().max(size_of_val(&**commands)));
        clear(*recent, bytes);
        clear(*recent, commands);
    }

    /// Takes a command, and says what it does to its connection. What will not be sent is refused
    /// here, before anything is: what was to be executed together isn't torn.
    pub(in super::super) fn push(&mut self, args: &[Arg<'_>]) -> Result<CommandClass, Error> {
        let class = classify(args)?;
        self.push_as(class, args)?;
        Ok(class)
    }

    /// The same for one that was classified.
    pub(in super::super) fn push_as(
        &mut self,
        class: CommandClass,
        args: &[Arg<'_>],
    ) -> Result<(), Error> {
        if let CommandClass::Subscribe(..) | CommandClass::Unsubscribe(..) = class {
            return Err(CommandRefused::Subscription.into());
        }
        let len = encoded_len(args);
        if len > MAX_COMMAND {
            return Err(Error::TooLarge(CapacityError::new(Buffer::Transmit, len, MAX_COMMAND)));
        }
        if self.commands.len() == MAX_BATCH {
            return Err(Self::too_many());
        }
        encode(args, &mut |piece| self.bytes.extend_from_slice(piece));
        self.commands.push((class, len));
        Ok(())
    }

    /// More than [`MAX_BATCH`] commands can't be sent together.
    pub(in super::super) const fn too_many() -> Error {
        Error::TooLarge(CapacityError::new(Buffer::Ring, MAX_BATCH + 1, MAX_BATCH))
    }

    /// Takes a command of another one: its bytes there begin at `start`.
    pub(in super::super) fn push_from(&mut self, other: &Self, at: usize, start: usize) {
        let Some(command) = other.commands.get(at) else { return };
        self.bytes.extend_from_slice(other.command(at, start));
        self.commands.push(*command);
    }

    /// The bytes of the command number `at`, which begin at `start`.
    pub(in super::super) fn command(&self, at: usize, start: usize) -> &[u8] {
        let len = self.commands.get(at).map_or(0, |(_, len)| *len);
        self.bytes.get(start..start + len).unwrap_or_default()
    }

    /// How many bytes there are.
    pub(in super::super) const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many commands there are.
    pub(in super::super) const fn len(&self) -> usize {
        self.commands.len()
    }

    /// The classes of all commands, and how long each is.
    pub(in super::super) fn all(&self) -> &[(CommandClass, usize)] {
        &self.commands
    }

    /// Those that are to be sent: their classes, and how long each is.
    pub(super) fn commands(&self) -> &[(CommandClass, usize)] {
        self.commands.get(self.done.0..).unwrap_or_default()
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.done.1..).unwrap_or_default()
    }

    /// Doesn't send the first `count` commands again.
    pub(in super::super) fn skip(&mut self, count: usize) {
        let bytes = self.commands().iter().take(count).map(|(_, len)| len).sum::<usize>();
        self.done = (self.done.0 + count, self.done.1 + bytes);
    }
}

/// What there is instead of a reply.
#[derive(Clone, Debug)]
pub(in super::super) enum Failure {
    Lost(Lost),
    /// The connection broke, and the network says why.
    Broke(Lost, Cause),
    Unavailable(Option<Error>),
    StateLost,
    /// The server says `NOAUTH` to a command before it, so that it was not sent.
    NoLogin,
    ReplyTooLarge(ReplyTooLarge),
    TooLarge(CapacityError),
    Refused(CommandRefused),
    CrossSlot,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::CrossSlot => Self::CrossSlot,
            Error::Refused(refused) => Self::Refused(refused),
            Error::StateLost => Self::StateLost,
            Error::TooLarge(error) => Self::TooLarge(error),
            error => Self::Unavailable(Some(error)),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(lost) => lost.into(),
            Failure::Broke(Lost { outcome, reason, .. }, cause) => {
                Self::Lost { outcome, reason, cause: Some(cause) }
            }
            // The server has refused us: that is all there is to say.
            Failure::Unavailable(Some(error @ (Self::Login(_) | Self::Closed))) => error,
            Failure::Unavailable(cause) => Self::Unavailable { cause: cause.map(Box::new) },
            Failure::StateLost => Self::StateLost,
            Failure::NoLogin => Self::Server(ServerError {
                code: "NOAUTH".into(),
                message: "the server lost the login; the command was not sent".into(),
            }),
            Failure::ReplyTooLarge(error) => Self::ReplyTooLarge(error),
            Failure::TooLarge(error) => Self::TooLarge(error),
            Failure::Refused(refused) => Self::Refused(refused),
            Failure::CrossSlot => Self::CrossSlot,
        }
    }
}

/// Replies as they came: one behind the other, and where each ends.
#[derive(Debug, Default)]
pub(in super::super) struct Replies {
    pub(in super::super) bytes: Vec<u8>,
    pub(in super::super) ends: Vec<usize>,
    /// By number, in order, for the few that failed.
    pub(in super::super) failures: Vec<(usize, Failure)>,
    recent: Recent,
}

impl Replies {
    pub(in super::super) fn clear(&mut self) {
        let Self { bytes, ends, failures, recent } = self;
        let most = bytes.len().max(size_of_val(&**ends)).max(size_of_val(&**failures));
        recent.used(ends.len(), most);
        clear(*recent, bytes);
        clear(*recent, ends);
        clear(*recent, failures);
    }

    /// Forgets what was needed lately, so that little memory is kept.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(in super::super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The reply number `at`, be it an error; or why there is none, if there is a reason.
    pub(in super::super) fn get(&self, at: usize) -> Result<&[u8], Option<&Failure>> {
        let Self { bytes, ends, failures, .. } = self;
        if let Ok(found) = failures.binary_search_by_key(&at, |(number, _)| *number)
            && let Some((_, failure)) = failures.get(found)
        {
            return Err(Some(failure));
        }
        let start = at.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
        ends.get(at).and_then(|end| bytes.get(start..*end)).ok_or(None)
    }

    /// The reply number `at`.
    ///
    /// # Errors
    /// [`Error`] if there is none, or if it is one of the server's.
    pub(in super::super) fn pick(&self, at: usize) -> Result<Value<'_>, Error> {
        let value = match self.get(at) {
            Ok(raw) => Value::framed(raw),
            Err(failure) => return Err(failure.map_or(Error::Closed, |it| it.clone().into())),
        };
        match value.error() {
            Some(error) => Err(Error::Server(error.into())),
            None => Ok(value),
        }
    }

    /// Keeps the first `count`.
    pub(in super::super) fn truncate(&mut self, count: usize) {
        self.ends.truncate(count);
        self.bytes.truncate(self.ends.last().copied().unwrap_or_default());
        self.failures.retain(|(at, _)| *at < count);
    }

    /// Puts `others` behind these.
    pub(in super::super) fn append(&mut self, others: &Self) {
        for at in 0..others.len() {
            match others.get(at) {
                Ok(raw) => self.reply(raw),
                Err(failure) => self.fail(failure.cloned().unwrap_or(Failure::Unavailable(None))),
            }
        }
    }

    pub(in super::super) fn reply(&mut self, raw: &[u8]) {
        self.bytes.extend_from_slice(raw);
        self.ends.push(self.bytes.len());
    }

    pub(in super::super) fn fail(&mut self, failure: Failure) {
        self.failures.push((self.ends.len(), failure));
        self.ends.push(self.bytes.len());
    }
}
