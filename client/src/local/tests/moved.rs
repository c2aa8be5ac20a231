//! A client of a cluster.

use std::string::String;
use std::vec;

use super::broker::Broker;
use super::*;
use redis_entraid_core::connection::Idle;

/// Says of three nodes what the first one has; what is elsewhere is at the next two.
fn cluster(number: u32, command: &str) -> Option<&'static str> {
    match (number, command) {
        (0, "GET a") => Some("-MOVED 15495 10.0.0.1:8501\r\n"),
        (0, "GET b") => Some("-MOVED 3300 :8502\r\n"),
        (0, "BLPOP q 1.000") => Some("-MOVED 1 10.0.0.1:8501\r\n"),
        (_, "BLPOP q 1.000") => Some("*2\r\n+q\r\n+popped\r\n"),
        (_, "GET a") => Some("+at a\r\n"),
        (_, "GET b") => Some("+at b\r\n"),
        _ => None,
    }
}

/// Runs `f` with a client of `broker`, until it ends; its driver runs beside it, as a task of its
/// own.
pub(super) fn with<R>(
    broker: &Broker,
    settings: Settings,
    f: impl AsyncFnOnce(LocalClient<Calendar>, &Broker) -> R,
) -> R {
    let (timer, source) = (Calendar(broker.world.clone()), broker.source(&Rc::default()));
    let (client, driver) = LocalClient::new(settings, timer, broker.clone(), source, None);
    broker.run(f(client, broker), vec![Box::pin(driver)])
}

pub(super) async fn get(client: &mut LocalClient<Calendar>, key: &str) -> String {
    let reply = client.command(args!["GET", key]).await;
    reply.unwrap_or_else(|error| panic!("{error}")).str().unwrap().into()
}

#[test]
fn a_client_that_closes_has_the_replies_of_nodes_first() {
    let mut broker = Broker::new(cluster);
    broker.lag = (1, Duration::from_millis(100));
    with(&broker, Broker::settings(false), async |mut client, broker| {
        let (closing, mut value, mut closed) = (client.clone(), None, None);
        let getting = async {
            value = Some(get(&mut client, "a").await);
            core::future::pending().await
        };
        let close = async {
            broker.sleep(Duration::from_millis(50)).await;
            closing.close();
            closing.closed().await;
            closed = Some((broker.world.now().as_millis(), broker.open()));
        };
        redis_entraid_core::drive::either(getting, close).await;
        // Login and command are one flight.
        assert_eq!((value.as_deref(), closed), (Some("at a"), Some((100, 0))));
        let refused = client.command(args!["GET", "a"]).await.map(drop);
        assert!(matches!(refused, Err(Error::Closed)) && broker.connects() == 2);
    });
}

#[test]
fn a_redirected_command_goes_to_the_address_under_the_configured_name() {
    let events = Rc::<RefCell<Vec<_>>>::default();
    let mut settings = Broker::settings(false);
    let heard = events.clone();
    settings.on_event = Some(Box::new(move |event| heard.borrow_mut().push(event.to_string())));
    with(&Broker::new(cluster), settings, async |mut client, broker| {
        for _ in 0..3 {
            assert_eq!(get(&mut client, "a").await, "at a");
        }
        assert_eq!(client.reply(0).unwrap().str().unwrap(), "at a");
        assert_eq!(get(&mut client, "b").await, "at b");
        // One connection for each, by all handles, and the certificate's name at each.
        let mut other = client.clone();
        assert_eq!(get(&mut other, "a").await, "at a");
        assert_eq!(get(&mut client.downgrade().enter(), "b").await, "at b");
        let places = ["cache:10000 as cache", "10.0.0.1:8501 as cache", "cache:8502 as cache"];
        assert_eq!(
            (broker.dialed(), broker.world.now().as_millis()),
            (places.map(String::from).into(), 0)
        );
        // What isn't redirected stays here, and has its reply here.
        client.command(args!["SET", "k", "v"]).await.unwrap();
        assert_eq!((broker.heard("SET k v"), client.reply(0).unwrap().str()), (vec![0], Ok("OK")));
        let popped = client.command(args!["BLPOP", "q", 1]).await.unwrap();
        assert_eq!(popped.items().last().unwrap().str(), Ok("popped"));
        assert_eq!(broker.heard("BLPOP q 1.000"), [0, 1]);
        // Who hears what happens hears it of all; health is that of the client's own connection.
        let logins =
            |events: &Vec<String>| events.iter().filter(|it| it.contains("logged in")).count();
        assert_eq!((logins(&events.borrow()), client.status().connects()), (3, 1));
    });
}

#[test]
fn the_first_command_at_a_node_goes_in_the_flight_of_its_login() {
    let rule = |number, command: &str| match (number, command) {
        // A node that says nothing to a login.
        (1, hello) if hello.starts_with("HELLO") => Some(""),
        _ => cluster(number, command),
    };
    with(&Broker::new(rule), Broker::settings(false), async |mut client, broker| {
        let _ = client.command(args!["GET", "a"]).await;
        assert_eq!(broker.heard("GET a"), [0, 1]);
    });
}

#[test]
fn a_node_stays_connected_when_the_handle_that_led_there_is_gone() {
    // Nothing but a waker gets the driver to look, then.
    let mut broker = Broker::new(cluster);
    broker.far = Duration::from_millis(10);
    with(&broker, Broker::settings(false), async |client, broker| {
        for _ in 0..3 {
            let mut one = client.clone();
            assert_eq!(get(&mut one, "a").await, "at a");
        }
        assert!(broker.world.now().as_millis() < 100, "{:?}", broker.world.now());
        broker.sleep(Duration::from_secs(7200)).await;
        assert_eq!((broker.connects(), broker.open()), (2, 2));
        // With each new token, both log in again.
        let again = broker.heard("AUTH oid token-2");
        assert_eq!(again, [0, 1]);
    });
}

#[test]
fn within_a_transaction_nothing_is_redirected() {
    with(&Broker::new(cluster), Broker::settings(false), async |mut client, broker| {
        client.command(args!["MULTI"]).await.unwrap();
        let error = client.command(args!["GET", "a"]).await.map(|_| ()).unwrap_err();
        assert_eq!(error.code(), Some("MOVED"));
        client.command(args!["DISCARD"]).await.unwrap();
        // Nor is it known from that where the key is: each by itself is redirected.
        let all: [&[Arg<'_>]; 2] = [args!["GET", "a"], args!["PING"]];
        assert_eq!(client.pipeline(all).await.unwrap(), 2);
        assert_eq!(client.reply(0).unwrap().str(), Ok("at a"));
        assert_eq!(client.reply(1).unwrap().str(), Ok("PONG"));
        assert_eq!((broker.heard("GET a"), broker.heard("PING")), (vec![0, 0, 1], vec![0]));
    });
}

#[test]
fn a_circle_of_redirections_gets_slower_and_ends_with_the_servers_error() {
    let broker = Broker::new(|number, command| match (number, command) {
        (0, "GET a") => Some("-MOVED 1 10.0.0.1:1\r\n"),
        (1, "GET a") => Some("-MOVED 1 :2\r\n"),
        (2, "GET a") => Some("-MOVED 1 10.0.0.3:3\r\n"),
        // In a circle.
        (_, "GET a") => Some("-MOVED 1 10.0.0.1:1\r\n"),
        _ => None,
    });
    with(&broker, Broker::settings(false), async |mut client, broker| {
        let error = client.command(args!["GET", "a"]).await.map(|_| ()).unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Some("MOVED"), Outcome::NotSent));
        let heard = broker.heard("GET a");
        assert!(heard.starts_with(&[0, 1, 2, 3, 1, 2, 3, 1]) && heard.len() < 40, "{heard:?}");
        let took = broker.world.now().as_millis();
        assert!((4_000..5_000).contains(&took), "{took}");
        // No address is that of the node which says so.
        assert_eq!(broker.dialed()[2], "10.0.0.1:2 as cache");
    });
}

#[test]
fn a_node_that_is_gone_is_dialed_for_a_command_and_no_earlier() {
    with(&Broker::new(cluster), Broker::settings(false), async |mut client, broker| {
        assert_eq!(get(&mut client, "a").await, "at a");
        broker.cut_one(1);
        broker.sleep(Duration::from_secs(3600)).await;
        assert_eq!((broker.connects(), broker.open()), (2, 1));
        assert_eq!(get(&mut client, "a").await, "at a");
        assert_eq!((broker.heard("GET a"), broker.open()), (vec![0, 1, 2], 2));
    });
    // One that may go when it is idle does so.
    let mut settings = Broker::settings(false);
    settings.config.idle = Idle::Close(Duration::from_secs(60));
    // The own connection is number 2 then.
    let rule = |number, command: &str| cluster(if number == 2 { 0 } else { number }, command);
    with(&Broker::new(rule), settings, async |mut client, broker| {
        assert_eq!(get(&mut client, "a").await, "at a");
        broker.sleep(Duration::from_secs(600)).await;
        assert_eq!(broker.open(), 0);
        assert_eq!(get(&mut client, "a").await, "at a");
        assert_eq!(broker.open(), 2);
    });
}

#[test]
fn a_node_that_is_silent_holds_up_nobody_elsewhere() {
    let rule = |number, command: &str| match (number, command) {
        (1, "GET a" | "CLUSTER SLOTS") => Some(""),
        _ => cluster(number, command),
    };
    with(&Broker::new(rule), Broker::settings(false), async |mut client, broker| {
        let mut other = client.clone();
        let stuck = async {
            let error = client.command(args!["GET", "a"]).await.map(|_| ()).unwrap_err();
            assert_eq!((error.outcome(), broker.world.now().as_millis()), (Outcome::Unknown, 5000));
        };
        let beside = async {
            broker.sleep(Duration::from_secs(1)).await;
            assert_eq!(get(&mut other, "b").await, "at b");
            assert_eq!(broker.world.now().as_millis(), 1000);
            core::future::pending::<()>().await;
        };
        redis_entraid_core::drive::either(stuck, beside).await;
    });
}

#[test]
fn the_deadline_ends_commands_at_nodes_too() {
    let rule = |number, command: &str| match (number, command) {
        (1, "GET a" | "CLUSTER SLOTS") => Some(""),
        _ => cluster(number, command),
    };
    let mut settings = Broker::settings(false);
    settings.deadline = Some(Duration::from_secs(2));
    with(&Broker::new(rule), settings, async |mut client, broker| {
        let error = client.command(args!["GET", "a"]).await.map(|_| ()).unwrap_err();
        assert_eq!((error.outcome(), broker.world.now().as_millis()), (Outcome::Unknown, 2000));
        broker.sleep(Duration::from_secs(1)).await;
        assert_eq!(broker.open(), 0);
        let error = client.command(args!["GET", "a"]).await.map(|_| ()).unwrap_err();
        assert_eq!((error.outcome(), broker.heard("GET a")), (Outcome::NotSent, vec![0, 1]));
    });
}

#[test]
fn where_it_is_not_followed_a_moved_is_the_reply() {
    let mut settings = Broker::settings(false);
    settings.follow_moved = false;
    with(&Broker::new(cluster), settings, async |mut client, broker| {
        let error = client.command(args!["GET", "a"]).await.map(|_| ()).unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Some("MOVED"), Outcome::NotSent));
        assert_eq!((broker.open(), broker.world.now().as_millis()), (1, 0));
    });
}

#[test]
fn the_driver_ends_with_the_last_handle_and_the_nodes_with_it() {
    let broker = Broker::new(cluster);
    let (timer, source) = (Calendar(broker.world.clone()), broker.source(&Rc::default()));
    let (mut client, driver) =
        LocalClient::new(Broker::settings(false), timer, broker.clone(), source, None);
    let using = async {
        let mut other = client.clone();
        get(&mut client, "a").await;
        drop(client);
        get(&mut other, "b").await;
        assert_eq!(broker.open(), 3);
        drop(other);
        core::future::pending::<()>().await;
    };
    broker.run(driver, vec![Box::pin(using)]);
    assert_eq!((broker.open(), broker.world.now().as_millis()), (0, 0));
}

#[test]
fn who_comes_again_and_again_finds_a_node_that_is_far() {
    let mut broker = Broker::new(cluster);
    broker.dial = Duration::from_millis(300);
    with(&broker, Broker::settings(false), async |mut client, broker| {
        client.logged_in().await.unwrap();
        let limit = Duration::from_millis(100);
        let mut tries = 0;
        while client.command_within(limit, args!["GET", "a"]).await.is_err() {
            tries += 1;
            assert!(tries < 10, "it is dialed anew each time");
        }
        assert_eq!((broker.connects(), broker.heard("GET a").contains(&1)), (2, true));
    });
}

#[test]
fn a_node_that_forgot_the_login_is_told_it_again() {
    let rule = |number, command: &str| match (number, command) {
        (1, "GET a") => Some("-NOAUTH Authentication required.\r\n"),
        _ => cluster(number, command),
    };
    with(&Broker::new(rule), Broker::settings(false), async |mut client, broker| {
        assert_eq!(get(&mut client, "a").await, "at a");
        assert_eq!(broker.heard("GET a"), [0, 1, 2]);
    });
}

#[test]
fn one_limit_holds_wherever_a_command_is_sent() {
    let mut broker = Broker::new(cluster);
    broker.dial = Duration::from_millis(600);
    with(&broker, Broker::settings(false), async |mut client, broker| {
        let limit = Duration::from_secs(1);
        let error = client.command_within(limit, args!["GET", "a"]).await.unwrap_err();
        assert_eq!((error.outcome(), broker.world.now().as_millis()), (Outcome::NotSent, 1000));
        // It isn't sent when the node is there.
        broker.sleep(limit).await;
        assert_eq!(broker.heard("GET a"), [0]);
    });
}
