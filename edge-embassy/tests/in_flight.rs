//! Many commands under way at once, over a link of 50 ms round trip.
#![allow(clippy::unwrap_used)]

mod board;

use std::time::{Duration, Instant};

use board::{on_board, said};
use redis_entraid_embassy::{Client, args};
use tokio::task::spawn_local;

/// Commands of each task.
const EACH: i64 = 20;

/// Runs so many tasks, and returns how many commands they got done in a second.
async fn throughput(client: Client, tasks: i64) -> f64 {
    let began = Instant::now();
    let tasks: Vec<_> = (0..tasks)
        .map(|task| {
            spawn_local(async move {
                let (key, mut room) = (format!("{task}"), [0; 64]);
                client.command(args!["DEL", &*key], &mut room).await.unwrap();
                for count in 1..EACH {
                    let reply = client.command(args!["INCR", &*key], &mut room).await.unwrap();
                    assert_eq!(reply.int(), Ok(count));
                }
                EACH as f64
            })
        })
        .collect();
    let mut done = 0.0;
    for task in tasks {
        done += task.await.unwrap();
    }
    done / began.elapsed().as_secs_f64()
}

#[test]
fn eight_commands_in_flight_have_six_times_the_throughput_of_one() {
    on_board("rsa", 3600, |board| async move {
        board.wire.delay(Duration::from_millis(25));
        let client = board.client();
        client.command(args!["PING"], &mut [0; 16]).await.unwrap();
        let one = throughput(client, 1).await;
        let eight = throughput(client, 8).await;
        println!("50 ms round trip: {one:.1} commands a second alone, {eight:.1} with 8 in flight");
        assert!(eight >= one * 6.0, "{eight} and {one}");
        // Twice as many tasks: those that have to wait wait for their turn.
        let sixteen = throughput(client, 16).await;
        assert!(sixteen >= one * 6.0, "{sixteen} and {one}");
        assert_eq!(board.emulator.counts().connections, 1, "{}", said());
    });
}
