//! `ping`: token, login and one command.

use std::time::Instant;

use redis_entraid::{Error, args};
use serde_json::json;

use crate::arguments::Target;
use crate::failure::Failure;
use crate::output::Output;
use crate::setup::Setup;
use crate::time::millis;

/// Logs in and sends `PING`.
pub(crate) async fn run(target: &Target, output: &Output) -> Result<(), Failure> {
    let setup = Setup::read(target)?;
    let (host, port) = (setup.place.host.clone(), setup.place.port);
    let begun = Instant::now();
    let mut redis = setup.client(target).connect().await?;
    let login = begun.elapsed();
    let sent = Instant::now();
    let answered = redis.command_within(target.timeout, args!["PING"]).await;
    let round_trip = sent.elapsed();
    let reply = match answered {
        Ok(reply) => Some(reply.str().map_err(Error::from)?.to_owned()),
        // That is an answer, too, and the login is good.
        Err(Error::Server(error)) if error.code == "NOPERM" => None,
        Err(error) => return Err(error.into()),
    };
    let protocol = redis.health().connection.map(|connection| connection.protocol.to_string());
    let protocol = protocol.unwrap_or_default();
    redis.close().await;
    if output.json {
        return Ok(output.line(json!({
            "reply": reply,
            "host": host,
            "port": port,
            "protocol": protocol,
            "login_ms": login.as_secs_f64() * 1e3,
            "round_trip_ms": round_trip.as_secs_f64() * 1e3,
        }))?);
    }
    let (login, round_trip) = (millis(login), millis(round_trip));
    let reply = reply.as_deref().unwrap_or("logged in, PING isn't allowed: an answer");
    Ok(output.line(format_args!(
        "{reply} from {host}:{port} in {round_trip} (token and login {login}, {protocol})"
    ))?)
}
