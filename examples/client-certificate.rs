//! A service principal with a certificate: its key signs a statement for each token, and no secret is sent.
#![allow(clippy::print_stdout)]

use redis_entraid::source::{Authority, ClientCertificate};
use redis_entraid::{Client, Error, args};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let var = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let authority = Authority::at_host(var("AZURE_AUTHORITY_HOST"), var("AZURE_TENANT_ID"));
    // PEM with certificate and RSA key, as `az ad app credential reset --create-cert` writes it. It is read
    // for each token: a new certificate needs no restart. A key in a TPM or a vault: `from_signer`.
    let file = var("AZURE_CLIENT_CERTIFICATE_PATH");
    let source = ClientCertificate::from_file(authority, var("AZURE_CLIENT_ID"), file, None);
    let mut redis =
        Client::builder(var("REDIS_HOSTNAME")).port(port()).source(source).connect().await?;
    println!("{}", redis.command(args!["ACL", "WHOAMI"]).await?.str()?);
    Ok(())
}

/// The port, where it isn't the usual one.
fn port() -> u16 {
    std::env::var("REDIS_PORT").map_or(10_000, |port| port.parse().expect("a port is a number"))
}
