//! Work moves from one connection to another: nothing is lost, doubled or reordered, and nothing waits
//! longer than a round trip more. In virtual time.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis_entraid::entraid_core::event::Event;
use redis_entraid::entraid_core::resp::{Arg, Framer, Value};
use redis_entraid::entraid_core::transport::Endpoint;
use redis_entraid::error::ConnectError;
use redis_entraid::source::StaticToken;
use redis_entraid::{Client, Connect, Delivery, Subscriber, Topic, args};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep, timeout};

/// The log entry for a lost `CLIENT TRACKING`.
const LOST: &str = "CLIENT TRACKING is lost";

/// What the slow connections take for a command.
const SLOW: Duration = Duration::from_millis(20);

/// A server on which each other connection is slow, from the first one on. What is slow is executed
/// late, so that a command on the next connection would overtake it.
#[derive(Clone, Default)]
struct Server {
    /// What was executed: which list a number was appended to, and on which connection.
    log: Arc<Mutex<Vec<(String, u32, u32)>>>,
    connections: Arc<AtomicU32>,
    /// Where each number is published that is appended to the first list.
    subscribers: Arc<Mutex<Vec<UnboundedSender<String>>>>,
}

/// The way to the server for subscribers: their connections don't count.
struct ForSubscribers(Server);

impl Connect for ForSubscribers {
    type Stream = DuplexStream;

    async fn connect(&self, _: Endpoint<'_>) -> Result<DuplexStream, ConnectError> {
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(self.0.clone().serve(far, 1));
        Ok(near)
    }
}

impl Connect for Server {
    type Stream = DuplexStream;

    async fn connect(&self, _: Endpoint<'_>) -> Result<DuplexStream, ConnectError> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(self.clone().serve(far, number));
        Ok(near)
    }
}

impl Server {
    async fn serve(self, stream: DuplexStream, number: u32) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (sender, mut commands) = unbounded_channel::<(Instant, Vec<String>)>();
        let (publisher, mut published) = unbounded_channel();
        tokio::spawn(async move {
            let mut transaction: Option<Vec<Vec<String>>> = None;
            loop {
                let reply = tokio::select! {
                    command = commands.recv() => {
                        let Some((arrived, words)) = command else { return };
                        if number.is_multiple_of(2) {
                            tokio::time::sleep_until(arrived + SLOW).await;
                        }
                        if words[0] == "SUBSCRIBE" {
                            self.subscribers.lock().unwrap().push(publisher.clone());
                        }
                        self.execute(number, words, &mut transaction)
                    }
                    Some(message) = published.recv() => message,
                };
                if writer.write_all(reply.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let mut input = Vec::new();
        while let Ok(1..) = reader.read_buf(&mut input).await {
            let mut used = 0;
            while let Ok(framed) = Framer::new().feed(&input[used..])
                && framed.complete
            {
                let command = Value::new(&input[used..used + framed.used]).unwrap();
                let words: Vec<String> =
                    command.items().map(|word| word.str().unwrap().to_owned()).collect();
                used += framed.used;
                let _ = sender.send((Instant::now(), words));
            }
            input.drain(..used);
        }
    }

    fn execute(
        &self,
        connection: u32,
        words: Vec<String>,
        transaction: &mut Option<Vec<Vec<String>>>,
    ) -> String {
        match (words[0].as_str(), &mut *transaction) {
            ("HELLO", _) => "%1\r\n+proto\r\n:3\r\n".into(),
            ("MULTI", None) => {
                *transaction = Some(Vec::new());
                "+OK\r\n".into()
            }
            ("EXEC", Some(_)) => {
                let queued = transaction.take().unwrap();
                let replies = queued.iter().map(|_| ":1\r\n").collect::<String>();
                let count = queued.len();
                for words in queued {
                    self.execute(connection, words, &mut None);
                }
                format!("*{count}\r\n{replies}")
            }
            (_, Some(queued)) => {
                queued.push(words);
                "+QUEUED\r\n".into()
            }
            ("RPUSH", None) => {
                let entry = (words[1].clone(), words[2].parse().unwrap(), connection);
                if words[1] == "list 0" {
                    let (len, number) = (words[2].len(), &words[2]);
                    let message =
                        format!(">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n${len}\r\n{number}\r\n");
                    let mut subscribers = self.subscribers.lock().unwrap();
                    subscribers.retain(|to| to.send(message.clone()).is_ok());
                }
                self.log.lock().unwrap().push(entry);
                ":1\r\n".into()
            }
            ("SUBSCRIBE", None) => ">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n".into(),
            _ => "+OK\r\n".into(),
        }
    }

    async fn client(&self) -> Client {
        let source = StaticToken::new("token").user("oid");
        let log = self.log.clone();
        let on_event = move |event: &Event| {
            if let Event::StateLost(lost) = event
                && lost.tracking
            {
                log.lock().unwrap().push((LOST.into(), 0, 0));
            }
        };
        let builder = Client::builder("here").source(source).on_event(on_event);
        builder.connector(self.clone()).connect().await.unwrap()
    }

    async fn subscriber(&self) -> Subscriber {
        let source = StaticToken::new("token").user("oid");
        let builder = Client::builder("here").source(source);
        builder.connector(ForSubscribers(self.clone())).subscriber().await.unwrap()
    }

    /// Which numbers were appended to `list`, in order.
    fn appended(&self, list: &str) -> Vec<u32> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|(known, ..)| known == list).map(|(_, number, _)| *number).collect()
    }
}

/// What became of the numbers of one task.
#[derive(Default)]
struct Task {
    acknowledged: Vec<u32>,
    longest: Duration,
}

/// Appends numbers to a list of its own in one of four ways, as long as `until`.
async fn append(mut redis: Client, list: String, way: usize, until: Instant) -> Task {
    let (mut task, mut number) = (Task::default(), 0);
    while Instant::now() < until {
        let begun = Instant::now();
        match way {
            // One after the other.
            0 => {
                redis.command(args!["RPUSH", &list, number]).await.unwrap();
                task.acknowledged.push(number);
                number += 1;
            }
            // One behind the other.
            1 => {
                let commands: Vec<_> =
                    (number..number + 7).map(|number| number.to_string()).collect();
                let commands: Vec<[_; 3]> = commands
                    .iter()
                    .map(|number| ["RPUSH".into(), list.as_str().into(), number.as_str().into()])
                    .collect();
                let commands: Vec<&[Arg<'_>]> = commands.iter().map(|it| &it[..]).collect();
                let replies = redis.pipeline(commands).await.unwrap();
                assert!(replies.into_iter().all(|reply| reply.is_ok()));
                task.acknowledged.extend(number..number + 7);
                number += 7;
            }
            // Together.
            2 => {
                let (first, second) =
                    (args!["RPUSH", &list, number], args!["RPUSH", &list, number + 1]);
                let commands = [args!["MULTI"], first, second, args!["EXEC"]];
                let replies = redis.pipeline(commands).await.unwrap();
                assert!(replies.into_iter().all(|reply| reply.is_ok()));
                task.acknowledged.extend([number, number + 1]);
                number += 2;
            }
            // Some are dropped before their replies come.
            _ => {
                let patience = Duration::from_millis(u64::from(number % 4) * 12);
                let words = args!["RPUSH", &list, number];
                let command = redis.command(words);
                if let Ok(reply) = timeout(patience, command).await {
                    reply.unwrap();
                    task.acknowledged.push(number);
                }
                number += 1;
            }
        }
        task.longest = task.longest.max(begun.elapsed());
        sleep(Duration::from_millis(u64::from(number) % 3)).await;
    }
    task
}

#[tokio::test(start_paused = true)]
async fn under_load_nothing_is_lost_doubled_or_reordered_and_nothing_waits_much_longer() {
    let server = Server::default();
    let mut redis = server.client().await;
    let mut news = server.subscriber().await;
    news.subscribe(Topic::Channel, ["news"]).await.unwrap();
    redis.command(args!["CLIENT", "TRACKING", "ON"]).await.unwrap();
    let until = Instant::now() + Duration::from_millis(2000);
    let tasks: Vec<_> = (0..64)
        .map(|task| tokio::spawn(append(redis.clone(), format!("list {task}"), task % 4, until)))
        .collect();
    for _ in 0..12 {
        sleep(Duration::from_millis(103)).await;
        redis.hand_over();
        sleep(Duration::from_millis(50)).await;
        // Each connection has it anew.
        redis.command(args!["CLIENT", "TRACKING", "ON"]).await.unwrap();
    }
    for (at, task) in tasks.into_iter().enumerate() {
        let Task { acknowledged, longest } = task.await.unwrap();
        let appended = server.appended(&format!("list {at}"));
        assert!(appended.is_sorted_by(|one, next| one < next), "list {at}: {appended:?}");
        let missing: Vec<_> =
            acknowledged.iter().filter(|number| appended.binary_search(number).is_err()).collect();
        assert!(missing.is_empty(), "list {at}: {missing:?} are missing");
        assert!(at % 4 == 3 || acknowledged == appended, "list {at}");
        // Undisturbed, each takes a round trip.
        let most = SLOW * 2 + Duration::from_millis(3);
        assert!(longest <= most, "list {at}: {longest:?}");
    }
    let connections = server.connections.load(Ordering::Relaxed);
    assert!(connections == 13, "{connections}");
    // Each one gets its first command when the one before has answered its last, and when the client
    // knows that what it has cached may be stale.
    let log = server.log.lock().unwrap().clone();
    let mut connection = 0;
    for (at, entry) in log.iter().enumerate() {
        if entry.0 == LOST {
            connection += 1;
        } else {
            assert_eq!(entry.2, connection, "entry {at}");
        }
    }
    assert_eq!(connection, 12);
    // A subscriber beside it gets all that was published, in order.
    let published = server.appended("list 0");
    for number in &published {
        let Delivery::Message(message) = news.next().await.unwrap() else { panic!("{number}") };
        assert_eq!(message.text().unwrap(), number.to_string());
    }
    assert!(published.len() > 50, "{}", published.len());
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_open_is_finished_where_it_was_begun() {
    let server = Server::default();
    let mut redis = server.client().await;
    redis.command(args!["MULTI"]).await.unwrap();
    redis.hand_over();
    // The next connection is there for long.
    sleep(Duration::from_millis(500)).await;
    for number in 0..3 {
        redis.command(args!["RPUSH", "list", number]).await.unwrap();
    }
    redis.command(args!["EXEC"]).await.unwrap();
    redis.command(args!["RPUSH", "list", 3]).await.unwrap();
    let connections: Vec<_> = server.log.lock().unwrap().iter().map(|entry| entry.2).collect();
    assert_eq!((connections, server.appended("list")), (vec![0, 0, 0, 1], vec![0, 1, 2, 3]));
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_watched_stay_watched_until_the_transaction() {
    let server = Server::default();
    let mut redis = server.client().await;
    redis.command(args!["WATCH", "key"]).await.unwrap();
    redis.hand_over();
    sleep(Duration::from_millis(500)).await;
    let commands = [args!["MULTI"], args!["RPUSH", "list", 0], args!["EXEC"]];
    redis.pipeline(commands).await.unwrap();
    redis.command(args!["RPUSH", "list", 1]).await.unwrap();
    let connections: Vec<_> = server.log.lock().unwrap().iter().map(|entry| entry.2).collect();
    assert_eq!(connections, [0, 1]);
}
