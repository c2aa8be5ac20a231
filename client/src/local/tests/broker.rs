//! A server that publishes, on as many connections as there are.

use core::future::pending;
use core::net::{IpAddr, SocketAddr};
use core::task::Waker;
use std::collections::{BTreeSet, VecDeque};
use std::format;
use std::string::String;
use std::vec;

use super::apart::{Task, apart};
use super::cluster::Cluster;
use super::*;
use crate::reach;
use crate::world::{Never, wake};
use redis_entraid_core::connection::Config;
use redis_entraid_core::resp::Framer;
use redis_entraid_core::transport::{Endpoint, ErrorType, Read, TransportUser, Write};

pub(super) const DAY: Instant = Instant::from_millis(86_400_000);

/// What a name is resolved to.
const RESOLVED: &str = "20.1.2.3";

/// What the server says to a command on a connection of a number, if not the usual.
pub(super) type Rule = fn(u32, &str) -> Option<&'static str>;

/// A connection, as the server has it.
#[derive(Default)]
pub(super) struct Wire {
    number: u32,
    port: u16,
    input: RefCell<Vec<u8>>,
    output: RefCell<VecDeque<u8>>,
    resp3: Cell<bool>,
    closed: Cell<bool>,
    deaf: Cell<bool>,
    reader: Cell<Option<Waker>>,
    channels: RefCell<BTreeSet<String>>,
    shards: RefCell<BTreeSet<String>>,
}

impl Wire {
    fn say(&self, text: &str) {
        self.output.borrow_mut().extend(text.as_bytes());
        wake(&self.reader);
    }

    fn close(&self) {
        self.closed.set(true);
        wake(&self.reader);
    }

    fn notice(&self, words: &[&str]) {
        let mark = if self.resp3.get() { '>' } else { '*' };
        self.say(&format!("{mark}{}\r\n", words.len()));
        words.iter().for_each(|word| self.say(&format!("{word}\r\n")));
    }

    fn execute(&self, words: &[String]) {
        let mut channels = self.channels.borrow_mut();
        let mut shards = self.shards.borrow_mut();
        match &*words[0] {
            "HELLO" if words[1] == "3" => {
                self.resp3.set(true);
                self.say("%1\r\n+proto\r\n:3\r\n");
            }
            "HELLO" => self.say("*2\r\n+proto\r\n:2\r\n"),
            "PING" if self.resp3.get() || (channels.is_empty() && shards.is_empty()) => {
                self.say("+PONG\r\n")
            }
            "PING" => self.notice(&["+pong", "+"]),
            "SUBSCRIBE" => {
                channels.insert(words[1].clone());
                let (name, count) = (format!("+{}", words[1]), format!(":{}", channels.len()));
                self.notice(&["+subscribe", &name, &count]);
            }
            "UNSUBSCRIBE" => {
                channels.remove(&words[1]);
                let (name, count) = (format!("+{}", words[1]), format!(":{}", channels.len()));
                self.notice(&["+unsubscribe", &name, &count]);
            }
            "SSUBSCRIBE" => {
                shards.insert(words[1].clone());
                let (name, count) = (format!("+{}", words[1]), format!(":{}", shards.len()));
                self.notice(&["+ssubscribe", &name, &count]);
            }
            "SUNSUBSCRIBE" => {
                shards.remove(&words[1]);
                let (name, count) = (format!("+{}", words[1]), format!(":{}", shards.len()));
                self.notice(&["+sunsubscribe", &name, &count]);
            }
            _ => self.say("+OK\r\n"),
        }
    }
}

/// A server, and who connects to it.
#[derive(Clone)]
pub(super) struct Broker {
    pub(super) world: Rc<World>,
    /// How long an answer takes, and a connection.
    pub(super) far: Duration,
    /// How much longer an answer takes on the connection of that number.
    pub(super) lag: (u32, Duration),
    pub(super) dial: Duration,
    /// How often it was dialed.
    pub(super) dials: Rc<Cell<u32>>,
    /// Where: address, port and name.
    dialed: Rc<RefCell<Vec<String>>>,
    /// What a name is resolved to.
    pub(super) resolved: Rc<RefCell<Vec<&'static str>>>,
    /// Addresses that answer nobody, and those that let everybody connect and say nothing more.
    pub(super) holes: Rc<RefCell<Vec<&'static str>>>,
    pub(super) deaf: Rc<RefCell<Vec<&'static str>>>,
    /// Ports that answer nobody.
    pub(super) gone: Rc<RefCell<Vec<u16>>>,
    /// The addresses that were reached.
    reached: Rc<RefCell<Vec<String>>>,
    pub(super) rule: Rc<Cell<Rule>>,
    /// What it is a part of, if it is.
    pub(super) cluster: Rc<RefCell<Option<Cluster>>>,
    wires: Rc<RefCell<Vec<Rc<Wire>>>>,
    /// The number of the connection, and each command.
    log: Rc<RefCell<Vec<(u32, String)>>>,
}

impl Broker {
    pub(super) fn new(rule: Rule) -> Self {
        let (world, wires, log, far, lag, dial, dials, dialed) = Default::default();
        let (holes, deaf, gone, reached, cluster) = Default::default();
        let (rule, resolved) = (Rc::new(Cell::new(rule)), Rc::new(RefCell::new(vec![RESOLVED])));
        Self {
            world,
            far,
            lag,
            dial,
            dials,
            dialed,
            resolved,
            holes,
            deaf,
            gone,
            reached,
            rule,
            cluster,
            wires,
            log,
        }
    }

    /// Runs `first` until it ends, with `others` beside it, each as a task of its own.
    pub(super) fn run<R>(&self, first: impl Future<Output = R>, others: Vec<Task<'_>>) -> R {
        self.world.run(DAY, apart(&self.world, first, others)).expect("it ends")
    }

    /// Sends `text` to all who are subscribed to `channel`. Says how many those are.
    pub(super) fn publish(&self, channel: &str, text: &str) -> usize {
        let wires = self.wires.borrow();
        let hears =
            |wire: &&Rc<Wire>| !wire.closed.get() && wire.channels.borrow().contains(channel);
        wires
            .iter()
            .filter(hears)
            .map(|wire| {
                wire.notice(&["+message", &format!("+{channel}"), &format!("+{text}")]);
            })
            .count()
    }

    /// Ends the subscriptions to `channel`, as when a slot of a cluster moves.
    pub(super) fn end(&self, channel: &str) {
        for wire in self.wires.borrow().iter() {
            if wire.channels.borrow_mut().remove(channel) {
                wire.notice(&["+unsubscribe", &format!("+{channel}"), ":0"]);
            }
        }
    }

    /// Sends `text` to all who are subscribed to a shard channel at the node that has it. Says how many
    /// those are.
    pub(super) fn spublish(&self, channel: &str, text: &str) -> usize {
        let wires = self.wires.borrow();
        let hears = |wire: &&Rc<Wire>| {
            !wire.closed.get() && wire.shards.borrow().contains(channel) && self.has(wire, channel)
        };
        let notice = |wire: &Rc<Wire>| {
            wire.notice(&["+smessage", &format!("+{channel}"), &format!("+{text}")]);
        };
        wires.iter().filter(hears).map(notice).count()
    }

    /// Whether the node that a connection leads to has a shard channel.
    fn has(&self, wire: &Wire, channel: &str) -> bool {
        let cluster = self.cluster.borrow();
        cluster.as_ref().is_none_or(|cluster| cluster.has((wire.number, wire.port), channel))
    }

    /// Ends the subscriptions to shard channels that are at other nodes by now. Nodes say so, or don't.
    pub(super) fn end_moved(&self, says: bool) {
        for wire in self.wires.borrow().iter() {
            let all = wire.shards.borrow().clone();
            for channel in all.into_iter().filter(|channel| !self.has(wire, channel)) {
                wire.shards.borrow_mut().remove(&channel);
                if says {
                    wire.notice(&["+sunsubscribe", &format!("+{channel}"), ":0"]);
                }
            }
        }
    }

    /// Cuts all connections.
    pub(super) fn cut(&self) {
        self.wires.borrow().iter().for_each(|wire| wire.close());
    }

    /// Cuts the connection of that number.
    pub(super) fn cut_one(&self, number: usize) {
        self.wires.borrow()[number].close();
    }

    /// The addresses that were reached since this was asked last.
    pub(super) fn reached(&self) -> Vec<String> {
        self.reached.take()
    }

    /// Where it was dialed since this was asked last.
    pub(super) fn dialed(&self) -> Vec<String> {
        self.dialed.take()
    }

    /// Cuts the first one.
    pub(super) fn cut_first(&self) {
        self.wires.borrow()[0].close();
    }

    pub(super) fn connects(&self) -> usize {
        self.wires.borrow().len()
    }

    pub(super) fn open(&self) -> usize {
        self.wires.borrow().iter().filter(|wire| !wire.closed.get()).count()
    }

    /// Cuts all connections to `port`.
    pub(super) fn cut_port(&self, port: u16) {
        self.wires.borrow().iter().filter(|wire| wire.port == port).for_each(|wire| wire.close());
    }

    /// The ports of open connections.
    pub(super) fn ports(&self) -> Vec<u16> {
        let wires = self.wires.borrow();
        let mut ports: Vec<_> =
            wires.iter().filter(|wire| !wire.closed.get()).map(|wire| wire.port).collect();
        ports.sort_unstable();
        ports
    }

    /// The connections on which `command` came.
    pub(super) fn heard(&self, command: &str) -> Vec<u32> {
        let log = self.log.borrow();
        log.iter().filter(|(_, said)| said == command).map(|(number, _)| *number).collect()
    }

    pub(super) async fn sleep(&self, time: Duration) {
        self.world.sleep_until(self.world.now().plus(time)).await;
    }

    pub(super) fn source(&self, fetches: &Rc<Cell<u32>>) -> Many {
        Many(fetches.clone())
    }

    pub(super) fn settings(resp2: bool) -> Settings {
        let mut settings = Settings::new("cache", 0);
        settings.config = Config { set_info: false, ..settings.config };
        if resp2 {
            settings.config.protocol = redis_entraid_core::auth::Protocol::Resp2;
        }
        settings
    }
}

/// Gives out as many tokens as are wanted.
pub(super) struct Many(Rc<Cell<u32>>);

impl TokenSource for Many {
    type Error = SourceError;

    async fn fetch<'b>(
        &'b mut self,
        _: &Start,
        memory: &'b mut [u8],
    ) -> Result<Token<'b>, SourceError> {
        self.0.set(self.0.get() + 1);
        let name = format!("token-{}", self.0.get());
        let room = &mut memory[..name.len()];
        room.copy_from_slice(name.as_bytes());
        let text = core::str::from_utf8(room).unwrap();
        let token = Token::new(Secret::new(text)).with_user("oid");
        Ok(token.with_expires_in(Duration::from_secs(3600)))
    }
}

pub(super) struct Half<'b>(&'b Broker, Rc<Wire>);

impl ErrorType for Half<'_> {
    type Error = Never;
}

impl Read for Half<'_> {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, Never> {
        poll_fn(|cx| {
            if self.1.output.borrow().is_empty() && !self.1.closed.get() {
                self.1.reader.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        let (slow, lag) = self.0.lag;
        let far = if self.1.number == slow { self.0.far + lag } else { self.0.far };
        if !far.is_zero() {
            self.0.sleep(far).await;
        }
        let mut output = self.1.output.borrow_mut();
        let len = room.len().min(output.len());
        for (to, from) in room.iter_mut().zip(output.drain(..len)) {
            *to = from;
        }
        Ok(len)
    }
}

impl Write for Half<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Never> {
        let wire = &self.1;
        if wire.closed.get() || wire.deaf.get() {
            return Ok(bytes.len());
        }
        wire.input.borrow_mut().extend_from_slice(bytes);
        while !wire.closed.get() {
            let mut input = wire.input.borrow_mut();
            let Some(framed) = Framer::new().feed(&input).ok().filter(|framed| framed.complete)
            else {
                return Ok(bytes.len());
            };
            let command = Value::new(&input[..framed.used]).unwrap();
            let words: Vec<_> =
                command.items().map(|word| word.str().unwrap().to_string()).collect();
            input.drain(..framed.used);
            drop(input);
            let said = words.join(" ");
            let of_cluster = self
                .0
                .cluster
                .borrow_mut()
                .as_mut()
                .and_then(|cluster| cluster.answer((wire.number, wire.port), &words));
            match self.0.rule.get()(wire.number, &said) {
                None if of_cluster.is_some() => wire.say(&of_cluster.unwrap_or_default()),
                Some("cut") => wire.close(),
                Some("deaf") => wire.deaf.set(true),
                Some(answer) => wire.say(answer),
                None => wire.execute(&words),
            }
            self.0.log.borrow_mut().push((wire.number, said));
        }
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Never> {
        Ok(())
    }
}

impl Connector for Broker {
    type Error = Never;

    async fn connect<S: TransportUser>(
        &mut self,
        endpoint: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, Never> {
        let Endpoint { address, port, server_name, .. } = *endpoint;
        self.dialed.borrow_mut().push(format!("{address}:{port} as {server_name}"));
        self.dials.set(self.dials.get() + 1);
        let addresses: Vec<IpAddr> = match address.parse() {
            Ok(address) => vec![address],
            Err(_) => self.resolved.borrow().iter().map(|ip| ip.parse().unwrap()).collect(),
        };
        let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, port));
        let is_one = |these: &RefCell<Vec<&str>>, ip: &str| these.borrow().contains(&ip);
        let tcp = async |address: SocketAddr| {
            let ip = address.ip().to_string();
            if is_one(&self.holes, &ip) || self.gone.borrow().contains(&port) {
                pending::<()>().await;
            }
            self.sleep(self.dial).await;
            Ok::<_, Never>(ip)
        };
        let Ok(ip) = reach(&Calendar(self.world.clone()), endpoint, addresses, tcp).await else {
            // It is given up for that.
            return pending().await;
        };
        let number = u32::try_from(self.wires.borrow().len()).unwrap();
        let wire = Rc::new(Wire { number, port, ..Wire::default() });
        wire.deaf.set(is_one(&self.deaf, &ip));
        self.reached.borrow_mut().push(ip);
        self.wires.borrow_mut().push(wire.clone());
        let _open = Open(wire.clone());
        Ok(session.run(Half(self, wire.clone()), Half(self, wire)).await)
    }
}

struct Open(Rc<Wire>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}
