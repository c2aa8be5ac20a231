//! The Redis side: TLS, logins that are checked as Azure Managed Redis does, connections that
//! end with their token, and all else passed on.

use std::collections::VecDeque;
use std::io::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis_entraid_core::pubsub::Notice;
use redis_entraid_core::resp::{Arg, Framer, Value, encode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::join;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsAcceptor;

use crate::Shared;
use crate::backend::Stream;
use crate::faults::{Event, Fault};
use crate::token::until;

/// Serves clients at `listener`, with TLS or without; while the server is down, there is nobody.
pub(crate) async fn serve(shared: Arc<Shared>, mut listener: TcpListener, tls: bool) -> Result<()> {
    let acceptor = tls.then(|| TlsAcceptor::from(shared.pki.redis.clone()));
    let mut cuts = shared.cuts.subscribe();
    let mut down = shared.down.subscribe();
    let address = listener.local_addr()?;
    let port = address.port();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => Some(accepted?),
            _ = down.wait_for(|down| *down) => None,
        };
        let Some((stream, _)) = accepted else {
            drop(listener);
            // The port stays ours: who dials it is refused.
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            shared.cut();
            if down.wait_for(|down| !*down).await.is_err() {
                return Ok(());
            }
            listener = socket.listen(1024)?;
            continue;
        };
        cuts.mark_unchanged();
        let (shared, acceptor, mut cuts) = (shared.clone(), acceptor.clone(), cuts.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = client(&shared, acceptor, stream, port) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

async fn client(
    shared: &Shared,
    mut acceptor: Option<TlsAcceptor>,
    mut stream: TcpStream,
    port: u16,
) -> Result<()> {
    shared.counters.add(|counts| &mut counts.connections);
    let _ = stream.set_nodelay(true);
    let (mut latency, mut swapped) = (shared.latency, None);
    match shared.faults.event(Event::Connect) {
        Some(Fault::Cut) => return Ok(()),
        Some(Fault::CutAfter(bytes)) => {
            // In the middle of the client's hello.
            stream.read_exact(&mut vec![0; bytes]).await?;
            return Ok(());
        }
        Some(Fault::Hang(time)) => hang(time).await,
        Some(Fault::Lag(time)) => latency += time,
        Some(Fault::Swapped(name)) => swapped = Some(name),
        Some(Fault::LeafOnly) => {
            acceptor = acceptor.map(|_| TlsAcceptor::from(shared.pki.leaf_only[1].clone()));
        }
        Some(Fault::Error(error)) => {
            // A server says so before TLS begins, so that nobody hears it there.
            if acceptor.is_none() {
                stream.write_all(format!("-{error}\r\n").as_bytes()).await?;
            }
            return stream.shutdown().await;
        }
        _ => {}
    }
    let stream: Box<dyn Stream> = match acceptor {
        Some(acceptor) => Box::new(acceptor.accept(stream).await?),
        None => Box::new(stream),
    };
    let backend = shared.backend.open().await?;
    let (input, output) = split(stream);
    let (from_backend, to_backend) = split(backend);
    // When the login ends, in seconds since 1970; 0 before there is one.
    let (ends, expiry) = watch::channel(0);
    let (notes, noted) = mpsc::unbounded_channel();
    let answered = AtomicBool::new(true);
    let (near, far) = tokio::io::duplex(1 << 16);
    let answers = async {
        // What was said before an end is heard.
        let said = replies(shared, from_backend, near, noted, &ends);
        let (said, heard) = join!(said, underway(latency, far, output, &answered));
        said.and(heard)
    };
    tokio::select! {
        result = requests(shared, (port, swapped), input, to_backend, &notes, &answered) => result,
        result = answers => result,
        () = expire(expiry) => {
            shared.counters.add(|counts| &mut counts.expired);
            Ok(())
        }
    }
}

async fn hang(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Ends when the login does.
async fn expire(mut ends: watch::Receiver<u64>) {
    loop {
        let at = *ends.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep(until(at)), if at > 0 => {
                if until(*ends.borrow()).is_zero() {
                    return;
                }
            }
            changed = ends.changed() => if changed.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// Carries replies to the client, each for as long as the way takes.
async fn underway(
    latency: Duration,
    mut replies: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    answered: &AtomicBool,
) -> Result<()> {
    let mut on_the_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut over = false;
    loop {
        let due = on_the_way.front().map(|(due, _)| *due);
        let mut buffer = Vec::with_capacity(1 << 16);
        tokio::select! {
            biased;
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let (_, reply) = on_the_way.pop_front().unwrap_or_else(|| unreachable!("one is due"));
                answered.store(true, Ordering::Relaxed);
                output.write_all(&reply).await?;
                output.flush().await?;
            }
            read = replies.read_buf(&mut buffer), if !over => match read? {
                0 => over = true,
                _ => on_the_way.push_back((Instant::now() + latency, buffer)),
            },
            else => return output.shutdown().await,
        }
    }
}

/// What the reply side has to do with a reply.
struct Note {
    /// Which reply, the first being 1.
    reply: u64,
    /// What goes wrong with it.
    fault: Option<Fault>,
    /// When the login ends that it may confirm.
    login: Option<u64>,
}

/// Reads commands and passes them on.
async fn requests(
    shared: &Shared,
    (port, swapped): (u16, Option<String>),
    mut input: impl AsyncRead + Unpin,
    mut backend: impl AsyncWrite + Unpin,
    notes: &mpsc::UnboundedSender<Note>,
    answered: &AtomicBool,
) -> Result<()> {
    let mut buffer = Vec::with_capacity(1 << 16);
    let mut framer = Framer::new();
    let mut framed = 0;
    let mut replies = 0;
    // What a server says that has forgotten who this is.
    let mut forgotten = false;
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
            // Subscriptions are confirmed, not replied to.
            let subscribes = words.first().is_some_and(|word| is_about_subscriptions(word));
            replies += u64::from(!subscribes);
            let mut login = None;
            let fault = match credentials(&words) {
                Some(at) => {
                    backend.write_all(&out).await?;
                    out.clear();
                    let fault = shared.faults.event(Event::Auth);
                    login = checked(shared, &words, at, fault.as_ref(), &mut out).await?;
                    forgotten &= login.is_none();
                    fault.filter(|fault| *fault != Fault::WrongPass)
                }
                None => {
                    let fault = if introduces(&words) {
                        None
                    } else {
                        shared.counters.add(|counts| &mut counts.commands);
                        shared.faults.event(Event::Command)
                    };
                    if matches!(fault, Some(Fault::Cut)) {
                        backend.write_all(&out).await?;
                        return Ok(());
                    }
                    forgotten |= fault == Some(Fault::NoAuth);
                    let refused = match forgotten {
                        true => Some(not_logged_in(&words)),
                        false => shared.nodes.refused(port, swapped.as_deref(), &words),
                    };
                    match (&fault, &refused) {
                        // The store would confirm it.
                        (Some(Fault::Hang(None)), _) if subscribes => {}
                        (Some(Fault::Error(_)), _) | (_, Some(_)) if subscribes => {
                            replies += 1;
                            out.extend(UNSUPPORTED);
                        }
                        (_, Some(refused)) => out.extend(instead(refused)),
                        _ => out.extend(command),
                    }
                    fault.filter(|fault| *fault != Fault::NoAuth).or(refused.map(Fault::Error))
                }
            };
            match fault {
                Some(Fault::Cut) => return Ok(()),
                Some(Fault::Deaf) => {
                    backend.write_all(&out).await?;
                    return std::future::pending().await;
                }
                _ => {}
            }
            if fault.is_some() || login.is_some() {
                let _ = notes.send(Note { reply: replies, fault, login });
            }
        }
        backend.write_all(&out).await?;
        buffer.drain(..start);
        framed -= start;
        if input.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        if answered.swap(false, Ordering::Relaxed) {
            shared.counters.add(|counts| &mut counts.rounds);
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

/// What the store gets instead of a command that is refused, so that replies stay in order and an
/// open transaction is spoilt, or discarded.
const fn instead(refused: &str) -> &'static [u8] {
    match refused.as_bytes() {
        [b'E', b'X', b'E', b'C', ..] => b"*1\r\n$7\r\nDISCARD\r\n",
        _ => UNSUPPORTED,
    }
}

fn is_about_subscriptions(name: &[u8]) -> bool {
    ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
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
    shared: &Shared,
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
        _ => shared.entra.check(&user, &token).ok(),
    };
    if login.is_some() {
        shared.backend.allow(&user, &token).await?;
    } else {
        shared.counters.add(|counts| &mut counts.refused);
        words[at + 1] = b"refused";
    }
    let words: Vec<Arg<'_>> = words.iter().map(|word| Arg::from(*word)).collect();
    encode(&words, &mut |piece| out.extend_from_slice(piece));
    Ok(login)
}

/// Notes that the store took a login. What it only queued, or refused, is none.
fn logged_in(shared: &Shared, reply: &[u8], expires_on: u64, ends: &watch::Sender<u64>) {
    if matches!(reply.first(), Some(b'-' | b'!')) || reply == b"+QUEUED\r\n" {
        return;
    }
    let first = *ends.borrow() == 0;
    shared.counters.add(|counts| if first { &mut counts.logins } else { &mut counts.reauths });
    ends.send_replace(expires_on);
}

/// Passes replies back, but for those that a fault was armed for.
async fn replies(
    shared: &Shared,
    mut backend: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    mut noted: mpsc::UnboundedReceiver<Note>,
    ends: &watch::Sender<u64>,
) -> Result<()> {
    let mut buffer = Vec::with_capacity(1 << 16);
    let mut framer = Framer::new();
    let mut framed = 0;
    let mut number = 0;
    let mut pending: Vec<Note> = Vec::new();
    loop {
        let mut start = 0;
        let mut out = Vec::new();
        loop {
            // What isn't RESP3 or RESP2 any more is passed on as it is.
            let Ok(next) = framer.feed(&buffer[framed..]) else {
                output.write_all(&buffer[start..]).await?;
                tokio::io::copy(&mut backend, &mut output).await?;
                return Ok(());
            };
            framed += next.used;
            if !next.complete {
                break;
            }
            let reply = &buffer[start..framed];
            start = framed;
            let told = || Value::new(reply).ok().and_then(Notice::of).is_some();
            if framer.first() == Some(b'>') || (framer.first() == Some(b'*') && told()) {
                out.extend(reply);
                continue;
            }
            number += 1;
            pending.extend(std::iter::from_fn(|| noted.try_recv().ok()));
            let note = pending.iter().find(|note| note.reply == number);
            if let Some(expires_on) = note.and_then(|note| note.login) {
                logged_in(shared, reply, expires_on, ends);
            }
            match note.and_then(|note| note.fault.as_ref()) {
                Some(Fault::CutAfter(bytes)) => {
                    out.extend(&reply[..reply.len().min(*bytes)]);
                    output.write_all(&out).await?;
                    return output.flush().await;
                }
                Some(Fault::Error(error)) => out.extend(format!("-{error}\r\n").as_bytes()),
                Some(Fault::Hang(time)) => {
                    let time = *time;
                    output.write_all(&out).await?;
                    out.clear();
                    output.flush().await?;
                    hang(time).await;
                    out.extend(reply);
                }
                _ => out.extend(reply),
            }
        }
        output.write_all(&out).await?;
        output.flush().await?;
        buffer.drain(..start);
        framed -= start;
        if backend.read_buf(&mut buffer).await? == 0 {
            return output.shutdown().await;
        }
    }
}
