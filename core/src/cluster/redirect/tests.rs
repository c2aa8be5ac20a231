use super::*;
use crate::args;
use crate::cluster::{Merge, Slot, route};
use crate::command::Topic;
use std::vec::Vec;

const BY: Instant = Instant::from_millis(60_000);

/// Slot 7, which is that of no key here.
const NODE: Node<'static> = Node { slot: 7, address: "a", port: 1 };

/// Those of `GET foo` as it is sent first.
fn plain() -> Attempts {
    of(args!["GET", "foo"])
}

fn of(command: &[Arg<'_>]) -> Attempts {
    Attempts::new(command, CommandClass::Plain, route(command), BY)
}

fn value(text: &str) -> Value<'static> {
    Value::new(std::format!("{text}\r\n").leak().as_bytes()).unwrap()
}

fn refused(attempts: &mut Attempts, now: u64, error: &str) -> Next<'static> {
    let error = value(&std::format!("-{error}")).error().unwrap();
    let policy = RedirectPolicy::default();
    attempts.refused(Instant::from_millis(now), &policy, &mut Jitter::none(), &error)
}

fn aborted(attempts: &mut Attempts, replies: &[&str]) -> Next<'static> {
    let (now, policy) = (Instant::from_millis(5), RedirectPolicy::default());
    let replies = replies.iter().map(|text| value(text));
    attempts.aborted(now, &policy, &mut Jitter::none(), replies)
}

const fn send(at: u64, to: To<'static>) -> Next<'static> {
    Next::Send { at: Instant::from_millis(at), to }
}

const SAME: To<'static> = To::Same { asking: false };
const SAME_ASKING: To<'static> = To::Same { asking: true };

#[test]
fn each_refusal_has_its_own_way_on() {
    for (error, next) in [
        ("MOVED 7 a:1", send(5, To::Moved(NODE))),
        ("ASK 7 a:1", send(5, To::Asking(NODE))),
        ("TRYAGAIN Multiple keys request during rehashing of slot", send(15, SAME)),
        ("CLUSTERDOWN The cluster is down", send(15, To::Map)),
        ("LOADING Redis is loading the dataset in memory", send(15, To::Map)),
        ("MASTERDOWN Link with MASTER is down", send(15, To::Map)),
        ("READONLY You can't write against a read only replica.", send(15, To::Map)),
        ("MOVED 7 a:0", Next::Deliver),
        ("ERR unknown command", Next::Deliver),
        ("EXECABORT Transaction discarded", Next::Deliver),
        ("CROSSSLOT Keys in request don't hash to the same slot", Next::Deliver),
        ("BUSY Redis is busy running a script", Next::Deliver),
        ("UNBLOCKED force unblock from blocking operation", Next::Deliver),
    ] {
        assert_eq!(refused(&mut plain(), 5, error), next, "{error}");
    }
    let policy = RedirectPolicy { asking: false, ..RedirectPolicy::default() };
    let error = value("-ASK 7 a:1").error().unwrap();
    let now = Instant::from_millis(5);
    let next = plain().refused(now, &policy, &mut Jitter::none(), &error);
    assert_eq!(next, send(15, SAME));
}

#[test]
fn keys_that_are_not_all_there_yet_are_asked_for_again_where_they_go() {
    let mut attempts = plain();
    assert_eq!(refused(&mut attempts, 0, "ASK 7 a:1"), send(0, To::Asking(NODE)));
    assert_eq!(refused(&mut attempts, 0, "TRYAGAIN x"), send(20, SAME_ASKING));
    assert_eq!(refused(&mut attempts, 20, "TRYAGAIN x"), send(60, SAME_ASKING));
    // The slot is back, or all there.
    assert_eq!(refused(&mut attempts, 60, "MOVED 7 a:1"), send(140, To::Moved(NODE)));
    assert_eq!(refused(&mut attempts, 140, "TRYAGAIN x"), send(300, SAME));
    // What the node that was asked can't serve is found by the map.
    let mut attempts = plain();
    assert_eq!(refused(&mut attempts, 0, "ASK 7 a:1"), send(0, To::Asking(NODE)));
    assert_eq!(refused(&mut attempts, 0, "LOADING x"), send(20, To::Map));
    assert_eq!(refused(&mut attempts, 20, "TRYAGAIN x"), send(60, SAME));
}

#[test]
fn a_loop_of_refusals_gets_slower_and_ends() {
    for errors in [["MOVED 7 a:1", "MOVED 7 a:1"], ["ASK 7 a:1", "TRYAGAIN x"]] {
        let mut attempts = plain();
        let (mut now, mut sent) = (0, 0);
        while let Next::Send { at, .. } = refused(&mut attempts, now, errors[sent.min(1)]) {
            assert!(sent == 0 || at.as_millis() > now);
            (now, sent) = (at.as_millis(), sent + 1);
            assert!(sent <= 10, "it goes on");
        }
        assert_eq!((now, sent), (20 + 40 + 80 + 160 + 320 + 640 + 1_000 + 1_000 + 1_000, 10));
    }
}

#[test]
fn nothing_is_sent_again_at_its_deadline_or_after() {
    let attempts = |by| {
        let (class, by) = (CommandClass::Blocking(None), Instant::from_millis(by));
        Attempts::new(args!["BLPOP", "a", 0], class, Route::AnyPrimary, by)
    };
    assert_eq!(refused(&mut attempts(16), 5, "TRYAGAIN"), send(15, SAME));
    assert_eq!(refused(&mut attempts(15), 5, "TRYAGAIN"), Next::Deliver);
}

#[test]
fn what_may_have_been_executed_is_not_sent_again() {
    let (policy, mut jitter) = (RedirectPolicy::default(), Jitter::none());
    let now = Instant::from_millis(0);
    for mut attempts in [plain(), Attempts::transaction(Route::AnyPrimary, BY)] {
        let unknown = attempts.lost(now, &policy, &mut jitter, Outcome::Unknown);
        assert_eq!(unknown, Next::Deliver);
        let not_sent = attempts.lost(now, &policy, &mut jitter, Outcome::NotSent);
        assert_eq!(not_sent, send(10, To::Map));
    }
}

#[test]
fn what_belongs_to_a_connection_is_not_sent_elsewhere() {
    for class in [
        CommandClass::Multi,
        CommandClass::Exec,
        CommandClass::Discard,
        CommandClass::Watch,
        CommandClass::Unwatch,
        CommandClass::Tracking(true),
        CommandClass::Subscribe(Topic::Shard, 1),
        CommandClass::Unsubscribe(Topic::Shard, 1),
    ] {
        let mut attempts = Attempts::new(args!["X"], class, Route::AnyPrimary, BY);
        assert_eq!(refused(&mut attempts, 0, "MOVED 7 a:1"), Next::Deliver, "{class:?}");
        let (now, policy) = (Instant::from_millis(0), RedirectPolicy::default());
        let lost = attempts.lost(now, &policy, &mut Jitter::none(), Outcome::NotSent);
        assert_eq!(lost, Next::Deliver, "{class:?}");
    }
}

#[test]
fn what_is_about_a_node_goes_to_no_other_one() {
    for (command, expected) in
        [(args!["SCAN", 7], Route::OneNode), (args!["DBSIZE"], Route::AllPrimaries(Merge::Sum))]
    {
        assert_eq!(route(command), expected);
        for (error, next) in [
            ("LOADING Redis is loading the dataset in memory", send(15, SAME)),
            ("READONLY You can't write against a read only replica.", Next::Deliver),
            ("MASTERDOWN Link with MASTER is down", Next::Deliver),
            ("CLUSTERDOWN The cluster is down", Next::Deliver),
            ("MOVED 7 a:1", Next::Deliver),
        ] {
            assert_eq!(refused(&mut of(command), 5, error), next, "{error}");
        }
        let (now, policy) = (Instant::from_millis(0), RedirectPolicy::default());
        let lost = of(command).lost(now, &policy, &mut Jitter::none(), Outcome::NotSent);
        assert_eq!(lost, send(10, SAME));
    }
}

#[test]
fn a_part_of_a_divided_command_goes_where_its_slot_is() {
    let command = args!["DEL", "foo"];
    let part = Route::Slot(Slot::of(b"foo"));
    let mut attempts = Attempts::new(command, CommandClass::Plain, part, BY);
    assert_eq!(refused(&mut attempts, 5, "CLUSTERDOWN x"), send(15, To::Map));
}

#[test]
fn a_script_is_sent_again_only_with_the_words_of_a_server() {
    let slot = Slot::of(b"foo").number();
    let node = Node { slot, ..NODE };
    let eval = [args!["EVAL", "x", 1, "foo"], args!["fcall_ro", "x", 1, "foo"]];
    let moved = [std::format!("MOVED {slot} a:1"), std::format!("ASK {slot} a:1")];
    let to = [To::Moved(node), To::Asking(node)];
    for command in eval {
        for (error, to) in moved.iter().zip(to) {
            assert_eq!(refused(&mut of(command), 5, error), send(5, to), "{error}");
        }
        for (error, to) in [
            ("TRYAGAIN Multiple keys request during rehashing of slot", SAME),
            ("CLUSTERDOWN The cluster is down", To::Map),
            ("CLUSTERDOWN The cluster is down and only accepts read commands", To::Map),
            ("CLUSTERDOWN Hash slot not served", To::Map),
            ("LOADING Redis is loading the dataset in memory", To::Map),
            ("LOADING Valkey is loading the dataset in memory", To::Map),
        ] {
            assert_eq!(refused(&mut of(command), 5, error), send(15, to), "{error}");
        }
        for error in [
            "MOVED 7 a:1",
            "ASK 7 a:1",
            "TRYAGAIN later",
            "TRYAGAIN Multiple keys request during rehashing of slot script: x, on @user_script:1.",
            "CLUSTERDOWN mine",
            "LOADING x",
            "READONLY You can't write against a read only replica.",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        ] {
            assert_eq!(refused(&mut of(command), 5, error), Next::Deliver, "{error}");
        }
    }
    // Without keys, no server sends it elsewhere.
    let without = args!["EVAL", "x", 0];
    assert_eq!(refused(&mut of(without), 5, &moved[0]), Next::Deliver);
    // A word that isn't known may be anything.
    let unknown = args!["A.NEW.WORD", "x"];
    assert_eq!(refused(&mut of(unknown), 5, "MOVED 7 a:1"), send(5, To::Moved(NODE)));
    assert_eq!(refused(&mut of(unknown), 5, "TRYAGAIN later"), Next::Deliver);
}

#[test]
fn of_a_transaction_no_command_is_sent_again_alone() {
    let mut attempts = Attempts::transaction(Route::Slot(Slot::new(7).unwrap()), BY);
    for error in ["MOVED 7 a:1", "TRYAGAIN x", "EXECABORT Transaction discarded"] {
        assert_eq!(refused(&mut attempts, 5, error), Next::Deliver, "{error}");
    }
    // And a command alone is no transaction.
    let replies = ["+OK", "-MOVED 7 a:1", "-EXECABORT x"];
    assert_eq!(aborted(&mut plain(), &replies), Next::Deliver);
}

#[test]
fn a_transaction_that_a_server_has_discarded_is_sent_again_as_a_whole() {
    const ABORT: &str = "-EXECABORT Transaction discarded because of previous errors.";
    for (replies, next) in [
        (&["+OK", "-MOVED 7 a:1", ABORT][..], send(5, To::Moved(NODE))),
        (&["+OK", "+QUEUED", "-ASK 7 a:1", ABORT], send(5, To::Asking(NODE))),
        (&["+OK", "-MOVED 7 a:1", "-ERR wrong", ABORT], send(5, To::Moved(NODE))),
        (&["+OK", "+QUEUED", "-MOVED 7 a:1"], send(5, To::Moved(NODE))),
        (&["+OK", "+QUEUED", "-TRYAGAIN Multiple keys"], send(15, SAME)),
        (&["+OK", "-TRYAGAIN Multiple keys", ABORT], send(15, SAME)),
        (&["+OK", "+QUEUED", "-CLUSTERDOWN Hash slot not served"], send(15, To::Map)),
        (
            &["+OK", "+QUEUED", "-EXECABORT Transaction discarded because of: READONLY You can't"],
            send(15, To::Map),
        ),
        (&["+OK", "-LOADING x", ABORT], send(15, To::Map)),
        // A mistake stays one.
        (&["+OK", "-ERR wrong", "-MOVED 7 a:1", ABORT], Next::Deliver),
        (
            &["+OK", "+QUEUED", "-EXECABORT Transaction discarded because of: NOPERM x"],
            Next::Deliver,
        ),
        (&["+OK", "+QUEUED", ABORT], Next::Deliver),
        // Keys in several slots.
        (&["+OK", "+QUEUED", "-MOVED 8 a:1"], Next::Deliver),
        // It may have been executed, if not as a transaction.
        (&["+OK", "+QUEUED", "*1\r\n-MOVED 7 a:1"], Next::Deliver),
        (&["+OK", "+QUEUED", "*-1"], Next::Deliver),
        (&["+OK", "-MOVED 7 a:1", "-ERR EXEC without MULTI"], Next::Deliver),
        (&["-NOPERM x", "-MOVED 7 a:1", "-ERR EXEC without MULTI"], Next::Deliver),
        (&["-NOPERM x", "-MOVED 7 a:1", "-MOVED 7 a:1"], Next::Deliver),
        (&["+OK"], Next::Deliver),
        (&[], Next::Deliver),
    ] {
        let mut attempts = Attempts::transaction(Route::Slot(Slot::new(7).unwrap()), BY);
        assert_eq!(aborted(&mut attempts, replies), next, "{replies:?}");
    }
    let mut attempts = Attempts::transaction(Route::Unknown, BY);
    let replies = ["+OK", "-MOVED 7 a:1", ABORT];
    let nexts: Vec<_> = (0..11).map(|_| aborted(&mut attempts, &replies)).collect();
    assert_eq!(nexts.last(), Some(&Next::Deliver), "it ends");
    assert_eq!(nexts[0], send(5, To::Moved(NODE)));
}
