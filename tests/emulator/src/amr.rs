//! The Redis side: TLS, logins that are checked as Azure Managed Redis does, connections that
//! end with their token, and all else passed on.

mod replies;
mod requests;

use std::collections::VecDeque;
use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::join;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsAcceptor;

use crate::Shared;
use crate::backend::{Backend, Stream};
use crate::cluster::node::{Node, Status};
use crate::faults::{Event, Fault};
use crate::token::until;

/// A port that clients dial.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    pub(crate) tls: bool,
    /// Whose it is, if it is a node's: it is closed when that one goes.
    pub(crate) node: Option<Arc<Node>>,
}

/// Serves clients at a port; while the server is down, there is nobody.
pub(crate) async fn serve(shared: Arc<Shared>, port: Port) -> Result<()> {
    let Port { mut listener, tls, node } = port;
    let acceptor = tls.then(|| TlsAcceptor::from(shared.pki.redis.clone()));
    let mut cuts = shared.cuts.subscribe();
    let mut down = shared.down.subscribe();
    let mut status = node.as_ref().map(|node| node.status());
    let address = listener.local_addr()?;
    let port = address.port();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => Some(accepted?),
            _ = down.wait_for(|down| *down) => None,
            () = gone(&mut status) => None,
        };
        let Some((stream, _)) = accepted else {
            drop(listener);
            let gone = node.as_ref().filter(|node| node.is_gone());
            gone.iter().for_each(|node| node.note_closed());
            // The port stays ours: who dials it is refused.
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            if gone.is_some() {
                return std::future::pending().await;
            }
            shared.cut();
            if down.wait_for(|down| !*down).await.is_err() {
                return Ok(());
            }
            listener = socket.listen(1024)?;
            continue;
        };
        cuts.mark_unchanged();
        // Of a node that has gone by now, the store says so.
        status.iter_mut().for_each(watch::Receiver::mark_unchanged);
        let (shared, acceptor, mut cuts) = (shared.clone(), acceptor.clone(), cuts.clone());
        let mut status = status.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = client(&shared, acceptor, stream, port) => {}
                _ = cuts.changed() => {}
                () = changed(&mut status) => {}
            }
        });
    }
}

/// Ends when the node has gone, if there is one.
async fn gone(status: &mut Option<watch::Receiver<Status>>) {
    match status {
        Some(status) => drop(status.wait_for(|status| status.is_gone).await),
        None => std::future::pending().await,
    }
}

/// Ends when the node's connections are cut, if there is one.
async fn changed(status: &mut Option<watch::Receiver<Status>>) {
    match status {
        Some(status) => drop(status.changed().await),
        None => std::future::pending().await,
    }
}

/// What both sides of a connection know.
struct Session<'s> {
    shared: &'s Shared,
    /// What the client dialed.
    port: u16,
    /// The name at which its keys are now.
    swapped: Option<String>,
    /// What it has reached.
    backend: Backend,
    /// Whether the client has heard all.
    answered: AtomicBool,
    /// When the login ends, in seconds since 1970; 0 before there is one.
    ends: watch::Sender<u64>,
}

async fn client(
    shared: &Shared,
    mut acceptor: Option<TlsAcceptor>,
    mut stream: TcpStream,
    port: u16,
) -> Result<()> {
    shared.counters.add(|counts| &mut counts.connections);
    shared.counters.at(port, |counts| counts.connections += 1);
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
    let backend = shared.stores.behind(port).await?;
    let store = backend.open().await?;
    let (input, output) = split(stream);
    let (from_store, to_store) = split(store);
    let (ends, expiry) = watch::channel(0);
    let (expected, to_come) = mpsc::unbounded_channel();
    let answered = AtomicBool::new(true);
    let session = Session { shared, port, swapped, backend, answered, ends };
    let (near, far) = tokio::io::duplex(1 << 16);
    let answers = async {
        // What was said before an end is heard.
        let said = replies::pass(&session, from_store, near, to_come);
        let (said, heard) = join!(said, underway(latency, far, output, &session.answered));
        said.and(heard)
    };
    tokio::select! {
        result = requests::pass(&session, input, to_store, expected) => result,
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

/// Ends then. A timer would take up to a millisecond for what is due by now.
async fn reached(due: Instant) {
    if Instant::now() < due {
        sleep_until(due).await;
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
            () = reached(due.unwrap_or_else(Instant::now)), if due.is_some() => {
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
