//! What both halves of a connection share.

use core::cell::{Cell, RefCell};

use crate::error::Error;
use crate::guard::Incoming;
use crate::inner::Progress;

/// As many records as AES-GCM is good for with one key (RFC 8446 section 5.5 says 2^24.5).
const RECORDS: u32 = 1 << 24;

/// A connection should make room for another one while it may still send so many.
const MARGIN: u32 = 1 << 12;

/// The transport: what is read from and what is written to, which are used independently.
///
/// It serves one connection.
#[derive(Debug)]
pub struct Halves<R, W> {
    pub(crate) reader: RefCell<Incoming<R>>,
    pub(crate) writer: RefCell<W>,
    pub(crate) shared: Shared,
}

impl<R, W> Halves<R, W> {
    /// A transport that is connected, and over which nothing has gone yet.
    ///
    /// Giving up a read of `reader` before it ends must lose nothing, if reads of the TLS
    /// connection are given up.
    pub const fn new(reader: R, writer: W) -> Self {
        Self {
            reader: RefCell::new(Incoming::new(reader)),
            writer: RefCell::new(writer),
            shared: Shared::new(),
        }
    }

    /// The same, but with one key no more than so many `records` are sent, of the 16,777,216 that
    /// AES-GCM is good for (RFC 8446 section 5.5).
    #[must_use]
    pub fn with_records(self, records: u32) -> Self {
        self.shared.left.set(records.min(RECORDS));
        self.shared.most.set(records.min(RECORDS));
        self
    }

    /// Whether the keys are nearly worn out: another connection should take the place of this one
    /// before [`Error::WornOut`]. There is time for 4,096 records more, or for half of what there
    /// were, if that is less.
    pub fn is_wearing_out(&self) -> bool {
        self.shared.left.get() < MARGIN.min(self.shared.most.get() / 2)
    }

    /// The transport again, once the connection is gone.
    pub fn into_inner(self) -> (R, W) {
        (self.reader.into_inner().into_transport(), self.writer.into_inner())
    }
}

/// How far a connection has come.
#[derive(Debug)]
pub(crate) struct Shared {
    progress: Cell<Progress>,
    failure: Cell<Option<Error>>,
    /// The server has said that it sends no more.
    ended: Cell<bool>,
    /// The transport has taken an unknown part of a record.
    sending: Cell<bool>,
    /// Records that may still be sent, and that might be in the beginning.
    left: Cell<u32>,
    most: Cell<u32>,
}

impl Shared {
    const fn new() -> Self {
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
