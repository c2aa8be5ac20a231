use core::time::Duration;

use super::*;
use crate::manager::Action;
use crate::policy::{Jitter, RefreshPolicy};
use crate::secret::Secret;
use crate::token::Token;

type Manager = TokenManager<[u8; 64]>;

const LEAD: Duration = Duration::from_secs(300);

const fn secs(secs: u64) -> Instant {
    Instant::from_millis(secs * 1000)
}

/// A token of an hour.
fn push(manager: &mut Manager, now: Instant, text: &str) {
    let token = Token::new(Secret::new(text)).with_user("oid");
    manager.push(now, &token.with_expires_in(Duration::from_secs(3600))).unwrap();
}

fn manager() -> Manager {
    let policy = RefreshPolicy { reauth_lead: LEAD, ..RefreshPolicy::default() };
    TokenManager::new(policy, Jitter::none(), [[0; 64]; 2])
}

/// A connection that has logged in with the first token at 0, and the second token came at 2,520.
fn logged_in() -> (Manager, LoginSchedule) {
    let (mut manager, mut schedule) = (manager(), LoginSchedule::new(7));
    push(&mut manager, secs(0), "first");
    let attempt = login(&mut schedule, &manager, secs(0));
    assert!(attempt.first);
    schedule.sent(secs(0), attempt);
    schedule.accepted(&mut manager);
    push(&mut manager, secs(2520), "second");
    (manager, schedule)
}

#[track_caller]
fn login(schedule: &mut LoginSchedule, manager: &Manager, now: Instant) -> Attempt {
    match schedule.poll(now, manager, Can::Login) {
        Due::Login(attempt) => attempt,
        other => panic!("{other:?} at {now:?}"),
    }
}

#[track_caller]
fn wait(schedule: &mut LoginSchedule, manager: &Manager, now: Instant) -> Instant {
    match schedule.poll(now, manager, Can::Login) {
        Due::Wait { until } => {
            assert!(until > now, "a wait in the past");
            until
        }
        other => panic!("{other:?} at {now:?}"),
    }
}

/// When the login with the second token is due.
fn due(schedule: &mut LoginSchedule, manager: &Manager) -> Instant {
    let due = wait(schedule, manager, secs(2520));
    assert_eq!(wait(schedule, manager, due.minus(Duration::from_millis(1))), due);
    due
}

/// Logs in at `now`, which is refused.
fn refuse(schedule: &mut LoginSchedule, manager: &mut Manager, now: Instant, error: LoginError) {
    let attempt = login(schedule, manager, now);
    schedule.sent(now, attempt);
    schedule.refused(now, error, manager);
}

#[test]
fn the_first_login_is_due_as_soon_as_there_is_a_token() {
    let (mut manager, mut schedule) = (manager(), LoginSchedule::new(1));
    assert_eq!(wait(&mut schedule, &manager, secs(0)), Instant::FAR_FUTURE);
    push(&mut manager, secs(5), "first");
    let attempt = login(&mut schedule, &manager, secs(5));
    assert_eq!((attempt.first, attempt.by), (true, secs(3605)));
    assert_eq!(manager.get(attempt.generation).unwrap().expose(), "first");
}

#[test]
fn each_connection_logs_in_again_at_a_time_of_its_own_in_the_spread() {
    let mut times = [0, 1, 2, 3].map(|id| {
        let (manager, mut schedule) = logged_in();
        schedule.id = id;
        due(&mut schedule, &manager)
    });
    times.sort();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    assert!(times.iter().all(|at| at.plus(LEAD) <= secs(3600)), "{times:?}");
}

#[test]
fn an_accepted_login_is_told_to_the_manager_and_serves_to_its_end() {
    let (mut manager, mut schedule) = logged_in();
    let due = due(&mut schedule, &manager);
    let attempt = login(&mut schedule, &manager, due);
    assert_eq!((attempt.first, attempt.by), (false, secs(2520 + 3600)));
    schedule.sent(due, attempt);
    // The first one serves until the answer is there.
    assert_eq!(schedule.ends(), secs(3600));
    schedule.accepted(&mut manager);
    let end = secs(2520 + 3600);
    assert_eq!((schedule.ends(), wait(&mut schedule, &manager, due)), (end, end));
    assert!(matches!(schedule.poll(end, &manager, Can::Login), Due::Close));
}

#[test]
fn while_a_login_is_unanswered_there_is_no_other() {
    let (manager, mut schedule) = logged_in();
    let due = due(&mut schedule, &manager);
    let attempt = login(&mut schedule, &manager, due);
    schedule.sent(due, attempt);
    assert_eq!(wait(&mut schedule, &manager, due), attempt.by);
    assert!(matches!(schedule.poll(attempt.by, &manager, Can::Login), Due::Close));
}

#[test]
fn a_refused_first_login_ends_it_and_has_a_fresh_token_fetched() {
    let (mut manager, mut schedule) = (manager(), LoginSchedule::new(1));
    push(&mut manager, secs(0), "first");
    refuse(&mut schedule, &mut manager, secs(0), LoginError::WrongPass);
    assert!(matches!(schedule.poll(secs(1), &manager, Can::Login), Due::Close));
    assert!(matches!(manager.poll(secs(60)), Action::Fetch { .. }));
}

#[test]
fn after_refusals_it_waits_longer_each_time_and_is_replaced_while_there_is_time() {
    let (mut manager, mut schedule) = logged_in();
    let mut now = due(&mut schedule, &manager);
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        refuse(&mut schedule, &mut manager, now, LoginError::Unavailable);
        let again = wait(&mut schedule, &manager, now);
        assert_eq!(again, now + Duration::from_secs(seconds));
        now = again;
    }
    let by = loop {
        match schedule.poll(now, &manager, Can::Login) {
            Due::Login(attempt) => {
                schedule.sent(now, attempt);
                schedule.refused(now, LoginError::Unavailable, &mut manager);
            }
            Due::Wait { until } => now = until,
            Due::Replace { by, generation } => {
                assert_eq!(manager.get(generation).unwrap().expose(), "second");
                break by;
            }
            Due::Close => panic!("it is replaced before it ends"),
        }
    };
    assert_eq!(by, secs(3600));
    assert!(now < by.minus(Duration::from_secs(30)), "{now:?}");
    assert_eq!(schedule.refusal(), Some(LoginError::Unavailable));
}

#[test]
fn a_token_that_was_refused_is_not_tried_again() {
    let (mut manager, mut schedule) = logged_in();
    let due = due(&mut schedule, &manager);
    refuse(&mut schedule, &mut manager, due, LoginError::WrongPass);
    assert_eq!(wait(&mut schedule, &manager, due), secs(3600));
    push(&mut manager, secs(3000), "third");
    assert!(wait(&mut schedule, &manager, secs(3000)) < secs(3600).minus(LEAD / 2));
}

#[test]
fn what_can_never_log_in_is_replaced_when_the_login_would_be_due() {
    let (manager, mut schedule) = logged_in();
    let due = due(&mut schedule, &manager);
    let before = due.minus(Duration::from_millis(1));
    assert!(matches!(schedule.poll(before, &manager, Can::Never), Due::Wait { .. }));
    let Due::Replace { by, .. } = schedule.poll(due, &manager, Can::Never) else { panic!() };
    assert_eq!(by, secs(3600));
}

#[test]
fn a_forgotten_login_is_made_again_once_a_second_at_the_most() {
    let (mut manager, mut schedule) = logged_in();
    schedule.lost(secs(100));
    let attempt = login(&mut schedule, &manager, secs(100));
    // What can't log in has to be closed.
    assert!(matches!(schedule.poll(secs(100), &manager, Can::Never), Due::Close));
    schedule.sent(secs(100), attempt);
    schedule.accepted(&mut manager);
    let mut soon = schedule.clone();
    soon.lost(secs(101).minus(Duration::from_millis(1)));
    assert!(matches!(soon.poll(secs(200), &manager, Can::Login), Due::Close));
    schedule.lost(secs(101));
    login(&mut schedule, &manager, secs(101));
}

#[test]
fn a_refused_login_after_a_forgotten_one_ends_it() {
    let (mut manager, mut schedule) = logged_in();
    schedule.lost(secs(100));
    refuse(&mut schedule, &mut manager, secs(100), LoginError::Unavailable);
    assert!(matches!(schedule.poll(secs(101), &manager, Can::Login), Due::Close));
}

#[test]
fn without_feedback_a_login_that_was_sent_counts_as_accepted() {
    let (manager, mut schedule) = logged_in();
    let due = due(&mut schedule, &manager);
    let attempt = login(&mut schedule, &manager, due);
    schedule.sent(due, attempt);
    assert_eq!(schedule.assumed(), Some(attempt.generation));
    assert_eq!(wait(&mut schedule, &manager, due), attempt.by);
}

#[test]
fn an_answer_to_nothing_changes_nothing() {
    let (mut manager, mut schedule) = logged_in();
    schedule.refused(secs(1), LoginError::WrongPass, &mut manager);
    schedule.accepted(&mut manager);
    assert_eq!((schedule.assumed(), schedule.ends()), (None, secs(3600)));
    assert_eq!(manager.health(secs(1)).rejections, 0);
}
