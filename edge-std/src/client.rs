//! The client: handles on one connection that a task keeps open and logged in.

use core::fmt;
use core::future::poll_fn;
use core::time::Duration;
use std::sync::Arc;

use redis_entraid_core::connection::ConnectionHealth;
use redis_entraid_core::manager::TokenHealth;
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::time::Clock;

use crate::clock::TokioClock;
use crate::error::Error;
use crate::exchange::{Exchange, Replies};
use crate::identity::Identity;

/// A Redis client that logs in with Entra ID and stays logged in.
///
/// It is a handle on a shared connection: clone it, one for each task. Commands of all handles
/// go out one behind the other; each handle waits for its own replies only.
///
/// ```no_run
/// # async fn example() -> Result<(), redis_entraid::Error> {
/// use redis_entraid::{Client, args};
///
/// let mut redis = Client::from_env()?.connect().await?;
/// redis.command(args!["SET", "greeting", "hello"]).await?;
/// println!("{}", redis.command(args!["GET", "greeting"]).await?.str()?);
///
/// let mut other = redis.clone();
/// tokio::spawn(async move { other.command(args!["INCR", "hits"]).await.map(|_| ()) });
/// # Ok(()) }
/// ```
pub struct Client {
    exchange: Arc<Exchange>,
    identity: Identity,
    slot: u32,
    replies: Replies,
}

impl Client {
    pub(crate) fn new(exchange: Arc<Exchange>, identity: Identity) -> Self {
        let slot = exchange.enter();
        Self { exchange, identity, slot, replies: Replies::default() }
    }

    /// Sends a command and waits for its reply, which is kept until the next one.
    ///
    /// # Errors
    /// [`Error`], also if the server reports one. [`Error::outcome`] says whether the command may
    /// have been executed. Nothing is repeated by itself.
    ///
    /// # Cancel safety
    /// If the future is dropped, the command may still be executed; its reply is dropped.
    pub async fn command(&mut self, args: &[Arg<'_>]) -> Result<Value<'_>, Error> {
        self.exchange(core::iter::once(args)).await?;
        self.pick(0)
    }

    /// Sends commands one behind the other, without waiting in between, and waits for all
    /// replies.
    ///
    /// # Errors
    /// [`Error`] if nothing could be sent. What becomes of each command, [`Pipeline`] says.
    ///
    /// # Cancel safety
    /// As that of [`command`](Self::command).
    pub async fn pipeline<'c, I>(&mut self, commands: I) -> Result<Pipeline<'_>, Error>
    where
        I: IntoIterator<Item = &'c [Arg<'c>]>,
    {
        self.exchange(commands.into_iter()).await?;
        Ok(Pipeline { client: self, next: 0 })
    }

    async fn exchange<'c>(
        &mut self,
        commands: impl Iterator<Item = &'c [Arg<'c>]>,
    ) -> Result<(), Error> {
        let ticket = self.exchange.send(self.slot, TokioClock.now(), commands)?;
        let (exchange, replies) = (&self.exchange, &mut self.replies);
        poll_fn(|cx| exchange.poll_replies(cx, ticket, replies)).await;
        Ok(())
    }

    /// The reply number `at` of those that came last.
    fn pick(&self, at: usize) -> Result<Value<'_>, Error> {
        let failures = &self.replies.failures;
        if let Some((_, failure)) = failures.iter().find(|(failed, _)| *failed == at) {
            return Err(failure.clone().into());
        }
        let start = at.checked_sub(1).map_or(0, |before| self.replies.ends[before]);
        let raw = &self.replies.bytes[start..self.replies.ends[at]];
        let value = Value::framed(raw);
        match value.error() {
            Some(error) => Err(Error::Server(error.into())),
            None => Ok(value),
        }
    }

    /// How token and connection stand. Never shows the token.
    pub fn health(&self) -> Health {
        let status = self.exchange.status();
        Health {
            token: self.identity.health(),
            connection: status.connection.map(|(_, health)| health),
            reconnects: status.connects.saturating_sub(1),
            reauths: status.reauths,
        }
    }

    /// The identity that it logs in with.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self::new(self.exchange.clone(), self.identity.clone())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.exchange.leave(self.slot);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.health()).finish()
    }
}

/// The replies to a pipeline, in order.
#[derive(Debug)]
pub struct Pipeline<'r> {
    client: &'r Client,
    next: usize,
}

impl<'r> Iterator for Pipeline<'r> {
    type Item = Result<Value<'r>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.client.replies.len() {
            return None;
        }
        self.next += 1;
        Some(self.client.pick(self.next - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.client.replies.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Pipeline<'_> {}

/// How a client stands.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Health {
    /// The identity's token.
    pub token: TokenHealth,
    /// The connection, while there is one, as it was when it last had something to do.
    pub connection: Option<ConnectionHealth>,
    /// Connections that were made after the first.
    pub reconnects: u32,
    /// Logins with a newer token on a live connection.
    pub reauths: u32,
}

impl Health {
    /// Whether there is a connection that takes commands.
    pub fn is_ready(&self) -> bool {
        self.connection.is_some_and(|connection| connection.ready)
    }

    /// How old the token is.
    pub const fn token_age(&self) -> Option<Duration> {
        self.token.age
    }
}
