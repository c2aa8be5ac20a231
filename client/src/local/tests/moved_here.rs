//! A server that sends its clients to where they are: somebody else is behind the address by now.

use std::vec;
use std::vec::Vec;

use super::broker::{Broker, Rule};
use super::moved::{get, with};
use super::*;

/// What a client of "cache" on port 10000 is told by its first connection, in every form.
const FORMS: [Rule; 5] = [
    |number, command| (number == 0 && command == "GET a").then_some("-MOVED 1 cache:10000\r\n"),
    |number, command| (number == 0 && command == "GET a").then_some("-MOVED 1 20.1.2.3:10000\r\n"),
    |number, command| {
        (number == 0 && command == "GET a").then_some("-MOVED 1 [20.1.2.3]:10000\r\n")
    },
    |number, command| (number == 0 && command == "GET a").then_some("-MOVED 1 ?:10000\r\n"),
    |number, command| (number == 0 && command == "GET a").then_some("-MOVED 1 :10000\r\n"),
];

/// For ever, to one key.
const FOR_EVER: Rule = |_, command| (command == "GET a").then_some("-MOVED 1 cache:10000\r\n");

#[test]
fn a_connection_that_leads_to_another_server_by_now_is_made_anew_and_the_command_repeated() {
    for form in FORMS {
        with(&Broker::new(form), Broker::settings(false), async |mut client, broker| {
            for _ in 0..5 {
                assert_eq!(get(&mut client, "a").await, "OK");
            }
            // One command too many, in all; and the old connection is gone.
            assert_eq!(broker.heard("GET a"), [0, 1, 1, 1, 1, 1]);
            assert_eq!((broker.connects(), broker.open()), (2, 1));
            assert_eq!(broker.dialed(), ["cache:10000 as cache", "cache:10000 as cache"]);
            assert_eq!(broker.world.now().as_millis(), 0);
        });
    }
}

#[test]
fn a_server_that_says_so_for_ever_gets_few_commands_and_ever_fewer_connections() {
    with(&Broker::new(FOR_EVER), Broker::settings(false), async |mut client, broker| {
        let began = broker.world.now();
        let error = client.command(args!["GET", "a"]).await.map(|_| ()).unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Some("MOVED"), Outcome::NotSent));
        assert_eq!(broker.heard("GET a"), [0, 1, 2, 3, 4, 5]);
        // 200, 400, 800 and 1600 ms, more or less.
        let took = broker.world.now().since(began).as_millis();
        assert!((2100..=3900).contains(&took), "{took}");
        // Who tries for an hour, once a second, costs two connections a minute in the end.
        for _ in 0..3600 {
            let _ = client.command(args!["GET", "a"]).await.map(|_| ()).unwrap_err();
            broker.sleep(Duration::from_secs(1)).await;
        }
        assert!((100..200).contains(&broker.connects()), "{}", broker.connects());
        assert!(broker.heard("GET a").len() < 3600 * 12 / 10, "{}", broker.heard("GET a").len());
    });
}

#[test]
fn what_a_server_says_of_one_key_costs_the_others_no_more_than_the_new_connections() {
    let mut broker = Broker::new(FOR_EVER);
    (broker.far, broker.dial) = (Duration::from_millis(10), Duration::from_millis(50));
    with(&broker, Broker::settings(false), async |mut client, broker| {
        let mut other = client.clone();
        let moved = async {
            assert!(client.command(args!["GET", "a"]).await.is_err());
            core::future::pending::<()>().await;
        };
        let beside = async {
            let mut waited = 0;
            for _ in 0..200 {
                let before = broker.world.now();
                assert_eq!(get(&mut other, "b").await, "OK");
                let took = broker.world.now().since(before).as_millis();
                // What is under way, a dial, a login and the command.
                assert!(took <= 90, "{took}");
                waited += u32::from(took > 20);
            }
            assert_eq!((waited, broker.connects()), (5, 5));
        };
        redis_entraid_core::drive::either(moved, beside).await;
    });
}

#[test]
fn a_limit_ends_the_waiting_too() {
    with(&Broker::new(FOR_EVER), Broker::settings(false), async |mut client, broker| {
        let limit = Duration::from_millis(100);
        let error = client.command_within(limit, args!["GET", "a"]).await.map(|_| ()).unwrap_err();
        assert_eq!((error.code(), broker.world.now().as_millis()), (Some("MOVED"), 0));
        assert_eq!(broker.heard("GET a"), [0, 1]);
    });
}

#[test]
fn many_who_hear_it_at_the_same_time_make_one_connection_and_lose_nothing() {
    let rule = |number, command: &str| match (number, command) {
        (0, "GET a") => Some("-MOVED 1 cache:10000\r\n"),
        (number, "GET b") => Some(if number == 0 { "+old\r\n" } else { "+new\r\n" }),
        _ => None,
    };
    let mut broker = Broker::new(rule);
    broker.far = Duration::from_millis(10);
    with(&broker, Broker::settings(false), async |client, broker| {
        let done = Rc::new(Cell::new(0));
        let mut tasks = Vec::new();
        for number in 0..50 {
            let (mut client, done, world) = (client.clone(), done.clone(), broker.world.clone());
            tasks.push(Box::pin(async move {
                // Some come while the first connection still answers others.
                world.sleep_until(Instant::from_millis(number / 4)).await;
                let key = if number % 2 == 0 { "a" } else { "b" };
                let said = get(&mut client, key).await;
                assert!(["OK", "old", "new"].contains(&&*said), "{said}");
                done.set(done.get() + 1);
            }));
        }
        let all = poll_fn(|cx| {
            tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
            if tasks.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        });
        all.await;
        assert_eq!((done.get(), broker.connects(), broker.open()), (50, 2, 1));
        assert_eq!(broker.heard("GET b").len(), 25, "none is sent twice");
    });
}

#[test]
fn what_is_refused_of_a_pipeline_is_repeated_on_a_new_connection() {
    with(&Broker::new(FORMS[0]), Broker::settings(false), async |mut client, broker| {
        let all: [&[Arg<'_>]; 2] = [args!["PING"], args!["GET", "a"]];
        client.pipeline(all).await.unwrap();
        assert_eq!(client.reply(0).unwrap().str(), Ok("PONG"));
        assert_eq!(client.reply(1).unwrap().str(), Ok("OK"));
        assert_eq!((broker.heard("GET a"), broker.heard("PING")), (vec![0, 1], vec![0]));
        assert_eq!(broker.connects(), 2);
    });
}

#[test]
fn a_transaction_is_not_torn_for_it() {
    with(&Broker::new(FORMS[0]), Broker::settings(false), async |mut client, broker| {
        client.command(args!["MULTI"]).await.unwrap();
        let error = client.command(args!["GET", "a"]).await.map(|_| ()).unwrap_err();
        assert_eq!(error.code(), Some("MOVED"));
        client.command(args!["DISCARD"]).await.unwrap();
        assert_eq!((broker.connects(), broker.heard("DISCARD")), (1, vec![0]));
        assert_eq!(get(&mut client, "a").await, "OK");
        assert_eq!((broker.connects(), broker.open()), (2, 1));
    });
}

#[test]
fn a_node_is_made_anew_as_well_and_who_sends_home_sends_to_the_own_connection() {
    let rule = |number, command: &str| match (number, command) {
        (0, "GET a" | "GET b") => Some("-MOVED 1 10.0.0.1:8501\r\n"),
        (1, "GET a") => Some("-MOVED 1 10.0.0.1:8501\r\n"),
        (1 | 2, "GET b") => Some("-MOVED 1 20.1.2.3:10000\r\n"),
        _ => None,
    };
    with(&Broker::new(rule), Broker::settings(false), async |mut client, broker| {
        assert_eq!(get(&mut client, "a").await, "OK");
        assert_eq!((broker.heard("GET a"), broker.open()), (vec![0, 1, 2], 2));
        // In a circle: home is the one connection that there is, not another node.
        let error = client.command(args!["GET", "b"]).await.map(|_| ()).unwrap_err();
        assert_eq!(error.code(), Some("MOVED"));
        let heard = broker.heard("GET b");
        assert!(heard.starts_with(&[0, 2, 0, 2, 0]) && heard.len() < 40, "{heard:?}");
        assert_eq!(broker.connects(), 3);
    });
}

#[test]
fn one_node_by_its_name_and_by_its_address_is_one_connection() {
    let rule = |number, command: &str| match (number, command) {
        (0, "GET a") => Some("-MOVED 1 node.cache:8501\r\n"),
        (0, "GET b") => Some("-MOVED 1 20.1.2.3:8501\r\n"),
        _ => None,
    };
    with(&Broker::new(rule), Broker::settings(false), async |mut client, broker| {
        for key in ["a", "b", "a", "b"] {
            assert_eq!(get(&mut client, key).await, "OK");
        }
        assert_eq!(
            (broker.heard("GET a"), broker.heard("GET b")),
            (vec![0, 1, 0, 1], vec![0, 1, 0, 1])
        );
        assert_eq!(broker.connects(), 2);
    });
}

#[test]
fn where_it_is_not_followed_it_is_the_reply_but_the_connection_is_made_anew() {
    let mut settings = Broker::settings(false);
    settings.follow_moved = false;
    with(&Broker::new(FORMS[0]), settings, async |mut client, broker| {
        let error = client.command(args!["GET", "a"]).await.map(|_| ()).unwrap_err();
        assert_eq!(error.code(), Some("MOVED"));
        assert_eq!(get(&mut client, "a").await, "OK");
        assert_eq!(broker.heard("GET a"), [0, 1]);
    });
}
