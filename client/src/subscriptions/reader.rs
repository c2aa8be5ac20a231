//! The reader's side of a subscriber.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;

use super::subscription_hub::SubscriptionHub;
use super::subscription_state::{Name, SubscriptionState};
use super::{Delivery, Error};
use crate::lock::Lock;
use redis_entraid_core::command::Topic;

/// Reads messages, subscribes and unsubscribes. The driver of the connections ends when it is dropped.
pub struct Reader<L: Lock<SubscriptionState>> {
    hub: Arc<SubscriptionHub<L>>,
}

fn named<N: AsRef<[u8]>>(topic: Topic, names: impl IntoIterator<Item = N>) -> Vec<Name> {
    names.into_iter().map(|name| Name::new(topic, name.as_ref())).collect()
}

impl<L: Lock<SubscriptionState>> Reader<L> {
    /// Creates the reader of `hub`.
    pub const fn new(hub: Arc<SubscriptionHub<L>>) -> Self {
        Self { hub }
    }

    /// Subscribes to `names`, and waits until the server has confirmed it, however long that takes.
    ///
    /// # Errors
    /// [`Error::Server`] if it is refused. [`Error::Closed`] if all is over.
    ///
    /// # Cancel safety
    /// If the future is dropped, `names` are still subscribed to. If the server refuses them, that is a
    /// [`Delivery::Refused`].
    pub async fn subscribe<N: AsRef<[u8]>>(
        &self,
        topic: Topic,
        names: impl IntoIterator<Item = N>,
    ) -> Result<(), Error> {
        let names = named(topic, names);
        let ids = self.hub.want(&names);
        let waiting = Waiting { hub: &self.hub, ids, names };
        poll_fn(|cx| self.hub.poll_known(cx, waiting.wishes())).await
    }

    /// Ends the subscription to `names`. Messages that were published before may still come.
    pub fn unsubscribe<N: AsRef<[u8]>>(&self, topic: Topic, names: impl IntoIterator<Item = N>) {
        self.hub.unwant(&mut named(topic, names));
    }

    /// Waits for the next delivery.
    ///
    /// # Errors
    /// [`Error`] if there will be none.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&self) -> Result<Delivery, Error> {
        poll_fn(|cx| self.hub.poll_next(cx)).await
    }
}

impl<L: Lock<SubscriptionState>> Drop for Reader<L> {
    fn drop(&mut self) {
        self.hub.leave();
    }
}

impl<L: Lock<SubscriptionState>> fmt::Debug for Reader<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

/// A caller waits for a confirmation.
struct Waiting<'m, L: Lock<SubscriptionState>> {
    hub: &'m SubscriptionHub<L>,
    ids: Vec<u64>,
    names: Vec<Name>,
}

impl<L: Lock<SubscriptionState>> Waiting<'_, L> {
    fn wishes(&self) -> impl Iterator<Item = (u64, &Name)> {
        self.ids.iter().copied().zip(&self.names)
    }
}

impl<L: Lock<SubscriptionState>> Drop for Waiting<'_, L> {
    fn drop(&mut self) {
        self.hub.stop_waiting(self.wishes());
    }
}
