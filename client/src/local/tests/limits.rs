//! Commands that have a time of their own.

use super::wire::{Bench, HELLO, Rule, Wire, usual};
use super::*;

const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(90);

#[test]
fn a_slow_command_costs_others_their_time_but_nobody_the_connection() {
    // While it is at work, the server says nothing to anybody.
    let rule: Rule = |wire, words| match &*words[0] {
        "HELLO" => HELLO,
        _ if wire.count("EVAL") > 0 && wire.most.get().is_none() => b"",
        _ => b"+OK\r\n",
    };
    Bench::new(Rc::default(), rule).run(async |mut client, wire, world| {
        client.logged_in().await.unwrap();
        let mut other = client.clone();
        let slow = async { client.command_within(LONG, args!["EVAL", "...", 0]).await.map(drop) };
        let beside = async {
            for _ in 0..60 {
                let error = other.command_within(SHORT, args!["GET", "k"]).await.unwrap_err();
                let lost = Error::Lost { outcome: Outcome::Unknown, reason: None, cause: None };
                assert_eq!(error.to_string(), lost.to_string());
            }
            assert_eq!(world.now(), Instant::from_millis(60_000));
            // It is done, and then come the others.
            wire.output.borrow_mut().extend(b"+done\r\n");
            (0..60).for_each(|_| wire.output.borrow_mut().extend(b"+late\r\n"));
            wire.most.set(Some(usize::MAX));
            other.command_within(SHORT, args!["GET", "k"]).await.unwrap().str().unwrap().to_string()
        };
        let (slow, beside) = both(slow, beside).await;
        assert_eq!((slow.is_ok(), beside.as_str(), wire.connects.get()), (true, "OK", 1));
    });
}

/// Waits for both.
async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (core::pin::pin!(a), core::pin::pin!(b));
    let (mut of_a, mut of_b) = (None, None);
    poll_fn(|cx| {
        if of_a.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(cx)
        {
            of_a = Some(output);
        }
        if of_b.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(cx)
        {
            of_b = Some(output);
        }
        if of_a.is_some() && of_b.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (of_a.unwrap(), of_b.unwrap())
}

#[test]
fn a_client_is_ready_until_a_reply_is_overdue() {
    let rule: Rule = |_, words| match &*words[0] {
        "HELLO" => HELLO,
        "GET" => b"",
        _ => b"+OK\r\n",
    };
    Bench::new(Rc::default(), rule).run(async |mut client, wire, world| {
        client.logged_in().await.unwrap();
        let asking = client.clone();
        let silent = async { client.command(args!["GET", "k"]).await.map(drop) };
        let probe = async {
            let ready_at = async |millis| {
                world.sleep_until(Instant::from_millis(millis)).await;
                asking.health().is_ready()
            };
            assert_eq!((ready_at(4999).await, ready_at(5001).await), (true, false));
        };
        let (lost, ()) = both(silent, probe).await;
        assert!(matches!(lost, Err(Error::Lost { outcome: Outcome::Unknown, reason: None, .. })));
        // Nobody has given the connection up yet.
        assert!(asking.health().connection.is_some() && wire.connects.get() == 1);
    });
}

fn said(wire: &Wire) -> usize {
    wire.log.borrow().iter().filter(|(_, word)| word != "HELLO").count()
}

#[test]
fn a_limit_holds_while_there_is_no_connection() {
    let bench = Bench::new(Rc::default(), usual);
    // As long as a connection may take.
    bench.wire.far.set(Duration::from_secs(9));
    bench.run(async |mut client, wire, world| {
        let error = client.command_within(SHORT, args!["GET", "k"]).await.unwrap_err();
        assert_eq!((error.outcome(), world.now().as_millis()), (Outcome::NotSent, 1000));
        client.command_within(LONG, args!["GET", "k"]).await.unwrap();
        assert_eq!((world.now().as_millis(), said(wire)), (9000, 1));
    });
}

#[test]
fn a_blocking_command_has_its_limit_besides_the_time_that_it_blocks() {
    let rule: Rule = |_, words| match &*words[0] {
        "HELLO" => HELLO,
        _ => b"",
    };
    Bench::new(Rc::default(), rule).run(async |mut client, wire, world| {
        client.logged_in().await.unwrap();
        let error = client.command_within(SHORT, args!["BLPOP", "q", 3]).await.unwrap_err();
        assert_eq!((error.outcome(), world.now().as_millis()), (Outcome::Unknown, 4000));
        assert_eq!(said(wire), 1);
    });
}

#[test]
fn a_pipeline_has_its_limit_for_all_of_its_commands() {
    let rule: Rule = |_, words| match &*words[0] {
        "HELLO" => HELLO,
        "SLOW" => b"",
        _ => b"+OK\r\n",
    };
    Bench::new(Rc::default(), rule).run(async |mut client, wire, world| {
        client.logged_in().await.unwrap();
        let all: [&[Arg<'_>]; 3] = [args!["GET", "k"], args!["SLOW"], args!["SLOW"]];
        assert_eq!(client.pipeline_within(SHORT, all).await.unwrap(), 3);
        assert_eq!((world.now().as_millis(), said(wire)), (1000, 3));
        assert!(client.reply(0).is_ok());
        assert!((1..3).all(|at| client.reply(at).unwrap_err().outcome() == Outcome::Unknown));
    });
}
