//! The keys of commands and their nodes, as the core says and as real servers say. Two tests:
//! - Keys: each command of a server gets random arguments, and `COMMAND GETKEYS` has to find the same keys.
//! - Nodes: `COMMAND` gives each command's `request_policy` and `response_policy`, which have to be its
//!   [`Route`].

use std::collections::BTreeSet;
use std::path::PathBuf;

use model::real::{Real, Wire, programs};
use redis_entraid_core::cluster::{Merge, Route, keys, route};
use redis_entraid_core::policy::Jitter;
use redis_entraid_core::resp::{Arg, Value};

/// Commands that the core doesn't know: for administrators, or what servers send to each other.
const UNKNOWN: &str = "BGREWRITEAOF BGSAVE FAILOVER MODULE MONITOR PFDEBUG PFSELFTEST PSYNC REPLCONF \
    REPLICAOF RESTORE-ASKING SAVE SHUTDOWN SLAVEOF SWAPDB SYNC";

/// Commands that go to all nodes by the server's `request_policy`, and to one by the core: they are about
/// one server or one connection, and the replies of several couldn't be told apart.
const ONE_IS_ENOUGH: &str = "CLIENT CLUSTER INFO LATENCY|DOCTOR LATENCY|GRAPH LATENCY|HISTOGRAM LATENCY|HISTORY \
    LATENCY|LATEST LATENCY|RESET MEMORY|DOCTOR MEMORY|MALLOC-STATS MEMORY|PURGE MEMORY|STATS PING \
    RANDOMKEY SLOWLOG|GET FUNCTION|STATS";

/// A command as the server describes it.
struct Described {
    name: String,
    /// The least number of words, its name being one.
    arity: usize,
    /// The index of its first key. 0 if it has none, or if the index depends on the arguments.
    first_key: i64,
    /// Its tips, as `request_policy:all_shards`.
    tips: Vec<String>,
    /// The index of its keys depends on the arguments.
    movable: bool,
}

fn described(command: Value<'_>, into: &mut Vec<Described>) {
    let fields: Vec<Value<'_>> = command.items().collect();
    let text = |value: &Value<'_>| value.str().expect("a text").to_owned();
    let subcommands = fields.get(9).map(|value| value.items().collect()).unwrap_or_default();
    let container: Vec<Value<'_>> = subcommands;
    if container.is_empty() {
        into.push(Described {
            name: text(&fields[0]).to_uppercase(),
            arity: fields[1].int().expect("a number").unsigned_abs() as usize,
            first_key: fields[3].int().expect("a number"),
            tips: fields
                .get(7)
                .map_or(Vec::new(), |tips| tips.items().map(|tip| text(&tip)).collect()),
            movable: fields[2].items().any(|flag| flag.bytes() == Ok(b"movablekeys")),
        });
    }
    container.into_iter().for_each(|command| described(command, into));
}

/// A command with random arguments. A quarter of them are numbers and keywords, which may decide where
/// the keys are. With every third seed there are none of these.
fn draw(command: &Described, seed: u64) -> Vec<String> {
    const MEANING: [&str; 12] =
        ["1", "2", "3", "0", "STORE", "STOREDIST", "streams", "BY", "GET", "LIMIT", "ALPHA", "-1"];
    let mut words: Vec<String> = command.name.split('|').map(str::to_owned).collect();
    let random = |at: u64| Jitter::mix(seed.wrapping_mul(1000).wrapping_add(at));
    let len = command.arity.max(words.len()) + (random(0) % 6) as usize;
    for at in words.len()..len {
        let random = random(at as u64);
        let meaning = random.is_multiple_of(4) && !seed.is_multiple_of(3);
        words.push(match meaning {
            true => MEANING[(random / 4) as usize % MEANING.len()].to_owned(),
            false => format!("word{at}"),
        });
    }
    words
}

/// The keys that the server finds. `None` if it refuses the arguments.
fn asked(wire: &mut Wire, words: &[String]) -> Option<Vec<String>> {
    let whole: Vec<&str> =
        ["COMMAND", "GETKEYS"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let reply = wire.call(&whole).expect("an answer");
    let reply = Value::new(&reply).expect("a reply");
    let text = |key: Value<'_>| key.str().expect("a text").to_owned();
    reply.error().is_none().then(|| reply.items().map(text).collect())
}

/// The keys that the core finds. `None` if it doesn't know the command.
fn ours(words: &[String]) -> Option<Vec<String>> {
    let args: Vec<Arg<'_>> = words.iter().map(Arg::from).collect();
    let text = |key: Arg<'_>| match key {
        Arg::Bytes(key) => String::from_utf8_lossy(key).into_owned(),
        _ => panic!("all are bytes"),
    };
    keys(&*args).map(|keys| keys.map(|(_, key)| text(key)).collect())
}

/// Starts the servers from 7.0 on: older ones have no key specifications and no policies.
fn start() -> Vec<Real> {
    let start = |program: &PathBuf| Real::start(program, false).expect("it starts");
    programs().iter().map(start).filter(|real| real.dialect().shards).collect()
}

fn commands(real: &mut Real) -> Vec<Described> {
    let reply = real.admin().call(&["COMMAND"]).expect("an answer");
    let mut commands = Vec::new();
    Value::new(&reply).expect("a reply").items().for_each(|one| described(one, &mut commands));
    commands
}

fn listed(names: &str, name: &str) -> bool {
    let container = name.split('|').next().expect("a name");
    names.split_whitespace().any(|listed| listed == name || listed == container)
}

#[test]
fn keys_are_where_real_servers_say() {
    for mut real in start() {
        let name = real.name();
        let (mut compared, mut wrong, mut used) = (0, BTreeSet::new(), BTreeSet::new());
        for command in commands(&mut real) {
            for seed in 1..=300 {
                let words = draw(&command, seed);
                let Some(ours) = ours(&words) else {
                    if !listed(UNKNOWN, &command.name) {
                        wrong.insert(format!("{} is not known", command.name));
                    }
                    break;
                };
                let both_stores = |word: &str| words.iter().any(|other| other == word);
                if command.name.starts_with("GEORADIUS")
                    && both_stores("STORE")
                    && both_stores("STOREDIST")
                {
                    // With both words, servers of several versions find different keys. None executes it.
                    continue;
                }
                let Some(mut theirs) = asked(real.admin(), &words) else { continue };
                theirs.sort();
                let mut sorted = ours.clone();
                sorted.sort();
                compared += 1;
                used.insert(command.name.clone());
                if command.name != "MIGRATE" && sorted != theirs {
                    wrong.insert(format!("{words:?}: ours {ours:?}, theirs {theirs:?}"));
                }
            }
            let has_keys = command.first_key > 0 || command.movable;
            let shards = ["SSUBSCRIBE", "SUNSUBSCRIBE", "SPUBLISH", "MIGRATE"];
            let skipped = listed(UNKNOWN, &command.name) || shards.contains(&&*command.name);
            if has_keys && !skipped && !used.contains(&command.name) {
                wrong.insert(format!("{} was never compared", command.name));
            }
        }
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        println!("{name}: {} commands with keys, {compared} comparisons", used.len());
    }
}

#[test]
fn commands_without_keys_are_for_the_nodes_that_real_servers_say() {
    let mut rows = 0;
    for mut real in start() {
        let mut wrong = Vec::new();
        for command in commands(&mut real) {
            let policy = |kind: &str| {
                let tip = |tip: &String| tip.strip_prefix(kind).map(str::to_owned);
                command.tips.iter().find_map(tip)
            };
            let (nodes, replies) = (policy("request_policy:"), policy("response_policy:"));
            let words: Vec<&str> = command.name.split('|').collect();
            let args: Vec<Arg<'_>> = words.iter().map(|word| Arg::from(*word)).collect();
            let merge = match (nodes.as_deref(), replies.as_deref()) {
                (Some("all_nodes" | "all_shards"), replies) => replies.unwrap_or("none"),
                _ => continue,
            };
            if listed(ONE_IS_ENOUGH, &command.name) {
                continue;
            }
            rows += 1;
            let expected = Route::AllPrimaries(match merge {
                "agg_sum" => Merge::Sum,
                "agg_min" => Merge::Least,
                "agg_logical_and" => Merge::And,
                "one_succeeded" => Merge::OneOk,
                "all_succeeded" => Merge::EachOk,
                _ => Merge::Concatenate,
            });
            if route(&*args) != expected {
                wrong.push((command.name.clone(), route(&*args), expected));
            }
        }
        assert!(wrong.is_empty(), "{}: {wrong:#?}", real.name());
    }
    println!("{rows} comparisons");
    assert!(rows > 10, "there is no server from 7.0 on");
}
