//! Where redirections lead: the nodes of a cluster, and handles that go there.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use super::command_queue::{CommandQueue, QueueState};
use super::error::Error;
use super::handle::Handle;
use super::lock::Lock;
use redis_entraid_core::command::{CommandClass, classify};
use redis_entraid_core::resp::{Arg, Redirect, Value};
use redis_entraid_core::time::{Clock, Timer};
use redis_entraid_core::transport::Endpoint;

/// No command is redirected more often.
const MAX_REDIRECTS: usize = 4;

/// No client keeps connections to more nodes than that.
const MAX_NODES: usize = 64;

/// So long a command waits for a node that can't be reached before the client's own server is asked
/// again where to go: a node that was replaced is gone for good.
const PATIENCE: Duration = Duration::from_secs(1);

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
pub struct Nodes<L: Lock<QueueState>> {
    home: Arc<CommandQueue<L>>,
    /// By what connection of the client's own these were learnt.
    learnt: u32,
    known: Vec<(NodeAddress, Handle<L>)>,
    /// All that may have commands, also those that are not known any more.
    open: Vec<Weak<CommandQueue<L>>>,
    is_closed: bool,
}

impl<L: Lock<QueueState>> Nodes<L> {
    /// None yet, of a client whose own connection is `home`'s: commands have the same limits there.
    pub fn new(home: Arc<CommandQueue<L>>) -> Self {
        Self { home, learnt: 0, known: Vec::new(), open: Vec::new(), is_closed: false }
    }

    /// Takes no more commands for any node: as [`Handle::close`] for each of them. What is redirected from
    /// then on is refused.
    pub fn close(nodes: &impl Lock<Self>) {
        let mut locked = nodes.lock();
        locked.is_closed = true;
        let open = core::mem::take(&mut locked.open);
        drop(locked);
        // It may wake a task.
        open.iter().filter_map(Weak::upgrade).for_each(|queue| queue.close());
    }

    /// A handle on the connection to `node`. If there is none, `start` keeps one
    /// for the queue that it is given, and dialed when there is a command: nodes come and go.
    ///
    /// When the client's own connection was dialed again, so are those to nodes: what has ended the
    /// one may have been a failover, which leaves the others open without a server behind them.
    pub fn handle(
        nodes: &impl Lock<Self>,
        node: &NodeAddress,
        start: impl FnOnce(Arc<CommandQueue<L>>),
    ) -> Handle<L> {
        let mut locked = nodes.lock();
        let Self { home, learnt, known, open, is_closed } = &mut *locked;
        let connection = home.connection();
        let outdated = match core::mem::replace(learnt, connection) == connection {
            true => Vec::new(),
            false => core::mem::take(known),
        };
        let is_there = |handle: &Handle<L>| {
            node.address.is_some()
                && handle.queue().is_at(node.address.as_deref(), node.port, false)
        };
        let found = known.iter().position(|(known, _)| known == node);
        // It may be known by its name, and be called by its address.
        let found = found.or_else(|| known.iter().position(|(_, handle)| is_there(handle)));
        if let Some((_, handle)) = found.and_then(|at| known.get(at))
            && handle.is_alive()
        {
            return handle.another();
        }
        let full = (known.len() >= MAX_NODES).then_some(0);
        let ended = found.or(full).map(|at| known.remove(at));
        let queue = Arc::new(CommandQueue::with(home.limits()));
        // It ends without a handle: there is one before it begins.
        let kept = Handle::new(queue.clone());
        let handle = kept.another();
        let is_closed = *is_closed;
        if !is_closed {
            known.push((node.clone(), kept));
            open.retain(|queue| queue.strong_count() > 0);
            open.push(Arc::downgrade(&queue));
        }
        drop(locked);
        // It may wake a task.
        drop((ended, outdated));
        if is_closed {
            queue.end(&Error::Closed)
        } else {
            start(queue)
        }
        handle
    }
}

impl<L: Lock<QueueState>> fmt::Debug for Nodes<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.iter().map(|(node, _)| node)).finish()
    }
}

/// A handle whose commands go where redirections send them.
pub struct RedirectingHandle<L: Lock<QueueState>> {
    home: Handle<L>,
    /// Where the last command has gone, if it was redirected.
    away: Option<(Handle<L>, NodeAddress)>,
}

/// Where a command has to go, by its reply.
#[derive(Debug, PartialEq, Eq)]
enum Goal {
    /// Its address before: another server is there by now.
    Here,
    /// To the client's own connection.
    Home,
    /// There.
    Node(NodeAddress),
}

impl<L: Lock<QueueState>> RedirectingHandle<L> {
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
    /// names. `visit` gives a handle there, as [`Nodes`] has it; without it, the `MOVED` is the reply.
    ///
    /// A `MOVED` to the connection's own address means that another server is there by now: it is
    /// dialed again for the command, and again if that doesn't help, each time later. A node that can't
    /// be reached may be gone: as long as the command may wait, it is asked for at home again.
    ///
    /// # Errors
    /// [`Error`] if nothing was sent, or not to the node that it had to go to.
    pub async fn execute(
        &mut self,
        timer: &impl Timer,
        slice: impl Fn() -> Duration,
        limit: Option<Duration>,
        args: &[Arg<'_>],
        visit: Option<impl Fn(&NodeAddress) -> Handle<L>>,
    ) -> Result<(), Error> {
        self.away = None;
        let mut redirects = 0;
        let begun = timer.now();
        let by = limit.map(|limit| begun.plus(limit));
        loop {
            let left = by.map(|by| by.since(timer.now()));
            let (handle, mut patience) = match &mut self.away {
                None => (&mut self.home, None),
                Some((node, _)) => {
                    let wait = by.unwrap_or_else(|| begun.plus(node.queue().limits().queue));
                    node.wait_until(wait);
                    let until = timer.now().plus(PATIENCE);
                    let patience = (until < wait).then(|| {
                        // It is rare, and would make all other commands larger.
                        (node.queue().clone(), Box::pin(timer.sleep_until(until)))
                    });
                    (node, patience)
                }
            };
            let is_reached = {
                let mut executing = pin!(handle.execute(timer, &slice, left, args));
                poll_fn(|cx| {
                    if let Poll::Ready(executed) = executing.as_mut().poll(cx) {
                        return Poll::Ready(executed.map(|()| true));
                    }
                    if let Some((queue, sleep)) = &mut patience
                        && sleep.as_mut().poll(cx).is_ready()
                    {
                        if queue.is_untried() {
                            // Who goes has withdrawn.
                            return Poll::Ready(Ok(false));
                        }
                        patience = None;
                    }
                    Poll::Pending
                })
                .await?
            };
            if !is_reached {
                (self.away, redirects) = (None, 0);
                continue;
            }
            let Some(goal) = self.goal(0) else { return Ok(()) };
            let renewed = match goal {
                Goal::Here => self.last().renew(timer.now()),
                _ => Ok(()),
            };
            let Some(visit) = visit.as_ref().filter(|_| redirects < MAX_REDIRECTS) else {
                return Ok(());
            };
            // What belongs to a transaction or begins one is all on one connection.
            let alone =
                matches!(classify(args), Ok(CommandClass::Plain | CommandClass::Blocking(_)));
            if !alone || self.last().has_session() {
                return Ok(());
            }
            redirects += 1;
            match (goal, renewed) {
                (Goal::Here, Err(early)) => {
                    let by = by.unwrap_or_else(|| begun.plus(self.last().queue().timeout()));
                    if early >= by {
                        return Ok(());
                    }
                    // It is rare, and would make all other commands larger.
                    Box::pin(timer.sleep_until(early)).await;
                    // Another call may have asked meanwhile.
                    let _ = self.last().renew(timer.now());
                }
                (Goal::Here, Ok(())) => {}
                (Goal::Home, _) => self.away = None,
                (Goal::Node(node), _) => self.away = Some((visit(&node), node)),
            }
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
        self.home.execute_all(clock, limit, commands).await?;
        if (0..self.replies()).any(|at| self.goal(at) == Some(Goal::Here)) {
            // For who sends them again. If it is too early, there was one lately.
            let _ = self.home.renew(clock.now());
        }
        Ok(())
    }

    /// Where the reply number `at` sends its command, if it is a `MOVED`.
    fn goal(&self, at: usize) -> Option<Goal> {
        let Redirect::Moved(to) = self.last().redirect(at)? else { return None };
        // No address is that of the node which says so.
        let address = Some(to.address).filter(|address| !address.is_empty());
        let leads = |handle: &Handle<L>, own| handle.queue().is_at(address, to.port, own);
        let Some((away, here)) = &self.away else {
            if leads(&self.home, true) {
                return Some(Goal::Here);
            }
            return Some(Goal::Node(NodeAddress {
                address: address.map(Arc::from),
                port: to.port,
            }));
        };
        let address = address.map(Arc::from).or_else(|| here.address.clone());
        let node = NodeAddress { address, port: to.port };
        Some(if node == *here || leads(away, false) {
            Goal::Here
        } else if node.address.is_some() && leads(&self.home, true) {
            Goal::Home
        } else {
            Goal::Node(node)
        })
    }

    /// The handle that the last replies came to.
    fn last(&self) -> &Handle<L> {
        self.away.as_ref().map_or(&self.home, |(away, _)| away)
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

impl<L: Lock<QueueState>> fmt::Debug for RedirectingHandle<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let away = self.away.as_ref().map(|(node, _)| node);
        f.debug_struct("RedirectingHandle").field("home", &self.home).field("away", &away).finish()
    }
}
