//! One round of a pipeline: what was divided among places is sent side by side, and waited for.

use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::Poll;

use super::patience::Patience;
use super::rounds::Rounds;
use super::{RoutingHandle, suspect};
use crate::command_queue::{Failure, QueueState, Replies, Sent};
use crate::error::Error;
use crate::lock::Lock;
use crate::router::{PATIENCE, Place, RouterHost};
use redis_entraid_core::time::{Instant, Timer};

impl<L: Lock<QueueState>> RoutingHandle<L> {
    /// Sends what was divided, and waits for all replies.
    pub(super) async fn round(
        &mut self,
        timer: &impl Timer,
        (begun, by): (Instant, Option<Instant>),
        host: &impl RouterHost<L>,
    ) -> Result<(), Error> {
        let now = timer.now();
        let mut flight = Flight { handle: self, sent: Vec::new() };
        let mut failed = Vec::new();
        for at in 0..flight.handle.rounds.places.len() {
            let Some(place) = flight.handle.rounds.places.get(at).copied() else { continue };
            let handle = flight.handle.enter(place, Some(host));
            if place != Place::Home {
                handle.wait_until(by.unwrap_or_else(|| begun.plus(handle.queue().limits().queue)));
            }
            match handle.submit(now, by) {
                Ok(sent) => flight.sent.push((place, sent, false)),
                Err(error) => {
                    if matches!(error, Error::Closed) {
                        host.router().lock().forget(place);
                    }
                    failed.push((place, error));
                }
            }
        }
        flight.landed(timer, host).await;
        let landed = core::mem::take(&mut flight.sent);
        drop(flight);
        let before = self.rounds.replies.len();
        for (place, sent, _) in landed {
            let handle = self.enter(place, Some(host));
            handle.repeat(timer, by, sent).await;
            let spare = self.rounds.spare.pop().unwrap_or_default();
            let replies = core::mem::replace(self.enter(place, Some(host)).last_replies(), spare);
            self.replied(place, replies);
        }
        let is_sent = self.rounds.replies.len() > before;
        let mut result = Ok(());
        for (place, error) in failed {
            if place == Place::Home && !is_sent && self.rounds.places.len() == 1 {
                result = Err(error.clone());
            }
            let mut replies = self.rounds.spare.pop().unwrap_or_default();
            let failure = Failure::from(error);
            (0..self.at(place).batch().len()).for_each(|_| replies.fail(failure.clone()));
            self.replied(place, replies);
        }
        result
    }

    /// Notes where the replies are of what was sent to `place`.
    fn replied(&mut self, place: Place, replies: Replies) {
        let Rounds { commands, current, replies: all, .. } = &mut self.rounds;
        for number in current.iter() {
            if let Some(command) = commands.get_mut(*number).filter(|it| it.goal.place == place) {
                command.reply = (all.len(), command.at.0);
            }
        }
        all.push(replies);
    }

    /// Their memory may be freed while it is unused.
    pub(super) fn forget_batches(&mut self) {
        while let Some(place) = self.rounds.places.pop() {
            self.at_mut(place).batch_mut().clear();
        }
    }
}

/// Withdraws what no caller waits for any more.
struct Flight<'h, L: Lock<QueueState>> {
    handle: &'h mut RoutingHandle<L>,
    /// Where, and whether all replies are there.
    sent: Vec<(Place, Sent, bool)>,
}

impl<L: Lock<QueueState>> Flight<'_, L> {
    /// Waits for all replies.
    async fn landed(&mut self, timer: &impl Timer, host: &impl RouterHost<L>) {
        let mut patience = Patience::new();
        let sleep = || Some(timer.sleep_until(timer.now().plus(PATIENCE)));
        poll_fn(|cx| {
            let Self { handle, sent } = self;
            let mut is_missing = false;
            for (place, sent, is_there) in sent.iter_mut().filter(|(.., is_there)| !is_there) {
                let at = handle.enter(*place, Some(host));
                *is_there = at.poll_replies(cx, *sent).is_ready();
                is_missing |= !*is_there;
            }
            if !is_missing {
                return Poll::Ready(());
            }
            let waits = || {
                let mut missing = sent.iter().filter(|(.., is_there)| !is_there);
                missing.any(|(place, ..)| {
                    *place != Place::Home && handle.at(*place).queue().is_untried()
                })
            };
            while patience.poll_over(cx, waits, sleep).is_ready() {
                suspect(host, timer.now());
            }
            Poll::Pending
        })
        .await;
    }
}

impl<L: Lock<QueueState>> Drop for Flight<'_, L> {
    fn drop(&mut self) {
        let mut is_withdrawn = false;
        for (place, sent, is_there) in &self.sent {
            if !is_there {
                self.handle.at(*place).withdraw(*sent);
                is_withdrawn = true;
            }
        }
        if is_withdrawn {
            // It may be long until the handle is used again.
            self.handle.forget_batches();
        }
    }
}
