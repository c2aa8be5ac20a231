//! Transactions and watched keys in a cluster.

use std::format;
use std::string::String;

use super::routing::{change, cluster, incr, key_at, keys, known, slot_of};
use super::*;
use redis_entraid_core::drive::either;

#[test]
fn a_watch_whose_caller_has_gone_can_be_ended() {
    let mut broker = cluster();
    broker.far = Duration::from_millis(10);
    known(&broker, async |mut client, broker| {
        let key = key_at(broker, 8502);
        either(
            async { drop(client.command(args!["WATCH", &*key]).await) },
            broker.sleep(Duration::from_millis(5)),
        )
        .await;
        broker.sleep(Duration::from_millis(50)).await;
        let watched = broker.heard(&format!("WATCH {key}"));
        assert_eq!(watched.len(), 1);
        client.command(args!["UNWATCH"]).await.unwrap();
        assert_eq!(broker.heard("UNWATCH"), watched);
        let mut other = client.clone();
        incr(&mut other, &key).await.unwrap();
    });
}

#[test]
fn a_transaction_without_its_end_is_not_begun_twice() {
    known(&cluster(), async |mut client, broker| {
        let key = key_at(broker, 8500);
        change(broker, |cluster| cluster.give(slot_of(&key), 8501));
        let all = [args!["MULTI"], args!["INCR", &*key]];
        client.pipeline(all.iter().map(|it| &it[..])).await.unwrap();
        assert_eq!(broker.heard("MULTI").len(), 1);
        assert_eq!(client.reply(1).map(drop).unwrap_err().code(), Some("MOVED"));
        let error = client.command(args!["EXEC"]).await.map(drop).unwrap_err();
        assert_eq!(error.code(), Some("EXECABORT"));
        let mut other = client.clone();
        for key in keys(broker, 3) {
            incr(&mut other, &key).await.unwrap();
        }
    });
}

#[test]
fn keys_are_watched_in_one_slot() {
    known(&cluster(), async |mut client, broker| {
        let (a, b) = (key_at(broker, 8500), key_at(broker, 8501));
        let all = [args!["WATCH", &*a], args!["WATCH", &*b]];
        client.pipeline(all.iter().map(|it| &it[..])).await.unwrap();
        assert_eq!(client.reply(0).map(drop).unwrap_err().code(), Some("CROSSSLOT"));
        let mut other = client.clone();
        incr(&mut other, &a).await.unwrap();
        incr(&mut other, &b).await.unwrap();
    });
}

#[test]
fn a_transaction_is_not_executed_without_its_watch() {
    known(&cluster(), async |mut client, broker| {
        let key = key_at(broker, 8500);
        change(broker, |cluster| cluster.give(slot_of(&key), 8501));
        let all = [args!["WATCH", &*key], args!["MULTI"], args!["INCR", &*key], args!["EXEC"]];
        client.pipeline(all.iter().map(|it| &it[..])).await.unwrap();
        let code = |at| client.reply(at).map(drop).unwrap_err().code().map(String::from);
        assert_eq!((code(0).as_deref(), code(3).as_deref()), (Some("MOVED"), Some("EXECABORT")));
        assert_eq!(incr(&mut client, &key).await.unwrap(), 1);
        client.pipeline(all.iter().map(|it| &it[..])).await.unwrap();
        assert_eq!(client.reply(3).unwrap().items().next().unwrap().int(), Ok(2));
    });
}

#[test]
fn a_pipeline_behind_a_watch_goes_where_that_is() {
    known(&cluster(), async |mut client, broker| {
        let key = key_at(broker, 8502);
        client.command(args!["WATCH", &*key]).await.unwrap();
        let all = [args!["MULTI"], args!["INCR", &*key], args!["EXEC"]];
        client.pipeline(all.iter().map(|it| &it[..])).await.unwrap();
        assert_eq!(client.reply(2).unwrap().items().next().unwrap().int(), Ok(1));
        assert_eq!(broker.heard("MULTI"), broker.heard(&format!("WATCH {key}")));
    });
}
