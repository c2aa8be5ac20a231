//! What the steady state costs of the heap, over plain TCP: nothing.

#![cfg(feature = "net")]
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use redis_entraid::core::policy::RefreshPolicy;
use redis_entraid::core::resp::{Framer, Value};
use redis_entraid::net::PlainTcp;
use redis_entraid::source::{AccessToken, FetchError, Request, TokenSource};
use redis_entraid::{Client, Identity, args};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all is left to the system's allocator; the counter is a plain cell that needs no memory.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A server on threads of its own, which don't count here. Every login is welcome.
fn server() -> u16 {
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
            replies.extend_from_slice(match command.items().next().unwrap().str().unwrap() {
                "HELLO" => b"%1\r\n+proto\r\n:3\r\n",
                "GET" => b"$5\r\nhello\r\n",
                _ => b"+OK\r\n",
            });
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

fn identity() -> Identity {
    // The test has no time for floors and spreads.
    let policy = RefreshPolicy {
        token_floor: Duration::ZERO,
        reauth_spread: Duration::ZERO,
        ..RefreshPolicy::default()
    };
    Identity::new(Tokens(0)).policy(policy).start()
}

async fn client(identity: &Identity, port: u16) -> Client {
    let builder = Client::builder("127.0.0.1").port(port).identity(identity);
    builder.connector(PlainTcp).connect().await.unwrap()
}

/// How many allocations this thread makes while `work` runs.
async fn allocations<F: Future<Output = ()>>(work: F) -> u64 {
    let before = ALLOCATIONS.get();
    work.await;
    ALLOCATIONS.get() - before
}

#[tokio::test]
async fn a_command_costs_no_allocation() {
    let identity = identity();
    let mut client = client(&identity, server()).await;
    let value = [b'x'; 1000];
    let mut commands = async |times| {
        for number in 0..times {
            let got = client.command(args!["GET", "key"]).await.unwrap();
            assert_eq!(got.str().unwrap(), "hello");
            client.command(args!["SET", "key", &value[..]]).await.unwrap();
            client.command(args!["INCRBY", "n", number]).await.unwrap();
            let pipeline = [args!["MULTI"], args!["GET", "a"], args!["EXEC"]];
            assert_eq!(client.pipeline(pipeline).await.unwrap().count(), 3);
        }
    };
    // Memory grows to what is needed, once.
    commands(50).await;
    assert_eq!(allocations(commands(200)).await, 0);
    // It would be noticed.
    assert!(allocations(async { drop(vec![0; 10]) }).await > 0);
}

#[tokio::test]
async fn sixty_four_tasks_on_one_connection_cost_no_allocation() {
    let identity = identity();
    let client = client(&identity, server()).await;
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(65));
    for _ in 0..64 {
        let (mut client, barrier) = (client.clone(), barrier.clone());
        tokio::spawn(async move {
            for _ in 0..3 {
                barrier.wait().await;
                for _ in 0..50 {
                    client.command(args!["GET", "key"]).await.unwrap();
                }
                barrier.wait().await;
            }
            // A handle that goes may cost something.
            barrier.wait().await;
        });
    }
    // The first rounds let memory grow.
    for round in 0..3 {
        barrier.wait().await;
        let made = allocations(async { _ = barrier.wait().await }).await;
        assert!(round < 2 || made == 0, "{made} in round {round}");
    }
}

#[tokio::test]
async fn a_login_again_costs_no_allocation() {
    /// What 20 refreshes cost with so many connections.
    async fn twenty_refreshes(connections: usize) -> u64 {
        let (identity, port) = (identity(), server());
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(client(&identity, port).await);
        }
        let refreshes = async |times: u32| {
            let reauths = |client: &Client| client.health().connection.map_or(0, |c| c.reauths);
            for _ in 0..times {
                let before = reauths(&clients[0]);
                identity.refresh_now();
                while clients.iter().any(|client| reauths(client) == before) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        refreshes(3).await;
        allocations(refreshes(20)).await
    }
    let (one, many) = (twenty_refreshes(1).await, twenty_refreshes(9).await);
    assert_eq!(one, many, "logins allocate");
    // The tokens themselves are the source's: its text, and the name of the user.
    assert!(one <= 20 * 2, "{one}");
}
