//! What the front does itself instead of passing it on: redirections, and commands that Azure
//! Managed Redis doesn't have with this policy.

use crc::{CRC_16_XMODEM, Crc};

use super::slots::{Oddity, Ranges, SLOTS};

/// What the front knows of the cluster policy.
#[derive(Debug)]
pub(crate) enum Rules {
    /// These ports share the slots of one store. One port has them all.
    Ports(Vec<u16>),
    /// Real servers have the slots, and say so themselves.
    Servers {
        /// Whether they are told `ASKING`.
        asking: bool,
    },
}

impl Rules {
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
            let is_unknown = !self.knows(words) && is_unknown(words);
            is_unknown.then(|| format!("ERR unknown command '{name}'"))
        };
        let gone = || Some(format!("MOVED {} {}:{port}", slot(key(words)?), swapped?));
        gone().or_else(|| self.moved(port, words)).or_else(unknown)
    }

    /// What the front replies by itself.
    pub(crate) fn reply(
        &self,
        words: &[&[u8]],
        oddity: Option<Oddity>,
        resp3: bool,
    ) -> Option<Vec<u8>> {
        match (self, words) {
            (Self::Ports(ports), [_, word]) if self.knows(words) && is(word, &["SLOTS"]) => {
                Some(Ranges::even(ports).reply(oddity, resp3))
            }
            (Self::Ports(_), [_, _, key]) if self.knows(words) => {
                Some(format!(":{}\r\n", slot(key)).into_bytes())
            }
            _ => None,
        }
    }

    /// Whether the policy brings a command with it that is unknown otherwise.
    fn knows(&self, words: &[&[u8]]) -> bool {
        match (self, words) {
            (Self::Ports(ports), [name, word, rest @ ..]) if is(name, &["CLUSTER"]) => {
                let is_whole = match rest.len() {
                    0 => is(word, &["SLOTS"]),
                    1 => is(word, &["KEYSLOT"]),
                    _ => false,
                };
                is_whole && !ports.is_empty()
            }
            (Self::Servers { .. }, [name, word, ..]) if is(name, &["CLUSTER"]) => {
                is(word, &["SLOTS", "SHARDS", "NODES", "KEYSLOT", "INFO", "MYID"])
            }
            (Self::Servers { asking }, [name]) => *asking && is(name, &["ASKING"]),
            _ => false,
        }
    }

    /// What it says to one whose key is elsewhere.
    fn moved(&self, port: u16, words: &[&[u8]]) -> Option<String> {
        let Self::Ports(ports) = self else { return None };
        if !ports.contains(&port) {
            return None;
        }
        let slot = slot(key(words)?);
        // The last one whose share, as `Ranges::even` has it, begins at the slot or before it.
        let begin = |at: &usize| at * usize::from(SLOTS) / ports.len();
        let owner = (0..ports.len()).rfind(|at| begin(at) <= usize::from(slot))?;
        let owner = ports[owner];
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
    if is(name, &KEYLESS) {
        return None;
    }
    rest.first().copied()
}

/// Whether the service doesn't know the command, though Redis does.
fn is_unknown(words: &[&[u8]]) -> bool {
    match words {
        [name, ..] if is(name, &UNKNOWN) => true,
        [name, word, ..] => is(name, &["CLIENT"]) && is(word, &["NO-EVICT", "PAUSE", "UNPAUSE"]),
        _ => false,
    }
}

/// Commands of Redis that the service doesn't know, or not with each policy.
const UNKNOWN: [&str; 7] =
    ["ASKING", "CLUSTER", "CONFIG", "READONLY", "READWRITE", "RESET", "SELECT"];

fn is(word: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use redis_entraid_core::resp::Value;

    use super::*;

    #[test]
    fn keys_have_the_slots_that_the_cluster_specification_says() {
        // The specification's own check value, and what `CLUSTER KEYSLOT` says.
        assert_eq!(Crc::<u16>::new(&CRC_16_XMODEM).checksum(b"123456789"), 0x31C3);
        assert_eq!(slot(b"a"), 15_495);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), slot(b"foo{}{bar}"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
        let nodes = Rules::Ports(vec![1, 2]);
        assert_eq!(nodes.moved(1, &[b"get", b"a"]).as_deref(), Some("MOVED 15495 127.0.0.1:2"));
        assert_eq!(nodes.moved(2, &[b"get", b"a"]), None);
        assert_eq!(nodes.moved(1, &[b"ping", b"a"]), None);
        assert_eq!(nodes.moved(3, &[b"get", b"a"]), None, "a port without a policy");
    }
    #[test]
    fn two_hundred_ports_say_of_each_other_what_their_map_says() {
        let ports: Vec<u16> = (1..=200).collect();
        let (map, rules) = (Ranges::even(&ports), Rules::Ports(ports.clone()));
        let reply = map.reply(None, false);
        let mut owners = Vec::new();
        for range in Value::new(&reply).unwrap().items() {
            let items: Vec<_> = range.items().collect();
            let port = u16::try_from(items[2].items().nth(1).unwrap().int().unwrap()).unwrap();
            let count = items[1].int().unwrap() - items[0].int().unwrap() + 1;
            owners.extend((0..count).map(|_| port));
        }
        assert_eq!(owners.len(), usize::from(SLOTS));
        for number in 0..50_000_u32 {
            let key = number.to_string();
            let owner = owners[usize::from(slot(key.as_bytes()))];
            let words: [&[u8]; 2] = [b"GET", key.as_bytes()];
            assert_eq!(rules.moved(owner, &words), None, "{key}");
        }
    }

    #[test]
    fn the_policy_says_which_commands_are_known() {
        let known = |rules: &Rules, command: &str| {
            let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            rules.refused(9, None, &words).is_none()
        };
        let (one, two) = (Rules::Ports(vec![]), Rules::Ports(vec![1, 2]));
        let servers = [true, false].map(|asking| Rules::Servers { asking });
        for command in ["CLUSTER SLOTS", "cluster keyslot a"] {
            assert!(!known(&one, command) && known(&two, command), "{command}");
            assert!(known(&servers[0], command), "{command}");
        }
        for command in ["CLUSTER SHARDS", "CLUSTER NODES", "CLUSTER INFO", "CLUSTER MYID"] {
            assert!(!known(&one, command) && !known(&two, command), "{command}");
            assert!(known(&servers[0], command), "{command}");
        }
        assert!(known(&servers[0], "ASKING") && !known(&servers[1], "ASKING"));
        for command in ["CLUSTER FAILOVER", "CLUSTER MEET a 1", "READONLY", "SELECT 0", "RESET"] {
            assert!(!known(&servers[0], command), "{command}");
        }
    }
}
