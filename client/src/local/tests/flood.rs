//! More than fits anywhere, at once.

use std::format;

use super::broker::Broker;
use super::subscriber::{USUAL, heard, with};
use super::*;
use redis_entraid_core::command::Topic;

#[test]
fn who_reads_has_a_turn_before_what_came_is_too_much() {
    // Twice as much as is kept, and all of it there to be read.
    let settings = Settings { backlog: 1 << 20, ..Broker::settings(false) };
    with(&Broker::new(USUAL), settings, async |subscriber, broker| {
        subscriber.subscribe(Topic::Channel, ["a"]).await.unwrap();
        for number in 0..20_000 {
            broker.publish("a", &format!("{number}"));
        }
        for number in 0..20_000 {
            assert_eq!(heard(&subscriber).await, format!("a {number}"));
        }
    });
}
