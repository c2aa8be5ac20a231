//! What the front does itself instead of passing it on: redirections, and commands that Azure
//! Managed Redis doesn't have. A map of the slots it doesn't give, whatever the policy.

use crc::{CRC_16_XMODEM, Crc};

/// The slots of a cluster.
const SLOTS: u16 = 16_384;

/// The nodes that the slots are divided among, by their ports. One node has them all.
#[derive(Debug, Default)]
pub(crate) struct Nodes(pub(crate) Vec<u16>);

impl Nodes {
    /// What the node at `port` says to a command that is not for it, or no more since it was
    /// `swapped` for another one behind that name.
    pub(crate) fn refused(
        &self,
        port: u16,
        swapped: Option<&str>,
        words: &[&[u8]],
    ) -> Option<String> {
        let unknown = || {
            let name = String::from_utf8_lossy(words.first()?);
            is_unknown(words).then(|| format!("ERR unknown command '{name}'"))
        };
        let gone = || Some(format!("MOVED {} {}:{port}", slot(key(words)?), swapped?));
        gone().or_else(|| self.moved(port, words)).or_else(unknown)
    }

    /// What it says to one whose key is elsewhere.
    fn moved(&self, port: u16, words: &[&[u8]]) -> Option<String> {
        if !self.0.contains(&port) {
            return None;
        }
        let slot = slot(key(words)?);
        let owner = usize::from(slot) * self.0.len() / usize::from(SLOTS);
        let owner = self.0[owner];
        (owner != port).then(|| format!("MOVED {slot} 127.0.0.1:{owner}"))
    }
}

/// The slot of a key: of what is between its first braces, if there is something.
fn slot(key: &[u8]) -> u16 {
    let tag = || {
        let open = key.iter().position(|&byte| byte == b'{')? + 1;
        let len = key[open..].iter().position(|&byte| byte == b'}')?;
        (len > 0).then(|| &key[open..open + len])
    };
    Crc::<u16>::new(&CRC_16_XMODEM).checksum(tag().unwrap_or(key)) % SLOTS
}

/// The first key of a command, for the commands that tests use.
fn key<'c>(words: &[&'c [u8]]) -> Option<&'c [u8]> {
    const KEYLESS: [&str; 25] = [
        "ACL",
        "AUTH",
        "CLIENT",
        "CLUSTER",
        "COMMAND",
        "CONFIG",
        "DBSIZE",
        "DISCARD",
        "ECHO",
        "EXEC",
        "FLUSHALL",
        "HELLO",
        "INFO",
        "MULTI",
        "PING",
        "PSUBSCRIBE",
        "PUBLISH",
        "PUNSUBSCRIBE",
        "QUIT",
        "SUBSCRIBE",
        "TIME",
        "UNSUBSCRIBE",
        "UNWATCH",
        "WAIT",
        "WAITAOF",
    ];
    let [name, rest @ ..] = words else { return None };
    let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
    if KEYLESS.iter().any(is) {
        return None;
    }
    rest.first().copied()
}

/// Whether the service doesn't know the command, though Redis does.
fn is_unknown(words: &[&[u8]]) -> bool {
    let is = |at: usize, names: &[&str]| {
        words.get(at).is_some_and(|word: &&[u8]| {
            names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
        })
    };
    is(0, &["ASKING", "CLUSTER", "CONFIG", "READONLY", "READWRITE", "RESET", "SELECT"])
        || is(0, &["CLIENT"]) && is(1, &["NO-EVICT", "PAUSE", "UNPAUSE"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_slots_that_the_cluster_specification_says() {
        // The specification's own check value, and what `CLUSTER KEYSLOT` says.
        assert_eq!(Crc::<u16>::new(&CRC_16_XMODEM).checksum(b"123456789"), 0x31C3);
        assert_eq!(slot(b"a"), 15_495);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), slot(b"foo{}{bar}"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
        let nodes = Nodes(vec![1, 2]);
        assert_eq!(nodes.moved(1, &[b"get", b"a"]).as_deref(), Some("MOVED 15495 127.0.0.1:2"));
        assert_eq!(nodes.moved(2, &[b"get", b"a"]), None);
        assert_eq!(nodes.moved(1, &[b"ping", b"a"]), None);
        assert_eq!(nodes.moved(3, &[b"get", b"a"]), None, "a port without a policy");
    }
}
