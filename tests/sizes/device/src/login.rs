//! The login and the wire format, for a device with a connection of its own.

use core::hint::black_box;

use redis_entraid_core::args;
use redis_entraid_core::auth::{Handshake, LoginError, Protocol, Verdict};
use redis_entraid_core::manager::{Credentials, Generation};
use redis_entraid_core::resp::{Arg, Framer, Value, encode};
use redis_entraid_core::time::Instant;

use crate::tokens::{Manager, Tokens, due, first};

/// Bytes of a buffer.
pub const BUFFER: usize = 512;

/// What the server answers: to logins, to commands, and to a login again.
const ANSWERS: [&str; 5] = [
    "-NOPROTO unsupported protocol version\r\n",
    "+OK\r\n",
    "$4\r\n21.5\r\n",
    ":40\r\n",
    "-WRONGPASS invalid username-password pair\r\n",
];

/// Bytes of all of them.
pub fn texts() -> usize {
    ANSWERS.iter().map(|text| text.len()).sum()
}

/// Logs in, sends commands, and logs in again. `None` if something didn't go as it should.
pub fn talk(
    send: &mut [u8],
    receive: &mut [u8],
    manager: &mut Manager,
    tokens: Tokens<'_>,
) -> Option<()> {
    let mut answers = ANSWERS.iter();
    let mut now = first(manager, tokens)?;
    let mut have = Generation(0);
    let mut handshake = Handshake::first(Protocol::Resp3);
    let refused = write(&mut handshake, manager.newer_than(have, now)?, send)?;
    (handshake.reply(read(answers.next()?, receive)?) == Verdict::Again && refused > 64)
        .then_some(())?;
    let login = manager.newer_than(have, now)?;
    have = login.generation();
    write(&mut handshake, login, send)?;
    let verdict = handshake.reply(read(answers.next()?, receive)?);
    let Verdict::LoggedIn { protocol, .. } = verdict else { return None };
    manager.accepted(have);
    command(args!["GET", "temp"], send)?;
    (read(answers.next()?, receive)?.str() == Ok("21.5")).then_some(())?;
    command(args!["INCRBY", "n", -2], send)?;
    (read(answers.next()?, receive)?.int() == Ok(40)).then_some(())?;
    now = renew(manager, tokens, now)?;
    let mut handshake = Handshake::again(protocol);
    let login = manager.newer_than(have, now)?;
    have = login.generation();
    write(&mut handshake, login, send)?;
    let verdict = handshake.reply(read(answers.next()?, receive)?);
    manager.rejected(now, have);
    matches!(verdict, Verdict::Refused(LoginError::WrongPass)).then_some(())
}

/// Gets the second token.
fn renew(manager: &mut Manager, tokens: Tokens<'_>, now: Instant) -> Option<Instant> {
    let now = due(manager, now);
    tokens(manager, now, 1).then_some(now)
}

/// Writes a login. A device would send it.
fn write(handshake: &mut Handshake, login: Credentials<'_>, out: &mut [u8]) -> Option<usize> {
    let len = handshake.write(login.user(), login.expose(), None, out);
    handshake.is_written().then_some(black_box(out).len().min(len))
}

/// Writes a command.
fn command(args: &[Arg<'_>], out: &mut [u8]) -> Option<()> {
    let mut len = 0;
    let mut whole = true;
    encode(args, &mut |piece| match out.get_mut(len..len + piece.len()) {
        Some(room) => {
            room.copy_from_slice(piece);
            len += piece.len();
        }
        None => whole = false,
    });
    black_box(out);
    whole.then_some(())
}

/// Receives an answer in small pieces.
fn read<'r>(answer: &str, room: &'r mut [u8]) -> Option<Value<'r>> {
    let mut framer = Framer::new();
    let mut len = 0;
    for piece in black_box(answer).as_bytes().chunks(7) {
        room.get_mut(len..len + piece.len())?.copy_from_slice(piece);
        len += piece.len();
        if framer.feed(piece).ok()?.complete {
            return room.get(..len).map(Value::framed);
        }
    }
    None
}
