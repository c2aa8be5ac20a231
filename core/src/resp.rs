//! The Redis serialization protocol, RESP2 and RESP3, without an allocator.
//!
//! [`Framer`] finds where replies end, in bytes that come in any pieces, with work linear in
//! their number and memory that doesn't depend on them. [`Value`] is a view of one whole reply.
//! [`encode`] writes commands. Source: the
//! [protocol specification](https://redis.io/docs/latest/develop/reference/protocol-spec/).
//!
//! ```
//! use redis_entraid_core::resp::{Framer, Value};
//!
//! let bytes = b"*2\r\n$5\r\nhello\r\n:7\r\n+next";
//! let framed = Framer::new().feed(bytes).unwrap();
//! assert!(framed.complete);
//! let reply = Value::new(&bytes[..framed.used]).unwrap();
//! let mut items = reply.items();
//! assert_eq!(items.next().unwrap().str().unwrap(), "hello");
//! assert_eq!(items.next().unwrap().int().unwrap(), 7);
//! ```

mod encode;
mod frame;
mod redirect;
mod value;

pub(crate) use encode::Digits;
pub use encode::{Arg, encode, encoded_len};
pub use frame::{Framed, Framer, RespError};
pub(crate) use redirect::SLOTS;
pub use redirect::{Node, Redirect};
pub use value::{ErrorReply, Items, TypeError, Value, ValueKind};

#[cfg(test)]
mod tests;
