//! What a client keeps of the heap, over plain TCP: what it needs.

#![cfg(feature = "net")]
#![allow(clippy::unwrap_used)]

mod counting;

use std::time::Duration;

use counting::{LARGE, client, identity, live, server};
use redis_entraid::{Client, args};

/// So much may stay after large replies and commands.
const REST: i64 = 256 << 10;

async fn small(client: &mut Client, times: u32) {
    for _ in 0..times {
        client.command(args!["GET", "key"]).await.unwrap();
    }
}

async fn large(client: &mut Client) {
    let reply = client.command(args!["GET", "large"]).await.unwrap();
    assert_eq!(reply.bytes().unwrap().len(), LARGE);
}

#[tokio::test]
async fn an_idle_connection_costs_little() {
    const CLIENTS: usize = 100;
    let (identity, port) = (identity(), server());
    // What is there only once.
    let first = client(&identity, port).await;
    let mut clients = Vec::with_capacity(CLIENTS);
    let before = live();
    for _ in 0..CLIENTS {
        let mut client = client(&identity, port).await;
        small(&mut client, 1).await;
        clients.push(client);
    }
    // What its buffers have is given back when nothing happens for five seconds.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let each = (live() - before) / CLIENTS as i64;
    println!("an idle connection: {each} bytes");
    assert!(each <= 4608, "{each}");
    drop((first, clients));
}

#[tokio::test]
async fn what_a_large_reply_took_is_given_back() {
    let identity = identity();
    let mut client = client(&identity, server()).await;
    small(&mut client, 10).await;
    let before = live();
    large(&mut client).await;
    assert!(live() - before >= LARGE as i64, "it is counted");
    small(&mut client, 1000).await;
    let rest = live() - before;
    println!("after a large reply: {rest} bytes");
    assert!(rest <= REST, "{rest}");
}

#[tokio::test]
async fn what_ten_large_replies_took_is_given_back() {
    let identity = identity();
    let first = client(&identity, server()).await;
    let mut clients: Vec<_> = (0..10).map(|_| first.clone()).collect();
    for client in &mut clients {
        small(client, 10).await;
    }
    let before = live();
    for client in &mut clients {
        large(client).await;
    }
    for client in &mut clients {
        small(client, 1000).await;
    }
    let rest = live() - before;
    println!("after ten large replies: {rest} bytes");
    assert!(rest <= REST, "{rest}");
}

#[tokio::test]
async fn what_a_large_command_took_is_given_back() {
    let identity = identity();
    let mut client = client(&identity, server()).await;
    small(&mut client, 10).await;
    let before = live();
    client.command(args!["SET", "key", &vec![b'x'; LARGE][..]]).await.unwrap();
    small(&mut client, 1000).await;
    let rest = live() - before;
    println!("after a large command: {rest} bytes");
    assert!(rest <= REST, "{rest}");
}

#[tokio::test]
async fn what_a_long_pipeline_took_is_given_back() {
    let identity = identity();
    let mut client = client(&identity, server()).await;
    small(&mut client, 10).await;
    let before = live();
    let command = args!["GET", "key"];
    let replies = client.pipeline(std::iter::repeat_n(command, 200_000)).await.unwrap();
    assert_eq!(replies.count(), 200_000);
    small(&mut client, 1000).await;
    let rest = live() - before;
    println!("after a long pipeline: {rest} bytes");
    assert!(rest <= REST, "{rest}");
}

#[tokio::test]
async fn what_is_not_needed_is_given_back_after_seconds_of_quiet() {
    let identity = identity();
    let mut client = client(&identity, server()).await;
    small(&mut client, 10).await;
    let before = live();
    let value = vec![b'x'; 50_000];
    client.command(args!["SET", "key", &value[..]]).await.unwrap();
    large(&mut client).await;
    small(&mut client, 3).await;
    drop(value);
    tokio::time::sleep(Duration::from_secs(7)).await;
    let rest = live() - before;
    println!("after seconds of quiet: {rest} bytes");
    // What its handle has is the handle's.
    assert!(rest <= REST / 2, "{rest}");
}

/// There is no bar: most of it is rustls's.
#[cfg(all(feature = "http", feature = "tls"))]
#[tokio::test]
async fn what_an_idle_connection_with_tls_costs_is_printed() {
    use amr_emulator::{Emulator, Options, Store};
    use redis_entraid::tls::Roots;

    let options = Options { store: Store::Builtin, ..Options::default() };
    let emulator = Emulator::start(&options).unwrap();
    let variables = emulator.environment();
    let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
    let builder = || {
        Client::from_variables(|name| find(name).map(|(_, value)| value.clone()))
            .unwrap()
            .roots(Roots::pem(emulator.root_pem().as_bytes()).unwrap())
    };
    let first = builder().connect().await.unwrap();
    let before = live();
    let mut clients = Vec::with_capacity(20);
    for _ in 0..20 {
        let builder = builder().identity(first.identity());
        clients.push(builder.connect().await.unwrap());
    }
    let each = (live() - before) / clients.len() as i64;
    println!("an idle connection with TLS: {each} bytes");
    assert!(each > 6 << 10, "it isn't counted");
}
