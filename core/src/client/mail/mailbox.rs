//! Where who reads and what drives the connections meet: what is wanted, and what came.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll, Waker};

use super::{Delivery, Message};
use crate::client::error::{Error, ServerError};
use crate::client::exchange::{set_waker, wake};
use crate::client::share::Share;
use crate::command::Topic;
use crate::recent::Recent;

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

/// Something that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) name: Name,
    /// Its number. Later wishes have higher ones, of the same thing too.
    pub(super) id: u64,
    state: State,
    /// How many wait for it to be confirmed.
    waiting: u32,
}

/// How it stands with something that is wanted.
#[derive(Clone, Debug)]
enum State {
    /// No connection has confirmed it yet.
    New,
    /// One has.
    Known,
    /// The server refused it; whether who waits for it was told.
    Refused(ServerError, bool),
}

impl Wish {
    pub(super) const fn is_refused(&self) -> bool {
        matches!(self.state, State::Refused(..))
    }
}

/// What a [`Mailbox`] shares.
#[derive(Default)]
pub struct Mail {
    /// By name.
    wishes: Vec<Wish>,
    /// Counts the changes of what is wanted.
    changes: u64,
    deliveries: VecDeque<Delivery>,
    recent: Recent,
    size: usize,
    /// Subscriptions have ended, and it wasn't told yet.
    gap: bool,
    readers: Vec<Waker>,
    driver: Option<Waker>,
    over: Option<Error>,
    left: bool,
}

impl Mail {
    fn find(&self, name: &Name) -> Result<usize, usize> {
        self.wishes.binary_search_by(|wish| wish.name.cmp(name))
    }

    /// The wish for `name` that has this number, and where it is.
    fn wish(&mut self, id: u64, name: &Name) -> Option<(usize, &mut Wish)> {
        let at = self.find(name).ok()?;
        self.wishes.get_mut(at).filter(|wish| wish.id == id).map(|wish| (at, wish))
    }

    /// The wish there has come to nothing.
    fn tell_refused(&mut self, at: usize, error: ServerError) {
        let Name { topic, name } = self.wishes.remove(at).name;
        self.deliveries.push_back(Delivery::Refused { topic, name: name.to_vec(), error });
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

    /// Wants `names`, and waits for them until [`stop_waiting`](Self::stop_waiting). Answers with
    /// the numbers of the wishes.
    pub(super) fn want(&self, names: &[Name]) -> Vec<u64> {
        self.change(|mail| {
            let known = mail.wishes.len();
            for name in names {
                let Ok(at) = mail.find(name) else { continue };
                let Some(wish) = mail.wishes.get_mut(at).filter(|wish| wish.is_refused()) else {
                    continue;
                };
                mail.changes += 1;
                (wish.id, wish.state, wish.waiting) = (mail.changes, State::New, 0);
            }
            for name in names {
                let before = mail.wishes.get(..known).unwrap_or_default();
                if before.binary_search_by(|wish| wish.name.cmp(name)).is_err() {
                    mail.changes += 1;
                    let (name, id) = (name.clone(), mail.changes);
                    mail.wishes.push(Wish { name, id, state: State::New, waiting: 0 });
                }
            }
            if mail.wishes.len() > known {
                // At once: there may be many.
                mail.wishes.sort_unstable_by(|one, other| one.name.cmp(&other.name));
                mail.wishes.dedup_by(|one, other| one.name == other.name);
            }
            let wished = |name| {
                let wish = mail.find(name).ok().and_then(|at| mail.wishes.get_mut(at));
                wish.map_or(0, |wish| {
                    wish.waiting += 1;
                    wish.id
                })
            };
            names.iter().map(wished).collect()
        })
    }

    /// One who waited for these does no more. What was refused and not told becomes news.
    pub(super) fn stop_waiting<'n>(&self, names: impl Iterator<Item = (u64, &'n Name)>) {
        self.put(|mail| {
            for (id, name) in names {
                let Some((at, wish)) = mail.wish(id, name) else { continue };
                wish.waiting = wish.waiting.saturating_sub(1);
                match &wish.state {
                    State::Refused(_, true) if wish.waiting == 0 => {
                        mail.wishes.remove(at);
                    }
                    State::Refused(error, false) if wish.waiting == 0 => {
                        let error = error.clone();
                        mail.tell_refused(at, error);
                    }
                    _ => {}
                }
            }
        });
    }

    pub(super) fn unwant(&self, names: &[Name]) {
        self.change(|mail| {
            for name in names {
                if let Ok(at) = mail.find(name) {
                    mail.wishes.remove(at);
                }
            }
            mail.changes += 1;
        });
    }

    /// Nobody reads any more.
    pub(super) fn leave(&self) {
        self.change(|mail| mail.left = true);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Mail) -> T) -> T {
        let mut mail = self.mail.lock();
        let changed = change(&mut mail);
        let driver = mail.driver.take();
        drop(mail);
        wake(driver);
        changed
    }

    /// Waits until each of these was confirmed, or one refused.
    pub(super) fn poll_known<'n>(
        &self,
        cx: &Context<'_>,
        names: impl Iterator<Item = (u64, &'n Name)>,
    ) -> Poll<Result<(), Error>> {
        let mut mail = self.mail.lock();
        if let Some(error) = &mail.over {
            return Poll::Ready(Err(error.clone()));
        }
        let mut waiting = false;
        for (id, name) in names {
            match mail.wish(id, name).map(|(_, wish)| &mut wish.state) {
                Some(State::New) => waiting = true,
                Some(State::Refused(error, told)) => {
                    *told = true;
                    return Poll::Ready(Err(Error::Server(error.clone())));
                }
                Some(State::Known) | None => {}
            }
        }
        if waiting { mail.wait(cx) } else { Poll::Ready(Ok(())) }
    }

    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Result<Delivery, Error>> {
        let mut mail = self.mail.lock();
        let waiting = mail.deliveries.len();
        if let Some(delivery) = mail.deliveries.pop_front() {
            let Mail { deliveries, recent, .. } = &mut *mail;
            recent.used(1, waiting * size_of::<Delivery>());
            if deliveries.is_empty() {
                recent.clear_queue(deliveries);
            }
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

    /// Shows all that is wanted.
    pub(super) fn wanted(&self, show: impl FnMut(&Wish)) {
        self.mail.lock().wishes.iter().filter(|wish| !wish.is_refused()).for_each(show);
    }

    /// Whether `name` is still wanted as it was under this number.
    pub(super) fn wants(&self, id: u64, name: &Name) -> bool {
        self.mail.lock().wish(id, name).is_some_and(|(_, wish)| !wish.is_refused())
    }

    pub(super) fn confirmed(&self, id: u64, name: &Name) {
        self.put(|mail| {
            if let Some((_, wish)) = mail.wish(id, name) {
                wish.state = State::Known;
            }
        });
    }

    /// The server refused `name`. If nobody waits for it, it is news.
    pub(super) fn refused(&self, id: u64, name: &Name, error: ServerError) {
        self.put(|mail| match mail.wish(id, name) {
            Some((_, wish)) if matches!(wish.state, State::New) && wish.waiting > 0 => {
                wish.state = State::Refused(error, false);
            }
            Some((at, wish)) if !wish.is_refused() => mail.tell_refused(at, error),
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
