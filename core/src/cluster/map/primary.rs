//! The primaries of a cluster.

use core::fmt;

use super::reply::Address;
use crate::storage::{Buffer, CapacityError, Storage};
use crate::zeroize::DefaultIsZeroes;

/// Memory for one primary: its host and its port.
#[derive(Clone, Copy)]
pub struct Primary {
    host: [u8; Self::HOST],
    len: u8,
    pub(super) mark: Mark,
    /// 0 if the place is free.
    port: u16,
}

/// What an update has found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mark {
    #[default]
    Unseen,
    Seen,
    New,
}

/// Which primary of a map. As long as the map has it, it is the same; then another one may get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PrimaryId(pub(in crate::cluster) u16);

impl PrimaryId {
    /// The index of the primary in the memory that the map was lent: connections can be kept by it.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Default for Primary {
    fn default() -> Self {
        Self { host: [0; Self::HOST], len: 0, mark: Mark::Unseen, port: 0 }
    }
}

impl DefaultIsZeroes for Primary {}

impl PartialEq for Primary {
    fn eq(&self, other: &Self) -> bool {
        (self.bytes(), self.port) == (other.bytes(), other.port)
    }
}

impl Eq for Primary {}

impl Primary {
    /// The bytes that the longest host may have: all addresses fit, and most names.
    pub const HOST: usize = 60;

    /// The host: mostly an IP address, for which no certificate is made. Empty for what the client
    /// itself dials.
    pub fn host(&self) -> &str {
        core::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    fn bytes(&self) -> &[u8] {
        self.host.get(..self.len.into()).unwrap_or_default()
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn of(address: Address<'_>, mark: Mark) -> Result<Self, CapacityError> {
        let Address { host, port } = address;
        let mut primary = Self { mark, port, len: host.len() as u8, ..Self::default() };
        let Some(room) = primary.host.get_mut(..host.len()) else {
            return Err(CapacityError::new(Buffer::SlotMap, host.len(), Self::HOST));
        };
        room.copy_from_slice(host.as_bytes());
        Ok(primary)
    }

    fn is(&self, address: Address<'_>) -> bool {
        self.port == address.port && self.bytes() == address.host.as_bytes()
    }
}

impl fmt::Debug for Primary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host(), self.port)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Primary {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}:{=u16}", self.host(), self.port);
    }
}

#[derive(Debug)]
pub(super) struct Primaries<P>(pub(super) P);

impl<P: Storage<Primary>> Primaries<P> {
    /// All that there are.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PrimaryId, &Primary)> + Clone {
        let ids = (0..=u16::MAX).map(PrimaryId);
        ids.zip(self.0.room()).filter(|(_, primary)| primary.port > 0)
    }

    pub(super) fn find(&self, address: Address<'_>) -> Option<PrimaryId> {
        self.iter().find(|(_, primary)| primary.is(address)).map(|(id, _)| id)
    }

    pub(super) fn get_mut(&mut self, id: PrimaryId) -> Option<&mut Primary> {
        self.0.room_mut().get_mut(id.index())
    }

    /// Whether there is a place that nobody has, without more memory.
    pub(super) fn has_free(&self) -> bool {
        self.0.room().iter().any(|primary| primary.port == 0)
    }

    /// Puts a new one into a free place.
    pub(super) fn add(&mut self, primary: Primary) -> Result<PrimaryId, CapacityError> {
        let room = self.0.room();
        let free = room.iter().position(|primary| primary.port == 0).unwrap_or(room.len());
        let id = u16::try_from(free).map(PrimaryId);
        let (true, Ok(id)) = (self.0.reserve(free + 1), id) else {
            return Err(self.too_small(free + 1));
        };
        self.put(id, primary);
        Ok(id)
    }

    /// Puts one into this place.
    pub(super) fn put(&mut self, id: PrimaryId, primary: Primary) {
        if let Some(place) = self.get_mut(id) {
            *place = primary;
        }
    }

    pub(super) fn too_small(&self, needed: usize) -> CapacityError {
        let needed = needed.saturating_mul(size_of::<Primary>());
        CapacityError::new(Buffer::SlotMap, needed, size_of_val(self.0.room()))
    }

    /// Frees the places of those with this mark.
    pub(super) fn forget(&mut self, mark: Mark, told: &mut dyn FnMut(PrimaryId, &Primary)) {
        for (id, primary) in (0..=u16::MAX).map(PrimaryId).zip(self.0.room_mut()) {
            if primary.port > 0 && primary.mark == mark {
                told(id, primary);
                *primary = Primary::default();
            }
        }
    }
}
