//! Why a connection could not be made.

use core::fmt;

use crate::transport::{ConnectError, ConnectErrorKind, Unanswered};

/// Why no connection could be made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DialError<E> {
    /// The connector says why.
    Failed(E),
    /// It took too long.
    Unanswered(Unanswered),
}

// The words of `Display`: a derived one would take 4.7 kB of a device's flash, since a `dyn Error` has
// both.
impl<E: fmt::Display> fmt::Debug for DialError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<E: fmt::Display> fmt::Display for DialError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Unanswered(unanswered) => unanswered.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for DialError<E> {}

impl<E: ConnectError> ConnectError for DialError<E> {
    fn kind(&self) -> ConnectErrorKind {
        match self {
            Self::Failed(error) => error.kind(),
            Self::Unanswered(unanswered) => unanswered.kind(),
        }
    }
}
