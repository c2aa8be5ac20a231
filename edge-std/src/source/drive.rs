//! Drives the sources of the core.

use redis_entraid_client::REQUEST_MEMORY;
use redis_entraid_core::source::{self, HttpSourceError, Source, SourceFailure, SourceIo, Start};
use zeroize::Zeroizing;

use super::{AccessToken, FetchError};

/// Gets a token from `source` over `io`.
pub(super) async fn drive<S: Source, I: SourceIo<Error: Send + Sync>>(
    source: &mut S,
    io: &mut I,
    start: &Start,
) -> Result<AccessToken, FetchError> {
    // Wiped even if we are dropped in the middle.
    let mut ask = Zeroizing::new(vec![0; REQUEST_MEMORY]);
    // The largest token, with its envelope.
    let mut answer = Zeroizing::new(vec![0; 32 << 10]);
    match source::fetch(source, io, start, &mut ask, &mut answer).await {
        Ok(token) => Ok(AccessToken::copy(&token)),
        Err(HttpSourceError::Io { reason, error }) => Err(FetchError::new(reason, error)),
        Err(HttpSourceError::Refused { reason, text }) if !text.is_empty() => {
            Err(FetchError::new(reason, text.to_string()))
        }
        Err(error) => Err(error.reason().into()),
    }
}
