//! The programs; `cargo xtask test clients` says where redis-py is.

#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};
use std::env;
use std::process::Command;

use amr_emulator::{Emulator, Options, Store};
use redis::{Commands, ConnectionAddr, ConnectionLike, IntoConnectionInfo, RedisResult};

fn emulator() -> Emulator {
    let store = Store::Builtin;
    Emulator::start(&Options { store, ..Options::default() }).expect("the emulator starts")
}

#[test]
fn redis_py_gets_started_on_the_small_store() {
    let emulator = emulator();
    let (user, token) = emulator.entra().login();
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/getting_started.py");
    let mut command = Command::new("timeout");
    command.args(["60", "python3", program]).env("REDIS_USER", user).env("REDIS_TOKEN", token);
    command.env("PYTHONPATH", env::var_os("REDIS_PY").expect("see the top"));
    command.env("REDIS_PORT", emulator.redis_port().to_string());
    let output = command.env("SSL_CERT_FILE", emulator.root_file()).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(said(&output.stdout), "done\n", "{}", said(&output.stderr));
}

#[test]
fn redis_rs_gets_started_on_the_small_store() {
    let emulator = emulator();
    let (user, token) = emulator.entra().login();
    let address = ConnectionAddr::Tcp("localhost".into(), emulator.redis_plain_port());
    let info = address.into_connection_info().unwrap();
    let login = info.redis_settings().clone().set_username(user).set_password(token);
    let client = redis::Client::open(info.set_redis_settings(login)).unwrap();
    started(&client).unwrap();
}

/// What redis-rs's README and its documentation begin with.
fn started(client: &redis::Client) -> RedisResult<()> {
    let mut con = client.get_connection()?;
    assert!(con.check_connection());
    let () = con.set("my_key", 42)?;
    assert_eq!(con.get::<_, i32>("my_key")?, 42);
    redis::cmd("SET").arg("my_key").arg(43).exec(&mut con)?;
    assert_eq!(con.get::<_, Option<String>>("nothing")?, None);
    assert_eq!(con.incr::<_, _, i32>("my_key", 2)?, 45);
    let () = con.set_ex("short", "lived", 100)?;
    assert!((1..=100).contains(&con.ttl::<_, i64>("short")?));
    let () = con.hset_multiple("user", &[("name", "John"), ("age", "29")])?;
    let user: HashMap<String, String> = con.hgetall("user")?;
    assert_eq!(user["name"], "John");
    let () = con.rpush("list", &["a", "b", "c"])?;
    assert_eq!(con.lrange::<_, Vec<String>>("list", 0, -1)?, ["a", "b", "c"]);
    let () = con.sadd("my_set", &[1, 2, 3])?;
    assert_eq!(con.smembers::<_, HashSet<i32>>("my_set")?, HashSet::from([1, 2, 3]));
    let keys: RedisResult<Vec<String>> = con.scan_match::<_, String>("my_*")?.collect();
    assert_eq!(keys?.len(), 2);
    // A pipeline, a transaction, and one that is tried until nobody has changed the key.
    let (k1, k2): (i32, i32) = redis::pipe()
        .cmd("SET")
        .arg("key_1")
        .arg(42)
        .ignore()
        .cmd("SET")
        .arg("key_2")
        .arg(43)
        .ignore()
        .get("key_1")
        .get("key_2")
        .query(&mut con)?;
    assert_eq!((k1, k2), (42, 43));
    let (n,): (i32,) = redis::pipe().atomic().incr("key_1", 1).query(&mut con)?;
    assert_eq!(n, 43);
    let (new,): (isize,) = redis::transaction(&mut con, &["key_1"], |con, pipe| {
        let old: isize = con.get("key_1")?;
        pipe.set("key_1", old + 1).ignore().get("key_1").query(con)
    })?;
    assert_eq!(new, 44);
    // Publish and subscribe.
    let mut other = client.get_connection()?;
    let mut pubsub = con.as_pubsub();
    pubsub.subscribe("channel_1")?;
    assert_eq!(other.publish::<_, _, i32>("channel_1", "hello")?, 1);
    assert_eq!(pubsub.get_message()?.get_payload::<String>()?, "hello");
    Ok(())
}
