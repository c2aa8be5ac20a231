//! Where redirections lead: the nodes of a cluster, and handles that go there.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::error::Error;
use super::exchange::{Exchange, Limits, State};
use super::handle::Handle;
use super::share::Share;
use crate::command::{Class, classify};
use crate::connection::Config;
use crate::resp::{Arg, Redirect, Value};
use crate::time::Clock;
use crate::transport::Endpoint;

/// No command is redirected more often.
const MAX_REDIRECTS: usize = 4;

/// No client keeps connections to more nodes than that.
const MAX_NODES: usize = 64;

/// Where a node is, by a redirection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// What is dialed; nothing is what the client itself dials.
    pub address: Option<Arc<str>>,
    /// Its port.
    pub port: u16,
}

impl NodeAddress {
    /// Its endpoint, for a client of `endpoint`: the certificate is for the same name.
    pub fn endpoint<'e>(&'e self, endpoint: Endpoint<'e>) -> Endpoint<'e> {
        let address = self.address.as_deref().unwrap_or(endpoint.address);
        endpoint.redirected(address, self.port)
    }
}

/// The nodes that a client has connections to, for all of its handles. Each connection is kept as
/// long as this is: the handles of a client may come and go with every command.
pub struct Nodes<L: Share<State>> {
    limits: Limits,
    known: Vec<(NodeAddress, Handle<L>)>,
}

impl<L: Share<State>> Nodes<L> {
    /// None yet, whose connections will behave by `config`.
    pub fn new(config: &Config) -> Self {
        Self { limits: config.into(), known: Vec::new() }
    }

    /// A handle on the connection to `node`. If there is none, `start` sees to it that one is kept
    /// for the exchange that it is given, and dialed when there is a command: nodes come and go.
    pub fn handle(
        nodes: &impl Share<Self>,
        node: &NodeAddress,
        start: impl FnOnce(Arc<Exchange<L>>),
    ) -> Handle<L> {
        let mut locked = nodes.lock();
        let Self { limits, known } = &mut *locked;
        let found = known.iter().position(|(known, _)| known == node);
        if let Some((_, handle)) = found.and_then(|at| known.get(at))
            && handle.is_alive()
        {
            return handle.another();
        }
        let full = (known.len() >= MAX_NODES).then_some(0);
        let ended = found.or(full).map(|at| known.remove(at));
        let exchange = Arc::new(Exchange::with(*limits));
        // It ends without a handle: there is one before it begins.
        let kept = Handle::new(exchange.clone());
        let handle = kept.another();
        known.push((node.clone(), kept));
        drop(locked);
        // It may wake somebody.
        drop(ended);
        start(exchange);
        handle
    }
}

impl<L: Share<State>> fmt::Debug for Nodes<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.iter().map(|(node, _)| node)).finish()
    }
}

/// A handle whose commands go where redirections send them.
pub struct Follower<L: Share<State>> {
    home: Handle<L>,
    /// Where the last command has gone, if it was redirected.
    away: Option<(NodeAddress, Handle<L>)>,
}

impl<L: Share<State>> Follower<L> {
    /// One on the client's own connection.
    pub const fn new(home: Handle<L>) -> Self {
        Self { home, away: None }
    }

    /// Another one on the same connection.
    pub fn another(&self) -> Self {
        Self::new(self.home.another())
    }

    /// The handle on the client's own connection.
    pub const fn home(&self) -> &Handle<L> {
        &self.home
    }

    /// Executes a command as [`Handle::execute`] does, and once more at the node that a `MOVED`
    /// names. `visit` gives a handle there, as [`Nodes`] has it; if it gives none, the `MOVED` is the
    /// reply.
    ///
    /// # Errors
    /// [`Error`] if nothing was sent, or not to the node that it had to go to.
    pub async fn execute(
        &mut self,
        clock: &impl Clock,
        slice: impl Fn() -> Duration,
        limit: Option<Duration>,
        args: &[Arg<'_>],
        visit: impl Fn(&NodeAddress) -> Option<Handle<L>>,
    ) -> Result<(), Error> {
        self.away = None;
        let mut redirects = 0;
        let by = limit.map(|limit| clock.now().plus(limit));
        loop {
            let left = by.map(|by| by.since(clock.now()));
            self.last_mut().execute(clock, &slice, left, args).await?;
            let Some(node) = self.moved(args).filter(|_| redirects < MAX_REDIRECTS) else {
                return Ok(());
            };
            redirects += 1;
            let Some(handle) = visit(&node) else { return Ok(()) };
            self.away = Some((node, handle));
        }
    }

    /// Executes commands one behind the other. They belong together, so a `MOVED` is not followed:
    /// it is for their sender to divide them.
    ///
    /// # Errors
    /// [`Error`] if nothing was sent.
    pub async fn execute_all<'c, I>(
        &mut self,
        clock: &impl Clock,
        limit: Option<Duration>,
        commands: I,
    ) -> Result<(), Error>
    where
        I: Iterator<Item = &'c [Arg<'c>]>,
    {
        self.away = None;
        self.home.execute_all(clock, limit, commands).await
    }

    /// Where the command `args` has to go, by the last reply. Not one that belongs to a transaction
    /// or begins one: that is all on one connection.
    fn moved(&self, args: &[Arg<'_>]) -> Option<NodeAddress> {
        let Redirect::Moved(to) = self.last().redirect()? else { return None };
        let address = if to.address.is_empty() {
            // The same one as that which says so.
            self.away.as_ref().and_then(|(here, _)| here.address.clone())
        } else {
            Some(to.address.into())
        };
        let alone = matches!(classify(args), Ok(Class::Plain | Class::Blocking(_)));
        (alone && !self.last().has_session()).then_some(NodeAddress { address, port: to.port })
    }

    /// The handle that the last replies came to.
    fn last(&self) -> &Handle<L> {
        self.away.as_ref().map_or(&self.home, |(_, away)| away)
    }

    fn last_mut(&mut self) -> &mut Handle<L> {
        self.away.as_mut().map_or(&mut self.home, |(_, away)| away)
    }

    /// How many replies came to the last commands.
    pub fn replies(&self) -> usize {
        self.last().replies()
    }

    /// The reply number `at` of those that came last.
    ///
    /// # Errors
    /// [`Error`] if there is none, or if it is one of the server's.
    pub fn pick(&self, at: usize) -> Result<Value<'_>, Error> {
        self.last().pick(at)
    }
}

impl<L: Share<State>> fmt::Debug for Follower<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let away = self.away.as_ref().map(|(node, _)| node);
        f.debug_struct("Follower").field("home", &self.home).field("away", &away).finish()
    }
}
