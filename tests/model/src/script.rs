//! Scripts: what happens to a connection, in which order. All of it comes from a seed, and any part
//! of it may be left out.

mod draw;

use std::time::Duration;

use redis_entraid_core::auth::Protocol;
use redis_entraid_core::command::Topic;
use redis_entraid_core::connection::{ClientName, Config, Idle, Replacement};

/// One connection's life, or those of a few behind each other.
#[derive(Clone, Debug)]
pub struct Script {
    /// What it was drawn from.
    pub seed: u64,
    /// What was chosen of the connection and of the server.
    pub settings: Settings,
    /// What happens.
    pub steps: Vec<Step>,
}

/// What is chosen before a script begins.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What the client asks for.
    pub resp2: bool,
    /// The server doesn't know `HELLO`.
    pub old_server: bool,
    /// The server is a node of a cluster.
    pub cluster: bool,
    /// Sizes of the buffers and of the ring.
    pub receive: usize,
    /// See `receive`.
    pub transmit: usize,
    /// See `receive`.
    pub ring: usize,
    /// See [`Config`].
    pub eager: bool,
    /// See [`Config`].
    pub set_info: bool,
    /// Whether the connection has a name.
    pub named: bool,
    /// See [`Replacement`].
    pub overlap: bool,
    /// Seconds without anything to do, and whether the connection is closed then.
    pub idle: (u64, bool),
    /// Seconds that a command may block.
    pub max_block: u64,
    /// Seconds that a token lives.
    pub life: u64,
}

impl Settings {
    /// The simplest ones.
    pub const PLAIN: Self = Self {
        resp2: false,
        old_server: false,
        cluster: false,
        receive: 1024,
        transmit: 1024,
        ring: 32,
        eager: false,
        set_info: false,
        named: false,
        overlap: false,
        idle: (240, false),
        max_block: 10,
        life: 3600,
    };

    /// What the connection is told of them.
    pub fn config(&self) -> Config {
        let (idle, closes) = self.idle;
        let idle = Duration::from_secs(idle);
        Config {
            protocol: if self.resp2 { Protocol::Resp2 } else { Protocol::Resp3 },
            id: 7,
            name: ClientName::new("model").filter(|_| self.named),
            set_info: self.set_info,
            eager: self.eager,
            idle: if closes { Idle::Close(idle) } else { Idle::Keep(idle) },
            max_block: Duration::from_secs(self.max_block),
            replacement: if self.overlap {
                Replacement::Overlap
            } else {
                Replacement::BreakThenMake
            },
            ..Config::new(0)
        }
    }
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The user sends a command.
    User(Command),
    /// The user sends a command that is to be answered within so many milliseconds.
    Within(u64, Command),
    /// Somebody else does something at the server.
    Other(Other),
    /// The network takes so many bytes from the client, and brings so many.
    Flow(usize, usize),
    /// All that can flow does.
    Drain,
    /// Time passes, in milliseconds, and bytes flow.
    Pass(u64),
    /// Time passes to the client's next deadline, at most so many milliseconds, and bytes flow.
    Next(u64),
    /// A new token comes.
    Token,
    /// The server does nothing for so many milliseconds.
    Silence(u64),
    /// The server does nothing any more.
    Death,
    /// The network takes nothing from the client for so many milliseconds.
    Stall(u64),
    /// The server answers the next command of the user's with an error.
    Fault(Fault),
    /// The server answers the next login with an error.
    LoginFault(LoginFault),
    /// The server forgets who has logged in.
    Logout,
    /// The server closes the connection.
    Cut,
    /// The host has the connection end when all replies are in.
    Retire,
}

/// A command of the user's. Numbers choose keys and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `PING`, with a text of its own.
    Ping,
    /// `GET`
    Get(usize),
    /// `SET`
    Set(usize),
    /// `INCR`
    Incr,
    /// `MGET`
    MGet(usize, usize),
    /// `RPUSH`
    RPush(usize),
    /// `BLPOP`, for so many milliseconds.
    BlPop(usize, u64),
    /// `MULTI`
    Multi,
    /// `EXEC`
    Exec,
    /// `DISCARD`
    Discard,
    /// `WATCH`
    Watch(usize),
    /// `UNWATCH`
    Unwatch,
    /// `CLIENT TRACKING ON` or `OFF`.
    Tracking(bool),
    /// Something with a reply of so many bytes, or an error of that length.
    Large(usize, bool),
    /// A command that lacks a word.
    Arity(Lacking),
    /// Subscribes to the names whose bit is set.
    Subscribe(Topic, u8),
    /// Unsubscribes from the names whose bit is set; from all if there is none.
    Unsubscribe(Topic, u8),
}

/// What lacks a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// `GET` without a key.
    Get,
    /// `WATCH` without a key.
    Watch,
    /// `EXEC` with a word too many.
    Exec,
    /// `DISCARD` with a word too many.
    Discard,
    /// `MULTI` with a word too many.
    Multi,
    /// `SUBSCRIBE` to nothing.
    Subscribe,
}

/// What others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// `SET` of a key.
    Set(usize),
    /// `DEL` of a key.
    Delete(usize),
    /// `RPUSH` to a list.
    Push(usize),
    /// `PUBLISH`, with so many bytes.
    Publish(usize, usize),
    /// The slot of the keys `{b}` changes its state.
    Slot(Slot),
}

/// The state of a cluster's slot at this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// It is served.
    Here,
    /// Another node has it.
    Moved,
    /// It is on its way to another node.
    Migrating,
    /// Nobody has it.
    Down,
}

/// An error in place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The user may not do that.
    NoPerm,
    /// Not now: memory, disk, a script, a replica.
    NotNow(usize),
    /// One that nobody knows. Whether an `EXEC` or `DISCARD` was done all the same.
    Odd(bool),
}

/// An error in place of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFault {
    /// `WRONGPASS`
    WrongPass,
    /// `LOADING`
    Loading,
}

/// Keys, in two slots.
pub const KEYS: [&str; 4] = ["{a}0", "{a}1", "{b}0", "{b}1"];
/// Lists, in two slots.
pub const LISTS: [&str; 2] = ["{a}l", "{b}l"];
/// What is counted.
pub const COUNTER: &str = "{a}n";
/// Channels, patterns and shard channels. The confirmation of the last is larger than small buffers.
pub const NAMES: [&str; 3] = [
    "x",
    "y",
    "{a}zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
];
/// What makes a large reply.
const LARGE: &str = "return string.rep(ARGV[1],ARGV[2])";
const LARGE_ERROR: &str = "return {err='ERR '..string.rep(ARGV[1],ARGV[2])}";

impl Command {
    /// The words of it, which say which command it is.
    pub fn words(self, tag: u64) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let text = format!("t{tag}");
        match self {
            Self::Ping => words(&["PING", &text]),
            Self::Get(key) => words(&["GET", KEYS[key]]),
            Self::Set(key) => words(&["SET", KEYS[key], &text]),
            Self::Incr => words(&["INCR", COUNTER]),
            Self::MGet(one, two) => words(&["MGET", KEYS[one], KEYS[two]]),
            Self::RPush(list) => words(&["RPUSH", LISTS[list], &text]),
            Self::BlPop(list, millis) => {
                words(&["BLPOP", LISTS[list], &format!("{}.{:03}", millis / 1000, millis % 1000)])
            }
            Self::Multi => words(&["MULTI"]),
            Self::Exec => words(&["EXEC"]),
            Self::Discard => words(&["DISCARD"]),
            Self::Watch(key) => words(&["WATCH", KEYS[key]]),
            Self::Unwatch => words(&["UNWATCH"]),
            Self::Tracking(true) => words(&["CLIENT", "TRACKING", "ON", "NOLOOP"]),
            Self::Tracking(false) => words(&["CLIENT", "TRACKING", "OFF"]),
            Self::Large(len, error) => {
                let times = (len / text.len()).max(1).to_string();
                let script = if error { LARGE_ERROR } else { LARGE };
                words(&["EVAL", script, "0", &text, &times])
            }
            Self::Arity(Lacking::Get) => words(&["GET"]),
            Self::Arity(Lacking::Watch) => words(&["WATCH"]),
            Self::Arity(Lacking::Exec) => words(&["EXEC", "x"]),
            Self::Arity(Lacking::Discard) => words(&["DISCARD", "x"]),
            Self::Arity(Lacking::Multi) => words(&["MULTI", "x"]),
            Self::Arity(Lacking::Subscribe) => words(&["SUBSCRIBE"]),
            Self::Subscribe(topic, names) => with_names(topic.subscribes(), names),
            Self::Unsubscribe(topic, names) => with_names(topic.unsubscribes(), names),
        }
    }
}

fn with_names(word: &str, names: u8) -> Vec<String> {
    let names = NAMES.iter().enumerate().filter(|(at, _)| names >> at & 1 == 1);
    std::iter::once(word).chain(names.map(|(_, name)| *name)).map(str::to_owned).collect()
}

/// How scripts are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All that the reference server can do.
    Any,
    /// What a real server can be made to do.
    Real {
        /// In a cluster or not.
        cluster: bool,
    },
}
