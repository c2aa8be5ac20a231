//! What the core has to know about commands: the first words that change a connection's state.
//!
//! There is no catalogue here. Nearly all commands are just passed on; a few open or close a
//! state in which no `AUTH` may be sent, and a few would take the connection out of our hands
//! and are refused.
//!
//! ```
//! use redis_entraid_core::args;
//! use redis_entraid_core::command::{Class, Refused, classify};
//!
//! assert_eq!(classify(args!["GET", "key"]), Ok(Class::Plain));
//! assert_eq!(classify(args!["multi"]), Ok(Class::Multi));
//! assert_eq!(classify(args!["AUTH", "me", "token"]), Err(Refused::Login));
//! ```

use core::fmt;

use crate::resp::Arg;

/// What a command does to the state of its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Class {
    /// Nothing.
    #[default]
    Plain,
    /// Opens a transaction.
    Multi,
    /// Closes a transaction: `EXEC` or `DISCARD`.
    Exec,
}

/// A command that a user of a connection can't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refused {
    /// There are no words.
    Empty,
    /// `AUTH`, `HELLO` and `RESET`: logging in is the connection's own business.
    Login,
    /// `MONITOR`, `SYNC` and `PSYNC` turn the connection into a stream without replies, and
    /// `CLIENT REPLY` takes the replies away.
    Replies,
    /// Subscriptions are not supported on this connection.
    Subscription,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a command needs at least one word",
            Self::Login => "AUTH, HELLO and RESET are the connection's own: it logs in by itself",
            Self::Replies => "MONITOR, SYNC, PSYNC and CLIENT REPLY would end the replies",
            Self::Subscription => "subscriptions are not supported on this connection",
        })
    }
}

impl core::error::Error for Refused {}

/// Says what the command `args` does to its connection.
///
/// # Errors
/// [`Refused`] if it would take the connection out of our hands.
pub fn classify(args: &[Arg<'_>]) -> Result<Class, Refused> {
    let word = |at: usize| Word::of(args.get(at));
    let first = word(0).ok_or(Refused::Empty)?;
    match first.as_bytes() {
        b"MULTI" => Ok(Class::Multi),
        b"EXEC" | b"DISCARD" => Ok(Class::Exec),
        b"AUTH" | b"HELLO" | b"RESET" => Err(Refused::Login),
        b"MONITOR" | b"SYNC" | b"PSYNC" => Err(Refused::Replies),
        b"CLIENT" if word(1).is_some_and(|word| word.as_bytes() == b"REPLY") => {
            Err(Refused::Replies)
        }
        b"SUBSCRIBE" | b"PSUBSCRIBE" | b"SSUBSCRIBE" | b"UNSUBSCRIBE" | b"PUNSUBSCRIBE"
        | b"SUNSUBSCRIBE" => Err(Refused::Subscription),
        _ => Ok(Class::Plain),
    }
}

/// A word in upper case; a longer one than any that we look for is cut off.
struct Word {
    text: [u8; 16],
    len: usize,
}

impl Word {
    fn of(arg: Option<&Arg<'_>>) -> Option<Self> {
        let bytes = match arg? {
            Arg::Bytes(bytes) if !bytes.is_empty() => bytes,
            _ => return None,
        };
        let mut text = [0; 16];
        for (to, from) in text.iter_mut().zip(*bytes) {
            *to = from.to_ascii_uppercase();
        }
        Some(Self { text, len: bytes.len().min(16) })
    }

    fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    #[test]
    fn commands_that_take_the_connection_away_are_refused() {
        for (args, refused) in [
            (args!["auth", "a", "b"] as &[_], Refused::Login),
            (args!["Hello", 3], Refused::Login),
            (args!["RESET"], Refused::Login),
            (args!["monitor"], Refused::Replies),
            (args!["psync", "?", -1], Refused::Replies),
            (args!["client", "reply", "off"], Refused::Replies),
            (args![""], Refused::Empty),
            (&[], Refused::Empty),
        ] {
            assert_eq!(classify(args), Err(refused), "{args:?}");
        }
        assert_eq!(classify(args!["client", "id"]), Ok(Class::Plain));
        assert_eq!(classify(args!["AUTHENTICATE-WITH-A-VERY-LONG-WORD"]), Ok(Class::Plain));
        assert_eq!(classify(args!["discard"]), Ok(Class::Exec));
    }
}
