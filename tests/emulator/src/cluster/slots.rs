//! `CLUSTER SLOTS`: what it replies, and what may be odd about that.

use redis_entraid_core::resp::{Value, ValueKind};

/// The slots of a cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// What is odd about a reply to `CLUSTER SLOTS`: a [fault](crate::faults) like `slots#1 null-host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// The hosts are null: the one that was asked.
    NullHost,
    /// The hosts are empty: the same.
    EmptyHost,
    /// The hosts are `?`, as a server says that doesn't know its own name.
    UnknownHost,
    /// The first primary has the port 0.
    PortZero,
    /// Nodes are a host, a port and an id, as before Redis 7.
    NoMetadata,
    /// Nodes are a host and a port, as before Redis 4.
    NoId,
    /// The primaries have replicas, whose ports are those of other primaries.
    Replicas,
    /// Nobody has the slots of the last range.
    Hole,
    /// The second range begins a hundred slots before the first one ends.
    Overlap,
    /// There are no slots at all: the node is alone.
    NoSlots,
}

impl Oddity {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 10] = [
        ("null-host", Self::NullHost),
        ("empty-host", Self::EmptyHost),
        ("unknown-host", Self::UnknownHost),
        ("port-zero", Self::PortZero),
        ("no-metadata", Self::NoMetadata),
        ("no-id", Self::NoId),
        ("replicas", Self::Replicas),
        ("hole", Self::Hole),
        ("overlap", Self::Overlap),
        ("no-slots", Self::NoSlots),
    ];

    /// The one called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, oddity)| *oddity)
    }
}

/// A range of slots, and its primary.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    first: i64,
    last: i64,
    port: u16,
    id: String,
}

/// Who has which slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<Range>);

impl Ranges {
    /// The slots divided evenly.
    pub(crate) fn even(ports: &[u16]) -> Self {
        let share = |at: usize| at * usize::from(SLOTS) / ports.len().max(1);
        let bound = |at| i64::try_from(share(at)).unwrap_or_default();
        let range = |(at, &port): (usize, &u16)| Range {
            first: bound(at),
            last: bound(at + 1) - 1,
            port,
            id: format!("{port:040x}"),
        };
        Self(ports.iter().enumerate().map(range).collect())
    }

    /// What a server replied, with the ports of the front. `None` if it is something else.
    pub(crate) fn of(reply: &[u8], front: impl Fn(u16) -> Option<u16>) -> Option<Self> {
        let reply = Value::framed(reply);
        let range = |range: Value<'_>| {
            let mut items = range.items();
            let (first, last) = (items.next()?.int().ok()?, items.next()?.int().ok()?);
            let mut primary = items.next()?.items().skip(1);
            let port = u16::try_from(primary.next()?.int().ok()?).ok()?;
            let id = primary.next().and_then(|id| id.str().ok()).unwrap_or_default().to_owned();
            Some(Range { first, last, port: front(port).unwrap_or(port), id })
        };
        let is_array = reply.kind() == ValueKind::Array;
        is_array.then(|| reply.items().map(range).collect::<Option<_>>().map(Self))?
    }

    /// The reply, with what is odd about it.
    pub(crate) fn reply(mut self, oddity: Option<Oddity>, resp3: bool) -> Vec<u8> {
        let is = |other| oddity == Some(other);
        match (oddity, self.0.as_mut_slice()) {
            (Some(Oddity::PortZero), [first, ..]) => first.port = 0,
            (Some(Oddity::Overlap), [first, second, ..]) => {
                second.first = first.first.max(first.last - 99);
            }
            (Some(Oddity::Hole), [.., _]) => drop(self.0.pop()),
            (Some(Oddity::NoSlots), _) => self.0.clear(),
            _ => {}
        }
        let host = match oddity {
            Some(Oddity::NullHost) if resp3 => "_\r\n",
            Some(Oddity::NullHost) => "$-1\r\n",
            Some(Oddity::EmptyHost) => "$0\r\n\r\n",
            Some(Oddity::UnknownHost) => "$1\r\n?\r\n",
            _ => "$9\r\n127.0.0.1\r\n",
        };
        let node = |Range { port, id, .. }: &Range| {
            let id = format!("${}\r\n{id}\r\n", id.len());
            match oddity {
                Some(Oddity::NoId) => format!("*2\r\n{host}:{port}\r\n"),
                Some(Oddity::NoMetadata) => format!("*3\r\n{host}:{port}\r\n{id}"),
                _ => {
                    let metadata = if resp3 { "%0\r\n" } else { "*0\r\n" };
                    format!("*4\r\n{host}:{port}\r\n{id}{metadata}")
                }
            }
        };
        let mut out = format!("*{}\r\n", self.0.len());
        for (at, range) in self.0.iter().enumerate() {
            let (first, last) = (range.first, range.last);
            out += &format!("*{}\r\n:{first}\r\n:{last}\r\n", 3 + u8::from(is(Oddity::Replicas)));
            out += &node(range);
            if is(Oddity::Replicas) {
                out += &node(&self.0[(at + 1) % self.0.len()]);
            }
        }
        out.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_as_it_is_written_and_each_oddity_changes_it() {
        let ranges = Ranges::even(&[7001, 7002, 7003]);
        for resp3 in [false, true] {
            let usual = ranges.clone().reply(None, resp3);
            assert_eq!(Ranges::of(&usual, |_| None).unwrap(), ranges);
            let moved = Ranges::of(&usual, |port| Some(port + 1)).unwrap();
            assert_eq!(moved.0[0].port, 7002);
            for (name, oddity) in Oddity::ALL {
                let odd = ranges.clone().reply(Some(oddity), resp3);
                assert_ne!(odd, usual, "{name}");
                Value::new(&odd).unwrap();
            }
        }
        assert_eq!(ranges.0.last().unwrap().last, 16_383);
        assert_eq!(Ranges::of(b"-ERR unknown\r\n", |_| None), None);
    }
}
