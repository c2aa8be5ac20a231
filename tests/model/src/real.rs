//! A real server beside the small one: it gets the same commands, one after the other, and has to
//! answer the same.

mod process;
mod wire;

use std::path::{Path, PathBuf};

pub use process::Process;
use redis_entraid_core::resp::Value;
pub use wire::Wire;

use crate::Dialect;
use crate::script::{KEYS, LISTS, NAMES, Other, Slot};
use crate::server::{Broken, Frame, What};

/// The slot of the keys `{b}`.
pub const SLOT: &str = "3300";

/// Who the connection logs in as.
const USER: &str = "oid";

/// A real server, one connection to it, and another one for what others do.
#[derive(Debug)]
pub struct Real {
    process: Process,
    admin: Wire,
    client: Wire,
    /// A command that the user may not do at the moment.
    forbidden: bool,
    slot: Slot,
}

/// The servers to try: `REDIS_SERVERS` names `redis-server` programs, with colons between them;
/// without it, the one in the path is used.
pub fn programs() -> Vec<PathBuf> {
    let servers = std::env::var("REDIS_SERVERS").unwrap_or_default();
    let named = servers.split(':').filter(|path| !path.is_empty()).map(PathBuf::from);
    let named: Vec<PathBuf> = named.collect();
    if named.is_empty() { vec!["redis-server".into()] } else { named }
}

/// What a server says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// A transaction is open.
    pub transaction: bool,
    /// Keys are watched; not all versions say so.
    pub watch: Option<bool>,
    /// Tracking is on.
    pub tracking: bool,
    /// Channels and patterns, and shard channels where there are any.
    pub subscriptions: u64,
}

impl Real {
    /// Starts `program`, as a node of a cluster or not.
    ///
    /// # Errors
    /// What went wrong.
    pub fn start(program: &Path, cluster: bool) -> Result<Self, String> {
        let process = Process::start(program, cluster)?;
        let (mut admin, client) = (process.connect()?, process.connect()?);
        admin.ok(&["AUTH", process.password()])?;
        let real = Self { process, admin, client, forbidden: false, slot: Slot::Here };
        Ok(real)
    }

    /// What differs in this version.
    pub fn dialect(&self) -> Dialect {
        let version = self.process.version();
        Dialect {
            hello: true,
            shards: version >= (7, 0),
            queues_in_vain: version < (7, 0),
            try_again: version >= (7, 0),
        }
    }

    /// Whether it is a node of a cluster.
    pub const fn is_cluster(&self) -> bool {
        self.process.is_cluster()
    }

    /// Its version, as people write it.
    pub fn name(&self) -> String {
        let (major, minor) = self.process.version();
        let cluster = if self.process.is_cluster() { ", cluster" } else { "" };
        format!("{major}.{minor}{cluster}")
    }

    /// The connection of the administrator's.
    pub const fn admin(&mut self) -> &mut Wire {
        &mut self.admin
    }

    /// The connection under test.
    pub const fn client(&mut self) -> &mut Wire {
        &mut self.client
    }

    /// The process.
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// Makes the connection under test anew, with all that an earlier one has left forgotten.
    ///
    /// # Errors
    /// What went wrong.
    pub fn renew(&mut self) -> Result<(), String> {
        self.reset()?;
        self.client = self.process.connect()?;
        Ok(())
    }

    /// Forgets what the last script has left.
    ///
    /// # Errors
    /// What went wrong.
    pub fn reset(&mut self) -> Result<(), String> {
        self.set_slot(Slot::Here)?;
        self.admin.ok(&["FLUSHALL"])?;
        self.admin.ok(&["ACL", "SETUSER", USER, "reset", "on", "~*", "&*", "+@all"])
    }

    pub(crate) fn allow(&mut self, token: &str) -> Result<(), Broken> {
        known(self.admin.ok(&["ACL", "SETUSER", USER, &format!(">{token}")]))
    }

    /// A new connection.
    pub(crate) fn accept(&mut self) -> Result<(), Broken> {
        let address = self.client.address();
        // Else what others push could still go to it.
        let _ = self.admin.call(&["CLIENT", "KILL", "ADDR", &address]);
        self.client = known(self.process.connect())?;
        Ok(())
    }

    /// Sends what the small server has got, and puts the real answers into `frames`.
    pub(crate) fn queue(&mut self, raw: Option<&[u8]>, frames: &mut [Frame]) -> Result<(), Broken> {
        if let Some(raw) = raw {
            known(self.client.send(raw))?;
        }
        for frame in frames.iter_mut() {
            let real = match self.client.read() {
                Ok(real) => real,
                Err(error) => {
                    let how = format!("{error} instead of {}", frame.bytes.escape_ascii());
                    return Broken::new("a real server does the same", how);
                }
            };
            if !is_alike(frame, &real) {
                let (real, small) = (real.escape_ascii(), frame.bytes.escape_ascii());
                let how = format!("it says {real}, the small one {small}");
                return Broken::new("a real server does the same", how);
            }
            frame.bytes = real;
        }
        if raw.is_some() && frames.is_empty() {
            // It blocks, which has to be so before anybody else does something.
            known(self.wait_until_blocked())?;
        }
        if std::mem::take(&mut self.forbidden) {
            known(self.admin.ok(&["ACL", "SETUSER", USER, "+@all"]))?;
        }
        Ok(())
    }

    fn wait_until_blocked(&mut self) -> Result<(), String> {
        for _ in 0..2000 {
            if field(&self.line()?, "flags").is_some_and(|flags| flags.contains('b')) {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Err("it doesn't block".into())
    }

    /// What the server lists the connection with.
    fn line(&mut self) -> Result<String, String> {
        let address = format!(" addr={} ", self.client.address());
        let list = self.admin.call(&["CLIENT", "LIST"])?;
        let list = String::from_utf8_lossy(&list).into_owned();
        let line = list.lines().find(|line| line.contains(&address));
        line.map(str::to_owned).ok_or_else(|| "the connection isn't listed".into())
    }

    /// Has a command that blocks give up.
    pub(crate) fn time_out(&mut self) -> Result<(), Broken> {
        let line = known(self.line())?;
        let id = field(&line, "id").unwrap_or_default().to_owned();
        known(self.admin.call(&["CLIENT", "UNBLOCK", &id, "TIMEOUT"])).map(drop)
    }

    pub(crate) fn forbid(&mut self, word: &str) -> Result<(), Broken> {
        self.forbidden = true;
        let word = format!("-{}", word.to_lowercase());
        known(self.admin.ok(&["ACL", "SETUSER", USER, &word]))
    }

    pub(crate) fn other(&mut self, other: Other, number: usize) -> Result<(), Broken> {
        let value = format!("o{number}");
        let done = match other {
            Other::Set(key) => self.admin.call(&["SET", KEYS[key], &value]).map(drop),
            Other::Delete(key) => self.admin.call(&["DEL", KEYS[key]]).map(drop),
            Other::Push(list) => self.admin.call(&["RPUSH", LISTS[list], &value]).map(drop),
            Other::Publish(name, len) => {
                let payload = format!("p{number:0len$}");
                self.admin.call(&["PUBLISH", NAMES[name], &payload]).map(drop)
            }
            Other::Slot(slot) => self.set_slot(slot),
        };
        known(done)
    }

    /// Gives the slot of the keys `{b}` another state.
    ///
    /// # Errors
    /// What went wrong.
    pub fn set_slot(&mut self, slot: Slot) -> Result<(), String> {
        if !self.process.is_cluster() || slot == self.slot {
            self.slot = slot;
            return Ok(());
        }
        let (me, other) = self.process.ids();
        let (me, other) = (me.to_owned(), other.to_owned());
        match self.slot {
            Slot::Here => {}
            Slot::Moved => self.admin.ok(&["CLUSTER", "SETSLOT", SLOT, "NODE", &me])?,
            Slot::Migrating => self.admin.ok(&["CLUSTER", "SETSLOT", SLOT, "STABLE"])?,
            Slot::Down => self.admin.ok(&["CLUSTER", "ADDSLOTS", SLOT])?,
        }
        if matches!(slot, Slot::Moved | Slot::Down) {
            // A node keeps a slot as long as it holds keys of it.
            for key in [KEYS[2], KEYS[3], LISTS[1]] {
                self.admin.call(&["DEL", key])?;
            }
        }
        match slot {
            Slot::Here => {}
            Slot::Moved => self.admin.ok(&["CLUSTER", "SETSLOT", SLOT, "NODE", &other])?,
            Slot::Migrating => self.admin.ok(&["CLUSTER", "SETSLOT", SLOT, "MIGRATING", &other])?,
            Slot::Down => self.admin.ok(&["CLUSTER", "DELSLOTS", SLOT])?,
        }
        self.slot = slot;
        Ok(())
    }

    /// Has the server read its keys again, which takes it a while. Answers with who waits for it.
    ///
    /// # Errors
    /// It can't.
    pub fn load(&mut self) -> Result<Wire, String> {
        // The oldest version hears nobody before it has read two megabytes.
        let text = "x".repeat(100_000);
        for key in 0..100 {
            self.admin.ok(&["SET", &format!("{{a}}large{key}"), &text])?;
        }
        self.admin.ok(&["CONFIG", "SET", "rdbcompression", "no"])?;
        self.admin.ok(&["CONFIG", "SET", "key-load-delay", "4000"])?;
        let mut wire = self.process.admin()?;
        wire.send(b"*2\r\n$5\r\nDEBUG\r\n$6\r\nRELOAD\r\n")?;
        for _ in 0..200 {
            if self.admin.call(&["GET", "x"])?.starts_with(b"-LOADING") {
                return Ok(wire);
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Err("it doesn't load".into())
    }

    /// What the server says of the connection, without a word on the connection itself.
    ///
    /// # Errors
    /// What went wrong.
    pub fn seen(&mut self) -> Result<Seen, String> {
        let line = self.line()?;
        let number = |name| field(&line, name).and_then(|text| text.parse::<i64>().ok());
        let count = |name| number(name).unwrap_or(0).unsigned_abs();
        let flag = |which| field(&line, "flags").is_some_and(|flags| flags.contains(which));
        Ok(Seen {
            transaction: number("multi").unwrap_or(-1) >= 0,
            watch: number("watch").map(|keys| keys > 0 || flag('d')),
            tracking: flag('t'),
            subscriptions: count("sub") + count("psub") + count("ssub"),
        })
    }

    /// Whether keys are watched: a transaction fails if all of them change. That ends the watch.
    ///
    /// # Errors
    /// What went wrong.
    pub fn watches(&mut self) -> Result<bool, String> {
        self.set_slot(Slot::Here)?;
        for key in KEYS {
            self.admin.call(&["SET", key, "changed"])?;
        }
        self.client.call(&["MULTI"])?;
        let mut exec = self.client.call(&["EXEC"])?;
        // Who tracks the keys hears of them first.
        while matches!(exec.first(), Some(b'>' | b'+')) {
            exec = self.client.read()?;
        }
        Ok(Value::new(&exec).map_err(|error| error.to_string())?.is_null())
    }
}

fn known<T>(result: Result<T, String>) -> Result<T, Broken> {
    result.or_else(|error| Broken::new("a real server does what it is told", error))
}

/// A field of a line of `CLIENT LIST`.
fn field<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

/// Whether a real answer is what the small server says, but for words.
fn is_alike(small: &Frame, real: &[u8]) -> bool {
    let (Ok(is), Ok(should)) = (Value::new(real), Value::new(&small.bytes)) else { return false };
    match (is.error(), should.error()) {
        // Not all versions know `CLIENT SETINFO`.
        _ if matches!(small.what, What::Login | What::Own) => true,
        (Some(is), Some(should)) => {
            is.code() == should.code()
                && is.message().ends_with(" without MULTI")
                    == should.message().ends_with(" without MULTI")
        }
        (None, None) if is.kind() != should.kind() => false,
        (None, None) => {
            let items =
                |value: Value<'_>| value.items().map(|item| item.kind()).collect::<Vec<_>>();
            let kind = is.items().next().and_then(|kind| kind.str().ok());
            // All that one is subscribed to ends in any order; and in a transaction, errors have
            // words of their own.
            let any = kind.is_some_and(|kind| kind.ends_with("unsubscribe"))
                || is.items().any(|item| item.error().is_some());
            real == small.bytes || any && items(is) == items(should)
        }
        _ => false,
    }
}
