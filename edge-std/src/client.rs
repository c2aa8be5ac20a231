//! The client: handles on one connection that a task keeps open and logged in.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis_entraid_client as core;
use redis_entraid_client::{Health, NodeAddress};
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::time::{Clock, Instant};

use crate::clock::TokioClock;
use crate::error::Error;
use crate::identity::Identity;
use crate::nodes::Nodes;
use crate::status::Status;

/// What the handles of this host share.
pub(crate) type CommandQueue = core::CommandQueue<Mutex<core::QueueState>>;

/// A handle of this host.
pub(crate) type Handle = core::Handle<Mutex<core::QueueState>>;

/// A handle of this host whose commands go to the nodes of a cluster.
pub(crate) type RoutingHandle = core::RoutingHandle<Mutex<core::QueueState>>;

/// Is told what a server sends unasked.
pub(crate) type PushHook = Arc<dyn Fn(Value<'_>) + Send + Sync>;

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
    handle: RoutingHandle,
    status: Arc<Status>,
    nodes: Nodes,
}

impl Client {
    pub(crate) const fn new(handle: RoutingHandle, status: Arc<Status>, nodes: Nodes) -> Self {
        Self { handle, status, nodes }
    }

    /// Waits for the first login.
    pub(crate) async fn started(&self, until: Instant) -> Result<(), Error> {
        self.status.started(until).await
    }

    /// Sends a command and waits for its reply, which is kept until the next one.
    ///
    /// A command that blocks for long, as `BLPOP`, is sent in slices, so that a login gets its
    /// turn; commands of other handles wait meanwhile, so give it a client of its own.
    ///
    /// In a cluster, it goes to the node that has its key. One without keys goes where the client connects.
    /// If its keys are in several slots, it is refused with `CROSSSLOT` and not sent. What a node refuses by `MOVED`,
    /// `ASK`, `TRYAGAIN`, `CLUSTERDOWN` or `LOADING` is sent again, as long as the time limit allows.
    ///
    /// # Errors
    /// [`Error`], also if the server reports one. [`Error::outcome`] says whether the command may
    /// have been executed. A command refused since the server forgot the login (`NOAUTH`) is repeated
    /// once; one that may have been executed is never repeated.
    ///
    /// # Cancel safety
    /// If the future is dropped, a command that still waits for its turn is withdrawn: it is never
    /// sent. One that was sent may be executed; its reply is dropped, and with it what a `BLPOP`
    /// took.
    pub async fn command(&mut self, args: &[Arg<'_>]) -> Result<Value<'_>, Error> {
        self.run(None, args).await
    }

    /// The same with a time limit of its own, which may be longer or shorter than the
    /// [usual one](crate::Builder::command_timeout). It holds wherever the command is: what was not
    /// sent by then is withdrawn. The time that a command blocks by itself, as `BLPOP`, comes on top.
    /// `None` is the usual limit. With a long one, it takes as long until a silent server's connection
    /// is given up.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    ///
    /// # Cancel safety
    /// As that of [`command`](Self::command).
    pub async fn command_within(
        &mut self,
        limit: impl Into<Option<Duration>>,
        args: &[Arg<'_>],
    ) -> Result<Value<'_>, Error> {
        self.run(limit.into(), args).await
    }

    async fn run(&mut self, limit: Option<Duration>, args: &[Arg<'_>]) -> Result<Value<'_>, Error> {
        let Self { handle, status, nodes } = self;
        let slice = || status.identity.manager().slice();
        handle.execute(&TokioClock, slice, limit, args, Some(nodes)).await?;
        handle.pick(0)
    }

    /// Sends commands one behind the other, without waiting in between, and waits for all
    /// replies.
    ///
    /// ```no_run
    /// # async fn example(mut redis: redis_entraid::Client, users: &[String]) -> Result<(), redis_entraid::Error> {
    /// use redis_entraid::{Arg, args};
    ///
    /// redis.pipeline([args!["SET", "greeting", "hello"], args!["GET", "greeting"]]).await?;
    /// // Commands that were made before.
    /// let visits: Vec<[Arg<'_>; 2]> = users.iter().map(|user| ["INCR".into(), user.into()]).collect();
    /// for count in redis.pipeline(&visits).await? {
    ///     println!("{}", count?.int()?);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// A transaction goes like this as a whole, from `MULTI` to `EXEC`. It can also be sent
    /// command by command, and keys be watched, but only through a client without clones: what
    /// others send would become a part of it.
    ///
    /// In a cluster, each command goes to the node that has its key, side by side; two commands with one key are
    /// executed in order, so that what a node refuses is not sent again if it has executed a later one. What lies
    /// between `WATCH` or `MULTI` and the end of that has its keys in one slot, and goes there. Sent command by command,
    /// a transaction begins with the `WATCH` of a key.
    ///
    /// # Errors
    /// [`Error`] if nothing could be sent. What becomes of each command, [`Pipeline`] says.
    ///
    /// # Cancel safety
    /// As that of [`command`](Self::command), for each of them; but what lies between `MULTI` and
    /// `EXEC` goes as a whole or not at all.
    pub async fn pipeline<'c, I>(&mut self, commands: I) -> Result<Pipeline<'_>, Error>
    where
        I: IntoIterator<Item: AsRef<[Arg<'c>]>>,
    {
        self.run_all(None, commands.into_iter()).await
    }

    /// The same with a time limit for all of them together.
    ///
    /// # Errors
    /// As [`pipeline`](Self::pipeline).
    ///
    /// # Cancel safety
    /// As that of [`pipeline`](Self::pipeline).
    pub async fn pipeline_within<'c, I>(
        &mut self,
        limit: impl Into<Option<Duration>>,
        commands: I,
    ) -> Result<Pipeline<'_>, Error>
    where
        I: IntoIterator<Item: AsRef<[Arg<'c>]>>,
    {
        self.run_all(limit.into(), commands.into_iter()).await
    }

    async fn run_all<'c, I>(
        &mut self,
        limit: Option<Duration>,
        commands: I,
    ) -> Result<Pipeline<'_>, Error>
    where
        I: Iterator<Item: AsRef<[Arg<'c>]>>,
    {
        let Self { handle, nodes, .. } = self;
        handle.execute_all(&TokioClock, limit, commands, Some(nodes)).await?;
        Ok(Pipeline { handle: &self.handle, next: 0 })
    }

    /// Sends a command whose keys may be in several slots of a cluster: a part to each node that has some of them, side by
    /// side. `DEL`, `EXISTS`, `MGET`, `MSET`, `TOUCH` and `UNLINK` mean the same in parts, but for others, who may see one
    /// done and the next one not. Any other command is sent as it is.
    ///
    /// # Errors
    /// As [`command`](Self::command). If a part fails, that is the error; the others may have been executed.
    ///
    /// # Cancel safety
    /// As that of [`command`](Self::command), for each part.
    pub async fn command_divided(&mut self, args: &[Arg<'_>]) -> Result<Value<'_>, Error> {
        let Self { handle, status, nodes } = self;
        let slice = || status.identity.manager().slice();
        handle.execute_divided(&TokioClock, slice, None, args, nodes).await?;
        handle.pick(0)
    }

    /// Sends a command to every primary of a cluster, side by side, and waits for all replies: one for each, in the
    /// order of [`primaries`](Self::primaries). Without a cluster there is one. `DBSIZE`, `FLUSHALL`, `KEYS`,
    /// `SCRIPT LOAD` and the like are about one node alone when they are sent by [`command`](Self::command).
    ///
    /// # Errors
    /// [`Error`] if nothing could be sent, or if the server doesn't say which primaries there are: the user may need
    /// permission for `CLUSTER SLOTS`. What becomes of each, [`Pipeline`] says.
    ///
    /// # Cancel safety
    /// As that of [`command`](Self::command).
    pub async fn command_on_all(&mut self, args: &[Arg<'_>]) -> Result<Pipeline<'_>, Error> {
        let Self { handle, nodes, .. } = self;
        handle.execute_on_all(&TokioClock, None, args, nodes).await?;
        Ok(Pipeline { handle: &self.handle, next: 0 })
    }

    /// The primaries of the cluster, for [`command_on`](Self::command_on). None if there is no cluster, or one that
    /// shows none, as Azure Managed Redis with its Enterprise policy.
    ///
    /// # Errors
    /// [`Error`] if the server is asked, and doesn't say.
    pub async fn primaries(&self) -> Result<Vec<NodeAddress>, Error> {
        self.handle.primaries(&TokioClock, &self.nodes).await
    }

    /// Sends a command to one primary, whose keys alone it is about: `SCAN`, for one. It is not redirected.
    ///
    /// # Errors
    /// As [`command`](Self::command); and [`Error::Unavailable`] if the cluster has no such primary any more.
    ///
    /// # Cancel safety
    /// As that of [`command`](Self::command).
    pub async fn command_on(
        &mut self,
        primary: &NodeAddress,
        args: &[Arg<'_>],
    ) -> Result<Value<'_>, Error> {
        let Self { handle, status, nodes } = self;
        let slice = || status.identity.manager().slice();
        handle.execute_on(&TokioClock, slice, None, args, (primary, nodes)).await?;
        handle.pick(0)
    }

    /// Closes the client and all of its clones: takes no more commands, and waits until those that were
    /// taken are answered or their time is over. Then the connection is closed.
    ///
    /// # Cancel safety
    /// If the future is dropped, the client closes all the same.
    pub async fn close(self) {
        self.handle.home().close();
        self.status.ended().await;
        // What was redirected before that is answered by a node.
        self.nodes.close().await;
    }

    /// Replaces the connection with a new one. The new one logs in first; the old one
    /// then answers what it has, and the next command goes to the new one: none fails or waits longer
    /// than the commands under way did, except that an open transaction or `WATCH` ends first.
    pub fn hand_over(&self) {
        self.handle.home().hand_over();
    }

    /// How token and connection stand. Never shows the token.
    pub fn health(&self) -> Health {
        Health::new(TokioClock.now(), self.status.identity.health(), &self.status.lock())
    }

    /// Why there is no connection at the moment, as far as that is known.
    pub fn problem(&self) -> Option<Error> {
        self.status.problem()
    }

    /// The identity that it logs in with.
    pub fn identity(&self) -> &Identity {
        &self.status.identity
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self::new(self.handle.another(), self.status.clone(), self.nodes.clone())
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
    handle: &'r RoutingHandle,
    next: usize,
}

impl<'r> Iterator for Pipeline<'r> {
    type Item = Result<Value<'r>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.handle.replies() {
            return None;
        }
        self.next += 1;
        Some(self.handle.pick(self.next - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.handle.replies() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Pipeline<'_> {}
