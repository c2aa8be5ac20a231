//! A managed identity: one that Azure gives to a machine or an app. No secret anywhere.
//!
//! `managed-identity [imds|app-service] [client-id|object-id|resource-id ID]`
#![allow(clippy::print_stdout)]

use redis_entraid::source::{ManagedIdentity, Selector};
use redis_entraid::{Client, Error, args};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let var = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    // A machine has at most one system-assigned identity, and any number of user-assigned ones.
    let selector = match words.get(1..) {
        Some(["client-id", id]) => Selector::ClientId((*id).to_owned()),
        Some(["object-id", id]) => Selector::ObjectId((*id).to_owned()),
        Some(["resource-id", id]) => Selector::ResourceId((*id).to_owned()),
        _ => Selector::System,
    };
    let source = match words.first() {
        // App Service, Functions and Container Apps set these two.
        Some(&"app-service") => {
            ManagedIdentity::app_service(var("IDENTITY_ENDPOINT"), var("IDENTITY_HEADER"), selector)
        }
        // Virtual machines, scale sets and AKS nodes: the instance metadata service.
        _ => match std::env::var("AZURE_POD_IDENTITY_AUTHORITY_HOST") {
            Ok(elsewhere) => ManagedIdentity::imds_at(elsewhere, selector),
            Err(_) => ManagedIdentity::imds(selector),
        },
    };
    let mut redis =
        Client::builder(var("REDIS_HOSTNAME")).port(port()).source(source).connect().await?;
    println!("{}", redis.command(args!["ACL", "WHOAMI"]).await?.str()?);
    Ok(())
}

/// The port, where it isn't the usual one.
fn port() -> u16 {
    std::env::var("REDIS_PORT").map_or(10_000, |port| port.parse().expect("a port is a number"))
}
