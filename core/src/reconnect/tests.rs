use std::vec::Vec;

use super::*;
use crate::auth::{LoginError, Protocol};
use crate::connection::CloseReason;
use crate::manager::Generation;

const LOGIN: Event = Event::LoggedIn { generation: Generation(1), protocol: Protocol::Resp3 };

const fn end(reason: CloseReason) -> Event {
    Event::Disconnected { reason }
}

const fn at(secs: u64) -> Instant {
    Instant::from_millis(secs * 1000)
}

#[track_caller]
fn wait(reconnect: &Reconnect, now: Instant, wanted: bool) -> u128 {
    let Dial::Wait { until } = reconnect.poll(now, wanted) else { panic!("a hot loop") };
    assert_eq!(reconnect.poll(until.minus(Duration::from_millis(1)), wanted), Dial::Wait { until });
    assert_eq!(reconnect.poll(until, wanted), Dial::Now);
    until.since(now).as_millis()
}

/// Fails at `now` and at each time that the policy names, until `last`. Returns the waits, and when
/// the last one is over.
fn fail(
    reconnect: &mut Reconnect,
    mut now: Instant,
    last: Instant,
    wanted: bool,
) -> (Vec<u128>, Instant) {
    let mut waits = Vec::new();
    while now <= last {
        reconnect.failed(now);
        let wait = wait(reconnect, now, wanted);
        waits.push(wait);
        now = now + Duration::from_millis(wait as u64);
    }
    (waits, now)
}

#[test]
fn an_outage_begins_with_quick_attempts_and_goes_on_with_slow_ones() {
    let mut reconnect = Reconnect::new(ReconnectPolicy::default(), Jitter::none());
    let (waits, over) = fail(&mut reconnect, at(0), at(30), false);
    assert_eq!(waits[..8], [10, 20, 40, 80, 160, 320, 640, 1000]);
    assert!(waits[8..].iter().all(|wait| *wait == 1000), "{waits:?}");
    assert!(over >= at(30) && over < at(31));
    let (waits, _) = fail(&mut reconnect, over, at(200), false);
    assert_eq!(waits, [2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000, 30_000]);
}

#[test]
fn while_a_command_waits_attempts_are_five_seconds_apart_at_the_most() {
    let mut reconnect = Reconnect::new(ReconnectPolicy::default(), Jitter::none());
    let (waits, over) = fail(&mut reconnect, at(0), at(3600), true);
    assert!(waits[7..36].iter().all(|wait| *wait == 1000), "{waits:?}");
    assert_eq!(waits[36..40], [2000, 4000, 5000, 5000]);
    assert!(waits[38..].iter().all(|wait| *wait == 5000));
    // The last attempt is old enough by the time that somebody comes: it dials at once.
    reconnect.failed(over);
    let came = over + Duration::from_secs(10);
    assert!(matches!(reconnect.poll(came, false), Dial::Wait { .. }));
    assert_eq!(reconnect.poll(came, true), Dial::Now);
}

#[test]
fn a_login_ends_the_outage_once_it_has_stood_for_a_while() {
    let mut reconnect = Reconnect::new(ReconnectPolicy::default(), Jitter::none());
    let (_, now) = fail(&mut reconnect, at(0), at(100), false);
    // A login that doesn't stand changes nothing.
    reconnect.observe(now, &LOGIN);
    let soon = (now + Duration::from_secs(10)).minus(Duration::from_millis(1));
    reconnect.observe(soon, &end(CloseReason::ByServer));
    assert_eq!(wait(&reconnect, soon, false), 30_000);
    reconnect.observe(soon, &LOGIN);
    let later = soon + Duration::from_secs(10);
    reconnect.observe(later, &end(CloseReason::ByServer));
    assert_eq!(wait(&reconnect, later, false), 10);
}

#[test]
fn a_token_that_was_refused_is_not_tried_again_at_once_and_a_server_that_loads_is() {
    for (error, waits) in [(LoginError::WrongPass, 500), (LoginError::Unavailable, 10)] {
        let mut reconnect = Reconnect::new(ReconnectPolicy::default(), Jitter::none());
        reconnect.observe(at(0), &end(CloseReason::Refused(error)));
        assert_eq!(wait(&reconnect, at(0), true), waits, "{error:?}");
    }
}

#[test]
fn an_end_on_purpose_is_no_failure_and_no_proof() {
    let mut reconnect = Reconnect::new(ReconnectPolicy::default(), Jitter::none());
    reconnect.observe(at(0), &LOGIN);
    reconnect.observe(at(5), &end(CloseReason::Idle));
    assert_eq!(reconnect.poll(at(5), false), Dial::Now);
    // An hour later it can't be reached, and then it refuses the login: the login of an hour ago does
    // not count for that.
    reconnect.failed(at(3600));
    for wanted in [20, 40] {
        let refused = CloseReason::Refused(LoginError::Unavailable);
        reconnect.observe(at(3610), &end(refused));
        assert_eq!(wait(&reconnect, at(3610), false), wanted);
    }
}

#[test]
fn a_login_that_stood_is_good_for_what_failed_before_however_it_ended() {
    // Once with the next connection there before the end, once without.
    for overlap in [false, true] {
        let mut reconnect = Reconnect::new(ReconnectPolicy::default(), Jitter::none());
        let (_, now) = fail(&mut reconnect, at(0), at(100), false);
        reconnect.observe(now, &LOGIN);
        if overlap {
            reconnect.observe(at(3600), &LOGIN);
        }
        reconnect.observe(at(3601), &end(CloseReason::Replaced));
        reconnect.observe(at(3602), &end(CloseReason::ByServer));
        assert_eq!(wait(&reconnect, at(3602), false), 10);
    }
}

#[test]
fn an_attempt_long_after_the_last_one_begins_a_new_outage() {
    let mut reconnect = Reconnect::new(ReconnectPolicy::default(), Jitter::none());
    let (waits, over) = fail(&mut reconnect, at(0), at(100), false);
    assert_eq!(waits.last(), Some(&30_000));
    reconnect.failed(over + Duration::from_secs(30));
    assert_eq!(wait(&reconnect, over + Duration::from_secs(30), false), 10);
}

#[test]
fn no_policy_makes_a_hot_loop_or_never_dials_again() {
    let zero = Backoff { initial: Duration::ZERO, max: Duration::ZERO, multiplier: 0 };
    let never = Backoff { initial: Duration::MAX, max: Duration::MAX, multiplier: u32::MAX };
    let quick_for = Duration::ZERO;
    let policy = |quick, slow| ReconnectPolicy { quick, slow, quick_for, ..Default::default() };
    let mut reconnect = Reconnect::new(policy(zero, zero), Jitter::none());
    reconnect.failed(at(1));
    assert_eq!(wait(&reconnect, at(1), true), 10);
    // A wait without an end is as it was asked for; a login that stood ends it all the same.
    let mut reconnect = Reconnect::new(policy(never, never), Jitter::none());
    reconnect.failed(at(1));
    assert_eq!(reconnect.poll(at(1), false), Dial::Wait { until: Instant::FAR_FUTURE });
    reconnect.observe(at(2), &LOGIN);
    reconnect.observe(at(12), &end(CloseReason::Closed));
    assert_eq!(reconnect.poll(at(12), false), Dial::Now);
}

#[test]
fn attempts_of_many_clients_are_spread() {
    let waits: Vec<_> = (1..=100_u64)
        .map(|seed| {
            let mut reconnect = Reconnect::new(ReconnectPolicy::default(), Jitter::new(seed));
            for _ in 0..8 {
                reconnect.failed(at(0));
            }
            wait(&reconnect, at(0), true)
        })
        .collect();
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!((700..800).contains(least) && (1200..=1300).contains(most), "{least} to {most}");
}
