//! Configuration by the environment, with the variables that Azure's own tools use.

use core::cell::Cell;
use std::env::VarError;

use redis_entraid_client::{CertificateFile, NativeEnvironment, NativeSource};

use crate::builder::Builder;
use crate::client::Client;
use crate::error::ConfigError;
use crate::source::{ClientCertificate, ServiceFabric, TokenProxy};

impl Client {
    /// Takes server and identity from the environment: from the variables of
    /// [`Environment`](crate::Environment).
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
        let NativeEnvironment { host, port, source, chosen, .. } = NativeEnvironment::read(get)?;
        #[cfg(feature = "log")]
        log::info!("identity: {chosen}");
        let builder = Self::builder(host).port(port).with_chosen(chosen);
        Ok(with_source(builder, source))
    }
}

/// Takes the tokens of `builder` from what the environment chose.
fn with_source(builder: Builder, source: NativeSource) -> Builder {
    match source {
        NativeSource::Common(source) => builder.source(source),
        NativeSource::Workload(source) => builder.source(source),
        NativeSource::AzureArc(source) => builder.source(source),
        NativeSource::MachineLearning(source) => builder.source(source),
        NativeSource::CloudShell(source) => builder.source(source),
        NativeSource::Certificate(CertificateFile { authority, client_id, path, password }) => {
            let password = password.as_ref().map(|password| &***password);
            builder.source(ClientCertificate::file(authority, client_id, path, password))
        }
        NativeSource::TokenProxy { source, server_name, roots } => {
            builder.source(TokenProxy::new(source, server_name, roots))
        }
        NativeSource::ServiceFabric { source, thumbprint } => {
            builder.source(ServiceFabric::over(source, thumbprint))
        }
    }
}
