//! Where tokens come from: a function of the user's, or an identity of the core's over `fetch`.

use alloc::boxed::Box;
use core::fmt;
use core::time::Duration;

use redis_entraid_core::secret::Secret;
use redis_entraid_core::source::{
    ErrorKind, HttpSourceError, ServiceText, SourceError, SourceFailure, Start, TokenSource,
};
use redis_entraid_core::storage::{Buffer, CapacityError};
use redis_entraid_core::time::UnixTime;
use redis_entraid_core::token::Token;
use wasm_bindgen::JsCast;
use zeroize::Zeroize;

use crate::host::{Host, Problem, ProvidedToken};
use crate::identity::Identity;

/// Any of them.
pub(crate) enum Source {
    Function(Host),
    Identity(Identity),
}

impl TokenSource for Source {
    type Error = Error;

    async fn fetch<'b>(
        &'b mut self,
        start: &Start,
        memory: &'b mut [u8],
    ) -> Result<Token<'b>, Error> {
        match self {
            Self::Function(host) => {
                let issued = host.token().done().await.map_err(Error::Function)?;
                token(&issued.unchecked_into(), memory).map_err(Error::Unusable)
            }
            Self::Identity(identity) => identity.fetch(start, memory).await,
        }
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        match self {
            // Whose tokens it gives is not for us to know.
            Self::Function(_) => feed(b"function"),
            Self::Identity(identity) => identity.identify(feed),
        }
    }
}

/// Puts a token with its user behind it into `memory`.
fn token<'b>(issued: &ProvidedToken, memory: &'b mut [u8]) -> Result<Token<'b>, SourceError> {
    let (mut secret, user) = (issued.token(), issued.user());
    let name = user.as_deref().unwrap_or_default();
    let (needed, capacity) = (secret.len() + name.len(), memory.len());
    let too_small = || CapacityError::new(Buffer::Response, needed, capacity);
    let (text, rest) = memory.split_at_mut_checked(secret.len()).ok_or_else(too_small)?;
    text.copy_from_slice(secret.as_bytes());
    let rest = rest.get_mut(..name.len()).ok_or_else(too_small)?;
    rest.copy_from_slice(name.as_bytes());
    secret.zeroize();
    let mut token = Token::new(Secret::new(core::str::from_utf8(text).unwrap_or_default()));
    if user.is_some() {
        token = token.with_user(core::str::from_utf8(rest).unwrap_or_default());
    }
    let seconds = |number: f64| Duration::from_secs(number as u64);
    token.expires_in = issued.expires_in().map(seconds);
    token.expires_on = issued.expires_on().map(|time| UnixTime(time as u64));
    token.refresh_in = issued.refresh_in().map(seconds);
    Ok(token)
}

/// Why there is no token.
#[derive(Debug)]
pub(crate) enum Error {
    Function(Problem),
    Unusable(SourceError),
    Driven(Box<HttpSourceError<Problem>>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(problem) => problem.fmt(f),
            Self::Unusable(error) => error.fmt(f),
            Self::Driven(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl SourceFailure for Error {
    fn reason(&self) -> SourceError {
        match self {
            Self::Function(problem) => SourceError::Other {
                kind: match problem.kind.as_str() {
                    "configuration" => ErrorKind::Configuration,
                    "replication" => ErrorKind::Replication,
                    "throttled" => ErrorKind::Throttled(None),
                    _ => ErrorKind::Transient,
                },
                what: "the provider failed",
            },
            Self::Unusable(error) => *error,
            Self::Driven(error) => error.reason(),
        }
    }

    fn service_text(&self) -> Option<ServiceText> {
        match self {
            Self::Driven(error) => error.service_text(),
            Self::Function(_) | Self::Unusable(_) => None,
        }
    }
}
