//! The servers, and the programs that are run beside them.

use std::env;
use std::io::{BufRead, BufReader, Error, Result, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use amr_emulator::{Chain, ClusterOptions, Emulator, Options};
use serde::de::DeserializeOwned;

use crate::login;
use crate::orders::Order;

/// Whose program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Ours,
    RedisRs,
}

impl Client {
    pub(crate) const ALL: [Self; 2] = [Self::Ours, Self::RedisRs];

    /// As the command line names it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::RedisRs => "redis-rs",
        }
    }
}

/// Starts servers: three primaries with a replica each, or a single server.
pub(crate) fn servers(is_cluster: bool) -> Result<Emulator> {
    let cluster = ClusterOptions { primaries: 3, replicas: 1, ..ClusterOptions::default() };
    let cluster = is_cluster.then_some(cluster);
    Emulator::start(&Options { cluster, chain: Chain::Ec, ..Options::default() })
}

/// A program under test.
pub(crate) struct Program {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Program {
    /// Starts one that connects to `servers`.
    pub(crate) fn start(client: Client, threads: usize, servers: &Emulator) -> Result<Self> {
        let (user, token) = servers.entra().login();
        let mut child = Command::new(env::current_exe()?)
            .args(["program", client.word(), &threads.to_string()])
            .envs(servers.environment())
            .envs([(login::USER, user), (login::TOKEN, token)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (orders, answers) = pipes.ok_or_else(|| Error::other("the program has no pipes"))?;
        Ok(Self { child, orders, answers: BufReader::new(answers) })
    }

    /// Has it do something, and waits for its answer.
    pub(crate) fn order<T: DeserializeOwned>(&mut self, order: Order) -> Result<T> {
        writeln!(self.orders, "{}", serde_json::to_string(&order)?)?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(Error::other("the program has ended: what it says is above"));
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
