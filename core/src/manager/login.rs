//! A stored token, to log in with.

use super::Generation;
use super::slot::{Facts, Slot};
use crate::jwt::Audience;
use crate::secret::Secret;
use crate::storage::Storage;
use crate::time::Instant;

/// Whom to log in as: a borrowed view of a stored token.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    user: &'a str,
    secret: Secret<'a>,
    facts: &'a Facts,
}

impl<'a> Login<'a> {
    pub(super) fn of<M: Storage<u8>>(slot: &'a Slot<M>) -> Option<Self> {
        let facts = slot.facts.as_ref()?;
        Some(Self { user: slot.user(), secret: slot.secret(), facts })
    }

    /// The user name for `AUTH`: the identity's object id.
    pub const fn user(&self) -> &'a str {
        self.user
    }

    /// The password for `AUTH`: the token.
    pub const fn secret(&self) -> Secret<'a> {
        self.secret
    }

    /// The text of the token. Short for [`Login::secret`]'s [`Secret::expose`].
    pub const fn expose(&self) -> &'a str {
        self.secret.expose()
    }

    /// The token's number.
    pub const fn generation(&self) -> Generation {
        self.facts.generation
    }

    /// When it ends.
    pub const fn expires_at(&self) -> Instant {
        self.facts.expires_at
    }

    /// Which service it is for, by its own claim.
    pub const fn audience(&self) -> Audience {
        self.facts.audience
    }
}
