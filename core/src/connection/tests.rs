use super::*;
use crate::args;
use crate::auth::{LoginError, Protocol};
use crate::command::Refused;
use crate::event::{Event, LostState};
use crate::manager::Generation;
use crate::policy::RefreshPolicy;
use crate::resp::{Framer, Value};
use crate::secret::Secret;
use crate::storage::{Buffer, CapacityError};
use crate::token::Token;
use core::time::Duration;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

const fn secs(secs: u64) -> Instant {
    Instant::from_millis(secs * 1000)
}

type Manager = TokenManager<[u8; 64]>;

/// A connection, a token manager, and a person at the other end who types the answers.
struct Bench {
    now: Instant,
    manager: Manager,
    connection: Connection<Vec<u8>, Vec<Pending>>,
    /// Commands that came through, a line each, and those of which the end is still to come.
    heard: Vec<String>,
    partial: Vec<u8>,
}

// Memory that doesn't grow, of a size that each test chooses.
impl Storage<u8> for Vec<u8> {
    fn room(&self) -> &[u8] {
        self
    }
    fn room_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Storage<Pending> for Vec<Pending> {
    fn room(&self) -> &[Pending] {
        self
    }
    fn room_mut(&mut self) -> &mut [Pending] {
        self
    }
}

const HELLO: &str = "%2\r\n+proto\r\n:3\r\n+id\r\n:9\r\n";

impl Bench {
    fn with(config: Config, receive: usize, transmit: usize, ring: usize) -> Self {
        let ring = std::vec![Pending::default(); ring];
        let (receive, transmit) = (std::vec![0; receive], std::vec![0; transmit]);
        let mut bench = Self {
            now: secs(0),
            manager: TokenManager::new(RefreshPolicy::default(), [[0; 64]; 2]),
            connection: Connection::new(config, receive, transmit, ring),
            heard: Vec::new(),
            partial: Vec::new(),
        };
        bench.token("token-1");
        bench
    }

    fn new() -> Self {
        Self::with(Config { set_info: false, ..Config::default() }, 256, 256, 8)
    }

    /// Logged in already.
    fn ready() -> Self {
        let mut bench = Self::new();
        bench.look();
        bench.flush();
        bench.answer(HELLO);
        bench.heard.clear();
        bench
    }

    fn token(&mut self, text: &str) {
        let token = Token::new(Secret::new(text)).with_user("oid");
        let token = token.with_expires_in(Duration::from_secs(3600));
        self.manager.token(self.now, &token).unwrap();
    }

    fn look(&mut self) {
        self.connection.look(self.now, &mut self.manager);
    }

    /// Takes all that is to be sent, and looks when that is wanted.
    fn flush(&mut self) {
        loop {
            while let bytes @ [_, ..] = self.connection.transmit() {
                let len = bytes.len();
                self.partial.extend_from_slice(bytes);
                self.connection.sent(len);
            }
            if !self.connection.wants_look() {
                break;
            }
            self.look();
        }
        while let Ok(framed) = Framer::new().feed(&self.partial)
            && framed.complete
        {
            let command: Vec<u8> = self.partial.drain(..framed.used).collect();
            let words = Value::new(&command).unwrap().items();
            let words: Vec<_> = words.map(|word| word.str().unwrap().to_string()).collect();
            self.heard.push(words.join(" "));
        }
    }

    /// Lets `reply` come in, and says what came of it.
    fn answer(&mut self, reply: &str) -> Vec<String> {
        let mut outputs = Vec::new();
        let mut rest = reply.as_bytes();
        while !rest.is_empty() {
            let space = self.connection.receive_space();
            let len = space.len().min(rest.len());
            space[..len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            self.connection.received(self.now, len);
            outputs.extend(self.outputs());
        }
        self.flush();
        outputs.extend(self.outputs());
        outputs
    }

    fn outputs(&mut self) -> Vec<String> {
        let mut outputs = Vec::new();
        while let Some(output) = self.connection.next(self.now) {
            outputs.push(match output {
                Output::Reply { tag, reply: Ok(value) } => match value.error() {
                    Some(error) => format!("{tag} error {}", error.code()),
                    None => format!("{tag} {}", value.str().unwrap_or("?")),
                },
                Output::Reply { tag, reply: Err(error) } => format!("{tag} {error}"),
                Output::Lost { tag, lost } => format!("{tag} {:?} {:?}", lost.outcome, lost.reason),
                Output::Push(Ok(value)) => {
                    let items = value.items().map(|item| item.str().unwrap_or("?").to_string());
                    format!("push {}", items.collect::<Vec<_>>().join(" "))
                }
                Output::Push(Err(error)) => format!("push {error}"),
                Output::Event(event) => format!("{event:?}"),
            });
        }
        outputs
    }

    fn submit(&mut self, tag: Tag, args: &[Arg<'_>]) {
        self.connection.submit(self.now, tag, args).unwrap();
        self.flush();
    }

    #[track_caller]
    fn hears(&mut self, commands: &[&str]) {
        assert_eq!(self.heard, commands);
        self.heard.clear();
    }
}

fn event(event: Event) -> String {
    format!("{event:?}")
}

fn ended(reason: CloseReason) -> String {
    event(Event::Disconnected { reason })
}

const ONE: Generation = Generation(1);
const TWO: Generation = Generation(2);

#[test]
fn a_login_is_one_hello_and_opens_the_connection() {
    let mut bench = Bench::new();
    bench.look();
    bench.flush();
    bench.hears(&["HELLO 3 AUTH oid token-1"]);
    assert_eq!(bench.connection.submit(bench.now, 1, args!["PING"]), Err(SubmitError::Full));
    let logged_in = event(Event::LoggedIn { generation: ONE, protocol: Protocol::Resp3 });
    assert_eq!(bench.answer(HELLO), [logged_in]);
    bench.hears(&[]);
    bench.submit(1, args!["SET", "n", 42]);
    bench.hears(&["SET n 42"]);
    assert_eq!(bench.answer("+OK\r\n"), ["1 OK"]);
    let health = bench.connection.health(bench.now);
    assert_eq!((health.client_id, health.generation), (Some(9), Some(ONE)));
}

#[test]
fn without_a_token_it_waits_for_one() {
    let mut bench = Bench::new();
    bench.manager = TokenManager::new(RefreshPolicy::default(), [[0; 64]; 2]);
    bench.look();
    bench.flush();
    bench.hears(&[]);
    bench.token("late");
    bench.look();
    bench.flush();
    bench.hears(&["HELLO 3 AUTH oid late"]);
}

#[test]
fn a_token_larger_than_the_transmit_buffer_goes_out_in_pieces_and_is_wiped() {
    let mut bench = Bench::with(Config::default(), 256, 16, 8);
    bench.look();
    bench.flush();
    bench.hears(&["HELLO 3 AUTH oid token-1"]);
    let (_, _, transmitter) = bench.connection.parts();
    assert!(format!("{transmitter:?}").contains("0 bytes"));
    let connection = core::mem::replace(&mut bench, Bench::new()).connection;
    assert!(!format!("{connection:?}").contains("token-1"));
    let (mut receive, mut memory) = ([0_u8; 16], [0_u8; 64]);
    let ring = [Pending::default()];
    let mut small = Connection::new(Config::default(), &mut receive[..], &mut memory[..], ring);
    small.look(secs(0), &mut bench.manager);
    assert!(small.transmit().ends_with(b"token-1\r\n"));
    drop(small);
    assert_eq!(memory, [0; 64]);
}

#[test]
fn resp2_is_a_choice_and_a_way_out() {
    let config = Config { protocol: Protocol::Resp2, set_info: false, ..Config::default() };
    let mut bench = Bench::with(config, 256, 256, 8);
    bench.look();
    bench.flush();
    bench.hears(&["AUTH oid token-1"]);
    let logged_in = event(Event::LoggedIn { generation: ONE, protocol: Protocol::Resp2 });
    assert_eq!(bench.answer("+OK\r\n"), [&*logged_in]);

    let mut bench = Bench::new();
    bench.look();
    bench.flush();
    assert!(bench.answer("-NOPROTO unsupported protocol version\r\n").is_empty());
    bench.hears(&["HELLO 3 AUTH oid token-1", "AUTH oid token-1"]);
    assert_eq!(bench.answer("+OK\r\n"), [logged_in]);
}

#[test]
fn a_name_goes_with_the_login_whatever_the_protocol() {
    let name = ClientName::new("gateway-7");
    let config = Config { name, set_info: false, ..Config::default() };
    let mut bench = Bench::with(config.clone(), 256, 256, 8);
    bench.look();
    bench.flush();
    bench.hears(&["HELLO 3 AUTH oid token-1 SETNAME gateway-7"]);

    let mut bench = Bench::with(Config { protocol: Protocol::Resp2, ..config }, 256, 256, 8);
    bench.look();
    bench.flush();
    bench.answer("+OK\r\n");
    bench.submit(1, args!["PING"]);
    bench.hears(&["AUTH oid token-1", "PING", "CLIENT SETNAME gateway-7"]);
    assert_eq!(bench.answer("+PONG\r\n-NOPERM no\r\n"), ["1 PONG"]);
    assert_eq!(ClientName::new("a b"), None);
    assert_eq!(ClientName::new(&"x".repeat(33)), None);
}

#[test]
fn the_library_introduces_itself_behind_the_first_command_that_is_not_in_a_transaction() {
    let mut bench = Bench::with(Config::default(), 256, 256, 8);
    bench.look();
    bench.flush();
    bench.answer(HELLO);
    bench.heard.clear();
    bench.submit(1, args!["MULTI"]);
    bench.submit(2, args!["GET", "k"]);
    bench.submit(3, args!["EXEC"]);
    bench.hears(&["MULTI", "GET k", "EXEC"]);
    bench.submit(4, args!["PING"]);
    let version = env!("CARGO_PKG_VERSION");
    bench.hears(&[
        "PING",
        "CLIENT SETINFO LIB-NAME redis-entraid",
        &format!("CLIENT SETINFO LIB-VER {version}"),
    ]);
    let replies =
        "+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n+PONG\r\n-ERR unknown subcommand\r\n-NOPERM x\r\n";
    assert_eq!(bench.answer(replies), ["1 OK", "2 QUEUED", "3 ?", "4 PONG"]);
    bench.submit(5, args!["PING"]);
    bench.hears(&["PING"]);
}

#[test]
fn a_refused_first_login_ends_the_connection_and_says_why() {
    let mut bench = Bench::new();
    bench.look();
    bench.flush();
    let error = LoginError::WrongPass;
    let reason = CloseReason::Refused(error);
    assert_eq!(
        bench.answer("-WRONGPASS invalid username-password pair\r\n"),
        [event(Event::Rejected { generation: ONE, error, serving: false }), ended(reason),]
    );
    assert_eq!(bench.connection.submit(bench.now, 1, args!["PING"]), Err(SubmitError::Ended));
    assert_eq!(bench.manager.health(bench.now).rejections, 1);
    assert!(bench.connection.transmit().is_empty());
}

#[test]
fn a_login_that_is_not_answered_is_given_up_at_its_deadline() {
    let mut bench = Bench::new();
    bench.look();
    bench.flush();
    assert_eq!(bench.connection.next_deadline(), secs(5));
    bench.now = Instant::from_millis(4_999);
    bench.look();
    assert!(bench.outputs().is_empty());
    bench.now = secs(5);
    bench.look();
    assert_eq!(bench.outputs(), [ended(CloseReason::LoginTimeout)]);
}

#[test]
fn another_login_goes_out_alone_when_all_replies_are_in() {
    let mut bench = Bench::ready();
    bench.now = secs(60);
    bench.token("token-2");
    bench.look();
    let due = bench.connection.next_deadline();
    assert!(due > secs(60) && due < secs(90), "{due:?}");
    bench.now = due.minus(Duration::from_millis(1));
    bench.submit(1, args!["GET", "a"]);
    bench.submit(2, args!["GET", "b"]);
    bench.look();
    bench.submit(3, args!["GET", "c"]);
    bench.now = due;
    bench.look();
    assert_eq!(bench.connection.submit(bench.now, 4, args!["PING"]), Err(SubmitError::Full));
    bench.hears(&["GET a", "GET b", "GET c"]);
    assert_eq!(bench.answer("+A\r\n+B\r\n"), ["1 A", "2 B"]);
    bench.hears(&[]);
    assert_eq!(bench.answer("+C\r\n"), ["3 C"]);
    bench.hears(&["AUTH oid token-2"]);
    assert_eq!(bench.connection.submit(bench.now, 4, args!["PING"]), Err(SubmitError::Full));
    assert_eq!(bench.answer("+OK\r\n"), [event(Event::Reauthenticated { generation: TWO })]);
    bench.submit(4, args!["PING"]);
    assert_eq!(bench.answer("+PONG\r\n"), ["4 PONG"]);
    assert_eq!(bench.connection.health(bench.now).reauths, 1);
}

/// Has a newer token and is past the time at which it should be used.
fn due(bench: &mut Bench, text: &str) {
    bench.now = bench.now.plus(Duration::from_secs(40));
    bench.token(text);
    bench.now = bench.now.plus(Duration::from_secs(40));
    bench.look();
    bench.flush();
}

#[test]
fn a_transaction_is_not_interrupted() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    assert_eq!(bench.answer("+OK\r\n"), ["1 OK"]);
    bench.heard.clear();
    due(&mut bench, "token-2");
    bench.hears(&[]);
    bench.submit(2, args!["INCR", "n"]);
    assert_eq!(bench.answer("+QUEUED\r\n"), ["2 QUEUED"]);
    bench.submit(3, args!["EXEC"]);
    bench.hears(&["INCR n", "EXEC"]);
    bench.answer("*1\r\n:1\r\n");
    bench.hears(&["AUTH oid token-2"]);
}

#[test]
fn a_multi_that_was_refused_opens_no_transaction() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.answer("-NOPERM no\r\n");
    bench.heard.clear();
    due(&mut bench, "token-2");
    bench.hears(&["AUTH oid token-2"]);
    // One in another is refused, and the other one is still open.
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.submit(2, args!["MULTI"]);
    bench.answer("+OK\r\n-ERR MULTI calls can not be nested\r\n");
    bench.heard.clear();
    due(&mut bench, "token-2");
    bench.hears(&[]);
}

#[test]
fn a_refused_login_on_a_live_connection_keeps_the_old_one_and_tries_a_fresh_token() {
    let mut bench = Bench::ready();
    due(&mut bench, "token-2");
    bench.hears(&["AUTH oid token-2"]);
    let error = LoginError::WrongPass;
    assert_eq!(
        bench.answer("-WRONGPASS no\r\n"),
        [event(Event::Rejected { generation: TWO, error, serving: true })]
    );
    bench.submit(1, args!["PING"]);
    assert_eq!(bench.answer("+PONG\r\n"), ["1 PONG"]);
    bench.hears(&["PING"]);
    assert!(matches!(bench.manager.poll(bench.now), crate::manager::Action::Fetch { .. }));
    due(&mut bench, "token-3");
    bench.hears(&["AUTH oid token-3"]);
    assert_eq!(
        bench.answer("+OK\r\n"),
        [event(Event::Reauthenticated { generation: Generation(3) })]
    );
}

#[test]
fn a_server_that_is_busy_is_asked_again_a_little_later() {
    let mut bench = Bench::ready();
    due(&mut bench, "token-2");
    bench.hears(&["AUTH oid token-2"]);
    bench.answer("-LOADING Redis is loading the dataset in memory\r\n");
    let at = bench.now;
    for wait in [1, 2, 4] {
        bench.look();
        let due = bench.connection.next_deadline();
        assert_eq!(due.since(bench.now).as_secs(), wait);
        bench.now = due.minus(Duration::from_millis(1));
        bench.look();
        bench.flush();
        bench.hears(&[]);
        bench.now = due;
        bench.look();
        bench.flush();
        bench.hears(&["AUTH oid token-2"]);
        bench.answer("-LOADING Redis is loading the dataset in memory\r\n");
    }
    assert_eq!(bench.now.since(at).as_secs(), 7);
    assert_eq!(bench.manager.health(bench.now).rejections, 0, "the token is not to blame");
}

#[test]
fn a_login_that_has_ended_is_never_written_to() {
    let mut bench = Bench::ready();
    bench.now = Instant::from_millis(3_599_999);
    bench.submit(1, args!["GET", "a"]);
    bench.hears(&["GET a"]);
    // Nobody has looked yet, and still nothing is taken.
    bench.now = secs(3600);
    assert_eq!(bench.connection.submit(bench.now, 2, args!["GET", "b"]), Err(SubmitError::Full));
    bench.look();
    let reason = CloseReason::LoginExpired;
    assert_eq!(bench.outputs(), [format!("1 Unknown {:?}", Some(reason)), ended(reason)]);
    assert!(bench.connection.transmit().is_empty());
}

#[test]
fn commands_know_whether_they_were_sent() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["GET", "sent"]);
    bench.connection.submit(bench.now, 2, args!["GET", "shown"]).unwrap();
    // Shown to the transport: it may be out, whatever that said of it.
    assert!(!bench.connection.transmit().is_empty());
    bench.connection.submit(bench.now, 3, args!["GET", "not shown"]).unwrap();
    bench.connection.closed(CloseReason::ByServer);
    let reason = Some(CloseReason::ByServer);
    assert_eq!(
        bench.outputs(),
        [
            format!("1 Unknown {reason:?}"),
            format!("2 Unknown {reason:?}"),
            format!("3 NotSent {reason:?}"),
            ended(CloseReason::ByServer),
        ]
    );
    assert!(bench.outputs().is_empty());
    bench.connection.closed(CloseReason::Broken);
    assert!(bench.outputs().is_empty(), "it ends once");
}

#[test]
fn a_command_that_takes_too_long_is_given_up_and_its_reply_dropped() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["GET", "slow"]);
    bench.now = secs(3);
    bench.submit(2, args!["GET", "next"]);
    assert_eq!(bench.connection.next_deadline(), secs(5));
    bench.now = secs(5);
    bench.look();
    assert_eq!(bench.outputs(), ["1 Unknown None"]);
    bench.submit(3, args!["PING"]);
    assert_eq!(bench.answer("+SLOW\r\n+NEXT\r\n+PONG\r\n"), ["2 NEXT", "3 PONG"]);
}

#[test]
fn a_silent_server_is_given_up() {
    let config = Config { command_timeout: Duration::from_secs(3600), ..Config::default() };
    let mut bench = Bench::with(config, 256, 256, 8);
    bench.look();
    bench.flush();
    bench.answer(HELLO);
    bench.now = secs(100);
    bench.submit(1, args!["GET", "a"]);
    assert_eq!(bench.connection.next_deadline(), secs(115));
    bench.now = secs(114);
    bench.answer("$5\r\n");
    bench.look();
    assert_eq!(bench.connection.next_deadline(), secs(129), "a byte is a sign of life");
    bench.now = secs(129);
    bench.look();
    let reason = CloseReason::Unresponsive;
    assert_eq!(bench.outputs(), [format!("1 Unknown {:?}", Some(reason)), ended(reason)]);
}

#[test]
fn an_idle_connection_is_kept_and_a_refused_ping_is_a_sign_of_life() {
    let mut bench = Bench::ready();
    bench.look();
    assert_eq!(bench.connection.next_deadline(), secs(240));
    bench.now = secs(240);
    bench.look();
    bench.flush();
    bench.hears(&["PING"]);
    assert!(bench.answer("-NOPERM User oid has no permissions to run 'ping'\r\n").is_empty());
    bench.look();
    assert_eq!(bench.connection.next_deadline(), secs(480));
    assert!(bench.connection.is_ready());
}

#[test]
fn a_reply_larger_than_the_buffer_is_skipped_and_reported() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["GET", "big"]);
    bench.submit(2, args!["GET", "small"]);
    let big = "x".repeat(10_000);
    let outputs = bench.answer(&format!("*2\r\n$10000\r\n{big}\r\n:7\r\n$2\r\nok\r\n"));
    assert_eq!(outputs, ["1 the reply has 10018 bytes, the receive buffer 256", "2 ok"]);
    // So is a push, and a login's answer counts even so.
    let push = format!(">1\r\n$300\r\n{}\r\n", "x".repeat(300));
    assert_eq!(bench.answer(&push), ["push the reply has 312 bytes, the receive buffer 256"]);
    let mut bench = Bench::with(Config::default(), 32, 256, 8);
    bench.look();
    bench.flush();
    let hello = format!("%1\r\n+modules\r\n${}\r\n{}\r\n", 200, "m".repeat(200));
    let logged_in = Event::LoggedIn { generation: ONE, protocol: Protocol::Resp3 };
    assert_eq!(bench.answer(&hello), [event(logged_in)]);
}

#[test]
fn full_buffers_push_back_and_nothing_is_lost() {
    let mut bench = Bench::with(Config { set_info: false, ..Config::default() }, 64, 64, 3);
    bench.look();
    bench.flush();
    bench.answer(HELLO);
    bench.heard.clear();
    let ping = args!["PING"];
    // 14 bytes each: four fit into the transmit buffer, three into the ring.
    for tag in 1..=3 {
        bench.connection.submit(bench.now, tag, ping).unwrap();
    }
    assert_eq!(bench.connection.submit(bench.now, 4, ping), Err(SubmitError::Full));
    bench.flush();
    assert_eq!(bench.connection.submit(bench.now, 4, ping), Err(SubmitError::Full));
    assert_eq!(bench.answer("+a\r\n"), ["1 a"]);
    bench.submit(4, ping);
    assert_eq!(bench.answer("+b\r\n+c\r\n+d\r\n"), ["2 b", "3 c", "4 d"]);
    let long = "x".repeat(64);
    let error = CapacityError::new(Buffer::Transmit, 84, 64);
    let submitted = bench.connection.submit(bench.now, 5, args!["GET", &*long]);
    assert_eq!(submitted, Err(SubmitError::TooLarge(error)));
    let submitted = bench.connection.submit(bench.now, 5, args!["AUTH", "x"]);
    assert_eq!(submitted, Err(SubmitError::Refused(Refused::Login)));
}

#[test]
fn pushes_come_between_replies() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["PING"]);
    let outputs = bench.answer(">2\r\n+invalidate\r\n*1\r\n+k\r\n+PONG\r\n>1\r\n+x\r\n");
    assert_eq!(outputs, ["push invalidate ?", "1 PONG", "push x"]);
}

#[test]
fn an_answer_to_nothing_ends_the_connection() {
    for nonsense in ["+OK\r\n", "HTTP/1.1 400 Bad Request\r\n"] {
        let mut bench = Bench::ready();
        assert_eq!(bench.answer(nonsense), [ended(CloseReason::Protocol)], "{nonsense}");
    }
    // What a server says instead of a greeting is the answer to the login.
    let mut bench = Bench::new();
    bench.look();
    bench.flush();
    let error = LoginError::MaxClients;
    assert_eq!(
        bench.answer("-ERR max number of clients reached\r\n"),
        [
            event(Event::Rejected { generation: ONE, error, serving: false }),
            ended(CloseReason::Refused(error)),
        ]
    );
    assert_eq!(bench.manager.health(bench.now).rejections, 0);
}

#[test]
fn a_token_that_goes_away_while_it_is_sent_ends_the_connection() {
    let mut bench = Bench::with(Config::default(), 64, 8, 4);
    bench.look();
    assert!(!bench.connection.transmit().is_empty());
    bench.token("token-2");
    bench.token("token-3");
    bench.flush();
    assert_eq!(bench.outputs(), [ended(CloseReason::TokenReplaced)]);
}

#[test]
fn replies_in_single_bytes_cost_no_more_than_in_one_piece() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["GET", "a"]);
    let reply = format!("$200\r\n{}\r\n", "x".repeat(200));
    let mut outputs = Vec::new();
    for byte in reply.bytes() {
        bench.connection.receive_space()[0] = byte;
        bench.connection.received(bench.now, 1);
        outputs.extend(bench.outputs());
    }
    assert_eq!(outputs, [format!("1 {}", "x".repeat(200))]);
}

#[test]
fn a_blocking_command_has_its_time_and_holds_others_back_here() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["BLPOP", "queue", 8]);
    assert_eq!(bench.connection.submit(bench.now, 2, args!["GET", "a"]), Err(SubmitError::Full));
    // Neither late nor unresponsive while it blocks, and for as long as any command behind that.
    bench.look();
    assert_eq!(bench.connection.next_deadline(), secs(13));
    bench.now = Instant::from_millis(12_999);
    bench.look();
    assert!(bench.outputs().is_empty());
    assert_eq!(bench.answer("*2\r\n+queue\r\n+job\r\n"), ["1 ?"]);
    bench.submit(2, args!["GET", "a"]);
    assert_eq!(bench.answer("_\r\n"), ["2 ?"]);
    // Longer than a login could wait is refused, but in a transaction nothing blocks.
    for long in [args!["BLPOP", "queue", "10.001"], args!["XREAD", "BLOCK", 0, "STREAMS", "s", "0"]]
    {
        let refused = Err(SubmitError::Refused(Refused::Blocking));
        assert_eq!(bench.connection.submit(bench.now, 3, long), refused);
    }
    bench.submit(4, args!["MULTI"]);
    bench.submit(5, args!["BLPOP", "queue", 0]);
    bench.submit(6, args!["EXEC"]);
    assert_eq!(bench.answer("+OK\r\n+QUEUED\r\n*1\r\n_\r\n"), ["4 OK", "5 QUEUED", "6 ?"]);
}

#[test]
fn a_login_waits_for_a_blocking_command_and_comes_before_the_next() {
    let mut bench = Bench::ready();
    bench.now = secs(60);
    bench.token("token-2");
    bench.look();
    let due = bench.connection.next_deadline();
    bench.submit(1, args!["BLPOP", "queue", 10]);
    bench.now = due.max(secs(61));
    bench.look();
    bench.flush();
    bench.hears(&["BLPOP queue 10"]);
    assert_eq!(bench.answer("_\r\n").len(), 1);
    bench.hears(&["AUTH oid token-2"]);
    assert_eq!(
        bench.connection.submit(bench.now, 2, args!["BLPOP", "queue", 10]),
        Err(SubmitError::Full)
    );
}

#[test]
fn a_subscription_is_done_when_all_of_it_is_confirmed() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["SUBSCRIBE", "a", "b"]);
    bench.submit(2, args!["PSUBSCRIBE", "p*"]);
    bench.submit(3, args!["PING"]);
    let confirm = |what: &str, name: &str, n| format!(">3\r\n+{what}\r\n+{name}\r\n:{n}\r\n");
    let all = [
        confirm("subscribe", "a", 1),
        ">3\r\n+message\r\n+a\r\n+early\r\n".to_string(),
        confirm("subscribe", "b", 2),
        confirm("psubscribe", "p*", 3),
        "+PONG\r\n".to_string(),
    ];
    assert_eq!(
        bench.answer(&all.concat()),
        ["push subscribe a 1", "push message a early", "1 ?", "2 ?", "3 PONG",]
    );
    assert_eq!(bench.connection.health(bench.now).subscriptions, 3);
    // All channels, of which there are two; then all, of which there are none.
    bench.submit(4, args!["UNSUBSCRIBE"]);
    bench.submit(5, args!["UNSUBSCRIBE"]);
    let all = [
        confirm("unsubscribe", "a", 2),
        confirm("unsubscribe", "b", 1),
        confirm("unsubscribe", "", 1),
    ];
    assert_eq!(bench.answer(&all.concat()), ["push unsubscribe a 2", "4 ?", "5 ?"]);
    assert_eq!(bench.connection.health(bench.now).subscriptions, 1);
    // A refused one is an error like any other.
    bench.submit(6, args!["SUBSCRIBE", "secret"]);
    assert_eq!(bench.answer("-NOPERM no access\r\n"), ["6 error NOPERM"]);
    bench.submit(7, args!["MULTI"]);
    let refused = Err(SubmitError::Refused(Refused::Subscription));
    assert_eq!(bench.connection.submit(bench.now, 8, args!["SUBSCRIBE", "a"]), refused);
}

#[test]
fn a_resp3_subscriber_logs_in_again_in_place() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["SUBSCRIBE", "a"]);
    bench.answer(">3\r\n+subscribe\r\n+a\r\n:1\r\n");
    bench.heard.clear();
    due(&mut bench, "token-2");
    bench.hears(&["AUTH oid token-2"]);
    assert_eq!(
        bench.answer(">3\r\n+message\r\n+a\r\n+x\r\n+OK\r\n"),
        ["push message a x".to_string(), event(Event::Reauthenticated { generation: TWO }),]
    );
}

/// A RESP2 connection that is logged in and subscribed to a channel.
fn resp2_subscriber(replacement: Replacement) -> Bench {
    let config =
        Config { protocol: Protocol::Resp2, set_info: false, replacement, ..Config::default() };
    let mut bench = Bench::with(config, 256, 256, 8);
    bench.look();
    bench.flush();
    bench.answer("+OK\r\n");
    bench.submit(1, args!["SUBSCRIBE", "a"]);
    assert_eq!(bench.answer("*3\r\n+subscribe\r\n+a\r\n:1\r\n"), ["1 ?"]);
    bench.heard.clear();
    bench
}

#[test]
fn a_resp2_subscriber_takes_only_what_resp2_allows() {
    let mut bench = resp2_subscriber(Replacement::default());
    let refused = Err(SubmitError::Refused(Refused::Subscriber));
    assert_eq!(bench.connection.submit(bench.now, 2, args!["GET", "k"]), refused);
    assert_eq!(bench.answer("*3\r\n+message\r\n+a\r\n+x\r\n"), ["push message a x"]);
    // The connection's own PING is answered in the subscriber's way.
    bench.now = secs(240);
    bench.look();
    bench.flush();
    bench.hears(&["PING"]);
    assert!(bench.answer("*2\r\n+pong\r\n+\r\n").is_empty());
    bench.submit(3, args!["UNSUBSCRIBE", "a"]);
    assert_eq!(bench.answer("*3\r\n+unsubscribe\r\n+a\r\n:0\r\n"), ["3 ?"]);
    bench.submit(4, args!["GET", "k"]);
    assert_eq!(bench.answer("$1\r\nv\r\n"), ["4 v"]);
}

#[test]
fn a_resp2_subscriber_is_replaced_before_its_login_ends() {
    let mut bench = resp2_subscriber(Replacement::BreakThenMake);
    due(&mut bench, "token-2");
    bench.hears(&[]);
    let lost = LostState { subscriptions: 1, ..LostState::default() };
    let end = [event(Event::StateLost(lost)), ended(CloseReason::Replaced)];
    assert_eq!(bench.outputs(), end);

    let mut bench = resp2_subscriber(Replacement::Overlap);
    due(&mut bench, "token-2");
    let ends_in = secs(3600).since(bench.now);
    assert_eq!(bench.outputs(), [event(Event::ReplacementDue { ends_in })]);
    bench.look();
    assert!(bench.outputs().is_empty(), "it is said once");
    assert_eq!(bench.answer("*3\r\n+message\r\n+a\r\n+x\r\n"), ["push message a x"]);
    bench.connection.retire();
    bench.look();
    assert_eq!(bench.outputs(), end);
}

#[test]
fn a_connection_whose_logins_are_refused_again_and_again_is_replaced_before_it_dies() {
    let mut bench = Bench::ready();
    due(&mut bench, "token-2");
    let mut attempts = 0;
    while !bench.connection.parts().0.has_ended() {
        assert_eq!(bench.heard.drain(..).collect::<Vec<_>>(), ["AUTH oid token-2"]);
        bench.answer("-LOADING Redis is loading the dataset in memory\r\n");
        attempts += 1;
        loop {
            bench.look();
            bench.flush();
            if !bench.heard.is_empty() || bench.connection.parts().0.has_ended() {
                break;
            }
            bench.now = bench.connection.next_deadline();
        }
    }
    assert!(attempts > 10, "{attempts}");
    assert_eq!(bench.outputs().last(), Some(&ended(CloseReason::Replaced)));
    let left = secs(3600).since(bench.now);
    assert!((60..=90).contains(&left.as_secs()), "{left:?}");
}

#[test]
fn what_is_lost_with_a_connection_is_said() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["WATCH", "k"]);
    bench.submit(2, args!["CLIENT", "TRACKING", "ON"]);
    bench.submit(3, args!["MULTI"]);
    bench.answer("+OK\r\n+OK\r\n+OK\r\n");
    bench.connection.closed(CloseReason::ByServer);
    let lost = LostState { transaction: true, watch: true, tracking: true, subscriptions: 0 };
    let event = Event::StateLost(lost);
    assert_eq!(format!("{event}"), "lost with the connection: MULTI WATCH CLIENT TRACKING");
    assert_eq!(bench.outputs(), [format!("{event:?}"), ended(CloseReason::ByServer)]);

    let mut bench = Bench::ready();
    for (tag, args) in [args!["WATCH", "k"], args!["MULTI"], args!["EXEC"]].into_iter().enumerate()
    {
        bench.submit(tag as u64, args);
    }
    bench.submit(3, args!["WATCH", "k"]);
    bench.submit(4, args!["UNWATCH"]);
    bench.answer("+OK\r\n+OK\r\n*0\r\n+OK\r\n+OK\r\n");
    bench.connection.closed(CloseReason::ByServer);
    assert_eq!(bench.outputs(), [ended(CloseReason::ByServer)]);
}

#[test]
fn an_idle_connection_may_be_let_go() {
    let idle = Idle::LetGo(Duration::from_secs(60));
    let mut bench = Bench::with(Config { idle, set_info: false, ..Config::default() }, 256, 256, 8);
    bench.look();
    bench.flush();
    bench.answer(HELLO);
    bench.now = secs(30);
    bench.submit(1, args!["GET", "k"]);
    bench.answer("_\r\n");
    bench.now = secs(40);
    bench.look();
    assert_eq!(bench.connection.next_deadline(), secs(90));
    bench.now = Instant::from_millis(89_999);
    bench.look();
    assert!(bench.outputs().is_empty());
    bench.now = secs(90);
    bench.look();
    assert_eq!(bench.outputs(), [ended(CloseReason::Idle)]);
    // What the server keeps for it keeps it.
    let mut bench = Bench::with(Config { idle, ..Config::default() }, 256, 256, 8);
    bench.look();
    bench.flush();
    bench.answer(HELLO);
    bench.submit(1, args!["WATCH", "k"]);
    bench.answer("+OK\r\n+OK\r\n+OK\r\n");
    bench.now = secs(1000);
    bench.look();
    assert!(bench.outputs().is_empty());
}

#[test]
fn a_token_for_another_service_is_called_so() {
    // {"oid":...,"aud":"https://management.azure.com"}
    let jwt = "h.eyJvaWQiOiIxMTExMTExMS0yMjIyLTMzMzMtNDQ0NC01NTU1NTU1NTU1NTUiLCJhdWQiOiJodHRwczovL21hbmFnZW1lbnQuYXp1cmUuY29tIn0.s";
    let mut manager = TokenManager::new(RefreshPolicy::default(), [[0; 256]; 2]);
    let token = Token::new(Secret::new(jwt)).with_expires_in(Duration::from_secs(3600));
    manager.token(secs(0), &token).unwrap();
    let ring = [Pending::default(); 2];
    let mut connection = Connection::new(Config::default(), [0; 512], [0; 512], ring);
    connection.look(secs(0), &mut manager);
    let len = connection.transmit().len();
    connection.sent(len);
    let reply = b"-WRONGPASS invalid username-password pair\r\n";
    connection.receive_space()[..reply.len()].copy_from_slice(reply);
    connection.received(secs(0), reply.len());
    let Some(Output::Event(Event::Rejected { error, .. })) = connection.next(secs(0)) else {
        panic!("not refused");
    };
    assert_eq!(error, LoginError::WrongAudience);
    assert!(format!("{error}").contains("scope"));
}

#[test]
fn the_manager_hears_of_a_refused_first_login_before_the_connection_is_done() {
    let mut bench = Bench::new();
    bench.look();
    let len = bench.connection.transmit().len();
    bench.connection.sent(len);
    let reply = b"-WRONGPASS no\r\n";
    bench.connection.receive_space()[..reply.len()].copy_from_slice(reply);
    bench.connection.received(bench.now, reply.len());
    // A pump that waits for the last word has to look first.
    assert_eq!(bench.outputs().len(), 1);
    assert!(bench.connection.wants_look());
    bench.look();
    assert_eq!(bench.outputs(), [ended(CloseReason::Refused(LoginError::WrongPass))]);
    assert_eq!(bench.manager.health(bench.now).rejections, 1);
}

#[test]
fn replies_that_came_before_the_end_are_replies() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["GET", "a"]);
    bench.submit(2, args!["GET", "b"]);
    let reply = b"+A\r\n";
    bench.connection.receive_space()[..reply.len()].copy_from_slice(reply);
    bench.connection.received(bench.now, reply.len());
    bench.connection.closed(CloseReason::ByServer);
    let reason = CloseReason::ByServer;
    assert_eq!(
        bench.outputs(),
        ["1 A".to_string(), format!("2 Unknown {:?}", Some(reason)), ended(reason),]
    );
}

#[test]
fn a_late_command_may_still_be_executed() {
    let mut bench = Bench::ready();
    // The transport takes nothing.
    bench.connection.submit(bench.now, 1, args!["INCR", "n"]).unwrap();
    bench.now = secs(5);
    bench.look();
    assert_eq!(bench.outputs(), ["1 Unknown None"]);
    bench.flush();
    bench.hears(&["INCR n"]);
}

#[test]
fn an_answer_to_a_login_that_is_none_ends_the_connection() {
    let mut bench = Bench::ready();
    due(&mut bench, "token-2");
    assert_eq!(bench.answer(":7\r\n"), [ended(CloseReason::Protocol)]);
    // So does a reply to a command that wasn't even sent.
    let mut bench = Bench::ready();
    bench.connection.submit(bench.now, 1, args!["GET", "a"]).unwrap();
    assert_eq!(bench.answer("+A\r\n").last(), Some(&ended(CloseReason::Protocol)));
}

#[test]
fn a_transaction_is_over_when_the_server_says_so() {
    // EXEC with an argument too many is no EXEC: the transaction is still open.
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.submit(2, args!["EXEC", "oops"]);
    bench.answer("+OK\r\n-ERR wrong number of arguments for 'exec' command\r\n");
    bench.heard.clear();
    due(&mut bench, "token-2");
    bench.hears(&[]);
    bench.submit(3, args!["EXEC"]);
    bench.answer("-EXECABORT Transaction discarded because of previous errors.\r\n");
    bench.hears(&["EXEC", "AUTH oid token-2"]);
    // Two one behind the other, of which the first was refused.
    let mut bench = Bench::ready();
    for (tag, word) in ["MULTI", "EXEC", "MULTI"].into_iter().enumerate() {
        bench.submit(tag as u64, args![word]);
    }
    bench.answer("-NOPERM no\r\n-ERR EXEC without MULTI\r\n+OK\r\n");
    bench.heard.clear();
    due(&mut bench, "token-2");
    bench.hears(&[]);
    bench.submit(4, args!["DISCARD"]);
    bench.answer("+OK\r\n");
    bench.hears(&["DISCARD", "AUTH oid token-2"]);
}

#[test]
fn a_newer_token_in_the_middle_of_a_drain_holds_no_command_up() {
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.answer("+OK\r\n");
    due(&mut bench, "token-2");
    bench.token("token-3");
    bench.submit(2, args!["EXEC"]);
    bench.answer("*0\r\n");
    bench.look();
    if !bench.connection.is_ready() {
        bench.answer("+OK\r\n");
    }
    assert!(bench.connection.is_ready() && !bench.connection.wants_look());
}

#[test]
fn an_idle_connection_is_pinged_also_while_a_login_waits_for_its_turn() {
    let policy =
        RefreshPolicy { reauth_spread: Duration::from_secs(3000), ..RefreshPolicy::default() };
    let mut bench = Bench::new();
    bench.manager = TokenManager::new(policy, [[0; 64]; 2]);
    bench.token("token-1");
    bench.look();
    bench.flush();
    bench.answer(HELLO);
    bench.heard.clear();
    bench.token("token-2");
    bench.look();
    assert_eq!(bench.connection.next_deadline(), secs(240));
    bench.now = secs(240);
    bench.look();
    bench.flush();
    bench.hears(&["PING"]);
}
