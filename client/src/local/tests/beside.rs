//! A subscriber and its client.

use std::string::String;
use std::sync::OnceLock;
use std::{format, vec};

use super::apart::Task;
use super::broker::{Broker, Rule};
use super::subscriber::{USUAL, heard};
use super::*;
use redis_entraid_core::command::Topic;
use redis_entraid_core::drive::either;

/// Runs `f` with a client of `broker`, until it ends; both drivers run.
fn beside<R>(
    broker: &Broker,
    fetches: &Rc<Cell<u32>>,
    f: impl AsyncFnOnce(LocalClient<Calendar>, Subscriber<Calendar>, &Broker) -> R,
) -> R {
    let (timer, source) = (Calendar(broker.world.clone()), broker.source(fetches));
    let settings = Broker::settings(false);
    let (client, driver) = LocalClient::new(settings, timer, broker.clone(), source, None);
    let (subscriber, listening) = client.subscriber(broker.clone());
    broker.run(f(client, subscriber, broker), vec![Box::pin(driver), Box::pin(listening)])
}

#[test]
fn beside_a_client_it_has_the_same_tokens_and_takes_no_transaction_away() {
    let fetches = Rc::default();
    beside(&Broker::new(USUAL), &fetches, async |mut client, subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
        client.command(args!["MULTI"]).await.unwrap();
        client.command(args!["EXEC"]).await.unwrap();
        assert_eq!((fetches.get(), broker.open()), (1, 2));
        // The two log in again at times of their own, with the same token.
        broker.sleep(Duration::from_secs(3600)).await;
        assert!(client.health().reauths > 0 && subscriber.health().reauths > 0);
        let refreshes = subscriber.health().token.refreshes;
        assert_eq!((fetches.get(), client.health().token.refreshes), (refreshes, refreshes));
        // It stays, and so do its tokens, when the client goes.
        drop(client);
        broker.sleep(Duration::from_secs(7200)).await;
        assert_eq!((broker.publish("a", "x"), broker.open()), (1, 1));
        assert_eq!(heard(&subscriber).await, "a x");
        assert_eq!((subscriber.health().reconnects, fetches.get() > refreshes), (0, true));
    });
}

#[test]
fn each_has_its_own_time_to_start() {
    let mut broker = Broker::new(USUAL);
    broker.dial = Duration::from_secs(2);
    let (timer, source) = (Calendar(broker.world.clone()), broker.source(&Rc::default()));
    let (client, driver) =
        LocalClient::new(Broker::settings(false), timer, broker.clone(), source, None);
    let using = async {
        client.logged_in().await.unwrap();
        broker.sleep(Duration::from_secs(7200)).await;
        let (subscriber, listening) = client.subscriber(broker.clone());
        let started = async { subscriber.logged_in().await.unwrap() };
        Box::pin(either(started, listening)).await;
        assert_eq!(subscriber.status().connects(), 1);
    };
    broker.run(using, vec![Box::pin(driver)]);
}

#[test]
fn with_the_driver_of_its_client_it_is_over() {
    let broker = Broker::new(USUAL);
    let (timer, source) = (Calendar(broker.world.clone()), broker.source(&Rc::default()));
    let (client, driver) =
        LocalClient::new(Broker::settings(false), timer, broker.clone(), source, None);
    let (subscriber, listening) = client.subscriber(broker.clone());
    let driving = async {
        let stop = broker.sleep(Duration::from_secs(60));
        either(Box::pin(driver), stop).await;
    };
    let using = async {
        subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
        let error = subscriber.next().await.map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Closed), "{error}");
        assert_eq!((broker.world.now().as_millis(), broker.open()), (60_000, 0));
    };
    broker.run(using, vec![Box::pin(driving), Box::pin(listening)]);
}

#[test]
fn when_both_have_gone_the_drivers_end() {
    let broker = Broker::new(USUAL);
    let (timer, source) = (Calendar(broker.world.clone()), broker.source(&Rc::default()));
    let (client, driver) =
        LocalClient::new(Broker::settings(false), timer, broker.clone(), source, None);
    let (subscriber, listening) = client.subscriber(broker.clone());
    let other = client.subscriber(broker.clone());
    let using: Task<'_> = Box::pin(async {
        subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
        drop(client);
        broker.sleep(Duration::from_secs(60)).await;
        assert_eq!(broker.open(), 1);
        drop(subscriber);
        broker.sleep(Duration::from_secs(60)).await;
        assert_eq!(broker.open(), 0);
        drop(other);
    });
    // The client's driver sees at once that nobody needs its tokens any more.
    broker.run(driver, vec![using, Box::pin(listening)]);
    assert_eq!(broker.world.now().as_millis(), 120_000);
}

/// An invalidation that is larger than may be received, and then a reply.
fn stale() -> &'static str {
    static STALE: OnceLock<String> = OnceLock::new();
    STALE.get_or_init(|| {
        let names = "$4\r\nname\r\n".repeat(1000);
        format!(">2\r\n$10\r\ninvalidate\r\n*1000\r\n{names}$5\r\nhello\r\n")
    })
}

#[test]
fn an_invalidation_that_is_too_large_says_that_all_may_be_stale() {
    let rule: Rule = |_, said| (said == "GET k").then(stale);
    let broker = Broker::new(rule);
    let (timer, source) = (Calendar(broker.world.clone()), broker.source(&Rc::default()));
    let heard = Rc::<RefCell<Vec<Vec<u8>>>>::default();
    let notes = heard.clone();
    let mut settings = Broker::settings(false);
    settings.max_reply = 8 << 10;
    settings.on_push = Some(Box::new(move |push| notes.borrow_mut().push(push.raw().to_vec())));
    let (mut client, driver) = LocalClient::new(settings, timer, broker.clone(), source, None);
    let using = async {
        assert_eq!(client.command(args!["GET", "k"]).await.unwrap().str(), Ok("hello"));
    };
    broker.run(using, vec![Box::pin(driver)]);
    assert_eq!(*heard.borrow(), [b">2\r\n$10\r\ninvalidate\r\n_\r\n"]);
}
