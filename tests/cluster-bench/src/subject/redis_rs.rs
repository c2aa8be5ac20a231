//! redis-rs's cluster client, as its users have to set it up.

use std::env;

use futures_util::future::join_all;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, cmd};

use super::{Failure, Subject};
use crate::login;
use crate::orders::LIMIT;

/// What had to be given up, or done differently.
pub(crate) const CONCESSIONS: [&str; 4] = [
    "Host names are not verified (`danger_accept_invalid_hostnames`): nodes are told by address, and their \
     certificate has the endpoint's name alone. Its address map is fixed, and nodes come and go.",
    "It logs in with one token that outlives the run, as user name and password: its refreshing is not compared.",
    "Replies have a time limit of five seconds, as ours have: it has none unless it is set, and then what never gets \
     an answer is no failure either.",
    "It refuses a pipeline of several slots (`Received crossed slots in pipeline`): instead, the hundred commands \
     are sent as futures side by side (`join_all`).",
];

#[derive(Clone)]
pub(crate) struct RedisRs(ClusterConnection);

impl RedisRs {
    /// Connects to the server that the environment names, with a user name and a token from there.
    pub(crate) async fn connect() -> RedisResult<Self> {
        // Both are in this process, and rustls wants to be told.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let variable = |name| env::var(name).unwrap_or_default();
        let url = format!("rediss://{}:{}", variable("REDIS_HOSTNAME"), variable("REDIS_PORT"));
        let client = ClusterClient::builder([url])
            .username(variable(login::USER))
            .password(variable(login::TOKEN))
            .danger_accept_invalid_hostnames(true)
            .response_timeout(LIMIT)
            .build()?;
        client.get_async_connection().await.map(Self)
    }
}

fn incr(key: &str) -> Cmd {
    let mut command = cmd("INCR");
    command.arg(key);
    command
}

impl Subject for RedisRs {
    async fn get(&mut self, key: &str) -> Result<(), Failure> {
        let _: Option<i64> = cmd("GET").arg(key).query_async(&mut self.0).await?;
        Ok(())
    }

    async fn incr(&mut self, key: &str) -> Result<i64, Failure> {
        Ok(incr(key).query_async(&mut self.0).await?)
    }

    async fn incr_all(&mut self, keys: &[&str]) -> Result<usize, Failure> {
        let each = keys.iter().map(|key| {
            let mut redis = self.0.clone();
            async move { incr(key).query_async::<i64>(&mut redis).await }
        });
        let values = join_all(each).await;
        let values: Vec<i64> = values.into_iter().collect::<RedisResult<_>>()?;
        Ok(values.len())
    }
}

impl From<RedisError> for Failure {
    /// Its errors don't say whether a command was executed. What a server has refused, and what had no connection,
    /// is taken as not executed, though an attempt before that one may have been.
    fn from(error: RedisError) -> Self {
        let not_executed =
            [ErrorKind::Client, ErrorKind::ClusterConnectionNotFound].contains(&error.kind());
        let is_known = not_executed || matches!(error.kind(), ErrorKind::Server(_));
        Self { is_known, text: error.to_string() }
    }
}
