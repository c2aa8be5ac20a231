//! What the steady state costs of the heap, over plain TCP: nothing.

#![cfg(feature = "net")]
#![allow(clippy::unwrap_used)]

mod counting;

use std::time::Duration;

use counting::{client, cluster, identity, server};
use redis_entraid::entraid_core::resp::Arg;
use redis_entraid::{Client, args};

/// How many allocations this thread makes while `work` runs.
async fn allocations<F: Future<Output = ()>>(work: F) -> u64 {
    let before = counting::allocations();
    work.await;
    counting::allocations() - before
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
async fn a_command_for_a_node_of_a_cluster_costs_no_allocation_and_a_pipeline_two() {
    let identity = identity();
    let mut client = client(&identity, cluster()).await;
    let keys: Vec<String> = (0..100).map(|number| format!("k{number}")).collect();
    let mut routed = async |times| {
        for _ in 0..times {
            for key in &keys {
                assert_eq!(client.command(args!["GET", &**key]).await.unwrap().str(), Ok("hello"));
            }
        }
    };
    routed(3).await;
    // The map is asked for meanwhile.
    tokio::time::sleep(Duration::from_secs(1)).await;
    routed(3).await;
    assert_eq!(allocations(routed(20)).await, 0);
    let commands: Vec<_> = keys.iter().map(|key| [Arg::from("GET"), Arg::from(&**key)]).collect();
    let mut pipelines = async |times| {
        for _ in 0..times {
            let replies = client.pipeline(commands.iter().map(|command| &command[..])).await;
            assert!(replies.unwrap().all(|reply| reply.unwrap().str() == Ok("hello")));
        }
    };
    pipelines(50).await;
    let made = allocations(pipelines(200)).await;
    println!("a pipeline of 100 for three nodes: {} allocations", made as f64 / 200.0);
    assert!(made <= 2 * 200, "{made}");
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

#[tokio::test]
async fn a_connection_and_its_login_cost_sixteen_allocations() {
    const CLIENTS: u64 = 50;
    let (identity, port) = (identity(), server());
    // What is there only once.
    let first = client(&identity, port).await;
    let mut clients = Vec::with_capacity(CLIENTS as usize);
    let made = allocations(async {
        for _ in 0..CLIENTS {
            clients.push(client(&identity, port).await);
        }
    });
    let each = made.await / CLIENTS;
    println!("a connection and its login: {each} allocations");
    assert!(each <= 16, "{each}");
    drop((first, clients));
}
