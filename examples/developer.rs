//! The same program on a laptop and in Azure: the identity of the environment, or else the person who is
//! signed in to a tool of Azure's, in the order of `DefaultAzureCredential`.
#![allow(clippy::print_stdout)]

use redis_entraid::source::TokenChain;
use redis_entraid::{Client, Error, args};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let host = std::env::var("REDIS_HOSTNAME").expect("REDIS_HOSTNAME is not set");
    let mut redis =
        Client::builder(host).port(port()).source(TokenChain::from_env()?).connect().await?;
    println!("{}", redis.command(args!["ACL", "WHOAMI"]).await?.str()?);
    Ok(())
}

/// The port, where it isn't the usual one.
fn port() -> u16 {
    std::env::var("REDIS_PORT").map_or(10_000, |port| port.parse().expect("a port is a number"))
}
