//! Whatever happens to a connection, in any order: users, tokens, time, and a server that says
//! what it likes.

use core::time::Duration;
use std::collections::HashSet;

use arbitrary::{Arbitrary, Unstructured};
use redis_entraid_core::auth::Protocol;
use redis_entraid_core::connection::{
    CloseReason, Config, Connection, Idle, Output, Pending, Replacement, Tag,
};
use redis_entraid_core::event::Event;
use redis_entraid_core::manager::TokenManager;
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::resp::Arg;
use redis_entraid_core::secret::Secret;
use redis_entraid_core::time::Instant;
use redis_entraid_core::token::Token;

#[derive(Arbitrary, Debug)]
struct Story<'a> {
    resp2: bool,
    set_info: bool,
    eager: bool,
    let_go: bool,
    overlap: bool,
    /// Most stories begin with a login; without one not much happens.
    stranger: u8,
    steps: Vec<Step<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// Time goes on, by so many seconds.
    Pass(u16),
    /// Time goes on to the next deadline.
    Next,
    /// A new token comes, with a life of so many seconds.
    Token(u16),
    /// A user wants something.
    Command(u8),
    Words(Vec<&'a [u8]>),
    /// The network takes so many bytes, or all.
    Take(u8),
    TakeAll,
    /// The server says something that makes sense, sometimes.
    Say(u8),
    /// Or anything.
    Bytes(&'a [u8]),
    Retire,
    Closed,
}

const COMMANDS: &[&[&str]] = &[
    &["GET", "k"],
    &["SET", "k", "a value that is not small, but still fits into the buffer"],
    &["MULTI"],
    &["EXEC"],
    &["DISCARD"],
    &["WATCH", "k"],
    &["BLPOP", "k", "1"],
    &["BLPOP", "k", "0"],
    &["SUBSCRIBE", "a", "b"],
    &["UNSUBSCRIBE"],
    &["UNSUBSCRIBE", "a"],
    &["PSUBSCRIBE", "p*"],
    &["SSUBSCRIBE", "s"],
    &["CLIENT", "TRACKING", "ON"],
    &["PING"],
    &["AUTH", "x", "y"],
    &["CLIENT", "REPLY", "OFF"],
];

const SAYINGS: &[&str] = &[
    "+OK\r\n",
    "%2\r\n+proto\r\n:3\r\n+id\r\n:9\r\n",
    "+PONG\r\n",
    "$1\r\nx\r\n",
    "$-1\r\n",
    "_\r\n",
    ":1\r\n",
    "+QUEUED\r\n",
    "*2\r\n+OK\r\n:1\r\n",
    "-ERR no\r\n",
    "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
    "-LOADING Redis is loading the dataset in memory\r\n",
    "-NOAUTH Authentication required.\r\n",
    "-NOPERM no\r\n",
    "-EXECABORT Transaction discarded because of previous errors.\r\n",
    "-MOVED 1 10.0.0.1:8500\r\n",
    "-ERR unknown command 'HELLO'\r\n",
    ">3\r\n+subscribe\r\n+a\r\n:1\r\n",
    "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
    ">3\r\n+unsubscribe\r\n+a\r\n:0\r\n",
    ">3\r\n+unsubscribe\r\n_\r\n:0\r\n",
    ">3\r\n+message\r\n+a\r\n+hello\r\n",
    "*3\r\n+message\r\n+a\r\n+hello\r\n",
    ">2\r\n+invalidate\r\n_\r\n",
    "$300\r\n",
];

/// What is known of it from outside.
struct World {
    now: Instant,
    connection: Connection<[u8; 128], [Pending; 4]>,
    manager: TokenManager<[u8; 32]>,
    next_tag: Tag,
    /// Commands that have no answer yet.
    open: HashSet<Tag>,
    disconnected: bool,
}

/// The bytes are an [`Arbitrary`] story.
pub fn check(data: &[u8]) {
    let Ok(story) = Story::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let hour = Duration::from_secs(3600);
    let config = Config {
        protocol: if story.resp2 { Protocol::Resp2 } else { Protocol::Resp3 },
        set_info: story.set_info,
        eager: story.eager,
        idle: if story.let_go { Idle::Close(hour) } else { Idle::default() },
        replacement: if story.overlap { Replacement::Overlap } else { Replacement::BreakThenMake },
        ..Config::new(0)
    };
    let mut world = World {
        now: Instant::from_millis(1),
        connection: Connection::new(config, [0; 128], [0; 128], [Pending::default(); 4]),
        manager: TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 32]; 2]),
        next_tag: 0,
        open: HashSet::new(),
        disconnected: false,
    };
    world.token(3600);
    if story.stranger > 20 {
        world.settle();
        world.take(usize::MAX);
        world.say(if story.resp2 { SAYINGS[0] } else { SAYINGS[1] }.as_bytes());
    }
    for step in story.steps {
        world.step(step);
        world.settle();
    }
    // However it ends, everybody is told.
    world.connection.closed(CloseReason::ByServer);
    world.settle();
    assert!(world.disconnected, "nobody was told of its end");
    assert!(world.open.is_empty(), "left alone: {:?}", world.open);
}

impl World {
    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Pass(seconds) => self.now = self.now + Duration::from_secs(u64::from(seconds)),
            Step::Next => {
                let next = self.connection.next_deadline();
                // At the end of time nothing is due any more.
                if next < Instant::FAR_FUTURE {
                    self.now = self.now.max(next);
                }
            }
            Step::Token(seconds) => self.token(u64::from(seconds)),
            Step::Command(which) => {
                let words = COMMANDS[usize::from(which) % COMMANDS.len()];
                self.submit(&words.iter().map(|word| Arg::from(*word)).collect::<Vec<_>>());
            }
            Step::Words(words) => {
                self.submit(&words.iter().map(|word| Arg::from(*word)).collect::<Vec<_>>());
            }
            Step::Take(len) => self.take(usize::from(len)),
            Step::TakeAll => self.take(usize::MAX),
            Step::Say(which) => {
                self.say(SAYINGS[usize::from(which) % SAYINGS.len()].as_bytes());
            }
            Step::Bytes(bytes) => self.say(bytes),
            Step::Retire => self.connection.retire(),
            Step::Closed => self.connection.closed(CloseReason::Broken(
                redis_entraid_core::transport::TransportFailure::Reset,
            )),
        }
    }

    fn token(&mut self, life: u64) {
        self.next_tag += 1;
        let text = format!("token-{}", self.next_tag);
        let token = Token::new(Secret::new(&text)).with_user("oid");
        // One without a life is refused, and that is fine.
        let _ = self.manager.push(self.now, &token.with_expires_in(Duration::from_secs(life)));
    }

    fn submit(&mut self, args: &[Arg<'_>]) {
        self.next_tag += 1;
        if self.connection.submit(self.now, self.next_tag, args).is_ok() {
            assert!(!self.disconnected, "it takes commands behind its end");
            self.open.insert(self.next_tag);
        }
    }

    /// The network takes up to `len` bytes at once, and again as long as there are some.
    fn take(&mut self, len: usize) {
        for _ in 0..1000 {
            let login = self.connection.health(self.now).login_ends_in;
            let bytes = self.connection.transmit();
            let sent = bytes.len().min(len);
            if sent == 0 {
                return;
            }
            assert!(login != Some(Duration::ZERO), "written to behind the end of its login");
            self.connection.sent(sent);
            self.settle();
            if len < usize::MAX {
                return;
            }
        }
        panic!("it writes for ever");
    }

    fn say(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.connection.has_ended() {
            let space = self.connection.receive_space();
            assert!(!space.is_empty(), "no room to receive");
            let (now, rest) = bytes.split_at(space.len().min(bytes.len()));
            space[..now.len()].copy_from_slice(now);
            self.connection.received(self.now, now.len());
            bytes = rest;
            self.hear();
        }
    }

    /// Hears and looks until there is nothing more to do at this moment.
    fn settle(&mut self) {
        for _ in 0..50 {
            self.hear();
            self.connection.update(self.now, &mut self.manager);
            self.hear();
            if !self.connection.needs_update() {
                assert!(
                    self.connection.has_ended() || self.connection.next_deadline() > self.now,
                    "it would be looked at again at once"
                );
                let _ = format!("{:?}", self.connection);
                return;
            }
        }
        panic!("it can't be satisfied");
    }

    fn hear(&mut self) {
        while let Some(output) = self.connection.next(self.now) {
            assert!(!self.disconnected, "{output:?} behind its end");
            let _ = format!("{output:?}");
            match output {
                Output::Reply { tag, .. } | Output::Lost { tag, .. } => {
                    assert!(self.open.remove(&tag), "a second answer to {tag}");
                }
                Output::Event(Event::Disconnected { .. }) => self.disconnected = true,
                _ => {}
            }
        }
    }
}
