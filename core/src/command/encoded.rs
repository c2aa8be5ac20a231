//! A command as it is sent.

use core::fmt;

use super::{CommandClass, CommandRefused, classify};
use crate::resp::{Arg, encode, encoded_len};
use crate::storage::{Buffer, CapacityError};

/// A command in RESP, and its [class](CommandClass): what a queue keeps, and a connection sends as
/// it is.
#[derive(Clone, Copy)]
#[must_use]
pub struct EncodedCommand<'a> {
    pub(crate) class: CommandClass,
    pub(crate) bytes: &'a [u8],
}

impl<'a> EncodedCommand<'a> {
    /// Encodes `args` at the front of `memory`. [`encoded_len`] says how much it takes.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn encode(args: &[Arg<'_>], memory: &'a mut [u8]) -> Result<Self, EncodeError> {
        let class = classify(args).map_err(EncodeError::Refused)?;
        let (len, capacity) = (encoded_len(args), memory.len());
        let Some(bytes) = memory.get_mut(..len) else {
            return Err(EncodeError::TooLarge(CapacityError::new(Buffer::Transmit, len, capacity)));
        };
        let mut rest = &mut *bytes;
        encode(args, &mut |piece| {
            if let Some((room, behind)) =
                core::mem::take(&mut rest).split_at_mut_checked(piece.len())
            {
                room.copy_from_slice(piece);
                rest = behind;
            }
        });
        Ok(Self::from_parts(class, bytes))
    }

    /// Puts together what [`class`](Self::class) and [`bytes`](Self::bytes) returned, for a queue that
    /// keeps both. Anything else can mix up the replies of the connection.
    pub const fn from_parts(class: CommandClass, bytes: &'a [u8]) -> Self {
        Self { class, bytes }
    }

    /// Returns what it does to the state of its connection.
    pub const fn class(self) -> CommandClass {
        self.class
    }

    /// Returns its bytes, as they are sent.
    pub const fn bytes(self) -> &'a [u8] {
        self.bytes
    }
}

// Without the bytes, which may be a user's secrets.
impl fmt::Debug for EncodedCommand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EncodedCommand").field(&self.class).finish()
    }
}

/// Why a command can't be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EncodeError {
    /// A connection can't send it for a user.
    Refused(CommandRefused),
    /// The memory is too small for it.
    TooLarge(CapacityError),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::TooLarge(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for EncodeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    #[test]
    fn an_encoded_command_has_its_class_and_needs_room_for_all_of_it() {
        let mut memory = [0; 25];
        let command = EncodedCommand::encode(args!["watch", "k"], &mut memory).unwrap();
        assert_eq!(command.class(), CommandClass::Watch);
        assert_eq!(command.bytes(), b"*2\r\n$5\r\nwatch\r\n$1\r\nk\r\n");
        let short = EncodedCommand::encode(args!["watch", "k"], &mut memory[..21]).unwrap_err();
        assert_eq!(short, EncodeError::TooLarge(CapacityError::new(Buffer::Transmit, 22, 21)));
        let refused = EncodedCommand::encode(args!["AUTH", "x"], &mut memory).unwrap_err();
        assert_eq!(refused, EncodeError::Refused(CommandRefused::Login));
    }
}
