//! Which answer ends what: `MULTI`, `EXEC`, `DISCARD`, `WATCH` and `UNWATCH`, with every answer that
//! a real server can be made to give, in a transaction and outside. Afterwards the server is asked
//! whether a transaction is open and whether keys are watched, and the connection has to know.

use std::time::Duration;

use model::real::{Real, programs};
use model::script::Slot;
use redis_entraid_core::connection::{Config, Connection, Output, Pending};
use redis_entraid_core::event::Event;
use redis_entraid_core::manager::TokenManager;
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::resp::Arg;
use redis_entraid_core::secret::Secret;
use redis_entraid_core::time::Instant;
use redis_entraid_core::token::Token;

const NOW: Instant = Instant::from_millis(1);

/// What is in the way of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    Nothing,
    /// It has a word too many, or none.
    Arity,
    /// Something before it was refused.
    Spoiled,
    /// A watched key has changed.
    Changed,
    NoPerm,
    /// The session was reset behind the connection's back.
    NoAuth,
    CrossSlot,
    Moved,
    Ask,
    TryAgain,
    ClusterDown,
    Memory,
    Disk,
    Script,
    Replica,
    NoMaster,
    Loading,
}

use Obstacle::*;

const ALL: [Obstacle; 17] = [
    Nothing,
    Arity,
    Spoiled,
    Changed,
    NoPerm,
    NoAuth,
    CrossSlot,
    Moved,
    Ask,
    TryAgain,
    ClusterDown,
    Memory,
    Disk,
    Script,
    Replica,
    NoMaster,
    Loading,
];

impl Obstacle {
    const fn needs_cluster(self) -> bool {
        matches!(self, CrossSlot | Moved | Ask | TryAgain | ClusterDown)
    }

    /// A node of a cluster can't be told to follow another one like that.
    const fn needs_no_cluster(self) -> bool {
        matches!(self, Replica | NoMaster)
    }
}

/// A connection over a real server.
struct Bench {
    real: Real,
    manager: TokenManager<[u8; 64]>,
    connection: Connection<[u8; 512], [Pending; 8]>,
    ended: bool,
    /// Rows that the connection has wrong.
    wrong: Vec<String>,
    /// Who waits for what keeps the server busy.
    waits: Option<model::real::Wire>,
}

fn connection() -> Connection<[u8; 512], [Pending; 8]> {
    let config = Config { set_info: false, ..Config::new(0) };
    Connection::new(config, [0; 512], [0; 512], [Pending::default(); 8])
}

impl Bench {
    fn new(real: Real) -> Self {
        let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 64]; 2]);
        let token = Token::new(Secret::new("token")).with_user("oid");
        manager.push(NOW, &token.with_expires_in(Duration::from_secs(3600))).expect("a token");
        Self {
            real,
            manager,
            connection: connection(),
            ended: false,
            wrong: Vec::new(),
            waits: None,
        }
    }

    fn admin(&mut self, words: &[&str]) {
        let answer = self.real.admin().call(words).expect("an answer");
        assert!(!answer.starts_with(b"-"), "{words:?}: {}", answer.escape_ascii());
    }

    /// A new session, logged in.
    fn renew(&mut self) {
        self.real.renew().expect("it can be reset");
        self.admin(&["ACL", "SETUSER", "oid", ">token"]);
        (self.connection, self.ended) = (connection(), false);
        self.queue();
    }

    /// Sends what is to be sent, and reads one answer.
    fn queue(&mut self) -> Vec<u8> {
        self.connection.update(NOW, &mut self.manager);
        let bytes = self.connection.transmit().to_vec();
        self.connection.sent(bytes.len());
        self.real.client().send(&bytes).expect("it can be sent");
        let answer = self.real.client().read().expect("an answer");
        self.connection.receive_space()[..answer.len()].copy_from_slice(&answer);
        self.connection.received(NOW, answer.len());
        self.hear();
        self.connection.update(NOW, &mut self.manager);
        self.hear();
        answer
    }

    fn hear(&mut self) {
        while let Some(output) = self.connection.next(NOW) {
            self.ended |= matches!(output, Output::Event(Event::Disconnected { .. }));
        }
    }

    fn say(&mut self, words: &[&str]) -> Vec<u8> {
        let args: Vec<Arg<'_>> = words.iter().map(|word| Arg::from(*word)).collect();
        self.connection.submit(NOW, 1, &args).expect("it is taken");
        self.queue()
    }

    /// Puts `obstacle` in the way.
    fn put(&mut self, obstacle: Obstacle, command: &str) {
        match obstacle {
            Nothing | Arity | CrossSlot => {}
            Spoiled => _ = self.say(&["GET"]),
            Changed => self.admin(&["SET", "{b}0", "changed"]),
            NoPerm => self.admin(&["ACL", "SETUSER", "oid", &format!("-{command}")]),
            NoAuth => {
                self.real.client().call(&["RESET"]).expect("an answer");
            }
            Moved => self.real.set_slot(Slot::Moved).expect("it can be moved"),
            ClusterDown => self.real.set_slot(Slot::Down).expect("it can be left alone"),
            Ask | TryAgain => {
                self.real.set_slot(Slot::Migrating).expect("it can be on its way");
                self.admin(&["DEL", "{b}1"]);
                if obstacle == Ask {
                    self.admin(&["DEL", "{b}0"]);
                }
            }
            Memory => self.admin(&["CONFIG", "SET", "maxmemory", "1"]),
            Disk => {
                // The file can't take the place of a folder.
                let file = self.real.process().folder().join("dump.rdb");
                let _ = std::fs::remove_file(&file);
                std::fs::create_dir(&file).expect("a folder");
                self.admin(&["CONFIG", "SET", "save", "3600 1"]);
                self.admin(&["BGSAVE"]);
                self.until("rdb_last_bgsave_status:err");
            }
            Script => {
                self.admin(&["CONFIG", "SET", "lua-time-limit", "1"]);
                let mut wire = self.real.process().admin().expect("a connection");
                let eval = b"*3\r\n$4\r\nEVAL\r\n$16\r\nwhile 1 do end--\r\n$1\r\n0\r\n";
                wire.send(eval).expect("it can be sent");
                self.waits = Some(wire);
                std::thread::sleep(Duration::from_millis(50));
            }
            Replica | NoMaster => {
                let stale = if obstacle == Replica { "yes" } else { "no" };
                self.admin(&["CONFIG", "SET", "replica-serve-stale-data", stale]);
                self.admin(&["REPLICAOF", "127.0.0.1", "1"]);
            }
            Loading => {
                self.waits = Some(self.real.load().unwrap_or_else(|error| panic!("{error}")));
            }
        }
    }

    fn take_away(&mut self, obstacle: Obstacle) {
        match obstacle {
            NoPerm => self.admin(&["ACL", "SETUSER", "oid", "+@all"]),
            Moved | ClusterDown | Ask | TryAgain => {
                self.real.set_slot(Slot::Here).expect("it can be had back");
            }
            Memory => self.admin(&["CONFIG", "SET", "maxmemory", "0"]),
            Disk => {
                let _ = std::fs::remove_dir(self.real.process().folder().join("dump.rdb"));
                self.admin(&["BGSAVE"]);
                self.until("rdb_last_bgsave_status:ok");
                self.admin(&["CONFIG", "SET", "save", ""]);
            }
            Script => {
                self.admin(&["SCRIPT", "KILL"]);
                let mut waits = self.waits.take().expect("it was started");
                waits.read().expect("it was ended");
            }
            Replica | NoMaster => self.admin(&["REPLICAOF", "NO", "ONE"]),
            Loading => {
                let mut waits = self.waits.take().expect("it was started");
                while waits.read().is_err() {}
                self.admin(&["CONFIG", "SET", "key-load-delay", "0"]);
            }
            _ => {}
        }
    }

    fn until(&mut self, what: &str) {
        for _ in 0..500 {
            let info = self.real.admin().call(&["INFO", "persistence"]).expect("an answer");
            let info = String::from_utf8_lossy(&info);
            if info.contains(what) && info.contains("rdb_bgsave_in_progress:0") {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("never {what}");
    }

    /// One row: what is answered, and what is open afterwards, as the server and as the connection
    /// have it.
    fn row(&mut self, command: &str, open: bool, obstacle: Obstacle) -> String {
        self.renew();
        for key in ["{a}0", "{b}0", "{b}1"] {
            self.admin(&["SET", key, "value"]);
        }
        let session = obstacle != NoAuth;
        if session && command != "WATCH" {
            self.say(&["WATCH", "{b}0", "{b}1"]);
        }
        if open {
            self.say(&["MULTI"]);
            self.say(&["MGET", "{b}0", "{b}1"]);
            self.say(&["SET", if obstacle == CrossSlot { "{a}0" } else { "{b}0" }, "mine"]);
        }
        self.put(obstacle, &command.to_lowercase());
        let words = match (command, obstacle) {
            ("WATCH", Arity) => vec!["WATCH"],
            ("WATCH", CrossSlot) => vec!["WATCH", "{a}0", "{b}0"],
            ("WATCH", _) => vec!["WATCH", "{b}0", "{b}1"],
            (command, Arity) => vec![command, "more"],
            (command, _) => vec![command],
        };
        let answer = self.say(&words);
        let answer = String::from_utf8_lossy(&answer);
        let answer: String = answer.lines().next().unwrap_or_default().chars().take(60).collect();
        let (known, ended) = (self.connection.health(NOW).session, self.ended);
        let waiting = self.connection.health(NOW).waiting;
        self.take_away(obstacle);
        if obstacle == NoAuth {
            // The reset has ended all; what counts is that the connection has noticed.
            assert!(ended || self.connection.health(NOW).generation.is_none() || waiting == 0);
            return format!("{answer:60} nobody is logged in");
        }
        let transaction = self.real.seen().expect("it can be asked").transaction;
        let watch = match transaction {
            // A transaction keeps what is watched.
            true => true,
            false => self.real.watches().expect("it can be asked"),
        };
        let is = match (transaction, watch) {
            (true, _) => "transaction",
            (false, true) => "watch",
            (false, false) => "nothing",
        };
        if ended || known != (transaction || watch) {
            let believes = if ended { "it has given up" } else { "the connection doesn't know" };
            self.wrong.push(format!("{command}, open {open}, {obstacle:?}: {answer}: {believes}"));
        }
        format!("{answer:60} {is}")
    }
}

#[test]
fn what_an_answer_leaves_open_is_what_the_connection_believes() {
    let mut runs = 0;
    for program in programs() {
        for cluster in [false, true] {
            let real = Real::start(&program, cluster).unwrap_or_else(|error| panic!("{error}"));
            let name = real.name();
            let mut bench = Bench::new(real);
            let mut rows = 0;
            for command in ["MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"] {
                for open in [false, true] {
                    for obstacle in ALL {
                        let possible = if cluster {
                            !obstacle.needs_no_cluster()
                        } else {
                            !obstacle.needs_cluster()
                        };
                        // A reset ends a transaction, and outside of one nothing is spoiled.
                        let makes_sense =
                            !(open && obstacle == NoAuth || !open && obstacle == Spoiled);
                        if !possible || !makes_sense {
                            continue;
                        }
                        let place = if open { "in MULTI" } else { "outside" };
                        let row = bench.row(command, open, obstacle);
                        let obstacle = format!("{obstacle:?}");
                        println!("{name:14} {command:8} {place:9} {obstacle:11} {row}");
                        rows += 1;
                    }
                }
            }
            assert!(rows >= 100, "only {rows} rows");
            runs += rows;
            assert!(bench.wrong.is_empty(), "{name}:\n{}", bench.wrong.join("\n"));
        }
    }
    println!("\n{runs} runs of rows");
}
