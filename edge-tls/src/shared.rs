//! How far a connection has come, for both of its halves.

use core::cell::Cell;

use crate::error::Error;
use crate::inner::Progress;

/// As many records as AES-GCM is good for with one key (RFC 8446 section 5.5 says 2^24.5).
pub(crate) const RECORDS: u32 = 1 << 24;

/// How far a connection has come.
#[derive(Debug)]
pub(crate) struct Shared {
    progress: Cell<Progress>,
    failure: Cell<Option<Error>>,
    /// The server has ended its side (`close_notify`).
    ended: Cell<bool>,
    /// The transport has taken an unknown part of a record.
    sending: Cell<bool>,
    /// Records that may still be sent, and that might be in the beginning.
    pub(crate) left: Cell<u32>,
    pub(crate) most: Cell<u32>,
}

impl Shared {
    pub(crate) const fn new() -> Self {
        Self {
            progress: Cell::new(Progress::New),
            failure: Cell::new(None),
            ended: Cell::new(false),
            sending: Cell::new(false),
            left: Cell::new(RECORDS),
            most: Cell::new(RECORDS),
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.get()
    }

    pub(crate) fn advance(&self, progress: Progress) {
        self.progress.set(progress);
    }

    /// Ends the connection; the first reason is the one that counts.
    pub(crate) fn fail(&self, error: Error) -> Error {
        let error = self.failure.get().unwrap_or(error);
        self.failure.set(Some(error));
        error
    }

    /// Why the connection is dead, if it is.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.failure.get().map_or(Ok(()), Err)
    }

    pub(crate) fn end(&self) {
        self.ended.set(true);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Whether something can be sent.
    pub(crate) fn before_sending(&self) -> Result<(), Error> {
        self.check()?;
        if self.has_ended() {
            return Err(Error::Closed);
        }
        // A record that was not sent to its end would be encrypted again with the same nonce, and
        // the server would take its first bytes for a part of the one before.
        if self.sending.get() { Err(self.fail(Error::Abandoned)) } else { Ok(()) }
    }

    /// A record, or more of it, goes to the transport.
    pub(crate) fn send(&self) -> Result<(), Error> {
        self.check()?;
        if !self.sending.replace(true) {
            let left = self.left.get().checked_sub(1);
            self.left.set(left.ok_or_else(|| self.fail(Error::WornOut))?);
        }
        Ok(())
    }

    /// All that was to be sent has gone.
    pub(crate) fn sent(&self) {
        self.sending.set(false);
    }

    #[cfg(test)]
    pub(crate) fn wear_out(&self, left: u32) {
        self.left.set(left);
    }
}
