//! A token source of one's own: here a program that prints a token, as `az account
//! get-access-token --resource https://redis.azure.com --query accessToken -o tsv` does.
//!
//! `injected-source PROGRAM [ARGUMENT...]`
#![allow(clippy::print_stdout)]

use std::process::Command;

use redis_entraid::source::{AccessToken, FetchError, Request, TokenSource};
use redis_entraid::{Client, Error, args};

struct Printed {
    command: Vec<String>,
}

impl TokenSource for Printed {
    async fn fetch(&mut self, _: Request<'_>) -> Result<AccessToken, FetchError> {
        let words = self.command.clone();
        let run = move || Command::new(&words[0]).args(&words[1..]).output();
        let ran = tokio::task::spawn_blocking(run).await.map_err(FetchError::transient)?;
        let output = ran.map_err(FetchError::configuration)?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(FetchError::transient(why));
        }
        let token = String::from_utf8(output.stdout).map_err(FetchError::configuration)?;
        // The token says itself whose it is and when it ends: it is a JWT.
        Ok(AccessToken::new(token.trim()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let command: Vec<String> = std::env::args().skip(1).collect();
    assert!(!command.is_empty(), "usage: injected-source PROGRAM [ARGUMENT...]");
    let var = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let mut redis = Client::builder(var("REDIS_HOSTNAME"))
        .port(port())
        .source(Printed { command })
        .connect()
        .await?;
    println!("{}", redis.command(args!["ACL", "WHOAMI"]).await?.str()?);
    Ok(())
}

/// The port, where it isn't the usual one.
fn port() -> u16 {
    std::env::var("REDIS_PORT").map_or(10_000, |port| port.parse().expect("a port is a number"))
}
