//! A policy of one's own: when to refresh, how to retry, and who hears of it. One identity
//! serves two connections.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use redis_entraid::source::{Authority, ServicePrincipal};
use redis_entraid::{Client, Error, Identity, Ratio, RefreshPolicy, RetryPolicy, args};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let var = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let authority = Authority::at_host(var("AZURE_AUTHORITY_HOST"), var("AZURE_TENANT_ID"));
    let source = ServicePrincipal::with_secret(
        authority,
        var("AZURE_CLIENT_ID"),
        var("AZURE_CLIENT_SECRET"),
    );
    let policy = RefreshPolicy {
        // After half of its life, or when five minutes are left.
        expiration_refresh_ratio: Ratio::percent(50),
        lower_refresh_bound: Duration::from_secs(300),
        token_request_timeout: Duration::from_secs(10),
        retry: RetryPolicy {
            max_attempts: 8,
            initial_delay: Duration::from_millis(500),
            ..RetryPolicy::default()
        },
        ..RefreshPolicy::default()
    };
    let identity = Identity::new(source)
        .policy(policy)
        .on_event(|event| println!("identity: {event}"))
        .start();
    let connect = || {
        Client::builder(var("REDIS_HOSTNAME"))
            .port(port())
            .identity(&identity)
            .on_event(|event| println!("connection: {event}"))
            .connect()
    };
    let (mut one, mut two) = tokio::try_join!(connect(), connect())?;
    one.command(args!["SET", "greeting", "hello"]).await?;
    println!("{}", two.command(args!["GET", "greeting"]).await?.str()?);
    println!("{:?}", identity.health());
    Ok(())
}

/// The port, where it isn't the usual one.
fn port() -> u16 {
    std::env::var("REDIS_PORT").map_or(10_000, |port| port.parse().expect("a port is a number"))
}
