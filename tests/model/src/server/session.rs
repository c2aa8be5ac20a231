//! What the server keeps for one connection, and what commands do to it.

use std::collections::BTreeSet;

use redis_entraid_core::command::Topic;
use redis_entraid_core::connection::Tag;

use super::data::{bulk, error, keys, popped};
use super::others::subscription;
use super::{Broken, Server, What};
use crate::script::{Fault, LoginFault};

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Session {
    /// The token that it has logged in with, and when that ends.
    pub login: Option<(String, u64)>,
    /// Since the last login, somebody was told that there is none.
    pub told_noauth: bool,
    pub(super) resp3: bool,
    /// Commands of the open transaction.
    pub multi: Option<Vec<Vec<String>>>,
    spoiled: bool,
    touched: bool,
    /// An answer that nobody knows left open whether the watched keys are forgotten.
    pub doubtful: bool,
    /// The keys that are watched.
    pub watched: BTreeSet<String>,
    /// Whether tracking is on.
    pub tracking: bool,
    tracked: BTreeSet<String>,
    /// Channels, patterns, shard channels.
    pub(super) names: [BTreeSet<String>; 3],
    /// The command that blocks.
    pub blocked: Option<Blocked>,
}

/// A command that blocks.
#[derive(Debug)]
pub struct Blocked {
    pub(super) tag: Tag,
    pub(super) list: String,
    /// Until when.
    pub until: u64,
}

impl Session {
    pub(super) fn null_array(&self) -> &'static [u8] {
        if self.resp3 { b"_\r\n" } else { b"*-1\r\n" }
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&self) -> usize {
        self.names.iter().map(BTreeSet::len).sum()
    }

    /// Whether it takes nothing but commands about subscriptions.
    pub fn is_resp2_subscriber(&self) -> bool {
        !self.resp3 && self.subscriptions() > 0
    }

    /// Whether there is something that ends with `EXEC`.
    pub fn is_open(&self) -> bool {
        self.multi.is_some() || !self.watched.is_empty()
    }

    fn close_transaction(&mut self) {
        self.multi = None;
        self.watched.clear();
        (self.spoiled, self.touched, self.doubtful) = (false, false, false);
    }
}

/// How many words a command has, behind its name.
fn arity(word: &str) -> std::ops::RangeInclusive<usize> {
    match word {
        "GET" => 1..=1,
        "EXEC" | "DISCARD" | "MULTI" => 0..=0,
        "WATCH" | "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" => 1..=usize::MAX,
        _ => 0..=usize::MAX,
    }
}

impl Server {
    pub(super) fn command(&mut self, words: &[String], raw: &[u8]) -> Result<(), Broken> {
        let text: Vec<&str> = words.iter().map(String::as_str).collect();
        match *text {
            ["HELLO" | "AUTH", ..] => return self.login(&text),
            ["PING"] | ["CLIENT", "SETINFO" | "SETNAME", ..] => {
                if self.session.multi.is_some() {
                    return Broken::new("nothing of ours in a transaction", words.join(" "));
                }
                let answer = match (self.session.login.is_some(), text[0]) {
                    (false, _) => b"-NOAUTH Authentication required.\r\n".to_vec(),
                    (true, "PING") if self.session.is_resp2_subscriber() => {
                        b"*2\r\n$4\r\npong\r\n$0\r\n\r\n".to_vec()
                    }
                    (true, _) if self.session.is_resp2_subscriber() => {
                        error("ERR Can't execute 'client' in this context")
                    }
                    (true, "PING") => b"+PONG\r\n".to_vec(),
                    (true, _) => b"+OK\r\n".to_vec(),
                };
                self.answer(What::Own, answer);
                return Ok(());
            }
            _ => {}
        }
        let Some((tag, expected)) = self.submitted.pop_front() else {
            return Broken::new("what was submitted is sent once", words.join(" "));
        };
        if expected != raw {
            let expected = String::from_utf8_lossy(&expected).into_owned();
            return Broken::new("what was submitted is sent once", format!("{text:?}, {expected}"));
        }
        match self.refused(words)? {
            Some(refused) => {
                self.session.told_noauth |= refused.starts_with("NOAUTH");
                let answer = self.refuse(&text, &refused);
                self.answer(What::Reply(tag), answer);
            }
            None => self.perform(tag, words, &text),
        }
        self.notify();
        Ok(())
    }

    /// Why a command isn't even looked at.
    fn refused(&mut self, words: &[String]) -> Result<Option<String>, Broken> {
        let word = words[0].as_str();
        if !arity(word).contains(&(words.len() - 1)) {
            return Ok(Some(format!("ERR wrong number of arguments for '{word}' command")));
        }
        if !self.dialect.shards && matches!(word, "SSUBSCRIBE" | "SUNSUBSCRIBE") {
            return Ok(Some(format!("ERR unknown command `{word}`")));
        }
        if self.session.login.is_none() {
            return Ok(Some("NOAUTH Authentication required.".into()));
        }
        let plain = subscription(word).is_none()
            && !matches!(word, "EXEC" | "DISCARD" | "MULTI" | "WATCH" | "UNWATCH" | "CLIENT");
        match self.fault {
            Some(Fault::NoPerm) => {
                self.fault = None;
                if let Some(real) = &mut self.real {
                    real.forbid(word)?;
                }
                return Ok(Some(format!("NOPERM this user can't run the '{word}' command")));
            }
            Some(Fault::NotNow(which))
                if plain || word == "EXEC" && self.session.multi.is_some() =>
            {
                self.fault = None;
                let errors = [
                    "OOM command not allowed when used memory > 'maxmemory'.",
                    "MISCONF Redis is configured to save RDB snapshots, but it can't.",
                    "BUSY Redis is busy running a script.",
                    "READONLY You can't write against a read only replica.",
                    "LOADING Redis is loading the dataset in memory",
                    "NOREPLICAS Not enough good replicas to write.",
                ];
                return Ok(Some(errors[which % errors.len()].into()));
            }
            Some(Fault::Odd(_)) => return Ok(Some("ODD something that nobody knows".into())),
            _ => {}
        }
        let shards = subscription(word).is_some_and(|(topic, _)| topic == Topic::Shard);
        if shards && words.len() > 2 && self.data.cluster {
            return Ok(Some("CROSSSLOT Keys in request don't hash to the same slot".into()));
        }
        let queued = self.session.multi.iter().flatten().map(Vec::as_slice);
        let redirect = match word {
            "EXEC" => self.data.redirect(queued),
            _ => self.data.redirect(std::iter::once(words)),
        };
        if let Some(error) = redirect {
            return Ok(Some(error.into()));
        }
        if self.session.is_resp2_subscriber() && subscription(word).is_none() {
            return Ok(Some(format!("ERR Can't execute '{word}' in this context")));
        }
        Ok(None)
    }

    /// What a refusal does to the session: a transaction is spoiled, or over.
    fn refuse(&mut self, text: &[&str], why: &str) -> Vec<u8> {
        let cluster = ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "CROSSSLOT"];
        if let Some(Fault::Odd(done)) = self.fault
            && why.starts_with("ODD")
        {
            self.fault = None;
            match text[0] {
                "EXEC" | "DISCARD" => {
                    if done {
                        self.session.close_transaction();
                    }
                    self.session.doubtful = true;
                }
                _ => self.session.spoiled |= self.session.multi.is_some(),
            }
            return error(why);
        }
        if text[0] == "EXEC" {
            self.session.close_transaction();
            if !cluster.iter().any(|code| why.starts_with(code)) {
                return error(&format!("EXECABORT Transaction discarded because of: {why}"));
            }
        } else {
            self.session.spoiled |= self.session.multi.is_some();
        }
        error(why)
    }

    fn perform(&mut self, tag: Tag, words: &[String], text: &[&str]) {
        let reply = What::Reply(tag);
        let session = &mut self.session;
        let ok = &b"+OK\r\n"[..];
        match (text, &mut session.multi) {
            (["MULTI"], Some(_)) => {
                self.answer(reply, error("ERR MULTI calls can not be nested"));
            }
            (["MULTI"], none) => {
                *none = Some(Vec::new());
                self.answer(reply, ok);
            }
            (["EXEC" | "DISCARD"], None) => {
                self.answer(reply, error(&format!("ERR {} without MULTI", text[0])));
            }
            (["DISCARD"], Some(_)) => {
                session.close_transaction();
                self.answer(reply, ok);
            }
            (["EXEC"], Some(queue)) => {
                let queue = std::mem::take(queue);
                let (spoiled, touched) = (session.spoiled, session.touched);
                session.close_transaction();
                let answer = if spoiled {
                    error("EXECABORT Transaction discarded because of previous errors.")
                } else if touched {
                    session.null_array().to_vec()
                } else {
                    self.transaction(&queue)
                };
                self.answer(reply, answer);
            }
            (["WATCH", ..], Some(_)) => {
                self.answer(reply, error("ERR WATCH inside MULTI is not allowed"));
            }
            (_, Some(queue)) => {
                // What won't be executed isn't kept.
                if !session.spoiled && (!session.touched || self.dialect.queues_in_vain) {
                    queue.push(words.to_vec());
                }
                self.answer(reply, &b"+QUEUED\r\n"[..]);
            }
            (["WATCH", keys @ ..], None) => {
                session.watched.extend(keys.iter().map(|key| (*key).to_owned()));
                self.answer(reply, ok);
            }
            (["BLPOP", list, time], None) => match self.data.pop(list) {
                Some(value) => self.answer(reply, popped(list, &value)),
                None => {
                    let millis = time.replace('.', "").parse().unwrap_or(0);
                    let until = self.now.saturating_add(millis);
                    session.blocked = Some(Blocked { tag, list: (*list).to_owned(), until });
                }
            },
            ([word, names @ ..], None) => match subscription(word) {
                Some((topic, began)) => self.subscribe(tag, topic, began, names),
                None => {
                    let answer = self.plain(words);
                    self.answer(reply, answer);
                }
            },
            ([], None) => {}
        }
    }

    /// Executes what can be a part of a transaction.
    fn plain(&mut self, words: &[String]) -> Vec<u8> {
        let session = &mut self.session;
        match words[0].as_str() {
            "UNWATCH" => {
                session.watched.clear();
                session.touched = false;
                b"+OK\r\n".to_vec()
            }
            "CLIENT" => {
                session.tracking = words[2] == "ON";
                b"+OK\r\n".to_vec()
            }
            word => {
                if session.tracking && matches!(word, "GET" | "MGET") {
                    session.tracked.extend(keys(words).iter().cloned());
                }
                let answer = self.data.execute(words, session.resp3);
                // Who changes a key isn't told.
                self.touch();
                answer
            }
        }
    }

    fn transaction(&mut self, queue: &[Vec<String>]) -> Vec<u8> {
        let mut answer = format!("*{}\r\n", queue.len()).into_bytes();
        for words in queue {
            answer.extend(self.plain(words));
        }
        answer
    }

    /// Notes for the next `EXEC` what has changed.
    fn touch(&mut self) {
        let session = &mut self.session;
        session.touched |= self.data.changed.iter().any(|key| session.watched.contains(key));
        for key in std::mem::take(&mut self.data.changed) {
            session.tracked.remove(&key);
        }
    }

    /// Tells who tracks them what others have changed.
    pub(super) fn notify(&mut self) {
        let session = &mut self.session;
        let changed = self.data.changed.clone();
        let told: Vec<_> =
            changed.into_iter().filter(|key| session.tracked.contains(key)).collect();
        let tells = session.tracking && session.resp3;
        self.touch();
        for key in told.iter().filter(|_| tells) {
            let push = [&b">2\r\n$10\r\ninvalidate\r\n*1\r\n"[..], &bulk(key)].concat();
            self.answer(What::Push, push);
        }
    }

    fn login(&mut self, text: &[&str]) -> Result<(), Broken> {
        let words = text[..text.len().min(2)].join(" ");
        let again = self.session.login.is_some();
        if self.session.multi.is_some() {
            return Broken::new("nothing of ours in a transaction", words);
        }
        if self.session.is_resp2_subscriber() {
            return Broken::new("no AUTH by a RESP2 subscriber", words);
        }
        if again && (self.owes() || !self.inbox.is_empty()) {
            return Broken::new("an AUTH is alone on the wire", words);
        }
        let (hello, token) = match *text {
            ["HELLO", "3", "AUTH", _, token, ..] => (true, token),
            ["AUTH", _, token] => (false, token),
            _ => return Broken::new("a login is one", words),
        };
        if hello && !self.dialect.hello {
            self.answer(What::Login, error("ERR unknown command `HELLO`"));
            return Ok(());
        }
        let now = self.now;
        let known = self.tokens.iter().find(|(text, ends)| text == token && now < *ends);
        let refused = match (self.login_fault.take(), known) {
            (Some(LoginFault::Loading), _) => {
                Some("LOADING Redis is loading the dataset in memory")
            }
            (Some(LoginFault::WrongPass), _) | (None, None) => {
                Some("WRONGPASS invalid username-password pair or user is disabled.")
            }
            (None, Some(_)) => None,
        };
        if let Some(refused) = refused {
            self.answer(What::Login, error(refused));
            return Ok(());
        }
        self.session.login = known.cloned();
        self.session.told_noauth = false;
        if hello {
            self.session.resp3 = true;
            self.answer(What::Login, &b"%2\r\n+proto\r\n:3\r\n+id\r\n:9\r\n"[..]);
        } else {
            self.answer(What::Login, &b"+OK\r\n"[..]);
        }
        Ok(())
    }
}
