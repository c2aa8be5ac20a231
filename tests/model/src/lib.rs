//! Random operations on a connection, over a small server that does what a real one does.
//!
//! A [`Script`] is drawn from a seed: commands of the user's, what others do at the server, bytes
//! that flow in pieces, time, tokens, errors and silence. The [`World`](world) plays it and checks
//! the rules at each step:
//!
//! - nothing waits for ever: a command is answered or lost once, by its deadline, and a connection
//!   that isn't ready, or that nobody answers, ends;
//! - each reply has its own tag, and is there to the byte, or reported as too large;
//! - what the connection knows of its session is what the server has, whenever all replies are in;
//! - nothing of ours lies between `MULTI` and `EXEC`, and an `AUTH` is alone on the wire;
//! - a login that is due happens;
//! - what is said not to have been sent wasn't.
//!
//! A script that breaks one is made small and shown with its seed.

pub mod queue;
pub mod real;
mod replay;
pub mod script;
pub mod server;
mod shrink;
pub mod world;

pub use replay::replay;
pub use script::{Kind, Script};
pub use server::{Broken, Dialect};
pub use shrink::shrink;

/// Plays a script over the small server, and says which rule was broken and how many operations it
/// was.
///
/// # Errors
/// What was broken. A panic counts too.
pub fn play(script: &Script) -> Result<usize, Broken> {
    let dialect = Dialect { hello: !script.settings.old_server, ..Dialect::NEW };
    let played = std::panic::catch_unwind(|| {
        let server = server::Server::new(dialect, script.settings.cluster);
        world::World::new(script.settings, server).play(&script.steps).0
    });
    played.unwrap_or_else(|_| Broken::new("nothing panics", "it did"))
}

/// A script that breaks a rule, for people.
pub fn shown(script: &Script, broken: &Broken) -> String {
    use std::fmt::Write as _;
    let mut text = format!("seed {}: {}: {}\n", script.seed, broken.rule, broken.how);
    let _ = writeln!(text, "  {:?}", script.settings);
    for step in &script.steps {
        let _ = writeln!(text, "  {step:?}");
    }
    text
}
