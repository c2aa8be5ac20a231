//! Replies, in pieces of any size.

use redis_entraid_core::pubsub::Notice;
use redis_entraid_core::resp::{Framer, Value};

/// The first byte says how large the pieces are, the others are what the server sends.
pub fn check(data: &[u8]) {
    let Some((&size, bytes)) = data.split_first() else { return };
    let whole = ends(bytes, usize::MAX);
    assert_eq!(ends(bytes, usize::from(size).max(1)), whole, "it depends on the pieces");
    let mut start = 0;
    for end in whole.0 {
        let reply = bytes.get(start..end).unwrap_or_default();
        let value = Value::new(reply).expect("it was framed");
        assert!(value.raw().len() <= reply.len());
        look(value, 0);
        assert!(Value::new(&reply[..reply.len() - 1]).is_err(), "half a reply");
        start = end;
    }
}

/// Where the replies end, and whether an error came behind them.
fn ends(bytes: &[u8], size: usize) -> (Vec<usize>, bool) {
    let (mut framer, mut ends, mut at) = (Framer::new(), Vec::new(), 0);
    for mut piece in bytes.chunks(size) {
        while !piece.is_empty() {
            let Ok(framed) = framer.feed(piece) else { return (ends, true) };
            assert!(framed.used > 0, "it stands still");
            assert!(framed.complete || framed.used == piece.len(), "it stops without a reply");
            at += framed.used;
            piece = &piece[framed.used..];
            if framed.complete {
                ends.push(at);
            }
        }
    }
    (ends, false)
}

/// Reads a value in every way that there is.
fn look(value: Value<'_>, depth: u32) {
    let _ = (value.kind(), value.is_null(), value.int(), value.bool(), value.str(), value.get("k"));
    let _ = (value.bytes().map(<[u8]>::len), Notice::of(value), format!("{value:?}"));
    if let Some(error) = value.error() {
        let _ = (error.code(), error.message(), error.redirect());
    }
    // The view is lazy; walking deep is the reader's choice, and costs a walk each time.
    if depth < 3 {
        value.items().take(100).for_each(|item| look(item, depth + 1));
    }
}
