//! Whatever happens to a token manager and a login schedule, in any order, at any time.

use core::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use redis_entraid_core::auth::LoginError;
use redis_entraid_core::manager::{Action, Generation, Pull, RequestId, TokenManager};
use redis_entraid_core::policy::{Jitter, Ratio, RefreshPolicy, RetryPolicy};
use redis_entraid_core::schedule::{Can, Due, LoginSchedule};
use redis_entraid_core::secret::Secret;
use redis_entraid_core::source::{ErrorKind, SourceError};
use redis_entraid_core::time::{Instant, UnixTime};
use redis_entraid_core::token::Token;

/// A policy, a start, and what happens then.
#[derive(Arbitrary, Debug)]
struct Story {
    policy: Policy,
    start: Millis,
    seed: Option<u64>,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
struct Policy {
    expiration_refresh_ratio: u32,
    lower_refresh_bound: Millis,
    max_attempts: u8,
    initial_delay: Millis,
    backoff_multiplier: u8,
    slow_delay: Millis,
    jitter: u8,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Time goes on.
    Pass(Millis),
    /// Time goes on to the next deadline.
    Next,
    /// The source answers the newest request, or one so many before it.
    Token {
        older: u8,
        number: u8,
        life: Millis,
        refresh_in: Option<Millis>,
        ends: Option<u64>,
        server_time: Option<u64>,
    },
    /// The source fails, for the newest request or one so many before it.
    Fail(u8, Failure),
    /// That is given up.
    Abandon(u8),
    /// A token comes that nobody asked for.
    Push(u8, Millis),
    /// Somebody waits, or nobody.
    Demand(bool),
    /// A server says yes or no to a token.
    Accept(u8),
    Reject(u8),
    Force,
    /// A connection sends the login that is due.
    LogIn,
    /// That is answered: with `+OK`, or not.
    Answer(bool),
    /// The server forgets it.
    Forget,
    /// The wall clock says so many seconds.
    Wall(u64),
}

/// How a source may fail.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Failure {
    /// As a network does.
    Transient,
    /// With or without a time to come back.
    Throttled(Option<Millis>),
    /// A person has to do something.
    Configuration,
    /// The wall clock is wrong.
    Clock,
    /// The answer makes no sense.
    Parse,
}

impl Failure {
    /// The error that says so.
    pub fn error(self) -> SourceError {
        let kind = match self {
            Self::Transient => ErrorKind::Transient,
            Self::Throttled(wait) => ErrorKind::Throttled(wait.map(Millis::duration)),
            Self::Configuration => ErrorKind::Configuration,
            Self::Clock => ErrorKind::Clock,
            Self::Parse => ErrorKind::Parse,
        };
        SourceError::Other { kind, what: "x" }
    }
}

/// A time, mostly one that happens.
#[derive(Clone, Copy, Debug)]
pub struct Millis(pub u64);

impl Millis {
    const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl<'a> Arbitrary<'a> for Millis {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(match u.int_in_range(0..=9)? {
            0..=3 => u.int_in_range(0..=10_000)?,
            4..=7 => u.int_in_range(0..=100_000_000)?,
            8 => u64::MAX,
            _ => u.arbitrary()?,
        }))
    }
}

impl Policy {
    fn policy(&self) -> RefreshPolicy {
        let jitter = Ratio::percent(u32::from(self.jitter % 101));
        RefreshPolicy {
            expiration_refresh_ratio: Ratio::from_ppm(self.expiration_refresh_ratio % 1_000_001)
                .expect("it is in range"),
            lower_refresh_bound: self.lower_refresh_bound.duration(),
            refresh_jitter: jitter,
            retry: RetryPolicy {
                max_attempts: u32::from(self.max_attempts % 6),
                initial_delay: self.initial_delay.duration(),
                backoff_multiplier: u32::from(self.backoff_multiplier % 4),
                slow_delay: self.slow_delay.duration(),
                jitter,
                ..RetryPolicy::default()
            },
            ..RefreshPolicy::default()
        }
    }
}

/// The bytes are an [`Arbitrary`] story.
pub fn check(data: &[u8]) {
    let Ok(story) = Story::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let policy = story.policy.policy();
    let floor = policy.failure_floor.min(policy.token_floor);
    let mut manager =
        TokenManager::new(policy, story.seed.map_or(Jitter::none(), Jitter::new), [[0; 64]; 2]);
    let mut schedule = LoginSchedule::new(7);
    let mut now = Instant::from_millis(story.start.0);
    // All that were made, and whether the last one is waited for.
    let mut requests: Vec<(RequestId, Instant)> = Vec::new();
    let mut in_flight = false;
    for step in story.steps {
        match step {
            Step::Pass(by) => now = now.plus(by.duration()),
            Step::Next => now = now.max(manager.next_deadline()),
            Step::Token { older, number, life, refresh_in, ends, server_time } => {
                let Some((request, newest)) = pick(&requests, older) else { continue };
                let text = format!("token-{}", number % 4);
                let mut token = Token::new(Secret::new(&text)).with_user("oid");
                token = token.with_expires_in(life.duration());
                token.refresh_in = refresh_in.map(Millis::duration);
                token.expires_on = ends.map(UnixTime);
                token.server_time = server_time.map(UnixTime);
                let stale = Stale::of(&manager, now, !(newest && in_flight));
                let taken = manager.token(now, request, &token);
                assert!(life.0 > 0 || taken.is_err());
                stale.check(&manager, now);
                in_flight &= !newest;
            }
            Step::Fail(older, failure) => {
                let Some((request, newest)) = pick(&requests, older) else { continue };
                let stale = Stale::of(&manager, now, !(newest && in_flight));
                manager.failed(now, request, failure.error());
                stale.check(&manager, now);
                in_flight &= !newest;
            }
            Step::Abandon(older) => {
                let Some((request, newest)) = pick(&requests, older) else { continue };
                let stale = Stale::of(&manager, now, !(newest && in_flight));
                manager.abandoned(now, request);
                stale.check(&manager, now);
                in_flight &= !newest;
            }
            Step::Push(number, life) => {
                let text = format!("token-{}", number % 4);
                let token = Token::new(Secret::new(&text)).with_user("oid");
                let stale = Stale::of(&manager, now, true);
                let _ = manager.push(now, &token.with_expires_in(life.duration()));
                stale.check(&manager, now);
            }
            Step::Demand(demand) => manager.set_demand(demand),
            Step::Accept(n) => manager.accepted(Generation(u32::from(n % 8))),
            Step::Reject(n) => manager.rejected(now, Generation(u32::from(n % 8))),
            Step::LogIn => {
                if let Due::Login(attempt) = schedule.poll(now, &manager, Can::Login) {
                    schedule.sent(now, attempt);
                }
            }
            Step::Answer(true) => schedule.accepted(&mut manager),
            Step::Answer(false) => schedule.refused(now, LoginError::WrongPass, &mut manager),
            Step::Forget => schedule.lost(now),
            Step::Force => manager.refresh_now(),
            Step::Wall(seconds) => manager.unix_time(now, UnixTime(seconds)),
        }
        if requests.last().is_some_and(|(_, at)| now >= at.plus(Duration::from_secs(30))) {
            in_flight = false;
        }
        match manager.poll(now) {
            Action::Fetch { request, deadline, .. } => {
                assert!(!in_flight, "two requests at once");
                if let Some(&(_, last)) = requests.last() {
                    // At the very end of time there is no room for a floor.
                    let apart = now.since(last) >= floor || now == Instant::FAR_FUTURE;
                    assert!(apart, "{last:?} {now:?}");
                }
                assert!(deadline > now || now == Instant::FAR_FUTURE);
                in_flight = true;
                requests.push((request, now));
            }
            Action::Wait { until, .. } => assert!(until > now, "a wait in the past"),
            other => panic!("{other:?}"),
        }
        // What is served is alive; and what pull mode says agrees with it.
        let served = manager.login(now).map(|login| login.expires_at());
        assert!(served.is_none_or(|end| end > now));
        assert!(served.is_some() || manager.pull(now) == Pull::FetchFirst);
        if let Some(newer) = manager.newer_than(Generation(0), now) {
            assert!(newer.expires_at() > now && served.is_some());
        }
        for can in [Can::Login, Can::Never] {
            match schedule.poll(now, &manager, can) {
                Due::Wait { until } => assert!(until > now || now == Instant::FAR_FUTURE),
                Due::Login(attempt) => {
                    let login = manager.get(attempt.generation).expect("what is sent is there");
                    assert!(attempt.by > now && login.expires_at() == attempt.by);
                }
                Due::Replace { by, .. } => assert!(by > now && by == schedule.ends()),
                // Another connection comes.
                Due::Close => schedule = LoginSchedule::new(7),
                other => panic!("{other:?}"),
            }
        }
        let at = manager.reauth_at(7, now.plus(Duration::from_secs(60)));
        assert!(at <= Instant::FAR_FUTURE);
        let _ = (manager.health(now), manager.slice(), format!("{manager:?}"));
    }
}

/// The request that is so many older than the newest, and whether it is that.
fn pick(requests: &[(RequestId, Instant)], older: u8) -> Option<(RequestId, bool)> {
    let at = requests.len().checked_sub(1)?;
    // Mostly the newest.
    let older = usize::from(older.saturating_sub(128)).min(at);
    requests.get(at - older).map(|(request, _)| (*request, older == 0))
}

/// What an answer must not change that isn't to the request in flight.
struct Stale(Option<(bool, u32, u32, Option<SourceError>)>);

impl Stale {
    fn of(manager: &TokenManager<[u8; 64]>, now: Instant, is_stale: bool) -> Self {
        Self(is_stale.then(|| Self::shown(manager, now)))
    }

    fn shown(
        manager: &TokenManager<[u8; 64]>,
        now: Instant,
    ) -> (bool, u32, u32, Option<SourceError>) {
        let health = manager.health(now);
        (health.in_flight, health.failures, health.failures_in_a_row, health.last_error)
    }

    #[track_caller]
    fn check(self, manager: &TokenManager<[u8; 64]>, now: Instant) {
        let Some(before) = self.0 else { return };
        assert_eq!(before, Self::shown(manager, now), "a stale answer changed it");
    }
}
