//! Keys, lists and slots.

use std::collections::{BTreeMap, BTreeSet};

use crate::script::Slot;

/// What a server keeps, for all connections.
#[derive(Debug)]
pub struct Data {
    strings: BTreeMap<String, String>,
    lists: BTreeMap<String, Vec<String>>,
    /// Whether there are slots at all.
    pub(super) cluster: bool,
    try_again: bool,
    /// The slot of the keys `{b}`. That of the others is always here.
    slot: Slot,
    /// How often a command was executed whose last word is this.
    pub executed: BTreeMap<String, u32>,
    /// Keys that have changed since somebody looked.
    pub(super) changed: BTreeSet<String>,
}

pub(super) fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

impl Data {
    pub(super) fn new(cluster: bool, try_again: bool) -> Self {
        Self {
            strings: BTreeMap::new(),
            lists: BTreeMap::new(),
            cluster,
            try_again,
            slot: Slot::Here,
            executed: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    /// The error that a node of a cluster has for `commands` that are to be executed as one.
    pub(super) fn redirect<'w>(
        &self,
        commands: impl Iterator<Item = &'w [String]>,
    ) -> Option<&'static str> {
        if !self.cluster {
            return None;
        }
        let (mut slot, mut missing, mut existing) = (None, 0, 0);
        for key in commands.flat_map(keys) {
            let second = key.starts_with("{b}");
            match slot {
                None if second && self.slot == Slot::Down => {
                    return Some("CLUSTERDOWN Hash slot not served");
                }
                Some(first) if first != second => {
                    return Some("CROSSSLOT Keys in request don't hash to the same slot");
                }
                _ => slot = Some(second),
            }
            if second {
                *(if self.has(key) { &mut existing } else { &mut missing }) += 1;
            }
        }
        match self.slot {
            Slot::Migrating if missing > 0 && existing > 0 && self.try_again => {
                Some("TRYAGAIN Multiple keys request during rehashing of slot")
            }
            Slot::Migrating if missing > 0 => Some("ASK 3300 127.0.0.1:1"),
            Slot::Moved if slot == Some(true) => Some("MOVED 3300 127.0.0.1:1"),
            _ => None,
        }
    }

    fn has(&self, key: &str) -> bool {
        self.strings.contains_key(key) || self.lists.contains_key(key)
    }

    /// Whether others may change this key here.
    pub(super) fn serves(&self, key: &str) -> bool {
        match self.slot {
            _ if !self.cluster || !key.starts_with("{b}") => true,
            Slot::Here => true,
            Slot::Migrating => self.has(key),
            Slot::Moved | Slot::Down => false,
        }
    }

    /// Gives the slot of the keys `{b}` another state. A node that loses it drops its keys.
    pub(super) fn set_slot(&mut self, slot: Slot) {
        if matches!(slot, Slot::Moved | Slot::Down) && slot != self.slot {
            let keys: Vec<String> = self.strings.keys().chain(self.lists.keys()).cloned().collect();
            keys.iter().filter(|key| key.starts_with("{b}")).for_each(|key| self.delete(key));
        }
        self.slot = slot;
    }

    pub(super) fn delete(&mut self, key: &str) {
        if self.strings.remove(key).is_some() | self.lists.remove(key).is_some() {
            self.changed.insert(key.to_owned());
        }
    }

    pub(super) fn push(&mut self, list: &str, value: String) -> usize {
        let values = self.lists.entry(list.to_owned()).or_default();
        values.push(value);
        self.changed.insert(list.to_owned());
        values.len()
    }

    pub(super) fn set(&mut self, key: &str, value: String) {
        self.strings.insert(key.to_owned(), value);
        self.changed.insert(key.to_owned());
    }

    /// Takes the first value of a list.
    pub(super) fn pop(&mut self, list: &str) -> Option<String> {
        let values = self.lists.get_mut(list)?;
        let value = values.remove(0);
        if values.is_empty() {
            self.lists.remove(list);
        }
        self.changed.insert(list.to_owned());
        Some(value)
    }

    /// Executes a command that needs no session.
    pub(super) fn execute(&mut self, words: &[String], resp3: bool) -> Vec<u8> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Some(last) = words.last() {
            *self.executed.entry((*last).to_owned()).or_default() += 1;
        }
        let or_null = |value: Option<&String>| match value {
            Some(value) => bulk(value),
            None if resp3 => b"_\r\n".to_vec(),
            None => b"$-1\r\n".to_vec(),
        };
        match *words {
            ["PING", text] => bulk(text),
            ["GET", key] => or_null(self.strings.get(key)),
            ["SET", key, value] => {
                self.set(key, value.to_owned());
                b"+OK\r\n".to_vec()
            }
            ["INCR", key] => {
                let number = self.strings.get(key).map_or(0, |n| n.parse().unwrap_or(0)) + 1;
                self.set(key, number.to_string());
                format!(":{number}\r\n").into_bytes()
            }
            ["MGET", one, two] => {
                let values = [one, two].map(|key| or_null(self.strings.get(key)));
                [&b"*2\r\n"[..], &values.concat()].concat()
            }
            ["RPUSH", list, value] => {
                format!(":{}\r\n", self.push(list, value.to_owned())).into_bytes()
            }
            ["EVAL", script, "0", text, times] => {
                let text = text.repeat(times.parse().unwrap_or(1));
                if script.contains("err=") { error(&format!("ERR {text}")) } else { bulk(&text) }
            }
            // In a transaction nothing blocks.
            ["BLPOP", list, _] => match self.pop(list) {
                Some(value) => popped(list, &value),
                None if resp3 => b"_\r\n".to_vec(),
                None => b"*-1\r\n".to_vec(),
            },
            _ => error("ERR unknown command"),
        }
    }
}

pub(super) fn error(text: &str) -> Vec<u8> {
    format!("-{text}\r\n").into_bytes()
}

pub(super) fn popped(list: &str, value: &str) -> Vec<u8> {
    [&b"*2\r\n"[..], &bulk(list), &bulk(value)].concat()
}

/// The keys of a command.
pub(super) fn keys(words: &[String]) -> &[String] {
    let range = match words.first().map_or("", String::as_str) {
        "GET" | "SET" | "INCR" | "RPUSH" | "BLPOP" => 1..2,
        "MGET" | "WATCH" => 1..words.len(),
        _ => 0..0,
    };
    words.get(range).unwrap_or_default()
}
