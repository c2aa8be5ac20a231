//! The side of who reads.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;

use super::mailbox::{Mail, Mailbox, Name};
use super::{Delivery, Error};
use crate::share::Share;
use redis_entraid_core::command::Topic;

/// Reads what comes, and says what is wanted. What drives the connections ends when it is
/// dropped.
pub struct Reader<L: Share<Mail>> {
    mailbox: Arc<Mailbox<L>>,
}

fn named<N: AsRef<[u8]>>(topic: Topic, names: impl IntoIterator<Item = N>) -> Vec<Name> {
    names.into_iter().map(|name| Name::new(topic, name.as_ref())).collect()
}

impl<L: Share<Mail>> Reader<L> {
    /// The one who reads what comes to `mailbox`.
    pub const fn new(mailbox: Arc<Mailbox<L>>) -> Self {
        Self { mailbox }
    }

    /// Subscribes to `names`, and waits until the server has confirmed it, however long that takes.
    ///
    /// # Errors
    /// [`Error::Server`] if it is refused. [`Error::Closed`] if all is over.
    ///
    /// # Cancel safety
    /// If the future is dropped, `names` are still wanted. What the server then says of them, if
    /// it refuses, is a [`Delivery::Refused`].
    pub async fn subscribe<N: AsRef<[u8]>>(
        &self,
        topic: Topic,
        names: impl IntoIterator<Item = N>,
    ) -> Result<(), Error> {
        let names = named(topic, names);
        let ids = self.mailbox.want(&names);
        let waiting = Waiting { mailbox: &self.mailbox, ids, names };
        poll_fn(|cx| self.mailbox.poll_known(cx, waiting.wishes())).await
    }

    /// Ends the subscription to `names`, and who waits for its confirmation waits no more. What was
    /// published before may still come.
    pub fn unsubscribe<N: AsRef<[u8]>>(&self, topic: Topic, names: impl IntoIterator<Item = N>) {
        self.mailbox.unwant(&mut named(topic, names));
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// [`Error`] if nothing will.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&self) -> Result<Delivery, Error> {
        poll_fn(|cx| self.mailbox.poll_next(cx)).await
    }
}

impl<L: Share<Mail>> Drop for Reader<L> {
    fn drop(&mut self) {
        self.mailbox.leave();
    }
}

impl<L: Share<Mail>> fmt::Debug for Reader<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

/// Somebody waits for a confirmation.
struct Waiting<'m, L: Share<Mail>> {
    mailbox: &'m Mailbox<L>,
    ids: Vec<u64>,
    names: Vec<Name>,
}

impl<L: Share<Mail>> Waiting<'_, L> {
    fn wishes(&self) -> impl Iterator<Item = (u64, &Name)> {
        self.ids.iter().copied().zip(&self.names)
    }
}

impl<L: Share<Mail>> Drop for Waiting<'_, L> {
    fn drop(&mut self) {
        self.mailbox.stop_waiting(self.wishes());
    }
}
