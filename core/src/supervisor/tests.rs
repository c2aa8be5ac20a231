use core::time::Duration;

use super::*;
use crate::manager::Generation;
use crate::policy::{Jitter, Ratio, RefreshPolicy};
use crate::source::SourceError;
use crate::transport::ConnectErrorKind as Kind;

const START: Instant = Instant::from_millis(1000);

fn policy() -> ReconnectPolicy {
    ReconnectPolicy { jitter: Ratio::percent(0), ..ReconnectPolicy::default() }
}

fn ms(millis: u64) -> Instant {
    Instant::from_millis(1000 + millis)
}

/// One that serves at place 0.
fn serving<const N: usize>() -> Supervisor<N> {
    let mut supervisor = Supervisor::new(policy(), Jitter::new(1));
    supervisor.update(START, true, Demand::None);
    supervisor.dialed(0);
    supervisor.observe(START, &logged_in());
    assert_eq!(supervisor.role(0, START), Role::Serve);
    supervisor
}

const fn logged_in() -> Event {
    Event::LoggedIn { generation: Generation(1), protocol: crate::auth::Protocol::Resp3 }
}

/// The next connection is dialed, logged in and settled at place 1.
fn prepared() -> Supervisor<2> {
    let mut supervisor = serving();
    supervisor.hand_over(Handover { reason: HandoverReason::Asked, by: ms(5000) });
    supervisor.update(START, true, Demand::None);
    supervisor.dialed(1);
    assert_eq!(
        (supervisor.role(0, START), supervisor.role(1, START)),
        (Role::Serve, Role::Prepare)
    );
    supervisor.settled(1);
    supervisor
}

#[test]
fn it_dials_when_there_is_a_token_and_not_before() {
    let mut supervisor: Supervisor<1> = Supervisor::new(policy(), Jitter::new(1));
    supervisor.update(START, false, Demand::Waiting);
    assert_eq!((supervisor.role(0, START), supervisor.serving()), (Role::Empty, None));
    supervisor.update(START, true, Demand::None);
    let Role::Dial(attempt) = supervisor.role(0, START) else { panic!("it is time to") };
    assert_eq!(attempt.until, ms(10_000));
    assert_eq!(supervisor.next_deadline(), attempt.until);
    // Without a token what is dialed is still dialed.
    supervisor.update(ms(1), false, Demand::None);
    assert_eq!(supervisor.role(0, START), Role::Dial(attempt));
}

#[test]
fn a_dial_that_failed_is_tried_again_when_its_wait_is_over_and_sooner_for_who_waits() {
    let mut supervisor: Supervisor<1> = Supervisor::new(
        ReconnectPolicy {
            quick: crate::policy::Backoff { initial: Duration::from_secs(20), ..policy().slow },
            ..policy()
        },
        Jitter::new(1),
    );
    supervisor.update(START, true, Demand::None);
    let told = supervisor.dial_failed(0, START, Kind::Unreachable);
    assert_eq!(told, Some(Event::DialFailed { next_in: Duration::from_secs(20) }));
    assert_eq!(supervisor.dial_failed(0, START, Kind::Unreachable), None);
    supervisor.update(START, true, Demand::Lately);
    assert_eq!((supervisor.role(0, START), supervisor.next_deadline()), (Role::Empty, ms(20_000)));
    supervisor.update(START, true, Demand::Waiting);
    assert_eq!(supervisor.next_deadline(), ms(5000));
    supervisor.update(ms(4999), true, Demand::Waiting);
    assert_eq!(supervisor.role(0, START), Role::Empty);
    supervisor.update(ms(5000), true, Demand::Waiting);
    assert!(matches!(supervisor.role(0, START), Role::Dial(DialAttempt { number: 2, .. })));
}

#[test]
fn a_connection_that_was_let_go_is_made_again_for_a_caller_only() {
    let mut supervisor = serving::<1>();
    assert_eq!(supervisor.ended(0, CloseReason::Idle), Succession::Nobody);
    supervisor.update(ms(1), true, Demand::None);
    assert_eq!(supervisor.role(0, ms(1)), Role::Empty);
    supervisor.update(ms(2), true, Demand::Lately);
    assert!(matches!(supervisor.role(0, ms(2)), Role::Dial(_)));
    // Who needed it has gone.
    supervisor.update(ms(3), true, Demand::None);
    assert_eq!(supervisor.role(0, ms(3)), Role::Empty);
    supervisor.update(ms(4), true, Demand::Waiting);
    supervisor.dialed(0);
    supervisor.ended(0, CloseReason::Replaced);
    supervisor.update(ms(5), true, Demand::None);
    assert!(matches!(supervisor.role(0, ms(5)), Role::Dial(_)));
}

#[test]
fn a_connection_to_a_node_is_made_for_a_caller_only() {
    let mut supervisor: Supervisor<1> = Supervisor::new(policy(), Jitter::new(1)).on_demand();
    for _ in 0..2 {
        supervisor.update(START, true, Demand::None);
        assert_eq!(supervisor.role(0, START), Role::Empty);
        supervisor.update(START, true, Demand::Waiting);
        supervisor.dialed(0);
        supervisor.ended(0, CloseReason::Replaced);
    }
}

#[test]
fn the_next_connection_gets_its_first_command_when_the_old_one_has_answered_its_last() {
    let mut supervisor = prepared();
    let roles = |it: &Supervisor<2>| (it.role(0, START), it.role(1, START));
    assert_eq!(roles(&supervisor), (Role::Pause, Role::Prepare));
    supervisor.paused(0);
    supervisor.update(START, true, Demand::Waiting);
    assert_eq!(roles(&supervisor), (Role::Retire, Role::Prepare));
    assert_eq!(supervisor.ended(0, CloseReason::Replaced), Succession::By(1));
    supervisor.update(START, true, Demand::Waiting);
    assert_eq!(roles(&supervisor), (Role::Empty, Role::Serve));
    // And back.
    supervisor.hand_over(Handover::new(HandoverReason::Rekey));
    supervisor.update(START, true, Demand::None);
    supervisor.dialed(0);
    supervisor.settled(0);
    assert_eq!(roles(&supervisor), (Role::Prepare, Role::Pause));
}

#[test]
fn with_one_place_the_old_one_ends_and_another_is_dialed_at_once() {
    let mut supervisor = serving::<1>();
    supervisor.hand_over(Handover::new(HandoverReason::Rekey));
    supervisor.update(START, true, Demand::None);
    assert_eq!(supervisor.role(0, START), Role::Pause);
    supervisor.paused(0);
    assert_eq!(supervisor.role(0, START), Role::Retire);
    supervisor.ended(0, CloseReason::Replaced);
    supervisor.update(START, true, Demand::Waiting);
    assert!(matches!(supervisor.role(0, START), Role::Dial(_)));
}

#[test]
fn what_is_open_when_the_time_to_hand_over_is_over_is_given_up() {
    // Before it has paused, and after.
    for paused in [false, true] {
        let mut supervisor = prepared();
        if paused {
            supervisor.paused(0);
        }
        assert_eq!(supervisor.next_deadline(), ms(5000));
        supervisor.update(ms(4999), true, Demand::None);
        let waiting = if paused { Role::Retire } else { Role::Pause };
        assert_eq!(supervisor.role(0, ms(4999)), waiting);
        supervisor.update(ms(5000), true, Demand::None);
        assert_eq!(supervisor.role(0, ms(5000)), Role::Close);
    }
    // But not as long as nothing takes its place.
    let mut supervisor = serving::<2>();
    supervisor.hand_over(Handover { reason: HandoverReason::Asked, by: ms(10) });
    supervisor.update(ms(9999), false, Demand::None);
    assert_eq!(
        (supervisor.role(0, ms(9999)), supervisor.next_deadline()),
        (Role::Serve, Instant::FAR_FUTURE)
    );
}

#[test]
fn a_connection_that_ends_before_it_takes_over_is_tried_again_and_the_old_one_serves() {
    let mut supervisor = prepared();
    assert_eq!(supervisor.ended(1, CloseReason::ByServer), Succession::Of(0));
    supervisor.observe(START, &Event::Disconnected { reason: CloseReason::ByServer });
    supervisor.update(START, true, Demand::None);
    assert_eq!((supervisor.role(0, START), supervisor.role(1, START)), (Role::Serve, Role::Empty));
    let again = supervisor.next_deadline();
    supervisor.update(again, true, Demand::None);
    assert!(matches!(supervisor.role(1, again), Role::Dial(_)));
}

#[test]
fn a_connection_that_is_there_takes_over_from_one_that_breaks() {
    let mut supervisor = serving::<2>();
    supervisor.observe(START, &Event::ReplacementDue { ends_in: Duration::from_secs(3) });
    supervisor.update(START, true, Demand::None);
    supervisor.dialed(1);
    assert_eq!(supervisor.ended(0, CloseReason::ByServer), Succession::By(1));
    assert_eq!(supervisor.role(1, START), Role::Serve);
    // What was wished has been done.
    supervisor.update(START, true, Demand::None);
    assert_eq!(supervisor.role(0, START), Role::Empty);
    // One that is still dialed serves when it is there.
    supervisor.hand_over(Handover::new(HandoverReason::Asked));
    supervisor.update(START, true, Demand::None);
    assert_eq!(supervisor.ended(1, CloseReason::ByServer), Succession::Nobody);
    supervisor.update(START, true, Demand::None);
    supervisor.dialed(0);
    assert_eq!(supervisor.role(0, START), Role::Serve);
}

#[test]
fn of_two_wishes_the_one_with_less_time_holds() {
    let mut supervisor = serving::<2>();
    for (by, holds) in [(ms(100), ms(100)), (ms(200), ms(100)), (ms(50), ms(50))] {
        supervisor.hand_over(Handover { reason: HandoverReason::Asked, by });
        assert_eq!(supervisor.handover.unwrap().by, holds);
    }
    let mut none: Supervisor<2> = Supervisor::new(policy(), Jitter::new(1));
    none.hand_over(Handover::new(HandoverReason::Asked));
    assert_eq!(none.handover, None);
}

fn manager() -> TokenManager<[u8; 64]> {
    TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 64]; 2])
}

#[test]
fn waiting_helps_unless_what_failed_will_fail_again() {
    let manager = manager();
    let mut supervisor: Supervisor<1> = Supervisor::new(policy(), Jitter::new(1));
    assert!(!supervisor.is_hopeless(START, &manager));
    let mut fails = |kind| {
        supervisor.places = [Place::Dialing(DialAttempt { number: 1, until: START })];
        supervisor.dial_failed(0, START, kind);
        supervisor.is_hopeless(START, &manager)
    };
    assert!(!fails(Kind::Tls) && fails(Kind::Tls) && fails(Kind::Tls));
    assert!(!fails(Kind::Unreachable) && !fails(Kind::Tls) && fails(Kind::Tls));
    assert!(fails(Kind::Host) && !fails(Kind::Name));
}

#[test]
fn a_refused_login_is_hopeless_unless_a_better_token_may_come() {
    let mut manager = manager();
    let mut supervisor = serving::<1>();
    let refused = |error| Event::Disconnected { reason: CloseReason::Refused(error) };
    supervisor.observe(START, &refused(LoginError::WrongPass));
    for (secret, hopeless) in [("first", false), ("second", true)] {
        let token = crate::token::Token::new(crate::secret::Secret::new(secret)).with_user("oid");
        manager.push(START, &token.with_expires_in(Duration::from_secs(3600))).unwrap();
        assert!(!supervisor.is_hopeless(START, &manager), "it may be better");
        let generation = manager.login(START).unwrap().generation();
        manager.rejected(START, generation);
        // Another one is fetched at once, but not a third one.
        assert_eq!(supervisor.is_hopeless(START, &manager), hopeless);
    }
    supervisor.observe(START, &refused(LoginError::Unavailable));
    assert!(!supervisor.is_hopeless(START, &manager));
}

#[test]
fn a_source_that_can_give_no_token_is_hopeless() {
    let supervisor: Supervisor<1> = Supervisor::new(policy(), Jitter::new(1));
    for (error, hopeless) in [(SourceError::TimedOut, false), (SourceError::ORDER, true)] {
        let mut manager = manager();
        let crate::manager::Action::Fetch { request, .. } = manager.poll(START) else {
            panic!("the first is due")
        };
        manager.failed(START, request, error);
        assert_eq!(supervisor.is_hopeless(START, &manager), hopeless, "{error}");
    }
}

/// Whatever happens in whatever order: one connection takes commands at a time, the next one not
/// before the old one has ended, one is dialed at a time and never without a token, and none of the
/// deadlines has passed after an update.
fn anything_may_happen<const N: usize>(seed: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) % below
    };
    let mut supervisor: Supervisor<N> =
        Supervisor::new(ReconnectPolicy::default(), Jitter::new(seed));
    let (mut now, mut handed_over) = (START, 0);
    for _ in 0..400 {
        let place = random(N as u64) as usize;
        let demand = [Demand::None, Demand::Lately, Demand::Waiting][random(3) as usize];
        let before = supervisor.role(place, now);
        let has_token = random(4) > 0;
        match random(9) {
            0 => supervisor.dialed(place),
            1 => drop(supervisor.dial_failed(place, now, Kind::Unreachable)),
            2 => drop(supervisor.settled(place)),
            3 if before == Role::Pause => supervisor.paused(place),
            4 => {
                let by = if random(2) == 0 {
                    now.plus(Duration::from_millis(random(500)))
                } else {
                    Instant::FAR_FUTURE
                };
                supervisor.hand_over(Handover { reason: HandoverReason::Asked, by });
            }
            5 | 6 if matches!(before, Role::Prepare | Role::Serve | Role::Retire | Role::Close) => {
                let reason = [CloseReason::Replaced, CloseReason::ByServer, CloseReason::Idle]
                    [random(3) as usize];
                match supervisor.ended(place, reason) {
                    Succession::By(heir) => {
                        handed_over += 1;
                        assert!(heir != place && supervisor.serving() == Some(heir));
                    }
                    Succession::Of(other) => assert!(before == Role::Prepare && other != place),
                    Succession::Nobody => assert_eq!(supervisor.serving(), None),
                }
                supervisor.observe(now, &Event::Disconnected { reason });
            }
            _ => now = now.plus(Duration::from_millis(random(1000))),
        }
        let dials = |it: &Supervisor<N>| it.places.iter().filter(|place| place.is_coming()).count();
        let dialed = dials(&supervisor);
        supervisor.update(now, has_token, demand);
        assert!(dials(&supervisor) <= 1);
        assert!(has_token || dials(&supervisor) <= dialed, "dialed without a token");
        assert!(supervisor.places.iter().filter(|place| place.is_in_use()).count() <= 1);
        for at in 0..N {
            let role = supervisor.role(at, now);
            if let Role::Serve | Role::Pause = role {
                assert_eq!(supervisor.serving(), Some(at));
            }
            if let Role::Prepare = role {
                assert!(supervisor.serving().is_some(), "nothing to prepare for");
            }
            if let Role::Dial(attempt) = role
                && now >= attempt.until
            {
                supervisor.dial_failed(at, now, Kind::Unreachable);
            }
        }
        let overdue = supervisor.next_deadline() <= now;
        let closes = (0..N).any(|at| supervisor.role(at, now) == Role::Close);
        assert!(!overdue || closes, "a deadline that has passed is left: {supervisor:?}");
    }
    if N == 1 {
        assert_eq!(handed_over, 0);
    }
}

#[test]
fn one_connection_takes_commands_at_a_time_whatever_happens() {
    for seed in 0..500 {
        anything_may_happen::<1>(seed);
        anything_may_happen::<2>(seed);
        anything_may_happen::<3>(seed);
    }
}
