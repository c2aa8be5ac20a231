//! The keys of a command.
//!
//! ```
//! use redis_entraid_core::args;
//! use redis_entraid_core::cluster::keys;
//! use redis_entraid_core::resp::Arg;
//!
//! let command = args!["EVAL", "return 1", 2, "a", "b", "an argument"];
//! let found: Vec<_> = keys(command).unwrap().collect();
//! assert_eq!(found, [(3, Arg::Bytes(b"a")), (4, Arg::Bytes(b"b"))]);
//! assert!(keys(args!["A.NEW.WORD", "a"]).is_none());
//! ```

use super::route::Merge;
use super::table::{self, Shape};
use super::words::Words;
use crate::number::unsigned;
use crate::resp::Arg;

/// Returns the keys of a command. `None` if its name isn't known: a server's `COMMAND GETKEYS` may know
/// it.
///
/// A command that lacks its keys, or says that it has more of them than words, has none.
pub fn keys<'a>(command: impl Into<Words<'a>>) -> Option<Keys<'a>> {
    let words = command.into();
    Shape::of(&words).map(|shape| Keys::of(shape, words))
}

/// The keys of a command: the index of each, the command's name being 0, and the key itself.
#[derive(Clone, Debug)]
pub struct Keys<'a> {
    words: Words<'a>,
    /// The index of the next word.
    at: usize,
    /// The indexes from `first` to before `end`, each `step`, and `alone`.
    first: usize,
    end: usize,
    step: usize,
    alone: usize,
    merge: Option<Merge>,
}

impl Shape {
    /// The shape of a command, by its first words. `None` if it isn't known.
    pub(super) fn of(words: &Words<'_>) -> Option<Self> {
        let mut words = words.clone();
        let Arg::Bytes(name) = words.next()? else { return None };
        let second = match words.next() {
            Some(Arg::Bytes(second)) => second,
            _ => &[],
        };
        table::shape(name, second)
    }
}

impl<'a> Keys<'a> {
    #[inline(never)]
    pub(super) fn of(shape: Shape, words: Words<'a>) -> Self {
        let len = words.left();
        let mut keys =
            Self { words, at: 0, first: 1, end: 0, step: 1, alone: usize::MAX, merge: None };
        match shape {
            Shape::Range { first, last, step } => {
                let last = isize::from(last);
                keys.first = first.into();
                keys.end = match usize::try_from(last) {
                    Ok(last) => last.saturating_add(1).min(len),
                    Err(_) => (len + 1).saturating_sub(last.unsigned_abs()),
                };
                keys.step = step.into();
            }
            Shape::Divisible { step, merge } => {
                let step = usize::from(step);
                // A server refuses one that ends in the middle of a pair, and executes nothing of it.
                let is_whole = len > 1 && (len - 1).is_multiple_of(step);
                (keys.end, keys.step, keys.merge) = (len, step, is_whole.then_some(merge));
            }
            Shape::Counted { number, step } => keys.counted(number.into(), step.into()),
            Shape::CountedInto => {
                keys.counted(2, 1);
                if keys.end > 0 {
                    keys.alone = 1;
                }
            }
            Shape::Streams { from } => {
                let name = keys.find(from.into(), &|word| word.eq_ignore_ascii_case(b"STREAMS"));
                let first = name.map_or(len, |name| name + 1);
                (keys.first, keys.end) = (first, first + len.saturating_sub(first) / 2);
            }
            Shape::Sort => {
                keys.end = len.min(2);
                keys.alone = keys.stored_by_sort().unwrap_or(usize::MAX);
            }
            Shape::Radius { from } => {
                let stores = |word: &[u8]| {
                    word.eq_ignore_ascii_case(b"STORE") || word.eq_ignore_ascii_case(b"STOREDIST")
                };
                keys.end = len.min(2);
                keys.alone = keys.find(from.into(), &stores).map_or(usize::MAX, |name| name + 1);
            }
            Shape::Keyless | Shape::All(_) | Shape::OneNode | Shape::Refused | Shape::Container => {
            }
        }
        keys
    }

    /// The keys behind the word `number`, if there are as many as it says.
    fn counted(&mut self, number: usize, step: usize) {
        let first = number + 1;
        let count = match self.words.clone().nth(number) {
            Some(Arg::Int(count)) => u64::try_from(count).ok(),
            Some(Arg::Bytes(text)) => unsigned(text),
            None => None,
        };
        let count = count.and_then(|count| usize::try_from(count).ok());
        let end = count.and_then(|count| count.checked_mul(step)?.checked_add(first));
        if let Some(end) = end.filter(|end| *end > first && *end <= self.words.left()) {
            (self.first, self.end, self.step) = (first, end, step);
        }
    }

    /// The index of the first word from `from` on that is so.
    fn find(&self, from: usize, is: &dyn Fn(&[u8]) -> bool) -> Option<usize> {
        let mut words = self.words.clone().enumerate().skip(from);
        words.find(|(_, word)| matches!(word, Arg::Bytes(word) if is(word))).map(|(at, _)| at)
    }

    /// The index of the key behind the last `STORE`, which is no pattern behind `BY` or `GET`.
    fn stored_by_sort(&self) -> Option<usize> {
        let mut words = self.words.clone().enumerate().skip(2);
        let mut stored = None;
        while let Some((at, word)) = words.next() {
            let Arg::Bytes(word) = word else { continue };
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if is("BY") || is("GET") {
                words.next();
            } else if is("LIMIT") {
                words.nth(1);
            } else if is("STORE") {
                stored = words.next().map(|_| at + 1).or(stored);
            }
        }
        stored
    }

    /// Returns how the replies become one if the command is divided, each part with the keys of one
    /// slot. `None` if it means something else then. Words between two keys belong to the one before.
    ///
    /// No server keeps such parts together: others may see one done and the next one not.
    pub const fn divides(&self) -> Option<Merge> {
        self.merge
    }
}

impl<'a> Iterator for Keys<'a> {
    type Item = (usize, Arg<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let alone = self.alone != usize::MAX && self.at <= self.alone;
            if self.at >= self.end && !alone {
                return None;
            }
            let (at, word) = (self.at, self.words.next()?);
            self.at += 1;
            if at == self.first && at < self.end {
                self.first += self.step;
                return Some((at, word));
            }
            if at == self.alone {
                return Some((at, word));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;
    use crate::command::EncodedCommand;
    use std::vec::Vec;

    #[test]
    fn keys_are_found_in_every_shape() {
        for (args, positions) in [
            (args!["GET", "a"], &[1][..]),
            (args!["get", 7], &[1]),
            (args!["GET"], &[]),
            (args!["LMOVE", "a", "b", "LEFT", "LEFT"], &[1, 2]),
            (args!["RENAME", "a"], &[1]),
            (args!["DEL", "a", "b", "c"], &[1, 2, 3]),
            (args!["MSET", "a", 1, "b", 2], &[1, 3]),
            (args!["MSET", "a", 1, "b"], &[1, 3]),
            (args!["BLPOP", "a", "b", 0], &[1, 2]),
            (args!["BLPOP", 0], &[]),
            (args!["BLPOP"], &[]),
            (args!["BITOP", "AND", "d", "a", "b"], &[2, 3, 4]),
            (args!["OBJECT", "ENCODING", "a"], &[2]),
            (args!["OBJECT", "HELP"], &[]),
            (args!["XGROUP", "CREATE", "s", "g", "$"], &[2]),
            (args!["MEMORY", "USAGE", "a", "SAMPLES", 5], &[2]),
            (args!["DEBUG", "OBJECT", "a"], &[2]),
            (args!["DEBUG", "SLEEP", "0"], &[]),
            (args!["EVAL", "x", 2, "a", "b", "c"], &[3, 4]),
            (args!["EVAL", "x", "2", "a", "b", "c"], &[3, 4]),
            (args!["EVAL", "x", 0, "c"], &[]),
            (args!["EVAL", "x", 3, "a", "b"], &[]),
            (args!["EVAL", "x", -1, "a"], &[]),
            (args!["EVAL", "x", "two", "a", "b"], &[]),
            (args!["EVAL", "x", i64::MAX, "a"], &[]),
            (args!["EVAL", "x", "18446744073709551615", "a"], &[]),
            (args!["EVAL", "x"], &[]),
            (args!["MSETEX", 2, "a", 1, "b", 2, "EX", 9], &[2, 4]),
            (args!["BLMPOP", 0, 2, "a", "b", "LEFT"], &[3, 4]),
            (args!["ZUNIONSTORE", "d", 2, "a", "b", "WEIGHTS", 1, 2], &[1, 3, 4]),
            (args!["ZUNIONSTORE", "d", 9, "a"], &[]),
            (args!["ZINTERCARD", 2, "a", "b", "LIMIT", 1], &[2, 3]),
            (args!["XREAD", "COUNT", 1, "STREAMS", "a", "b", 0, 0], &[4, 5]),
            (args!["XREAD", "STREAMS", "a", "b", 0], &[2]),
            (args!["XREAD", "STREAMS"], &[]),
            (args!["XREAD", "COUNT", 1], &[]),
            (args!["XREADGROUP", "GROUP", "streams", "c", "STREAMS", "a", ">"], &[5]),
            (args!["SORT", "a"], &[1]),
            (args!["SORT", "a", "BY", "STORE", "GET", "STORE", "LIMIT", 0, 9], &[1]),
            (args!["SORT", "a", "ALPHA", "STORE", "b", "STORE", "c"], &[1, 6]),
            (args!["SORT", "a", "STORE"], &[1]),
            (args!["SORT"], &[]),
            (args!["GEORADIUS", "a", 1, 1, 9, "km", "STOREDIST", "b"], &[1, 7]),
            (args!["GEORADIUSBYMEMBER", "a", "STORE", 9, "km", "STORE", "b"], &[1, 6]),
            (args!["GEORADIUS", "a", 1, 1, 9, "km", "STORE"], &[1]),
            (args!["SSUBSCRIBE", "a", "b"], &[1, 2]),
            (args!["JSON.MGET", "a", "b", "$"], &[1, 2]),
            (args!["JSON.MSET", "a", "$", 1, "b", "$", 2], &[1, 4]),
            (args!["JSON.DEBUG", "MEMORY", "a", "$"], &[2]),
            (args!["JSON.DEBUG", "HELP"], &[]),
            (args!["TS.MADD", "a", 1, 2, "b", 3, 4], &[1, 4]),
            (args!["TS.CREATERULE", "a", "b", "AGGREGATION", "avg", 9], &[1, 2]),
            (args!["TS.MGET", "FILTER", "a=b"], &[]),
            (args!["BF.INSERT", "a", "ITEMS", "b"], &[1]),
            (args!["CMS.MERGE", "a", 2, "b", "c", "WEIGHTS", 1, 2], &[1, 3, 4]),
            (args!["tdigest.merge", "a", 1, "b", "COMPRESSION", 9], &[1, 3]),
            (args!["TDIGEST.TRIMMED_MEAN", "a", 0, 1], &[1]),
            (args!["FT.SEARCH", "a", "b"], &[]),
            (args!["FT.SUGADD", "a", "b", 1], &[1]),
            (args!["MIGRATE", "h", 1, "a", 0, 9], &[]),
            (args!["PING", "a"], &[]),
        ] {
            let found: Vec<_> = keys(args).unwrap().map(|(at, _)| at).collect();
            assert_eq!(found, positions, "{args:?}");
            let mut memory = [0; 256];
            if let Ok(command) = EncodedCommand::encode(args, &mut memory) {
                let found: Vec<_> = keys(command).unwrap().map(|(at, _)| at).collect();
                assert_eq!(found, positions, "{args:?}, encoded");
            }
        }
    }

    #[test]
    fn what_is_not_known_has_no_keys_that_are_known() {
        assert!(keys(&[] as &[Arg<'_>]).is_none());
        assert!(keys(args![""]).is_none());
        assert!(keys(args![7, "a"]).is_none());
        assert!(keys(args!["FT.NEW", "a"]).is_none());
    }

    #[test]
    fn only_commands_that_mean_the_same_in_parts_may_be_divided() {
        let merge = |args: &[Arg<'_>]| keys(args).unwrap().divides();
        assert_eq!(merge(args!["DEL", "a", "b"]), Some(Merge::Sum));
        assert_eq!(merge(args!["MGET", "a", "b"]), Some(Merge::InPlace));
        assert_eq!(merge(args!["MSET", "a", 1, "b", 2]), Some(Merge::EachOk));
        assert_eq!(merge(args!["MSET", "a", 1, "b"]), None);
        assert_eq!(merge(args!["MSETNX", "a", 1, "b", 2]), None);
        assert_eq!(merge(args!["SUNION", "a", "b"]), None);
    }
}
