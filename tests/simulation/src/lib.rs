//! A fleet of connections and one identity through years of virtual time.
//!
//! The token endpoint has outages, slow hours, throttling, wrong configurations and a cache that
//! hands tokens out again; the server refuses good tokens now and then, loads, restarts, and closes
//! a connection when its token ends; the network cuts and refuses. Everything is drawn from one
//! seed. The machines under test are those of the core, driven as a host drives them, and at each
//! step the promises are checked:
//!
//! - a wait is never in the past, and there are never two requests at once;
//! - requests keep the floors;
//! - a token that lives is served;
//! - a connection is never written to when its login has ended;
//! - a login only ends if the endpoint was unwell while the next token was due;
//! - who is not logged in is so within minutes, as long as the endpoint is well.

mod chance;
mod world;

pub use chance::Chance;
pub use world::{Report, Settings, simulate};
