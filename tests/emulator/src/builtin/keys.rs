//! Keys and values: what people's first programs send, and nothing clever.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::reply::{OK, Reply};

#[derive(Clone, Debug)]
enum Data {
    Text(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    List(VecDeque<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
}

#[derive(Clone, Debug)]
struct Entry {
    data: Data,
    ends: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<Vec<u8>, Entry>, Changes);

/// Which keys have changed, for those who watch them.
#[derive(Debug, Default)]
struct Changes {
    count: u64,
    last: BTreeMap<Vec<u8>, u64>,
}

/// What changes no key.
const READS: [&str; 20] = [
    "GET", "MGET", "STRLEN", "TTL", "PTTL", "EXISTS", "TYPE", "KEYS", "SCAN", "DBSIZE", "HGET",
    "HMGET", "HGETALL", "HKEYS", "HVALS", "HEXISTS", "HLEN", "LLEN", "LRANGE", "SMEMBERS",
];

type Result<T = Reply> = core::result::Result<T, Reply>;

/// Gives access to the data of one kind, which is made if it isn't there.
macro_rules! kind {
    ($name:ident, $existing:ident, $variant:ident, $type:ty) => {
        fn $name(&mut self, key: &[u8]) -> Result<&mut $type> {
            let empty = || Entry { data: Data::$variant(<$type>::default()), ends: None };
            match &mut self.0.entry(key.to_vec()).or_insert_with(empty).data {
                Data::$variant(data) => Ok(data),
                _ => Err(wrong_type()),
            }
        }

        fn $existing(&self, key: &[u8]) -> Result<Option<&$type>> {
            match self.0.get(key).map(|entry| &entry.data) {
                Some(Data::$variant(data)) => Ok(Some(data)),
                Some(_) => Err(wrong_type()),
                None => Ok(None),
            }
        }
    };
}

impl Keys {
    kind!(text, text_of, Text, Vec<u8>);
    kind!(hash, hash_of, Hash, BTreeMap<Vec<u8>, Vec<u8>>);
    kind!(list, list_of, List, VecDeque<Vec<u8>>);
    kind!(set, set_of, Set, BTreeSet<Vec<u8>>);

    /// Executes a command; `None` if there is none of this name and number of words.
    pub(super) fn execute(&mut self, name: &str, args: &[&[u8]]) -> Option<Reply> {
        let now = Instant::now();
        self.0.retain(|_, entry| entry.ends.is_none_or(|ends| ends > now));
        let done = self.strings(name, args, now).or_else(|| self.others(name, args, now))?;
        // What is empty isn't there.
        self.0.retain(|_, entry| match &entry.data {
            Data::Text(_) => true,
            Data::Hash(hash) => !hash.is_empty(),
            Data::List(list) => !list.is_empty(),
            Data::Set(set) => !set.is_empty(),
        });
        if done.is_ok() && !READS.contains(&name) {
            // Some of these are no keys, and then nobody watches them.
            let Self(keys, Changes { count, last }) = self;
            *count += 1;
            let all = name.starts_with("FLUSH");
            let known =
                if all { last.keys().chain(keys.keys()).cloned().collect() } else { vec![] };
            last.extend(
                known
                    .into_iter()
                    .chain(args.iter().map(|key| key.to_vec()))
                    .map(|key| (key, *count)),
            );
        }
        Some(done.unwrap_or_else(|error| error))
    }

    /// How often something had changed when `key` did.
    pub(super) fn changed(&self, key: &[u8]) -> u64 {
        self.1.last.get(key).copied().unwrap_or_default()
    }

    fn put(&mut self, key: &[u8], value: &[u8], ends: Option<Instant>) {
        self.0.insert(key.to_vec(), Entry { data: Data::Text(value.to_vec()), ends });
    }

    fn strings(&mut self, name: &str, args: &[&[u8]], now: Instant) -> Option<Result> {
        Some(match (name, args) {
            ("GET", [key]) => self.text_of(key).map(Reply::bulk_or_null),
            ("SET", [key, value, options @ ..]) => self.set_text(key, value, options, now),
            ("SETEX", [key, seconds, value]) => self.set_text(key, value, &[b"EX", seconds], now),
            ("SETNX", [key, value]) => {
                let done = self.set_text(key, value, &[b"NX"], now);
                done.map(|reply| Reply::Int(i64::from(!matches!(reply, Reply::Null))))
            }
            ("GETDEL", [key]) => self.text_of(key).map(Reply::bulk_or_null).inspect(|_| {
                self.0.remove(*key);
            }),
            ("MGET", [_, ..]) => Ok(Reply::Array(
                args.iter()
                    .map(|key| Reply::bulk_or_null(self.text_of(key).unwrap_or_default()))
                    .collect(),
            )),
            ("MSET", [_, _, ..]) if args.len().is_multiple_of(2) => {
                args.chunks(2).for_each(|pair| self.put(pair[0], pair[1], None));
                Ok(OK)
            }
            ("APPEND", [key, more]) => self.text(key).map(|text| {
                text.extend_from_slice(more);
                Reply::count(text.len())
            }),
            ("STRLEN", [key]) => {
                self.text_of(key).map(|text| Reply::count(text.map_or(0, Vec::len)))
            }
            ("INCR", [key]) => self.add(key, Ok(1)),
            ("DECR", [key]) => self.add(key, Ok(-1)),
            ("INCRBY", [key, by]) => self.add(key, number(by)),
            ("DECRBY", [key, by]) => self.add(key, number(by).map(i64::wrapping_neg)),
            _ => return None,
        })
    }

    fn others(&mut self, name: &str, args: &[&[u8]], now: Instant) -> Option<Result> {
        Some(match (name, args) {
            ("EXPIRE", [key, time]) => self.expire(key, number(time), 1000, now),
            ("PEXPIRE", [key, time]) => self.expire(key, number(time), 1, now),
            ("TTL", [key]) => Ok(self.time_left(key, 1000, now)),
            ("PTTL", [key]) => Ok(self.time_left(key, 1, now)),
            ("PERSIST", [key]) => {
                let ends = self.0.get_mut(*key).and_then(|entry| entry.ends.take());
                Ok(Reply::Int(i64::from(ends.is_some())))
            }
            ("DEL" | "UNLINK", [_, ..]) => {
                Ok(Reply::count(args.iter().filter(|key| self.0.remove(**key).is_some()).count()))
            }
            ("EXISTS", [_, ..]) => {
                Ok(Reply::count(args.iter().filter(|key| self.0.contains_key(**key)).count()))
            }
            ("TYPE", [key]) => {
                Ok(Reply::Status(self.0.get(*key).map_or("none", |entry| match entry.data {
                    Data::Text(_) => "string",
                    Data::Hash(_) => "hash",
                    Data::List(_) => "list",
                    Data::Set(_) => "set",
                })))
            }
            ("KEYS", [pattern]) => Ok(Reply::Array(self.matching(pattern))),
            // All at once: a cursor of 0 says that there is no more.
            ("SCAN", [_, options @ ..]) => {
                let pattern = option(options, b"MATCH").unwrap_or(b"*");
                let found = self.matching(pattern);
                Ok(Reply::Array(vec![Reply::bulk("0"), Reply::Array(found)]))
            }
            ("DBSIZE", []) => Ok(Reply::count(self.0.len())),
            ("FLUSHALL" | "FLUSHDB", _) => {
                self.0.clear();
                Ok(OK)
            }
            ("HSET" | "HMSET", [key, pairs @ ..])
                if !pairs.is_empty() && pairs.len().is_multiple_of(2) =>
            {
                self.hash(key).map(|hash| {
                    let before = hash.len();
                    hash.extend(pairs.chunks(2).map(|pair| (pair[0].to_vec(), pair[1].to_vec())));
                    let new = Reply::count(hash.len() - before);
                    if name == "HSET" { new } else { OK }
                })
            }
            ("HGET", [key, field]) => self
                .hash_of(key)
                .map(|hash| Reply::bulk_or_null(hash.and_then(|hash| hash.get(*field)))),
            ("HMGET", [key, fields @ ..]) if !fields.is_empty() => self.hash_of(key).map(|hash| {
                let value = |field: &&[u8]| hash.and_then(|hash| hash.get(*field));
                Reply::Array(fields.iter().map(|field| Reply::bulk_or_null(value(field))).collect())
            }),
            ("HGETALL" | "HKEYS" | "HVALS", [key]) => self.hash_of(key).map(|hash| {
                let pairs = hash.into_iter().flatten().flat_map(|(field, value)| {
                    let parts =
                        [(name != "HVALS").then_some(field), (name != "HKEYS").then_some(value)];
                    parts.into_iter().flatten()
                });
                let pairs = pairs.map(|text| Reply::bulk(text.clone())).collect();
                if name == "HGETALL" { Reply::Map(pairs) } else { Reply::Array(pairs) }
            }),
            ("HDEL", [key, fields @ ..]) if !fields.is_empty() => self.hash(key).map(|hash| {
                Reply::count(fields.iter().filter(|field| hash.remove(**field).is_some()).count())
            }),
            ("HEXISTS", [key, field]) => self.hash_of(key).map(|hash| {
                Reply::Int(i64::from(hash.is_some_and(|hash| hash.contains_key(*field))))
            }),
            ("HLEN", [key]) => {
                self.hash_of(key).map(|hash| Reply::count(hash.map_or(0, BTreeMap::len)))
            }
            ("HINCRBY", [key, field, by]) => number(by).and_then(|by| {
                let value = self.hash(key)?.entry(field.to_vec()).or_insert_with(|| b"0".to_vec());
                increase(value, by, "ERR hash value is not an integer")
            }),
            ("LPUSH" | "RPUSH", [key, items @ ..]) if !items.is_empty() => {
                self.list(key).map(|list| {
                    for item in items {
                        match name {
                            "LPUSH" => list.push_front(item.to_vec()),
                            _ => list.push_back(item.to_vec()),
                        }
                    }
                    Reply::count(list.len())
                })
            }
            ("LPOP" | "RPOP", [key]) => self.list(key).map(|list| {
                let item = if name == "LPOP" { list.pop_front() } else { list.pop_back() };
                Reply::bulk_or_null(item.as_ref())
            }),
            ("LLEN", [key]) => {
                self.list_of(key).map(|list| Reply::count(list.map_or(0, VecDeque::len)))
            }
            ("LRANGE", [key, from, to]) => self.range(key, number(from), number(to)),
            ("SADD", [key, items @ ..]) if !items.is_empty() => self.set(key).map(|set| {
                Reply::count(items.iter().filter(|item| set.insert(item.to_vec())).count())
            }),
            ("SREM", [key, items @ ..]) if !items.is_empty() => self
                .set(key)
                .map(|set| Reply::count(items.iter().filter(|item| set.remove(**item)).count())),
            ("SMEMBERS", [key]) => self.set_of(key).map(|set| {
                Reply::Set(
                    set.into_iter().flatten().map(|item| Reply::bulk(item.clone())).collect(),
                )
            }),
            ("SISMEMBER", [key, item]) => self
                .set_of(key)
                .map(|set| Reply::Int(i64::from(set.is_some_and(|set| set.contains(*item))))),
            ("SCARD", [key]) => {
                self.set_of(key).map(|set| Reply::count(set.map_or(0, BTreeSet::len)))
            }
            _ => return None,
        })
    }

    fn set_text(&mut self, key: &[u8], value: &[u8], options: &[&[u8]], now: Instant) -> Result {
        let before = self.0.get(key).cloned();
        let (mut ends, mut wanted, mut get) = (None, true, false);
        let mut options = options.iter();
        while let Some(word) = options.next() {
            let word = word.to_ascii_uppercase();
            match word.as_slice() {
                b"EX" | b"PX" => {
                    let time = number(options.next().copied().unwrap_or_default())?;
                    let unit = if word == b"EX" { 1000 } else { 1 };
                    let time = u64::try_from(time).ok().filter(|time| *time > 0);
                    let time = time
                        .ok_or_else(|| Reply::error("ERR invalid expire time in 'set' command"))?;
                    ends = now.checked_add(Duration::from_millis(time.saturating_mul(unit)));
                }
                b"KEEPTTL" => ends = before.as_ref().and_then(|entry| entry.ends),
                b"NX" => wanted = before.is_none(),
                b"XX" => wanted = before.is_some(),
                b"GET" => get = true,
                _ => return Err(Reply::error("ERR syntax error")),
            }
        }
        let old = if get { self.text_of(key)?.cloned() } else { None };
        if wanted {
            self.put(key, value, ends);
        }
        Ok(match (get, wanted) {
            (true, _) => Reply::bulk_or_null(old.as_ref()),
            (false, true) => OK,
            (false, false) => Reply::Null,
        })
    }

    fn add(&mut self, key: &[u8], by: Result<i64>) -> Result {
        let value = self.text(key)?;
        if value.is_empty() {
            *value = b"0".to_vec();
        }
        increase(value, by?, "ERR value is not an integer or out of range")
    }

    fn expire(&mut self, key: &[u8], time: Result<i64>, unit: i64, now: Instant) -> Result {
        let time = time?.saturating_mul(unit);
        let Some(entry) = self.0.get_mut(key) else { return Ok(Reply::Int(0)) };
        let time = Duration::from_millis(u64::try_from(time).unwrap_or(0));
        entry.ends = now.checked_add(time);
        Ok(Reply::Int(1))
    }

    fn time_left(&self, key: &[u8], unit: u128, now: Instant) -> Reply {
        Reply::Int(match self.0.get(key).map(|entry| entry.ends) {
            None => -2,
            Some(None) => -1,
            Some(Some(ends)) => {
                let left = ends.saturating_duration_since(now).as_millis();
                i64::try_from(left.div_ceil(unit)).unwrap_or(i64::MAX)
            }
        })
    }

    fn range(&self, key: &[u8], from: Result<i64>, to: Result<i64>) -> Result {
        let (from, to) = (from?, to?);
        let Some(list) = self.list_of(key)? else { return Ok(Reply::Array(Vec::new())) };
        let len = i64::try_from(list.len()).unwrap_or(i64::MAX);
        let place = |at: i64| if at < 0 { (len + at).max(0) } else { at };
        let to = if to < 0 { len + to } else { to };
        let places = (0..).zip(list).filter(|(at, _)| *at >= place(from) && *at <= to);
        Ok(Reply::Array(places.map(|(_, item)| Reply::bulk(item.clone())).collect()))
    }

    fn matching(&self, pattern: &[u8]) -> Vec<Reply> {
        let found = self.0.keys().filter(|key| matches_pattern(pattern, key));
        found.map(|key| Reply::bulk(key.clone())).collect()
    }
}

fn increase(value: &mut Vec<u8>, by: i64, wrong: &str) -> Result {
    let sum = number(value).map_err(|_| Reply::error(wrong))?.checked_add(by);
    let sum = sum.ok_or_else(|| Reply::error("ERR increment or decrement would overflow"))?;
    *value = sum.to_string().into_bytes();
    Ok(Reply::Int(sum))
}

fn number(text: &[u8]) -> Result<i64> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Reply::error("ERR value is not an integer or out of range"))
}

fn wrong_type() -> Reply {
    Reply::error("WRONGTYPE Operation against a key holding the wrong kind of value")
}

/// What stands behind the word `name`.
fn option<'a>(options: &[&'a [u8]], name: &[u8]) -> Option<&'a [u8]> {
    let at = options.iter().position(|word| word.eq_ignore_ascii_case(name))?;
    options.get(at + 1).copied()
}

/// Whether `text` is of this pattern, of literal bytes, `?` and `*`.
pub(super) fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            (0..=text.len()).any(|skipped| matches_pattern(rest, &text[skipped..]))
        }
        (Some((b'?', rest)), Some((_, text))) => matches_pattern(rest, text),
        (Some((byte, rest)), Some((first, text))) => byte == first && matches_pattern(rest, text),
        _ => false,
    }
}
