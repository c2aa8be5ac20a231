//! What others do at the server, and what the connection hears of it.

use redis_entraid_core::command::Topic;
use redis_entraid_core::connection::Tag;

use super::data::{bulk, popped};
use super::{Broken, Server, What};
use crate::script::{KEYS, LISTS, NAMES, Other};

fn at(topic: Topic) -> usize {
    match topic {
        Topic::Channel => 0,
        Topic::Pattern => 1,
        Topic::Shard => 2,
    }
}

/// The topic of a command about subscriptions, and whether they begin.
pub(super) fn subscription(word: &str) -> Option<(Topic, bool)> {
    let topics = [Topic::Channel, Topic::Pattern, Topic::Shard];
    topics.into_iter().find_map(|topic| match word {
        _ if word == topic.subscribes() => Some((topic, true)),
        _ if word == topic.unsubscribes() => Some((topic, false)),
        _ => None,
    })
}

impl Server {
    pub(super) fn subscribe(&mut self, tag: Tag, topic: Topic, began: bool, names: &[&str]) {
        let session = &mut self.session;
        let all: Vec<String> = session.names[at(topic)].iter().cloned().collect();
        let mut names: Vec<Option<String>> =
            names.iter().map(|name| Some((*name).to_owned())).collect();
        if names.is_empty() {
            names = all.into_iter().map(Some).collect();
        }
        if names.is_empty() {
            names.push(None);
        }
        let word = if began { topic.subscribes() } else { topic.unsubscribes() }.to_lowercase();
        let last = names.len() - 1;
        for (number, name) in names.into_iter().enumerate() {
            let session = &mut self.session;
            let null = if session.resp3 { "_\r\n" } else { "$-1\r\n" };
            let text = name.as_deref().map_or(null.as_bytes().to_vec(), bulk);
            match name {
                Some(name) if began => _ = session.names[at(topic)].insert(name),
                Some(name) => _ = session.names[at(topic)].remove(&name),
                None => {}
            }
            let count = match topic {
                Topic::Shard => session.names[2].len(),
                _ => session.names[0].len() + session.names[1].len(),
            };
            let first = if session.resp3 { '>' } else { '*' };
            let mut bytes = format!("{first}3\r\n").into_bytes();
            bytes.extend(bulk(&word));
            bytes.extend(text);
            bytes.extend(format!(":{count}\r\n").into_bytes());
            let what = if number == last { What::Confirmed(tag) } else { What::Push };
            self.answer(what, bytes);
        }
    }

    /// Somebody else does something, if it can be done.
    pub fn other(&mut self, other: Other, number: usize) -> Result<(), Broken> {
        let waits = self.session.blocked.as_ref().is_some_and(|blocked| blocked.list == LISTS[1]);
        let possible = match other {
            Other::Set(key) | Other::Delete(key) => self.data.serves(KEYS[key]),
            Other::Push(list) => self.data.serves(LISTS[list]),
            Other::Publish(..) => true,
            // Servers of some versions have those go on waiting.
            Other::Slot(_) => self.data.cluster && !waits,
        };
        if self.is_silent() || !possible {
            return Ok(());
        }
        if let Some(real) = &mut self.real {
            real.other(other, number)?;
        }
        let value = format!("o{number}");
        match other {
            Other::Set(key) => self.data.set(KEYS[key], value),
            Other::Delete(key) => self.data.delete(KEYS[key]),
            Other::Push(list) => {
                self.data.push(LISTS[list], value);
                if let Some(blocked) = &self.session.blocked
                    && blocked.list == LISTS[list]
                    && let Some(value) = self.data.pop(LISTS[list])
                {
                    let answer = popped(LISTS[list], &value);
                    let tag = blocked.tag;
                    self.session.blocked = None;
                    self.answer(What::Reply(tag), answer);
                }
            }
            Other::Publish(name, len) => self.publish(NAMES[name], &format!("p{number:0len$}")),
            Other::Slot(slot) => self.data.set_slot(slot),
        }
        self.notify();
        self.settle(None)?;
        self.run()
    }

    fn publish(&mut self, name: &str, payload: &str) {
        let session = &self.session;
        let first = if session.resp3 { '>' } else { '*' };
        for (topic, word, len) in [(0, "message", 3), (1, "pmessage", 4)] {
            if self.session.names[topic].contains(name) {
                let mut push = format!("{first}{len}\r\n").into_bytes();
                push.extend(bulk(word));
                if topic == 1 {
                    push.extend(bulk(name));
                }
                push.extend(bulk(name));
                push.extend(bulk(payload));
                self.answer(What::Push, push);
            }
        }
    }
}
