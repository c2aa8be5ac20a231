//! Commands of the administrator's, and their replies.

use std::io::{Error, ErrorKind, Result};

use redis_entraid_core::resp::{Arg, Framer, Value, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// So many commands are sent before their replies are read.
const FLIGHT: usize = 256;

/// Sends commands, and returns the reply to each.
///
/// # Errors
/// What the server says against the first one that it refuses. Drop the connection then.
pub(super) async fn exchange(
    stream: &mut UnixStream,
    commands: &[Vec<&[u8]>],
) -> Result<Vec<Vec<u8>>> {
    let mut replies = Vec::new();
    for flight in commands.chunks(FLIGHT) {
        let mut out = Vec::new();
        for words in flight {
            let words: Vec<Arg<'_>> = words.iter().map(|word| Arg::from(*word)).collect();
            encode(&words, &mut |piece| out.extend_from_slice(piece));
        }
        stream.write_all(&out).await?;
        let sent = replies.len();
        read(stream, flight.len(), &mut replies).await?;
        for (words, reply) in flight.iter().zip(&replies[sent..]) {
            if let Some(error) = Value::framed(reply).error() {
                // What is behind it may be a password.
                let name = String::from_utf8_lossy(words.first().copied().unwrap_or_default());
                return Err(Error::other(format!("{name}: {error}")));
            }
        }
    }
    Ok(replies)
}

async fn read(stream: &mut UnixStream, count: usize, replies: &mut Vec<Vec<u8>>) -> Result<()> {
    let (mut buffer, mut framer, mut framed) = (Vec::new(), Framer::new(), 0);
    let all = replies.len() + count;
    while replies.len() < all {
        let next = framer.feed(&buffer[framed..]).map_err(Error::other)?;
        framed += next.used;
        if next.complete {
            let rest = buffer.split_off(framed);
            replies.push(std::mem::replace(&mut buffer, rest));
            framed = 0;
        } else if stream.read_buf(&mut buffer).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
