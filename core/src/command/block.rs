//! Blocking commands, and how they are sent in slices.
//!
//! While a command blocks, the server reads nothing behind it, so no `AUTH` would get through
//! until the command is done. A long block is therefore cut into slices, between which there is
//! room for a login. Nothing is lost in between: what arrives while no slice waits is still there
//! when the next one begins. (A second, blocked connection would lose data: an element that the
//! server hands to it after the caller gave up is gone.)

use core::time::Duration;

use super::{Effect, is};
use crate::number::unsigned;
use crate::resp::{Arg, Value, ValueKind};
use crate::time::{Instant, millis};

/// Where and how a blocking command states its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The argument's index.
    at: usize,
    unit: Unit,
    /// `None` means without limit.
    pub(super) time: Option<Duration>,
    /// Whether it may be repeated after a slice.
    repeatable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Seconds with a fraction.
    Seconds,
    Milliseconds,
}

/// Where a command states its timeout.
#[derive(Clone, Copy)]
pub(super) enum BlockArgument {
    /// In seconds, in the first argument or the last one.
    SecondsFirst,
    SecondsLast,
    /// In milliseconds behind `BLOCK`, which may be left out.
    Streams,
    /// In milliseconds in this argument: `WAIT`, `WAITAOF`.
    Replicas {
        at: u8,
    },
}

impl Block {
    /// Returns how `args`, which have this shape, block; `None` if they don't.
    pub(super) fn of(shape: BlockArgument, args: &[Arg<'_>]) -> Option<Self> {
        let last = args.len().checked_sub(1)?;
        let (at, unit, repeatable) = match shape {
            BlockArgument::SecondsLast => (last, Unit::Seconds, true),
            BlockArgument::SecondsFirst => (1, Unit::Seconds, true),
            BlockArgument::Streams => {
                let option = |name| (1..args.len()).find(|at| is(args, *at, name));
                let streams = option("STREAMS")?;
                let at = option("BLOCK").filter(|at| *at < streams)? + 1;
                // `$` means entries added from now on: repeated later, it would skip some.
                (at, Unit::Milliseconds, newest(args).next().is_none())
            }
            BlockArgument::Replicas { at } => (at.into(), Unit::Milliseconds, false),
        };
        // An invalid timeout doesn't block: the server reports the error at once.
        let millis = match (args.get(at)?, unit) {
            (Arg::Int(time), Unit::Milliseconds) => u64::try_from(*time).ok()?,
            (Arg::Int(time), Unit::Seconds) => u64::try_from(*time).ok()?.saturating_mul(1000),
            (Arg::Bytes(text), Unit::Milliseconds) => unsigned(text)?,
            (Arg::Bytes(text), Unit::Seconds) => seconds(text)?,
        };
        let time = (millis > 0).then(|| Duration::from_millis(millis));
        Some(Self { at, unit, time, repeatable })
    }
}

/// Returns how `args` block; `None` if they don't.
fn block(args: &[Arg<'_>]) -> Option<Block> {
    match Effect::of(args)? {
        Effect::Block(shape) => Block::of(shape, args),
        _ => None,
    }
}

/// Returns the streams that the `XREAD` in `args` reads from `$`, entries added from now on: for
/// each, the index of its name and the index of its `$`.
///
/// Such a command can be sent in slices when each `$` is replaced by the stream's last id
/// (`last-generated-id` of `XINFO STREAM`), or `0-0` if there is no such stream.
///
/// ```
/// use redis_entraid_core::args;
/// use redis_entraid_core::command::newest;
///
/// let command = args!["XREAD", "BLOCK", 0, "STREAMS", "a", "b", "0-7", "$"];
/// assert_eq!(newest(command).collect::<Vec<_>>(), [(5, 7)]);
/// ```
pub fn newest(args: &[Arg<'_>]) -> impl Iterator<Item = (usize, usize)> {
    let is_read = is(args, 0, "XREAD");
    let streams = (1..args.len()).find(|at| is_read && is(args, *at, "STREAMS"));
    let first = streams.map_or(args.len(), |at| at + 1);
    let count = (args.len() - first) / 2;
    (first..first + count).map(move |at| (at, at + count)).filter(|(_, id)| is(args, *id, "$"))
}

/// Parses seconds such as `12.5`. Returns milliseconds, rounded up.
fn seconds(text: &[u8]) -> Option<u64> {
    let dot = text.iter().position(|&byte| byte == b'.').unwrap_or(text.len());
    let whole = match text.get(..dot)? {
        b"" => 0,
        whole => unsigned(whole)?,
    };
    let mut fraction = 0;
    let mut place = 1000;
    for &byte in text.get(dot + 1..).unwrap_or_default() {
        let digit = u64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
        if place == 1 {
            fraction += u64::from(digit > 0);
            break;
        }
        place /= 10;
        fraction += digit * place;
    }
    Some(whole.saturating_mul(1000).saturating_add(fraction))
}

/// A blocking command that is sent in slices.
///
/// ```
/// use core::time::Duration;
/// use redis_entraid_core::args;
/// use redis_entraid_core::command::{Slices, TimeText};
/// use redis_entraid_core::resp::{Arg, Value};
/// use redis_entraid_core::time::Instant;
///
/// let now = Instant::from_millis(0);
/// let command = args!["BLPOP", "queue", 30];
/// let slices = Slices::of(now, command).unwrap();
/// // The first slice waits for ten seconds of the thirty: argument 2 says so.
/// let mut text = TimeText::default();
/// let (at, time) = slices.next(now, Duration::from_secs(10), &mut text);
/// assert_eq!((at, time), (2, Arg::Bytes(b"10.000")));
/// // Nothing came, and time is left: send the next one.
/// let nothing = Value::new(b"_\r\n").unwrap();
/// assert!(!slices.is_done(now + Duration::from_secs(10), nothing));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Slices {
    block: Block,
    until: Instant,
}

impl Slices {
    /// Slices the blocking command `args`. `None` if it doesn't block, or can't be repeated.
    pub fn of(now: Instant, args: &[Arg<'_>]) -> Option<Self> {
        let block = block(args).filter(|block| block.repeatable)?;
        let until = block.time.map_or(Instant::FAR_FUTURE, |time| now.plus(time));
        Some(Self { block, until })
    }

    /// Returns the timeout of the next slice, at most `slice`: the index of the argument to put it
    /// in, and the argument.
    pub fn next<'t>(
        &self,
        now: Instant,
        slice: Duration,
        text: &'t mut TimeText,
    ) -> (usize, Arg<'t>) {
        // Never zero: that would block without limit.
        let time = millis(self.until.since(now).min(slice)).max(1);
        let arg = match self.block.unit {
            Unit::Milliseconds => Arg::Int(i64::try_from(time).unwrap_or(i64::MAX)),
            Unit::Seconds => Arg::Bytes(text.write(time)),
        };
        (self.block.at, arg)
    }

    /// Returns whether `reply` answers the whole command: it is not null, or its time is over.
    pub fn is_done(&self, now: Instant, reply: Value<'_>) -> bool {
        reply.kind() != ValueKind::Null || now >= self.until
    }
}

/// Memory for the timeout of a slice.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeText([u8; 24]);

impl TimeText {
    /// Writes `millis` as seconds with three decimal places.
    fn write(&mut self, millis: u64) -> &[u8] {
        let (mut whole, mut part) = (millis / 1000, millis % 1000);
        let len = self.0.len();
        let mut start = len;
        for (at, slot) in self.0.iter_mut().enumerate().rev() {
            *slot = match len - at {
                1..=3 => {
                    let digit = part % 10;
                    part /= 10;
                    b'0' + digit as u8
                }
                4 => b'.',
                _ => {
                    let digit = whole % 10;
                    whole /= 10;
                    b'0' + digit as u8
                }
            };
            start = at;
            if len - at >= 5 && whole == 0 {
                break;
            }
        }
        self.0.get(start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    #[test]
    fn every_blocking_command_says_its_time_in_its_own_place() {
        let seconds = |n| Some(Some(Duration::from_secs(n)));
        let ms = |n| Some(Some(Duration::from_millis(n)));
        for (args, time) in [
            (args!["BLPOP", "a", "b", 5], seconds(5)),
            (args!["brpop", "a", "0.25"], ms(250)),
            (args!["BLMOVE", "a", "b", "LEFT", "RIGHT", "2.0001"], ms(2001)),
            (args!["BRPOPLPUSH", "a", "b", ".5"], ms(500)),
            (args!["BZPOPMIN", "z", 0], Some(None)),
            (args!["BLMPOP", 3, 1, "a", "LEFT"], seconds(3)),
            (args!["BZMPOP", "1.5", 1, "a", "MIN"], ms(1500)),
            (args!["XREAD", "COUNT", 1, "BLOCK", 700, "STREAMS", "s", "0"], ms(700)),
            (args!["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"], Some(None)),
            (args!["WAIT", 1, 100], ms(100)),
            (args!["WAITAOF", 1, 0, 100], ms(100)),
            (args!["XREAD", "STREAMS", "BLOCK", "0"], None),
            (args!["BLPOP", "a", "soon"], None),
            (args!["BLPOP", "a", -1], None),
            (args!["LPOP", "a"], None),
            (args!["BLPOP"], None),
        ] {
            assert_eq!(block(args).map(|block| block.time), time, "{args:?}");
        }
    }

    #[test]
    fn slices_add_up_to_the_whole_and_are_never_zero() {
        let mut text = TimeText::default();
        let at = |secs: u64| Instant::from_millis(secs * 1000);
        let slices = Slices::of(at(0), args!["BLPOP", "a", "25.5"]).unwrap();
        let slice = Duration::from_secs(10);
        assert_eq!(slices.next(at(0), slice, &mut text), (2, Arg::Bytes(b"10.000")));
        assert_eq!(slices.next(at(20), slice, &mut text), (2, Arg::Bytes(b"5.500")));
        assert_eq!(slices.next(at(26), slice, &mut text), (2, Arg::Bytes(b"0.001")));
        let nothing = Value::new(b"*-1\r\n").unwrap();
        assert!(!slices.is_done(at(25), nothing) && slices.is_done(at(26), nothing));
        assert!(slices.is_done(at(1), Value::new(b"*0\r\n").unwrap()));
        let forever = Slices::of(at(0), args!["XREAD", "BLOCK", 0, "STREAMS", "s", "0"]).unwrap();
        assert_eq!(forever.next(at(99), slice, &mut text), (2, Arg::Int(10_000)));
        assert!(!forever.is_done(at(1_000_000), nothing));
    }

    #[test]
    fn what_would_leave_something_out_is_not_sliced() {
        let now = Instant::default();
        assert!(Slices::of(now, args!["XREAD", "BLOCK", 0, "STREAMS", "s", "$"]).is_none());
        // A stream may be called so, and a group has no such id.
        assert!(Slices::of(now, args!["XREAD", "BLOCK", 0, "STREAMS", "$", "0"]).is_some());
        let group = args!["XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", "$"];
        assert!(Slices::of(now, group).is_some());
        assert!(Slices::of(now, args!["WAIT", 1, 0]).is_none());
        assert!(Slices::of(now, args!["GET", "a"]).is_none());
    }
}
