//! What is asked of the database, once logged in.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use redis_entraid::{Arg, Client, Error, Value, args};

use super::problem::{Problem, Step};
use super::report::Report;
use super::steps::refused;
use crate::arguments::Doctor;
use crate::time::{millis, number};

/// How long a key of ours lives at least that couldn't be deleted.
const KEY_LIFE: Duration = Duration::from_secs(10);

/// Reads a key that nobody else has; writes and deletes it, unless it is only to be read. Each command takes up
/// to `limit`.
pub(crate) async fn read_and_write(
    redis: &mut Client,
    Doctor { prefix, read_only }: &Doctor,
    limit: Duration,
    report: &mut Report<'_>,
) -> Result<(), Problem> {
    let chance = RandomState::new().build_hasher().finish();
    let (key, value) = (format!("{prefix}{chance:016x}"), format!("{chance:x}"));
    let begun = Instant::now();
    ask(redis, "GET", Step::Read, args!["GET", &key]).await?;
    report.good(Step::Read, &format!("GET in {}", millis(begun.elapsed())));
    if *read_only {
        return Ok(());
    }
    // It is still there when a slow SET is followed by a slow GET.
    let life = i64::try_from(limit.saturating_mul(2).max(KEY_LIFE).as_millis()).unwrap_or(i64::MAX);
    let begun = Instant::now();
    ask(redis, "SET", Step::Write, args!["SET", &key, &value, "PX", life]).await?;
    let time = millis(begun.elapsed());
    let kept = ask(redis, "GET", Step::Read, args!["GET", &key]).await?;
    let is_kept = kept.str() == Ok(&*value);
    ask(redis, "DEL", Step::Write, args!["DEL", &key]).await?;
    if !is_kept {
        return Err(Problem::Garbled);
    }
    report.good(Step::Write, &format!("SET in {time}; {key} is deleted again"));
    Ok(())
}

async fn ask<'c>(
    redis: &'c mut Client,
    command: &'static str,
    step: Step,
    args: &[Arg<'_>],
) -> Result<Value<'c>, Problem> {
    redis.command(args).await.map_err(|error| match error {
        Error::Server(error) => Problem::Command { command, error, step },
        error => refused(step, error),
    })
}

/// The addresses of the nodes, where the database is a cluster for its clients.
pub(crate) async fn nodes(
    redis: &mut Client,
    host: &str,
    port: u16,
    report: &mut Report<'_>,
) -> Result<Vec<(String, u16)>, Problem> {
    let nodes = match redis.command(args!["CLUSTER", "SLOTS"]).await {
        Ok(slots) => listed(&slots, host, port),
        Err(Error::Server(error)) if error.code == "NOPERM" => {
            report.good(Step::Cluster, "not known: the access policy doesn't allow CLUSTER");
            return Ok(Vec::new());
        }
        // An unknown command, or cluster support that is off.
        Err(Error::Server(error)) if error.code == "ERR" => {
            report.good(Step::Cluster, "Enterprise policy, or not clustered: CLUSTER is refused");
            return Ok(Vec::new());
        }
        Err(Error::Server(error)) => {
            let (command, step) = ("CLUSTER SLOTS", Step::Cluster);
            return Err(Problem::Command { command, error, step });
        }
        Err(error) => return Err(refused(Step::Cluster, error)),
    };
    if nodes.is_empty() {
        return Err(Problem::NoNodes);
    }
    report.good(Step::Cluster, &format!("OSS policy, {}", number(nodes.len() as u64, "node")));
    Ok(nodes)
}

/// The nodes in a reply to `CLUSTER SLOTS`. One without an address is the one that was asked.
fn listed(slots: &Value<'_>, host: &str, port: u16) -> Vec<(String, u16)> {
    let mut nodes = Vec::new();
    for range in slots.items() {
        // What is before the nodes is where the range begins and ends.
        for node in range.items().skip(2) {
            let mut parts = node.items();
            let address = parts.next().and_then(|address| address.str().ok().map(str::to_owned));
            let number = parts.next().and_then(|port| port.int().ok()?.try_into().ok());
            let address = address.filter(|name| !matches!(name.as_str(), "" | "?"));
            let node = (
                address.unwrap_or_else(|| host.to_owned()),
                number.filter(|number| *number != 0).unwrap_or(port),
            );
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
    }
    nodes
}

/// Asks whether the server says what is about to be maintained.
pub(crate) async fn maintenance(
    redis: &mut Client,
    report: &mut Report<'_>,
) -> Result<(), Problem> {
    // It is off unless somebody turns it on.
    let said = match redis.command(args!["CLIENT", "MAINT_NOTIFICATIONS", "OFF"]).await {
        Ok(_) => "the server knows maintenance notifications".to_owned(),
        Err(Error::Server(error)) if error.code == "NOPERM" => {
            "not known: the access policy doesn't allow CLIENT".to_owned()
        }
        Err(Error::Server(error)) if error.message.to_ascii_lowercase().contains("unknown") => {
            "the server knows no maintenance notifications".to_owned()
        }
        Err(Error::Server(error)) => format!("the server sends no notifications: {error}"),
        Err(error) => return Err(refused(Step::Maintenance, error)),
    };
    report.good(Step::Maintenance, &said);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_listed_once_and_one_without_an_address_is_the_server_itself() {
        let slots = b"*3\r\n\
            *4\r\n:0\r\n:5460\r\n*3\r\n$8\r\n10.0.0.1\r\n:8501\r\n$1\r\na\r\n*3\r\n$8\r\n10.0.0.2\r\n:8502\r\n$1\r\nb\r\n\
            *3\r\n:5461\r\n:9999\r\n*3\r\n_\r\n:8503\r\n$1\r\nc\r\n\
            *3\r\n:10000\r\n:16383\r\n*3\r\n$8\r\n10.0.0.1\r\n:8501\r\n$1\r\na\r\n";
        let nodes = listed(&Value::new(slots).unwrap(), "cache", 10_000);
        let expected = [("10.0.0.1", 8501), ("10.0.0.2", 8502), ("cache", 8503)];
        assert_eq!(nodes, expected.map(|(address, port)| (address.to_owned(), port)));
        let odd = b"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\n?\r\n:0\r\n";
        let nodes = listed(&Value::new(odd).unwrap(), "cache", 10_000);
        assert_eq!(nodes, [("cache".to_owned(), 10_000)]);
        assert!(listed(&Value::new(b"*0\r\n").unwrap(), "cache", 10_000).is_empty());
    }
}
