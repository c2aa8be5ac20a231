//! Which nodes a command is for.
//!
//! ```
//! use redis_entraid_core::args;
//! use redis_entraid_core::cluster::{Route, Slot, route};
//!
//! let transaction = [args!["MULTI"], args!["INCR", "{a}1"], args!["INCR", "{a}2"], args!["EXEC"]];
//! let together = transaction.iter().fold(Route::AnyPrimary, |all, command| all.and(route(*command)));
//! assert_eq!(together, Route::Slot(Slot::of(b"a")));
//! ```

use super::keys::Keys;
use super::slot::Slot;
use super::table::Shape;
use super::words::Words;
use crate::resp::{Digits, ErrorReply};

/// Which nodes a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Route {
    /// The one that serves this slot.
    Slot(Slot),
    /// Any primary: it has no keys, or is wrong, which any server says.
    AnyPrimary,
    /// All primaries, whose replies become one.
    AllPrimaries(Merge),
    /// One node that the caller chooses, since it is about that node alone: the cursor of a `SCAN`, or of an
    /// `FT.AGGREGATE`, for one.
    OneNode,
    /// None: its keys are in several slots. [`Route::CROSS_SLOT`] is what a server would answer.
    CrossSlot,
    /// None: `MIGRATE` takes keys away from the node that serves their slot.
    Refused,
    /// Not known: ask a server by `COMMAND GETKEYS`, or send it to any primary, which redirects it.
    Unknown,
}

/// How the replies of several nodes become one. An error among them is the reply, unless it says
/// something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Merge {
    /// The first one; all have to be good.
    EachOk,
    /// The first one that is no error.
    OneOk,
    /// The sum of numbers.
    Sum,
    /// The least number; of lists, the least at each place.
    Least,
    /// Of lists, at each place whether all are true.
    And,
    /// One list with the items of all.
    Concatenate,
    /// One list, each item in the place of its key.
    InPlace,
}

impl Route {
    /// What a server answers to a command whose keys are in several slots.
    pub const CROSS_SLOT: ErrorReply<'static> =
        ErrorReply::new(b"CROSSSLOT Keys in request don't hash to the same slot");

    /// The route of two commands that belong together, as in a transaction: where one has keys, the
    /// other one follows.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Refused, _) | (_, Self::Refused) => Self::Refused,
            (Self::CrossSlot, _) | (_, Self::CrossSlot) => Self::CrossSlot,
            (Self::Slot(a), Self::Slot(b)) if a != b => Self::CrossSlot,
            (Self::Slot(slot), _) | (_, Self::Slot(slot)) => Self::Slot(slot),
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::OneNode, _) | (_, Self::OneNode) => Self::OneNode,
            // To all, only one command alone can go.
            (Self::AnyPrimary | Self::AllPrimaries(_), _) => Self::AnyPrimary,
        }
    }
}

/// Returns which nodes a command is for.
pub fn route<'a>(command: impl Into<Words<'a>>) -> Route {
    of(command.into())
}

fn of(words: Words<'_>) -> Route {
    match Shape::of(&words) {
        None => Route::Unknown,
        Some(Shape::All(merge)) => Route::AllPrimaries(merge),
        Some(Shape::OneNode) => Route::OneNode,
        Some(Shape::Refused) => Route::Refused,
        Some(shape) => {
            let mut digits = Digits::default();
            let mut slots = Keys::of(shape, words).map(|(_, key)| Slot::of(key.bytes(&mut digits)));
            match slots.next() {
                None => Route::AnyPrimary,
                Some(slot) if slots.all(|other| other == slot) => Route::Slot(slot),
                Some(_) => Route::CrossSlot,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;
    use crate::resp::Value;
    use std::string::ToString;

    const A: Route = Route::Slot(match Slot::new(15_495) {
        Some(slot) => slot,
        None => panic!(),
    });

    #[test]
    fn commands_go_where_their_keys_are() {
        for (args, expected) in [
            (args!["GET", "a"], A),
            (args!["SET", "a", "b"], A),
            (args!["GET", 7], Route::Slot(Slot::of(b"7"))),
            (args!["MGET", "a", "{a}b", "x{a}"], A),
            (args!["MGET", "a", "b"], Route::CrossSlot),
            (args!["ZUNIONSTORE", "b", 1, "a"], Route::CrossSlot),
            (args!["SPUBLISH", "a", "text"], A),
            (args!["PUBLISH", "a", "text"], Route::AnyPrimary),
            (args!["GET"], Route::AnyPrimary),
            (args!["EVAL", "return 1", 0], Route::AnyPrimary),
            (args!["DBSIZE"], Route::AllPrimaries(Merge::Sum)),
            (args!["script", "load", "x"], Route::AllPrimaries(Merge::EachOk)),
            (args!["SCAN", 0], Route::OneNode),
            (args!["MIGRATE", "h", 1, "a", 0, 9], Route::Refused),
            (args!["FT.SEARCH", "i", "a"], Route::AnyPrimary),
            (args!["FT.CURSOR", "READ", "i", 7], Route::OneNode),
            (args!["TS.QUERYINDEX", "a=b"], Route::AnyPrimary),
            (args!["TS.MADD", "a", 1, 2, "{a}b", 3, 4], A),
            (args!["A.NEW.WORD", "i", "a"], Route::Unknown),
        ] {
            assert_eq!(route(args), expected, "{args:?}");
        }
    }

    #[test]
    fn what_belongs_together_has_one_route() {
        let b = route(args!["GET", "b"]);
        let all = Route::AllPrimaries(Merge::Sum);
        for (one, other, both) in [
            (A, A, A),
            (A, b, Route::CrossSlot),
            (A, Route::AnyPrimary, A),
            (A, Route::Unknown, A),
            (A, all, A),
            (A, Route::CrossSlot, Route::CrossSlot),
            (A, Route::Refused, Route::Refused),
            (all, all, Route::AnyPrimary),
            (all, Route::AnyPrimary, Route::AnyPrimary),
            (Route::Unknown, Route::AnyPrimary, Route::Unknown),
            (Route::OneNode, Route::AnyPrimary, Route::OneNode),
        ] {
            assert_eq!((one.and(other), other.and(one)), (both, both), "{one:?} and {other:?}");
        }
    }

    #[test]
    fn the_error_is_the_server_s() {
        let raw = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n";
        assert_eq!(Value::new(raw).unwrap().error(), Some(Route::CROSS_SLOT));
        assert_eq!(Route::CROSS_SLOT.code(), "CROSSSLOT");
        assert!(Route::CROSS_SLOT.to_string().ends_with("the same slot"));
    }
}
