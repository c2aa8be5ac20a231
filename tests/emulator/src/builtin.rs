//! A small store for machines without a `redis-server`: enough for a demonstration.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use redis_entraid_core::resp::{Framer, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Keys and values, and who may log in.
#[derive(Debug, Default)]
pub(crate) struct Builtin {
    keys: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    accounts: Mutex<HashSet<(String, String)>>,
}

#[derive(Default)]
struct Session {
    logged_in: bool,
    resp3: bool,
}

impl Builtin {
    pub(crate) fn allow(&self, user: &str, token: &str) {
        let mut accounts = self.accounts.lock().expect("nobody panics with it");
        accounts.insert((user.to_owned(), token.to_owned()));
    }

    /// Serves one connection.
    pub(crate) async fn serve(self: std::sync::Arc<Self>, mut stream: DuplexStream) {
        let mut session = Session::default();
        let mut input = Vec::new();
        loop {
            let mut replies = Vec::new();
            let mut used = 0;
            while let Ok(framed) = Framer::new().feed(&input[used..])
                && framed.complete
            {
                let command = &input[used..used + framed.used];
                used += framed.used;
                let words = match Value::new(command) {
                    Ok(command) => {
                        command.items().map(|word| word.bytes().unwrap_or_default()).collect()
                    }
                    Err(_) => Vec::new(),
                };
                replies.extend(self.execute(&mut session, &words));
            }
            input.drain(..used);
            if stream.write_all(&replies).await.is_err() {
                return;
            }
            match stream.read_buf(&mut input).await {
                Ok(1..) => {}
                _ => return,
            }
        }
    }

    fn execute(&self, session: &mut Session, words: &[&[u8]]) -> Vec<u8> {
        let text = |at: usize| String::from_utf8_lossy(words.get(at).copied().unwrap_or_default());
        let name = text(0).to_ascii_uppercase();
        match (name.as_str(), words.len()) {
            ("AUTH", 3) => return self.login(session, &text(1), &text(2)),
            ("HELLO", _) => {
                let auth = words.iter().position(|word| word.eq_ignore_ascii_case(b"AUTH"));
                if let Some(at) = auth {
                    let reply = self.login(session, &text(at + 1), &text(at + 2));
                    if !session.logged_in || reply.starts_with(b"-") {
                        return reply;
                    }
                }
                if !session.logged_in {
                    return b"-NOAUTH HELLO must be called with the client already authenticated\r\n".into();
                }
                session.resp3 = text(1) == "3";
                let map = if session.resp3 { "%3" } else { "*6" };
                let proto = if session.resp3 { 3 } else { 2 };
                return format!(
                    "{map}\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:{proto}\r\n$2\r\nid\r\n:1\r\n"
                )
                .into_bytes();
            }
            _ if !session.logged_in => return b"-NOAUTH Authentication required.\r\n".into(),
            _ => {}
        }
        let mut keys = self.keys.lock().expect("nobody panics with it");
        match (name.as_str(), words) {
            ("PING", [_]) => b"+PONG\r\n".into(),
            ("PING", [_, text]) => bulk(Some(text), session),
            ("GET", [_, key]) => bulk(keys.get(*key).map(Vec::as_slice), session),
            ("SET", [_, key, value]) => {
                keys.insert(key.to_vec(), value.to_vec());
                b"+OK\r\n".into()
            }
            ("INCR", [_, key]) => {
                let value = keys.entry(key.to_vec()).or_insert_with(|| b"0".to_vec());
                let number =
                    std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
                match number.and_then(|number| number.checked_add(1)) {
                    Some(number) => {
                        *value = number.to_string().into_bytes();
                        format!(":{number}\r\n").into_bytes()
                    }
                    None => b"-ERR value is not an integer or out of range\r\n".into(),
                }
            }
            _ => format!("-ERR unknown command '{}'\r\n", text(0)).into_bytes(),
        }
    }

    fn login(&self, session: &mut Session, user: &str, token: &str) -> Vec<u8> {
        let account = (user.to_owned(), token.to_owned());
        if self.accounts.lock().expect("nobody panics with it").contains(&account) {
            session.logged_in = true;
            b"+OK\r\n".into()
        } else {
            b"-WRONGPASS invalid username-password pair or user is disabled.\r\n".into()
        }
    }
}

fn bulk(bytes: Option<&[u8]>, session: &Session) -> Vec<u8> {
    match bytes {
        Some(bytes) => [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat(),
        None if session.resp3 => b"_\r\n".into(),
        None => b"$-1\r\n".into(),
    }
}
