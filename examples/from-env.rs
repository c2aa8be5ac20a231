//! The identity that the environment asks for: the same program with any of them.
#![allow(clippy::print_stdout)]

use redis_entraid::{Client, Error, args};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let builder = Client::from_env()?;
    if let Some(chosen) = builder.chosen() {
        println!("{chosen}");
    }
    let mut redis = builder.connect().await?;
    println!("{}", redis.command(args!["ACL", "WHOAMI"]).await?.str()?);
    Ok(())
}
