//! What becomes of the commands of those who don't wait any more.

use super::wire::{Bench, HELLO, Rule, Wire, usual};
use std::vec;

use super::*;
use redis_entraid_core::drive::timeout_at;

/// Waits for a command for so many milliseconds. Says whether it was answered.
async fn patient(
    client: &mut LocalClient<Calendar>,
    world: &World,
    time: u64,
    args: &[Arg<'_>],
) -> Option<Result<(), Error>> {
    let until = world.now().plus(Duration::from_millis(time));
    timeout_at(world, until, async { client.command(args).await.map(|_| ()) }).await
}

fn said(wire: &Wire) -> Vec<std::string::String> {
    wire.log.borrow().iter().map(|(_, word)| word.clone()).filter(|word| word != "HELLO").collect()
}

#[test]
fn a_withdrawn_command_is_never_sent() {
    let bench = Bench::new(Rc::default(), usual);
    // Nobody is there for a while.
    bench.wire.far.set(Duration::from_secs(4));
    bench.run(async |mut client, wire, world| {
        for _ in 0..20 {
            assert!(patient(&mut client, world, 100, args!["INCR", "n"]).await.is_none());
        }
        assert_eq!(wire.connects.get(), 0);
        client.command(args!["GET", "n"]).await.unwrap();
        assert_eq!(said(wire), ["GET"]);
    });
}

#[test]
fn a_command_that_is_withdrawn_behind_a_blocking_one_is_never_sent() {
    let rule: Rule = |_, words| match &*words[0] {
        "HELLO" => HELLO,
        "BLPOP" => b"",
        _ => b"+OK\r\n",
    };
    Bench::new(Rc::default(), rule).run(async |mut client, wire, world| {
        client.logged_in().await.unwrap();
        let mut other = client.clone();
        let blocked = async {
            client.command(args!["BLPOP", "q", 3]).await.map(|_| ()).unwrap();
            core::future::pending::<()>().await;
        };
        let behind = async {
            world.sleep_until(Instant::from_millis(1000)).await;
            assert!(patient(&mut other, world, 500, args!["INCR", "n"]).await.is_none());
            wire.output.borrow_mut().extend(b"_\r\n");
            other.command(args!["GET", "n"]).await.map(|_| ()).unwrap();
        };
        redis_entraid_core::drive::either(blocked, behind).await;
        assert_eq!(said(wire), ["BLPOP", "GET"]);
    });
}

#[test]
fn a_slice_that_is_withdrawn_is_never_sent_and_the_next_one_neither() {
    let rule: Rule = |wire, words| match &*words[0] {
        "HELLO" => HELLO,
        "BLPOP" => {
            // The next one is on another connection.
            wire.closed.set(true);
            wire.far.set(Duration::from_secs(4));
            b"_\r\n"
        }
        _ => b"+OK\r\n",
    };
    Bench::new(Rc::default(), rule).run(async |mut client, wire, world| {
        client.logged_in().await.unwrap();
        assert!(patient(&mut client, world, 1000, args!["BLPOP", "q", 0]).await.is_none());
        client.command(args!["GET", "n"]).await.unwrap();
        assert_eq!((said(wire), wire.connects.get()), (vec!["BLPOP".into(), "GET".into()], 2));
    });
}

#[test]
fn the_reply_to_what_was_sent_before_it_was_withdrawn_is_nobody_elses() {
    let rule: Rule = |_, words| match &*words[0] {
        "HELLO" => HELLO,
        "SLOW" => b"",
        _ => b"+quick\r\n",
    };
    Bench::new(Rc::default(), rule).run(async |mut client, wire, world| {
        client.logged_in().await.unwrap();
        assert!(patient(&mut client, world, 100, args!["SLOW"]).await.is_none());
        wire.output.borrow_mut().extend(b"+slow\r\n");
        assert_eq!(client.command(args!["GET", "n"]).await.unwrap().str(), Ok("quick"));
        assert_eq!(said(wire), ["SLOW", "GET"]);
    });
}

#[test]
fn a_transaction_whose_beginning_was_withdrawn_is_not_executed_in_part() {
    let bench = Bench::new(Rc::default(), usual);
    bench.wire.far.set(Duration::from_secs(2));
    bench.run(async |mut client, wire, world| {
        assert!(patient(&mut client, world, 100, args!["MULTI"]).await.is_none());
        let error = client.command(args!["SET", "a", 1]).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::StateLost), "{error}");
        // From the beginning it works.
        for command in [args!["MULTI"], args!["SET", "a", 1], args!["EXEC"]] {
            client.command(command).await.unwrap();
        }
        assert_eq!(said(wire), ["MULTI", "SET", "EXEC"]);
    });
}

#[test]
fn what_handles_share_is_given_back_after_seconds_of_quiet() {
    Bench::new(Rc::default(), usual).run(async |mut client, _, world| {
        let value = vec![b'x'; 50_000];
        client.command(args!["SET", "key", &value[..]]).await.unwrap();
        let room = |client: &LocalClient<_>| client.handle.home().queue().room();
        assert!(room(&client) >= value.len(), "there may be more of them");
        world.sleep_until(world.now().plus(Duration::from_secs(10))).await;
        assert!(room(&client) < 10_000, "{}", room(&client));
    });
}
