//! Commands that wait at the server, and how they are made to wait in slices.
//!
//! A server that holds a command back reads nothing behind it, so no `AUTH` would get through
//! until the command is done. A long wait is therefore cut into slices, between which there is
//! room for a login. Nothing is lost in between: what comes while no slice waits is there when
//! the next one begins. (A second, blocked connection would be wrong: what was given to the first
//! after the caller left it is gone.)

use core::time::Duration;

use super::{Effect, is};
use crate::number::unsigned;
use crate::resp::{Arg, Kind, Value};
use crate::time::{Instant, millis};

/// How a blocking command says how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Which argument it is.
    at: usize,
    unit: Unit,
    /// `None` is for ever.
    pub(super) time: Option<Duration>,
    /// Whether it may be sent again when a slice of it is over.
    repeatable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Seconds with a fraction.
    Seconds,
    Milliseconds,
}

/// Where a command says it.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// In seconds, in the first argument or the last one.
    SecondsFirst,
    SecondsLast,
    /// In milliseconds behind `BLOCK`, which may be left out.
    Streams,
    /// In milliseconds in this argument, for replicas that the command before is to reach.
    Replicas {
        at: u8,
    },
}

impl Block {
    /// How `args` block, which are of this shape, if they do.
    pub(super) fn of(shape: Shape, args: &[Arg<'_>]) -> Option<Self> {
        let last = args.len().checked_sub(1)?;
        let (at, unit, repeatable) = match shape {
            Shape::SecondsLast => (last, Unit::Seconds, true),
            Shape::SecondsFirst => (1, Unit::Seconds, true),
            Shape::Streams => {
                let option = |name| (1..args.len()).find(|at| is(args, *at, name));
                let streams = option("STREAMS")?;
                let at = option("BLOCK").filter(|at| *at < streams)? + 1;
                // `$` is what is new from now on: said again later, it would leave something out.
                (at, Unit::Milliseconds, newest(args).next().is_none())
            }
            Shape::Replicas { at } => (at.into(), Unit::Milliseconds, false),
        };
        // What is no time is an error, which the server reports at once.
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

/// How `args` block, if they do.
fn block(args: &[Arg<'_>]) -> Option<Block> {
    match Effect::of(args)? {
        Effect::Block(shape) => Block::of(shape, args),
        _ => None,
    }
}

/// The streams of which the `XREAD` in `args` wants what is new from now on: for each, which
/// argument its name is, and which one is the `$` that says so.
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

/// `12.5` in milliseconds, rounded up.
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
    /// Takes the blocking command `args`. `None` if it doesn't block, or can't be sent again.
    pub fn of(now: Instant, args: &[Arg<'_>]) -> Option<Self> {
        let block = block(args).filter(|block| block.repeatable)?;
        let until = block.time.map_or(Instant::FAR_FUTURE, |time| now.plus(time));
        Some(Self { block, until })
    }

    /// The time that the next slice should wait for, at most `slice`: which argument to put it
    /// in, and what to put there.
    pub fn next<'t>(
        &self,
        now: Instant,
        slice: Duration,
        text: &'t mut TimeText,
    ) -> (usize, Arg<'t>) {
        // Never zero: that would be for ever.
        let time = millis(self.until.since(now).min(slice)).max(1);
        let arg = match self.block.unit {
            Unit::Milliseconds => Arg::Int(i64::try_from(time).unwrap_or(i64::MAX)),
            Unit::Seconds => Arg::Bytes(text.write(time)),
        };
        (self.block.at, arg)
    }

    /// Whether `reply` is the command's reply: something came, or its time is over.
    pub fn is_done(&self, now: Instant, reply: Value<'_>) -> bool {
        reply.kind() != Kind::Null || now >= self.until
    }
}

/// Room for the time of a slice.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeText([u8; 24]);

impl TimeText {
    /// `millis` as seconds with three places.
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
