//! A subscriber: a connection of its own, on which messages come.

mod line;

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::sync::{Arc, Mutex};

use redis_entraid_client::{Delivery, Health, Mail, Reader};
use redis_entraid_core::command::Topic;
use redis_entraid_core::connection::CloseReason;
use redis_entraid_core::time::Clock;

use crate::clock::TokioClock;
use crate::connect::Connect;
use crate::dial::{Dialer, Unstartable};
use crate::driver::Start;
use crate::error::Error;
use crate::identity::Identity;
use crate::pump::Unneeded;
use crate::standing::Standing;
use line::Line;

/// Where who reads and the task meet.
type SubscriptionHub = redis_entraid_client::SubscriptionHub<Mutex<Mail>>;

/// Is told what is published, and stays subscribed through all that happens to its connection.
///
/// With RESP3 it logs in again in place. With RESP2 no subscriber may, so its connection is
/// replaced before its token ends: see
/// [`Builder::replacement`](crate::Builder::replacement).
///
/// ```no_run
/// # async fn example() -> Result<(), redis_entraid::Error> {
/// use redis_entraid::{Client, Delivery, Topic};
///
/// let mut news = Client::from_env()?.subscriber().await?;
/// news.subscribe(Topic::Channel, ["news"]).await?;
/// loop {
///     match news.next().await? {
///         Delivery::Message(message) => println!("{}", message.text()?),
///         Delivery::Gap | Delivery::Missed(_) => println!("something may be missing here"),
///         _ => {}
///     }
/// }
/// # }
/// ```
pub struct Subscriber {
    reader: Reader<Mutex<Mail>>,
    identity: Identity,
    standing: Arc<Standing>,
    patience: Duration,
}

impl Subscriber {
    /// Subscribes to `names`, and waits until the server has confirmed it.
    ///
    /// # Errors
    /// [`Error::Server`] if it is refused. [`Error::Unavailable`] if there is no connection for
    /// as long as a command may take, [`Error::Unconfirmed`] if there is one and the server doesn't
    /// answer: then it is still wanted, and subscribed to when that works.
    ///
    /// # Cancel safety
    /// If the future is dropped, `names` are still wanted. What the server then says of them, if
    /// it refuses, is a [`Delivery::Refused`].
    pub async fn subscribe<N: AsRef<[u8]>>(
        &mut self,
        topic: Topic,
        names: impl IntoIterator<Item = N>,
    ) -> Result<(), Error> {
        let known = self.reader.subscribe(topic, names);
        let known = tokio::time::timeout(self.patience, known).await;
        known.unwrap_or_else(|_| Err(self.standing.now().unconfirmed()))
    }

    /// Ends the subscription to `names`. What was published before may still come.
    pub fn unsubscribe<N: AsRef<[u8]>>(
        &mut self,
        topic: Topic,
        names: impl IntoIterator<Item = N>,
    ) {
        self.reader.unsubscribe(topic, names);
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// [`Error::Closed`] if its task has ended. Faults of network, server and tokens are no
    /// errors: it comes back by itself.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Delivery, Error> {
        self.reader.next().await
    }

    /// How token and connection stand. Never shows the token.
    pub fn health(&self) -> Health {
        Health::new(TokioClock.now(), self.identity.health(), &self.standing.now())
    }

    /// Why there is no connection at the moment, as far as that is known.
    pub fn problem(&self) -> Option<Error> {
        self.standing.problem()
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscriber").field(&self.health()).finish()
    }
}

/// The task behind a subscriber.
pub(crate) struct Driver<C> {
    dialer: Dialer<C>,
    hub: End,
    start: Option<Start>,
}

/// Tells who reads when the task ends in whatever way.
struct End(Arc<SubscriptionHub>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end(&Error::Closed);
    }
}

/// A subscriber and the task behind it, which keeps up to `backlog` bytes of messages.
pub(crate) fn subscriber<C>(
    dialer: Dialer<C>,
    start: Start,
    backlog: usize,
) -> (Subscriber, Box<Driver<C>>) {
    let hub = Arc::new(SubscriptionHub::new(backlog));
    let subscriber = Subscriber {
        reader: Reader::new(hub.clone()),
        identity: dialer.identity.clone(),
        standing: dialer.standing.clone(),
        patience: dialer.config.command_timeout,
    };
    (subscriber, Box::new(Driver { dialer, hub: End(hub), start: Some(start) }))
}

impl<C: Connect> Driver<C> {
    /// Keeps a connection until the subscriber is dropped.
    pub(crate) async fn run(mut self: Box<Self>) {
        // Without the subscriber, all is over.
        let _ = self.keep().await;
    }

    async fn keep(&mut self) -> Result<(), Unneeded> {
        let hub = &self.hub.0;
        // What is published without a connection is missed.
        self.dialer.standing.set_wanted(true);
        loop {
            let until = self.start.as_ref().map(|start| start.until);
            let open = self.dialer.open(until);
            // What is published meanwhile is missed.
            let waiting = self.dialer.identity.waiting();
            let opened = wanted(hub, open).await?;
            drop(waiting);
            let line = match opened {
                Ok(pump) => Line::new(pump, hub, &self.dialer.standing),
                Err(Unstartable) => break,
            };
            let reason = serve(&self.dialer, hub, &mut self.start, line).await?;
            if let CloseReason::Refused(error) = reason
                && !error.is_transient()
                && self.start.is_some()
            {
                break;
            }
        }
        if let Some(start) = self.start.take() {
            start.failed(&self.dialer.standing);
        }
        Ok(())
    }
}

/// Waits for `future` as long as there is a subscriber.
async fn wanted<F: Future>(hub: &SubscriptionHub, future: F) -> Result<F::Output, Unneeded> {
    let mut future = pin!(future);
    poll_fn(|cx| match hub.poll_changes(cx) {
        None => Poll::Ready(Err(Unneeded)),
        Some(_) => future.as_mut().poll(cx).map(Ok),
    })
    .await
}

/// Keeps `line`, and what takes its place, until there is none. Says why.
async fn serve<'s, C: Connect>(
    dialer: &'s Dialer<C>,
    hub: &'s Arc<SubscriptionHub>,
    start: &mut Option<Start>,
    mut line: Line<'s, C::Stream>,
) -> Result<CloseReason, Unneeded> {
    loop {
        while !line.names().is_to_be_replaced() {
            let ended = line.turn().await?;
            if line.names().is_logged_in()
                && let Some(start) = start.take()
            {
                let _ = start.waiter.send(Ok(()));
            }
            if let Some(reason) = ended {
                line.names().lost();
                return Ok(reason);
            }
        }
        let mut next = {
            let mut open = dialer.open(None);
            loop {
                tokio::select! {
                    opened = &mut open => match opened {
                        Ok(pump) => break Line::replacing(pump, hub, &dialer.standing),
                        // Once started, it doesn't give up.
                        Err(Unstartable) => return Err(Unneeded),
                    },
                    ended = line.turn() => if let Some(reason) = ended? {
                        line.names().lost();
                        return Ok(reason);
                    },
                }
            }
        };
        loop {
            tokio::select! {
                ended = next.turn() => {
                    if ended?.is_some() {
                        // Another attempt, as long as this one lives.
                        line.outlives(&next);
                        break;
                    }
                    if next.names().is_settled() {
                        line.retire();
                    }
                }
                ended = line.turn() => if let Some(reason) = ended? {
                    next.succeeds(&line, reason);
                    line = next;
                    break;
                },
            }
        }
    }
}
