//! What the core knows about commands: the first words that change a connection's state.
//!
//! This is no catalogue. Nearly all commands are passed on unread; a few open or close a state in
//! which no `AUTH` may be sent, and a few would end the request-reply protocol or the login and are
//! refused.
//!
//! ```
//! use redis_entraid_core::args;
//! use redis_entraid_core::command::{CommandClass, CommandRefused, classify};
//!
//! assert_eq!(classify(args!["GET", "key"]), Ok(CommandClass::Plain));
//! assert_eq!(classify(args!["multi"]), Ok(CommandClass::Multi));
//! assert_eq!(classify(args!["AUTH", "me", "token"]), Err(CommandRefused::Login));
//! ```

mod block;
mod encoded;

use core::fmt;
use core::time::Duration;

use block::{Block, BlockArgument};
pub use block::{Slices, TimeText, newest};
pub use encoded::{EncodeError, EncodedCommand};

use crate::resp::Arg;

/// What a command does to the state of its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CommandClass {
    /// Nothing.
    #[default]
    Plain,
    /// Opens a transaction.
    Multi,
    /// Executes a transaction and unwatches all keys.
    Exec,
    /// Discards a transaction and unwatches all keys.
    Discard,
    /// Watches keys for the next transaction.
    Watch,
    /// Unwatches all keys.
    Unwatch,
    /// Turns `CLIENT TRACKING` on or off.
    Tracking(bool),
    /// Subscribes to this number of names of the topic's kind.
    Subscribe(Topic, u32),
    /// Ends this number of subscriptions; 0 means all of that kind.
    Unsubscribe(Topic, u32),
    /// Blocks at the server for at most this long; `None` means without limit.
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

impl Topic {
    /// Returns the command that subscribes to it.
    pub const fn subscribes(self) -> &'static str {
        match self {
            Self::Channel => "SUBSCRIBE",
            Self::Pattern => "PSUBSCRIBE",
            Self::Shard => "SSUBSCRIBE",
        }
    }

    /// Returns the command that ends a subscription to it.
    pub const fn unsubscribes(self) -> &'static str {
        match self {
            Self::Channel => "UNSUBSCRIBE",
            Self::Pattern => "PUNSUBSCRIBE",
            Self::Shard => "SUNSUBSCRIBE",
        }
    }
}

/// Why a user's command is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CommandRefused {
    /// The command has no words.
    Empty,
    /// `AUTH`, `HELLO` and `RESET`: the connection logs in by itself.
    Login,
    /// `MONITOR`, `SYNC` and `PSYNC` turn the connection into a stream without replies, and
    /// `CLIENT REPLY` takes the replies away.
    Replies,
    /// A subscription where none is possible: in a transaction, or through a client that has no
    /// receiver for messages.
    Subscription,
    /// A RESP2 connection with subscriptions accepts no other commands.
    Subscriber,
    /// It would block for longer than a login may wait. Send it in [slices](Slices).
    Blocking,
    /// It would open a transaction, or watch keys, on a connection that is shared: others' commands
    /// would become a part of it.
    Shared,
}

impl fmt::Display for CommandRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a command needs at least one word",
            Self::Login => "AUTH, HELLO and RESET are not allowed: the connection logs in by itself",
            Self::Replies => "MONITOR, SYNC, PSYNC and CLIENT REPLY are not allowed: they end the replies",
            Self::Subscription => "subscriptions are not possible here: use a subscriber",
            Self::Subscriber => "with RESP2, a subscriber can send no other commands",
            Self::Shared => {
                "MULTI without EXEC and WATCH need a connection that isn't shared: send MULTI to \
                EXEC as one pipeline, or use a client without clones"
            }
            Self::Blocking => {
                "it blocks for longer than a login can wait: use a shorter timeout and repeat it, XREAD with an id instead of $"
            }
        })
    }
}

impl core::error::Error for CommandRefused {}

/// What a known first word means.
#[derive(Clone, Copy)]
enum Effect {
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    Client,
    Subscribe(Topic),
    Unsubscribe(Topic),
    Block(BlockArgument),
    Refused(CommandRefused),
}

/// The known words. A table takes less of a device's flash than comparisons.
const WORDS: [(&str, Effect); 31] = [
    ("MULTI", Effect::Multi),
    ("EXEC", Effect::Exec),
    ("DISCARD", Effect::Discard),
    ("WATCH", Effect::Watch),
    ("UNWATCH", Effect::Unwatch),
    ("AUTH", Effect::Refused(CommandRefused::Login)),
    ("HELLO", Effect::Refused(CommandRefused::Login)),
    ("RESET", Effect::Refused(CommandRefused::Login)),
    ("MONITOR", Effect::Refused(CommandRefused::Replies)),
    ("SYNC", Effect::Refused(CommandRefused::Replies)),
    ("PSYNC", Effect::Refused(CommandRefused::Replies)),
    ("CLIENT", Effect::Client),
    ("SUBSCRIBE", Effect::Subscribe(Topic::Channel)),
    ("PSUBSCRIBE", Effect::Subscribe(Topic::Pattern)),
    ("SSUBSCRIBE", Effect::Subscribe(Topic::Shard)),
    ("UNSUBSCRIBE", Effect::Unsubscribe(Topic::Channel)),
    ("PUNSUBSCRIBE", Effect::Unsubscribe(Topic::Pattern)),
    ("SUNSUBSCRIBE", Effect::Unsubscribe(Topic::Shard)),
    ("BLPOP", Effect::Block(BlockArgument::SecondsLast)),
    ("BRPOP", Effect::Block(BlockArgument::SecondsLast)),
    ("BRPOPLPUSH", Effect::Block(BlockArgument::SecondsLast)),
    ("BLMOVE", Effect::Block(BlockArgument::SecondsLast)),
    ("BZPOPMIN", Effect::Block(BlockArgument::SecondsLast)),
    ("BZPOPMAX", Effect::Block(BlockArgument::SecondsLast)),
    ("BLMPOP", Effect::Block(BlockArgument::SecondsFirst)),
    ("BZMPOP", Effect::Block(BlockArgument::SecondsFirst)),
    ("XREAD", Effect::Block(BlockArgument::Streams)),
    ("XREADGROUP", Effect::Block(BlockArgument::Streams)),
    ("WAIT", Effect::Block(BlockArgument::Replicas { at: 2 })),
    ("WAITAOF", Effect::Block(BlockArgument::Replicas { at: 3 })),
    ("", Effect::Refused(CommandRefused::Empty)),
];

/// The letters that known words begin with, a bit each, by the length of the word: other words,
/// which are nearly all, skip the search.
const LETTERS: [u32; 13] = {
    let mut letters = [0; 13];
    let mut at = 0;
    #[allow(clippy::indexing_slicing, reason = "when this is compiled")]
    while at < WORDS.len() {
        let word = WORDS[at].0.as_bytes();
        letters[word.len()] |= if word.is_empty() { letter(0) } else { letter(word[0]) };
        at += 1;
    }
    letters
};

/// The bit of a letter, in capitals or not.
const fn letter(byte: u8) -> u32 {
    1 << (byte & 31)
}

impl Effect {
    fn of(args: &[Arg<'_>]) -> Option<Self> {
        let word = text(args, 0);
        let first = letter(word.first().copied().unwrap_or_default());
        if LETTERS.get(word.len()).copied().unwrap_or_default() & first == 0 {
            return None;
        }
        let known = |(known, _): &&(&str, Self)| same(word, known);
        WORDS.iter().find(known).map(|(_, effect)| *effect)
    }
}

/// Whether the argument `at` is this word, in capitals or not.
fn is(args: &[Arg<'_>], at: usize, word: &str) -> bool {
    same(text(args, at), word)
}

fn text<'a>(args: &[Arg<'a>], at: usize) -> &'a [u8] {
    match args.get(at) {
        Some(Arg::Bytes(text)) => text,
        _ => &[],
    }
}

fn same(text: &[u8], word: &str) -> bool {
    text.len() == word.len() && text.eq_ignore_ascii_case(word.as_bytes())
}

/// Returns what the command `args` does to the state of its connection.
///
/// # Errors
/// [`CommandRefused`] if a connection can't send it for a user.
pub fn classify(args: &[Arg<'_>]) -> Result<CommandClass, CommandRefused> {
    let others = u32::try_from(args.len().saturating_sub(1)).unwrap_or(u32::MAX);
    Ok(match Effect::of(args) {
        None => CommandClass::Plain,
        Some(Effect::Multi) => CommandClass::Multi,
        Some(Effect::Exec) => CommandClass::Exec,
        Some(Effect::Discard) => CommandClass::Discard,
        Some(Effect::Watch) => CommandClass::Watch,
        Some(Effect::Unwatch) => CommandClass::Unwatch,
        Some(Effect::Client) if is(args, 1, "REPLY") => return Err(CommandRefused::Replies),
        Some(Effect::Client) if is(args, 1, "TRACKING") => {
            CommandClass::Tracking(is(args, 2, "ON"))
        }
        Some(Effect::Client) => CommandClass::Plain,
        Some(Effect::Subscribe(topic)) => CommandClass::Subscribe(topic, others),
        Some(Effect::Unsubscribe(topic)) => CommandClass::Unsubscribe(topic, others),
        Some(Effect::Block(shape)) => Block::of(shape, args)
            .map_or(CommandClass::Plain, |block| CommandClass::Blocking(block.time)),
        Some(Effect::Refused(refused)) => return Err(refused),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    #[test]
    fn commands_that_take_the_connection_away_are_refused() {
        for (args, refused) in [
            (args!["auth", "a", "b"] as &[_], CommandRefused::Login),
            (args!["Hello", 3], CommandRefused::Login),
            (args!["RESET"], CommandRefused::Login),
            (args!["monitor"], CommandRefused::Replies),
            (args!["psync", "?", -1], CommandRefused::Replies),
            (args!["client", "reply", "off"], CommandRefused::Replies),
            (args![""], CommandRefused::Empty),
            (&[], CommandRefused::Empty),
        ] {
            assert_eq!(classify(args), Err(refused), "{args:?}");
        }
        assert_eq!(classify(args!["client", "id"]), Ok(CommandClass::Plain));
        assert_eq!(classify(args!["AUTHENTICATE-WITH-A-VERY-LONG-WORD"]), Ok(CommandClass::Plain));
        assert_eq!(classify(args!["discard"]), Ok(CommandClass::Discard));
    }

    #[test]
    fn commands_that_open_a_state_are_known() {
        for (args, class) in [
            (args!["watch", "k"], CommandClass::Watch),
            (args!["UNWATCH"], CommandClass::Unwatch),
            (args!["CLIENT", "tracking", "on"], CommandClass::Tracking(true)),
            (args!["client", "TRACKING", "off"], CommandClass::Tracking(false)),
            (args!["SUBSCRIBE", "a", "b"], CommandClass::Subscribe(Topic::Channel, 2)),
            (args!["punsubscribe"], CommandClass::Unsubscribe(Topic::Pattern, 0)),
            (args!["SSUBSCRIBE", "a"], CommandClass::Subscribe(Topic::Shard, 1)),
        ] {
            assert_eq!(classify(args), Ok(class), "{args:?}");
        }
    }
}
