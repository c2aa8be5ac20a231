//! Text that must not be seen: tokens, client secrets, assertions.
//!
//! A [`Secret`] prints as `[redacted]`, has no `Display` and no comparison, and gives its text
//! out in one way only, [`Secret::expose`], so that every use can be found by searching for it.
//!
//! ```
//! use redis_entraid_core::secret::Secret;
//!
//! let secret = Secret::new("eyJ0eXAi...");
//! assert_eq!(format!("{secret:?}"), "Secret([redacted])");
//! assert_eq!(secret.expose(), "eyJ0eXAi...");
//! ```

use core::fmt;

use zeroize::Zeroize;

/// A borrowed secret.
///
/// It doesn't own its bytes, so it can't wipe them: who owns them does, see [`wipe`].
#[derive(Clone, Copy)]
pub struct Secret<'a>(&'a str);

impl<'a> Secret<'a> {
    /// Takes `text` for a secret from here on.
    pub const fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The text itself: the only way out.
    pub const fn expose(self) -> &'a str {
        self.0
    }

    /// Its length in bytes, which is no secret.
    pub const fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Secret<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Secret([redacted])");
    }
}

/// Overwrites memory that held a secret, in a way that the compiler may not leave out.
pub fn wipe(bytes: &mut [u8]) {
    bytes.zeroize();
}

/// Lent memory that is wiped when the loan ends, however it ends.
pub(crate) struct Wiped<'a>(pub(crate) &'a mut [u8]);

impl Drop for Wiped<'_> {
    fn drop(&mut self) {
        wipe(self.0);
    }
}
