//! What both halves of a connection share.

use core::cell::RefCell;

use crate::incoming::Incoming;
use crate::shared::{RECORDS, Shared};

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
    /// before [`Error::WornOut`](crate::Error::WornOut). There is time for 4,096 records more, or for half of what there
    /// were, if that is less.
    pub fn is_wearing_out(&self) -> bool {
        self.shared.left.get() < MARGIN.min(self.shared.most.get() / 2)
    }

    /// The transport again, once the connection is gone.
    pub fn into_inner(self) -> (R, W) {
        (self.reader.into_inner().into_transport(), self.writer.into_inner())
    }
}
