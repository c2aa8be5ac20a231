//! A connection to a server that follows a script: logins and commands.

use core::hint::black_box;

use cortex_m::singleton;
use redis_entraid_core::args;
use redis_entraid_core::connection::{CloseReason, Config, Connection, Output, Pending};
use redis_entraid_core::event::Event;
use redis_entraid_core::time::Instant;

use crate::board::end;
use crate::tokens::{Manager, SLOT, Tokens, due, first, manager};

/// A connection whose memory is elsewhere.
pub type Redis = Connection<&'static mut [u8], &'static mut [Pending]>;

/// Bytes of a buffer.
pub const BUFFER: usize = 512;

/// Commands that may wait for their replies.
pub const WAITING: usize = 4;

/// What the server gets, to begin with, and what it says to that.
const SCRIPT: [(&str, &str); 7] = [
    (
        "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$36\r\n11111111",
        "%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:17\r\n+OK\r\n+OK\r\n",
    ),
    ("*2\r\n$3\r\nGET\r\n$4\r\ntemp\r\n", "$4\r\n21.5\r\n"),
    ("*3\r\n$4\r\nAUTH\r\n$36\r\n11111111", "+OK\r\n"),
    ("*3\r\n$6\r\nINCRBY\r\n$1\r\nn\r\n$2\r\n-2\r\n", ":40\r\n"),
    ("*3\r\n$4\r\nAUTH\r\n$36\r\n11111111", "-WRONGPASS invalid username-password pair\r\n"),
    (
        "*5\r\n$5\r\nBLPOP\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\n5\r\n",
        "*2\r\n$1\r\nb\r\n$1\r\nx\r\n",
    ),
    ("*1\r\n$4\r\nLPOP\r\n", "-ERR wrong number of arguments\r\n"),
];

/// A connection that wasn't used yet.
pub fn connection(
    receive: &'static mut [u8],
    transmit: &'static mut [u8],
    ring: &'static mut [Pending],
) -> Redis {
    Connection::new(black_box(Config::new(0)), receive, transmit, ring)
}

/// Runs all of it, with all memory static. `more` bytes of that are the buffers of `tokens`.
pub fn run(tokens: Tokens<'_>, more: usize) -> ! {
    let good = (|| {
        let first = singleton!(: [u8; SLOT] = [0; SLOT])?;
        let second = singleton!(: [u8; SLOT] = [0; SLOT])?;
        let manager = singleton!(: Manager = manager([first, second]))?;
        let receive = singleton!(: [u8; BUFFER] = [0; BUFFER])?;
        let transmit = singleton!(: [u8; BUFFER] = [0; BUFFER])?;
        let ring = singleton!(: [Pending; WAITING] = [Pending::default(); WAITING])?;
        let redis = singleton!(: Redis = connection(receive, transmit, ring))?;
        talk(redis, manager, tokens)
    })();
    let buffers = 2 * SLOT + 2 * BUFFER + WAITING * size_of::<Pending>();
    let texts = SCRIPT.iter().map(|(sent, answer)| sent.len() + answer.len()).sum::<usize>();
    end(good.is_some(), buffers + more, texts + crate::tokens::texts())
}

/// Logs in, again with each newer token, and sends commands in between. `None` if something didn't
/// go as it should.
fn talk(redis: &mut Redis, manager: &mut Manager, tokens: Tokens<'_>) -> Option<()> {
    let mut now = first(manager, tokens)?;
    let mut script = SCRIPT.iter();
    exchange(redis, manager, now, script.next()?, |output| {
        matches!(output, Output::Event(Event::LoggedIn { .. }))
    })?;
    redis.submit(now, 1, args!["GET", "temp"]).ok()?;
    exchange(redis, manager, now, script.next()?, |output| match output {
        Output::Reply { tag: 1, reply: Ok(reply) } => reply.str() == Ok("21.5"),
        _ => false,
    })?;
    now = login_again(manager, tokens, now, 1)?;
    exchange(redis, manager, now, script.next()?, |output| {
        matches!(output, Output::Event(Event::Reauthenticated { .. }))
    })?;
    redis.submit(now, 2, args!["INCRBY", "n", -2]).ok()?;
    exchange(redis, manager, now, script.next()?, |output| match output {
        Output::Reply { tag: 2, reply: Ok(reply) } => reply.int() == Ok(40),
        _ => false,
    })?;
    now = login_again(manager, tokens, now, 2)?;
    exchange(redis, manager, now, script.next()?, |output| {
        matches!(output, Output::Event(Event::Rejected { serving: true, .. }))
    })?;
    redis.submit(now, 3, args!["BLPOP", "a", "b", "c", 5]).ok()?;
    exchange(redis, manager, now, script.next()?, |output| match output {
        Output::Reply { tag: 3, reply: Ok(reply) } => {
            reply.items().nth(1).is_some_and(|item| item.bytes() == Ok(b"x"))
        }
        _ => false,
    })?;
    redis.submit(now, 4, args!["LPOP"]).ok()?;
    exchange(redis, manager, now, script.next()?, |output| match output {
        Output::Reply { tag: 4, reply: Ok(reply) } => {
            reply.error().is_some_and(|error| error.code() == "ERR")
        }
        _ => false,
    })?;
    redis.closed(CloseReason::ByServer);
    let ended = matches!(
        redis.next(now),
        Some(Output::Event(Event::Disconnected { reason: CloseReason::ByServer }))
    );
    (ended && redis.health(now).reauths == 1).then_some(())
}

/// Gets the next token, and waits until it is this connection's turn to log in with it.
fn login_again(
    manager: &mut Manager,
    tokens: Tokens<'_>,
    now: Instant,
    number: usize,
) -> Option<Instant> {
    let now = due(manager, now);
    tokens(manager, now, number).then_some(())?;
    let login = manager.login(now)?;
    let id = Config::new(0).id;
    Some(manager.reauth_at(id, login.expires_at()).max(now))
}

/// Sends what there is, has the server answer in small pieces, and looks for what is `wanted` in
/// what comes of it.
fn exchange(
    redis: &mut Redis,
    manager: &mut Manager,
    now: Instant,
    (expected, answer): &(&str, &str),
    wanted: fn(&Output<'_>) -> bool,
) -> Option<()> {
    redis.update(now, manager);
    let bytes = redis.transmit();
    let len = bytes.len();
    bytes.starts_with(expected.as_bytes()).then_some(())?;
    redis.sent(len);
    let mut found = false;
    for piece in black_box(answer).as_bytes().chunks(7) {
        redis.receive_space().get_mut(..piece.len())?.copy_from_slice(piece);
        redis.received(now, piece.len());
        while let Some(output) = redis.next(now) {
            found |= wanted(&output);
        }
    }
    redis.update(now, manager);
    found.then_some(())
}
