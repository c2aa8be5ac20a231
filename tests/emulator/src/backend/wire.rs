//! Commands of the administrator's, and their replies.

use std::io::{Error, ErrorKind, Result};

use redis_entraid_core::resp::{Arg, Framer, Value, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Sends commands in one go, and returns the reply to each. Few enough that the replies fit in the
/// server's memory.
///
/// # Errors
/// What the server says against the first one that it refuses. Drop the connection then.
pub(super) async fn exchange(
    stream: &mut UnixStream,
    commands: &[Vec<&[u8]>],
) -> Result<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    for words in commands {
        let words: Vec<Arg<'_>> = words.iter().map(|word| Arg::from(*word)).collect();
        encode(&words, &mut |piece| out.extend_from_slice(piece));
    }
    stream.write_all(&out).await?;
    let replies = read(stream, commands.len()).await?;
    for (words, reply) in commands.iter().zip(&replies) {
        if let Some(error) = Value::framed(reply).error() {
            // What is behind it may be a password.
            let name = String::from_utf8_lossy(words.first().copied().unwrap_or_default());
            return Err(Error::other(format!("{name}: {error}")));
        }
    }
    Ok(replies)
}

async fn read(stream: &mut UnixStream, count: usize) -> Result<Vec<Vec<u8>>> {
    let (mut buffer, mut framer, mut framed) = (Vec::new(), Framer::new(), 0);
    let mut replies = Vec::new();
    while replies.len() < count {
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
    Ok(replies)
}
