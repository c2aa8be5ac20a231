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
