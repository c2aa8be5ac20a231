//! The client: handles on one connection that a task keeps open and logged in.

use std::fmt;
use std::sync::{Arc, Mutex};

use redis_entraid_core::client as core;
use redis_entraid_core::client::Health;
use redis_entraid_core::command::{Class, classify};
use redis_entraid_core::resp::{Arg, Redirect, Value};

use crate::clock::TokioClock;
use crate::error::Error;
use crate::identity::Identity;
use crate::nodes::{Address, Nodes};
use crate::standing::Standing;

/// What the handles of this host share.
pub(crate) type Exchange = core::Exchange<Mutex<core::State>>;

/// A handle of this host.
pub(crate) type Handle = core::Handle<Mutex<core::State>>;

/// What a driver of this host has of its handles.
pub(crate) type Desk = core::Desk<Mutex<core::State>>;

/// Hears what a server sends unasked.
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
    handle: Handle,
    identity: Identity,
    standing: Arc<Standing>,
    nodes: Arc<Nodes>,
    /// Where redirections have led this handle.
    visited: Vec<(Address, Handle)>,
}

/// No command is redirected more often.
const MAX_REDIRECTS: usize = 4;

/// No handle keeps connections to more nodes than that.
const MAX_VISITED: usize = 64;

impl Client {
    pub(crate) const fn new(
        handle: Handle,
        identity: Identity,
        standing: Arc<Standing>,
        nodes: Arc<Nodes>,
    ) -> Self {
        Self { handle, identity, standing, nodes, visited: Vec::new() }
    }

    /// Sends a command and waits for its reply, which is kept until the next one.
    ///
    /// A command that blocks for long, as `BLPOP`, is sent in slices, so that a login gets its
    /// turn; commands of other handles wait meanwhile, so give it a client of its own. Where a
    /// cluster answers `MOVED`, the command is sent to the node that it names.
    ///
    /// # Errors
    /// [`Error`], also if the server reports one. [`Error::outcome`] says whether the command may
    /// have been executed. Nothing that may have been is repeated by itself.
    ///
    /// # Cancel safety
    /// If the future is dropped, the command may still be executed; its reply is dropped, and with
    /// it what a `BLPOP` took.
    pub async fn command(&mut self, args: &[Arg<'_>]) -> Result<Value<'_>, Error> {
        execute(&mut self.handle, &self.identity, args).await?;
        let mut at = None;
        for _ in 0..MAX_REDIRECTS {
            let Some(address) = self.moved(at, args) else { break };
            let node = self.visit(address);
            execute(&mut self.visited[node].1, &self.identity, args).await?;
            at = Some(node);
        }
        self.handle_at(at).pick(0)
    }

    fn handle_at(&self, node: Option<usize>) -> &Handle {
        node.map_or(&self.handle, |node| &self.visited[node].1)
    }

    /// Where the command `args` has to go that was sent to `node`. Not one that belongs to a
    /// transaction or begins one: that is all on one connection.
    fn moved(&self, node: Option<usize>, args: &[Arg<'_>]) -> Option<Address> {
        let handle = self.handle_at(node);
        let Err(Error::Server(error)) = handle.pick(0) else { return None };
        let Redirect::Moved(to) = error.redirect()? else { return None };
        let here = || node.and_then(|node| self.visited[node].0.0.clone());
        let address = if to.address.is_empty() { here() } else { Some(to.address.into()) };
        let alone = matches!(classify(args), Ok(Class::Plain | Class::Blocking(_)));
        (alone && !handle.has_session()).then_some((address, to.port))
    }

    /// The node at `address` among those visited.
    fn visit(&mut self, address: Address) -> usize {
        let known = self.visited.iter().position(|(visited, _)| *visited == address);
        if let Some(known) = known.filter(|known| self.visited[*known].1.is_alive()) {
            return known;
        }
        if let Some(ended) = known {
            self.visited.remove(ended);
        } else if self.visited.len() == MAX_VISITED {
            self.visited.remove(0);
        }
        let handle = self.nodes.handle(&address);
        self.visited.push((address, handle));
        self.visited.len() - 1
    }

    /// Sends commands one behind the other, without waiting in between, and waits for all
    /// replies.
    ///
    /// A transaction goes like this as a whole, from `MULTI` to `EXEC`. It can also be sent
    /// command by command, and keys be watched, but only through a client without clones: what
    /// others send would become a part of it.
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
        self.handle.execute_all(&TokioClock, commands.into_iter()).await?;
        Ok(Pipeline { handle: &self.handle, next: 0 })
    }

    /// How token and connection stand. Never shows the token.
    pub fn health(&self) -> Health {
        Health::new(self.identity.health(), &self.standing.now())
    }

    /// Why there is no connection at the moment, as far as that is known.
    pub fn problem(&self) -> Option<Error> {
        self.standing.problem()
    }

    /// The identity that it logs in with.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }
}

async fn execute(handle: &mut Handle, identity: &Identity, args: &[Arg<'_>]) -> Result<(), Error> {
    handle.execute(&TokioClock, || identity.manager().slice(), args).await
}

impl Clone for Client {
    fn clone(&self) -> Self {
        let (identity, standing) = (self.identity.clone(), self.standing.clone());
        Self::new(self.handle.another(), identity, standing, self.nodes.clone())
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
    handle: &'r Handle,
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
