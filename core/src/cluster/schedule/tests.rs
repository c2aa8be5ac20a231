use super::*;
use crate::resp::Value;
use std::vec::Vec;

const IDS: [PrimaryId; 3] = [PrimaryId(0), PrimaryId(4), PrimaryId(5)];

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn schedule() -> MapSchedule {
    MapSchedule::new(MapPolicy::default(), Jitter::none())
}

fn poll(schedule: &mut MapSchedule, millis: u64, in_use: bool) -> AskMap {
    schedule.poll(at(millis), in_use, IDS.into_iter())
}

/// Asks, and gets a map.
fn ask(schedule: &mut MapSchedule, millis: u64) -> Whom {
    let AskMap::Now { whom } = poll(schedule, millis, true) else { panic!("it waits") };
    schedule.asked(at(millis), whom);
    schedule.answered(at(millis), Policy::Oss);
    whom
}

const fn wait(millis: u64) -> AskMap {
    AskMap::Wait { until: Instant::from_millis(millis) }
}

#[test]
fn a_map_in_use_is_asked_for_every_interval_and_one_not_in_use_never() {
    let mut schedule = schedule();
    assert_eq!(ask(&mut schedule, 5), Whom::Seed);
    assert_eq!(poll(&mut schedule, 60_004, true), wait(60_005));
    assert_eq!(poll(&mut schedule, 1 << 40, false), AskMap::Wait { until: Instant::FAR_FUTURE });
    assert_eq!(ask(&mut schedule, 60_005), Whom::Seed);
}

#[test]
fn a_client_that_is_not_used_asks_once_and_after_a_failure_no_more() {
    let mut schedule = schedule();
    assert_eq!(poll(&mut schedule, 0, false), AskMap::Now { whom: Whom::Seed });
    schedule.asked(at(0), Whom::Seed);
    schedule.failed(at(0));
    let never = AskMap::Wait { until: Instant::FAR_FUTURE };
    assert_eq!(poll(&mut schedule, 1 << 40, false), never);
    // Used again, it waits as long as the failures say.
    assert_eq!(poll(&mut schedule, 999, true), wait(1_000));
    let mut now = 1_000;
    for wait in [2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        let AskMap::Now { whom } = poll(&mut schedule, now, true) else { panic!("at {now}") };
        schedule.asked(at(now), whom);
        schedule.failed(at(now));
        assert_eq!(poll(&mut schedule, now, false), never);
        now += wait;
        assert_eq!(poll(&mut schedule, now - 1, true), self::wait(now));
    }
    schedule.seed_is_new(at(now));
    assert_eq!(poll(&mut schedule, now, false), AskMap::Now { whom: Whom::Seed });
}

#[test]
fn after_news_the_primary_that_has_the_slot_is_asked() {
    let mut schedule = schedule();
    ask(&mut schedule, 0);
    let [a, b, c] = IDS;
    schedule.moved(at(2_000), Some(b));
    assert_eq!(ask(&mut schedule, 2_100), Whom::Primary(b));
    assert_eq!(ask(&mut schedule, 62_100), Whom::Primary(b), "it has answered");
    // One that names nobody, and one that names who was asked last, lead to another one.
    schedule.moved(at(70_000), None);
    assert_eq!(ask(&mut schedule, 70_100), Whom::Primary(c));
    schedule.moved(at(80_000), Some(c));
    assert_eq!(ask(&mut schedule, 80_100), Whom::Primary(a));
    // A name isn't lost to a sign that has none.
    schedule.moved(at(90_000), Some(c));
    schedule.moved(at(90_000), None);
    assert_eq!(ask(&mut schedule, 90_100), Whom::Primary(c));
    // The map has forgotten it.
    schedule.moved(at(95_000), Some(PrimaryId(9)));
    assert_eq!(ask(&mut schedule, 95_100), Whom::Primary(a));
}

#[test]
fn a_primary_that_is_named_and_fails_is_not_the_only_one_that_is_asked() {
    let mut schedule = schedule();
    ask(&mut schedule, 0);
    let (mut now, mut whom) = (2_000, Vec::new());
    for _ in 0..6 {
        schedule.moved(at(now), Some(IDS[2]));
        let AskMap::Wait { until } = poll(&mut schedule, now, true) else { panic!("at once") };
        now = until.as_millis();
        let AskMap::Now { whom: asked } = poll(&mut schedule, now, true) else { panic!() };
        whom.push(asked);
        schedule.asked(at(now), asked);
        schedule.failed(at(now));
    }
    let [a, _, c] = IDS.map(Whom::Primary);
    assert_eq!(whom, [c, a, c, a, c, a]);
}

#[test]
fn what_was_not_asked_for_changes_nothing() {
    let mut schedule = schedule();
    let fresh = std::format!("{schedule:?}");
    schedule.failed(at(5));
    schedule.answered(at(5), Policy::Single);
    assert_eq!(std::format!("{schedule:?}"), fresh);
    schedule.asked(at(5), Whom::Seed);
    assert_eq!(poll(&mut schedule, 5_005, true), wait(6_005));
    let waiting = std::format!("{schedule:?}");
    schedule.failed(at(5_005));
    schedule.answered(at(5_005), Policy::Oss);
    assert_eq!(std::format!("{schedule:?}"), waiting, "it has failed already");
}

#[test]
fn a_seed_that_is_new_while_the_map_is_asked_for_is_asked_after_that() {
    let [a, ..] = IDS.map(Whom::Primary);
    for (whom, has_answered) in [(Whom::Seed, false), (Whom::Seed, true), (a, false), (a, true)] {
        let mut schedule = schedule();
        schedule.asked(at(0), whom);
        schedule.seed_is_new(at(10));
        assert_eq!(poll(&mut schedule, 10, true), wait(5_000));
        match has_answered {
            true => schedule.answered(at(20), Policy::Oss),
            false => schedule.failed(at(20)),
        }
        assert_eq!(schedule.found(), Policy::Unknown);
        assert_eq!(poll(&mut schedule, 20, false), wait(1_000));
        assert_eq!(poll(&mut schedule, 1_000, false), AskMap::Now { whom: Whom::Seed });
        schedule.asked(at(1_000), Whom::Seed);
        schedule.answered(at(1_000), Policy::Oss);
        assert_eq!(poll(&mut schedule, 1_000, true), wait(61_000));
    }
}

#[test]
fn a_node_that_has_no_cluster_or_may_not_say_so_has_failed_and_the_policy_stays() {
    let reply = |text: &'static str| Policy::of(Value::new(text.as_bytes()).unwrap());
    for (whom, text, found) in [
        (Whom::Seed, "-NOPERM no permissions to run 'cluster|slots'\r\n", Policy::Oss),
        (Whom::Primary(IDS[0]), "-NOPERM no permissions\r\n", Policy::Oss),
        (Whom::Primary(IDS[0]), "-ERR unknown command 'CLUSTER'\r\n", Policy::Oss),
        (Whom::Seed, "-ERR unknown command 'CLUSTER'\r\n", Policy::Enterprise),
    ] {
        let mut schedule = schedule();
        ask(&mut schedule, 0);
        schedule.asked(at(60_000), whom);
        schedule.answered(at(60_000), reply(text));
        assert_eq!(schedule.found(), found, "{text}");
        let next = match found {
            Policy::Oss => wait(61_000),
            _ => AskMap::Wait { until: Instant::FAR_FUTURE },
        };
        assert_eq!(poll(&mut schedule, 60_000, true), next, "{text}");
    }
}

#[test]
fn a_storm_of_redirections_makes_one_request() {
    let mut schedule = MapSchedule::new(MapPolicy::default(), Jitter::new(3));
    ask(&mut schedule, 0);
    let mut asked = Vec::new();
    for millis in 0..10_000 {
        if (2_000..2_500).contains(&millis) {
            schedule.moved(at(millis), Some(IDS[1]));
        }
        if let AskMap::Now { whom } = poll(&mut schedule, millis, true) {
            asked.push(millis);
            schedule.asked(at(millis), whom);
        }
        if asked.last().is_some_and(|asked| asked + 600 == millis) {
            schedule.answered(at(millis), Policy::Oss);
        }
    }
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!((2_000..2_100).contains(&asked[0]), "{asked:?}");
}

#[test]
fn redirections_that_go_on_make_a_request_each_floor() {
    let mut schedule = schedule();
    ask(&mut schedule, 0);
    let mut asked = 0;
    for millis in 0..10_000 {
        schedule.moved(at(millis), Some(IDS[1]));
        if let AskMap::Now { whom } = poll(&mut schedule, millis, true) {
            asked += 1;
            schedule.asked(at(millis), whom);
            schedule.answered(at(millis), Policy::Oss);
        }
    }
    assert_eq!(asked, 9);
}

#[test]
fn who_answered_last_is_asked_then_another_one_then_the_seed() {
    let mut schedule = schedule();
    let (mut now, mut whom) = (0, Vec::new());
    for _ in 0..8 {
        let AskMap::Now { whom: asked } = poll(&mut schedule, now, true) else {
            panic!("it waits at {now}")
        };
        whom.push(asked);
        schedule.asked(at(now), asked);
        schedule.failed(at(now));
        let AskMap::Wait { until } = poll(&mut schedule, now, true) else { panic!("at once") };
        now = until.as_millis();
    }
    let [a, b, c] = IDS.map(Whom::Primary);
    let seed = Whom::Seed;
    assert_eq!(whom, [seed, a, seed, b, seed, c, seed, a]);
    assert_eq!(now, 1_000 + 2_000 + 4_000 + 8_000 + 16_000 + 3 * 30_000);
    schedule.asked(at(now), b);
    schedule.answered(at(now), Policy::Oss);
    assert_eq!(ask(&mut schedule, now + 60_000), b, "it has answered");
    assert_eq!(schedule.whom([IDS[0]].into_iter()), seed, "it is gone");
    schedule.asked(at(now + 120_000), b);
    schedule.failed(at(now + 120_000));
    assert_eq!(schedule.whom(IDS.into_iter()), c);
    assert_eq!(schedule.whom([IDS[1]].into_iter()), seed, "there is no other one");
}

#[test]
fn a_request_that_takes_too_long_has_failed() {
    let mut schedule = schedule();
    schedule.asked(at(0), Whom::Seed);
    assert_eq!(poll(&mut schedule, 4_999, true), wait(5_000));
    assert_eq!(poll(&mut schedule, 5_000, true), wait(6_000));
    assert_eq!(poll(&mut schedule, 6_000, true), AskMap::Now { whom: Whom::Primary(IDS[0]) });
    // A redirection doesn't shorten the wait.
    schedule.asked(at(6_000), Whom::Seed);
    schedule.failed(at(6_000));
    schedule.moved(at(6_000), Some(IDS[1]));
    assert_eq!(poll(&mut schedule, 6_000, true), wait(8_000));
}

#[test]
fn without_a_cluster_nothing_is_asked_before_a_redirection_or_another_seed() {
    for policy in [Policy::Single, Policy::Enterprise] {
        let mut schedule = schedule();
        schedule.asked(at(0), Whom::Seed);
        schedule.answered(at(10), policy);
        assert_eq!(
            (schedule.found(), poll(&mut schedule, 1 << 40, true)),
            (policy, AskMap::Wait { until: Instant::FAR_FUTURE })
        );
        schedule.moved(at(5_000), Some(IDS[1]));
        assert_eq!(schedule.found(), Policy::Oss);
        assert_eq!(poll(&mut schedule, 5_000, true), wait(5_100));
        schedule.asked(at(5_100), Whom::Seed);
        schedule.answered(at(5_100), policy);
        assert_eq!(schedule.found(), policy);
        schedule.seed_is_new(at(5_200));
        assert_eq!(schedule.found(), Policy::Unknown);
        assert_eq!(poll(&mut schedule, 5_200, false), wait(6_100));
        assert_eq!(poll(&mut schedule, 6_100, false), AskMap::Now { whom: Whom::Seed });
    }
}

#[test]
fn an_error_that_passes_is_a_failure() {
    let mut schedule = schedule();
    schedule.asked(at(0), Whom::Seed);
    schedule.answered(at(0), Policy::Unknown);
    assert_eq!(poll(&mut schedule, 0, true), wait(1_000));
}
