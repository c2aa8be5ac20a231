//! A token as a source gives it, and what can be wrong with it.
//!
//! ```
//! use core::time::Duration;
//! use redis_entraid_core::{secret::Secret, token::Token};
//!
//! // A token that isn't a JWT works too, if the user name is given.
//! let token = Token::new(Secret::new("opaque"))
//!     .with_user("0f8fad5b-d9cb-469f-a165-70867728950e")
//!     .with_expires_in(Duration::from_secs(3599));
//! assert_eq!(token.expires_in, Some(Duration::from_secs(3599)));
//! ```

use core::fmt;
use core::time::Duration;

use crate::jwt::{Audience, Claims, Guid, JwtError};
use crate::secret::Secret;
use crate::storage::CapacityError;
use crate::time::UnixTime;

/// The number of a token: each new one has a higher one. The first is 1; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Generation(pub u32);

/// An access token and what came with it.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Token<'a> {
    /// The token itself: the password for `AUTH`.
    pub secret: Secret<'a>,
    /// The user name for `AUTH`, if it is not the token's `oid` claim.
    pub user: Option<&'a str>,
    /// How long it lives from when it was asked for (RFC 6749 section 5.1).
    pub expires_in: Option<Duration>,
    /// When it ends, by the server's clock.
    pub expires_on: Option<UnixTime>,
    /// When the server would like to be asked for the next one, from when it was asked.
    pub refresh_in: Option<Duration>,
    /// The server's clock when it answered.
    pub server_time: Option<UnixTime>,
}

impl<'a> Token<'a> {
    /// A token of which nothing else is known; what it says of itself is read, if it is a JWT.
    pub const fn new(secret: Secret<'a>) -> Self {
        Self {
            secret,
            user: None,
            expires_in: None,
            expires_on: None,
            refresh_in: None,
            server_time: None,
        }
    }

    /// Names the user. The token is opaque then: its claims are not needed.
    #[must_use]
    pub const fn with_user(mut self, user: &'a str) -> Self {
        self.user = Some(user);
        self
    }

    /// Says how long it lives from when it was asked for.
    #[must_use]
    pub const fn with_expires_in(mut self, life: Duration) -> Self {
        self.expires_in = Some(life);
        self
    }

    /// Says when it ends. Of use where the host has a wall clock.
    #[must_use]
    pub const fn with_expires_on(mut self, time: UnixTime) -> Self {
        self.expires_on = Some(time);
        self
    }

    /// Says when the next one should be asked for.
    #[must_use]
    pub const fn with_refresh_in(mut self, wait: Duration) -> Self {
        self.refresh_in = Some(wait);
        self
    }

    /// Says what time it was at the server when it gave the token out.
    #[must_use]
    pub const fn with_server_time(mut self, time: UnixTime) -> Self {
        self.server_time = Some(time);
        self
    }

    /// Whom to log in as and for how long, by the token's own claims where nothing else was said.
    ///
    /// `unix_time` is the wall clock when the token was asked for, where there is one. It counts
    /// only if neither a life nor the server's clock is known, since it may be wrong.
    pub(crate) fn examine(&self, unix_time: Option<UnixTime>) -> Result<Examined, TokenError> {
        let visible = |byte: &u8| (0x21..0x7f).contains(byte);
        if self.secret.is_empty() || !self.secret.expose().as_bytes().iter().all(visible) {
            return Err(TokenError::NotText);
        }
        let claims = Claims::read(self.secret.expose());
        let user = match (self.user, &claims) {
            (Some(""), _) => return Err(TokenError::NoUser),
            (Some(_), _) => None,
            (None, Ok(claims)) => Some(claims.oid.ok_or(TokenError::NoUser)?),
            (None, Err(error)) => return Err(TokenError::Unreadable(*error)),
        };
        let claims = claims.unwrap_or_default();
        let ends = match (self.expires_on, claims.exp) {
            (Some(said), Some(claimed)) => Some(said.min(claimed)),
            (said, claimed) => said.or(claimed),
        };
        let left = |now: UnixTime| ends.map(|end| end.since(now));
        let life = match (self.expires_in, self.server_time.and_then(left)) {
            (Some(said), Some(by_server)) => Some(said.min(by_server)),
            (said, by_server) => said.or(by_server),
        };
        let life = life.or_else(|| unix_time.and_then(left)).ok_or(TokenError::NoLifetime)?;
        if life.is_zero() {
            return Err(TokenError::Expired);
        }
        Ok(Examined { oid: user, life, ends, audience: claims.audience })
    }
}

/// What was found out about a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Examined {
    /// The user name, if the token names it and not the source.
    pub(crate) oid: Option<Guid>,
    /// From when it was asked for.
    pub(crate) life: Duration,
    /// By the server's clock.
    pub(crate) ends: Option<UnixTime>,
    pub(crate) audience: Audience,
}

/// Why a token can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TokenError {
    /// Empty, or with characters that no token has.
    NotText,
    /// No user name was given and the token is no JWT that could name one.
    Unreadable(JwtError),
    /// No user name was given and the token has no `oid` claim.
    NoUser,
    /// Nothing says how long it lives, on a host without a wall clock.
    NoLifetime,
    /// It had ended before it came.
    Expired,
    /// It doesn't fit into the slot that was lent for it.
    Capacity(CapacityError),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => f.write_str("the token is empty or not visible ASCII"),
            Self::Unreadable(error) => {
                write!(
                    f,
                    "can't read the user name from the token ({error}); configure the identity's object id"
                )
            }
            Self::NoUser => {
                f.write_str("the token has no oid claim; configure the identity's object id")
            }
            Self::NoLifetime => f.write_str(
                "the token has no expires_in, and there is no wall clock to read exp by",
            ),
            Self::Expired => f.write_str("the token had expired when it came; check the clocks"),
            Self::Capacity(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TokenError {}

impl From<CapacityError> for TokenError {
    fn from(error: CapacityError) -> Self {
        Self::Capacity(error)
    }
}
