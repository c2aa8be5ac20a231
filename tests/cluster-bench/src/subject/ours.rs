//! This repository's client, as it is.

use redis_entraid::entraid_core::connection::Outcome;
use redis_entraid::entraid_core::resp::Arg;
use redis_entraid::{Client, Error, args};

use super::{Failure, Subject};

#[derive(Clone)]
pub(crate) struct Ours(Client);

impl Ours {
    /// Connects to the server that the environment names, with the identity that it names.
    pub(crate) async fn connect() -> Result<Self, Error> {
        Client::from_env()?.connect().await.map(Self)
    }
}

impl Subject for Ours {
    async fn get(&mut self, key: &str) -> Result<(), Failure> {
        self.0.command(args!["GET", key]).await?;
        Ok(())
    }

    async fn incr(&mut self, key: &str) -> Result<i64, Failure> {
        let reply = self.0.command(args!["INCR", key]).await?;
        Ok(reply.int().map_err(Error::from)?)
    }

    async fn incr_all(&mut self, keys: &[&str]) -> Result<usize, Failure> {
        let commands: Vec<_> =
            keys.iter().map(|key| [Arg::from("INCR"), Arg::from(*key)]).collect();
        let commands: Vec<&[Arg<'_>]> = commands.iter().map(|command| &command[..]).collect();
        let replies = self.0.pipeline(commands).await?;
        let mut count = 0;
        for reply in replies {
            reply?.int().map_err(Error::from)?;
            count += 1;
        }
        Ok(count)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { is_known: error.outcome() == Outcome::NotSent, text: error.to_string() }
    }
}
