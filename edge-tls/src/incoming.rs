//! Which records may come in.
//!
//! Records are read whole from here: first the header, which is judged, then the body, all at
//! once. Both survive a read that is given up, so that the next one goes on where it was.
//!
//! | record | before the server's hello | until the handshake is over | afterwards |
//! |---|---|---|---|
//! | handshake | the hello | `InTheClear` | `InTheClear` |
//! | alert | `Refused` | `InTheClear` | `InTheClear` |
//! | ChangeCipherSpec of one byte 1 | `Record` | once | `InTheClear` |
//! | application data of version 3.3 | `Record` | its [content](crate::inner) is judged | the same |
//! | longer than RFC 8446 section 5 permits, or of another type | `Record` | `Record` | `Record` |
//! | longer than the buffer | `TooLong` | `TooLong` | `TooLong` |

use embedded_io_async::{Error as _, Read};

use crate::error::{Error, Violation};
use crate::inner::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, Progress};
use crate::shared::Shared;

/// The largest content in the clear, and what encryption may add.
const CLEAR: usize = 1 << 14;
const ENCRYPTED: usize = CLEAR + 256;

/// What is read from, and the record that it is in.
#[derive(Debug)]
pub(crate) struct Incoming<R> {
    transport: R,
    header: [u8; 5],
    /// The bytes of the header that are there.
    have: usize,
    /// The body that is being read, after its header was passed on.
    body: Option<Body>,
    /// A ChangeCipherSpec has come.
    changed: bool,
    /// What fits into the buffer for a record, in bytes.
    room: usize,
}

#[derive(Clone, Copy, Debug)]
struct Body {
    /// The bytes that are there.
    filled: usize,
    /// Where they are.
    at: Option<usize>,
    /// The header has to be passed on once more.
    again: bool,
}

impl<R> Incoming<R> {
    pub(crate) const fn new(transport: R) -> Self {
        Self { transport, header: [0; 5], have: 0, body: None, changed: false, room: 0 }
    }

    pub(crate) fn into_transport(self) -> R {
        self.transport
    }

    pub(crate) fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// A read begins. If the one before was given up after the header, the header comes once more:
    /// the buffer for the body is the same, and is filled as far as it was.
    pub(crate) fn begin(&mut self) {
        if let Some(body) = &mut self.body {
            body.again = true;
        }
    }

    fn length(&self) -> usize {
        let [.., high, low] = self.header;
        usize::from(u16::from_be_bytes([high, low]))
    }

    /// Lets a header pass, or not.
    fn judge(&mut self, shared: &Shared) -> Result<(), Error> {
        let record = Error::Violation(Violation::Record);
        let in_the_clear = Error::Violation(Violation::InTheClear);
        let length = self.length();
        let [kind, major, minor, ..] = &mut self.header;
        let longest = if *kind == APPLICATION_DATA { ENCRYPTED } else { CLEAR };
        if *major != 3 || length > longest {
            return Err(record);
        }
        match (*kind, shared.progress()) {
            (ALERT, Progress::Hello) if length == 2 => {}
            // Only one record is taken for the hello.
            (HANDSHAKE, Progress::Hello) => shared.advance(Progress::Extensions),
            (_, Progress::New | Progress::Hello) => return Err(record),
            (ALERT | HANDSHAKE, _) | (CHANGE_CIPHER_SPEC, Progress::Open) => {
                return Err(in_the_clear);
            }
            (CHANGE_CIPHER_SPEC, _) if !self.changed && length == 1 => self.changed = true,
            (APPLICATION_DATA, progress) if *minor == 3 => {
                *minor = progress.mark().ok_or(record)?;
                // The extensions come first, whatever comes with them.
                if progress == Progress::Extensions {
                    shared.advance(Progress::Certificate);
                }
            }
            _ => return Err(record),
        }
        if length > self.room {
            return Err(Error::TooLong { record: length, buffer: self.room });
        }
        Ok(())
    }
}

impl<R: Read> Incoming<R> {
    pub(crate) async fn read(&mut self, shared: &Shared, buf: &mut [u8]) -> Result<usize, Error> {
        let length = self.length();
        match &mut self.body {
            None => {
                fill(&mut self.transport, &mut self.header, &mut self.have).await?;
                self.judge(shared)?;
                self.have = 0;
                let body = Body { filled: 0, at: None, again: false };
                self.body = (self.length() > 0).then_some(body);
            }
            Some(body) if body.again => body.again = false,
            Some(body) => {
                let at = buf.as_ptr().addr();
                // Both hold as long as embedded-tls asks for a record the way it does.
                if buf.len() != length || *body.at.get_or_insert(at) != at {
                    return Err(Error::Violation(Violation::Record));
                }
                fill(&mut self.transport, buf, &mut body.filled).await?;
                self.body = None;
                return match (self.header, &*buf) {
                    ([CHANGE_CIPHER_SPEC, ..], [1]) => Ok(1),
                    ([CHANGE_CIPHER_SPEC, ..], _) => Err(Error::Violation(Violation::Record)),
                    _ => Ok(buf.len()),
                };
            }
        }
        // It is asked for in one piece.
        let room = buf.first_chunk_mut().ok_or(Error::Violation(Violation::Record))?;
        *room = self.header;
        Ok(self.header.len())
    }
}

/// Fills up `buf` from `filled` on, which says what is there even if this is given up.
async fn fill<R: Read>(transport: &mut R, buf: &mut [u8], filled: &mut usize) -> Result<(), Error> {
    while let Some(rest) = buf.get_mut(*filled..).filter(|rest| !rest.is_empty()) {
        let read = transport.read(rest).await;
        match read.map_err(|error| Error::Transport(error.kind()))? {
            0 => return Err(Error::Truncated),
            len => *filled = filled.saturating_add(len),
        }
    }
    Ok(())
}
