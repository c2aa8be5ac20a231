//! How commands get in: those of the host, and the connection's own.

use core::time::Duration;

use super::buffers::Transmitter;
use super::deadlines::QUIET;
use super::machine::{Machine, Phase};
use super::output::SubmitError;
use super::ring::{Pending, ReplyTo, Role, Tag};
use crate::command::{CommandClass, CommandRefused, EncodedCommand, classify};
use crate::resp::{Arg, encoded_len};
use crate::storage::{Buffer, CapacityError, Storage};
use crate::time::Instant;

impl<R: Storage<Pending>> Machine<R> {
    /// See [`Connection::submit`](super::Connection::submit).
    ///
    /// # Errors
    /// [`SubmitError`]; nothing is sent of it then.
    pub(crate) fn submit<B: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        tag: Tag,
        args: &[Arg<'_>],
    ) -> Result<(), SubmitError> {
        let class = classify(args).map_err(SubmitError::Refused)?;
        let by = now.plus(self.config.command_timeout);
        self.admit(now, by, out, tag, class, encoded_len(args))?;
        out.encode(args);
        Ok(())
    }

    /// See [`Connection::submit_encoded`](super::Connection::submit_encoded).
    ///
    /// # Errors
    /// [`SubmitError`]; nothing is sent of it then.
    pub(crate) fn submit_encoded<B: Storage<u8>>(
        &mut self,
        now: Instant,
        by: Instant,
        out: &mut Transmitter<B>,
        tag: Tag,
        command: EncodedCommand<'_>,
    ) -> Result<(), SubmitError> {
        self.admit(now, by, out, tag, command.class, command.bytes.len())?;
        out.append(command.bytes);
        Ok(())
    }

    /// Lets a command of `len` bytes in, for which there is room then. Its reply is waited for
    /// until `by`, and for as long as it blocks.
    fn admit<B: Storage<u8>>(
        &mut self,
        now: Instant,
        by: Instant,
        out: &mut Transmitter<B>,
        tag: Tag,
        class: CommandClass,
        len: usize,
    ) -> Result<(), SubmitError> {
        if let Phase::Ended { .. } = self.phase {
            return Err(SubmitError::Ended);
        }
        // Nothing is written to a login that has ended, even before the next `update`.
        if !self.is_ready() || now >= self.schedule.ends() {
            return Err(SubmitError::Full);
        }
        // What opens something on the connection has to know that there is one.
        if self.schedule.have().is_none() && class != CommandClass::Plain {
            return Err(SubmitError::Full);
        }
        let block = match class {
            CommandClass::Blocking(time) if !self.server_state.expects_transaction() => {
                let time = time.filter(|time| *time <= self.config.max_block);
                time.ok_or(SubmitError::Refused(CommandRefused::Blocking))?
            }
            _ => Duration::ZERO,
        };
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
        if out.has_grown() || self.ring.has_grown() {
            self.update_by(now.plus(QUIET));
        }
        let role = self.server_state.admit(class, self.protocol).map_err(SubmitError::Refused)?;
        self.counts.commands = self.counts.commands.wrapping_add(1);
        self.asked = now;
        self.push(len, tag, ReplyTo::Host, role, by.plus(block));
        Ok(())
    }

    /// Sends a command of the connection's own, if there is room. Its reply is dropped.
    /// Says whether it did.
    pub(super) fn send_own<B: Storage<u8>>(
        &mut self,
        now: Instant,
        out: &mut Transmitter<B>,
        args: &[Arg<'_>],
    ) -> bool {
        let len = encoded_len(args);
        let room = self.ring.reserve(1) && out.reserve(len);
        if room {
            let by = now.plus(self.config.command_timeout);
            self.push(len, 0, ReplyTo::Connection, Role::Plain, by);
            out.encode(args);
        }
        room
    }

    /// Notes a command of `len` bytes, which are appended next.
    fn push(&mut self, len: usize, tag: Tag, owner: ReplyTo, role: Role, deadline: Instant) {
        let start = self.appended;
        self.appended += len as u64;
        self.ring.push(Pending { tag, start, deadline, owner, role });
        if owner == ReplyTo::Host {
            self.command_deadline = self.command_deadline.min(deadline);
        }
        self.look_at = self.look_at.min(self.limit());
    }
}
