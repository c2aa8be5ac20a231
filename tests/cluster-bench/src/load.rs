//! What the tasks of a program do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::task::JoinSet;

use crate::books::{Books, Counters};
use crate::meter::Used;
use crate::orders::{Keys, Load, Measured};
use crate::subject::Subject;

/// So many keys there are, made beforehand.
const KEYS: usize = 10_000;

/// So many counters each task has that keeps books.
const COUNTERS: usize = 500;

/// Puts a load on a client for some time, and says what that has cost.
pub(crate) async fn measure(
    subject: &impl Subject,
    load: Load,
    keys: Keys,
    time: Duration,
) -> Measured {
    let prefix = match keys {
        Keys::AllSlots => "key",
        Keys::OneSlot => "{one}",
    };
    let keys: Arc<[String]> = (0..KEYS).map(|number| format!("{prefix}:{number}")).collect();
    let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    let (before, since) = (Used::now(), Instant::now());
    let (count, size) = match load {
        Load::Tasks(count) => (count, None),
        Load::Pipelines(size) => (1, Some(size)),
    };
    for _ in 0..count {
        let (redis, keys, stop) = (subject.clone(), keys.clone(), stop.clone());
        tasks.spawn(async move {
            match size {
                None => singles(redis, &keys, &stop).await,
                Some(size) => pipelines(redis, &keys, size, &stop).await,
            }
        });
    }
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let done = tasks.join_all().await;
    let (after, seconds) = (Used::now(), since.elapsed().as_secs_f64());
    Measured {
        commands: done.iter().map(|(commands, _)| commands).sum(),
        failed: done.iter().map(|(_, failed)| failed).sum(),
        seconds,
        cpu: (after.cpu - before.cpu).as_secs_f64(),
        allocations: after.allocations - before.allocations,
    }
}

/// Executes one command after the other. Returns how many were, and how many failed.
async fn singles(mut redis: impl Subject, keys: &[String], stop: &AtomicBool) -> (u64, u64) {
    let (mut random, mut done, mut failed) = (Rng::new(), 0, 0);
    while !stop.load(Ordering::Relaxed) {
        let key = &keys[random.usize(..keys.len())];
        let result = match random.bool() {
            true => redis.get(key).await,
            false => redis.incr(key).await.map(drop),
        };
        done += 1;
        failed += u64::from(result.is_err());
    }
    (done, failed)
}

async fn pipelines(
    mut redis: impl Subject,
    keys: &[String],
    size: usize,
    stop: &AtomicBool,
) -> (u64, u64) {
    let (mut random, mut done, mut failed) = (Rng::new(), 0, 0);
    let mut chosen = Vec::with_capacity(size);
    while !stop.load(Ordering::Relaxed) {
        chosen.clear();
        chosen.extend((0..size).map(|_| keys[random.usize(..keys.len())].as_str()));
        match redis.incr_all(&chosen).await {
            Ok(count) if count == size => {}
            _ => failed += size as u64,
        }
        done += size as u64;
    }
    (done, failed)
}

/// Increments and reads counters of its own, one after the other, and keeps books.
pub(crate) async fn keep_books(task: usize, mut redis: impl Subject, books: Books) {
    let keys: Vec<_> = (0..COUNTERS).map(|number| format!("counter:{task}:{number}")).collect();
    let mut counters = Counters::default();
    loop {
        for (number, key) in keys.iter().enumerate() {
            let since = Instant::now();
            let answer = redis.incr(key).await;
            let is_failed = answer.is_err();
            counters.answered(&books, number, since, answer);
            rest(is_failed).await;
            let since = Instant::now();
            let failure = redis.get(key).await.err();
            books.ended(since, failure.as_ref(), |_| {});
            rest(failure.is_some()).await;
        }
    }
}

/// A service whose command fails does something else first.
async fn rest(is_failed: bool) {
    if is_failed {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
