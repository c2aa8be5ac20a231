//! What a connection says about itself, in the flight of its first login: its name, and the name
//! and version of this library. No command of the host goes before it.
//!
//! Source: [`CLIENT SETINFO`](https://redis.io/docs/latest/commands/client-setinfo/).

use super::buffers::Transmitter;
use super::machine::Machine;
use super::ring::Pending;
use crate::args;
use crate::auth::Handshake;
use crate::storage::Storage;
use crate::time::Instant;

/// The command of the prelude that is sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prelude {
    /// `CLIENT SETNAME`, which `HELLO` has within itself.
    Name,
    /// `CLIENT SETINFO LIB-NAME`
    Library,
    /// `CLIENT SETINFO LIB-VER`
    Version,
    /// All are sent.
    Sent,
}

impl Prelude {
    /// The prelude that goes with `handshake`.
    pub(super) fn of(handshake: &Handshake) -> Self {
        if handshake.sets_name() { Self::Library } else { Self::Name }
    }
}

impl<R: Storage<Pending>> Machine<R> {
    /// Sends what there is room for of the prelude. What has no room even in empty buffers is left
    /// out: the server works without.
    pub(super) fn write_prelude<B: Storage<u8>>(&mut self, now: Instant, out: &mut Transmitter<B>) {
        let (name, info) = (self.config.name, self.config.set_info);
        loop {
            let version = env!("CARGO_PKG_VERSION");
            let (next, command) = match self.prelude {
                Prelude::Name => {
                    (Prelude::Library, name.as_ref().map(|name| ["SETNAME", name.as_str(), ""]))
                }
                Prelude::Library => {
                    (Prelude::Version, info.then_some(["SETINFO", "LIB-NAME", "redis-entraid"]))
                }
                Prelude::Version => {
                    (Prelude::Sent, info.then_some(["SETINFO", "LIB-VER", version]))
                }
                Prelude::Sent => return,
            };
            if let Some([verb, key, value]) = command {
                let words = args!["CLIENT", verb, key, value];
                let len = if value.is_empty() { 3 } else { 4 };
                let words = words.get(..len).unwrap_or_default();
                if !self.send_own(now, out, words) && !self.has_room_for_prelude() {
                    return;
                }
            }
            self.prelude = next;
        }
    }

    /// Whether a part of the prelude is still to be sent, and there is all the room for it that
    /// there will ever be.
    pub(super) fn has_room_for_prelude(&self) -> bool {
        self.prelude != Prelude::Sent && self.ring.is_empty() && self.sent == self.appended
    }
}
