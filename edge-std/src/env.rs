//! Configuration by the environment, with the variables that Azure's own tools use.

use core::cell::Cell;
use std::env::VarError;

use redis_entraid_client::Environment;

use crate::builder::Builder;
use crate::client::Client;
use crate::error::ConfigError;

impl Client {
    /// Takes server and identity from the environment: from the variables of [`Environment`].
    ///
    /// Which identity was chosen is logged, and told by [`Builder::chosen`].
    ///
    /// # Errors
    /// [`ConfigError`] if something is missing or invalid.
    pub fn from_env() -> Result<Builder, ConfigError> {
        let odd = Cell::new(None);
        let get = |name| match std::env::var(name) {
            Ok(value) => Some(value),
            Err(VarError::NotPresent) => None,
            // To take it for unset could choose another identity.
            Err(VarError::NotUnicode(_)) => {
                odd.set(Some(name));
                None
            }
        };
        let builder = Self::from_variables(get);
        odd.get().map_or(builder, |name| Err(ConfigError::Invalid(name)))
    }

    /// The same from anything that knows the variables' values.
    ///
    /// # Errors
    /// [`ConfigError`] if something is missing or invalid.
    pub fn from_variables(
        get: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Builder, ConfigError> {
        let Environment { host, port, source, chosen, .. } = Environment::read(get)?;
        #[cfg(feature = "log")]
        log::info!("identity: {chosen}");
        Ok(Self::builder(host).port(port).source(source).with_chosen(chosen))
    }
}
