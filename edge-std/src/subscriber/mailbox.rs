//! Where a subscriber and its task meet: what is wanted, and what came.

use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis_entraid_core::client::wake;
use redis_entraid_core::command::Topic;

use super::{Delivery, Message};
use crate::error::{Error, ServerError};

/// What is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) topic: u8,
    pub(super) name: Arc<[u8]>,
}

impl Name {
    pub(super) fn new(topic: Topic, name: &[u8]) -> Self {
        Self { topic: topic as u8, name: name.into() }
    }

    pub(super) const fn topic(&self) -> Topic {
        match self.topic {
            0 => Topic::Channel,
            1 => Topic::Pattern,
            _ => Topic::Shard,
        }
    }
}

/// How it stands with something that is wanted.
#[derive(Clone, Debug)]
enum Wish {
    /// No connection has confirmed it yet.
    New,
    /// One has.
    Known,
    /// The server refused it, and nobody was told yet.
    Refused(ServerError),
}

#[derive(Default)]
struct State {
    wishes: BTreeMap<Name, (u64, Wish)>,
    /// What somebody waits for to be confirmed.
    awaited: Vec<Name>,
    /// Counts the changes of what is wanted; each wish is numbered by the one that made it.
    changes: u64,
    deliveries: VecDeque<Delivery>,
    size: usize,
    /// Subscriptions have ended, and it wasn't told yet.
    gap: bool,
    reader: Option<Waker>,
    driver: Option<Waker>,
    over: Option<Error>,
    left: bool,
}

impl State {
    fn tell_refused(&mut self, name: &Name, error: ServerError) {
        self.wishes.remove(name);
        let (topic, name) = (name.topic(), name.name.to_vec());
        self.deliveries.push_back(Delivery::Refused { topic, name, error });
    }
}

/// See the [module](self).
pub(super) struct Mailbox {
    state: Mutex<State>,
    /// How many bytes of messages it keeps.
    limit: usize,
}

impl Mailbox {
    pub(super) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The side of the subscriber.

    /// Wants `names`, and waits for them until [`stop_waiting`](Self::stop_waiting).
    pub(super) fn want(&self, names: &[Name]) {
        self.change(|state| {
            state.awaited = names.to_vec();
            for name in names {
                let refused = |(_, wish): &_| matches!(wish, Wish::Refused(_));
                if state.wishes.get(name).is_none_or(refused) {
                    state.changes += 1;
                    state.wishes.insert(name.clone(), (state.changes, Wish::New));
                }
            }
        });
    }

    /// Nobody waits any more. What was refused and not told becomes news.
    pub(super) fn stop_waiting(&self) {
        let mut state = self.lock();
        for name in core::mem::take(&mut state.awaited) {
            if let Some((_, Wish::Refused(error))) = state.wishes.get(&name) {
                let error = error.clone();
                state.tell_refused(&name, error);
            }
        }
    }

    pub(super) fn unwant(&self, names: &[Name]) {
        self.change(|state| {
            for name in names {
                state.wishes.remove(name);
            }
            state.changes += 1;
        });
    }

    /// Nobody reads any more.
    pub(super) fn leave(&self) {
        self.change(|state| state.left = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let driver = state.driver.take();
        drop(state);
        wake(driver);
    }

    /// Waits until each of `names` was confirmed, or one refused.
    pub(super) fn poll_known(&self, cx: &Context<'_>, names: &[Name]) -> Poll<Result<(), Error>> {
        let mut state = self.lock();
        if let Some(error) = &state.over {
            return Poll::Ready(Err(error.clone()));
        }
        let mut waiting = false;
        for name in names {
            match state.wishes.get(name) {
                Some((_, Wish::New)) => waiting = true,
                Some((_, Wish::Refused(error))) => {
                    let error = error.clone();
                    state.wishes.remove(name);
                    return Poll::Ready(Err(Error::Server(error)));
                }
                Some((_, Wish::Known)) | None => {}
            }
        }
        if waiting {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Result<Delivery, Error>> {
        let mut state = self.lock();
        if let Some(delivery) = state.deliveries.pop_front() {
            if let Delivery::Message(message) = &delivery {
                state.size -= message.size();
            }
            return Poll::Ready(Ok(delivery));
        }
        if let Some(error) = &state.over {
            return Poll::Ready(Err(error.clone()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    // The side of the task.

    /// Says how often changed what is wanted, and has `cx` woken when it changes again; `None` if
    /// nobody reads any more.
    pub(super) fn poll_changes(&self, cx: &Context<'_>) -> Option<u64> {
        let mut state = self.lock();
        state.driver = Some(cx.waker().clone());
        (!state.left).then_some(state.changes)
    }

    pub(super) fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// All that is wanted, each with its number.
    pub(super) fn wanted(&self) -> BTreeMap<u64, Name> {
        let state = self.lock();
        let wanted = state.wishes.iter().filter(|(_, (_, wish))| !matches!(wish, Wish::Refused(_)));
        wanted.map(|(name, (id, _))| (*id, name.clone())).collect()
    }

    pub(super) fn confirmed(&self, name: &Name) {
        self.put(|state| {
            if let Some((_, wish)) = state.wishes.get_mut(name) {
                *wish = Wish::Known;
            }
        });
    }

    /// The server refused `name`. If nobody waits for it, it is news.
    pub(super) fn refused(&self, name: &Name, error: ServerError) {
        self.put(|state| match state.wishes.get_mut(name) {
            Some((_, wish @ Wish::New)) if state.awaited.contains(name) => {
                *wish = Wish::Refused(error);
            }
            Some((_, Wish::New | Wish::Known)) => state.tell_refused(name, error),
            _ => {}
        });
    }

    /// Takes a message in, if there is room.
    pub(super) fn message(&self, message: Option<Message>) {
        self.put(|state| match message {
            Some(message) if state.size + message.size() <= self.limit => {
                state.size += message.size();
                state.deliveries.push_back(Delivery::Message(message));
            }
            _ => match state.deliveries.back_mut() {
                Some(Delivery::Missed(count)) => *count += 1,
                _ => state.deliveries.push_back(Delivery::Missed(1)),
            },
        });
    }

    pub(super) fn notice(&self, delivery: Delivery) {
        self.put(|state| state.deliveries.push_back(delivery));
    }

    /// Subscriptions have ended.
    pub(super) fn gap_begins(&self) {
        self.lock().gap = true;
    }

    /// All that is wanted is subscribed to.
    pub(super) fn settled(&self) {
        self.put(|state| {
            if core::mem::take(&mut state.gap) {
                state.deliveries.push_back(Delivery::Gap);
            }
        });
    }

    /// Ends for ever.
    pub(super) fn end(&self, error: Error) {
        self.put(|state| state.over = Some(error));
    }

    fn put(&self, put: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        put(&mut state);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }
}
