//! Counts what a client costs of the heap, beside a server that doesn't count.

// Each test has a use for a part of it.
#![allow(clippy::unwrap_used, dead_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use redis_entraid::entraid_core::cluster::Slot;
use redis_entraid::entraid_core::policy::RefreshPolicy;
use redis_entraid::entraid_core::resp::{Framer, Value};
use redis_entraid::net::PlainTcp;
use redis_entraid::source::{AccessToken, FetchError, Request, TokenSource};
use redis_entraid::{Client, Identity};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

// SAFETY: all is left to the system's allocator; the counters are plain cells that need no memory.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(0, 0, layout.size());
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size, layout.size());
        unsafe { System.realloc(memory, layout, size) }
    }
}

fn count(allocations: u64, taken: usize, given_back: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + allocations);
    LIVE.set(LIVE.get() + taken as i64 - given_back as i64);
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations this thread has made so far.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// How many bytes this thread has on the heap.
pub(crate) fn live() -> i64 {
    LIVE.get()
}

/// The size of what `GET large` answers.
pub(crate) const LARGE: usize = 32 << 20;

/// A server on threads of its own, which don't count here. Every login is welcome.
pub(crate) fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listen(listener, &[]);
    port
}

/// A server of a cluster, which has no slots itself. Three others have a third of them each.
pub(crate) fn cluster() -> u16 {
    let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
    for listener in listeners {
        listen(listener, &ports[1..]);
    }
    ports[0]
}

fn listen(listener: TcpListener, primaries: &[u16]) {
    let primaries = primaries.to_vec();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let primaries = primaries.clone();
            std::thread::spawn(move || serve(stream.unwrap(), &primaries));
        }
    });
}

/// What a server says that doesn't have the slot of `key`.
fn moved(key: &str, own: u16, primaries: &[u16]) -> Option<String> {
    let slot = Slot::of(key.as_bytes()).number();
    let owner = *primaries.get(usize::from(slot / SHARE))?;
    (owner != own).then(|| format!("-MOVED {slot} 127.0.0.1:{owner}\r\n"))
}

fn slots(primaries: &[u16]) -> String {
    let mut text = format!("*{}\r\n", primaries.len());
    for (first, port) in (0..).step_by(SHARE.into()).zip(primaries) {
        let last = (first + SHARE - 1).min(Slot::COUNT - 1);
        write!(text, "*3\r\n:{first}\r\n:{last}\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n").unwrap();
    }
    text
}

/// How many slots one of three primaries has, at most.
const SHARE: u16 = Slot::COUNT.div_ceil(3);

fn serve(mut stream: TcpStream, primaries: &[u16]) {
    let own = stream.local_addr().unwrap().port();
    stream.set_nodelay(true).unwrap();
    let (mut input, mut room) = (Vec::new(), [0; 65536]);
    while let Ok(len @ 1..) = stream.read(&mut room) {
        input.extend_from_slice(&room[..len]);
        let mut replies = Vec::new();
        let mut used = 0;
        while let Ok(framed) = Framer::new().feed(&input[used..])
            && framed.complete
        {
            let command = Value::new(&input[used..used + framed.used]).unwrap();
            used += framed.used;
            let mut words = command.items().map(|word| word.str().unwrap());
            let (name, key) = (words.next().unwrap(), words.next().unwrap_or_default());
            let moved = if name == "GET" { moved(key, own, primaries) } else { None };
            match (name, key) {
                ("CLUSTER", _) => replies.extend_from_slice(slots(primaries).as_bytes()),
                _ if moved.is_some() => {
                    replies.extend_from_slice(moved.unwrap_or_default().as_bytes())
                }
                ("HELLO", _) => replies.extend_from_slice(b"%1\r\n+proto\r\n:3\r\n"),
                ("GET", "large") => {
                    write!(replies, "${LARGE}\r\n").unwrap();
                    replies.resize(replies.len() + LARGE, b'x');
                    replies.extend_from_slice(b"\r\n");
                }
                ("GET", _) => replies.extend_from_slice(b"$5\r\nhello\r\n"),
                _ => replies.extend_from_slice(b"+OK\r\n"),
            }
        }
        input.drain(..used);
        if stream.write_all(&replies).is_err() {
            return;
        }
    }
}

/// Another token of the usual size each time.
struct Tokens(u32);

impl TokenSource for Tokens {
    async fn fetch(&mut self, _: Request<'_>) -> Result<AccessToken, FetchError> {
        self.0 += 1;
        let mut token = String::with_capacity(1619);
        write!(token, "{:01619}", self.0).unwrap();
        Ok(AccessToken::new(token).user("oid").expires_in(Duration::from_secs(3600)))
    }
}

pub(crate) fn identity() -> Identity {
    // The test has no time for floors and spreads.
    let policy = RefreshPolicy {
        token_floor: Duration::ZERO,
        reauth_spread: Duration::ZERO,
        ..RefreshPolicy::default()
    };
    Identity::new(Tokens(0)).policy(policy).start()
}

pub(crate) async fn client(identity: &Identity, port: u16) -> Client {
    let builder = Client::builder("127.0.0.1").port(port).identity(identity);
    builder.connector(PlainTcp).connect().await.unwrap()
}
