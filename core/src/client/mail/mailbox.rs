//! Where who reads and what drives the connections meet: what is wanted, and what came.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll, Waker};

use super::{Delivery, Message};
use crate::client::error::{Error, ServerError};
use crate::client::exchange::{set_waker, wake};
use crate::client::share::Share;
use crate::command::Topic;

/// What is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) topic: Topic,
    pub(super) name: Arc<[u8]>,
}

impl Name {
    pub(super) fn new(topic: Topic, name: &[u8]) -> Self {
        Self { topic, name: name.into() }
    }
}

/// How it stands with something that is wanted.
#[derive(Clone, Debug)]
enum Wish {
    /// No connection has confirmed it yet.
    New,
    /// One has.
    Known,
    /// The server refused it; whether who waits for it was told.
    Refused(ServerError, bool),
}

/// What a [`Mailbox`] shares.
#[derive(Default)]
pub struct Mail {
    wishes: BTreeMap<Name, (u64, Wish)>,
    /// What somebody waits for to be confirmed; twice, if two do.
    awaited: Vec<Name>,
    /// Counts the changes of what is wanted; each wish is numbered by the one that made it.
    changes: u64,
    deliveries: VecDeque<Delivery>,
    size: usize,
    /// Subscriptions have ended, and it wasn't told yet.
    gap: bool,
    readers: Vec<Waker>,
    driver: Option<Waker>,
    over: Option<Error>,
    left: bool,
}

impl Mail {
    fn tell_refused(&mut self, name: &Name, error: ServerError) {
        self.wishes.remove(name);
        let (topic, name) = (name.topic, name.name.to_vec());
        self.deliveries.push_back(Delivery::Refused { topic, name, error });
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if !self.readers.iter().any(|reader| reader.will_wake(cx.waker())) {
            self.readers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mail")
    }
}

/// Where who reads and what drives the connections meet.
pub struct Mailbox<L> {
    mail: L,
    /// How many bytes of messages it keeps.
    limit: usize,
}

impl<L> fmt::Debug for Mailbox<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({} bytes)", self.limit)
    }
}

impl<L: Share<Mail>> Mailbox<L> {
    /// One that keeps up to `limit` bytes of messages.
    pub fn new(limit: usize) -> Self {
        Self { mail: L::new(Mail::default()), limit }
    }

    // The side of who reads.

    /// Wants `names`, and waits for them until [`stop_waiting`](Self::stop_waiting).
    pub(super) fn want(&self, names: &[Name]) {
        self.change(|mail| {
            mail.awaited.extend_from_slice(names);
            for name in names {
                let refused = |(_, wish): &_| matches!(wish, Wish::Refused(..));
                if mail.wishes.get(name).is_none_or(refused) {
                    mail.changes += 1;
                    mail.wishes.insert(name.clone(), (mail.changes, Wish::New));
                }
            }
        });
    }

    /// One who waited for `names` does no more. What was refused and not told becomes news.
    pub(super) fn stop_waiting(&self, names: &[Name]) {
        self.put(|mail| {
            for name in names {
                if let Some(place) = mail.awaited.iter().position(|awaited| awaited == name) {
                    mail.awaited.swap_remove(place);
                }
                if mail.awaited.contains(name) {
                    continue;
                }
                match mail.wishes.get(name) {
                    Some((_, Wish::Refused(_, true))) => {
                        mail.wishes.remove(name);
                    }
                    Some((_, Wish::Refused(error, false))) => {
                        let error = error.clone();
                        mail.tell_refused(name, error);
                    }
                    _ => {}
                }
            }
        });
    }

    pub(super) fn unwant(&self, names: &[Name]) {
        self.change(|mail| {
            for name in names {
                mail.wishes.remove(name);
            }
            mail.changes += 1;
        });
    }

    /// Nobody reads any more.
    pub(super) fn leave(&self) {
        self.change(|mail| mail.left = true);
    }

    fn change(&self, change: impl FnOnce(&mut Mail)) {
        let mut mail = self.mail.lock();
        change(&mut mail);
        let driver = mail.driver.take();
        drop(mail);
        wake(driver);
    }

    /// Waits until each of `names` was confirmed, or one refused.
    pub(super) fn poll_known(&self, cx: &Context<'_>, names: &[Name]) -> Poll<Result<(), Error>> {
        let mut mail = self.mail.lock();
        if let Some(error) = &mail.over {
            return Poll::Ready(Err(error.clone()));
        }
        let mut waiting = false;
        for name in names {
            match mail.wishes.get_mut(name) {
                Some((_, Wish::New)) => waiting = true,
                Some((_, Wish::Refused(error, told))) => {
                    *told = true;
                    return Poll::Ready(Err(Error::Server(error.clone())));
                }
                Some((_, Wish::Known)) | None => {}
            }
        }
        if waiting { mail.wait(cx) } else { Poll::Ready(Ok(())) }
    }

    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Result<Delivery, Error>> {
        let mut mail = self.mail.lock();
        if let Some(delivery) = mail.deliveries.pop_front() {
            if let Delivery::Message(message) = &delivery {
                mail.size -= message.size();
            }
            return Poll::Ready(Ok(delivery));
        }
        if let Some(error) = &mail.over {
            return Poll::Ready(Err(error.clone()));
        }
        mail.wait(cx)
    }

    // The side of what drives the connections.

    /// Says how often changed what is wanted, and has `cx` woken when it changes again; `None` if
    /// nobody reads any more.
    pub fn poll_changes(&self, cx: &Context<'_>) -> Option<u64> {
        let mut mail = self.mail.lock();
        set_waker(&mut mail.driver, cx);
        (!mail.left).then_some(mail.changes)
    }

    pub(super) fn changes(&self) -> u64 {
        self.mail.lock().changes
    }

    /// Shows all that is wanted, each with its number.
    pub(super) fn wanted(&self, mut show: impl FnMut(u64, &Name)) {
        for (name, (id, wish)) in &self.mail.lock().wishes {
            if !matches!(wish, Wish::Refused(..)) {
                show(*id, name);
            }
        }
    }

    /// Whether `name` is still wanted as it was under this number.
    pub(super) fn wants(&self, id: u64, name: &Name) -> bool {
        match self.mail.lock().wishes.get(name) {
            Some((known, wish)) => *known == id && !matches!(wish, Wish::Refused(..)),
            None => false,
        }
    }

    pub(super) fn confirmed(&self, name: &Name) {
        self.put(|mail| {
            if let Some((_, wish)) = mail.wishes.get_mut(name) {
                *wish = Wish::Known;
            }
        });
    }

    /// The server refused `name`. If nobody waits for it, it is news.
    pub(super) fn refused(&self, name: &Name, error: ServerError) {
        self.put(|mail| match mail.wishes.get_mut(name) {
            Some((_, wish @ Wish::New)) if mail.awaited.contains(name) => {
                *wish = Wish::Refused(error, false);
            }
            Some((_, Wish::New | Wish::Known)) => mail.tell_refused(name, error),
            _ => {}
        });
    }

    /// Takes a message in, if there is room.
    pub(super) fn message(&self, message: Option<Message>) {
        self.put(|mail| match message {
            Some(message) if mail.size + message.size() <= self.limit => {
                mail.size += message.size();
                mail.deliveries.push_back(Delivery::Message(message));
            }
            _ => match mail.deliveries.back_mut() {
                Some(Delivery::Missed(count)) => *count += 1,
                _ => mail.deliveries.push_back(Delivery::Missed(1)),
            },
        });
    }

    pub(super) fn notice(&self, delivery: Delivery) {
        self.put(|mail| mail.deliveries.push_back(delivery));
    }

    /// Subscriptions have ended.
    pub(super) fn gap_begins(&self) {
        self.mail.lock().gap = true;
    }

    /// All that is wanted is subscribed to.
    pub(super) fn settled(&self) {
        self.put(|mail| {
            // Two gaps with nothing in between are one: nobody may read for long.
            if core::mem::take(&mut mail.gap)
                && !matches!(mail.deliveries.back(), Some(Delivery::Gap))
            {
                mail.deliveries.push_back(Delivery::Gap);
            }
        });
    }

    /// Ends for ever: who reads hears `error` behind all that has come.
    pub fn end(&self, error: &Error) {
        self.put(|mail| {
            mail.over.get_or_insert_with(|| error.clone());
        });
    }

    fn put(&self, put: impl FnOnce(&mut Mail)) {
        let mut mail = self.mail.lock();
        put(&mut mail);
        let readers = core::mem::take(&mut mail.readers);
        drop(mail);
        readers.into_iter().for_each(Waker::wake);
    }
}
