//! A cluster, as a client sees it.

use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec;

use super::*;
use redis_entraid_core::cluster::Slot;

/// Slots and primaries, and what is kept there.
#[derive(Default)]
pub(super) struct Cluster {
    /// The ranges of slots, and the ports of the primaries that have them. Of two that overlap, the last one counts.
    pub(super) ranges: Vec<(u16, u16, u16)>,
    /// A slot that is being moved, and where to.
    pub(super) moving: Option<(u16, u16)>,
    /// What every node says to a command with a key, for so many times.
    pub(super) refuses: (u32, &'static str),
    /// Nobody is told the map, but this.
    pub(super) says: Option<&'static str>,
    /// The port of the primary that the endpoint leads to, which all clients dial.
    pub(super) seed: Option<u16>,
    /// What nodes say that the map is, if not what it is.
    pub(super) stale: Option<Vec<(u16, u16, u16)>>,
    /// A slot that two nodes say the other one has.
    pub(super) circle: Option<(u16, u16, u16)>,
    /// The numbers of connections whose servers have no slots.
    pub(super) strangers: Vec<u32>,
    /// How often the map was asked for, on which port.
    pub(super) asked: Vec<u16>,
    values: BTreeMap<String, String>,
    asking: Vec<u32>,
    /// Connections with a transaction, what was queued, and whether it will be executed.
    transactions: BTreeMap<u32, (Vec<Vec<String>>, bool)>,
}

impl Cluster {
    /// Primaries that have the same number of slots.
    pub(super) fn of(ports: &[u16]) -> Self {
        let each = 16_384 / ports.len() as u16;
        let range = |at: usize| {
            let first = at as u16 * each;
            let last = if at + 1 == ports.len() { 16_383 } else { first + each - 1 };
            (first, last, ports[at])
        };
        Self { ranges: (0..ports.len()).map(range).collect(), ..Self::default() }
    }

    pub(super) fn owner(&self, slot: u16) -> u16 {
        let is_in = |(first, last, _): &&(u16, u16, u16)| (*first..=*last).contains(&slot);
        let range = self.ranges.iter().rev().find(is_in);
        range.unwrap().2
    }

    /// Gives what the primary at `from` has to the one at `to`.
    pub(super) fn replace(&mut self, from: u16, to: u16) {
        self.ranges.iter_mut().filter(|range| range.2 == from).for_each(|range| range.2 = to);
    }

    /// Gives one slot to the primary at `to`.
    pub(super) fn give(&mut self, slot: u16, to: u16) {
        self.ranges.push((slot, slot, to));
    }

    /// Whether the node at `port`, on this connection, has a key or a shard channel.
    pub(super) fn has(&self, (number, port): (u32, u16), key: &str) -> bool {
        !self.strangers.contains(&number)
            && self.owner(Slot::of(key.as_bytes()).number()) == self.led(port)
    }

    /// The port that one leads to. The endpoint that all clients dial has no slots, unless there is a seed.
    fn led(&self, port: u16) -> u16 {
        if port == 10_000 { self.seed.unwrap_or(port) } else { port }
    }

    /// What the node at `port` says on a connection of a number.
    pub(super) fn answer(
        &mut self,
        (number, port): (u32, u16),
        words: &[String],
    ) -> Option<String> {
        let name = &*words[0];
        match name {
            "CLUSTER" => {
                self.asked.push(port);
                return Some(self.says.map_or_else(|| self.slots(), String::from));
            }
            "ASKING" => {
                self.asking.push(number);
                return Some("+OK\r\n".into());
            }
            "UNWATCH" => return Some("+OK\r\n".into()),
            "MULTI" => {
                self.transactions.insert(number, Default::default());
                return Some("+OK\r\n".into());
            }
            "EXEC" => {
                let (queued, is_torn) = self.transactions.remove(&number)?;
                if is_torn {
                    return Some("-EXECABORT Transaction discarded\r\n".into());
                }
                let mut text = format!("*{}\r\n", queued.len());
                queued.iter().for_each(|words| text += &self.execute(words));
                return Some(text);
            }
            "SSUBSCRIBE" | "SUNSUBSCRIBE" => {
                let slot = Slot::of(words[1].as_bytes()).number();
                return self.refused((number, self.led(port)), slot);
            }
            "SET" | "GET" | "INCR" | "MGET" | "MSET" | "DEL" | "WATCH" | "BLPOP" => {}
            _ => return None,
        }
        let slot = Slot::of(words[1].as_bytes()).number();
        let port = self.led(port);
        let refused = self.refused((number, port), slot);
        if let Some((queued, is_torn)) = self.transactions.get_mut(&number) {
            *is_torn |= refused.is_some();
            queued.push(words.to_vec());
            return refused.or_else(|| Some("+QUEUED\r\n".into()));
        }
        refused.or_else(|| Some(self.execute(words)))
    }

    fn refused(&mut self, (number, port): (u32, u16), slot: u16) -> Option<String> {
        let was_asking = self.asking.iter().position(|asking| *asking == number);
        let was_asking = was_asking.map(|at| self.asking.swap_remove(at)).is_some();
        if self.refuses.0 > 0 {
            self.refuses.0 -= 1;
            return Some(format!("-{}\r\n", self.refuses.1));
        }
        let owner = self.owner(slot);
        if let Some((_, one, other)) = self.circle.filter(|circle| circle.0 == slot) {
            let to = if port == one { other } else { one };
            return Some(format!("-MOVED {slot} 10.0.0.1:{to}\r\n"));
        }
        if self.strangers.contains(&number) {
            return Some(format!("-MOVED {slot} 10.0.0.1:{owner}\r\n"));
        }
        match self.moving.filter(|(moving, _)| *moving == slot) {
            Some((_, to)) if to == port && was_asking => None,
            Some((_, to)) if owner == port => Some(format!("-ASK {slot} 10.0.0.1:{to}\r\n")),
            _ if owner == port => None,
            _ => Some(format!("-MOVED {slot} 10.0.0.1:{owner}\r\n")),
        }
    }

    fn execute(&mut self, words: &[String]) -> String {
        let string = |value: &str| format!("${}\r\n{value}\r\n", value.len());
        match &*words[0] {
            "SET" => {
                self.values.insert(words[1].clone(), words[2].clone());
                "+OK\r\n".into()
            }
            "INCR" => {
                let value = self.values.entry(words[1].clone()).or_insert("0".into());
                *value = (value.parse::<u32>().unwrap() + 1).to_string();
                format!(":{value}\r\n")
            }
            "BLPOP" if !self.values.contains_key(&words[1]) => "_\r\n".into(),
            "MGET" => {
                let keys = &words[1..];
                let values = keys.iter().map(|key| self.values.get(key).map(|value| string(value)));
                let values = values.map(|value| value.unwrap_or("_\r\n".into()));
                format!("*{}\r\n{}", keys.len(), values.collect::<String>())
            }
            "MSET" => {
                for pair in words[1..].chunks(2) {
                    self.values.insert(pair[0].clone(), pair[1].clone());
                }
                "+OK\r\n".into()
            }
            "DEL" => {
                let keys = words[1..].iter();
                format!(":{}\r\n", keys.filter(|key| self.values.remove(*key).is_some()).count())
            }
            "GET" => self.values.get(&words[1]).map_or("_\r\n".into(), |value| string(value)),
            _ => "+OK\r\n".into(),
        }
    }

    fn slots(&self) -> String {
        let ranges = self.stale.as_ref().unwrap_or(&self.ranges);
        let mut text = format!("*{}\r\n", ranges.len());
        for (first, last, port) in ranges {
            text += &format!("*3\r\n:{first}\r\n:{last}\r\n*2\r\n$8\r\n10.0.0.1\r\n:{port}\r\n");
        }
        text
    }

    /// A key that the primary at `port` has.
    pub(super) fn key_at(&self, port: u16) -> String {
        let mut keys = (0..).map(|number| format!("k{number}"));
        keys.find(|key| self.owner(Slot::of(key.as_bytes()).number()) == port).unwrap()
    }

    /// Keys, the number of each slot's primary in turn.
    pub(super) fn keys(&self, count: usize) -> Vec<String> {
        let ports: Vec<_> = self.ranges.iter().map(|range| range.2).collect();
        let mut keys = vec![];
        for number in 0.. {
            let key = format!("k{number}");
            if self.owner(Slot::of(key.as_bytes()).number()) == ports[keys.len() % ports.len()] {
                keys.push(key);
            }
            if keys.len() == count {
                break;
            }
        }
        keys
    }
}
