//! Commands for all primaries, or for one that the caller chooses.

use alloc::vec::Vec;
use core::time::Duration;

use super::goal::Goal;
use super::{Last, RoutingHandle};
use crate::command_queue::QueueState;
use crate::error::Error;
use crate::lock::Lock;
use crate::router::{NodeAddress, Place, Router, RouterHost, request_map};
use redis_entraid_core::resp::Arg;
use redis_entraid_core::time::Timer;

impl<L: Lock<QueueState>> RoutingHandle<L> {
    /// The primaries of the cluster. None if there is no cluster, or one that shows none, as Azure's Enterprise policy.
    /// If nobody knows yet, the server is asked.
    pub async fn primaries(
        &self,
        timer: &impl Timer,
        host: &impl RouterHost<L>,
    ) -> Vec<NodeAddress> {
        let has_map = host.router().lock().has_map();
        if !has_map {
            Router::begin(host.router());
            request_map(host, timer).await;
            Router::end_without_map(host.router());
        }
        let router = host.router().lock();
        router.primaries().into_iter().map(|(_, node)| node).collect()
    }

    /// Executes a command at every primary, side by side: at home if there is no cluster. There is a reply for each.
    /// Nothing is redirected.
    ///
    /// # Errors
    /// [`Error`] if nothing was sent.
    pub async fn execute_on_all(
        &mut self,
        timer: &impl Timer,
        limit: Option<Duration>,
        args: &[Arg<'_>],
        host: &impl RouterHost<L>,
    ) -> Result<(), Error> {
        let nodes = self.primaries(timer, host).await;
        let begun = timer.now();
        let by = limit.map(|limit| begun.plus(limit));
        let places = nodes.iter().filter_map(|node| self.place_of(host, node));
        let mut places: Vec<_> = places.collect();
        if places.is_empty() {
            places.push(Place::Home);
        }
        self.last = Last::Rounds;
        self.rounds.clear();
        for place in places {
            self.plan_at(host, Goal::at(place), args).inspect_err(|_| self.forget_batches())?;
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
        let place = self.place_of(host, node).ok_or(Error::Unavailable { cause: None })?;
        self.last = Last::Handle(place, 0);
        self.enter(place, Some(host)).execute(timer, slice, limit, args).await
    }

    fn place_of(&self, host: &impl RouterHost<L>, node: &NodeAddress) -> Option<Place> {
        let (place, todo) = host.router().lock().primary(node);
        todo.done(host);
        place
    }
}
