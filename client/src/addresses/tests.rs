//! Addresses that answer, refuse and say nothing, on a clock that jumps.

use core::cell::RefCell;
use core::future::pending;
use core::net::IpAddr;
use std::string::{String, ToString};

use super::*;
use crate::world::World;
use redis_entraid_core::auth::Protocol;
use redis_entraid_core::event::Event;
use redis_entraid_core::manager::Generation;
use redis_entraid_core::transport::Progress;

/// What becomes of an attempt, after so many milliseconds.
#[derive(Clone, Copy)]
enum Fate {
    Answers(u64),
    Fails(u64),
    Silent,
}

use Fate::{Answers, Fails, Silent};

#[derive(Debug, PartialEq)]
struct Refused(&'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl StdError for Refused {}

/// What came of it at what time, and when which address was tried.
type Told = (u64, Result<String, Unreached<Refused>>, Vec<(u64, String)>);

/// Reaches for addresses with these fates, by `until`.
fn reached(until: u64, fates: &[(&str, Fate)]) -> Told {
    let endpoint = Endpoint::new("cache", 10_000).with_deadline(Instant::from_millis(until));
    reached_of(&endpoint, fates)
}

/// The same of an endpoint that may have been dialed before.
fn reached_of(endpoint: &Endpoint<'_>, fates: &[(&str, Fate)]) -> Told {
    let (world, tried) = (World::default(), RefCell::new(Vec::new()));
    let addresses = fates.iter().map(|(ip, _)| SocketAddr::new(ip.parse().unwrap(), 10_000));
    let connect = |address: SocketAddr| {
        let ip = address.ip().to_string();
        tried.borrow_mut().push((world.now().as_millis(), ip.clone()));
        let fate = fates.iter().find(|(known, _)| known.parse::<IpAddr>() == Ok(address.ip()));
        let (fate, world, begun) = (fate.unwrap().1, &world, world.now());
        async move {
            match fate {
                Answers(after) => {
                    world.sleep_until(begun.plus(Duration::from_millis(after))).await;
                    Ok(ip)
                }
                Fails(after) => {
                    world.sleep_until(begun.plus(Duration::from_millis(after))).await;
                    Err(Refused("refused"))
                }
                Silent => pending().await,
            }
        }
    };
    let result =
        world.run(Instant::from_millis(60_000), reach(&world, endpoint, addresses, connect));
    (world.now().as_millis(), result.expect("it ends"), tried.take())
}

fn at(times: &[(u64, &str)]) -> Vec<(u64, String)> {
    times.iter().map(|(at, ip)| (*at, (*ip).into())).collect()
}

#[test]
fn the_first_address_is_alone_while_it_answers_in_time() {
    let (now, won, tried) = reached(10_000, &[("10.0.0.1", Answers(249)), ("10.0.0.2", Silent)]);
    assert_eq!((now, won.unwrap(), tried), (249, "10.0.0.1".into(), at(&[(0, "10.0.0.1")])));
}

#[test]
fn a_silent_address_costs_a_quarter_of_a_second_and_no_more() {
    let fates = [("10.0.0.1", Silent), ("10.0.0.2", Silent), ("10.0.0.3", Answers(5))];
    let (now, won, tried) = reached(10_000, &fates);
    assert_eq!((now, won.unwrap()), (505, "10.0.0.3".into()));
    assert_eq!(tried, at(&[(0, "10.0.0.1"), (250, "10.0.0.2"), (500, "10.0.0.3")]));
}

#[test]
fn after_a_failure_the_next_address_is_tried_at_once() {
    let fates = [("10.0.0.1", Fails(3)), ("10.0.0.2", Silent), ("10.0.0.3", Answers(0))];
    let (now, won, tried) = reached(10_000, &fates);
    assert_eq!((now, won.unwrap()), (253, "10.0.0.3".into()));
    assert_eq!(tried, at(&[(0, "10.0.0.1"), (3, "10.0.0.2"), (253, "10.0.0.3")]));
}

#[test]
fn who_was_tried_first_still_wins_if_it_answers_first() {
    let fates = [("10.0.0.1", Answers(400)), ("10.0.0.2", Answers(300))];
    let (now, won, tried) = reached(10_000, &fates);
    assert_eq!((now, won.unwrap(), tried.len()), (400, "10.0.0.1".into(), 2));
    // Both at the same time: the resolver's order.
    let fates = [("10.0.0.1", Answers(300)), ("10.0.0.2", Answers(50))];
    assert_eq!(reached(10_000, &fates).1.unwrap(), "10.0.0.1");
}

#[test]
fn families_take_turns_and_the_resolvers_first_one_begins() {
    let fates = ["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"].map(|ip| (ip, Fails(0)));
    let order = |fates: &[_]| {
        let tried = reached(10_000, fates).2;
        tried.into_iter().map(|(_, ip)| ip).collect::<Vec<_>>()
    };
    assert_eq!(order(&fates), ["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]);
    let fates = ["10.0.0.1", "10.0.0.2", "::1"].map(|ip| (ip, Fails(0)));
    assert_eq!(order(&fates), ["10.0.0.1", "::1", "10.0.0.2"]);
}

#[test]
fn the_limit_of_all_holds_and_the_error_names_what_happened_to_each() {
    let fates = [("10.0.0.1", Silent), ("::1", Fails(50)), ("10.0.0.2", Silent), ("::2", Silent)];
    let (now, won, tried) = reached(600, &fates);
    let unreached = won.unwrap_err();
    assert_eq!((now, tried.len()), (600, 4));
    assert_eq!(
        unreached.to_string(),
        "::1: refused, 10.0.0.1: no answer to the TCP connection within 0.6 s, \
        10.0.0.2: no answer to the TCP connection within 0.3 s, ::2: no answer to the TCP connection within 0.0 s"
    );
    let source = unreached.source().and_then(|error| error.downcast_ref());
    assert_eq!(source, Some(&Refused("refused")));
    // There was no time for one of them.
    let (now, won, _) = reached(200, &[("10.0.0.1", Silent), ("10.0.0.2", Silent)]);
    let expected = "10.0.0.1: no answer to the TCP connection within 0.2 s, \
                    10.0.0.2: not tried: out of time";
    assert_eq!((now, won.unwrap_err().to_string()), (200, expected.into()));
}

#[test]
fn when_all_have_failed_nobody_waits_any_longer() {
    let (now, won, _) = reached(10_000, &[("10.0.0.1", Fails(10)), ("10.0.0.2", Fails(20))]);
    let expected = "10.0.0.1: refused, 10.0.0.2: refused";
    assert_eq!((now, won.unwrap_err().to_string()), (30, expected.into()));
    // The last one is waited for, though another one has failed beside it.
    let (now, won, _) = reached(10_000, &[("10.0.0.1", Answers(900)), ("10.0.0.2", Fails(20))]);
    assert_eq!((now, won.unwrap()), (900, "10.0.0.1".into()));
    let (now, won, _) = reached(10_000, &[]);
    let unreached = won.unwrap_err();
    assert_eq!((now, unreached.to_string()), (0, "the name has no address".into()));
    assert!(unreached.source().is_none() && unreached.addresses().count() == 0);
}

#[test]
fn where_nobody_could_log_in_comes_last_the_next_time() {
    let progress = Progress::new();
    let endpoint = Endpoint::new("cache", 10_000)
        .with_progress(&progress)
        .with_deadline(Instant::from_millis(10_000));
    let all = ["::1", "10.0.0.1", "::2"].map(|ip| (ip, Answers(0)));
    let won = || reached_of(&endpoint, &all).1.unwrap();
    assert_eq!([won(), won(), won(), won()], ["::1", "10.0.0.1", "::2", "::1"]);
    assert_eq!(endpoint.peer().as_deref(), Some("::1"));
    let (generation, protocol) = (Generation(1), Protocol::Resp3);
    progress.observe(&Event::LoggedIn { generation, protocol });
    assert_eq!([won(), won()], ["::1", "10.0.0.1"]);
    // A name that has no address any more, and one that has another one.
    assert!(reached_of(&endpoint, &[]).1.is_err());
    assert_eq!(reached_of(&endpoint, &[("10.0.0.9", Answers(0))]).1.unwrap(), "10.0.0.9");
}
