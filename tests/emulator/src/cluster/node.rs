//! A server of a cluster, and its port of the front.

use std::io::{Error, Result};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use redis_entraid_core::resp::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::backend::redis::Redis;

/// A server, and its port of the front.
pub(crate) struct Node {
    pub(crate) redis: Arc<Redis>,
    /// Its name among the servers.
    pub(crate) id: String,
    /// Its own port, which the others reach it at.
    pub(crate) port: u16,
    /// What clients reach it at.
    pub(crate) front: u16,
    status: watch::Sender<Status>,
    /// Whether its port of the front is listened at no more.
    closed: watch::Sender<bool>,
    /// Where the port of the front is listened at, until somebody serves it.
    listener: Mutex<Option<TcpListener>>,
}

/// What becomes of the connections of a node: each change ends them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Status {
    cuts: u64,
    /// Whether it was killed, or has left: its port of the front is closed then.
    pub(crate) is_gone: bool,
}

/// What a server says of itself.
pub(crate) struct Myself {
    pub(crate) is_primary: bool,
    pub(crate) slots: Vec<RangeInclusive<u16>>,
    /// The name of its primary, if it is a replica.
    pub(crate) primary: String,
}

impl Node {
    /// One of a server that runs at `port`.
    pub(crate) async fn new(redis: Redis, port: u16) -> Result<Self> {
        let reply = redis.ask(&["CLUSTER", "MYID"]).await?;
        let id = Value::framed(&reply).str().map_err(Error::other)?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let front = listener.local_addr()?.port();
        let (redis, listener) = (Arc::new(redis), Mutex::new(Some(listener)));
        let (status, closed) = Default::default();
        Ok(Self { redis, id, port, front, status, closed, listener })
    }

    /// The port of the front, to serve it: once.
    pub(crate) fn listener(&self) -> Option<TcpListener> {
        self.listener.lock().expect("nobody panics with it").take()
    }

    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.status.borrow().is_gone
    }

    /// Cuts its connections.
    pub(crate) fn cut(&self) {
        self.status.send_modify(|status| status.cuts += 1);
    }

    /// Kills it, and waits until its port of the front is closed.
    pub(crate) async fn kill(&self) {
        self.redis.kill();
        self.status.send_modify(|status| status.is_gone = true);
        if self.listener().is_none() {
            // The sender lives as long as this.
            let _ = self.closed.subscribe().wait_for(|is_closed| *is_closed).await;
        }
    }

    /// Notes that nobody listens at its port of the front any more.
    pub(crate) fn note_closed(&self) {
        self.closed.send_replace(true);
    }

    /// What it says of itself.
    pub(crate) async fn myself(&self) -> Result<Myself> {
        let reply = self.redis.ask(&["CLUSTER", "NODES"]).await?;
        let text = Value::framed(&reply).str().map_err(Error::other)?;
        let line = text.lines().find(|line| line.contains("myself")).unwrap_or_default();
        let words: Vec<&str> = line.split(' ').collect();
        let range = |word: &&str| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            Some(first.parse().ok()?..=last.parse().ok()?)
        };
        Ok(Myself {
            is_primary: words.get(2).is_some_and(|flags| flags.contains("master")),
            primary: words.get(3).copied().unwrap_or_default().to_owned(),
            slots: words.iter().skip(8).filter_map(range).collect(),
        })
    }

    /// Whether a reply of lines has this one.
    async fn says(&self, words: &[&str], wanted: &str) -> Result<bool> {
        let reply = self.redis.ask(words).await?;
        let text = Value::framed(&reply).str().map_err(Error::other)?;
        Ok(text.lines().any(|line| line == wanted))
    }

    /// Whether it serves, and knows who has each slot.
    pub(crate) async fn is_ready(&self) -> Result<bool> {
        Ok(self.says(&["CLUSTER", "INFO"], "cluster_state:ok").await?
            && self.says(&["CLUSTER", "INFO"], "cluster_slots_ok:16384").await?)
    }

    /// Whether it is connected to these.
    pub(crate) async fn knows(&self, ids: &[&str]) -> Result<bool> {
        let reply = self.redis.ask(&["CLUSTER", "NODES"]).await?;
        let text = Value::framed(&reply).str().map_err(Error::other)?;
        let known = |id: &&str| {
            text.lines().any(|line| {
                line.starts_with(id) && !line.contains("handshake") && line.contains(" connected")
            })
        };
        Ok(ids.iter().all(known))
    }

    /// Makes it and another one know each other.
    pub(crate) async fn meet(&self, other: &Self) -> Result<()> {
        self.redis.ask(&["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string()]).await?;
        Ok(())
    }

    /// Whether it has all that its primary has.
    pub(crate) async fn is_in_sync(&self) -> Result<bool> {
        self.says(&["INFO", "replication"], "master_link_status:up").await
    }
}
