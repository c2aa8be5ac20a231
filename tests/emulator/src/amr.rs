//! The Redis side: TLS, logins that are checked as Azure Managed Redis does, connections that
//! end with their token, and all else passed on.

use std::io::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

use redis_entraid_core::pubsub::Notice;
use redis_entraid_core::resp::{Arg, Framer, Value, encode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::Shared;
use crate::backend::Stream;
use crate::cluster::is_unknown;
use crate::faults::{Event, Fault};
use crate::token::now;

/// Serves clients at `listener`, with TLS or without.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener, tls: bool) {
    let acceptor = tls.then(|| TlsAcceptor::from(shared.pki.server.clone()));
    let mut cuts = shared.cuts.subscribe();
    let port = listener.local_addr().map_or(0, |address| address.port());
    while let Ok((stream, _)) = listener.accept().await {
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
    acceptor: Option<TlsAcceptor>,
    mut stream: TcpStream,
    port: u16,
) -> Result<()> {
    shared.counters.add(|counts| &mut counts.connections);
    let _ = stream.set_nodelay(true);
    match shared.faults.event(Event::Connect) {
        Some(Fault::Cut) => return Ok(()),
        Some(Fault::CutAfter(bytes)) => {
            // In the middle of the client's hello.
            stream.read_exact(&mut vec![0; bytes]).await?;
            return Ok(());
        }
        Some(Fault::Hang(time)) => hang(time).await,
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
    shared.counters.add(|counts| &mut counts.handshakes);
    let backend = shared.backend.open().await?;
    let (input, output) = split(stream);
    let (from_backend, to_backend) = split(backend);
    // When the login ends, in seconds since 1970; 0 before there is one.
    let (ends, expiry) = watch::channel(0);
    let (faulty, faults) = mpsc::unbounded_channel();
    tokio::select! {
        result = requests(shared, port, input, to_backend, &ends, &faulty) => result,
        result = replies(from_backend, output, faults) => result,
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
        let left = Duration::from_secs(at.saturating_sub(now()));
        tokio::select! {
            () = tokio::time::sleep(left), if at > 0 => {
                if *ends.borrow() <= now() {
                    return;
                }
            }
            changed = ends.changed() => if changed.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// What the reply side has to do with a reply.
struct Faulty {
    /// Which reply, the first being 1.
    reply: u64,
    fault: Fault,
}

/// Reads commands and passes them on.
async fn requests(
    shared: &Shared,
    port: u16,
    mut input: impl AsyncRead + Unpin,
    mut backend: impl AsyncWrite + Unpin,
    ends: &watch::Sender<u64>,
    faulty: &mpsc::UnboundedSender<Faulty>,
) -> Result<()> {
    let mut buffer = Vec::with_capacity(1 << 16);
    let mut framer = Framer::new();
    let mut framed = 0;
    let mut replies = 0;
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
            replies += u64::from(!words.first().is_some_and(|word| is_about_subscriptions(word)));
            let fault = match credentials(&words) {
                Some(at) => {
                    backend.write_all(&out).await?;
                    out.clear();
                    let fault = shared.faults.event(Event::Auth);
                    out.extend(login(shared, &words, at, fault.as_ref(), ends).await?);
                    fault
                }
                None => {
                    shared.counters.add(|counts| &mut counts.commands);
                    let fault = shared.faults.event(Event::Command);
                    if matches!(fault, Some(Fault::Cut)) {
                        backend.write_all(&out).await?;
                        return Ok(());
                    }
                    let moved = shared.nodes.moved(port, &words);
                    if moved.is_some() || is_unknown(&words) {
                        // So that an open transaction is spoilt, and replies stay in order.
                        out.extend(b"*1\r\n$11\r\nUNSUPPORTED\r\n");
                    } else {
                        out.extend(command);
                    }
                    fault.or(moved.map(Fault::Error))
                }
            };
            match fault {
                Some(Fault::Cut) => return Ok(()),
                Some(Fault::WrongPass) | None => {}
                Some(fault) => {
                    let _ = faulty.send(Faulty { reply: replies, fault });
                }
            }
        }
        backend.write_all(&out).await?;
        buffer.drain(..start);
        framed -= start;
        if input.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

fn is_about_subscriptions(name: &[u8]) -> bool {
    ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
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

/// What to send to the store for a login: the same if it is good, and else one that is refused.
async fn login(
    shared: &Shared,
    words: &[&[u8]],
    at: usize,
    fault: Option<&Fault>,
    ends: &watch::Sender<u64>,
) -> Result<Vec<u8>> {
    let mut words = words.to_vec();
    let user = String::from_utf8_lossy(words[at]).into_owned();
    let token = String::from_utf8_lossy(words[at + 1]).into_owned();
    let checked = match fault {
        Some(Fault::WrongPass) => Err("on command"),
        // The login is answered by us: the store must not take it.
        Some(Fault::Error(_)) => Err("on command"),
        _ => shared.entra.check(&user, &token),
    };
    match checked {
        Ok(expires_on) => {
            shared.backend.allow(&user, &token).await?;
            let first = *ends.borrow() == 0;
            shared
                .counters
                .add(|counts| if first { &mut counts.logins } else { &mut counts.reauths });
            ends.send_replace(expires_on);
        }
        Err(_) => {
            shared.counters.add(|counts| &mut counts.refused);
            words[at + 1] = b"refused";
        }
    }
    let words: Vec<Arg<'_>> = words.iter().map(|word| Arg::from(*word)).collect();
    let mut out = Vec::new();
    encode(&words, &mut |piece| out.extend_from_slice(piece));
    Ok(out)
}

/// Passes replies back, but for those that a fault was armed for.
async fn replies(
    mut backend: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    mut faults: mpsc::UnboundedReceiver<Faulty>,
) -> Result<()> {
    let mut buffer = Vec::with_capacity(1 << 16);
    let mut framer = Framer::new();
    let mut framed = 0;
    let mut number = 0;
    let mut pending: Vec<Faulty> = Vec::new();
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
            pending.extend(std::iter::from_fn(|| faults.try_recv().ok()));
            match pending.iter().find(|faulty| faulty.reply == number).map(|faulty| &faulty.fault) {
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
