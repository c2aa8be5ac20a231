//! Which primary serves which slot.
//!
//! ```
//! use redis_entraid_core::cluster::{Change, Primary, Slot, SlotMap, SlotRange};
//! use redis_entraid_core::resp::Value;
//!
//! let mut map = SlotMap::new([SlotRange::default(); 8], [Primary::default(); 4]);
//! let reply = b"*2\r\n*3\r\n:0\r\n:8191\r\n*2\r\n$8\r\n10.0.0.1\r\n:8500\r\n\
//!     *3\r\n:8192\r\n:16383\r\n*2\r\n$8\r\n10.0.0.2\r\n:8501\r\n";
//! let mut new = 0;
//! map.update(Value::new(reply).unwrap(), "", |change| new += u32::from(change.is_new())).unwrap();
//! let id = map.primary_of(Slot::of(b"foo")).unwrap();
//! let primary = map.primary(id).unwrap();
//! assert_eq!((new, primary.host(), primary.port()), (2, "10.0.0.2", 8501));
//! ```

mod primary;
mod ranges;
mod reply;

use core::fmt;

use super::Slot;
use crate::resp::{Node, TypeError, Value};
use crate::storage::{Buffer, CapacityError, Storage};
use primary::{Mark, Primaries};
pub use primary::{Primary, PrimaryId};
use ranges::Ranges;
pub use ranges::SlotRange;
use reply::{Address, entries};

/// The slots of a cluster and its primaries, in lent memory: 6 bytes for each range of slots, 64 for
/// each primary. Replicas are left out: Azure Managed Redis lets nobody read from them.
///
/// It is what the cluster said last, and may be wrong: a `MOVED` says so. A slot may have no primary;
/// any node redirects its commands.
#[derive(Debug)]
pub struct SlotMap<R, P> {
    ranges: Ranges<R>,
    primaries: Primaries<P>,
}

/// What an update changed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Change<'a> {
    /// The primary is gone: its connection can be closed. Its id may be another one's next.
    Gone(PrimaryId, &'a Primary),
    /// It is there from now on.
    New(PrimaryId, &'a Primary),
}

impl Change<'_> {
    /// Whether a primary is there that wasn't.
    pub const fn is_new(&self) -> bool {
        matches!(self, Self::New(..))
    }
}

/// What a redirection is to a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub enum Moved {
    /// What the map says already. Another command was sent before the map knew.
    Known(PrimaryId),
    /// News, which the map has now.
    News(PrimaryId),
    /// News that the map can't hold, so it stays as it is. The redirection is right all the same: follow
    /// it.
    NotTaken(MapError),
}

impl Moved {
    /// Whether the map was wrong, and has to be asked for: note it by
    /// [`MapSchedule::moved`](super::MapSchedule::moved).
    pub const fn is_news(&self) -> bool {
        !matches!(self, Self::Known(_))
    }

    /// The primary that the redirection names. `None` if the map can't hold it.
    pub const fn primary(&self) -> Option<PrimaryId> {
        match self {
            Self::Known(id) | Self::News(id) => Some(*id),
            Self::NotTaken(_) => None,
        }
    }
}

/// What came of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Updated {
    /// Ranges that were left out, since they have no primary or one whose port is 0.
    pub skipped: usize,
}

/// Why a map stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MapError {
    /// The reply is an error, or not one to `CLUSTER SLOTS`.
    Type(TypeError),
    /// There is no such range of slots.
    Slots {
        /// Its first slot.
        first: i64,
        /// Its last slot.
        last: i64,
    },
    /// The reply has more ranges than a cluster has slots.
    TooManyRanges,
    /// No slot has a primary. A node says so that isn't part of a cluster any more: ask another one.
    Empty,
    /// The lent memory is too small.
    TooSmall(CapacityError),
}

impl From<TypeError> for MapError {
    fn from(error: TypeError) -> Self {
        Self::Type(error)
    }
}

impl From<CapacityError> for MapError {
    fn from(error: CapacityError) -> Self {
        Self::TooSmall(error)
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CLUSTER SLOTS: ")?;
        match self {
            Self::Type(error) => error.fmt(f),
            Self::Slots { first, last } => {
                write!(f, "slots {first} to {last} are not in 0 to {}", Slot::COUNT - 1)
            }
            Self::TooManyRanges => {
                write!(f, "there are more ranges than slots, which are {}", Slot::COUNT)
            }
            Self::Empty => f.write_str("no slot has a primary, ask another node"),
            Self::TooSmall(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MapError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Type(error) => Some(error),
            Self::TooSmall(error) => Some(error),
            _ => None,
        }
    }
}

impl<R: Storage<SlotRange>, P: Storage<Primary>> SlotMap<R, P> {
    /// An empty one. What is in the memory is lost.
    pub fn new(ranges: R, primaries: P) -> Self {
        let mut primaries = Primaries(primaries);
        primaries.0.room_mut().fill(Primary::default());
        Self { ranges: Ranges::new(ranges), primaries }
    }

    /// The primary that serves a slot. `None` if no node was said to serve it.
    pub fn primary_of(&self, slot: Slot) -> Option<PrimaryId> {
        self.ranges.find(slot.number()).map(|range| PrimaryId(range.primary))
    }

    /// The primary with this id.
    pub fn primary(&self, id: PrimaryId) -> Option<&Primary> {
        self.primaries.0.room().get(id.index()).filter(|primary| primary.port() > 0)
    }

    /// The primary for a command that any of them can execute: the one whose turn it is. Count
    /// `turn` up, so that the commands spread. `None` if the map is empty.
    pub fn any(&self, turn: usize) -> Option<PrimaryId> {
        let mut ids = self.primaries.iter().map(|(id, _)| id);
        let count = ids.clone().count();
        ids.nth(turn.checked_rem(count)?)
    }

    /// All primaries.
    pub fn primaries(&self) -> impl Iterator<Item = (PrimaryId, &Primary)> + Clone {
        self.primaries.iter()
    }

    /// The primary at `host` and `port`, as a reply or a redirection names it.
    pub fn find(&self, host: &str, port: u16) -> Option<PrimaryId> {
        self.primaries.find(Address { host, port })
    }

    /// Takes in a node that an `ASK` names, which serves no slot yet, until the next update.
    ///
    /// # Errors
    /// [`MapError::TooSmall`].
    pub fn learn(&mut self, host: &str, port: u16) -> Result<PrimaryId, MapError> {
        match self.find(host, port) {
            Some(known) => Ok(known),
            None => Ok(self.primaries.add(Primary::of(Address { host, port }, Mark::Seen)?)?),
        }
    }

    /// Takes in the reply to `CLUSTER SLOTS` that came from the host `here`; no text stands for what the
    /// client itself dials. Nodes whose host is null, empty or `?` are there. `told` hears what has changed:
    /// first which primaries are gone, then which are new.
    ///
    /// A server gives each slot to one primary. If a reply gives a slot to several, the last one counts;
    /// slots that have none after that cost a redirection.
    ///
    /// # Errors
    /// [`MapError`]. The map stays as it is, and nothing has changed.
    pub fn update(
        &mut self,
        reply: Value<'_>,
        here: &str,
        mut told: impl FnMut(Change<'_>),
    ) -> Result<Updated, MapError> {
        self.take(reply, here, &mut told)
    }

    fn take(
        &mut self,
        reply: Value<'_>,
        here: &str,
        told: &mut dyn FnMut(Change<'_>),
    ) -> Result<Updated, MapError> {
        let (mut count, mut skipped) = (0, 0);
        for entry in entries(reply, here) {
            let primary = entry?.primary;
            if count + skipped == Slot::COUNT.into() {
                return Err(MapError::TooManyRanges);
            }
            // Before anything changes: what is placed below can then only lack memory.
            if let Some(Address { host, .. }) = primary
                && host.len() > Primary::HOST
            {
                return Err(CapacityError::new(Buffer::SlotMap, host.len(), Primary::HOST).into());
            }
            *if primary.is_some() { &mut count } else { &mut skipped } += 1;
        }
        if count == 0 {
            return Err(MapError::Empty);
        }
        self.reserve(count)?;
        for primary in self.primaries.0.room_mut() {
            primary.mark = Mark::Unseen;
        }
        let gone = &mut |id, primary: &Primary| told(Change::Gone(id, primary));
        if self.place(reply, here).is_err() {
            self.primaries.forget(Mark::New, &mut |_, _| ());
            let needed = distinct(reply, here);
            if !self.primaries.0.reserve(needed) {
                return Err(self.primaries.too_small(needed).into());
            }
            // The new ones need the places of those that are gone.
            self.primaries.forget(Mark::Unseen, gone);
            self.place(reply, here)?;
        }
        self.primaries.forget(Mark::Unseen, gone);
        for (id, primary) in self.primaries.iter().filter(|(_, one)| one.mark == Mark::New) {
            told(Change::New(id, primary));
        }
        self.ranges.clear();
        for entry in entries(reply, here).flatten() {
            if let Some(id) = entry.primary.and_then(|address| self.primaries.find(address)) {
                self.ranges.paint(SlotRange {
                    first: entry.first,
                    last: entry.last,
                    primary: id.0,
                });
            }
        }
        self.ranges.shrink();
        Ok(Updated { skipped })
    }

    /// Marks the primaries of a reply, and gives those that are new a place.
    fn place(&mut self, reply: Value<'_>, here: &str) -> Result<(), CapacityError> {
        let addresses = || entries(reply, here).flatten().filter_map(|entry| entry.primary);
        for address in addresses() {
            let known = self.primaries.find(address).and_then(|id| self.primaries.get_mut(id));
            if let Some(known) = known.filter(|known| known.mark == Mark::Unseen) {
                known.mark = Mark::Seen;
            }
        }
        for address in addresses() {
            if self.primaries.find(address).is_none() {
                self.primaries.add(Primary::of(address, Mark::New)?)?;
            }
        }
        Ok(())
    }

    /// Takes in what a `MOVED` says that came from the host `here`, until the next update. `told` hears
    /// what has changed, as in an [update](Self::update): there may be a new primary, which gets the place
    /// of one that has no slots left if no other place is free.
    pub fn moved(&mut self, to: &Node<'_>, here: &str, mut told: impl FnMut(Change<'_>)) -> Moved {
        self.take_moved(to, here, &mut told).unwrap_or_else(Moved::NotTaken)
    }

    fn take_moved(
        &mut self,
        to: &Node<'_>,
        here: &str,
        told: &mut dyn FnMut(Change<'_>),
    ) -> Result<Moved, MapError> {
        if Slot::new(to.slot).is_none() {
            return Err(MapError::Slots { first: to.slot.into(), last: to.slot.into() });
        }
        let host = if to.address.is_empty() { here } else { to.address };
        let address = Address { host, port: to.port };
        let known = self.primaries.find(address);
        let range = self.ranges.find(to.slot);
        if let (Some(range), Some(known)) = (range, known)
            && range.primary == known.0
        {
            return Ok(Moved::Known(known));
        }
        // The slot's own range, and what lies behind it of the one that it was in.
        self.reserve(self.ranges.len() + 2)?;
        let id = match known {
            Some(known) => known,
            None => self.place_moved(address, to.slot, told)?,
        };
        self.ranges.paint(SlotRange { first: to.slot, last: to.slot, primary: id.0 });
        if let Some(behind) = range.filter(|range| range.last > to.slot) {
            self.ranges.paint(SlotRange { first: to.slot + 1, ..behind });
        }
        Ok(Moved::News(id))
    }

    /// Gives a new primary, which gets this slot, a place.
    fn place_moved(
        &mut self,
        address: Address<'_>,
        slot: u16,
        told: &mut dyn FnMut(Change<'_>),
    ) -> Result<PrimaryId, MapError> {
        let new = Primary::of(address, Mark::Seen)?;
        let Self { ranges, primaries } = self;
        // Before memory grows: else each redirection could leave a primary behind.
        let idle = |id: PrimaryId| {
            let others = |range: &&SlotRange| (range.first, range.last) != (slot, slot);
            !ranges.get().iter().filter(others).any(|range| range.primary == id.0)
        };
        let idle = match primaries.has_free() {
            true => None,
            false => primaries.iter().find(|(id, _)| idle(*id)),
        };
        let id = match idle {
            Some((id, gone)) => {
                told(Change::Gone(id, gone));
                primaries.put(id, new);
                id
            }
            None => primaries.add(new)?,
        };
        told(Change::New(id, &new));
        Ok(id)
    }

    /// Makes room for so many ranges.
    fn reserve(&mut self, ranges: usize) -> Result<(), CapacityError> {
        if self.ranges.reserve(ranges) {
            return Ok(());
        }
        let needed = ranges.saturating_mul(size_of::<SlotRange>());
        Err(CapacityError::new(Buffer::SlotMap, needed, self.ranges.room()))
    }
}

/// How many primaries a reply has. It compares each with each: this is for memory that is full.
fn distinct(reply: Value<'_>, here: &str) -> usize {
    let addresses = || entries(reply, here).flatten().filter_map(|entry| entry.primary);
    let is_first = |(at, address): &(usize, Address<'_>)| {
        !addresses().take(*at).any(|earlier| earlier == *address)
    };
    addresses().enumerate().filter(is_first).count()
}

#[cfg(test)]
mod tests;
