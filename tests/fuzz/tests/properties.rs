//! Rules that hold for every sequence of answers, at any time.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use fuzz::manager::Failure;
use proptest::prelude::*;
use redis_entraid_core::manager::{Action, TokenManager};
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::secret::Secret;
use redis_entraid_core::time::Instant;
use redis_entraid_core::token::Token;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_manager_keeps_its_promises_whatever_happens(story in prop::collection::vec(any::<u8>(), 60..1500)) {
        fuzz::manager::check(&story);
    }

    #[test]
    fn a_command_queue_loses_doubles_and_reorders_nothing_whatever_happens(story in prop::collection::vec(any::<u8>(), 60..1500)) {
        fuzz::command_queue::check(&story);
    }

    #[test]
    fn a_connection_answers_each_command_once_whatever_happens(story in prop::collection::vec(any::<u8>(), 20..1500)) {
        fuzz::connection::check(&story);
    }

    #[test]
    fn a_slot_map_is_what_the_last_reply_and_the_redirections_since_say(
        memory in any::<u8>(),
        steps in prop::collection::vec((
            prop::collection::vec((0..16_384_u32, 0..9_000_u32, 0..8_u8), 0..12),
            prop::collection::vec((any::<u8>(), any::<u8>(), 0..9_u8), 0..6),
        ), 1..4),
    ) {
        // The longest host that fits, and one that doesn't.
        let host = |node: u8| match node {
            0 => "x".repeat(60),
            1 => "x".repeat(61),
            node => format!("n{node}"),
        };
        let mut story = vec![memory];
        for (ranges, redirections) in steps {
            story.extend(format!("*{}\r\n", ranges.len()).bytes());
            for (first, len, node) in ranges {
                // Some ranges end beyond the last slot, and some ports are 0.
                let (last, port) = (first + len % 4_000, u32::from(node % 7));
                // Most replies have no host that is too long.
                let host = host(if node == 1 && len % 4 > 0 { 2 } else { node });
                let node = format!("*2\r\n${}\r\n{host}\r\n:{port}\r\n", host.len());
                let last = if len > 200 { last.min(16_383) } else { last };
                story.extend(format!("*3\r\n:{first}\r\n:{last}\r\n{node}").bytes());
            }
            for (slot, port, node) in redirections {
                // What a line can't hold.
                let byte = |byte| if matches!(byte, b'\r' | b'\n') { 0 } else { byte };
                // To a primary of the map, or to another one.
                let port = if port % 2 > 0 { (node % 7).saturating_sub(1) } else { port };
                story.extend([b'+', byte(slot), byte(port)]);
                story.extend(host(node).bytes());
                story.extend(*b"\r\n");
            }
        }
        fuzz::slots::check(&story);
    }

    #[test]
    fn commands_of_any_words_have_one_route(words in prop::collection::vec("[A-C]{1,2}|GET|MGET|MSET|EVAL|SORT|STORE|XREAD|STREAMS|ZUNIONSTORE|LMPOP|BLPOP|[0-4]|\\{a\\}", 0..9)) {
        fuzz::route::check(words.join(" ").as_bytes());
    }

    #[test]
    fn a_live_token_is_served_until_its_last_moment(
        life in 1_000..100_000_000_u64,
        failures in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 64]; 2]);
        let token = Token::new(Secret::new("t")).with_user("oid");
        let start = Instant::from_millis(1);
        manager.push(start, &token.with_expires_in(Duration::from_millis(life))).unwrap();
        let end = start.plus(Duration::from_millis(life));
        let mut now = start;
        for failure in Vec::<Failure>::arbitrary_take_rest(Unstructured::new(&failures)).unwrap() {
            now = now.max(manager.next_deadline()).min(end.minus(Duration::from_millis(1)));
            if let Action::Fetch { request, .. } = manager.poll(now) {
                manager.failed(now, request, failure.error());
            }
            prop_assert!(manager.login(now).is_some());
        }
        prop_assert!(manager.login(end.minus(Duration::from_millis(1))).is_some());
        prop_assert!(manager.login(end).is_none());
    }
}
