//! What the store replies, on its way to the client.

use std::io::Result;

use redis_entraid_core::pubsub::Notice;
use redis_entraid_core::resp::{Framer, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{Session, hang};
use crate::cluster::rewrite::{Names, is_redirection, redirection};
use crate::cluster::slots::Oddity;
use crate::counters::LoginKind;
use crate::faults::Fault;

/// What comes of a command.
#[derive(Debug)]
pub(super) enum Expected {
    /// A reply.
    Reply(Reply),
    /// So many confirmations of this kind; or a reply, if it is an error or only queued.
    Confirmations { word: &'static str, left: usize },
}

/// What to do with a reply.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// What goes wrong with it.
    pub(super) fault: Option<Fault>,
    /// When the login ends that it may confirm.
    pub(super) login: Option<u64>,
    /// What to send instead, if the store has nothing against the command.
    pub(super) ours: Option<Vec<u8>>,
    /// Which servers it names.
    pub(super) names: Option<Names>,
    /// What is odd about that.
    pub(super) oddity: Option<Oddity>,
    /// Whether the client has asked for RESP3 before.
    pub(super) resp3: bool,
}

/// What is expected, in order.
struct Queue {
    to_come: mpsc::UnboundedReceiver<Expected>,
    next: Option<Expected>,
}

impl Queue {
    fn next(&mut self) -> &mut Option<Expected> {
        if self.next.is_none() {
            self.next = self.to_come.try_recv().ok();
        }
        &mut self.next
    }

    /// What to do with the reply that has come.
    fn reply(&mut self) -> Reply {
        match self.next().take() {
            Some(Expected::Reply(reply)) => reply,
            _ => Reply::default(),
        }
    }

    /// Notes a confirmation, or a message.
    fn notice(&mut self, notice: Value<'_>) {
        let told = notice.items().next().and_then(|word| word.bytes().ok()).unwrap_or_default();
        let next = self.next();
        if let Some(Expected::Confirmations { word, left }) = next
            && told == word.as_bytes()
        {
            *left -= 1;
            if *left == 0 {
                *next = None;
            }
        }
    }
}

/// Passes replies back, but for those that a fault was armed for, and those that name servers.
pub(super) async fn pass(
    session: &Session<'_>,
    mut store: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    to_come: mpsc::UnboundedReceiver<Expected>,
) -> Result<()> {
    let mut buffer = Vec::with_capacity(1 << 16);
    let mut framer = Framer::new();
    let mut framed = 0;
    let mut queue = Queue { to_come, next: None };
    loop {
        let mut start = 0;
        let mut out = Vec::new();
        loop {
            // What isn't RESP3 or RESP2 any more is passed on as it is.
            let Ok(next) = framer.feed(&buffer[framed..]) else {
                output.write_all(&buffer[start..]).await?;
                tokio::io::copy(&mut store, &mut output).await?;
                return Ok(());
            };
            framed += next.used;
            if !next.complete {
                break;
            }
            let reply = &buffer[start..framed];
            start = framed;
            let value = Value::framed(reply);
            let is_push = framer.first() == Some(b'>');
            if is_push || (framer.first() == Some(b'*') && Notice::of(value).is_some()) {
                queue.notice(value);
                out.extend(reply);
                continue;
            }
            let mut expected = queue.reply();
            if let Some(expires_on) = expected.login {
                logged_in(session, reply, expires_on);
            }
            let ours = expected.ours.take().filter(|_| is_done(reply));
            let ours = ours.or_else(|| rewritten(session, &expected, reply));
            let reply = ours.as_deref().unwrap_or(reply);
            match expected.fault {
                Some(Fault::CutAfter(bytes)) => {
                    out.extend(&reply[..reply.len().min(bytes)]);
                    output.write_all(&out).await?;
                    return output.flush().await;
                }
                Some(Fault::Error(error)) => {
                    let error = format!("-{error}\r\n");
                    count(session, None, error.as_bytes());
                    out.extend(error.as_bytes());
                }
                Some(Fault::Hang(time)) => {
                    output.write_all(&out).await?;
                    out.clear();
                    output.flush().await?;
                    hang(time).await;
                    out.extend(reply);
                }
                _ => {
                    count(session, expected.names, reply);
                    out.extend(reply);
                }
            }
        }
        output.write_all(&out).await?;
        output.flush().await?;
        buffer.drain(..start);
        framed -= start;
        if store.read_buf(&mut buffer).await? == 0 {
            return output.shutdown().await;
        }
    }
}

/// Whether the store has done what it was told: it has neither refused nor only queued it.
fn is_done(reply: &[u8]) -> bool {
    !matches!(reply.first(), Some(b'-' | b'!')) && reply != b"+QUEUED\r\n"
}

/// Notes that the store took a login.
fn logged_in(session: &Session<'_>, reply: &[u8], expires_on: u64) {
    if !is_done(reply) {
        return;
    }
    let kind = if *session.ends.borrow() == 0 { LoginKind::First } else { LoginKind::Again };
    session.shared.counters.login(session.port, kind);
    session.ends.send_replace(expires_on);
}

/// The reply of a server in a cluster as its front says it. `None` if that is the same.
fn rewritten(session: &Session<'_>, expected: &Reply, reply: &[u8]) -> Option<Vec<u8>> {
    let servers = session.shared.stores.cluster()?;
    let front = |port| servers.front(port);
    let Reply { names, oddity, resp3, .. } = *expected;
    redirection(reply, front).or_else(|| names?.rewrite(reply, front, oddity, resp3))
}

/// Counts redirections: a reply that is one, or those in one to `EXEC`.
fn count(session: &Session<'_>, names: Option<Names>, reply: &[u8]) {
    let one = |reply: &[u8]| {
        if is_redirection(reply) {
            session.shared.counters.at(session.port, |counts| match reply.starts_with(b"-ASK") {
                true => counts.asked += 1,
                false => counts.moved += 1,
            });
        }
    };
    one(reply);
    if names == Some(Names::Exec) {
        Value::framed(reply).items().for_each(|item| one(item.raw()));
    }
}
