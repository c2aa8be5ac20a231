//! The world: an endpoint, a server, and a fleet.

mod fleet;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use redis_entraid_core::args;
use redis_entraid_core::connection::{CloseReason, Config, Connection, Idle, Output, Pending};
use redis_entraid_core::event::Event;
use redis_entraid_core::manager::{Action, RequestId, TokenManager};
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::reconnect::{Dial, Reconnect, ReconnectPolicy};
use redis_entraid_core::secret::Secret;
use redis_entraid_core::source::IoFailure;
use redis_entraid_core::source::{ErrorKind, SourceError};
use redis_entraid_core::time::Instant;
use redis_entraid_core::token::Token;

use crate::chance::Chance;

/// How large and how long.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What everything is drawn from.
    pub seed: u64,
    /// Connections that share the identity.
    pub connections: usize,
    /// How long it goes on.
    pub days: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Requests for a token.
    pub requests: u64,
    /// New tokens.
    pub refreshes: u64,
    /// Tokens that were handed out again.
    pub same_tokens: u64,
    /// First logins of a connection.
    pub logins: u64,
    /// Logins with a newer token on a live connection.
    pub reauths: u64,
    /// Logins that the server refused.
    pub refused: u64,
    /// Commands that were answered.
    pub commands: u64,
    /// Logins that ended for want of a newer token.
    pub expired: u64,
    /// Connections that the network or the server cut.
    pub cut: u64,
}

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// After this long the manager gives a request up.
const TIME_LIMIT: u64 = 30_000;

/// The longest that it takes to log in. An endpoint that was configured wrongly is asked every ten
/// minutes, give or take the jitter; then there are some attempts, half a minute apart at most.
const PATIENCE: u64 = 15 * MINUTE;

const fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// How the endpoint feels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Nobody answers.
    Down,
    /// It answers after the request has been given up.
    Hanging,
    /// It asks to be left alone.
    Throttling,
    /// It refuses: somebody changed something.
    Misconfigured,
    /// It hands its last token out again.
    Caching,
}

/// What happens when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The endpoint's mood changes.
    Mood,
    /// The manager has something to do.
    Manager,
    /// The endpoint answers a request, by number.
    Answer(usize),
    /// A connection has something to do.
    Connection(usize),
    /// A dial succeeds or not.
    Dialed(usize),
    /// The server's bytes arrive.
    Arrive(usize, u64),
    /// A program has a command for a connection.
    Command(usize),
    /// The server restarts: all connections are cut.
    Restart,
}

/// A request for a token.
#[derive(Clone, Copy, Debug)]
struct Asked {
    request: RequestId,
    at: u64,
    answered: bool,
}

/// A token as the endpoint knows it.
#[derive(Clone, Copy, Debug)]
struct IssuedToken {
    number: u64,
    sent: u64,
    ends: u64,
    /// When it ends for the manager: the life that an answer tells counts from its request.
    told: u64,
}

/// One connection, from both ends.
struct Link {
    connection: Option<Connection<[u8; 128], [Pending; 4]>>,
    /// Which connection of this link it is; what arrives for an earlier one is lost.
    epoch: u64,
    reconnect: Reconnect,
    dialing: bool,
    /// When it is to be looked after next.
    wake: u64,
    /// At the server: the token that it is logged in with.
    login: Option<IssuedToken>,
    /// Replies on their way.
    replies: Vec<u8>,
    /// Since when it is not logged in; `None` while it is.
    down: Option<u64>,
}

struct World {
    chance: Chance,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64, What)>>,
    order: u64,
    manager: TokenManager<[u8; 64]>,
    mood: Mood,
    /// When the endpoint was last unwell.
    unwell: u64,
    requests: Vec<Asked>,
    last_token: Option<u64>,
    manager_wake: u64,
    issued: Vec<IssuedToken>,
    links: Vec<Link>,
    report: Report,
}

/// Runs a world to its end.
///
/// # Panics
/// If a promise is broken.
pub fn simulate(settings: &Settings) -> Report {
    let mut world = World::new(settings);
    let end = settings.days * DAY;
    while let Some(Reverse((time, _, what))) = world.queue.pop() {
        if time > end {
            break;
        }
        assert!(time >= world.now, "time goes on");
        world.now = time;
        world.happen(what);
        world.check();
    }
    world.now = end;
    (0..settings.connections).for_each(|link| world.check_link(link));
    world.report
}

impl World {
    fn new(settings: &Settings) -> Self {
        let mut chance = Chance::new(settings.seed);
        let jitter = Jitter::new(chance.next());
        let manager = TokenManager::new(RefreshPolicy::default(), jitter, [[0; 64]; 2]);
        let links = (0..settings.connections).map(|_| {
            let jitter = Jitter::new(chance.next());
            let reconnect = Reconnect::new(ReconnectPolicy::default(), jitter);
            Link {
                connection: None,
                epoch: 0,
                reconnect,
                dialing: false,
                wake: u64::MAX,
                login: None,
                replies: Vec::new(),
                down: Some(0),
            }
        });
        let links = links.collect();
        let mut world = Self {
            chance,
            now: 0,
            queue: BinaryHeap::new(),
            order: 0,
            manager,
            mood: Mood::Well,
            unwell: 0,
            requests: Vec::new(),
            last_token: None,
            manager_wake: u64::MAX,
            issued: Vec::new(),
            links,
            report: Report::default(),
        };
        world.wake_manager(0);
        world.plan(HOUR, What::Mood);
        world.plan(DAY, What::Restart);
        for link in 0..settings.connections {
            world.wake(link, 0);
            let first = world.chance.between(0, DAY);
            world.plan(first, What::Command(link));
        }
        world
    }

    fn plan(&mut self, after: u64, what: What) {
        self.order += 1;
        self.queue.push(Reverse((self.now.saturating_add(after), self.order, what)));
    }

    fn plan_at(&mut self, time: Instant, what: What) {
        if time < Instant::FAR_FUTURE {
            self.plan(time.as_millis().saturating_sub(self.now), what);
        }
    }

    /// Has a connection looked after at `time`, unless that is planned earlier.
    fn wake(&mut self, link: usize, time: u64) {
        if time < self.links[link].wake {
            self.links[link].wake = time;
            self.plan_at(at(time.max(self.now)), What::Connection(link));
        }
    }

    fn wake_manager(&mut self, time: u64) {
        if time < self.manager_wake {
            self.manager_wake = time;
            self.plan_at(at(time.max(self.now)), What::Manager);
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Mood => {
                (0..self.links.len()).for_each(|link| self.check_link(link));
                self.change_mood();
            }
            What::Manager => {
                if self.manager_wake <= self.now {
                    self.manager_wake = u64::MAX;
                    self.poll();
                }
            }
            What::Answer(request) => self.answer(request),
            What::Connection(link) => {
                // Only the latest plan counts.
                if self.links[link].wake <= self.now {
                    self.links[link].wake = u64::MAX;
                    self.update(link);
                }
            }
            What::Dialed(link) => self.dialed(link),
            What::Arrive(link, epoch) => self.arrive(link, epoch),
            What::Command(link) => {
                let now = at(self.now);
                if let Some(connection) = &mut self.links[link].connection {
                    let _ = connection.submit(now, 1, args!["INCR", "n"]);
                }
                self.update(link);
                let next = self.chance.between(HOUR, 2 * DAY);
                self.plan(next, What::Command(link));
            }
            What::Restart => {
                for link in 0..self.links.len() {
                    self.cut(link, CloseReason::ByServer);
                }
                let next = self.chance.between(DAY, 60 * DAY);
                self.plan(next, What::Restart);
            }
        }
    }

    fn check(&mut self) {
        if self.mood != Mood::Well {
            self.unwell = self.now;
        }
        // A token that the manager was given and that lives is served, as long as it was told.
        let given = |issued: &&IssuedToken| Some(issued.number) <= self.last_token;
        if self.issued.last().filter(given).is_some_and(|issued| self.now < issued.told) {
            assert!(self.manager.login(at(self.now)).is_some(), "a live token isn't served");
        }
    }

    /// Who is not logged in is so soon, while the endpoint is well.
    fn check_link(&self, link: usize) {
        if let Some(down) = self.links[link].down {
            let since = down.max(self.unwell);
            assert!(self.now - since < PATIENCE, "connection {link} doesn't come back");
        }
    }

    fn change_mood(&mut self) {
        let (mood, lasts) = if self.mood != Mood::Well {
            (Mood::Well, self.chance.between(HOUR, 10 * DAY))
        } else {
            let lasts = if self.chance.one_in(20) { 2 * DAY } else { 2 * HOUR };
            let mood = match self.chance.between(0, 5) {
                0 => Mood::Down,
                1 => Mood::Hanging,
                2 => Mood::Throttling,
                3 => Mood::Misconfigured,
                _ => Mood::Caching,
            };
            (mood, self.chance.between(MINUTE, lasts))
        };
        self.mood = mood;
        self.plan(lasts, What::Mood);
    }

    fn poll(&mut self) {
        let now = at(self.now);
        match self.manager.poll(now) {
            Action::Fetch { request, deadline, .. } => {
                if let Some(&Asked { at: last, answered, .. }) = self.requests.last() {
                    let timed_out = self.now - last >= TIME_LIMIT;
                    assert!(answered || timed_out, "two requests at once");
                    assert!(self.now - last >= 1000, "below the floor after a failure");
                }
                self.report.requests += 1;
                self.requests.push(Asked { request, at: self.now, answered: false });
                let latency = match self.mood {
                    Mood::Hanging => HOUR,
                    _ => self.chance.between(5, 2000),
                };
                self.plan(latency, What::Answer(self.requests.len() - 1));
                self.wake_manager(deadline.as_millis());
            }
            Action::Wait { until, .. } => {
                assert!(until > now, "a wait in the past");
                self.wake_manager(until.as_millis());
            }
            _ => unreachable!("there is nothing else to do"),
        }
    }

    /// The endpoint answers, maybe so late that the next request is in flight.
    fn answer(&mut self, number: usize) {
        let asked = &mut self.requests[number];
        asked.answered = true;
        let Asked { request, at: sent, .. } = *asked;
        let late = self.now - sent >= TIME_LIMIT;
        let before = self.manager.health(at(self.now));
        let now = at(self.now);
        let last = self.issued.last().copied().filter(|last| last.ends > self.now);
        match (self.mood, last) {
            (Mood::Down | Mood::Hanging, _) => {
                self.manager.failed(now, request, SourceError::Io(IoFailure::Connect));
            }
            (Mood::Throttling, _) => {
                let wait = Duration::from_secs(self.chance.between(1, 600));
                let kind = ErrorKind::Throttled(Some(wait));
                self.manager.failed(now, request, SourceError::Other { kind, what: "429" });
            }
            (Mood::Misconfigured, _) => {
                let kind = ErrorKind::Configuration;
                self.manager.failed(
                    now,
                    request,
                    SourceError::Other { kind, what: "invalid_client" },
                );
            }
            (Mood::Caching, Some(last)) => self.give(last, request, sent),
            _ => {
                let life = self.chance.between(60 * MINUTE, 90 * MINUTE);
                let number = self.issued.len() as u64 + 1;
                let ends = self.now + life;
                let issued = IssuedToken { number, sent, ends, told: u64::MAX };
                self.issued.push(issued);
                self.give(issued, request, sent);
            }
        }
        if late {
            let after = self.manager.health(now);
            assert_eq!(after.failures, before.failures, "it was counted when it timed out");
            assert_eq!(after.in_flight, before.in_flight, "the newer request stays in flight");
        }
        self.wake_manager(self.now);
    }

    fn give(&mut self, issued: IssuedToken, request: RequestId, sent: u64) {
        let text = format!("token-{}", issued.number);
        // As the endpoint counts: from when it answers, in whole seconds.
        let life = Duration::from_secs((issued.ends - self.now) / 1000);
        if life.is_zero() {
            self.manager.failed(at(self.now), request, SourceError::NoToken);
            return;
        }
        let token = Token::new(Secret::new(&text)).with_user("oid").with_expires_in(life);
        if self.manager.token(at(self.now), request, &token).is_err() {
            // It ended while it was on its way.
            return;
        }
        let told = sent + life.as_secs() * 1000;
        if let Some(known) = self.issued.iter_mut().rfind(|known| known.number == issued.number) {
            known.told = known.told.min(told);
        }
        if self.last_token == Some(issued.number) {
            self.report.same_tokens += 1;
        } else {
            self.report.refreshes += 1;
            self.last_token = Some(issued.number);
        }
        for link in 0..self.links.len() {
            self.wake(link, self.now);
        }
    }
}
