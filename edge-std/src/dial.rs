//! How a connection is got: a token, the right moment, a stream.

use core::pin::Pin;
use std::sync::Arc;

use redis_entraid_client::NodeAddress;
use redis_entraid_core::connection::Config;
use redis_entraid_core::drive::{dial_time, timeout_at};
use redis_entraid_core::reconnect::Dial;
use redis_entraid_core::source::SourceError;
use redis_entraid_core::time::{Clock, Instant, Timer};
use redis_entraid_core::transport::{ConnectError as _, Endpoint, Stage};

use crate::clock::{TokioClock, tokio_instant};
use crate::connect::Connect;
use crate::error::ConnectError;
use crate::identity::Identity;
use crate::pump::Pump;
use crate::standing::Standing;

/// Where to connect, and how.
pub(crate) struct Dialer<C> {
    pub(crate) connector: Arc<C>,
    pub(crate) identity: Identity,
    pub(crate) standing: Arc<Standing>,
    /// The name that the server's certificate is for.
    pub(crate) host: Arc<str>,
    /// What is dialed, unless it is the host.
    pub(crate) address: Option<Arc<str>>,
    pub(crate) port: u16,
    pub(crate) config: Config,
    pub(crate) max_reply: usize,
}

impl<C> Dialer<C> {
    /// What is dialed.
    pub(crate) fn endpoint(&self) -> Endpoint<'_> {
        let endpoint = Endpoint::new(&self.host, self.port).with_progress(&self.standing.progress);
        match &self.address {
            Some(address) => endpoint.redirected(address, self.port),
            None => endpoint,
        }
    }

    /// The same for another node of the same service: its certificate is for the same name.
    pub(crate) fn redirected(&self, node: &NodeAddress) -> Self {
        Self {
            connector: self.connector.clone(),
            identity: self.identity.clone(),
            standing: self.standing.another(),
            host: self.host.clone(),
            address: node.address.clone().or_else(|| self.address.clone()),
            port: node.port,
            config: Config { id: crate::random(), ..self.config.clone() },
            max_reply: self.max_reply,
        }
    }
}

impl<C: Connect> Dialer<C> {
    /// Opens a connection, if it takes for ever. With `start_until` there is an end: then, or as
    /// soon as trying again can't help.
    ///
    /// Its future has a place of its own, which it gives back: a task is as large as all that it
    /// ever waits for, and waits for this only at times.
    pub(crate) fn open(&self, start_until: Option<Instant>) -> Opening<'_, C::Stream> {
        Box::pin(self.try_open(start_until))
    }

    async fn try_open(
        &self,
        start_until: Option<Instant>,
    ) -> Result<Box<Pump<C::Stream>>, Unstartable> {
        let until = start_until.unwrap_or(Instant::FAR_FUTURE);
        let mut news = self.identity.news();
        loop {
            let now = TokioClock.now();
            news.mark_unchanged();
            let has_token = self.identity.manager().login(now).is_some();
            if now >= until {
                if !has_token && self.standing.problem().is_none() {
                    // The source has been silent all the time.
                    let silent = Arc::new(SourceError::TimedOut.into());
                    self.standing.no_token(silent, true);
                }
                return Err(Unstartable);
            }
            if !has_token {
                if let Some(error) = self.identity.problem() {
                    let again = self.identity.manager().is_retryable(&error.reason());
                    self.standing.no_token(error, again);
                    if start_until.is_some() && self.standing.is_hopeless() {
                        return Err(Unstartable);
                    }
                }
                tokio::select! {
                    _ = news.changed() => {}
                    () = TokioClock.sleep_until(until) => {}
                }
                continue;
            }
            if let Dial::Wait { .. } = self.standing.dial(now) {
                let time = dial_time(&TokioClock, |now| self.standing.dial(now));
                // A token may have ended meanwhile, or the time to start in.
                timeout_at(&TokioClock, until, time).await;
                continue;
            }
            match self.dial(now.plus(self.standing.connect_timeout()).min(until)).await {
                Ok(stream) => {
                    let (config, identity) = (self.config.clone(), self.identity.clone());
                    let pump = Pump::new(stream, config, self.max_reply, identity);
                    return Ok(Box::new(pump));
                }
                // It had less time than the one before, which says more.
                Err(_) if TokioClock.now() >= until && self.standing.problem().is_some() => {
                    return Err(Unstartable);
                }
                Err(error) => {
                    self.standing.dial_failed(error);
                    if start_until.is_some() && self.standing.is_hopeless() {
                        return Err(Unstartable);
                    }
                }
            }
        }
    }

    async fn dial(&self, until: Instant) -> Result<C::Stream, ConnectError> {
        let (start, endpoint) = (TokioClock.now(), self.endpoint().with_deadline(until));
        endpoint.begins(Stage::Dial);
        let connect = self.connector.connect(endpoint);
        match tokio::time::timeout_at(tokio_instant(until), connect).await {
            Ok(connected) => connected,
            Err(_) => {
                let unanswered = endpoint.unanswered(TokioClock.now().since(start));
                let to = format!("{}:{}", endpoint.address, endpoint.port);
                Err(ConnectError::new(unanswered.kind(), to, unanswered))
            }
        }
    }
}

/// A connection that is being opened.
pub(crate) type Opening<'d, S> =
    Pin<Box<dyn Future<Output = Result<Box<Pump<S>>, Unstartable>> + Send + 'd>>;

/// It didn't start; the [`Standing`] says why.
pub(crate) struct Unstartable;
