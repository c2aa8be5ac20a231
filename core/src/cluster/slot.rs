//! Slots: what the keys of a cluster are divided into.
//!
//! ```
//! use redis_entraid_core::cluster::Slot;
//!
//! assert_eq!(Slot::of(b"foo").number(), 12_182);
//! // Keys with the same hash tag have the same slot.
//! assert_eq!(Slot::of(b"{user1000}.following"), Slot::of(b"{user1000}.followers"));
//! ```

use core::fmt;

use crc::{CRC_16_XMODEM, Crc, Table};

use crate::resp::{Arg, Digits, SLOTS};

/// A slot of a cluster, one of 16,384.
///
/// Source: the [cluster specification](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Slot(u16);

/// A table of 512 bytes makes it four times as fast; a device keeps its flash.
const LANES: usize = if cfg!(target_os = "none") { 0 } else { 1 };

static CRC: Crc<u16, Table<LANES>> = Crc::<u16, Table<LANES>>::new(&CRC_16_XMODEM);

impl Slot {
    /// How many slots a cluster has.
    pub const COUNT: u16 = SLOTS;

    /// The slot with this number. `None` if there is none.
    pub const fn new(number: u16) -> Option<Self> {
        if number < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// The slot of a key.
    pub fn of(key: &[u8]) -> Self {
        Self(CRC.checksum(hashed(key)) % Self::COUNT)
    }

    /// The slot of a key that is an argument.
    pub fn of_arg(key: &Arg<'_>) -> Self {
        Self::of(key.bytes(&mut Digits::default()))
    }

    /// Its number, less than [`Slot::COUNT`].
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of `key` that decides: what is between the first `{` and the first `}` behind it. All of
/// it if there is nothing between them.
fn hashed(key: &[u8]) -> &[u8] {
    let tag = || {
        let open = key.iter().position(|&byte| byte == b'{')?;
        let behind = key.get(open + 1..)?;
        let end = behind.iter().position(|&byte| byte == b'}')?;
        behind.get(..end).filter(|tag| !tag.is_empty())
    };
    tag().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_specification() {
        assert_eq!(CRC.checksum(b"123456789"), 0x31C3);
        let without_table = Crc::<u16, Table<0>>::new(&CRC_16_XMODEM);
        assert_eq!(without_table.checksum(b"123456789"), 0x31C3);
    }

    // As `CLUSTER KEYSLOT` of redis-server 7.0.15 says.
    #[test]
    fn keys_have_the_slots_that_a_server_says() {
        for (key, slot) in [("", 0), ("a", 15_495), ("foo", 12_182), ("{}", 15_257)] {
            assert_eq!(Slot::of(key.as_bytes()).number(), slot, "{key}");
        }
    }

    #[test]
    fn only_the_first_tag_counts_and_an_empty_one_does_not() {
        for (key, part) in [
            ("{user1000}.following", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("}foo{bar}", "bar"),
            ("foo{bar", "foo{bar"),
            ("foo{", "foo{"),
            ("foo}bar{", "foo}bar{"),
            ("{}", "{}"),
            ("", ""),
        ] {
            assert_eq!(hashed(key.as_bytes()), part.as_bytes(), "{key}");
        }
    }

    #[test]
    fn there_is_no_slot_beyond_the_last() {
        assert_eq!(Slot::new(16_383).map(Slot::number), Some(16_383));
        assert_eq!(Slot::new(16_384), None);
    }
}
