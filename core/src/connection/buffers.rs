//! The bytes on their way in and out.

use core::fmt;

use crate::close::{CloseReason, TransportFailure};
use crate::recent::Recent;
use crate::resp::{Arg, Framer, RespError, encode};
use crate::secret::wipe;
use crate::storage::Storage;

/// What a buffer that grows keeps between commands.
const LEAST: usize = 512;

/// What a buffer for replies keeps while the connection is quiet; one for commands keeps nothing.
const WHILE_QUIET: usize = 128;

/// Room for a login with a token of the usual size: one write, and one record of TLS.
const LOGIN: usize = 2 << 10;

/// Up to here it grows so that more is sent or received at once; beyond, for what is larger alone.
const TOGETHER: usize = 16 << 10;

/// What was received and is not read yet.
pub(crate) struct Receiver<B> {
    buffer: B,
    recent: Recent,
    start: usize,
    end: usize,
    framer: Framer,
    /// Bytes of the reply at `start` that the framer has seen.
    framed: usize,
    /// Bytes of the last reply handed out; they are dropped before anything else is done.
    handed_out: usize,
    /// Bytes of a reply that is too large, and was dropped as it came. Its head and its tail stay.
    dropped: Option<u64>,
    /// The last reply handed out was too large.
    skipped: bool,
}

/// Bytes of a reply too large that are kept, where the buffer is not too small: they say what it is,
/// and how it ends.
const HEAD: usize = 64;
const TAIL: usize = 16;

/// A reply that a [`Receiver`] found.
pub(super) struct Frame {
    /// The byte that says what it is.
    pub(super) first: u8,
    /// Its size, if that was too large: [`Receiver::frame`] has only its head then.
    pub(super) too_large: Option<u64>,
}

impl<B: Storage<u8>> Receiver<B> {
    pub(super) fn new(buffer: B) -> Self {
        Self {
            buffer,
            recent: Recent::default(),
            start: 0,
            end: 0,
            framer: Framer::new(),
            framed: 0,
            handed_out: 0,
            dropped: None,
            skipped: false,
        }
    }

    /// Room to receive into. Never empty, once all that was received has been taken in.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.release();
        if self.end == self.buffer.room().len() {
            if self.start > 0 {
                self.buffer.room_mut().copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else if self.framed == self.end && !self.buffer.reserve(self.end + 1) {
                // A reply that doesn't fit is skipped, but for its head and its tail: the framer has
                // seen all of it so far.
                let (head, tail) = (self.head_len(), self.tail_len());
                self.buffer.room_mut().copy_within(self.end - tail..self.end, head);
                let kept = head + tail;
                self.dropped = Some(self.dropped.unwrap_or(0) + (self.end - kept) as u64);
                (self.end, self.framed) = (kept, kept);
            }
        }
        self.buffer.room_mut().get_mut(self.end..).unwrap_or_default()
    }

    /// Says that `len` bytes were received into [`space`](Self::space).
    pub(crate) fn received(&mut self, len: usize) {
        let room = self.buffer.room().len();
        self.end = self.end.saturating_add(len).min(room);
        if B::GROWS {
            self.recent.used(0, self.end);
            if self.end == room && room < TOGETHER {
                // There is more to come.
                self.buffer.reserve(room + 1);
            }
        }
    }

    /// Why a connection ends whose transport has ended now.
    pub(crate) const fn ended(&self) -> CloseReason {
        if self.start + self.handed_out == self.end && self.dropped.is_none() {
            return CloseReason::ByServer;
        }
        CloseReason::Broken(TransportFailure::Truncated)
    }

    fn release(&mut self) {
        self.start += self.handed_out;
        self.handed_out = 0;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if B::GROWS && self.dropped.is_none() {
                fit(&mut self.buffer, self.recent);
            }
        }
    }

    /// Whether it has grown: it may not need that for long.
    pub(super) fn has_grown(&self) -> bool {
        B::GROWS && self.capacity() > WHILE_QUIET
    }

    /// Forgets what was needed lately: it was long ago.
    pub(crate) fn forget(&mut self) {
        self.recent = Recent::default();
    }

    /// Gives back what isn't needed when nothing comes.
    pub(super) fn give_back(&mut self) {
        if B::GROWS && self.start == self.end && self.dropped.is_none() {
            give_back(&mut self.buffer, &mut self.recent, WHILE_QUIET);
        }
    }

    /// Looks for the next reply.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, RespError> {
        self.release();
        let from = self.start + self.framed;
        let unseen = self.buffer.room().get(from..self.end).unwrap_or_default();
        let framed = self.framer.feed(unseen)?;
        self.framed += framed.used;
        if !framed.complete {
            return Ok(None);
        }
        self.handed_out = core::mem::take(&mut self.framed);
        if B::GROWS {
            self.recent.used(1, self.handed_out);
        }
        let rest = self.handed_out as u64;
        let too_large = self.dropped.take().map(|dropped| dropped.saturating_add(rest));
        self.skipped = too_large.is_some();
        Ok(Some(Frame { first: self.framer.first().unwrap_or_default(), too_large }))
    }

    /// How much of a reply that is too large is kept.
    fn head_len(&self) -> usize {
        let room = self.buffer.room().len();
        HEAD.min(room / 4 * 3)
    }

    fn tail_len(&self) -> usize {
        TAIL.min(self.buffer.room().len() / 8)
    }

    /// The last bytes of a reply that was too large.
    pub(super) fn tail(&self) -> &[u8] {
        let end = self.start + self.handed_out;
        self.buffer.room().get(end.saturating_sub(self.tail_len())..end).unwrap_or_default()
    }

    /// The reply that [`next`](Self::next) found, or the head of one that was too large.
    #[inline(never)]
    pub(super) fn frame(&self) -> &[u8] {
        let len = if self.skipped { self.head_len() } else { self.handed_out };
        let end = self.start + len;
        self.buffer.room().get(self.start..end).unwrap_or_default()
    }

    pub(super) fn capacity(&self) -> usize {
        self.buffer.room().len()
    }
}

impl<B> fmt::Debug for Receiver<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({} bytes)", self.end - self.start)
    }
}

/// Gives back what recent uses of an empty buffer didn't need.
fn fit(buffer: &mut impl Storage<u8>, recent: Recent) {
    if let Some(keep) = recent.keep(buffer.room().len(), LEAST) {
        buffer.shrink(keep);
    }
}

/// Gives back what an empty buffer that isn't used doesn't need.
fn give_back(buffer: &mut impl Storage<u8>, recent: &mut Recent, keep: usize) {
    *recent = Recent::default();
    buffer.shrink(keep);
}

/// What is to be sent.
pub(crate) struct Transmitter<B: Storage<u8>> {
    buffer: B,
    recent: Recent,
    start: usize,
    end: usize,
    /// There is a login in it: bytes are wiped as they are sent.
    secret: bool,
}

impl<B: Storage<u8>> Transmitter<B> {
    pub(super) fn new(buffer: B) -> Self {
        Self { buffer, recent: Recent::default(), start: 0, end: 0, secret: false }
    }

    /// What is to be sent next; empty if there is nothing.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.room().get(self.start..self.end).unwrap_or_default()
    }

    /// Whether there is nothing to send.
    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Says that the first `len` of [`bytes`](Self::bytes) were sent. Answers with how many that
    /// really are.
    pub(crate) fn sent(&mut self, len: usize) -> usize {
        let sent = self.start..self.start.saturating_add(len).min(self.end);
        let len = sent.len();
        self.start = sent.end;
        if self.secret {
            wipe(self.buffer.room_mut().get_mut(sent).unwrap_or_default());
        }
        if self.is_empty() {
            (self.start, self.end, self.secret) = (0, 0, false);
            if B::GROWS {
                fit(&mut self.buffer, self.recent);
            }
        }
        len
    }

    /// Whether it has grown: it may not need that for long.
    pub(super) fn has_grown(&self) -> bool {
        B::GROWS && self.capacity() > LEAST
    }

    /// Whether it has memory to give back.
    pub(super) fn has_memory(&self) -> bool {
        B::GROWS && self.capacity() > 0
    }

    /// Gives back what isn't needed when nothing is sent.
    pub(super) fn give_back(&mut self) {
        if B::GROWS && self.is_empty() {
            give_back(&mut self.buffer, &mut self.recent, 0);
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.buffer.room().len()
    }

    /// Makes room to append `len` bytes, if it can be made now. It grows for what is sent together
    /// up to some size, and for a command that would not fit even alone; what else would only fit
    /// behind others waits for those to be sent.
    pub(super) fn reserve(&mut self, len: usize) -> bool {
        if self.end + len <= self.buffer.room().len() {
            return true;
        }
        if self.start > 0 && !self.secret {
            self.buffer.room_mut().copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.end + len <= self.buffer.room().len()
            || B::GROWS && self.end + len <= TOGETHER && self.buffer.reserve(self.end + len)
            || self.is_empty() && self.buffer.reserve(len)
    }

    /// Notes a use.
    fn used(&mut self) {
        if B::GROWS {
            self.recent.used(1, self.end);
        }
    }

    /// Appends `bytes`, for which there is room.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if let Some(room) = self.buffer.room_mut().get_mut(self.end..self.end + bytes.len()) {
            room.copy_from_slice(bytes);
            self.end += bytes.len();
        }
        self.used();
    }

    /// Appends a command, for which there is room.
    pub(super) fn encode(&mut self, args: &[Arg<'_>]) {
        let mut end = self.end;
        let room = self.buffer.room_mut();
        encode(args, &mut |piece| {
            if let Some(room) = room.get_mut(end..end + piece.len()) {
                room.copy_from_slice(piece);
                end += piece.len();
            }
        });
        self.end = end;
        self.used();
    }

    /// Lets `write` fill the empty buffer with a piece of a login. Answers with its length.
    pub(super) fn fill_secret(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> u64 {
        debug_assert!(self.is_empty());
        let mut room = LOGIN;
        while B::GROWS && room > self.capacity() && !self.buffer.reserve(room) {
            room /= 2;
        }
        let len = write(self.buffer.room_mut());
        (self.start, self.end, self.secret) = (0, len, true);
        self.used();
        len as u64
    }
}

impl<B: Storage<u8>> Drop for Transmitter<B> {
    fn drop(&mut self) {
        // Of a login, something may be left.
        let left = self.end - self.start;
        self.sent(left);
    }
}

impl<B: Storage<u8>> fmt::Debug for Transmitter<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transmitter({} bytes)", self.end - self.start)
    }
}
