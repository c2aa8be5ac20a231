//! The tokio host as a child process: lines on standard input, answers on standard output.
#![allow(clippy::print_stdout)]

use conformance::client::Clients;
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut subject = Clients::from_env();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut answer = String::new();
        // A String is never full.
        let _ = conformance::answer(&mut subject, &line, &mut answer).await;
        println!("{answer}");
    }
}
