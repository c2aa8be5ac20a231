//! The address that a connector has reached, for users of its [`Progress`](super::Progress).

use core::fmt;
use core::ops::Deref;
use core::sync::atomic::{AtomicU8, Ordering};

/// The longest IP address as text: IPv6, with an IPv4 one at its end.
const LONGEST: usize = 45;

/// An IP address as text, as the connector has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IpText([u8; LONGEST]);

impl Default for IpText {
    fn default() -> Self {
        Self([0; LONGEST])
    }
}

/// Appends. What is longer than an address is an error.
impl fmt::Write for IpText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let used = self.len();
        let room = self.0.get_mut(used..used.saturating_add(text.len())).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Deref for IpText {
    type Target = str;

    fn deref(&self) -> &str {
        let ip = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        core::str::from_utf8(ip).unwrap_or_default()
    }
}

impl fmt::Debug for IpText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// An IP address as text, which needs no lock; zeros behind it. As text, since parsing and printing
/// addresses takes kilobytes of a component, and hosts have them as text.
#[derive(Debug)]
pub(super) struct Peer([AtomicU8; LONGEST]);

impl Peer {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU8::new(0) }; LONGEST])
    }

    /// Text longer than that is no address, and clears it.
    pub(super) fn set(&self, ip: &str) {
        let ip = if ip.len() > LONGEST { "" } else { ip };
        let bytes = ip.bytes().chain(core::iter::repeat(0));
        for (place, byte) in self.0.iter().zip(bytes) {
            place.store(byte, Ordering::Relaxed);
        }
    }

    pub(super) fn get(&self) -> Option<IpText> {
        let bytes = self.0.each_ref().map(|byte| byte.load(Ordering::Relaxed));
        let ip = IpText(bytes);
        (!ip.is_empty()).then_some(ip)
    }
}

impl Default for Peer {
    fn default() -> Self {
        Self::new()
    }
}
