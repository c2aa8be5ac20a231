mod apart;
mod beside;
mod blocking;
mod broker;
mod cluster;
mod flood;
mod gone;
mod limits;
mod moved;
mod moved_here;
mod routing;
mod routing_changes;
mod routing_model;
mod routing_sessions;
mod shards;
mod shuffle;
mod subscriber;
mod wire;
mod withdrawal;

use core::cell::Cell;
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use std::boxed::Box;
use std::rc::Rc;
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::world::{Server, World};
use redis_entraid_core::args;
use redis_entraid_core::connection::Outcome;
use redis_entraid_core::drive::Refresh;
use redis_entraid_core::secret::Secret;
use redis_entraid_core::source::{ErrorKind, SourceError, Start};
use redis_entraid_core::time::{Clock, Instant, UnixTime};
use redis_entraid_core::token::Token;
use redis_entraid_core::transport::{Connector, Endpoint, Stage, TransportUser, Unanswered};

/// The world, with a calendar.
struct Calendar(Rc<World>);

impl Clock for Calendar {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn unix_time(&self) -> Option<UnixTime> {
        Some(UnixTime(1_800_000_000 + self.now().as_millis() / 1000))
    }
}

impl Timer for Calendar {
    async fn sleep_until(&self, deadline: Instant) {
        self.0.sleep_until(deadline).await;
    }
}

/// Gives out tokens named by their number, after a while.
struct Tokens(Rc<Cell<u32>>, Duration, Option<ErrorKind>, Rc<World>);

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

impl TokenSource for Tokens {
    type Error = SourceError;

    async fn fetch<'b>(&'b mut self, _: &Start, _: &'b mut [u8]) -> Result<Token<'b>, SourceError> {
        let number = self.0.replace(self.0.get() + 1);
        self.3.sleep_until(self.3.now().plus(self.1)).await;
        match self.2 {
            Some(kind) => Err(SourceError::Other { kind, what: "script" }),
            // When these are used up, there are no more.
            None => NAMES.get(number as usize).map_or(Err(SourceError::TimedOut), |name| {
                let token = Token::new(Secret::new(name)).with_user("oid");
                Ok(token.with_expires_in(Duration::from_secs(3600)))
            }),
        }
    }
}

struct Bench {
    world: Rc<World>,
    fetches: Rc<Cell<u32>>,
    server: &'static Server,
    settings: Settings,
    fails: Option<ErrorKind>,
    snapshot: Option<Vec<u8>>,
    /// Who is polled first when both have something to do.
    driver_first: bool,
}

impl Bench {
    fn new(server: Server) -> Self {
        let mut settings = Settings::new("cache", 0);
        settings.config.set_info = false;
        Self {
            world: Rc::default(),
            fetches: Rc::default(),
            server: Box::leak(Box::new(server)),
            settings,
            fails: None,
            snapshot: None,
            driver_first: false,
        }
    }

    /// Runs `f` with a client, and answers with what it says and how long it took.
    fn run<R>(self, f: impl AsyncFnOnce(LocalClient<Calendar>) -> R) -> (R, u64) {
        let Self { world, fetches, server, settings, fails, snapshot, driver_first } = self;
        let source = Tokens(fetches, Duration::from_millis(100), fails, world.clone());
        let start = world.now();
        let (client, driver) = LocalClient::new(
            settings,
            Calendar(world.clone()),
            server,
            source,
            snapshot.as_deref(),
        );
        let mut result = None;
        let both = async {
            let using = async { result = Some(f(client).await) };
            let driving = async {
                driver.await;
                core::future::pending::<()>().await;
            };
            match driver_first {
                true => redis_entraid_core::drive::either(driving, using).await,
                false => redis_entraid_core::drive::either(using, driving).await,
            }
        };
        let ended = world.run(start.plus(Duration::from_secs(86_400)), both);
        assert!(ended.is_some(), "it hangs");
        (result.unwrap(), world.now().since(start).as_millis() as u64)
    }
}

/// A server that only answers when the login and a command have come together.
fn eager_server() -> Server {
    Server { window: 1 << 20, together: 2, ..Server::default() }
}

#[test]
fn the_first_command_goes_in_the_flight_of_the_login() {
    let bench = Bench::new(eager_server());
    let server = bench.server;
    let (hello, _) = bench.run(async |mut client| {
        client.connected().await.unwrap();
        client.command(args!["GET", "k"]).await.unwrap().str().unwrap().to_string()
    });
    assert_eq!((hello.as_str(), server.connects.get()), ("hello", 1));
    // Else it might wait for an acknowledgement of the login.
    assert_eq!(server.writes.get(), 1);
    // Without that, the server waits in vain.
    let mut bench = Bench::new(eager_server());
    bench.settings.config.eager = false;
    let (error, _) = bench.run(async |mut client| {
        client.connected().await.unwrap();
        client.command(args!["GET", "k"]).await.unwrap_err()
    });
    assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
}

#[cfg(feature = "postcard")]
fn snapshot(world: &Rc<World>) -> Vec<u8> {
    let bench = Bench { world: world.clone(), ..Bench::new(Server::default()) };
    let taken = bench.run(async |mut client| {
        client.command(args!["GET", "k"]).await.unwrap();
        let first = client.changed_snapshot().unwrap();
        assert!(client.changed_snapshot().is_none(), "it is the same one");
        first.to_vec()
    });
    taken.0
}

#[cfg(feature = "postcard")]
#[test]
fn a_kept_token_serves_without_a_fetch() {
    let mut bench = Bench::new(eager_server());
    bench.snapshot = Some(snapshot(&bench.world));
    let (fetches, server) = (bench.fetches.clone(), bench.server);
    bench.run(async |mut client| {
        client.command(args!["GET", "k"]).await.unwrap();
        assert!(client.changed_snapshot().is_none());
    });
    assert_eq!(fetches.get(), 0);
    assert_eq!(*server.logins.borrow(), ["one"]);
}

#[cfg(feature = "postcard")]
#[test]
fn a_kept_token_that_is_refused_makes_for_a_fresh_one_and_one_more_try() {
    let mut bench = Bench::new(eager_server());
    bench.snapshot = Some(snapshot(&bench.world));
    bench.server.stale.set("one");
    bench.fetches.set(1);
    let (fetches, server) = (bench.fetches.clone(), bench.server);
    let (kept, took) = bench.run(async |mut client| {
        client.command(args!["GET", "k"]).await.unwrap();
        client.changed_snapshot().is_some()
    });
    assert!(kept && took < 2000, "{took}");
    assert_eq!((fetches.get(), server.connects.get(), server.commands.get()), (2, 2, 1));
    assert_eq!(*server.logins.borrow(), ["one", "two"]);
}

#[test]
fn a_fresh_token_that_is_refused_is_an_error_at_once_that_says_why() {
    let mut bench = Bench::new(eager_server());
    bench.server.refuses.set(true);
    bench.settings.config.command_timeout = Duration::from_secs(20);
    let fetches = bench.fetches.clone();
    let (error, took) = bench.run(async |mut client| {
        client.connected().await.unwrap();
        client.command(args!["GET", "k"]).await.map(|_| ()).unwrap_err()
    });
    assert_eq!(error.code(), Some("WRONGPASS"), "{error}");
    assert_eq!((error.outcome(), fetches.get()), (Outcome::NotSent, 1));
    assert!(took < 1000, "{took}");
}

#[test]
fn a_login_that_is_waited_for_is_an_error_at_once_when_it_is_refused() {
    let bench = Bench::new(Server { window: 1 << 20, ..Server::default() });
    bench.server.refuses.set(true);
    let (error, took) = bench.run(async |client| client.logged_in().await.unwrap_err());
    assert_eq!((error.code(), took < 1000), (Some("WRONGPASS"), true), "{error} {took}");
}

#[test]
fn what_cannot_be_helped_by_waiting_is_told_at_once_and_all_else_at_the_deadline() {
    let kinds = [(ErrorKind::Configuration, true), (ErrorKind::Transient, false)];
    for (driver_first, (kind, soon)) in
        [false, true].into_iter().flat_map(|first| kinds.map(|kind| (first, kind)))
    {
        let mut bench = Bench { driver_first, ..Bench::new(Server::default()) };
        bench.fails = Some(kind);
        bench.settings.deadline = Some(Duration::from_secs(3));
        let (error, took) = bench.run(async |client| client.connected().await.unwrap_err());
        assert!(matches!(error, Error::Token(_)), "{error}");
        assert_eq!(took, if soon { 100 } else { 3000 });
    }
}

#[test]
fn one_deadline_covers_fetching_connecting_and_the_command() {
    let mut bench = Bench::new(Server { window: 1 << 20, ..Server::default() });
    bench.server.deaf.set(true);
    bench.settings.deadline = Some(Duration::from_secs(2));
    let (error, took) = bench.run(async |mut client| {
        client.connected().await.unwrap();
        client.command(args!["GET", "k"]).await.map(|_| ()).unwrap_err()
    });
    assert_eq!((error.outcome(), took), (Outcome::Unknown, 2000), "{error}");
}

#[test]
fn on_demand_the_next_token_is_fetched_when_somebody_asks_and_no_earlier() {
    let mut bench = Bench::new(Server { window: 1 << 20, ..Server::default() });
    bench.settings.refresh = Refresh::OnDemand;
    let (fetches, world) = (bench.fetches.clone(), bench.world.clone());
    bench.run(async |mut client| {
        client.command(args!["GET", "k"]).await.unwrap();
        world.sleep_until(Instant::from_millis(3_500_000)).await;
        assert_eq!((client.pull(), fetches.get()), (Pull::UseThenRefresh, 1));
        client.command(args!["GET", "k"]).await.unwrap();
        assert_eq!(fetches.get(), 1);
        client.refresh_if_due().await.unwrap();
        assert_eq!((client.pull(), fetches.get()), (Pull::Use, 2));
        client.refresh_if_due().await.unwrap();
        assert_eq!(fetches.get(), 2);
    });
    // When it has ended, a command asks by itself.
    let mut bench = Bench::new(Server { window: 1 << 20, ..Server::default() });
    bench.settings.refresh = Refresh::OnDemand;
    let (fetches, world) = (bench.fetches.clone(), bench.world.clone());
    bench.run(async |mut client| {
        client.command(args!["GET", "k"]).await.unwrap();
        world.sleep_until(Instant::from_millis(3_700_000)).await;
        client.command(args!["GET", "k"]).await.unwrap();
        assert_eq!(fetches.get(), 2);
    });
}

#[test]
fn who_waits_when_the_login_has_ended_is_told_why_there_is_no_token() {
    let bench = Bench::new(Server { window: 1 << 20, ..Server::default() });
    bench.fetches.set(NAMES.len() as u32 - 1);
    let (fetches, world) = (bench.fetches.clone(), bench.world.clone());
    bench.run(async |mut client| {
        client.command(args!["GET", "k"]).await.unwrap();
        // With its token. The next attempt to get one would be many seconds away, but a caller waits.
        world.sleep_until(Instant::from_millis(3_600_200)).await;
        let asked = fetches.get();
        let error = client.command(args!["GET", "k"]).await.map(|_| ()).unwrap_err();
        assert_eq!((error.outcome(), fetches.get()), (Outcome::NotSent, asked + 1));
        let Error::Unavailable { cause: Some(cause) } = &error else { panic!("{error:?}") };
        assert!(matches!(**cause, Error::Token(_)), "{error}");
    });
}

#[test]
fn after_an_outage_who_waits_is_served_within_the_longest_quick_wait() {
    for seconds in (0..60).step_by(5) {
        let bench = Bench::new(Server { window: 1 << 20, ..Server::default() });
        bench.fetches.set(NAMES.len() as u32 - 1);
        let (fetches, world) = (bench.fetches.clone(), bench.world.clone());
        bench.run(async |mut client| {
            client.command(args!["GET", "k"]).await.unwrap();
            // There is no token for hours, and then there is one again.
            let back = Instant::from_millis(8_000_000 + seconds * 1000);
            world.sleep_until(back).await;
            fetches.set(0);
            while client.command(args!["GET", "k"]).await.is_err() {}
            let waited = world.now().since(back);
            assert!(waited <= Duration::from_secs(31), "{seconds}: {waited:?}");
        });
    }
}

/// A server that accepts connections, and says nothing in TLS.
#[derive(Clone)]
struct Silent;

impl Connector for Silent {
    type Error = Unanswered;

    async fn connect<S: TransportUser>(
        &mut self,
        endpoint: &Endpoint<'_>,
        _: S,
    ) -> Result<S::Output, Unanswered> {
        endpoint.begins(Stage::Tls);
        core::future::pending().await
    }
}

#[test]
fn a_handshake_that_nobody_answers_is_named_whoever_loses_patience_first() {
    let secs = Duration::from_secs;
    for (start, deadline, waited) in
        [(secs(30), None, "10.0 s"), (secs(3), None, "2.9 s"), (secs(30), Some(secs(4)), "3.9 s")]
    {
        let world = Rc::new(World::default());
        let mut settings = Settings::new("cache", 0);
        (settings.start_timeout, settings.deadline) = (start, deadline);
        let source = Tokens(Rc::default(), Duration::from_millis(100), None, world.clone());
        let (client, driver) =
            LocalClient::new(settings, Calendar(world.clone()), Silent, source, None);
        let mut said = std::string::String::new();
        let using = async {
            said = client.connected().await.unwrap_err().to_string();
        };
        world
            .run(Instant::from_millis(60_000), redis_entraid_core::drive::either(using, driver))
            .unwrap();
        let expected = "no answer to the TLS handshake";
        assert!(said.contains(expected) && said.contains(waited), "{waited}: {said}");
    }
}

#[test]
fn nobody_waits_for_a_driver_that_is_dropped_before_it_has_begun() {
    let bench = Bench::new(Server::default());
    let (world, timer) = (bench.world.clone(), Calendar(bench.world.clone()));
    let source = Tokens(bench.fetches.clone(), Duration::ZERO, None, world.clone());
    let (mut client, driver) =
        LocalClient::new(Settings::new("cache", 0), timer, bench.server, source, None);
    drop(driver);
    let told = world.run(Instant::from_millis(0), async {
        let start = client.logged_in().await.unwrap_err();
        let command = client.command(args!["PING"]).await.map(drop).unwrap_err();
        (start.to_string(), command.to_string())
    });
    assert_eq!(told, Some((Error::Closed.to_string(), Error::Closed.to_string())));
}

#[test]
fn the_driver_ends_with_the_last_handle() {
    let world = Rc::new(World::default());
    let server: &'static Server = Box::leak(Box::default());
    let source = Tokens(Rc::default(), Duration::ZERO, None, world.clone());
    let timer = Calendar(world.clone());
    let (client, driver) = LocalClient::new(Settings::new("cache", 0), timer, server, source, None);
    let using = async {
        let mut other = client.clone();
        drop(client);
        other.command(args!["GET", "k"]).await.map(|_| ()).unwrap();
    };
    let both = async {
        let mut driver = core::pin::pin!(driver);
        redis_entraid_core::drive::either(using, driver.as_mut()).await;
        driver.await;
    };
    assert!(world.run(Instant::from_millis(60_000), both).is_some(), "it goes on");
}

#[test]
fn a_door_is_no_handle() {
    let (answers, _) =
        Bench::new(Server { window: 1 << 20, ..Server::default() }).run(async |mut client| {
            let door = client.downgrade();
            let mut other = door.enter();
            let shared = client.command(args!["MULTI"]).await.map(|_| ()).unwrap_err();
            other.command(args!["GET", "k"]).await.unwrap();
            drop(other);
            // Alone it may have a transaction, whatever the server of this test says to it.
            let alone = client.command(args!["MULTI"]).await.map(|_| ());
            (matches!(shared, Error::Refused(_)), matches!(alone, Err(Error::Refused(_))))
        });
    assert_eq!(answers, (true, false));
}
