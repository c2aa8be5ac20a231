//! After a failover: addresses and nodes that are gone.

use std::string::ToString;
use std::vec;

use super::broker::Broker;
use super::moved::{get, with};
use super::*;

/// What a cluster says of "a" on a client's own connection, and later.
fn before(number: u32, command: &str) -> Option<&'static str> {
    (number == 0 && command == "GET a").then_some("-MOVED 1 10.0.0.1:8501\r\n")
}

fn after(number: u32, command: &str) -> Option<&'static str> {
    (number == 0 && command == "GET a").then_some("-MOVED 1 10.0.0.2:8501\r\n")
}

/// A cluster that knows after two and a half seconds that a node is gone, runs `f` meanwhile.
fn failover(holes: &[&'static str], f: impl AsyncFnOnce(LocalClient<Calendar>, &Broker)) {
    let broker = Broker::new(before);
    broker.holes.borrow_mut().extend(holes);
    with(&broker, Broker::settings(false), async |client, broker| {
        let learning = async {
            broker.sleep(Duration::from_millis(2500)).await;
            broker.rule.set(after);
            core::future::pending::<()>().await;
        };
        redis_entraid_core::drive::either(f(client, broker), learning).await;
    });
}

#[test]
fn while_a_command_waits_for_a_node_that_is_gone_home_is_asked_again() {
    failover(&["10.0.0.1"], async |mut client, broker| {
        assert_eq!(get(&mut client, "a").await, "OK");
        assert_eq!(
            (broker.world.now().as_millis(), broker.heard("GET a")),
            (2500, vec![0, 0, 0, 0, 0, 0, 1])
        );
        assert_eq!(broker.reached(), ["20.1.2.3", "10.0.0.2"]);
        // The node that is gone is let go in the end.
        broker.sleep(Duration::from_secs(60)).await;
        let dials = broker.dials.get();
        broker.sleep(Duration::from_secs(3600)).await;
        assert_eq!(broker.dials.get(), dials);
    });
}

#[test]
fn a_limit_leaves_time_to_ask_home_again_and_holds_all_the_same() {
    failover(&["10.0.0.1"], async |mut client, broker| {
        let limit = Duration::from_millis(3500);
        client.command_within(limit, args!["GET", "a"]).await.unwrap();
        assert_eq!((broker.world.now().as_millis(), broker.heard("GET a").len()), (2500, 7));
    });
    failover(&["10.0.0.1"], async |mut client, broker| {
        let limit = Duration::from_millis(2700 - 500);
        let error = client.command_within(limit, args!["GET", "a"]).await.map(drop).unwrap_err();
        assert_eq!((error.outcome(), broker.world.now().as_millis()), (Outcome::NotSent, 2200));
        assert_eq!(broker.heard("GET a").len(), 5);
    });
}

#[test]
fn a_command_waits_for_a_node_no_longer_than_for_any_connection() {
    failover(&["10.0.0.1", "10.0.0.2"], async |mut client, broker| {
        let error = client.command(args!["GET", "a"]).await.map(drop).unwrap_err();
        assert_eq!((error.outcome(), broker.world.now().as_millis()), (Outcome::NotSent, 5000));
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        assert_eq!(broker.heard("GET a").len(), 10);
    });
}

#[test]
fn a_node_that_is_just_slow_is_waited_for_and_not_dialed_anew() {
    let mut broker = Broker::new(before);
    broker.dial = Duration::from_millis(1700);
    with(&broker, Broker::settings(false), async |mut client, broker| {
        client.logged_in().await.unwrap();
        assert_eq!(get(&mut client, "a").await, "OK");
        assert_eq!((broker.world.now().as_millis(), broker.dials.get()), (3400, 2));
        assert_eq!(broker.heard("GET a"), [0, 0, 0, 0, 1]);
    });
}

#[test]
fn a_node_that_does_not_answer_is_no_node_that_is_gone() {
    let rule = |number, command: &str| match (number, command) {
        (1, "GET a" | "CLUSTER SLOTS") => Some(""),
        _ => before(number, command),
    };
    with(&Broker::new(rule), Broker::settings(false), async |mut client, broker| {
        let error = client.command(args!["GET", "a"]).await.map(drop).unwrap_err();
        // It may have been executed: it is not sent again.
        assert_eq!((error.outcome(), broker.heard("GET a")), (Outcome::Unknown, vec![0, 1]));
    });
}

#[test]
fn an_address_that_lets_everybody_connect_and_says_nothing_is_not_tried_for_ever() {
    let broker = Broker::new(|_, _| None);
    *broker.resolved.borrow_mut() = vec!["20.1.2.3", "20.1.2.4"];
    broker.deaf.borrow_mut().push("20.1.2.3");
    with(&broker, Broker::settings(false), async |mut client, broker| {
        client.logged_in().await.unwrap();
        // What a login may take.
        let took = broker.world.now().as_millis();
        assert!((5000..5100).contains(&took), "{took}");
        assert_eq!(broker.reached(), ["20.1.2.3", "20.1.2.4"]);
        // Nor the first one, later.
        broker.cut();
        broker.sleep(Duration::from_secs(1)).await;
        assert_eq!(
            (get(&mut client, "k").await.as_str(), broker.reached()),
            ("OK", vec!["20.1.2.4".to_string()])
        );
        // The name is resolved each time.
        *broker.resolved.borrow_mut() = vec!["20.1.2.5"];
        broker.cut();
        broker.sleep(Duration::from_secs(1)).await;
        assert_eq!(
            (get(&mut client, "k").await.as_str(), broker.reached()),
            ("OK", vec!["20.1.2.5".to_string()])
        );
        assert!(broker.dialed().iter().all(|dialed| dialed == "cache:10000 as cache"));
    });
}

#[test]
fn a_server_that_froze_is_looked_for_at_its_other_address() {
    let rule = |number, command: &str| (number == 0 && command == "GET a").then_some("deaf");
    let broker = Broker::new(rule);
    *broker.resolved.borrow_mut() = vec!["20.1.2.3", "20.1.2.4"];
    with(&broker, Broker::settings(false), async |mut client, broker| {
        client.command(args!["GET", "a"]).await.map(drop).unwrap_err();
        broker.sleep(Duration::from_secs(20)).await;
        assert_eq!(get(&mut client, "a").await, "OK");
        assert_eq!(broker.reached(), ["20.1.2.3", "20.1.2.4"]);
    });
}
