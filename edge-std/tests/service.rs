//! What the author of a service counts on: readiness that doesn't flap, and a short way back from an
//! outage.
#![cfg(all(feature = "http", feature = "tls"))]

mod emulated;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use emulated::{client, emulator};
use redis_entraid::entraid_core::policy::Ratio;
use redis_entraid::error::{Error, ErrorKind};
use redis_entraid::tls::Roots;
use redis_entraid::{Client, RefreshPolicy, args};
use tokio::task::JoinSet;

/// Uses `redis` as a service does that has a request every now and then, until one is answered after
/// `up_at`. Returns how long after it that is.
async fn time_to_come_back(mut redis: Client, up_at: Instant) -> Duration {
    loop {
        let limit = Duration::from_millis(500);
        let answer = redis.command_within(limit, args!["PING"]).await.map(drop);
        if answer.is_ok() && Instant::now() > up_at {
            return Instant::now() - up_at;
        }
        assert!(up_at.elapsed() < Duration::from_secs(30), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Takes the server down for five seconds, and returns how long after that the last of sixteen
/// instances of a service is back. One by itself may be lucky.
async fn time_until_all_are_back() -> Duration {
    let emulator = emulator(3600);
    let mut clients = Vec::new();
    for _ in 0..16 {
        clients.push(client(&emulator).connect().await.unwrap());
    }
    let down = Duration::from_secs(5);
    let up_at = Instant::now() + down;
    emulator.down(down);
    let mut all: JoinSet<_> =
        clients.into_iter().map(|redis| time_to_come_back(redis, up_at)).collect();
    let mut last = Duration::ZERO;
    while let Some(time) = all.join_next().await {
        last = last.max(time.unwrap());
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_five_seconds_service_is_back_within_a_second_and_a_half() {
    // A machine that stands still for a moment is no fault of the client: one of three counts.
    let mut times = Vec::new();
    for _ in 0..3 {
        times.push(time_until_all_are_back().await);
        if times.last().is_some_and(|time| *time <= Duration::from_millis(1500)) {
            return;
        }
    }
    panic!("back after {times:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_connection_speaks_of_no_command() {
    let emulator = emulator(3600);
    let redis = client(&emulator).connect().await.unwrap();
    emulator.arm("connect#2+ hang").unwrap();
    emulator.cut();
    let problem = loop {
        match redis.problem() {
            Some(problem) => break problem,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert!(matches!(problem, Error::Ended { .. }), "{problem}");
    assert!(!problem.to_string().contains("command"), "{problem}");
}

#[tokio::test]
async fn an_error_inside_a_transaction_is_the_servers_error_where_it_is_read() {
    let emulator = emulator(3600);
    let mut redis = client(&emulator).connect().await.unwrap();
    let commands = [args!["MULTI"], args!["SET", "a", "text"], args!["INCR", "a"], args!["EXEC"]];
    let exec = redis.pipeline(commands).await.unwrap().last().unwrap().unwrap();
    let results: Vec<_> = exec.items().map(|item| item.int().map_err(Error::from)).collect();
    let error = results[1].as_ref().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Server, Some("ERR")));
    // It was expected to be a list: that is no empty one then.
    let nested: Vec<_> = exec.items().nth(1).unwrap().items().map(|item| item.str()).collect();
    assert!(matches!(nested[..], [Err(error)] if error.error().is_some()), "{nested:?}");
    assert!(error.to_string().contains("not an integer"), "{error}");
    assert!(matches!(results[0], Err(Error::Type(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_endpoint_that_is_up_some_seconds_later_is_waited_for() {
    let emulator = emulator(3600);
    let to = emulator.plain().replace("http://", "");
    // Whoever dials the port is refused, until somebody listens.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let sidecar = format!("http://{}", socket.local_addr().unwrap());
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let listener = socket.listen(16).unwrap();
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = tokio::net::TcpStream::connect(&to).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let environment: Vec<_> = emulator
        .managed_environment()
        .into_iter()
        .filter(|(name, _)| *name != "AZURE_POD_IDENTITY_AUTHORITY_HOST")
        .map(|(name, value)| (name, value.replace(&emulator.plain(), &sidecar)))
        .collect();
    assert!(environment.iter().any(|(_, value)| value.starts_with(&sidecar)));
    let find = |name: &str| environment.iter().find(|(known, _)| *known == name);
    let mut redis = Client::from_variables(|name| find(name).map(|(_, value)| value.clone()))
        .unwrap()
        .roots(Roots::pem(emulator.root_pem().as_bytes()).unwrap())
        .connect()
        .await
        .unwrap();
    redis.command(args!["PING"]).await.unwrap();
}

/// Asks 5,000 times a second whether `redis` is ready, until it is told to stop. Returns how often
/// that was, and how often it was not ready.
fn probe(redis: Client, stop: Arc<AtomicBool>) -> thread::JoinHandle<(u32, u32)> {
    thread::spawn(move || {
        let (mut asked, mut not_ready, start) = (0, 0, Instant::now());
        while !stop.load(Ordering::Relaxed) {
            asked += 1;
            not_ready += u32::from(!redis.health().is_ready());
            // What the machine has slept too long is made up for.
            let next = start + asked * Duration::from_micros(200);
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        (asked, not_ready)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_does_not_flap_through_six_logins_and_ends_when_the_server_freezes() {
    // The long form lasts a minute.
    let seconds = std::env::var("PROBE_SECONDS").map_or(0, |text| text.parse().unwrap());
    let emulator = emulator(20);
    let policy = RefreshPolicy {
        expiration_refresh_ratio: Ratio::percent(10),
        refresh_jitter: Ratio::ZERO,
        token_floor: Duration::ZERO,
        reauth_spread: Duration::ZERO,
        ..RefreshPolicy::default()
    };
    let reply = Duration::from_secs(2);
    let builder = client(&emulator).policy(policy);
    let redis = builder.command_timeout(reply).connect().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let probing = probe(redis.clone(), stop.clone());
    let answered = Arc::new(AtomicU32::new(0));
    let (mut busy, count) = (redis.clone(), answered.clone());
    let commands = tokio::spawn(async move {
        while busy.command(args!["INCR", "n"]).await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let start = Instant::now();
    while redis.health().reauths < 6 || start.elapsed() < Duration::from_secs(seconds) {
        assert!(start.elapsed() < Duration::from_secs(seconds + 60), "{:?}", redis.health());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let (asked, not_ready) = probing.join().unwrap();
    // The long form runs alone; here other tests have the machine too.
    let a_second = if seconds > 0 { 4000 } else { 500 };
    let least = start.elapsed().as_secs() as u32 * a_second;
    assert!(asked > least, "asked {asked} times in {:?}", start.elapsed());
    assert_eq!(not_ready, 0, "of {asked}, in {:?}", start.elapsed());
    assert!(answered.load(Ordering::Relaxed) > 100);
    // Now the server freezes with a command in flight.
    emulator.arm("cmd#1+ hang").unwrap();
    let frozen = Instant::now();
    while redis.health().is_ready() {
        // The connection is given up as unresponsive after ten seconds.
        assert!(frozen.elapsed() < Duration::from_secs(10), "ready for {:?}", frozen.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(frozen.elapsed() >= reply - Duration::from_millis(100), "no reply was overdue yet");
    assert_eq!(redis.health().reconnects, 0);
    let problem = redis.problem().expect("it says why it is not ready");
    assert_eq!(problem.to_string(), "the server does not respond");
    commands.await.unwrap();
}
