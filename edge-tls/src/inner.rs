//! What may be inside of a record.
//!
//! A record is looked at twice. Its header passes the [guard](crate::guard), before anything is
//! decrypted; its content comes here, from the [cipher](crate::suite), right after it has been
//! authenticated and before it is used. The cipher knows nothing of the connection, so
//! the guard tells it how far the handshake has come, in the version of the header: that has to be
//! 3.3, carries no information, and is put back before the record is authenticated.
//!
//! What a server may send, and what becomes of it:
//!
//! | content | during the handshake | afterwards |
//! |---|---|---|
//! | none, or nothing but padding | `Violation` | `Violation` |
//! | application data | `Violation` | passed on, empty or not |
//! | handshake messages | only in the order of RFC 8446 section 2, each whole and filled to its last byte, and nothing after Finished | tickets are dropped; all else is a `Violation` |
//! | KeyUpdate | `Violation` | `KeyUpdate` |
//! | a message that goes on in the next record | `Fragmented` | `Fragmented` |
//! | close_notify | `Alert` | end of the stream |
//! | other alerts | `Alert` | `Alert` |
//! | all else | `Violation` | `Violation` |
//!
//! A cipher can only say yes or no. So that a person learns more than that, the content of a record
//! that is refused is replaced by a short one, which leads to an error that nothing else
//! leads to: see [`Refusal`].

use embedded_tls::TlsError;

use crate::error::{Error, Violation};

/// How far the handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing has happened.
    New,
    /// The server's hello is awaited.
    Hello,
    /// The hello has come; its extensions are next.
    Extensions,
    /// The server's certificates are next.
    Certificate,
    /// They have been verified; the proof of owning them is next.
    Proof,
    /// It has been verified; the end of the handshake is next.
    Finished,
    /// The handshake is over.
    Open,
}

/// What the version of a header says in place of 3.3, by what is next.
const MARKS: [(u8, Progress); 5] = [
    (0x80, Progress::Extensions),
    (0x81, Progress::Certificate),
    (0x82, Progress::Proof),
    (0x83, Progress::Finished),
    (0x84, Progress::Open),
];

impl Progress {
    /// What to write in place of the second byte of the version.
    pub(crate) fn mark(self) -> Option<u8> {
        MARKS.iter().find(|(_, progress)| *progress == self).map(|(mark, _)| *mark)
    }

    pub(crate) fn of_mark(mark: u8) -> Option<Self> {
        MARKS.iter().find(|(known, _)| *known == mark).map(|(_, progress)| *progress)
    }
}

/// Types of content and of handshake messages, and alerts.
pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(crate) const ALERT: u8 = 21;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const APPLICATION_DATA: u8 = 23;
const NEW_SESSION_TICKET: u8 = 4;
const ENCRYPTED_EXTENSIONS: u8 = 8;
const CERTIFICATE: u8 = 11;
const CERTIFICATE_REQUEST: u8 = 13;
const CERTIFICATE_VERIFY: u8 = 15;
const FINISHED: u8 = 20;
const KEY_UPDATE: u8 = 24;
const CLOSE_NOTIFY: u8 = 0;

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordAction {
    /// It goes on as it is.
    Pass,
    /// It goes on as this content.
    Replace(&'static [u8]),
}

/// Why a record does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Message,
    Fragmented,
    KeyUpdate,
    Alert,
}

impl Refusal {
    /// A content that leads to an error of its own: a type of record that is not for the inside,
    /// one that there is not, and tickets whose nonce, or whose ticket, is not all there.
    const fn content(self) -> &'static [u8] {
        match self {
            Self::KeyUpdate => &[CHANGE_CIPHER_SPEC],
            Self::Alert => &[0xff],
            Self::Fragmented => {
                &[NEW_SESSION_TICKET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, HANDSHAKE]
            }
            Self::Message => {
                &[NEW_SESSION_TICKET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, HANDSHAKE]
            }
        }
    }

    /// The way back, for an error that came after the server's hello.
    pub(crate) const fn of(error: &TlsError) -> Option<Self> {
        match error {
            TlsError::Unimplemented => Some(Self::KeyUpdate),
            TlsError::InvalidRecord => Some(Self::Alert),
            TlsError::InvalidNonceLength => Some(Self::Fragmented),
            TlsError::InvalidTicketLength => Some(Self::Message),
            _ => None,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Message => Self::Violation(Violation::Message),
            Refusal::Fragmented => Self::Fragmented,
            Refusal::KeyUpdate => Self::KeyUpdate,
            Refusal::Alert => Self::Alert,
        }
    }
}

/// Judges the content of a record. `finished` is the length of a Finished message of the suite.
pub(crate) fn judge(content: &[u8], progress: Progress, finished: usize) -> RecordAction {
    look(content, progress, finished)
        .unwrap_or_else(|refusal| RecordAction::Replace(refusal.content()))
}

fn look(content: &[u8], progress: Progress, finished: usize) -> Result<RecordAction, Refusal> {
    let open = progress == Progress::Open;
    let end = content.iter().rposition(|byte| *byte != 0).ok_or(Refusal::Message)?;
    let (body, rest) = content.split_at_checked(end).ok_or(Refusal::Message)?;
    match (rest.first(), body) {
        (Some(&APPLICATION_DATA), _) if open => Ok(RecordAction::Pass),
        // The level says nothing since TLS 1.3.
        (Some(&ALERT), [_, CLOSE_NOTIFY]) if open => {
            Ok(RecordAction::Replace(&[1, CLOSE_NOTIFY, ALERT]))
        }
        (Some(&ALERT), [_, _]) => Err(Refusal::Alert),
        (Some(&HANDSHAKE), _) if open => tickets(body),
        (Some(&HANDSHAKE), _) => handshake(body, progress, finished),
        _ => Err(Refusal::Message),
    }
}

/// Drops session tickets: no session is ever resumed.
fn tickets(mut messages: &[u8]) -> Result<RecordAction, Refusal> {
    while !messages.is_empty() {
        match next(&mut messages)? {
            (NEW_SESSION_TICKET, _) => {}
            (KEY_UPDATE, _) => return Err(Refusal::KeyUpdate),
            _ => return Err(Refusal::Message),
        }
    }
    Ok(RecordAction::Replace(&[APPLICATION_DATA]))
}

fn handshake(
    mut messages: &[u8],
    mut progress: Progress,
    finished: usize,
) -> Result<RecordAction, Refusal> {
    if messages.is_empty() {
        return Err(Refusal::Message);
    }
    while !messages.is_empty() {
        let (kind, mut body) = next(&mut messages)?;
        let fields = &mut body;
        progress = match (progress, kind) {
            (Progress::Extensions, ENCRYPTED_EXTENSIONS) => {
                vector(fields, 2)?;
                Progress::Certificate
            }
            (Progress::Certificate, CERTIFICATE_REQUEST) => {
                vector(fields, 1)?;
                vector(fields, 2)?;
                Progress::Certificate
            }
            (Progress::Certificate, CERTIFICATE) => {
                vector(fields, 1)?;
                vector(fields, 3)?;
                Progress::Proof
            }
            (Progress::Proof, CERTIFICATE_VERIFY) => {
                take(fields, 2)?;
                vector(fields, 2)?;
                Progress::Finished
            }
            (Progress::Finished, FINISHED) => {
                take(fields, finished)?;
                Progress::Open
            }
            _ => return Err(Refusal::Message),
        };
        // A message is what its length says, and nothing may hide behind its fields.
        if !body.is_empty() {
            return Err(Refusal::Message);
        }
    }
    Ok(RecordAction::Pass)
}

/// The type and the body of the next message.
fn next<'a>(messages: &mut &'a [u8]) -> Result<(u8, &'a [u8]), Refusal> {
    let kind = take(messages, 1).map_err(|_| Refusal::Fragmented)?;
    let body = vector(messages, 3).map_err(|_| Refusal::Fragmented)?;
    Ok((kind.first().copied().unwrap_or_default(), body))
}

/// A field after its length, which takes so many bytes.
fn vector<'a>(bytes: &mut &'a [u8], width: usize) -> Result<&'a [u8], Refusal> {
    let len = take(bytes, width)?.iter().fold(0, |len, byte| (len << 8) | usize::from(*byte));
    take(bytes, len)
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], Refusal> {
    let (taken, rest) = bytes.split_at_checked(len).ok_or(Refusal::Message)?;
    *bytes = rest;
    Ok(taken)
}
