//! What clients send, on its way to the store.

use std::io::{Error, Result};
use std::sync::atomic::Ordering;

use redis_entraid_core::resp::{Arg, Framer, Value, encode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::Session;
use super::replies::{Expected, Reply};
use crate::cluster::rewrite::Names;
use crate::counters::LoginKind;
use crate::faults::{Event, Fault};

/// Reads commands and passes them on, and says what is to be expected before it is asked for.
pub(super) async fn pass(
    session: &Session<'_>,
    mut input: impl AsyncRead + Unpin,
    mut store: impl AsyncWrite + Unpin,
    expected: mpsc::UnboundedSender<Expected>,
) -> Result<()> {
    let Session { shared, port, .. } = session;
    let mut buffer = Vec::with_capacity(1 << 16);
    let mut framer = Framer::new();
    let mut framed = 0;
    // What a server says that has forgotten who this is.
    let mut forgotten = false;
    let mut resp3 = false;
    loop {
        let mut start = 0;
        let mut out = Vec::new();
        loop {
            let next = framer.feed(&buffer[framed..]).map_err(Error::other)?;
            framed += next.used;
            if !next.complete {
                break;
            }
            let command = &buffer[start..framed];
            start = framed;
            let words: Vec<&[u8]> = match Value::new(command) {
                Ok(command) => command.items().filter_map(|word| word.bytes().ok()).collect(),
                Err(_) => Vec::new(),
            };
            if let [name, version @ (b"2" | b"3"), ..] = words[..]
                && name.eq_ignore_ascii_case(b"HELLO")
            {
                resp3 = version == b"3";
            }
            let mut reply = Reply { names: Names::of(&words), resp3, ..Reply::default() };
            let mut subscription = subscription(&words);
            let fault = match credentials(&words) {
                Some(at) => {
                    store.write_all(&out).await?;
                    out.clear();
                    let fault = shared.faults.event(Event::Auth);
                    reply.login = checked(session, &words, at, fault.as_ref(), &mut out).await?;
                    forgotten &= reply.login.is_none();
                    fault.filter(|fault| *fault != Fault::WrongPass)
                }
                None => {
                    let fault = if introduces(&words) {
                        None
                    } else {
                        shared.counters.command(*port, &words);
                        shared.faults.event(Event::Command)
                    };
                    if matches!(fault, Some(Fault::Cut)) {
                        store.write_all(&out).await?;
                        return Ok(());
                    }
                    forgotten |= fault == Some(Fault::NoAuth);
                    let refused = match forgotten {
                        true => Some(not_logged_in(&words)),
                        false => shared.rules.refused(*port, session.swapped.as_deref(), &words),
                    };
                    let fault = match reply.names {
                        Some(Names::Slots) => shared.faults.event(Event::Slots).or(fault),
                        _ => fault,
                    };
                    if let Some(Fault::Odd(oddity)) = &fault {
                        reply.oddity = Some(*oddity);
                    }
                    reply.ours = shared.rules.reply(&words, reply.oddity, resp3);
                    match (&fault, &refused) {
                        // The store would confirm it.
                        (Some(Fault::Hang(None)), _) if subscription.is_some() => {}
                        (Some(Fault::Error(_)), _) | (_, Some(_)) if subscription.is_some() => {
                            subscription = None;
                            out.extend(UNSUPPORTED);
                        }
                        (_, Some(refused)) => out.extend(instead(refused)),
                        _ if reply.ours.is_some() => out.extend(PING),
                        _ => out.extend(command),
                    }
                    fault.filter(|fault| *fault != Fault::NoAuth).or(refused.map(Fault::Error))
                }
            };
            match fault {
                Some(Fault::Cut) => return Ok(()),
                Some(Fault::Deaf) => {
                    store.write_all(&out).await?;
                    return std::future::pending().await;
                }
                // The store doesn't hear of it.
                Some(Fault::Hang(None)) if subscription.is_some() => {}
                fault => {
                    let reply = || Expected::Reply(Reply { fault, ..reply });
                    let _ = expected.send(subscription.unwrap_or_else(reply));
                }
            }
        }
        store.write_all(&out).await?;
        buffer.drain(..start);
        framed -= start;
        if input.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        if session.answered.swap(false, Ordering::Relaxed) {
            shared.counters.add(|counts| &mut counts.rounds);
            shared.counters.at(*port, |counts| counts.rounds += 1);
        }
    }
}

/// What a server says to who isn't logged in.
fn not_logged_in(words: &[&[u8]]) -> String {
    let noauth = "NOAUTH Authentication required.";
    match words.first() {
        Some(name) if name.eq_ignore_ascii_case(b"EXEC") => {
            format!("EXECABORT Transaction discarded because of: {noauth}")
        }
        _ => noauth.to_owned(),
    }
}

/// A command that every store answers with an error.
const UNSUPPORTED: &[u8] = b"*1\r\n$11\r\nUNSUPPORTED\r\n";

/// What the store gets instead of a command that we reply to: an error is the store's all the same.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// What the store gets instead of a command that is refused, so that replies stay in order and an
/// open transaction is spoilt, or discarded.
const fn instead(refused: &str) -> &'static [u8] {
    match refused.as_bytes() {
        [b'E', b'X', b'E', b'C', ..] => b"*1\r\n$7\r\nDISCARD\r\n",
        _ => UNSUPPORTED,
    }
}

/// What is expected of a command about subscriptions: they are confirmed, not replied to.
fn subscription(words: &[&[u8]]) -> Option<Expected> {
    const NAMES: [&str; 6] =
        ["subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe"];
    let [name, names @ ..] = words else { return None };
    let word = NAMES.into_iter().find(|known| name.eq_ignore_ascii_case(known.as_bytes()))?;
    Some(Expected::Confirmations { word, left: names.len().max(1) })
}

/// Whether a command says who the client is: libraries send it by themselves, and differ in when.
fn introduces(words: &[&[u8]]) -> bool {
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    matches!(words, [first, second, ..]
        if is(first, "CLIENT") && (is(second, "SETINFO") || is(second, "SETNAME")))
}

/// Where in a command the user name is, if it is a login.
fn credentials(words: &[&[u8]]) -> Option<usize> {
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    match words {
        [first, _, _] if is(first, "AUTH") => Some(1),
        [first, rest @ ..] if is(first, "HELLO") => {
            let at = rest.iter().position(|word| is(word, "AUTH"))? + 2;
            (words.len() > at + 1).then_some(at)
        }
        _ => None,
    }
}

/// Puts what the store gets of a login into `out`: the same if it is good, and else one that is
/// refused. Answers with when a good one ends.
async fn checked(
    session: &Session<'_>,
    words: &[&[u8]],
    at: usize,
    fault: Option<&Fault>,
    out: &mut Vec<u8>,
) -> Result<Option<u64>> {
    let mut words = words.to_vec();
    let user = String::from_utf8_lossy(words[at]).into_owned();
    let token = String::from_utf8_lossy(words[at + 1]).into_owned();
    let login = match fault {
        // The login is answered by us: the store must not take it.
        Some(Fault::WrongPass | Fault::Error(_)) => None,
        _ => session.shared.entra.check(&user, &token).ok(),
    };
    if login.is_some() {
        session.backend.allow(&user, &token).await?;
    } else {
        session.shared.counters.login(session.port, LoginKind::Refused);
        words[at + 1] = b"refused";
    }
    let words: Vec<Arg<'_>> = words.iter().map(|word| Arg::from(*word)).collect();
    encode(&words, &mut |piece| out.extend_from_slice(piece));
    Ok(login)
}
