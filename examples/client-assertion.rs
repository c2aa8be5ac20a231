//! An application that trusts another issuer: here GitHub Actions, where a job asks for a token of its own.
//!
//! The job needs `permissions: id-token: write`, and the application a federated credential for the
//! repository.
#![allow(clippy::print_stdout)]

use redis_entraid::source::{Authority, ClientAssertion, FetchError};
use redis_entraid::{Client, Error, args};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let var = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let authority = Authority::at_host(var("AZURE_AUTHORITY_HOST"), var("AZURE_TENANT_ID"));
    let source = ClientAssertion::new(authority, var("AZURE_CLIENT_ID"), id_token);
    let mut redis =
        Client::builder(var("REDIS_HOSTNAME")).port(port()).source(source).connect().await?;
    println!("{}", redis.command(args!["ACL", "WHOAMI"]).await?.str()?);
    Ok(())
}

/// Asks GitHub for a token. It is good for minutes: this is called for each fetch.
async fn id_token() -> Result<String, FetchError> {
    let var = |name| std::env::var(name).map_err(FetchError::configuration);
    let url = var("ACTIONS_ID_TOKEN_REQUEST_URL")? + "&audience=api://AzureADTokenExchange";
    let header = format!("Authorization: Bearer {}", var("ACTIONS_ID_TOKEN_REQUEST_TOKEN")?);
    // With reqwest or another client in a real program.
    let curl = tokio::process::Command::new("curl").args(["-sSf", "-H", &header, &url]).output();
    let output = curl.await.map_err(FetchError::transient)?;
    let text = String::from_utf8(output.stdout).map_err(FetchError::transient)?;
    // {"value":"eyJ...","count":1}
    let value = text.split("\"value\":\"").nth(1).and_then(|rest| rest.split('"').next());
    value.map(str::to_owned).ok_or_else(|| FetchError::transient("GitHub gave no token"))
}

/// The port, where it isn't the usual one.
fn port() -> u16 {
    std::env::var("REDIS_PORT").map_or(10_000, |port| port.parse().expect("a port is a number"))
}
