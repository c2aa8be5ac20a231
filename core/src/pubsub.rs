//! What a server tells a subscriber.
//!
//! ```
//! use redis_entraid_core::pubsub::Notice;
//! use redis_entraid_core::resp::Value;
//!
//! let push = Value::new(b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n").unwrap();
//! let Some(Notice::Message(message)) = Notice::of(push) else { panic!() };
//! assert_eq!((message.channel, message.payload.bytes().unwrap()), (&b"news"[..], &b"hi"[..]));
//! ```
//!
//! Source: [Redis Pub/Sub](https://redis.io/docs/latest/develop/pubsub/).

use crate::command::Topic;
use crate::resp::Value;

/// Something about subscriptions: with RESP3 a push, with RESP2 an array.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// A message was published.
    Message(Message<'a>),
    /// A subscription began or ended.
    Confirmation(Confirmation<'a>),
}

/// A published message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// By which kind of subscription it came.
    pub topic: Topic,
    /// The pattern that was subscribed to, if it was one.
    pub pattern: Option<&'a [u8]>,
    /// The channel that it was published on.
    pub channel: &'a [u8],
    /// What was published: a string, unless the server itself speaks, about keys that
    /// `CLIENT TRACKING` follows for example.
    pub payload: Value<'a>,
}

/// A subscription began or ended.
#[derive(Clone, Copy, Debug)]
pub struct Confirmation<'a> {
    /// Of which kind.
    pub topic: Topic,
    /// Whether it began.
    pub began: bool,
    /// What was subscribed to; `None` if all subscriptions were to end and there are none.
    pub name: Option<&'a [u8]>,
    /// How many subscriptions there are then: shard channels, or all others.
    pub count: i64,
}

/// What a notice is about.
#[derive(Clone, Copy)]
enum NoticeKind {
    Message,
    Begins,
    Ends,
}

/// What a notice begins with.
const WORDS: [(&str, Topic, NoticeKind); 9] = [
    ("message", Topic::Channel, NoticeKind::Message),
    ("pmessage", Topic::Pattern, NoticeKind::Message),
    ("smessage", Topic::Shard, NoticeKind::Message),
    ("subscribe", Topic::Channel, NoticeKind::Begins),
    ("psubscribe", Topic::Pattern, NoticeKind::Begins),
    ("ssubscribe", Topic::Shard, NoticeKind::Begins),
    ("unsubscribe", Topic::Channel, NoticeKind::Ends),
    ("punsubscribe", Topic::Pattern, NoticeKind::Ends),
    ("sunsubscribe", Topic::Shard, NoticeKind::Ends),
];

impl<'a> Notice<'a> {
    /// What `value` is, if it is about subscriptions.
    pub fn of(value: Value<'a>) -> Option<Self> {
        let mut items = value.items();
        let kind = items.next()?.bytes().ok()?;
        let (_, topic, shape) = WORDS.iter().find(|(word, ..)| word.as_bytes() == kind)?;
        let (topic, began) = (*topic, matches!(shape, NoticeKind::Begins));
        if let NoticeKind::Message = shape {
            let pattern = match topic {
                Topic::Pattern => Some(items.next()?.bytes().ok()?),
                Topic::Channel | Topic::Shard => None,
            };
            let (channel, payload) = (items.next()?.bytes().ok()?, items.next()?);
            return Some(Self::Message(Message { topic, pattern, channel, payload }));
        }
        let name = items.next().and_then(|name| name.bytes().ok());
        let count = items.next().and_then(|count| count.int().ok()).unwrap_or_default();
        Some(Self::Confirmation(Confirmation { topic, began, name, count }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(raw: &'static str) -> Option<Notice<'static>> {
        Notice::of(Value::new(raw.as_bytes()).unwrap())
    }

    #[test]
    fn each_kind_of_subscription_has_its_own_words() {
        for (prefix, topic) in [("", Topic::Channel), ("p", Topic::Pattern), ("s", Topic::Shard)] {
            for (word, begins) in [("subscribe", true), ("unsubscribe", false)] {
                let word = std::format!("{prefix}{word}");
                let raw = std::format!("*3\r\n${}\r\n{word}\r\n$1\r\na\r\n:2\r\n", word.len());
                let Some(Notice::Confirmation(told)) = of(raw.leak()) else { panic!("{word}") };
                assert_eq!((told.topic, told.began, told.count), (topic, begins, 2), "{word}");
                assert_eq!(told.name, Some(&b"a"[..]));
            }
        }
        let Some(Notice::Message(message)) =
            of(">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nab\r\n$1\r\nx\r\n")
        else {
            panic!()
        };
        assert_eq!((message.pattern, message.channel), (Some(&b"a*"[..]), &b"ab"[..]));
        let Some(Notice::Message(message)) = of(">3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$1\r\nx\r\n")
        else {
            panic!()
        };
        assert_eq!(message.topic, Topic::Shard);
    }

    #[test]
    fn what_is_about_something_else_is_none() {
        for raw in [
            ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
            "*2\r\n$4\r\npong\r\n$0\r\n\r\n",
            "*1\r\n$7\r\nmessage\r\n",
            "*2\r\n$7\r\nmessage\r\n$1\r\na\r\n",
            "*0\r\n",
            "*1\r\n$0\r\n\r\n",
            "+OK\r\n",
        ] {
            assert!(of(raw).is_none(), "{raw:?}");
        }
        // Nothing was subscribed to.
        let Some(Notice::Confirmation(told)) = of("*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n")
        else {
            panic!()
        };
        assert_eq!((told.name, told.count), (None, 0));
    }
}
