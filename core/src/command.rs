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

mod block;

use core::fmt;
use core::time::Duration;

use block::block;
pub use block::{Slices, TimeText};

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
    /// Closes a transaction, and forgets what was watched: `EXEC` or `DISCARD`.
    Exec,
    /// Watches keys for the next transaction.
    Watch,
    /// Forgets what was watched.
    Unwatch,
    /// Turns `CLIENT TRACKING` on or off.
    Tracking(bool),
    /// Subscribes to so many of a topic's kind.
    Subscribe(Topic, u32),
    /// Ends so many subscriptions; 0 is all of that kind.
    Unsubscribe(Topic, u32),
    /// Waits at the server for this long, if it has to; `None` is for ever.
    Blocking(Option<Duration>),
}

/// What can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Topic {
    /// A channel, by `SUBSCRIBE`.
    Channel,
    /// A pattern of channels, by `PSUBSCRIBE`.
    Pattern,
    /// A shard channel, by `SSUBSCRIBE`.
    Shard,
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
    /// A subscription where there can't be one: in a transaction, or through a client that has
    /// nobody to give messages to.
    Subscription,
    /// A RESP2 connection with subscriptions takes no other commands.
    Subscriber,
    /// It would block for longer than a login may wait. Send it in [slices](Slices).
    Blocking,
    /// It would open a transaction, or watch keys, on a connection that is shared: others' commands
    /// would become a part of it.
    Shared,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a command needs at least one word",
            Self::Login => "AUTH, HELLO and RESET are the connection's own: it logs in by itself",
            Self::Replies => "MONITOR, SYNC, PSYNC and CLIENT REPLY would end the replies",
            Self::Subscription => "there can be no subscription here: make a subscriber",
            Self::Subscriber => "with RESP2 a subscriber takes no other commands",
            Self::Shared => {
                "MULTI without EXEC and WATCH need a connection that isn't shared: send MULTI to \
                EXEC as one pipeline, or use a client without clones"
            }
            Self::Blocking => "it would block for longer than a login can wait: slice it",
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
    let is = |at: usize, text: &[u8]| word(at).is_some_and(|word| word.as_bytes() == text);
    let others = u32::try_from(args.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let first = word(0).ok_or(Refused::Empty)?;
    Ok(match first.as_bytes() {
        b"MULTI" => Class::Multi,
        b"EXEC" | b"DISCARD" => Class::Exec,
        b"WATCH" => Class::Watch,
        b"UNWATCH" => Class::Unwatch,
        b"AUTH" | b"HELLO" | b"RESET" => return Err(Refused::Login),
        b"MONITOR" | b"SYNC" | b"PSYNC" => return Err(Refused::Replies),
        b"CLIENT" if is(1, b"REPLY") => return Err(Refused::Replies),
        b"CLIENT" if is(1, b"TRACKING") => Class::Tracking(is(2, b"ON")),
        b"SUBSCRIBE" => Class::Subscribe(Topic::Channel, others),
        b"PSUBSCRIBE" => Class::Subscribe(Topic::Pattern, others),
        b"SSUBSCRIBE" => Class::Subscribe(Topic::Shard, others),
        b"UNSUBSCRIBE" => Class::Unsubscribe(Topic::Channel, others),
        b"PUNSUBSCRIBE" => Class::Unsubscribe(Topic::Pattern, others),
        b"SUNSUBSCRIBE" => Class::Unsubscribe(Topic::Shard, others),
        _ => block(args).map_or(Class::Plain, |block| Class::Blocking(block.time)),
    })
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

    #[test]
    fn commands_that_open_a_state_are_known() {
        for (args, class) in [
            (args!["watch", "k"], Class::Watch),
            (args!["UNWATCH"], Class::Unwatch),
            (args!["CLIENT", "tracking", "on"], Class::Tracking(true)),
            (args!["client", "TRACKING", "off"], Class::Tracking(false)),
            (args!["SUBSCRIBE", "a", "b"], Class::Subscribe(Topic::Channel, 2)),
            (args!["punsubscribe"], Class::Unsubscribe(Topic::Pattern, 0)),
            (args!["SSUBSCRIBE", "a"], Class::Subscribe(Topic::Shard, 1)),
        ] {
            assert_eq!(classify(args), Ok(class), "{args:?}");
        }
    }
}
