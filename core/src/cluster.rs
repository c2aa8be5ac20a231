//! Where the commands for a cluster go: one round trip for any key, once the slots are known.
//!
//! [`route`] says which slot a command's keys have, or that it needs none. Rules without IO, without an
//! allocator: a host brings the connections.
//!
//! ```
//! use redis_entraid_core::args;
//! use redis_entraid_core::cluster::{Route, Slot, route};
//!
//! assert_eq!(route(args!["GET", "foo"]), Route::Slot(Slot::of(b"foo")));
//! assert_eq!(route(args!["MGET", "foo", "bar"]), Route::CrossSlot);
//! assert_eq!(route(args!["PING"]), Route::AnyPrimary);
//! ```

mod keys;
mod map;
mod policy;
mod redirect;
mod route;
mod schedule;
mod slot;
mod table;
mod words;

pub use keys::{Keys, keys};
pub use map::{Change, MapError, Moved, Primary, PrimaryId, SlotMap, SlotRange, Updated};
pub use policy::Policy;
pub use redirect::{Attempts, Next, RedirectPolicy, To};
pub use route::{Merge, Route, route};
pub use schedule::{AskMap, MapPolicy, MapSchedule, Whom};
pub use slot::Slot;
pub use words::Words;
