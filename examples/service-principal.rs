//! A service principal: an application that logs in with its client secret.
#![allow(clippy::print_stdout)]

use redis_entraid::source::{Authority, ServicePrincipal};
use redis_entraid::{Client, Error, args};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let var = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    // `Authority::tenant(...)` is Azure's public cloud; this one may be another.
    let authority = Authority::at_host(var("AZURE_AUTHORITY_HOST"), var("AZURE_TENANT_ID"));
    let source = ServicePrincipal::with_secret(
        authority,
        var("AZURE_CLIENT_ID"),
        var("AZURE_CLIENT_SECRET"),
    );
    let mut redis =
        Client::builder(var("REDIS_HOSTNAME")).port(port()).source(source).connect().await?;
    redis.command(args!["SET", "greeting", "hello"]).await?;
    println!("{}", redis.command(args!["GET", "greeting"]).await?.str()?);
    Ok(())
}

/// The port, where it isn't the usual one.
fn port() -> u16 {
    std::env::var("REDIS_PORT").map_or(10_000, |port| port.parse().expect("a port is a number"))
}
