//! The program under test: a process of its own, so that its CPU is its client's.

use std::error::Error;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin};
use tokio::task::JoinSet;

use crate::books::Books;
use crate::load::{keep_books, measure};
use crate::orders::Order;
use crate::scene::Client;
use crate::subject::{Ours, RedisRs, Subject};

/// Follows the orders of the standard input.
pub(crate) fn run(client: Client, threads: usize) -> Result<(), Box<dyn Error>> {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).enable_all().build()?.block_on(async {
        match client {
            Client::Ours => follow(Ours::connect().await?).await,
            Client::RedisRs => follow(RedisRs::connect().await?).await,
        }
    })
}

async fn follow(subject: impl Subject) -> Result<(), Box<dyn Error>> {
    let mut lines: Lines<BufReader<Stdin>> = BufReader::new(stdin()).lines();
    let (books, mut tasks) = (Books::new(), JoinSet::new());
    while let Some(line) = lines.next_line().await? {
        let answer = match serde_json::from_str(&line)? {
            Order::Measure { load, keys, seconds } => {
                let time = Duration::from_secs_f64(seconds);
                serde_json::to_string(&measure(&subject, load, keys, time).await)?
            }
            Order::Work { tasks: count } => {
                for task in 0..count {
                    tasks.spawn(keep_books(task, subject.clone(), books.clone()));
                }
                "null".to_owned()
            }
            Order::Begin => {
                books.begin();
                "null".to_owned()
            }
            Order::End => serde_json::to_string(&books.seen())?,
        };
        println!("{answer}");
    }
    Ok(())
}
