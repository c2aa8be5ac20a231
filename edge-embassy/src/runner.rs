//! What drives a client: its tokens and its connection.

use core::fmt;
use core::future::pending;
use core::task::{Context, Poll};

use embassy_futures::join::join3;
use redis_entraid_core::connection::{CloseReason, Connection, ConnectionHealth, Output};
use redis_entraid_core::drive::{
    NotNeeded, Outputs, Submit, Supervised, Workload, refresh, supervise_one,
};
use redis_entraid_core::event::Event;
use redis_entraid_core::policy::Jitter;
use redis_entraid_core::source::{Start, TokenSource};
use redis_entraid_core::supervisor::{Demand, Succession, Supervisor};
use redis_entraid_core::time::{Clock, Instant, Timer};
use redis_entraid_core::token::Token;
use redis_entraid_core::transport::{ConnectError, ConnectErrorKind as Kind, Connector, Progress};

use crate::clock::EmbassyClock;
use crate::config::{Config, EventHook};
use crate::error::Problem;
use crate::lent::Lent;
use crate::listening::{Listen, Listening};
use crate::state::ClientState;
use crate::storage::Shared;

/// What drives a client, to be spawned in a task:
///
/// ```
/// # use redis_entraid_embassy::{Runner, Tcp, entraid_core::source::StaticToken};
/// type Redis = Runner<Tcp<'static>, StaticToken<'static>>;
///
/// // #[embassy_executor::task]
/// async fn redis(mut runner: Redis) -> ! {
///     runner.run().await
/// }
/// ```
///
/// One that [listens](Self::listening) is a `Runner<K, S, Listening>`.
pub struct Runner<K, S, L = ()> {
    shared: &'static Shared,
    clock: &'static EmbassyClock,
    config: Config,
    connector: K,
    source: S,
    response: &'static mut [u8],
    listening: L,
}

impl<K: Connector, S: TokenSource> Runner<K, S> {
    pub(crate) const fn new(
        shared: &'static Shared,
        clock: &'static EmbassyClock,
        config: Config,
        connector: K,
        source: S,
        response: &'static mut [u8],
    ) -> Self {
        Self { shared, clock, config, connector, source, response, listening: () }
    }

    /// Subscribes, on the connection that commands use too, and on each one that takes its place.
    ///
    /// That connection is never idle, and [`may_sleep`](crate::Client::may_sleep) is zero: a message
    /// may come at any time. With RESP2 a connection with subscriptions takes no commands.
    ///
    /// ```
    /// use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
    /// use embassy_sync::channel::Channel;
    /// use redis_entraid_embassy::entraid_core::command::Topic;
    /// use redis_entraid_embassy::entraid_core::listener::ListenerEvent;
    /// # use redis_entraid_embassy::{Listening, Runner, Tcp, entraid_core::source::StaticToken};
    ///
    /// enum Order { Open, Close, ReadState }
    ///
    /// static ORDERS: Channel<CriticalSectionRawMutex, Order, 4> = Channel::new();
    ///
    /// fn hear(heard: &ListenerEvent<'_>) {
    ///     let order = match heard {
    ///         ListenerEvent::Message(message) if message.payload.str() == Ok("open") => Order::Open,
    ///         ListenerEvent::Message(_) => Order::Close,
    ///         // What was published before is missing: the task reads how things stand.
    ///         _ => Order::ReadState,
    ///     };
    ///     let _ = ORDERS.try_send(order);
    /// }
    ///
    /// type Redis = Runner<Tcp<'static>, StaticToken<'static>, Listening>;
    ///
    /// fn listening(runner: Runner<Tcp<'static>, StaticToken<'static>>) -> Redis {
    ///     runner.listening(Listening::new(&[(Topic::Channel, "device-7/orders")], hear))
    /// }
    /// ```
    pub fn listening(self, listening: Listening) -> Runner<K, S, Listening> {
        let Self { shared, clock, mut config, connector, source, response, .. } = self;
        config.connection = config.connection.for_subscriptions();
        Runner { shared, clock, config, connector, source, response, listening }
    }
}

impl<K: Connector, S: TokenSource, L: Listen> Runner<K, S, L> {
    /// Fetches tokens, logs in, logs in again, and connects again, for ever.
    ///
    /// # Cancel safety
    /// If the future is dropped, commands of the client fail with [`Error::Closed`](crate::Error::Closed).
    pub async fn run(&mut self) -> ! {
        let Self { shared, clock, config, connector, source, response, listening } = self;
        let (shared, clock): (&'static Shared, _) = (shared, *clock);
        let _closing = Closing(&shared.state);
        shared.state.plan(|agenda| agenda.listening = L::LISTENS);
        let timer = Alarms { clock, state: &shared.state };
        let connection = || {
            let [receive, transmit] = [&shared.receive, &shared.transmit].map(Lent::from);
            Connection::new(config.connection.clone(), receive, transmit, Lent::from(&shared.ring))
        };
        let on_event = config.on_event;
        let progress = &Progress::new();
        let workload = DeviceWorkload { shared, clock, on_event, listening };
        let supervisor = Supervisor::new(config.reconnect.clone(), Jitter::new(config.seed));
        let mut supervised = Supervised::new(supervisor, workload);
        let endpoint = config.endpoint().with_progress(progress);
        let report = |event, error: Option<S::Error>| {
            news(shared, clock, |health| health.observe(&event));
            if let Some(hook) = on_event {
                hook(&event, error.as_ref().map(|error| error as &dyn fmt::Display));
            }
        };
        let mut source = ObservedSource { source, state: &shared.state };
        let tokens = &shared.tokens;
        let fetching = refresh(tokens, &mut source, &timer, response, config.refresh, report);
        let supervising =
            supervise_one(connector, &endpoint, connection, &timer, tokens, &mut supervised);
        // Instead of looking at the wall clock from time to time.
        let telling = async {
            let mut seen = None;
            loop {
                clock.changed(&mut seen).await;
                if let Some(unix_time) = clock.unix_time() {
                    tokens.with(|manager| manager.unix_time(clock.now(), unix_time));
                }
            }
        };
        join3(fetching, supervising, telling).await;
        pending().await
    }
}

impl<K, S, L: fmt::Debug> fmt::Debug for Runner<K, S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("config", &self.config)
            .field("listening", &self.listening)
            .finish_non_exhaustive()
    }
}

/// Takes in news of how it stands, and how the token does.
fn news(shared: &Shared, clock: &EmbassyClock, more: impl FnOnce(&mut crate::watch::Health)) {
    let token = shared.tokens.peek(|manager| manager.health(clock.now()));
    shared.state.tell(|health| {
        health.token = Some(token);
        more(health);
    });
}

/// Nobody answers any more.
struct Closing(&'static ClientState);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The timer of the runner: what it waits for is noted, so that others know.
struct Alarms {
    clock: &'static EmbassyClock,
    state: &'static ClientState,
}

impl Clock for Alarms {
    fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl Timer for Alarms {
    async fn sleep_until(&self, deadline: Instant) {
        let place = self.state.plan(|agenda| agenda.note(deadline));
        let _alarm = Alarm { place, state: self.state };
        self.clock.sleep_until(deadline).await;
    }
}

/// An alarm that was noted.
struct Alarm {
    place: Option<usize>,
    state: &'static ClientState,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.state.plan(|agenda| agenda.forget(place));
        }
    }
}

/// A source, of which others know when it is at work.
struct ObservedSource<'s, S> {
    source: &'s mut S,
    state: &'static ClientState,
}

impl<S: TokenSource> TokenSource for ObservedSource<'_, S> {
    type Error = S::Error;

    async fn fetch<'b>(
        &'b mut self,
        start: &Start,
        memory: &'b mut [u8],
    ) -> Result<Token<'b>, S::Error> {
        self.state.plan(|agenda| agenda.fetching = true);
        let _fetched = Fetched(self.state);
        self.source.fetch(start, memory).await
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        self.source.identify(feed);
    }
}

/// However it ended.
struct Fetched(&'static ClientState);

impl Drop for Fetched {
    fn drop(&mut self) {
        self.0.plan(|agenda| agenda.fetching = false);
    }
}

/// What the connections are for: the commands of the clients, and what is listened to.
struct DeviceWorkload<'l, L> {
    shared: &'static Shared,
    clock: &'static EmbassyClock,
    on_event: Option<EventHook>,
    listening: &'l mut L,
}

impl<L> DeviceWorkload<'_, L> {
    fn talking(&self, talking: bool) {
        self.shared.state.plan(|agenda| agenda.talking = talking);
    }

    fn report(&self, event: &Event, details: Option<&dyn fmt::Display>) {
        if let Some(hook) = self.on_event {
            hook(event, details);
        }
    }
}

impl<L: Listen> Workload for DeviceWorkload<'_, L> {
    fn poll_demand(&mut self, cx: &mut Context<'_>) -> Result<Demand, NotNeeded> {
        let waits = self.shared.state.poll_waiting(cx) || L::LISTENS;
        Ok(if waits { Demand::Waiting } else { Demand::None })
    }

    fn dials(&mut self, _: Instant) {
        self.talking(true);
    }

    fn dial_failed(&mut self, _: Instant, error: &dyn ConnectError, event: &Event) {
        self.talking(false);
        let problem = match error.kind() {
            // The kinds of the core know nothing of it.
            Kind::Host if self.clock.unix_time().is_none() => Problem::Clock,
            kind => Problem::Connect(kind),
        };
        news(self.shared, self.clock, |health| health.problem = Some(problem));
        self.report(event, Some(&error));
    }

    fn dial_given_up(&mut self) {
        self.talking(false);
    }

    fn begins(&mut self, _: usize, _: bool) {
        self.listening.connected();
    }

    fn submit(
        &mut self,
        _: usize,
        _: bool,
        cx: &mut Context<'_>,
        _: Instant,
        connection: &mut dyn Submit,
    ) -> Result<bool, NotNeeded> {
        self.listening.submit(connection);
        self.shared.state.poll_commands(cx, connection);
        Ok(false)
    }

    fn has_limits(&self) -> bool {
        true
    }

    fn poll_room(&mut self, cx: &mut Context<'_>, output: &Output<'_>) -> Poll<()> {
        self.shared.state.poll_room(cx, output)
    }

    fn outputs(&mut self, _: usize, now: Instant, outputs: &mut dyn Outputs) {
        while let Some(output) = outputs.next_output(now) {
            self.listening.output(&output);
            self.shared.state.output(&output);
            if let Output::Event(event) = output {
                news(self.shared, self.clock, |health| health.observe(&event));
                self.report(&event, None);
            }
        }
    }

    fn is_settled(&self, _: usize) -> bool {
        // With one place there is never another connection to take over from.
        false
    }

    fn speaking(&mut self, _: usize, health: &ConnectionHealth) {
        self.talking(health.logging_in || health.waiting > 0);
    }

    fn settle(&mut self, _: usize, _: Instant, health: &ConnectionHealth) {
        self.talking(health.logging_in || health.waiting > 0);
        news(self.shared, self.clock, |known| known.settle(health));
    }

    fn ended(&mut self, _: usize, _: Instant, reason: CloseReason, _: Succession) {
        self.shared.state.disconnected(reason);
        self.talking(false);
    }
}
