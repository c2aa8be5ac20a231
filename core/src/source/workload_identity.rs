//! Workload identity: an application that proves itself by the token of an issuer that Entra trusts.

use super::application::{Application, JWT_BEARER, jwt};
use super::authority::{Authority, behind_https};
use super::error::{ConfigError, SourceError};
use super::writer::RequestWriter;
use super::{ErrorKind, Input, IoFailure, Source, Step, Text};
use crate::http::Route;

/// An application, or a user-assigned managed identity, that proves itself to Entra with a federated
/// token: on AKS, that of its
/// [service account](https://learn.microsoft.com/azure/aks/workload-identity-overview).
///
/// The token lies in a file, which is read for each request, since it is replaced there. The response
/// memory must have room for it, and the request memory for 512 bytes more: those of AKS have about
/// 1,300.
///
/// ```
/// use redis_entraid_core::source::{Authority, WorkloadIdentity};
///
/// let tenant = Authority::tenant("72f988bf-86f1-41af-91ab-2d7cd011db47");
/// let file = "/var/run/secrets/azure/tokens/azure-identity-token"; // AZURE_FEDERATED_TOKEN_FILE
/// let source = WorkloadIdentity::new(tenant, "my-client-id", file);
/// assert!(source.check().is_ok());
/// ```
#[derive(Debug)]
pub struct WorkloadIdentity<T> {
    application: Application<T>,
    path: T,
    proxy: Option<T>,
}

/// Longer is no federated token.
const MAX: usize = 16 << 10;

/// It is called so where it can't be used.
const PROXY: &str = "the token proxy (without user, query and fragment)";

/// A file that is being replaced may be missing or empty for a moment.
const NO_FILE: SourceError = SourceError::Other {
    kind: ErrorKind::Replication,
    what: "the federated token file was not found",
};

const NO_TOKEN: SourceError = SourceError::Other {
    kind: ErrorKind::Replication,
    what: "the federated token file contains no JWT",
};

impl<T: Text> WorkloadIdentity<T> {
    /// The application `client_id` with the federated token in the file at `path`, which the host must be
    /// able to read.
    pub const fn new(authority: Authority<T>, client_id: T, path: T) -> Self {
        Self { application: Application::new(authority, client_id), path, proxy: None }
    }

    /// Asks for another scope than [`SCOPE`](super::SCOPE).
    #[must_use]
    pub fn with_scope(mut self, scope: T) -> Self {
        self.application.scope = Some(scope);
        self
    }

    /// Sends the request to a server of the cluster that asks Entra in its place:
    /// `AZURE_KUBERNETES_TOKEN_PROXY` of
    /// [AKS identity bindings](https://learn.microsoft.com/azure/aks/identity-bindings-concepts). The host must
    /// trust the certificate authority of that server, and ask for it by its own name.
    #[must_use]
    pub fn with_proxy(mut self, url: T) -> Self {
        self.proxy = Some(url);
        self
    }

    /// Looks for what can't work, before anything is sent.
    ///
    /// # Errors
    /// [`ConfigError`] if the authority is none for client credentials, something is empty, or the proxy is
    /// no plain `https` URL.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.application.check(Some((&self.path, "the path of the federated token")))?;
        match &self.proxy {
            Some(proxy) if !is_base(proxy.as_ref()) => Err(ConfigError::NotHttps(PROXY)),
            _ => Ok(()),
        }
    }
}

impl<T: Text> Source for WorkloadIdentity<T> {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        match input {
            Input::Start(_) => {
                self.check()?;
                let mut writer = RequestWriter::new(request);
                writer.plain(self.path.as_ref());
                Ok(Step::ReadFile { path: writer.finish()?, max: MAX })
            }
            Input::File(file) => {
                let token = jwt(file).ok_or(NO_TOKEN)?;
                let mut writer = RequestWriter::new(request);
                let authority = &self.application.authority;
                let route = match &self.proxy {
                    // It is in the cluster: nothing may be in between.
                    Some(proxy) => {
                        authority.token_endpoint_at(proxy.as_ref(), &mut writer);
                        Route::LinkLocal
                    }
                    None => {
                        authority.token_endpoint(&mut writer);
                        Route::Internet
                    }
                };
                let url = writer.part();
                self.application.begin_form(&mut writer);
                writer.field("&", "client_assertion_type", JWT_BEARER);
                writer.field("&", "client_assertion", token);
                self.application.end_form(writer, url, route)
            }
            // The path is configured: in a chain, no other identity takes its place.
            Input::Failed(IoFailure::NotFound) => Err(NO_FILE),
            input => Application::<T>::answered(input),
        }
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        // Not the path: the file is another one on another machine.
        feed(b"workload identity");
        self.application.identify(feed);
    }
}

/// Whether `url` is an `https` URL without user, query or fragment.
fn is_base(url: &str) -> bool {
    behind_https(url).is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '?', '#']))
}
