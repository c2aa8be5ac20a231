//! What the tasks of a service do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use redis_entraid::entraid_core::resp::Arg;
use redis_entraid::{Client, args};

use crate::ledger::{Counters, Ledger};

/// So many counters a task has.
const KEYS: usize = 500;

/// Says when tasks are to end.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Increments one counter after the other.
pub(crate) async fn singles(number: usize, mut redis: Client, ledger: Ledger, stop: Stop) {
    let mut counters = Counters::new(&ledger);
    for at in (0..KEYS).cycle() {
        if stop.is_asked() {
            return;
        }
        let (key, since) = (format!("single:{number}:{at}"), Instant::now());
        let answer = redis.command(args!["INCR", &*key]).await;
        counters.answered(&key, since, answer.and_then(|reply| Ok(reply.int()?)));
    }
}

/// Increments counters in all slots, a hundred together.
pub(crate) async fn pipelines(number: usize, mut redis: Client, ledger: Ledger, stop: Stop) {
    let mut counters = Counters::new(&ledger);
    let keys: Vec<_> = (0..100).map(|at| format!("pipeline:{number}:{at}")).collect();
    while !stop.is_asked() {
        let since = Instant::now();
        let commands: Vec<_> =
            keys.iter().map(|key| [Arg::from("INCR"), Arg::from(&**key)]).collect();
        match redis.pipeline(&commands).await {
            Ok(replies) => {
                for (key, reply) in keys.iter().zip(replies) {
                    counters.answered(key, since, reply.and_then(|reply| Ok(reply.int()?)));
                }
            }
            Err(error) => {
                keys.iter().for_each(|key| counters.answered(key, since, Err(error.clone())))
            }
        }
    }
}

/// Increments two counters together, that are always the same.
pub(crate) async fn transactions(number: usize, mut redis: Client, ledger: Ledger, stop: Stop) {
    let mut counters = Counters::new(&ledger);
    for at in (0..KEYS).cycle() {
        if stop.is_asked() {
            return;
        }
        let keys = ["a", "b"].map(|name| format!("{{transaction:{number}:{at}}}{name}"));
        let since = Instant::now();
        let commands =
            [args!["MULTI"], args!["INCR", &*keys[0]], args!["INCR", &*keys[1]], args!["EXEC"]];
        let exec = match redis.pipeline(commands).await {
            Ok(replies) => replies.last().expect("there are four"),
            Err(error) => Err(error),
        };
        let values = exec.and_then(|exec| {
            let mut values = exec.items().map(|item| item.int());
            let both = [values.next(), values.next()].map(|value| value.expect("there are two"));
            let [a, b] = both;
            Ok((a?, b?))
        });
        if let Ok((a, b)) = values {
            assert_eq!(a, b, "a transaction was torn");
        }
        counters.answered(&keys[0], since, values.map(|(value, _)| value));
    }
}

/// Takes from a list what it has put there, in order.
pub(crate) async fn queue(number: usize, redis: Client, ledger: Ledger, stop: Stop) {
    let key = format!("queue:{number}");
    let (mut pusher, mut popper) = (redis.clone(), redis);
    let mut counters = Counters::new(&ledger);
    let mut last = 0;
    for value in 1_i64.. {
        if stop.is_asked() {
            return;
        }
        let since = Instant::now();
        let pushed = pusher.command(args!["RPUSH", &*key, value]).await.map(drop);
        if let Err(error) = pushed {
            counters.answered(&key, since, Err(error));
            continue;
        }
        let popped = popper.command(args!["BLPOP", &*key, 1]).await;
        let popped = popped.map(|reply| {
            reply.items().nth(1).and_then(|item| item.str().ok()?.parse::<i64>().ok())
        });
        match popped {
            Ok(Some(value)) => {
                assert!(value > last, "{value} came after {last}");
                last = value;
            }
            // A server may have lost it.
            Ok(None) => {}
            Err(error) => counters.answered(&key, since, Err(error)),
        }
    }
}
