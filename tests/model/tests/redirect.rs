//! What real servers say of commands, scripts and transactions that they don't execute, and what becomes
//! of these.

use model::real::{Real, SLOT, Wire, programs};
use model::script::Slot as Place;
use redis_entraid_core::cluster::{Attempts, Next, RedirectPolicy, To, route};
use redis_entraid_core::command::CommandClass;
use redis_entraid_core::policy::Jitter;
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::time::Instant;

const NOW: Instant = Instant::from_millis(0);

const BY: Instant = Instant::from_millis(60_000);

/// What `next` is, in a word.
fn word(next: Next<'_>) -> &'static str {
    match next {
        Next::Deliver => "deliver",
        Next::Send { to: To::Moved(_), .. } => "moved",
        Next::Send { to: To::Asking(_), .. } => "asking",
        Next::Send { to: To::Same { .. }, .. } => "same",
        Next::Send { to: To::Map, .. } => "map",
    }
}

fn args<'a>(words: &[&'a str]) -> Vec<Arg<'a>> {
    words.iter().map(|word| Arg::from(*word)).collect()
}

/// What becomes of a command.
fn said(wire: &mut Wire, words: &[&str]) -> (&'static str, String) {
    let reply = wire.call(words).expect("an answer");
    let args = args(words);
    let mut attempts = Attempts::new(&*args, CommandClass::Plain, route(&*args), BY);
    let text = reply.escape_ascii().to_string();
    let Some(error) = Value::new(&reply).expect("a reply").error() else { return ("done", text) };
    let policy = RedirectPolicy::default();
    (word(attempts.refused(NOW, &policy, &mut Jitter::none(), &error)), text)
}

/// What becomes of a transaction.
fn transaction(wire: &mut Wire, commands: &[&[&str]]) -> (&'static str, String) {
    let whole = [&["MULTI"][..]].into_iter().chain(commands.iter().copied());
    let whole = whole.chain([&["EXEC"][..]]);
    let replies: Vec<Vec<u8>> = whole.map(|words| wire.call(words).expect("an answer")).collect();
    let text = replies.iter().map(|reply| reply.escape_ascii().to_string());
    let values = replies.iter().map(|reply| Value::new(reply).expect("a reply"));
    let routes = commands.iter().map(|words| route(&*args(words)));
    let route = routes.reduce(|all, one| all.and(one)).expect("there are commands");
    let mut attempts = Attempts::transaction(route, BY);
    let text = text.collect::<Vec<_>>().join(" ");
    if values.clone().next_back().expect("EXEC has a reply").error().is_none() {
        return ("done", text);
    }
    let policy = RedirectPolicy::default();
    (word(attempts.aborted(NOW, &policy, &mut Jitter::none(), values)), text)
}

#[test]
fn what_a_server_does_not_execute_is_sent_again_and_what_it_executes_is_not() {
    for program in programs() {
        let mut real = Real::start(&program, true).expect("it starts");
        let name = real.name();
        let try_again = real.dialect().try_again;
        let get = ["MGET", "{b}0", "{b}1"];
        let set = ["MSET", "{b}0", "new", "{b}1", "new"];
        let eval = ["EVAL", "return redis.call('MGET', KEYS[1], KEYS[2])", "2", "{b}0", "{b}1"];
        for (place, keys, expected) in [
            (Place::Here, 2, "done"),
            (Place::Moved, 0, "moved"),
            (Place::Migrating, 0, "asking"),
            (Place::Migrating, 1, if try_again { "same" } else { "asking" }),
            (Place::Migrating, 2, "done"),
            (Place::Down, 0, "map"),
        ] {
            real.set_slot(Place::Here).expect("it can be had back");
            real.admin().call(&["DEL", "{b}0", "{b}1"]).expect("an answer");
            if keys > 0 {
                real.admin().call(&set[..1 + 2 * keys]).expect("an answer");
            }
            real.set_slot(place).expect("it can be moved");
            let wire = real.admin();
            for command in [&get[..], &eval] {
                let (next, text) = said(wire, command);
                assert_eq!(next, expected, "{name}, {place:?}, {keys} keys, {command:?}: {text}");
            }
            for commands in [&[&get[..], &eval][..], &[&set, &get]] {
                let (next, text) = transaction(wire, commands);
                assert_eq!(next, expected, "{name}, {place:?}, {keys} keys, {commands:?}: {text}");
            }
            // What a mistake has spoiled, no other node executes.
            let (next, text) = transaction(wire, &[&["GET"], &get]);
            assert_eq!(next, "deliver", "{name}, {place:?}: {text}");
        }
    }
}

#[test]
fn what_a_script_says_that_was_executed_is_its_answer() {
    for program in programs() {
        let mut real = Real::start(&program, true).expect("it starts");
        let name = real.name();
        let wire = real.admin();
        for text in [
            "MOVED 1 127.0.0.1:1",
            "ASK 1 127.0.0.1:1",
            "TRYAGAIN later",
            "CLUSTERDOWN",
            "LOADING the bus",
            "READONLY You can\\'t write against a read only replica.",
            "MASTERDOWN",
        ] {
            let script = format!("redis.call('INCR', KEYS[1]) return redis.error_reply('{text}')");
            let (next, reply) = said(wire, &["EVAL", &script, "1", "{b}0"]);
            assert!(reply.starts_with('-'), "{name}: {reply}");
            assert_eq!(next, "deliver", "{name}: {reply}");
        }
        assert_eq!(wire.call(&["GET", "{b}0"]).expect("an answer"), b"$1\r\n7\r\n", "{name}");
        // Keys that it hasn't named, of another slot.
        let script = "return redis.pcall('GET', '{a}0')";
        let (next, reply) = said(wire, &["EVAL", script, "1", "{b}0"]);
        assert!(next == "deliver" || next == "done", "{name}: {reply}");
    }
}

#[test]
fn one_asking_holds_for_a_transaction() {
    for program in programs() {
        let mut real = Real::start(&program, true).expect("it starts");
        let name = real.name();
        real.set_slot(Place::Moved).expect("it can be moved");
        let other = real.process().ids().1.to_owned();
        real.admin().ok(&["CLUSTER", "SETSLOT", SLOT, "IMPORTING", &other]).expect("it imports");
        let commands = [&["SET", "{b}0", "new"][..], &["GET", "{b}0"]];
        let wire = real.admin();
        assert_eq!(transaction(wire, &commands).0, "moved", "{name}");
        wire.ok(&["ASKING"]).expect("it is known");
        let (next, text) = transaction(wire, &commands);
        assert_eq!(next, "done", "{name}: {text}");
        assert_eq!(said(wire, &["GET", "{b}0"]).0, "moved", "{name}: it holds no longer");
        // Of keys that aren't all there yet.
        if real.dialect().try_again {
            let wire = real.admin();
            wire.ok(&["ASKING"]).expect("it is known");
            assert_eq!(said(wire, &["MGET", "{b}0", "{b}1"]).0, "same", "{name}");
        }
    }
}
