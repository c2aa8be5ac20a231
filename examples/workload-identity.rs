//! Workload identity: a pod on AKS whose service account is trusted by an application or a managed
//! identity. Kubernetes writes a token into a file and replaces it; the file is read for each request.
#![allow(clippy::print_stdout)]

use redis_entraid::source::{Authority, WorkloadIdentity};
use redis_entraid::{Client, Error, args};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let var = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    // The webhook of AKS workload identity sets these four. `Client::from_env` reads them, too.
    let authority = Authority::at_host(var("AZURE_AUTHORITY_HOST"), var("AZURE_TENANT_ID"));
    let source =
        WorkloadIdentity::new(authority, var("AZURE_CLIENT_ID"), var("AZURE_FEDERATED_TOKEN_FILE"));
    let mut redis =
        Client::builder(var("REDIS_HOSTNAME")).port(port()).source(source).connect().await?;
    println!("{}", redis.command(args!["ACL", "WHOAMI"]).await?.str()?);
    Ok(())
}

/// The port, where it isn't the usual one.
fn port() -> u16 {
    std::env::var("REDIS_PORT").map_or(10_000, |port| port.parse().expect("a port is a number"))
}
