//! A small store for machines without a `redis-server`: enough for people's first programs.

mod keys;
mod reply;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Mutex;

use keys::{Keys, matches_pattern};
use redis_entraid_core::resp::{Framer, Value};
use reply::{OK, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

/// Keys and values, who may log in, and who listens to what.
#[derive(Debug, Default)]
pub(crate) struct Builtin {
    keys: Mutex<Keys>,
    accounts: Mutex<HashSet<(String, String)>>,
    listeners: Mutex<HashMap<u64, Listener>>,
    /// Connections so far.
    sessions: Mutex<u64>,
}

/// A connection, as far as it is subscribed.
#[derive(Debug)]
struct Listener {
    channels: BTreeSet<Vec<u8>>,
    patterns: BTreeSet<Vec<u8>>,
    messages: mpsc::UnboundedSender<Reply>,
}

#[derive(Default)]
struct Session {
    id: u64,
    logged_in: bool,
    resp3: bool,
    /// The commands since a `MULTI`.
    queued: Option<Vec<Vec<Vec<u8>>>>,
    /// The keys that are watched, and when they had changed last.
    watched: Vec<(Vec<u8>, u64)>,
}

impl Builtin {
    pub(crate) fn allow(&self, user: &str, token: &str) {
        let mut accounts = self.accounts.lock().expect("nobody panics with it");
        accounts.insert((user.to_owned(), token.to_owned()));
    }

    /// Serves one connection.
    pub(crate) async fn serve(self: std::sync::Arc<Self>, mut stream: DuplexStream) {
        let (messages, mut heard) = mpsc::unbounded_channel();
        let mut session = Session { id: self.enter(messages), ..Session::default() };
        let mut input = Vec::new();
        loop {
            let mut out = Vec::new();
            let mut used = 0;
            while let Ok(framed) = Framer::new().feed(&input[used..])
                && framed.complete
            {
                let command = &input[used..used + framed.used];
                used += framed.used;
                let words: Vec<&[u8]> = match Value::new(command) {
                    Ok(command) => {
                        command.items().map(|word| word.bytes().unwrap_or_default()).collect()
                    }
                    Err(_) => Vec::new(),
                };
                for reply in self.execute(&mut session, &words) {
                    reply.write(session.resp3, &mut out);
                }
            }
            input.drain(..used);
            while let Ok(message) = heard.try_recv() {
                message.write(session.resp3, &mut out);
            }
            if stream.write_all(&out).await.is_err() {
                break;
            }
            tokio::select! {
                read = stream.read_buf(&mut input) => if !matches!(read, Ok(1..)) {
                    break;
                },
                message = heard.recv() => if let Some(message) = message {
                    let mut out = Vec::new();
                    message.write(session.resp3, &mut out);
                    if stream.write_all(&out).await.is_err() {
                        break;
                    }
                },
            }
        }
        self.listeners.lock().expect("nobody panics with it").remove(&session.id);
    }

    fn enter(&self, messages: mpsc::UnboundedSender<Reply>) -> u64 {
        let mut sessions = self.sessions.lock().expect("nobody panics with it");
        *sessions += 1;
        let (channels, patterns) = Default::default();
        let listener = Listener { channels, patterns, messages };
        self.listeners.lock().expect("nobody panics with it").insert(*sessions, listener);
        *sessions
    }

    fn execute(&self, session: &mut Session, words: &[&[u8]]) -> Vec<Reply> {
        let text = |at: usize| String::from_utf8_lossy(words.get(at).copied().unwrap_or_default());
        let name = text(0).to_ascii_uppercase();
        if let Some(queued) = &mut session.queued
            && !matches!(name.as_str(), "EXEC" | "DISCARD" | "MULTI" | "WATCH")
        {
            queued.push(words.iter().map(|word| word.to_vec()).collect());
            return vec![Reply::Status("QUEUED")];
        }
        let args = words.get(1..).unwrap_or_default();
        vec![match (name.as_str(), args) {
            ("AUTH", [user, token]) => {
                self.login(session, user, token).unwrap_or_else(|error| error)
            }
            ("HELLO", _) => self.hello(session, args).unwrap_or_else(|error| error),
            _ if !session.logged_in => Reply::error("NOAUTH Authentication required."),
            ("PING", []) if !session.resp3 && self.is_subscribed(session) => {
                Reply::Array(vec![Reply::bulk("pong"), Reply::bulk("")])
            }
            ("PING", []) => Reply::Status("PONG"),
            ("PING" | "ECHO", [text]) => Reply::bulk(*text),
            ("CLIENT", [word, ..]) if word.eq_ignore_ascii_case(b"ID") => {
                Reply::Int(i64::try_from(session.id).unwrap_or(i64::MAX))
            }
            ("CLIENT" | "SELECT", [_, ..]) => OK,
            ("MULTI", []) if session.queued.is_some() => {
                Reply::error("ERR MULTI calls can not be nested")
            }
            ("MULTI", []) => {
                session.queued = Some(Vec::new());
                OK
            }
            ("WATCH", _) if session.queued.is_some() => {
                Reply::error("ERR WATCH inside MULTI is not allowed")
            }
            ("WATCH", [_, ..]) => {
                let keys = self.keys.lock().expect("nobody panics with it");
                session.watched.extend(args.iter().map(|key| (key.to_vec(), keys.changed(key))));
                OK
            }
            ("UNWATCH", []) => {
                session.watched.clear();
                OK
            }
            ("DISCARD", []) if session.queued.take().is_some() => {
                session.watched.clear();
                OK
            }
            ("EXEC", []) if session.queued.is_some() => {
                let queued = session.queued.take().unwrap_or_default();
                let watched = core::mem::take(&mut session.watched);
                let keys = self.keys.lock().expect("nobody panics with it");
                if watched.iter().any(|(key, changed)| keys.changed(key) != *changed) {
                    return vec![Reply::NullArray];
                }
                drop(keys);
                let words = |command: &Vec<Vec<u8>>| {
                    let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                    self.execute(session, &words)
                };
                Reply::Array(queued.iter().flat_map(words).collect())
            }
            ("EXEC" | "DISCARD", []) => Reply::Error(format!("ERR {name} without MULTI")),
            ("SUBSCRIBE" | "PSUBSCRIBE" | "UNSUBSCRIBE" | "PUNSUBSCRIBE", names) => {
                return self.subscribe(session, &name.to_lowercase(), names);
            }
            ("PUBLISH", [channel, payload]) => self.publish(channel, payload),
            _ => {
                let mut keys = self.keys.lock().expect("nobody panics with it");
                keys.execute(&name, args).unwrap_or_else(|| {
                    Reply::Error(format!(
                        "ERR unknown command '{}', with args beginning with: ",
                        text(0)
                    ))
                })
            }
        }]
    }

    fn hello(&self, session: &mut Session, args: &[&[u8]]) -> Result<Reply, Reply> {
        let auth = args.iter().position(|word| word.eq_ignore_ascii_case(b"AUTH"));
        if let Some([user, token, ..]) = auth.and_then(|at| args.get(at + 1..)) {
            self.login(session, user, token)?;
        } else if !session.logged_in {
            return Err(Reply::error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
                HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
                select the RESP protocol version at the same time",
            ));
        }
        match args.first().copied() {
            None => {}
            Some(b"2") => session.resp3 = false,
            Some(b"3") => session.resp3 = true,
            Some(_) => return Err(Reply::error("NOPROTO unsupported protocol version")),
        }
        let id = i64::try_from(session.id).unwrap_or(i64::MAX);
        Ok(Reply::Map(vec![
            Reply::bulk("server"),
            Reply::bulk("redis"),
            Reply::bulk("version"),
            Reply::bulk("7.4.0"),
            Reply::bulk("proto"),
            Reply::Int(if session.resp3 { 3 } else { 2 }),
            Reply::bulk("id"),
            Reply::Int(id),
        ]))
    }

    fn login(&self, session: &mut Session, user: &[u8], token: &[u8]) -> Result<Reply, Reply> {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let account = (text(user), text(token));
        if !self.accounts.lock().expect("nobody panics with it").contains(&account) {
            return Err(Reply::error(
                "WRONGPASS invalid username-password pair or user is disabled.",
            ));
        }
        session.logged_in = true;
        Ok(OK)
    }

    fn is_subscribed(&self, session: &Session) -> bool {
        let listeners = self.listeners.lock().expect("nobody panics with it");
        let listener = listeners.get(&session.id);
        listener.is_some_and(|it| !it.channels.is_empty() || !it.patterns.is_empty())
    }

    /// Begins or ends subscriptions. Each name is confirmed on its own.
    fn subscribe(&self, session: &Session, word: &str, names: &[&[u8]]) -> Vec<Reply> {
        let mut listeners = self.listeners.lock().expect("nobody panics with it");
        let Some(listener) = listeners.get_mut(&session.id) else { return Vec::new() };
        let begins = !word.contains("unsub");
        let topics = |listener: &mut Listener| match word.starts_with('p') {
            true => core::mem::take(&mut listener.patterns),
            false => core::mem::take(&mut listener.channels),
        };
        let mut known = topics(listener);
        let mut names: Vec<Option<Vec<u8>>> =
            names.iter().map(|name| Some(name.to_vec())).collect();
        if names.is_empty() {
            if begins {
                return vec![Reply::arity(word)];
            }
            names = known.iter().cloned().map(Some).collect();
            if names.is_empty() {
                names.push(None);
            }
        }
        let others = listener.channels.len() + listener.patterns.len();
        let confirm = |name: Option<Vec<u8>>| {
            if let Some(name) = &name {
                let _ = if begins { known.insert(name.clone()) } else { known.remove(name) };
            }
            let count = Reply::count(known.len() + others);
            Reply::Push(vec![Reply::bulk(word), Reply::bulk_or_null(name.as_ref()), count])
        };
        let confirmed = names.into_iter().map(confirm).collect();
        match word.starts_with('p') {
            true => listener.patterns = known,
            false => listener.channels = known,
        }
        confirmed
    }

    fn publish(&self, channel: &[u8], payload: &[u8]) -> Reply {
        let mut count = 0;
        for listener in self.listeners.lock().expect("nobody panics with it").values() {
            let mut send = |words: &[&[u8]]| {
                let message = Reply::Push(words.iter().map(|word| Reply::bulk(*word)).collect());
                count += usize::from(listener.messages.send(message).is_ok());
            };
            if listener.channels.contains(channel) {
                send(&[b"message", channel, payload]);
            }
            for pattern in listener.patterns.iter().filter(|it| matches_pattern(it, channel)) {
                send(&[b"pmessage", pattern, channel, payload]);
            }
        }
        Reply::count(count)
    }
}

#[cfg(test)]
mod tests;
