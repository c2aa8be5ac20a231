//! Asks the nodes of a cluster for the map of its slots.

use core::marker::PhantomData;

use super::cluster::{REQUEST, Request};
use super::{Router, RouterHost};
use crate::command_queue::QueueState;
use crate::handle::Handle;
use crate::lock::Lock;
use redis_entraid_core::args;
use redis_entraid_core::time::Timer;

/// Asks the nodes of a cluster where its slots are, one after the other, until one says so: see
/// [`RouterHost::request_map`]. It ends also when no command has come since the last one was asked.
pub async fn request_map<L: Lock<QueueState>>(host: impl RouterHost<L>, timer: impl Timer) {
    let host = &host;
    let mut given_up = GivenUp { router: host.router(), is_done: false, lock: PhantomData };
    loop {
        let (request, start) = {
            let mut router = host.router().lock();
            let Router { cluster: Some(cluster), home, is_closed: false, .. } = &mut *router else {
                return;
            };
            let next = cluster.request(timer.now(), home);
            given_up.is_done = matches!(next, (Request::Done, _));
            next
        };
        if let Some((node, queue)) = start {
            host.start(&node, queue);
        }
        let (whom, queue) = match request {
            Request::Done => return,
            Request::Wait(until) => {
                timer.sleep_until(until).await;
                continue;
            }
            Request::Ask(whom, queue) => (whom, queue),
        };
        let mut handle = Handle::beside(queue);
        let slots = [args!["CLUSTER", "SLOTS"]];
        let asked = handle.execute_all(&timer, Some(REQUEST), slots.into_iter()).await;
        let reply = if asked.is_ok() { handle.reply(0) } else { None };
        let (gone, _) = host.router().lock().told(timer.now(), whom, reply);
        // It wakes tasks.
        gone.iter().for_each(|queue| queue.retire());
    }
}

/// Lets another request begin if this one is dropped before its end.
struct GivenUp<'r, R: Lock<Router<L>>, L: Lock<QueueState>> {
    router: &'r R,
    is_done: bool,
    lock: PhantomData<L>,
}

impl<R: Lock<Router<L>>, L: Lock<QueueState>> Drop for GivenUp<'_, R, L> {
    fn drop(&mut self) {
        if !self.is_done
            && let Some(cluster) = &mut self.router.lock().cluster
        {
            cluster.request_ended();
        }
    }
}
