//! The address that a connector has reached, for who shares its [`Progress`](super::Progress).

use alloc::boxed::Box;
use alloc::string::String;
use core::sync::atomic::{AtomicU8, Ordering};

/// The longest IP address as text: IPv6, with an IPv4 one at its end.
const LONGEST: usize = 45;

/// An IP address as text, which needs no lock; zeros behind it. As text, since parsing and printing
/// addresses takes kilobytes of a component, and hosts have them as text.
#[derive(Debug)]
pub(super) struct Peer([AtomicU8; LONGEST]);

impl Peer {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU8::new(0) }; LONGEST])
    }

    /// What is longer is no address.
    pub(super) fn set(&self, ip: &str) {
        let ip = if ip.len() > LONGEST { "" } else { ip };
        let bytes = ip.bytes().chain(core::iter::repeat(0));
        for (place, byte) in self.0.iter().zip(bytes) {
            place.store(byte, Ordering::Relaxed);
        }
    }

    pub(super) fn get(&self) -> Option<Box<str>> {
        let bytes = self.0.iter().map(|byte| byte.load(Ordering::Relaxed));
        let ip: String = bytes.take_while(|byte| *byte > 0).map(char::from).collect();
        (!ip.is_empty()).then(|| ip.into_boxed_str())
    }
}

impl Default for Peer {
    fn default() -> Self {
        Self::new()
    }
}
