//! Commands for all primaries, or for one that the caller chooses.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Last, RoutingHandle};
use crate::command_queue::QueueState;
use crate::error::Error;
use crate::handle::Handle;
use crate::lock::Lock;
use crate::router::{NodeAddress, Place, RouterHost};
use redis_entraid_core::args;
use redis_entraid_core::cluster::Route;
use redis_entraid_core::command::classify;
use redis_entraid_core::resp::Arg;
use redis_entraid_core::time::Timer;

impl<L: Lock<QueueState>> RoutingHandle<L> {
    /// The primaries of the cluster. None if there is no cluster, or one that shows none, as Azure's Enterprise policy.
    /// If nobody knows yet, the server is asked.
    ///
    /// # Errors
    /// [`Error`] if the server didn't say.
    pub async fn primaries(
        &self,
        timer: &impl Timer,
        host: &impl RouterHost<L>,
    ) -> Result<Vec<NodeAddress>, Error> {
        let has_map = host.router().lock().has_map();
        if !has_map {
            // It is rare, and would make all others larger.
            Box::pin(self.ask_home(timer, host)).await?;
        }
        Ok(host.router().lock().primaries().collect())
    }

    /// Asks the client's own connection where the slots are.
    async fn ask_home(&self, timer: &impl Timer, host: &impl RouterHost<L>) -> Result<(), Error> {
        let mut handle = Handle::beside(self.home.queue().clone());
        handle.execute_all(timer, None, [args!["CLUSTER", "SLOTS"]].into_iter()).await?;
        let reply = handle.reply(0);
        let (gone, is_told) = match reply {
            Some(reply) => host.router().lock().told_by_home(timer.now(), reply),
            None => (Vec::new(), false),
        };
        // It wakes tasks.
        gone.iter().for_each(|queue| queue.retire());
        match handle.pick(0) {
            _ if is_told => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(Error::Unavailable { cause: None }),
        }
    }

    /// Executes a command at every primary, side by side: at home if there is no cluster. There is a reply for each.
    /// Nothing is redirected.
    ///
    /// # Errors
    /// [`Error`] if nothing was sent, or if the server doesn't say which primaries there are.
    pub async fn execute_on_all(
        &mut self,
        timer: &impl Timer,
        limit: Option<Duration>,
        args: &[Arg<'_>],
        host: &impl RouterHost<L>,
    ) -> Result<(), Error> {
        let nodes = self.primaries(timer, host).await?;
        let begun = timer.now();
        let by = limit.map(|limit| begun.plus(limit));
        let mut places = Vec::new();
        for place in nodes.iter().filter_map(|node| primary(host, node)) {
            // One server may have two names.
            if !places.contains(&place) {
                places.push(place);
            }
        }
        if places.is_empty() {
            places.push(Place::Home);
        }
        self.last = Last::Rounds;
        self.rounds.clear();
        let its = (classify(args)?, Route::AnyPrimary);
        for place in places {
            self.plan_at(host, place, its, args).inspect_err(|_| self.forget_batches())?;
        }
        self.round(timer, (begun, by), host).await?;
        self.forget_batches();
        Ok(())
    }

    /// Executes a command at one of the primaries. Nothing is redirected.
    ///
    /// # Errors
    /// [`Error`] if it was not sent; [`Error::Unavailable`] if there is no such primary any more.
    pub async fn execute_on(
        &mut self,
        timer: &impl Timer,
        slice: impl Fn() -> Duration,
        limit: Option<Duration>,
        args: &[Arg<'_>],
        (node, host): (&NodeAddress, &impl RouterHost<L>),
    ) -> Result<(), Error> {
        let place = primary(host, node).ok_or(Error::Unavailable { cause: None })?;
        self.last = Last::Handle(place, 0);
        let class = classify(args)?;
        self.note_session(class, place);
        self.enter(place, Some(host)).execute_as(class, timer, slice, limit, args).await
    }
}

/// Where a command for this primary goes.
fn primary<L: Lock<QueueState>>(host: &impl RouterHost<L>, node: &NodeAddress) -> Option<Place> {
    let (place, todo) = host.router().lock().primary(node);
    todo.done(host);
    place
}
