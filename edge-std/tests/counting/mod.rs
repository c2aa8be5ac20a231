//! Counts what a client costs of the heap, beside a server that doesn't count.

// Each test has a use for a part of it.
#![allow(clippy::unwrap_used, dead_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

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
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    port
}

fn serve(mut stream: TcpStream) {
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
            match (name, key) {
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
