//! Commands and answers, as a `redis-server` gives them too.

use std::sync::Arc;

use redis_entraid_core::resp::{Arg, Framer, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::Builtin;

struct Client(DuplexStream, Vec<u8>);

impl Client {
    fn new(store: &Arc<Builtin>) -> Self {
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(store.clone().serve(far));
        Self(near, Vec::new())
    }

    async fn send(&mut self, command: &str) {
        let words: Vec<Arg<'_>> = command.split(' ').map(Arg::from).collect();
        let mut bytes = Vec::new();
        encode(&words, &mut |piece| bytes.extend_from_slice(piece));
        self.0.write_all(&bytes).await.unwrap();
    }

    /// What comes next, its lines with spaces between them.
    async fn hear(&mut self) -> String {
        loop {
            let framed = Framer::new().feed(&self.1).unwrap();
            if framed.complete {
                let reply: Vec<u8> = self.1.drain(..framed.used).collect();
                return String::from_utf8_lossy(&reply).trim_end().replace("\r\n", " ");
            }
            assert!(self.0.read_buf(&mut self.1).await.unwrap() > 0, "it has ended");
        }
    }

    async fn ask(&mut self, command: &str) -> String {
        self.send(command).await;
        self.hear().await
    }
}

async fn logged_in(store: &Arc<Builtin>, proto: u8) -> Client {
    store.allow("oid", "token");
    let mut client = Client::new(store);
    assert!(client.ask("GET a").await.starts_with("-NOAUTH"));
    assert!(client.ask("AUTH oid other").await.starts_with("-WRONGPASS"));
    let hello = client.ask(&format!("HELLO {proto} AUTH oid token")).await;
    assert!(hello.contains(&format!("proto :{proto}")), "{hello}");
    client
}

#[tokio::test]
async fn a_transaction_whose_keys_have_changed_is_not_executed() {
    let store = Arc::default();
    let (mut one, mut other) = (logged_in(&store, 2).await, logged_in(&store, 3).await);
    for (changes, answer) in [("SET a 1", "*-1"), ("FLUSHALL", "*-1"), ("SET b 1", "*1 +OK")] {
        assert_eq!(one.ask("WATCH a").await, "+OK");
        assert_eq!(other.ask(changes).await, "+OK");
        assert_eq!(one.ask("MULTI").await, "+OK");
        assert!(one.ask("WATCH a").await.starts_with("-ERR WATCH inside MULTI"));
        assert_eq!(one.ask("SET c 1").await, "+QUEUED");
        assert_eq!(one.ask("EXEC").await, answer, "{changes}");
    }
    assert_eq!(one.ask("WATCH a").await, "+OK");
    assert_eq!(other.ask("SET a 2").await, "+OK");
    assert_eq!(one.ask("UNWATCH").await, "+OK");
    assert_eq!(one.ask("MULTI").await, "+OK");
    assert_eq!(one.ask("EXEC").await, "*0");
}

#[tokio::test]
async fn first_programs_get_the_answers_of_a_redis_server() {
    let mut client = logged_in(&Arc::default(), 3).await;
    for (command, answer) in [
        ("SET a 1", "+OK"),
        ("GET a", "$1 1"),
        ("GET none", "_"),
        ("INCRBY a 41", ":42"),
        ("DECR a", ":41"),
        ("APPEND a x", ":3"),
        ("INCR a", "-ERR value is not an integer or out of range"),
        ("STRLEN a", ":3"),
        ("SET a 2 NX", "_"),
        ("SET a 2 XX GET", "$3 41x"),
        ("SETNX b 1", ":1"),
        ("MSET c 3 d 4", "+OK"),
        ("MGET c none d", "*3 $1 3 _ $1 4"),
        ("GETDEL c", "$1 3"),
        ("EXISTS a c a", ":2"),
        ("TTL a", ":-1"),
        ("TTL none", ":-2"),
        ("EXPIRE a 100", ":1"),
        ("TTL a", ":100"),
        ("PERSIST a", ":1"),
        ("SET s v PX 100000", "+OK"),
        ("TTL s", ":100"),
        ("SET s v EX 0", "-ERR invalid expire time in 'set' command"),
        ("PEXPIRE s 0", ":1"),
        ("GET s", "_"),
        ("HSET h name Ann age 30", ":2"),
        ("HSET h age 31", ":0"),
        ("HGET h age", "$2 31"),
        ("HGETALL h", "%2 $3 age $2 31 $4 name $3 Ann"),
        ("HMGET h name none", "*2 $3 Ann _"),
        ("HINCRBY h age 2", ":33"),
        ("HDEL h age none", ":1"),
        ("HLEN h", ":1"),
        ("HEXISTS h name", ":1"),
        ("GET h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("RPUSH l a b", ":2"),
        ("LPUSH l c", ":3"),
        ("LRANGE l 0 -1", "*3 $1 c $1 a $1 b"),
        ("LRANGE l -2 10", "*2 $1 a $1 b"),
        ("RPOP l", "$1 b"),
        ("LLEN l", ":2"),
        ("SADD t x y x", ":2"),
        ("SMEMBERS t", "~2 $1 x $1 y"),
        ("SISMEMBER t x", ":1"),
        ("SREM t x y", ":2"),
        ("TYPE t", "+none"),
        ("TYPE l", "+list"),
        ("KEYS ?", "*5 $1 a $1 b $1 d $1 h $1 l"),
        ("SCAN 0 MATCH a* COUNT 10", "*2 $1 0 *1 $1 a"),
        ("DEL a b none", ":2"),
        ("DBSIZE", ":3"),
        ("MULTI", "+OK"),
        ("INCR n", "+QUEUED"),
        ("EXEC", "*1 :1"),
        ("EXEC", "-ERR EXEC without MULTI"),
        ("CLIENT SETINFO LIB-NAME x", "+OK"),
        ("FLUSHALL", "+OK"),
        ("DBSIZE", ":0"),
        ("PING", "+PONG"),
    ] {
        assert_eq!(client.ask(command).await, answer, "{command}");
    }
}

#[tokio::test]
async fn what_is_published_is_heard_by_who_subscribed() {
    let store = Arc::default();
    let (mut one, mut two) = (logged_in(&store, 3).await, logged_in(&store, 2).await);
    assert_eq!(one.ask("SUBSCRIBE news").await, ">3 $9 subscribe $4 news :1");
    assert_eq!(two.ask("PSUBSCRIBE n*").await, "*3 $10 psubscribe $2 n* :1");
    assert_eq!(two.ask("PING").await, "*2 $4 pong $0");
    assert_eq!(one.ask("PUBLISH news hi").await, ":2");
    assert_eq!(one.hear().await, ">3 $7 message $4 news $2 hi");
    assert_eq!(two.hear().await, "*4 $8 pmessage $2 n* $4 news $2 hi");
    assert_eq!(two.ask("PUNSUBSCRIBE").await, "*3 $12 punsubscribe $2 n* :0");
    assert_eq!(two.ask("UNSUBSCRIBE").await, "*3 $11 unsubscribe $-1 :0");
    assert_eq!(two.ask("PUBLISH news again").await, ":1");
}
