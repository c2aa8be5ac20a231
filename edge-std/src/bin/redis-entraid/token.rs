//! `token`: which identity was chosen, and what its token is.

use std::sync::Arc;

use redis_entraid::Error;
use redis_entraid::entraid_core::jwt::{Audience, Claims};
use serde_json::json;

use crate::arguments::{Target, Token};
use crate::claims::Shown;
use crate::failure::Failure;
use crate::output::Output;
use crate::setup::{Fetched, Setup};
use crate::time::{from_now, millis, moment, span};

/// Fetches a token, and prints whose it is and how long it lives.
pub(crate) async fn run(target: &Target, options: &Token, output: &Output) -> Result<(), Failure> {
    let setup = Setup::read_identity(target)?;
    let (chosen, endpoint) = (setup.place.chosen.to_string(), setup.place.endpoint.clone());
    let Fetched { token, took, expires_in, next_in, .. } =
        setup.fetch(target.timeout).await.map_err(|error| Error::Token(Arc::clone(&error)))?;
    let claims = Shown::of(&token);
    let token = token.as_token();
    let secret = options.show_token.then(|| token.secret.expose());
    let audience = Claims::read(token.secret.expose()).unwrap_or_default().audience;
    let ends = claims.ends.map_or_else(|| from_now(expires_in), moment);
    let unsaid = || "the token doesn't say".to_owned();
    let service = match audience {
        Audience::Redis => " (Azure Managed Redis)",
        Audience::Missing => "",
        _ => " (another service: Azure Managed Redis will refuse it)",
    };
    let mut rows = vec![
        ("identity", chosen.clone()),
        ("endpoint", format!("{endpoint}, in {}", millis(took))),
        ("object id", claims.oid.clone().unwrap_or_else(unsaid)),
        ("tenant", claims.tenant.clone().unwrap_or_else(unsaid)),
        ("application", claims.app.clone().unwrap_or_else(unsaid)),
        ("audience", claims.audience.clone().map_or_else(unsaid, |name| name + service)),
        ("lifetime", format!("{}, until {ends}", span(expires_in))),
        ("next refresh", format!("in {}, at {}", span(next_in), from_now(next_in))),
    ];
    rows.extend(secret.map(|secret| ("token", secret.to_owned())));
    let mut object = json!({
        "identity": chosen,
        "endpoint": endpoint,
        "request_ms": took.as_secs_f64() * 1e3,
        "object_id": claims.oid,
        "tenant": claims.tenant,
        "application": claims.app,
        "audience": claims.audience,
        "for_redis": audience == Audience::Redis,
        "lifetime_seconds": expires_in.as_secs(),
        "ends_at": ends,
        "next_refresh_seconds": next_in.as_secs(),
    });
    if let (Some(secret), Some(object)) = (secret, object.as_object_mut()) {
        object.insert("token".to_owned(), secret.into());
    }
    Ok(output.table(&rows, object)?)
}
