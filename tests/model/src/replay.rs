//! Plays scripts with a real server beside the small one.

use crate::real::Real;
use crate::script::Script;
use crate::server::{Broken, Server};
use crate::world::World;

/// Plays a script, and gives the real server back for the next one.
pub fn replay(script: &Script, mut real: Real) -> (Result<usize, Broken>, Real) {
    if let Err(error) = real.reset() {
        return (Broken::new("a real server does what it is told", error), real);
    }
    let mut server = Server::new(real.dialect(), real.is_cluster());
    server.real = Some(Box::new(real));
    let (played, mut server) = World::new(script.settings, server).play(&script.steps);
    let mut real = *server.real.take().expect("it was put there");
    let session = &server.session;
    // At the end, what a version doesn't tell can be tried.
    let can = session.login.is_some() && session.multi.is_none() && session.blocked.is_none();
    let played = played.and_then(|operations| {
        if !can || session.is_resp2_subscriber() {
            return Ok(operations);
        }
        match real.watches() {
            Ok(watches) if watches != session.watched.is_empty() => Ok(operations),
            Ok(watches) => {
                Broken::new("a real server does the same", format!("it watches: {watches}"))
            }
            Err(error) => Broken::new("a real server can be asked", error),
        }
    });
    (played, real)
}
